"""`onnxlens dream`: what it writes, what it says, and what it refuses before it begins."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxlens.cli.commands.dreams.film import encode_gif, encode_mp4
from onnxlens.models.photos.photo import read_photo

QUICK = ("--iterations", 2, "--octaves", 2, "-q")


def test_a_photo_is_dreamed_and_laid_beside_itself(place, run):
    done = run("dream", "model.onnx", "red.png", "--layer", "relu", *QUICK, "--json")
    assert done.code == 0
    (record,) = done.records
    assert record["objective"] == 'layer("relu")'
    assert [o["size"] for o in record["octaves"]] == [[43, 64], [60, 90]]
    assert all(o["after"][0] > o["before"][0] for o in record["octaves"])
    assert record["seen_as"][0]["label"] == "red"
    out = place / "onnxlens-out"
    assert read_photo(out / record["files"]["pictures"][0]).shape == (60, 90, 3)
    beside = read_photo(out / record["files"]["beside"])
    np.testing.assert_array_equal(beside[8:68, 8:98], read_photo("red.png"))
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"] == "dream"
    assert manifest["results"][0]["octaves"] == record["octaves"]


def test_a_class_from_noise(place, run):
    done = run("dream", "model.onnx", "--target", "blue", "--iterations", 24, "-q")
    assert done.code == 0
    assert "noise: odds(2) from" in done.out
    assert "now taken for 2 blue" in done.out


def test_a_run_repeats_to_the_byte(place, run):
    for folder in "ab":
        for start in ([], ["red.png"]):
            name = f"{folder}{len(start)}"
            assert run("dream", "model.onnx", *start, *QUICK, "--seed", 5, "-o", name).code == 0
    for kind in "01":
        one, other = (sorted(Path(f"{f}{kind}").glob("*.png")) for f in "ab")
        assert [p.name for p in one] == [p.name for p in other] != []
        assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def test_several_starts_stand_in_one_picture(place, run):
    done = run("dream", "model.onnx", "red.png", "blue.jpg", "missing.png", *QUICK, "--side", 48, "--json")
    assert done.code == 1
    assert "missing.png: no such file" in done.err
    assert [r["image"] for r in done.records] == ["red.png", "blue.jpg", "missing.png"]
    assert read_photo("onnxlens-out/red.png").shape == (32, 48, 3)
    assert read_photo("onnxlens-out/starts.png").shape == (2 * (256 + 8) + 8, 2 * (384 + 8) + 8, 3)


def test_a_batch_and_pictures_on_the_way(place, run):
    done = run(
        "dream", "model.onnx", "--objective", "odds(red) + 0.1*diversity(relu)", "--count", 3,
        "--iterations", 6, "--save-every", 3, "-q",
    )  # fmt: skip
    assert done.code == 0
    names = {p.name for p in Path("onnxlens-out").glob("*.png")}
    assert {"noise.png", "noise-2.png", "noise-3.png", "noise-beside.png"} <= names
    assert {"noise-00003.png", "noise-00003-3.png", "noise-00006.png"} <= names


def test_a_guide_and_a_direction(place, run):
    assert run("dream", "model.onnx", "red.png", "--layer", "relu", "--guide", "blue.jpg", *QUICK).code == 0
    np.save("v.npy", np.array([0.0, 0.0, 1.0]))
    done = run(
        "dream", "model.onnx", "red.png", "--objective", "direction(relu, v)", "--vector", "v=v.npy",
        *QUICK, "--overwrite", "--json",
    )  # fmt: skip
    assert done.code == 0
    last = done.records[0]["octaves"][-1]
    assert last["after"][0] > last["before"][0]


def test_a_film_is_a_gif_and_an_mp4(place, run):
    done = run("dream", "model.onnx", "red.png", "--zoom", 4, "--side", 50, *QUICK, "--json")
    assert done.code == 0
    files = done.records[0]["files"]
    found, film = cv2.imreadanimation(f"onnxlens-out/{files['gif']}")
    assert found
    assert [f.shape[:2] for f in film.frames] == [(33, 50)] * 4
    assert len(mp4(Path("onnxlens-out") / files["mp4"])) == 4
    last = read_photo(Path("onnxlens-out") / files["last"])
    assert last.shape == (33, 50, 3)


def mp4(path: Path) -> list[np.ndarray]:
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames


def test_films_show_what_went_in(tmp_path):
    ramp = np.linspace(0, 200, 64, dtype=np.uint8)
    rows = np.tile(ramp, (48, 1))
    frames = [np.stack([rows, np.full_like(rows, 40 * i), 255 - rows], -1) for i in range(5)]
    (tmp_path / "film.gif").write_bytes(encode_gif(frames, 10))
    (tmp_path / "film.mp4").write_bytes(encode_mp4(frames, 10))
    _, film = cv2.imreadanimation(str(tmp_path / "film.gif"))
    assert list(np.ravel(film.durations)) == [100] * 5
    for back in ([f[..., 2::-1] for f in film.frames], mp4(tmp_path / "film.mp4")):
        assert len(back) == 5
        for frame, shown in zip(frames, back, strict=True):
            assert np.abs(frame.astype(int) - shown).mean() < 12


WRONG = {
    "--layer relu --target red": "--layer and --target both say",
    "--target top3": "depends on a photo",
    "--target purple": "no class is called 'purple'",
    "--layer rellu": "nearest: relu",
    "--layer mean": "is no feature map",
    "--objective chanel(relu,1)": "nearest: channel",
    "--objective channel(relu,3)": "they go from 0 to 2",
    "--objective ((((": "expected a term",
    "--target red --guide blue.jpg": "--guide brings out features of a --layer",
    "--objective class(red) --guide blue.jpg": "--guide goes with one guide",
    "--objective direction(relu,v) --vector v=none.npy": "No such file",
    "--objective direction(relu,v) --vector red.png": "say NAME=FILE.npy",
    "--objective direction(relu,v) --vector v=red.png": "--vector v=red.png",
    "--zoom 3 --count 2": "--zoom makes one film",
    "--zoom 3 --fourier": "--zoom makes one film",
    "--zoom 3 --save-every 1": "--save-every goes with pictures",
    "--fourier --side 99": "--side goes with --pixels",
    "--zoom 10000 --side 4096": "say a smaller --side",
    "--count 256 --side 4096": "say a smaller --side",
    "--zoom 0": "--zoom",
    "--iterations 0": "--iterations",
    "--step 0": "--step",
    "--seed -1": "--seed",
}


@pytest.mark.parametrize("options", WRONG)
def test_what_cannot_be_is_said_in_one_line_and_nothing_is_written(place, run, options: str):
    done = run("dream", "model.onnx", "red.png", *options.split(), "-q")
    assert done.code == 2, done.err
    assert WRONG[options] in done.err
    assert done.err.count("\n") == 1
    assert not (place / "onnxlens-out").exists()


def test_a_damaged_guide_and_a_pickle(place, run):
    Path("junk.png").write_bytes(b"junk")
    done = run("dream", "model.onnx", "red.png", "--guide", "junk.png", "--layer", "relu", "-q")
    assert done.code == 1
    assert "junk.png" in done.err
    np.save("evil.npy", np.array([{}], object), allow_pickle=True)
    done = run("dream", "model.onnx", "red.png", "--objective", "direction(relu,v)", "--vector", "v=evil.npy")
    assert done.code == 2
    assert "evil.npy" in done.err
