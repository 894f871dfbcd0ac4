"""Compiled graphs of an earlier start give the same answers; what is damaged or foreign is not used."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.runtime import cache, network
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.session import Session

RNG = np.random.default_rng(3)
FEEDS = {"x": RNG.standard_normal((2, 16, 12, 12)).astype("f")}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path / "home"))
    monkeypatch.delenv("ONNXLENS_CACHE_SIZE", raising=False)
    return tmp_path / "home" / "graphs"


@pytest.fixture(params=["plain", "pooled"])
def model(request):
    """With a pool the gradient runs in several sessions, with kernels between them."""
    pool = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>" if request.param == "pooled" else "Relu"
    body = f"""(float[N,16,12,12] x) => (float[N,10] y) {{
        c = Conv <pads = [1, 1, 1, 1]> (x, k)
        r = Relu (c)
        p = {pool} (r)
        d = Conv <pads = [1, 1, 1, 1]> (p, l)
        m = GlobalAveragePool (d)
        f = Flatten (m)
        y = MatMul (f, w)
    }}"""
    sizes = {"k": (32, 16, 3, 3), "l": (32, 32, 3, 3), "w": (32, 10)}
    return parsed(body, **{name: RNG.standard_normal(size) / 10 for name, size in sizes.items()})


@pytest.fixture
def rewritten(monkeypatch):
    """How often a graph is rewritten: a start that finds an entry does not."""
    times = []
    real = network.optimised
    monkeypatch.setattr(network, "optimised", lambda *a: (times.append(1), real(*a))[1])
    return times


def answer(model, feeds=FEEDS):
    signal = Projector(Network(model, provider="cpu", threads=1), "saliency")(feeds)
    return np.stack([s.values for s in signal])


def test_a_second_start_builds_nothing_and_answers_the_same(model, home, rewritten):
    first = answer(model)
    assert len(rewritten) == 1
    (entry,) = home.iterdir()
    np.testing.assert_array_equal(answer(model), first)
    assert len(rewritten) == 1
    assert [entry] == list(home.iterdir())
    assert home.stat().st_mode & 0o777 == 0o700


def test_it_can_be_turned_off(model, home, rewritten, monkeypatch):
    monkeypatch.setenv("ONNXLENS_CACHE_SIZE", "0")
    first = answer(model)
    np.testing.assert_array_equal(answer(model), first)
    assert len(rewritten) == 2
    assert not home.exists()


def test_a_folder_that_cannot_be_written_is_left_alone(model, home, rewritten):
    expected = answer(model)
    shutil.rmtree(home)
    home.write_text("no folder")
    np.testing.assert_array_equal(answer(model), expected)
    assert home.read_text() == "no folder"


def test_an_entry_that_is_damaged_is_made_anew(model, home, rewritten):
    expected = answer(model)
    (entry,) = home.iterdir()
    for name in sorted(p.name for p in entry.iterdir() if p.stat().st_size):
        for damage in (
            lambda d: d[: len(d) // 2],
            lambda d: b"",
            lambda d: d[:-9] + bytes([d[-9] ^ 1]) + d[-8:],
        ):
            path = entry / name
            path.write_bytes(damage(path.read_bytes()))
            before = len(rewritten)
            np.testing.assert_array_equal(answer(model), expected)
            assert len(rewritten) == before + 1, (name, damage)
        (entry / name).unlink()
        np.testing.assert_array_equal(answer(model), expected)


def test_an_entry_that_goes_away_while_it_is_read(model, home, monkeypatch):
    expected = answer(model)
    real = cache.rewritten

    def gone(entry, graph):
        shutil.rmtree(entry)
        return real(entry, graph)

    monkeypatch.setattr(cache, "rewritten", gone)
    np.testing.assert_array_equal(answer(model), expected)


def test_an_entry_is_for_one_model_one_question_and_these_versions(model, home, rewritten, monkeypatch):
    answer(model)
    other = onnx.ModelProto()
    other.CopyFrom(model)
    weight = onnx.numpy_helper.to_array(other.graph.initializer[0]).copy()
    weight.flat[-1] += 1
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, other.graph.initializer[0].name))
    assert not np.array_equal(answer(other), answer(model))
    Projector(Network(model, provider="cpu"), "guided")
    monkeypatch.setattr(cache, "_surroundings", lambda: "another version")
    answer(model)
    assert len(rewritten) == 4


def test_weights_in_a_large_file_count_by_what_they_are(tmp_path, home, monkeypatch, rewritten):
    from onnxlens.engine.graph import file

    monkeypatch.setattr(file, "FILE", 0)
    body = """(float[N,64,8,8] x) => (float[N,512] y) {
        h = Conv (x, w)
        m = GlobalAveragePool (h)
        y = Flatten (m)
    }"""
    size = (512, 64, 3, 3)  # over a megabyte: mapped
    feeds = {"x": RNG.standard_normal((1, 64, 8, 8)).astype("f")}
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    model = parsed(body, w=RNG.standard_normal(size))
    for path in paths:
        onnx.save(model, path)
    first = answer(paths[0], feeds)
    np.testing.assert_array_equal(answer(paths[1], feeds), first)
    assert len(rewritten) == 1
    onnx.save(parsed(body, w=RNG.standard_normal(size)), paths[1])
    assert not np.array_equal(answer(paths[1], feeds), first)


def test_what_was_not_used_for_longest_goes_first(home, monkeypatch):
    monkeypatch.setenv("ONNXLENS_CACHE_SIZE", "1")
    graph = canonical(parsed("(float[2] x) => (float[2] y) { y = Neg (x) }"))

    def put(key, size, used):
        with cache.made(key, graph, ["y"]) as place:
            (place / "piece.onnx").write_bytes(bytes(size))
        if (home / key).exists():
            os.utime(home / key, (used, used))

    for used, key in enumerate("abc"):
        put(key, 240_000, used)
    assert cache.found("a")  # which is used now
    for used, key in enumerate("de", 3):
        put(key, 240_000, used)
    assert {p.name for p in home.iterdir()} == {"a", "c", "d", "e"}
    put("f", 300_000, 5)  # more than its share
    assert not (home / "f").exists()
    old = home / "new-left"
    old.mkdir()
    os.utime(old, (0, 0))
    put("g", 10, 6)
    assert not old.exists()


def test_models_that_are_too_large_are_not_kept(model, home, monkeypatch, rewritten):
    graph = canonical(model)
    size = sum(t.ByteSize() for t in graph.constants.values())
    monkeypatch.setattr(cache, "cache_size", lambda: 8 * size)
    assert cache.pays(graph, graph.outputs)
    monkeypatch.setattr(cache, "cache_size", lambda: 8 * size - 8)
    assert not cache.pays(graph, graph.outputs)


def test_networks_of_matrix_products_are_not_kept(home):
    body = "(float[N,60] x) => (float[N,50] y) { h = MatMul (x, w) y = Relu (h) }"
    answer(parsed(body, w=RNG.standard_normal((60, 50))), {"x": RNG.standard_normal((1, 60)).astype("f")})
    assert not home.exists()


def test_a_disk_that_is_full(model, home, monkeypatch):
    expected = answer(model)
    shutil.rmtree(home)
    real = Session.__init__

    def full(self, *a, **k):
        if isinstance(a[-1], Path):
            raise network.OnnxlensError("no space left on device")
        real(self, *a, **k)

    monkeypatch.setattr(Session, "__init__", full)
    np.testing.assert_array_equal(answer(model), expected)
    assert not list(home.iterdir())


RUN = """
import sys, numpy as np
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.attribution.projector import Projector
x = np.load(sys.argv[2])
for _ in range(5):
    signals = Projector(Network(sys.argv[1], provider="cpu", threads=1), "saliency")({"x": x})
np.save(sys.argv[3], np.stack([s.values for s in signals]))
"""


def test_several_processes_at_once(model, home, tmp_path):
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", FEEDS["x"])
    words = [sys.executable, "-c", RUN, str(tmp_path / "m.onnx"), str(tmp_path / "x.npy")]
    outs = [tmp_path / f"{i}.npy" for i in range(4)]
    running = [subprocess.Popen([*words, str(out)]) for out in outs]
    while any(p.poll() is None for p in running):
        for entry in home.glob("[0-9a-f]*"):  # and one that clears meanwhile
            shutil.rmtree(entry, ignore_errors=True)
        time.sleep(0.05)
    assert [p.returncode for p in running] == [0] * 4
    expected = answer(tmp_path / "m.onnx")
    for out in outs:
        np.testing.assert_array_equal(np.load(out), expected)
    assert len(list(home.iterdir())) == 1
