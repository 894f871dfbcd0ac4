"""Photos at an address, as of an object store; here in one that is held in memory."""

import itertools
import json
import os
import threading
import time
from pathlib import Path

import pytest

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("fsspec.implementations.local")


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
        (["red.png", "-o", "nonsense://bucket/run"], 1, "nonsense://bucket/run: Protocol not known"),
    ],
)
def test_addresses_that_lead_nowhere(store, run, words, code, said):
    done = run("run", "model.onnx", "-o", "out", *words)
    assert (done.code, said in done.err) == (code, True), done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("out").exists()
    assert not Path("nonsense:").exists()


# -- runs that are written to a store --------------------------------------------------------------------

OUT = "memory://bucket/out"


class Renaming(fsspec.implementations.local.LocalFileSystem):
    """A store that shows files while they are written, and renames them: as SFTP does."""

    protocol = "renaming"


fsspec.register_implementation("renaming", Renaming, clobber=True)


def objects(folder):
    """Every file of a run in a store but the manifest, by name; rows without what a clock says."""
    files, path = fsspec.core.url_to_fs(folder)
    found = {str(n).removeprefix(path).lstrip("/"): files.cat_file(n) for n in files.find(path)}
    return {n: data for n, data in found.items() if n.split("/")[0] not in ("rows", "manifest.json", ".lock")}


def table(folder):
    files, path = fsspec.core.url_to_fs(folder)
    lines = [line for n in files.find(f"{path}/rows") for line in files.cat_file(n).decode().splitlines()]
    kept = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return sorted(kept, key=lambda row: row["path"])


@pytest.mark.parametrize("kind", ["memory://bucket/out", "renaming://{place}/out", "file://{place}/out"])
def test_a_run_in_a_store_is_that_in_a_folder(store, run, place, kind):
    out = kind.format(place=place)
    assert run("run", "model.onnx", "album", "-o", "folder").code == 1
    words = ["run", "model.onnx", "album", "-o", out, "--batch", 1, "--shard", 1]
    assert run(*words, "--limit", 2).code == 1  # the second is broken
    assert run(*words).code == 2  # there is one already
    done = run(*words, "--resume")
    assert (done.code, "2 of them done before" in done.err) == (1, True)
    assert table(out) == table("folder")
    assert objects(out) == objects("folder")
    assert run("runs", "verify", out, "--photos").code == 0
    assert "5" in run("runs", "show", out).out
    assert "5 images" in run("report", out, "-o", "page.html").out
    assert "heat" in Path("page.html").read_text()
    assert run("runs", "merge", out, "folder", "-o", "joined").code == 0
    assert run("runs", "merge", out, "-o", f"{out}-too").code == 0
    assert table("joined") == table(f"{out}-too") == table("folder")
    assert objects("joined") == objects(f"{out}-too") == objects("folder")
    assert run(*words, "--overwrite", "--limit", 1).code == 0
    assert len(objects(out)) == 2


def test_from_a_store_to_a_store_without_a_disk(store, run):
    words = ["run", "model.onnx", "memory://bucket/photos", "-o", OUT, "--rows", "parquet"]
    pytest.importorskip("pyarrow")
    assert run(*words).code == 1
    assert run("runs", "verify", OUT, "--photos").code == 0
    assert run("report", OUT, "--json").records[0]["page"] == "report.html"
    page = Path("report.html").read_text()
    assert "onnxlens run" in page
    assert "not there any more" not in page
    one = run("run", "model.onnx", "memory://bucket/photos/a/x.png", "-o", "one")
    assert one.code == 0, one.err
    assert [r["path"] for r in rows("one")] == ["x.png"]


def test_what_lost_an_object_is_done_again(store, run):
    words = ["run", "model.onnx", "album", "-o", OUT, "--shard", 2]
    run(*words)
    before, there = table(OUT), objects(OUT)
    store.rm(f"/bucket/out/{sorted(there)[0]}")
    store.pipe("/bucket/out/pictures/stray.jpg", b"x")
    done = run("runs", "verify", OUT)
    assert done.code == 1
    assert {line.split(": ")[1] for line in done.out.splitlines()} == {"is not there", "no row names it"}
    store.rm("/bucket/out/pictures/stray.jpg")
    assert run(*words, "--resume").code == 1
    assert (table(OUT), objects(OUT)) == (before, there)


