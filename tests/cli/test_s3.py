"""Runs at addresses of S3: the protocol itself, between s3fs and a store on this machine."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from oracles.runs import table as table_of
from oracles.runs import tree

pytest.importorskip("s3fs")
pytest.importorskip("moto")
pytest.importorskip("flask_cors")

from oracles.s3 import Server

RUN = "s3://bucket/run"


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture
def bucket(server, place, monkeypatch):
    """An empty bucket; `place` has the same photos as s3://bucket/photos in the folder album."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(place / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(place / "none"))
    server.emptied()
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem(use_listings_cache=False)
    store.mkdir("bucket")
    yield store
    s3fs.S3FileSystem.clear_instance_cache()  # which do not know of another endpoint


NAMES = [
    *("a/x.png", "b/x.jpg", "b/two words.png", "b/#1.png", "b/why?.png", "b/100%.png", "b/%41.png"),
    *("b/\r\t\x01.png", "b/é☃.png", "b/it's \"+&=;.png", "b/a::b.png", "b/[1]*.png", "b/<b>.png", "b/~.png"),
    *("b/back\\slash.png", "b/-o.png"),
]


def filled(store, names=NAMES):
    """Photos under these names in the folder album and at s3://bucket/photos."""
    data = Path("red.png").read_bytes(), Path("blue.jpg").read_bytes()
    for i, name in enumerate(names):
        path = Path("album", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[i % 2])
        store.pipe_file(f"bucket/photos/{name}", data[i % 2])


def table(store, folder="bucket/run"):
    """The rows of a run in the store without what a clock says, sorted."""
    lines = [line for n in store.find(f"{folder}/rows") for line in store.cat_file(n).decode().splitlines()]
    found = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return sorted(found, key=lambda row: row["path"])


def objects(store, folder="bucket/run"):
    """All other objects of a run but its manifest, by name."""
    found = {n.removeprefix(f"{folder}/"): n for n in store.find(folder)}
    return {
        n: store.cat_file(f) for n, f in found.items() if n.split("/")[0] not in ("rows", "manifest.json")
    }


