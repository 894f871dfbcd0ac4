"""The zoo against a server on loopback that cuts, lies, stalls and knows no ranges."""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import os
import random
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from onnxlens.engine.errors import BadRequest, Unavailable
from onnxlens.models.network import zoo

BODY = random.Random(0).randbytes(3 * zoo._CHUNK + 1234)
SHA = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.body` the way `server` says; `server.asked` holds the Range of each request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.silent:
            server.silent.wait()
        if server.status != 200:
            self.send_error(server.status)
            return
        body = server.body
        start = 0
        if asked and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if server.lengths:
            self.send_header("Content-Length", str(len(body) - start))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may have had enough
            self.wfile.write(body[start : server.cut])
        if server.stalled:
            server.stalled.wait()
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.body, server.cut, server.status = BODY, None, 200
        server.silent = server.stalled = None  # events that the answer, or the rest of it, waits for
        server.ranges = server.lengths = True
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        address = f"http://127.0.0.1:{server.server_port}/tiny-1.onnx"
        tiny = zoo.Record("tiny-1", address, SHA, len(BODY), "imagenet", "imagenet", 12)
        monkeypatch.setattr(zoo, "records", lambda: {"tiny-1": tiny})
        yield server
        for event in filter(None, (server.silent, server.stalled)):
            event.set()
        server.shutdown()
        thread.join()


def part():
    place = zoo.cached_path("tiny-1")
    return place.with_name(place.name + ".part")


def refused(error=Unavailable):
    with pytest.raises(error) as caught:
        zoo.fetch("tiny-1")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_download_then_cache(server):
    told = []
    place = zoo.fetch("tiny-1", lambda done, size: told.append((done, size)))
    assert place == zoo.cached_path("tiny-1")
    assert place.read_bytes() == BODY
    assert told == sorted(told)
    assert told[-1] == (len(BODY), len(BODY))
    assert zoo.fetch("tiny-1") == place
    assert server.asked == [None]
    assert not part().exists()


@pytest.mark.parametrize("lengths", [True, False])
def test_a_cut_download_goes_on_where_it_stopped(server, lengths):
    server.lengths, server.cut = lengths, 2 * zoo._CHUNK + 77
    text = refused()
    kept = part().stat().st_size
    assert server.cut - zoo._CHUNK < kept <= server.cut
    assert f"{kept} of {len(BODY)} bytes" in text
    assert part().read_bytes() == BODY[:kept]
    assert not zoo.cached_path("tiny-1").exists()

    server.cut = None
    told = []
    assert zoo.fetch("tiny-1", lambda done, size: told.append(done)).read_bytes() == BODY
    assert server.asked == [None, f"bytes={kept}-"]
    assert told[0] > kept


def test_a_stop_by_the_user_goes_on_too(server):
    def stop(done, size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.fetch("tiny-1", stop)
    assert part().read_bytes() == BODY[: zoo._CHUNK]
    assert zoo.fetch("tiny-1").read_bytes() == BODY
    assert server.asked[1] == f"bytes={zoo._CHUNK}-"


def test_a_whole_part_needs_no_server(server):
    part().parent.mkdir(parents=True)
    part().write_bytes(BODY)
    assert zoo.fetch("tiny-1").read_bytes() == BODY
    assert server.asked == []


@pytest.mark.parametrize("lengths", [True, False])
def test_a_server_without_ranges_sends_all_of_it_again(server, lengths):
    server.ranges, server.lengths = False, lengths
    part().parent.mkdir(parents=True)
    part().write_bytes(BODY[:1000])
    assert zoo.fetch("tiny-1").read_bytes() == BODY
    assert server.asked == ["bytes=1000-"]


def test_a_part_that_is_too_long_is_begun_again(server):
    part().parent.mkdir(parents=True)
    part().write_bytes(BODY + b"more")
    assert zoo.fetch("tiny-1").read_bytes() == BODY
    assert server.asked == [None]


def test_a_spoilt_part_is_thrown_away_and_the_next_try_is_clean(server):
    part().parent.mkdir(parents=True)
    part().write_bytes(b"\0" * 1000)
    found = hashlib.sha256(b"\0" * 1000 + BODY[1000:]).hexdigest()
    text = refused()
    assert found in text
    assert SHA in text
    assert not part().exists()
    assert not zoo.cached_path("tiny-1").exists()
    assert zoo.fetch("tiny-1").read_bytes() == BODY


def test_a_body_of_another_size_is_refused_and_costs_nothing(server):
    part().parent.mkdir(parents=True)
    part().write_bytes(BODY[:1000])
    server.ranges, server.body = False, b"<html>Please log in</html>"
    assert f"{len(server.body)} bytes, expected {len(BODY)}" in refused()
    assert part().read_bytes() == BODY[:1000]


def test_an_endless_body_stops_at_the_size_of_the_record(server):
    server.lengths, server.body = False, BODY * 10
    assert "more than" in refused()
    assert part().stat().st_size <= len(BODY)
    server.body = BODY
    assert zoo.fetch("tiny-1").read_bytes() == BODY


@pytest.mark.parametrize("status", [404, 416, 503])
def test_a_refusal_names_the_status_and_the_way_by_hand(server, status):
    server.status = status
    text = refused()
    assert f"answered {status}" in text
    assert str(zoo.cached_path("tiny-1")) in text
    assert SHA in text
    assert zoo.records()["tiny-1"].address in text


def test_a_silent_server_is_given_up(server, monkeypatch):
    monkeypatch.setattr(zoo, "_SILENCE_SECONDS", 0.2)
    server.silent = threading.Event()
    assert "does not answer" in refused()


def test_a_server_that_stalls_midway_is_given_up_and_resumed(server, monkeypatch):
    monkeypatch.setattr(zoo, "_SILENCE_SECONDS", 0.2)
    server.stalled, server.cut = threading.Event(), 2 * zoo._CHUNK
    assert f"{2 * zoo._CHUNK} of {len(BODY)} bytes" in refused()
    server.stalled.set()
    server.cut = None
    assert zoo.fetch("tiny-1").read_bytes() == BODY
    assert server.asked[1] == f"bytes={2 * zoo._CHUNK}-"


def test_offline(server, monkeypatch):
    nowhere = dataclasses.replace(zoo.records()["tiny-1"], address="http://127.0.0.1:1/tiny-1.onnx")
    monkeypatch.setattr(zoo, "records", lambda: {"tiny-1": nowhere})
    text = refused()
    assert "no connection to 127.0.0.1:1" in text
    assert str(zoo.cached_path("tiny-1")) in text
    assert SHA in text

    place = zoo.cached_path("tiny-1")
    place.write_bytes(BODY)  # by hand, as the text says
    assert zoo.fetch("tiny-1") == place


def test_a_wrong_file_in_the_cache_is_named_and_left_alone(server):
    place = zoo.cached_path("tiny-1")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    text = refused()
    assert hashlib.sha256(b"mine").hexdigest() in text
    assert SHA in text
    assert place.read_bytes() == b"mine"
    assert server.asked == []


def test_a_cache_folder_that_cannot_be(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path / "file"))
    assert "ONNXLENS_CACHE" in refused()


def test_threads_bring_one_file_once(server):
    threads = [threading.Thread(target=zoo.fetch, args=("tiny-1",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert zoo.cached_path("tiny-1").read_bytes() == BODY
    assert server.asked == [None]


def test_processes_bring_one_file_once(server):
    tiny = zoo.records()["tiny-1"]
    script = (
        "from onnxlens.models.network import zoo; from onnxlens.models.network.zoo import Record\n"
        f"zoo.records = lambda: {{'tiny-1': {tiny!r}}}\n"
        "print(zoo.fetch('tiny-1'))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(3)]
    for run in runs:
        assert run.communicate(timeout=60)[0].decode().strip() == str(zoo.cached_path("tiny-1"))
        assert run.returncode == 0
    assert zoo.cached_path("tiny-1").read_bytes() == BODY
    assert server.asked == [None]


def test_a_path_wins_over_a_name(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert zoo.resolve("tiny-1") == zoo.cached_path("tiny-1")
    (tmp_path / "tiny-1").mkdir()
    assert zoo.resolve("tiny-1") == zoo.cached_path("tiny-1")
    (tmp_path / "tiny-1").rmdir()
    (tmp_path / "tiny-1").write_bytes(b"mine")
    assert zoo.resolve("tiny-1").read_bytes() == b"mine"
    assert zoo.resolve(tmp_path) == tmp_path


@pytest.mark.parametrize(
    "name",
    ["", "../tiny-1", "tiny-1/../../tiny-1", "C:tiny-1", "tiny-1\0", "tiny-1\n", "x" * 5000, "/no/such.onnx"],
)
def test_a_name_that_is_neither(server, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name:  # the empty path is the folder one stands in
        with pytest.raises(BadRequest, match=r"neither a file nor a name of the zoo.*tiny-1"):
            zoo.resolve(name)
    for ask in zoo.record, zoo.cached_path, zoo.fetch:
        with pytest.raises(BadRequest):
            ask(name)
    assert list(tmp_path.iterdir()) == []
    assert server.asked == []


def test_a_misspelt_file_is_told_the_models_beside_it(tmp_path):
    (tmp_path / "mobile.onnx").write_bytes(b"mine")
    with pytest.raises(BadRequest, match=r"neither a file.*nearest: .*mobile\.onnx"):
        zoo.resolve(tmp_path / "moblie.onnx")


def test_nearest_names():
    with pytest.raises(BadRequest, match="resnet50-v1-12"):
        zoo.resolve("resnet50-v1-13")


def test_the_records_are_consistent():
    names = list(zoo.records())
    assert len(set(map(str.lower, names))) == len(names) > 90  # some file systems fold case
    for name, record in zoo.records().items():
        assert record.name == name
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
        assert re.fullmatch(r"https://[a-z0-9.]+/[A-Za-z0-9._/-]+\.onnx", record.address)
        assert re.fullmatch(r"[0-9a-f]{64}", record.sha256)
        assert 0 < record.size < 1 << 30
        assert 7 <= record.opset <= 30
        assert bool(record.class_names) == (record.labels != "imagenet")
    assert len({record.sha256 for record in zoo.records().values()}) > 85
    assert zoo.record("mnist-8").class_names == tuple("0123456789")
    assert len(zoo.record("emotion-ferplus-8").class_names) == 8


@pytest.mark.skipif(
    importlib.util.find_spec("onnxlens.models.photos.presets") is None, reason="there are no presets yet"
)
def test_every_preset_exists():
    presets = importlib.import_module("onnxlens.models.photos.presets").PRESETS
    assert {record.preset for record in zoo.records().values()} <= set(presets)


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path))
    assert zoo.cached_path("mnist-8") == tmp_path / "zoo" / "mnist-8.onnx"
    monkeypatch.setenv("ONNXLENS_CACHE", "relative")
    assert zoo.cache_folder().is_absolute()
    monkeypatch.delenv("ONNXLENS_CACHE")
    assert "onnxlens" in zoo.cache_folder().parts
    assert os.fspath(zoo.cached_path("mnist-8")).startswith(os.fspath(zoo.cache_folder()))
