import json

import cv2
import numpy as np
import pytest
from oracles.toys import blob

from onnxlens.models.photo import read_photo


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


def test_json_and_chosen_channels_of_two_layers(run, album):
    done = run(
        "top", "model.onnx", album, "--layer", "[rp]*", "--channels", "2,0-1", "-k", 1, "--json", "-o", "out"
    )
    assert [(r["layer"], r["channel"]) for r in done.records] == [
        (layer, c) for layer in ("relu", "pool") for c in range(3)
    ]
    assert done.records[0]["schema"] == 1
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