def started(*words):
    command = [sys.executable, "-m", "onnxlens", "run", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def asked(server):
    """How many requests of each kind came since the last time, by what they are of."""
    seen, server.gate.seen = server.gate.seen, []
    kinds = Counter()
    for method, path, query in seen:
        parts = path.split("/")[2:]
        what = (
            "list"
            if "list-type" in query
            else parts[0]
            if parts[1:2] in ([], ["manifest.json"])
            else parts[1]
        )
        kinds[method, "photos" if parts[:1] == ["photos"] else what] += 1
    return kinds


def test_a_run_from_s3_to_s3_is_that_from_a_folder_to_a_folder(bucket, run):
    filled(bucket)
    assert run("run", "model.onnx", "album", "-o", "folder").code == 0
    words = ["run", "model.onnx", "s3://bucket/photos", "-o", RUN, "--shard", 3, "--batch", 2]
    done = run(*words)
    assert done.code == 0, done.err
    assert table(bucket) == table_of("folder")
    assert objects(bucket) == tree("folder")
    assert run(*words).code == 2
    assert "16 of them done before" in run(*words, "--resume").err
    assert table(bucket) == table_of("folder")
    assert run("runs", "verify", RUN, "--photos").code == 0
    assert "16" in run("runs", "show", RUN).out
    assert run("report", RUN, "-o", "page.html").code == 0
    assert "not there any more" not in Path("page.html").read_text()
    assert run("runs", "merge", RUN, "-o", "s3://bucket/joined").code == 0
    assert table(bucket, "bucket/joined") == table_of("folder")
    assert run(*words, "--overwrite", "--limit", 1).code == 0
    assert len(objects(bucket)) == 2


def test_keys_that_are_no_paths(bucket, run):
    """In a store a part of a name may be empty, .. or end with a slash."""
    data = Path("red.png").read_bytes()
    for name in ("x//1.png", "/1.png", "x/1.png", "x/../1.png", "x/", "x/..png"):
        bucket.pipe_file(f"bucket/photos/{name}", data)
    assert run("run", "model.onnx", "s3://bucket/photos", "-o", "out").code == 0
    assert [row["path"] for row in table_of("out")] == ["/1.png", "x//1.png", "x/1.png"]  # .. is hidden
    assert len(tree("out")) == 6
    assert run("runs", "verify", "out", "--photos").code == 0


def test_a_photo_is_three_requests_and_rows_are_one_for_each_shard(bucket, server, run):
    filled(bucket, [f"{i:02}.png" for i in range(40)])
    words = ["run", "model.onnx", "s3://bucket/photos", "-o", RUN, "--shard", 10, "--batch", 5]
    server.gate.seen.clear()
    assert run(*words).code == 0
    first = asked(server)
    assert first["GET", "photos"] == first["PUT", "pictures"] == first["PUT", "maps"] == 40
    assert first["HEAD", "photos"] == 0
    assert (first["PUT", "rows"], first["PUT", "run"]) == (4, 2)
    assert sum(first.values()) - 3 * 40 - 4 < 40
    assert run(*words, "--resume").code == 0
    assert sum(asked(server).values()) < 40
    assert run("runs", "verify", RUN).code == 0
    assert sum(asked(server).values()) - 2 * 40 < 30


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_and_resumed(bucket, server, run):
    filled(bucket, [f"{i:03}.png" for i in range(100)])
    assert run("run", "model.onnx", "album", "-o", "folder").code == 0
    words = ["model.onnx", "s3://bucket/photos", "-o", RUN, "--batch", 2, "--shard", 6, "--resume", "-q"]
    chance = random.Random(0)
    for _ in range(3):
        server.gate.seen.clear()
        process, enough = started(*words), chance.randint(10, 60)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if sum(method == "PUT" for method, *_ in server.gate.seen) > enough:
                break
            time.sleep(0.005)
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    assert run("run", *words).code == 0
    assert table(bucket) == table_of("folder")
    assert objects(bucket) == tree("folder")
    assert run("runs", "verify", RUN).code == 0


def test_what_others_delete_meanwhile_is_seen(bucket, run):
    """s3fs keeps lists of folders: the second command of one process is not to believe them."""
    filled(bucket, ["1.png", "2.png", "3.png"])
    words = ["run", "model.onnx", "s3://bucket/photos", "-o", RUN]
    run(*words)
    assert run("runs", "verify", RUN).code == 0
    before = objects(bucket)
    bucket.rm_file(f"bucket/run/{sorted(before)[0]}")
    bucket.rm_file("bucket/photos/3.png")
    assert "is not there" in run("runs", "verify", RUN).out
    assert "the photo is not there any more" in run("runs", "verify", RUN, "--photos").out
    assert "2 images" in run(*words, "--resume", "--json").err
    assert sorted(objects(bucket)) == sorted(before)


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken"])
@pytest.mark.parametrize(
    ("method", "part", "exit", "said"),
    [
        ("GET", "/photos/", 1, "3 failed"),
        ("GET", "list", 1, "s3://bucket/photos: "),
        ("PUT", "/pictures/", 1, "cannot write s3://bucket/run/pictures/"),
        ("PUT", "/rows/", 1, "cannot write s3://bucket/run/rows/"),
        ("PUT", "/manifest.json", 1, "cannot write s3://bucket/run/manifest.json"),
    ],
)
def test_what_is_forbidden_is_one_line(bucket, server, run, code, method, part, exit, said):
    filled(bucket, ["1.png", "2.png", "3.png"])
    words = ["run", "model.onnx", "s3://bucket/photos", "-o", RUN]

    def refuse(asked, path):
        where = "list" if path.strip("/") == "bucket" else path
        return code if asked == method and part in where else None

    server.gate.refuse = refuse
    done = run(*words, "-q")
    assert done.code == exit
    assert said in (done.out + done.err)
    assert "refused" in done.err
    assert "Traceback" not in done.err
    server.gate.refuse = lambda method, path: None
    if "3 failed" not in said:
        assert run(*words, "--resume").code == 0
        assert run("runs", "verify", RUN).code == 0


def test_a_run_that_must_not_be_deleted_is_not_overwritten(bucket, server, run):
    filled(bucket, ["1.png", "2.png"])
    words = ["run", "model.onnx", "s3://bucket/photos", "-o", RUN]
    assert run(*words).code == 0
    before = table(bucket), objects(bucket)
    server.gate.keeps = True
    done = run(*words, "--overwrite", "--limit", 1)
    assert (done.code, "cannot write s3://bucket/run/rows: it cannot be deleted" in done.err) == (1, True)
    assert (table(bucket), objects(bucket)) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("run", "model.onnx", "s3://nowhere/photos", "-o", "out"),
            "s3://nowhere/photos: The specified bucket",
        ),
        (
            ("run", "model.onnx", "red.png", "-o", "s3://nowhere/run"),
            "cannot list s3://nowhere/run/rows: The",
        ),
        (("runs", "verify", "s3://nowhere/run"), "s3://nowhere/run holds no run"),
        (("report", "s3://nowhere/run"), "s3://nowhere/run holds no run"),
        (
            ("run", "model.onnx", "red.png", "-o", "s3://bucket/run[1]"),
            "s3://bucket/run[1]: the address of a run has no",
        ),
    ],
)
def test_places_that_are_not_there(bucket, run, words, said):
    done = run(*words)
    assert done.code in (1, 2)
    assert done.err.splitlines()[-1].startswith(f"onnxlens: {said}")


def test_without_credentials(bucket, run, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    bucket.clear_instance_cache()
    done = run("run", "model.onnx", "s3://bucket/photos", "-o", "out")
    assert (done.code, "s3://bucket/photos: Unable to locate credentials" in done.err) == (1, True)
