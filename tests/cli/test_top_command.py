import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from oracles.toys import blob

from onnxlens.models.photos.photo import read_photo


@pytest.fixture
def album(place):
    """A folder with photos of three colours, one of them below it, and a file that is no photo."""
    (place / "album" / "more").mkdir(parents=True)
    for i, (colour, name) in enumerate([(0, "red one.png"), (2, "blue.jpg"), (1, "more/<green>.png")]):
        cv2.imwrite(str(place / "album" / name), blob(at=(30 + 10 * i, 40), colour=colour)[..., ::-1])
    (place / "album" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return place / "album"


def test_pages_table_and_manifest(run, album):
    (album / "broken.png").unlink()
    done = run("top", "model.onnx", album, "--deconv", "-k", 2, "-o", "out")
    assert done.code == 0, done.err
    assert "3 photos, 3 channels" in done.err
    assert "relu: 3 channels -> out/relu-top.png" in done.out
    rows = [json.loads(line) for line in (album.parent / "out/top.jsonl").read_text().splitlines()]
    assert [(r["channel"], r["rank"]) for r in rows] == [(c, k) for c in range(3) for k in range(2)]
    assert [r["photo"].rsplit("album/")[1] for r in rows if r["rank"] == 0] == [
        "red one.png", "more/<green>.png", "blue.jpg",
    ]  # fmt: skip
    assert set(rows[0]) == {"layer", "channel", "rank", "score", "photo", "position", "field", "crop"}
    manifest = json.loads((album.parent / "out/manifest.json").read_text())
    assert manifest["command"] == "top"
    assert manifest["photos"] == 3
    assert manifest["results"][0]["pages"] == ["relu-top.png"]
    page = read_photo(album.parent / "out/relu-top.png")
    assert (np.ptp(page.reshape(-1, 3), 0) > 200).all()


@pytest.mark.parametrize(("k", "said"), [(2, "the 2 photos of 3"), (9, "the 3 photos of 3")])
def test_a_page_names_no_more_photos_than_there_are(run, album, monkeypatch, k, said):
    titles = []
    monkeypatch.setattr("onnxlens.engine.picture.titled", lambda page, lines: titles.extend(lines) or page)
    assert run("top", "model.onnx", album, "-k", k, "-o", "out", "--exit-zero").code == 0
    assert [title.split(": ")[1].startswith(said) for title in titles] == [True]


def test_json_and_chosen_channels_of_two_layers(run, album):
    done = run(
        "top", "model.onnx", album, "--layer", "[rp]*", "--channels", "2,0-1", "-k", 1, "--json", "-o", "out"
    )
    assert [(r["layer"], r["channel"]) for r in done.records] == [
        (layer, c) for layer in ("relu", "pool") for c in range(3)
    ]
    assert done.records[0]["schema"] == 2
    assert (album.parent / "out/relu-top.png").exists()


def test_what_cannot_be_read_is_named_and_the_rest_is_done(run, album):
    done = run("top", "model.onnx", album, "-o", "out")
    assert done.code == 1
    assert "broken.png" in done.err
    assert "3 photos, 3 channels, 1 could not be read" in done.err
    manifest = json.loads((album.parent / "out/manifest.json").read_text())
    assert (manifest["failed"], len(manifest["errors"])) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["empty"], "no photo in empty"),
        (["album", "--layer", "pol"], "nearest: pool"),
        (["album", "--layer", "scores"], "is no feature map"),
        (["album", "--channels", "3"], "layer 'relu' has no channel 3: it has 0 to 2"),
        (["album", "--channels", "3-1"], "3-1"),
        (["album", "-k", "0"], "0"),
        (["album/broken.png"], "no photo could be read"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(run, album, arguments, words):
    (album.parent / "empty").mkdir()
    done = run("top", "model.onnx", *arguments, "-o", "out", "-q")
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (album.parent / "out").exists()


# -- parts and choices -----------------------------------------------------------------------------------


@pytest.fixture
def many(place):
    """Twelve photos of which several answer equally."""
    (place / "many").mkdir()
    for i in range(12):
        picture = blob(at=(20 + 3 * (i % 4), 30), colour=i % 3)[..., ::-1]
        cv2.imwrite(str(place / f"many/{i:02}.png"), picture)
    (place / "many/05.png").write_bytes(b"\x89PNG")
    return place / "many"


def seen(folder):
    """All that was found: the table, and the manifest's counts."""
    about = json.loads(Path(folder, "manifest.json").read_text())
    return Path(folder, "top.jsonl").read_bytes(), about["photos"], about["failed"], about["errors"]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_tables_of_parts_are_that_of_the_whole(run, many, order):
    words = ["top", "model.onnx", "many", "-k", 3, "--layer", "[rp]*", "--batch", 2]
    assert run(*words, "-o", "whole").code == 1
    for i in order:
        assert run(*words, "--part", f"{i}/3", "-o", f"parts/{i}").code == (1 if i == 2 else 0)
    assert sum(seen(f"parts/{i}")[1] for i in order) == 11
    tables = [f"parts/{i}/top.npz" for i in order]
    done = run("top", "model.onnx", *tables, "-k", 3, "--layer", "[rp]*", "-o", "joined")
    assert done.code == 1, done.err
    assert seen("joined") == seen("whole")
    assert Path("joined/relu-top.png").read_bytes() == Path("whole/relu-top.png").read_bytes()
    # A table and the photos that it lacks, and one that is named twice but for the counts.
    some = [f"many/{i:02}.png" for i in range(4)]
    rest = [f"many/{i:02}.png" for i in range(4, 12)]
    run(*words[:2], *some, *words[3:], "-o", "some")
    run(*words[:2], *rest, "some/top.npz", *words[3:], "-o", "grown")
    assert seen("grown") == seen("whole")
    run(*words[:2], *tables, tables[0], *words[3:], "-o", "twice")
    assert seen("twice")[0] == seen("whole")[0]


def test_tables_that_do_not_belong_together(run, many):
    words = ["top", "model.onnx", "many", "-k", 3]
    run(*words, "-o", "one")
    for more, key in ((["-k", 2], "k"), (["--channels", "0"], "rows"), (["--preset", "raw"], "preprocess")):
        done = run(*words[:2], "one/top.npz", "-k", 3, *more, "-o", "out")
        assert (done.code, f"was made with {key}" in done.err) == (2, True), done.err
    whole = Path("one/top.npz").read_bytes()
    with np.load("one/top.npz") as held:
        parts = dict(held)
    for damaged in (
        whole[:-30],
        b"",
        b"PK",
        parts | {"owners": parts["owners"] + 100},
        {"about": parts["about"]},
    ):
        Path("bad").mkdir(exist_ok=True)
        if isinstance(damaged, dict):
            np.savez("bad/top.npz", **damaged)
        else:
            Path("bad/top.npz").write_bytes(damaged)
        done = run("top", "model.onnx", "bad/top.npz", "-k", 3, "-o", "out")
        assert (done.code, "is no whole table" in done.err) == (2, True), done.err
    assert not Path("out").exists()


def test_lists_limits_and_samples(run, many, monkeypatch):
    words = ["top", "model.onnx", "-k", 20, "--channels", "0", "-q"]

    def photos(folder):
        return [Path(json.loads(line)["photo"]).name for line in seen(folder)[0].splitlines()]

    assert run(*words, "many", "--limit", 3, "-o", "few").code == 0
    assert sorted(photos("few")) == ["00.png", "01.png", "02.png"]
    Path("list.txt").write_text("many/07.png\nmany/01.png\n")
    assert run(*words, "--input-list", "list.txt", "-o", "listed").code == 0
    assert sorted(photos("listed")) == ["01.png", "07.png"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"many/03.png\0many/04.png")))
    assert run(*words, "-", "-o", "piped").code == 0
    assert sorted(photos("piped")) == ["03.png", "04.png"]
    run(*words, "many", "--sample", 4, "--seed", 3, "-o", "drawn")
    run(*words, "many", "--sample", 4, "--seed", 3, "-o", "again")
    assert seen("drawn") == seen("again")
    assert run(*words, "-o", "none").code == 2
