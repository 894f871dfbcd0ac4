"""`onnxlens concepts`: planted concepts are found, by the command and on its page."""

import cv2
import numpy as np
import onnx
import pytest
from oracles.browser import available, browser, opened, requests
from oracles.toys import UNIT, blob, colours

pytest.importorskip("sklearn")
RNG = np.random.default_rng(0)
AT = RNG.integers(6, 26, (12, 2))


def photo(i):
    """A red spot, and a smaller green one that the red class does without."""
    red, green = (
        blob(32, 32, at, k, radius).astype(int) for at, k, radius in ((AT[i], 0, 4), (AT[i - 5], 1, 2))
    )
    return np.clip(red + green - 110, 0, 255).astype(np.uint8)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(colours(preprocess=UNIT), "model.onnx")
    (tmp_path / "photos").mkdir()
    for i in range(len(AT)):
        cv2.imwrite(f"photos/{i:02}.png", photo(i)[..., ::-1])
    return tmp_path


def test_what_decides_is_the_first_concept_and_its_patches_show_it(photos, run):
    done = run("concepts", "model.onnx", "photos", "--layer", "relu", "-k", "2", "-o", "out", "--json", "-q")
    assert done.code == 0, done.err
    (record,) = done.records
    assert record["target"] == {"index": 0, "label": "red"}
    assert record["photos"] == 12
    assert record["explained"] > 0.99
    first, second = record["concepts"]
    assert first["importance"] > 0.7 > 0.3 > second["importance"]
    vector = np.load(photos / "out" / "concept-1.npy")
    assert vector.argmax() == 0
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    for patch in first["patches"][:5]:
        (y0, x0, y1, x1), (y, x) = patch["box"], AT[int(patch["path"][-6:-4])]
        assert y0 <= y + 2 and y - 2 <= y1 and x0 <= x + 2 and x - 2 <= x1  # noqa: PT018


def test_the_vector_is_one_to_dream_of(photos, run):
    assert run("concepts", "model.onnx", "photos", "--layer", "relu", "-k", "2", "-o", "out", "-q").code == 0
    words = (
        "--objective",
        "direction(relu, v)",
        "--vector",
        "v=out/concept-1.npy",
        "--iterations",
        "3",
        "-o",
        "dreams",
    )
    assert run("dream", "model.onnx", *words, "-q").code == 0


def test_the_page_shows_them_and_asks_nobody(photos, run):
    if why := available():
        pytest.skip(why)
    assert run("concepts", "model.onnx", "photos", "--layer", "relu", "-k", "2", "-o", "out").code == 0
    with browser() as driver:
        opened(driver, photos / "out" / "concepts.html")
        titles = driver.execute_script("return [...document.querySelectorAll('h2')].map((h) => h.innerText)")
        wide = driver.execute_script("return [...document.images].map((i) => i.naturalWidth)")
        assert driver.get_log("browser") == []
        assert requests(driver) == []
    assert [title.split()[1] for title in titles] == ["1", "2"]
    assert len(wide) > 10
    assert min(wide) > 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layer", "conv"], "below zero"),
        (["--layer", "reluu"], "nearest"),
        (["--target", "blue"], "0 of 12 photos are taken for 'blue'"),
        (["--limit", "3"], "3 of 3 photos"),
        (["-k", "9", "--layer", "relu"], "at most 3"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(photos, run, words, said):
    done = run("concepts", "model.onnx", "photos", "-q", "-o", "out", *words)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (photos / "out").exists()
