"""Photos at an address, as of an object store; here in one that is held in memory."""

import json
from pathlib import Path

import pytest

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(place):
    """Four photos, a broken one, a hidden one and a text, at memory://bucket/photos."""
    files = fsspec.filesystem("memory")
    data = Path("red.png").read_bytes(), Path("blue.jpg").read_bytes()
    names = [
        "a/x.png",
        "b/x.jpg",
        "b/x::file.png",
        "b/it's #1?.png",
        "b/broken.png",
        ".hidden.png",
        "notes.txt",
    ]
    for i, name in enumerate(names):
        content = b"\x89PNG" if "broken" in name else data[i % 2]
        files.pipe(f"/bucket/photos/{name}", content)
        if name[0] != ".":
            path = place / "album" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    yield files
    files.rm("/bucket", recursive=True)


def rows(folder):
    found = [json.loads(line) for p in Path(folder, "rows").iterdir() for line in p.read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in found]
    return sorted(kept, key=lambda row: row["path"])


def test_a_run_over_an_address_is_that_over_a_folder(store, run):
    assert run("run", "model.onnx", "album", "-o", "folder").code == 1
    done = run("run", "model.onnx", "memory://bucket/photos/", "-o", "store")
    assert done.code == 1
    assert "5 images, 5 rows, 1 failed" in done.out
    found = rows("store")
    assert [row["path"] for row in found] == [
        "a/x.png", "b/broken.png", "b/it's #1?.png", "b/x.jpg", "b/x::file.png",
    ]  # fmt: skip
    assert found == rows("folder")
    assert all(Path("store", row["picture"]).exists() for row in found if not row["error"])
    assert run("runs", "verify", "store", "--photos").code == 0
    store.pipe("/bucket/photos/a/x.png", b"other")
    done = run("runs", "verify", "store", "--photos")
    assert (done.code, done.out) == (1, "a/x.png: the photo has changed since\n")
    assert run("run", "model.onnx", "memory://bucket/photos", "-o", "store", "--resume").code == 1
    assert rows("store") == found


def test_what_vanishes_is_a_row(store, run, monkeypatch):
    found = store.find("/bucket/photos")
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "find", lambda *_: [*found, "/bucket/photos/gone.png"])
        assert run("run", "model.onnx", "memory://bucket/photos", "-o", "out").code == 1
    assert {r["path"]: r["error"] for r in rows("out")}["gone.png"] == "no such file"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["memory://bucket/photos", "red.png"], 2, "stands alone"),
        (["memory://bucket/nothing"], 2, "no photo below memory://bucket/nothing"),
        (["nonsense://bucket"], 1, "nonsense://bucket: Protocol not known"),
        (["red.png", "-o", "s3://bucket/run"], 2, "is no folder"),
    ],
)
def test_addresses_that_lead_nowhere(store, run, words, code, said):
    done = run("run", "model.onnx", "-o", "out", *words)
    assert (done.code, said in done.err) == (code, True), done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("out").exists()
    assert not Path("s3:").exists()
