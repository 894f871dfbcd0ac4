"""A run on a Ray cluster: two machines, played by processes of this one, and one of them is lost."""

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
from oracles.runs import table, tree

from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.runs.cluster import needs_of


def on_ray(test):
    """A test that takes a cluster."""
    for mark in (pytest.mark.slow, pytest.mark.reference):
        test = mark(test)
    return pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra scale")(test)


COUNT = 400
STORE = 80 * 2**20  # bytes of shared memory, the least that Ray takes


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder of photos, some of which are none, and what a run on this machine makes of them."""
    desk = tmp_path_factory.mktemp("desk")
    for i, seed in zip(range(COUNT), TEST_SEEDS, strict=False):
        path = desk / "photos" / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), scene(seed, size=96).image[..., ::-1])
    (desk / "photos/b/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (desk / os.fsdecode(b"photos/c/\xff'\n.png")).write_bytes((desk / "photos/a/0.png").read_bytes())
    assert begin(desk, "local", "local").wait(300) == 1  # one of them is broken
    return desk


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        True, head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    )
    yield cluster
    cluster.shutdown()


def begin(desk, output, engine, *words, **env):
    words = [
        "run",
        "scenes",
        "photos",
        "-o",
        output,
        "--target",
        "top2",
        "--batch",
        "4",
        "--engine",
        engine,
        *words,
    ]
    with (desk / f"{output}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "onnxlens", *words], cwd=desk, env=os.environ | env, stdout=log, stderr=log
        )


def ended(desk, *words, **env):
    """The exit code of a command line, and what it says."""
    line = [sys.executable, "-m", "onnxlens", *words]
    done = subprocess.run(line, cwd=desk, env=os.environ | env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@on_ray
def test_a_machine_is_lost_and_nothing_with_it(desk, cluster):
    other = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    process = begin(desk, "lost", "ray", "--workers", "2", RAY_ADDRESS=cluster.address)
    try:
        end = time.monotonic() + 200
        while len(list(desk.glob("lost/maps/*/*.npy"))) < COUNT // 4:  # a photo gives two
            assert process.poll() is None, (desk / "lost.log").read_text()
            assert time.monotonic() < end, (desk / "lost.log").read_text()
            time.sleep(0.05)
        cluster.remove_node(other, allow_graceful=False)
        before = len(list(desk.glob("lost/maps/*/*.npy")))
        assert process.wait(300) == 1, (desk / "lost.log").read_text()
    finally:
        process.kill()
        process.wait()
    assert before < COUNT, "the machine was lost too late to matter"
    assert table(desk / "lost") == table(desk / "local")
    assert tree(desk / "lost") == tree(desk / "local")
    assert json.loads((desk / "lost/manifest.json").read_text())["state"] == "done"
    assert ended(desk, "runs", "verify", "lost")[0] == 0


@on_ray
def test_the_strongest_photos_are_the_same(desk, cluster):
    words = "top", "scenes", "photos/a", "-k", "3", "--overwrite"
    assert ended(desk, *words, "-o", "top-local")[0] == 0
    code, said = ended(desk, *words, "-o", "top-ray", "--engine", "ray", RAY_ADDRESS=cluster.address)
    assert code == 0, said
    for name in ("top.jsonl", "relu5-top.png"):
        assert Path(desk, "top-ray", name).read_bytes() == Path(desk, "top-local", name).read_bytes()


@on_ray
def test_a_cluster_reads_an_address_and_goes_on_where_it_stopped(desk, cluster):
    words = ["run", "scenes", f"file://{desk}/photos/b", "-o", "address", "--engine", "ray", "--batch", "4"]
    address = {"RAY_ADDRESS": cluster.address}
    code, said = ended(desk, *words, "--limit", "40", **address)
    assert code == 0, said
    code, said = ended(desk, *words, "--resume", **address)
    assert code == 1, said
    assert "40 of them done before" in said
    local = [r for r in table(desk / "local") if r["path"].startswith("b/")]
    firsts = {
        (r["path"][2:], r["target"], r["score"])
        for r in local
        if r["label"] and r["target"] == r["prediction"]
    }
    assert {(r["path"], r["target"], r["score"]) for r in table(desk / "address") if not r["error"]} == firsts


@on_ray
def test_a_cluster_writes_to_an_address(desk, cluster):
    store = (
        f"simplecache::file://{desk}/store"  # what fsspec reaches from every process, and is no folder to us
    )
    words = ["run", "scenes", "photos/a", "-o", store, "--engine", "ray", "--batch", "4", "--target", "top2"]
    code, said = ended(desk, *words, RAY_ADDRESS=cluster.address)
    assert code == 0, said
    assert ended(desk, "runs", "verify", store)[0] == 0
    code, said = ended(desk, "run", "scenes", "photos/a", "-o", "folder", "--batch", "4", "--target", "top2")
    assert code == 0, said
    assert table(desk / "store") == table(desk / "folder")
    assert tree(desk / "store") == tree(desk / "folder")


@on_ray
def test_what_goes_wrong_there_is_one_line_here(desk, cluster):
    words = ["run", "scenes", "photos/a", "-o", "full", "--engine", "ray", "--resume"]
    assert ended(desk, *words, "--limit", "1", RAY_ADDRESS=cluster.address)[0] == 0
    shutil.rmtree(desk / "full/maps")
    (desk / "full/maps").write_text("no folder")
    code, said = ended(desk, *words, RAY_ADDRESS=cluster.address)
    assert code == 1
    assert said.splitlines()[-1].startswith(f"onnxlens: cannot write {desk}/full/maps")
    code, said = ended(desk, *words, RAY_ADDRESS="127.0.0.1:1")
    assert code == 1
    assert said.splitlines()[-1].startswith("onnxlens: no Ray cluster at 127.0.0.1:1")


@pytest.mark.parametrize("words", [["run", "scenes", "red.png"], ["top", "scenes", "."]])
def test_without_ray_it_is_said_how_to_get_it(place, run, monkeypatch, words):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run(*words, "--engine", "ray", "-o", "out")
    assert done.code == 1
    assert "--engine ray needs Ray: pip install 'onnxlens[scale]'" in done.err
    assert not Path("out").exists()


def test_what_a_cluster_does_not_do(place, run):
    done = run("run", "scenes", "red.png", "--engine", "ray", "--dry-run", "-o", "out")
    assert (done.code, "leave --engine ray out" in done.err) == (2, True)
    done = run("top", "scenes", ".", "--workers", "3", "-o", "out")
    assert (done.code, "on one machine say --threads" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("provider", "gpus"),
    [("cpu", 0), ("cuda", 1), ("openvino:gpu", 0), ("nv-tensorrt-rtx", 1), ("nv-tensorrt-rtx:gpu.1", 1)],
)
def test_a_worker_takes_a_gpu_for_what_runs_on_nvidias(provider, gpus):
    assert needs_of(provider, 2) == {"CPU": 2} | ({"GPU": gpus} if gpus else {})
