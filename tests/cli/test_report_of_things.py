"""`onnxlens report` on runs over what models find: how many of each class, where, and a card of each."""

import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from oracles.browser import available, browser, opened, requests
from oracles.things import detector, segmenter, spots

from onnxlens.models.report.report import report

PHOTOS = {
    "a.png": spots((24, 36, 0), (40, 84, 0)),
    "b.png": spots((400, 600, 2), (240, 120, 1), height=640, width=960, reach=50),
    "none.png": spots(),
}


@pytest.fixture(scope="module")
def chromium():
    if why := available():
        pytest.skip(why)
    with browser() as driver:
        yield driver


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(detector(), "boxes.onnx")
    onnx.save(segmenter(), "regions.onnx")
    Path("photos").mkdir()
    for name, photo in PHOTOS.items():
        cv2.imwrite(f"photos/{name}", photo[..., ::-1])
    return tmp_path


@pytest.fixture
def page(chromium, place, run):
    """The page of a run over all boxes by two methods, open in a browser."""
    words = ["--target", "every", "--method", "gradcam,saliency"]
    done = run("run", "boxes.onnx", "photos", *words, "-o", "r")
    assert done.code == 0, done.err
    assert run("report", "r").code == 0
    opened(chromium, Path("r/report.html"))
    yield chromium
    assert chromium.get_log("browser") == []
    assert requests(chromium) == []


def status(driver):
    return driver.execute_script("return document.getElementById('status').textContent")


def choose(driver, name, value):
    script = "const f = document.getElementById('controls').elements[arguments[0]]; f.value = arguments[1];"
    driver.execute_script(script + "f.dispatchEvent(new Event('input', { bubbles: true }))", name, value)


def texts(driver, what):
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", what
    )


def test_each_box_lies_in_the_photo_where_the_spot_is(place, run):
    assert run("run", "boxes.onnx", "photos", "--target", "every", "-o", "r").code == 0
    data = report("r").data
    images = {image["path"]: image for image in data["images"]}
    assert [t["class_label"] for t in images["a.png"]["things"]] == ["red", "red"]
    assert {t["class_label"] for t in images["b.png"]["things"]} == {"blue", "green"}
    assert images["none.png"]["things"] == []
    assert data["classes"] == [["red", 2, pytest.approx(0.9, abs=0.1)]] + [
        [name, 1, pytest.approx(0.9, abs=0.1)] for name in ("blue", "green")
    ]
    assert data["confusion"] == []
    for name, photo in PHOTOS.items():
        for thing in images[name]["things"]:
            y0, x0, y1, x1 = thing["box"]
            colour = ["red", "green", "blue"].index(thing["class_label"])
            cut = photo[max(round(y0), 0) : round(y1), max(round(x0), 0) : round(x1)]
            assert cut[..., colour].max() > 240
            top, left, bottom, right = thing["window"]
            assert 0 <= top <= max(y0, 0) < min(y1, photo.shape[0]) <= bottom <= photo.shape[0]
            assert 0 <= left <= max(x0, 0) < min(x1, photo.shape[1]) <= right <= photo.shape[1]
            # Of a photo larger than its thumbnail there is a sharper picture of the thing.
            assert bool(thing["picture"]) == (name == "b.png")


def test_commands_of_the_page_make_the_maps_of_things_again(place, run):
    for model in ("boxes", "regions"):
        assert run("run", f"{model}.onnx", "photos", "--target", "every", "-o", model).code == 0
        rows = [json.loads(line) for path in Path(model, "rows").iterdir() for line in path.open()]
        kept = {(row["path"], row["target_label"]): row["map"] for row in rows}
        for image in report(model).data["images"]:
            for map_ in image["maps"]:
                words = [*shlex.split(map_["command"]), "--overwrite"]
                assert run(*words[1:]).code == 0, words
                made = list(Path(words[words.index("-o") + 1]).glob("maps/**/*.npy"))
                name = kept[image["path"], map_["target_label"]]
                assert len(made) == bool(name)
                if name:
                    np.testing.assert_array_equal(np.load(made[0]), np.load(Path(model, name)))


def test_the_summary_counts_things_and_leads_to_them(page):
    assert texts(page, "#classes-title") == ["Things that were found"]
    assert texts(page, "#classes tbody tr")[0].startswith("red2")
    assert page.execute_script("return document.getElementById('confusion-section').hidden")
    found = {", ".join(sorted(text.split(", "))) for text in texts(page, ".open .verdict")}
    assert found == {"2 red", "blue, green", "nothing found"}
    page.execute_script("[...document.querySelectorAll('#classes button')][1].click()")
    assert status(page) == "1 image of 3"
    assert len(texts(page, ".cards figcaption")) == 3  # the photo, and of both methods the map of that box
    page.find_element("id", "clear").click()
    assert status(page) == "3 images"


def test_a_gallery_of_boxes_shows_what_is_around_each(page):
    choose(page, "cards", "thing")
    assert status(page) == "4 things"
    choose(page, "label", "=red")
    assert status(page) == "2 things of 4"
    seen = page.execute_script(
        "return [...document.querySelectorAll('.cards .stack')].map((s) => {"
        " const at = (e) => e.getBoundingClientRect();"
        " const [a, f, i] = [at(s), at(s.querySelector('.frame')), at(s.querySelector('img'))];"
        " const shares = [f.width / a.width, f.height / a.height, i.width / a.width];"
        " return [f.left - a.left, f.top - a.top, ...shares] })"
    )
    assert len(seen) == 6
    for left, top, width, height, whole in seen:
        assert left > 1
        assert top > 1
        assert 0.3 < width < 0.95
        assert 0.3 < height < 0.95
        assert whole > 1.2  # the photo is larger than what is seen of it
    page.execute_script("show(0)")
    assert len(texts(page, "dialog figure")) == 3
    facts = dict(zip(texts(page, "dialog dt"), texts(page, "dialog dd"), strict=True))
    assert facts["box"].startswith("rows ")
    page.execute_script("document.getElementById('dialog').close()")
    choose(page, "cards", "")
    assert status(page) == "1 image of 3"


@pytest.mark.parametrize("width", [360, 1400])
def test_things_fit_their_window(chromium, place, run, width):
    assert run("run", "boxes.onnx", "photos", "--target", "every", "-o", "r").code == 0
    assert run("report", "r").code == 0
    opened(chromium, Path("r/report.html"), width, 900)
    choose(chromium, "cards", "thing")
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
