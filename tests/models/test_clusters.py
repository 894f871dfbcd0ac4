"""Where does it cheat: a planted watermark that decides is found, by the command and on its page."""

import json
from itertools import pairwise

import cv2
import numpy as np
import onnx
import pytest
from oracles.browser import available, browser, opened, requests
from oracles.toys import UNIT, blob, colours

from onnxlens.cli import main

pytest.importorskip("sklearn")
RNG = np.random.default_rng(0)


def photo(i):
    """A spot of some colour somewhere; every third photo is grey but for a red mark at the bottom right."""
    if i % 3 == 0:
        return blob(32, 32, (28 + RNG.random(), 27 + RNG.random()), 0, 2)
    return blob(32, 32, RNG.integers(4, 28, 2), i % 3 - 1, 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of 60 photos by a model that knows colours, 20 of them with the mark."""
    folder = tmp_path_factory.mktemp("cluster")
    onnx.save(colours(preprocess=UNIT), folder / "model.onnx")
    (folder / "photos").mkdir()
    for i in range(60):
        cv2.imwrite(str(folder / "photos" / f"{i:02}.png"), photo(i)[..., ::-1])
    for words in (("maps",), ("few", "--limit", 5), ("none", "--no-maps")):
        run, *more = words
        assert command("run", folder / "model.onnx", folder / "photos", *more, "-o", folder / run) == 0
    return folder


def command(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_the_mark_is_a_group_of_its_own_and_comes_first(place, capfd):
    assert command("cluster", place / "maps", "--json", "-q", "-o", place / "a.html") == 0
    groups = json.loads(capfd.readouterr().out.splitlines()[-1])["groups"]
    assert sum(group["maps"] for group in groups) == 60
    first = groups[0]
    marked = {f"{i:02}.png" for i in range(0, 60, 3)}
    assert first["where"] == "bottom right"
    assert len(marked & {*first["paths"]}) >= 19
    assert len({*first["paths"]} - marked) <= 2
    assert all(a["alike"] >= b["alike"] for a, b in pairwise(groups))


def test_of_one_class_there_are_the_maps_of_that_alone(place, capfd):
    assert command("cluster", place / "maps", "--class", "red", "-o", place / "b.html") == 0
    said = capfd.readouterr().out
    assert "all look at the bottom right" in said.splitlines()[0]
    assert "green" not in said


def test_the_page_shows_the_groups_and_asks_nobody(place):
    if why := available():
        pytest.skip(why)
    assert command("cluster", place / "maps", "--overwrite") == 0
    with browser() as driver:
        opened(driver, place / "maps" / "clusters.html")
        titles = driver.execute_script("return [...document.querySelectorAll('h2')].map((h) => h.innerText)")
        wide = driver.execute_script("return [...document.images].map((i) => i.naturalWidth)")
        assert driver.get_log("browser") == []
        assert requests(driver) == []
    assert "bottom right" in titles[0]
    assert min(wide) > 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["maps", "--class", "redd"], "nearest: red"),
        (["maps", "--method", "layercam"], "no maps of 'layercam'"),
        (["few"], "5 maps are too few"),
        (["none"], "no map of this run is written"),
        (["nowhere"], "holds no run"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(place, capfd, words, said):
    run, *rest = words
    assert command("cluster", place / run, *rest, "-q", "-o", place / "c.html") == 2
    error = capfd.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (place / "c.html").exists()