def test_of_two_runs_at_once_the_later_one_goes_on(store, run, monkeypatch):
    """The second begins while the first is about to write its second shard, and does all."""
    from onnxlens.models.runs.folder import RunFolder

    run("run", "model.onnx", "album", "-o", "folder")
    words = ["run", "model.onnx", "album", "-o", OUT, "--batch", 1, "--shard", 1]
    add, calls = RunFolder.add, []

    def adding(self, found):
        calls.append(found)
        if len(calls) == 2:
            assert run(*words, "--resume").code == 1
        add(self, found)

    monkeypatch.setattr(RunFolder, "add", adding)
    first = run(*words)
    assert first.code == 1
    assert "another run has taken over memory://bucket/out" in first.err.splitlines()[-1]
    assert table(OUT) == table("folder")
    assert run("runs", "verify", OUT).code == 0


def test_rows_that_two_runs_wrote_stand_there_once_after_all(store, run):
    words = ["run", "model.onnx", "album", "-o", OUT]
    run(*words)
    before = table(OUT)
    (shard,) = store.find("/bucket/out/rows")
    store.pipe("/bucket/out/rows/part-00000-ffff.jsonl", store.cat_file(shard))
    assert "stands there more than once" in run("runs", "verify", OUT).out
    assert run(*words, "--resume").code == 1
    assert table(OUT) == before
    assert run("runs", "verify", OUT).code == 0


@pytest.mark.parametrize("after", range(0, 12, 3))
def test_a_store_that_refuses_ends_the_run_and_it_goes_on_later(store, run, monkeypatch, after):
    run("run", "model.onnx", "album", "-o", "folder")
    words = ["run", "model.onnx", "album", "-o", OUT, "--batch", 1, "--shard", 1, "--workers", 1]
    real, count = type(store).pipe_file, []

    def refusing(self, path, value, **more):
        count.append(path)
        if len(count) > after:
            raise PermissionError("quota exceeded")
        return real(self, path, value, **more)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "pipe_file", refusing)
        done = run(*words)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"onnxlens: cannot write {OUT}/")
    assert "quota exceeded" in done.err
    assert run(*words, "--resume").code == 1
    assert (table(OUT), objects(OUT)) == (table("folder"), objects("folder"))


def test_no_row_is_written_before_its_files_however_slow_the_store_is(store, run, monkeypatch):
    """Pictures and maps take their time; of each shard all must be there when it is."""
    real, missing = type(store).pipe_file, []

    def slow(self, path, value, **more):
        if "/rows/" in path:
            named = [json.loads(line) for line in value.splitlines()]
            files = [row[key] for row in named for key in ("picture", "map") if row[key]]
            missing.extend(f for f in files if not self.exists(f"/bucket/out/{f}"))
        elif "manifest" not in path:
            time.sleep(0.02)
        return real(self, path, value, **more)

    monkeypatch.setattr(type(store), "pipe_file", slow)
    for ahead in (1, 256):
        monkeypatch.setattr("onnxlens.models.storage.bucket.AHEAD", ahead)
        words = ["run", "model.onnx", "album", "-o", OUT, "--batch", 1, "--shard", 2, "--overwrite"]
        assert run(*words).code == 1
        assert run("runs", "verify", OUT).code == 0
    assert missing == []


def test_commands_of_single_photos_read_them_at_addresses(store, place, run):
    address = "memory://bucket/photos/a/x.png"
    one, other = (run("predict", "model.onnx", p, "--json").records[0] for p in (address, "red.png"))
    assert one["predictions"] == other["predictions"]
    for command in ("gradcam", "occlusion", "saliency", "activations", "look"):
        done = run(command, "model.onnx", address, "-o", command)
        assert done.code == 0, done.err
    assert run("gradcam", "model.onnx", "red.png", "-o", "same").code == 0
    made, same = (sorted(Path(folder).glob("*.npy")) for folder in ("gradcam", "same"))
    assert [p.read_bytes() for p in made] == [p.read_bytes() for p in same]
    for words, said in (
        (["memory://bucket/photos/none.png"], "memory://bucket/photos/none.png: no such file"),
        (["memory://bucket/photos"], "memory://bucket/photos: no such file"),
        (["nonsense://x.png"], "nonsense://x.png: Protocol not known"),
        ([f"file://{place}/none.png"], "none.png: no such file"),
    ):
        done = run("gradcam", "model.onnx", *words, "-o", "never")
        assert (done.code, said in done.err.splitlines()[-1]) == (1, True), done.err


def test_commands_of_single_photos_write_to_folders_only(place, run):
    for words in (["gradcam", "model.onnx", "."], ["occlusion", "model.onnx", "."]):
        done = run(*words, "-o", "memory://bucket/out")
        assert (done.code, "`onnxlens run --method" in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    "root",
    [
        "reference://::file://{place}/evil.json",  # fsspec renders templates that such a file holds
        "simplecache::memory://bucket/photos",
        "http://127.0.0.1:9/photos",
        "sftp://stranger/photos",
        "github://a:b@main/photos",
        "nonsense://photos",
    ],
)
def test_a_run_leads_to_no_address_that_a_stranger_may_name(store, run, place, monkeypatch, root):
    assert run("run", "model.onnx", "album/a", "-o", "out").code == 0
    record = json.loads(Path("out/manifest.json").read_text()) | {"root": root.format(place=place)}
    Path("out/manifest.json").write_text(json.dumps(record))

    def refused(address, **_):
        raise AssertionError(address)

    monkeypatch.setattr(fsspec.core, "url_to_fs", refused)
    done = run("runs", "verify", "out", "--photos")
    assert (done.code, "are not read because a run says so" in done.out) == (1, True)
    assert run("report", "out", "-o", "page.html").code == 0
    page = Path("page.html").read_text()
    assert "are not read because a run says so" in page
    assert run("report", "out", "-o", "page.html", "--overwrite", "--photos", "album/a").code == 0
    assert "are not read because" not in Path("page.html").read_text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_folder_said_as_an_address_is_read_as_a_folder(place, run):
    """Nobody writes into the pipe: who opens it waits without end."""
    Path("album").mkdir()
    os.mkfifo("album/pipe.png")
    Path("album/1.png").write_bytes(Path("red.png").read_bytes())
    assert run("run", "model.onnx", f"file://{place}/album", "-o", "out").code == 1
    assert {r["path"]: r["error"] for r in rows("out")} == {"1.png": None, "pipe.png": "not a regular file"}
    assert run("runs", "verify", "out", "--photos").code == 0


@pytest.mark.parametrize("more", ["--resume", "--overwrite"])
def test_what_an_earlier_run_wrote_as_it_was_taken_over_stands_there_once(store, run, monkeypatch, more):
    """It had just looked who holds the run; its rows come after the later one listed them."""
    from onnxlens.models.runs.folder import RunFolder

    words = ["run", "model.onnx", "album", "-o", OUT, "--batch", 1, "--shard", 2]
    run(*words[:3], "-o", "folder")
    run(*words, "--limit", 1)
    end = RunFolder.end

    def ending(self, *about, **more):
        last = store.find("/bucket/out/rows")[-1]
        store.pipe(last.replace(self.mark, "ffff"), store.cat_file(last))
        assert len(table(OUT)) > 5
        end(self, *about, **more)

    monkeypatch.setattr(RunFolder, "end", ending)
    assert run(*words, more).code == 1
    assert run("runs", "verify", OUT).code == 0
    assert table(OUT) == table("folder")
    assert json.loads(store.cat_file("/bucket/out/manifest.json"))["counts"]["images"] == 5


@pytest.mark.parametrize(
    "words",
    [
        ("run", "model.onnx", "memory://bucket/many", "-o", "out", "--workers", 1),
        ("runs", "verify", OUT),
        ("runs", "verify", "folder", "--photos"),
        ("report", OUT),
    ],
)
def test_files_are_asked_for_several_at_a_time(store, run, monkeypatch, words):
    """The first four wait for each other, and fail where they do not come together."""
    for i in range(8):
        store.pipe(f"/bucket/many/{i}.png", Path("red.png").read_bytes())
    assert run("run", "model.onnx", "memory://bucket/many", "-o", OUT).code == 0
    assert run("run", "model.onnx", "memory://bucket/many", "-o", "folder").code == 0
    barrier, real, first = threading.Barrier(4, timeout=30), type(store).cat_file, itertools.count()

    def together(self, path, **more):
        if "/rows/" not in path and "manifest" not in path and next(first) < 4:
            barrier.wait()
        return real(self, path, **more)

    monkeypatch.setattr(type(store), "cat_file", together)
    assert run(*words).code == 0
