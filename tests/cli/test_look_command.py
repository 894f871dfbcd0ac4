"""`onnxlens look`: one page with everything, which needs nothing but itself and runs no stranger's code."""

import json
import shlex
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import onnx
import pytest
from oracles.browser import CHROMIUM, available, browser, listener, opened
from oracles.toys import COLOURS, UNIT, blob, colours

from onnxlens.cli.commands.photos.ways import WAYS
from onnxlens.engine.attribution.methods import METHODS
from onnxlens.models.embedded.scenes import CLASSES, TEST_SEEDS, scene

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page consists of: elements with their attributes, and its texts by the element around them."""

    def __init__(self, file):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(Path(file).read_text())
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self._open[-1], data))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def cat(place):
    cv2.imwrite("cat.png", scene(TEST_SEEDS[3], size=120).image[..., ::-1])
    return "cat.png"


def test_the_page_shows_all_ways_with_pictures(cat, run):
    done = run("look", "scenes", cat, "-o", "page", "--json")
    assert done.code == 0, done.err
    (record,) = done.records
    assert record["missing"] == {}
    assert record["predictions"][0]["label"] == "cat"
    page = Page("page/index.html")
    assert [e["id"] for e in page.all("section")] == list(WAYS)
    assert len(page.all("img")) > 10
    assert json.loads(Path("page/manifest.json").read_text())["command"] == "look"


def test_more_methods_are_panels_too(cat, run):
    more = [name for name, method in METHODS.items() if name not in WAYS and not method.needs]
    done = run("look", "scenes", cat, "-o", "page", "--method", "all", "--target", "cat", "--json")
    assert (done.code, done.records[0]["missing"]) == (0, {})
    page = Page("page/index.html")
    assert [e["id"] for e in page.all("section")] == [*WAYS, *more]
    titles = [text for _, text in page.texts]
    assert all(METHODS[name].title in titles for name in more)
    assert any("onnxlens deconvnet" in line and "--target cat" in line for line in titles)
    assert run("look", "scenes", cat, "-o", "one", "--method", "deconvnet").code == 0
    page = Page("one/index.html")
    assert [e["id"] for e in page.all("section")] == [*WAYS, "deconvnet"]
    # The panel is of the class, so the command is.
    assert any("deconvnet" in line and "--target top1" in line for _, line in page.texts)
    refused = run("look", "scenes", cat, "-o", "other", "--method", "lrb")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "nearest: lrp" in refused.err


def test_the_page_needs_nothing_from_elsewhere_and_has_no_script(cat, run):
    assert run("look", "scenes", cat, "-o", "page").code == 0
    page = Page("page/index.html")
    for tag in ("script", "link", "iframe", "object", "embed", "base", "form"):
        assert not page.all(tag)
    assert all(img["src"].startswith("data:image/") and img["alt"] for img in page.all("img"))
    assert all(a["href"].startswith("#") for a in page.all("a"))
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert any("default-src 'none'" in meta.get("content", "") for meta in page.all("meta"))
    assert "http" not in Path("page/index.html").read_text().replace("http-equiv", "")


def test_every_command_on_the_page_works_as_it_stands(cat, run):
    Path("names.txt").write_text("\n".join(CLASSES))
    settings = ("--preset", "unit", "--labels", "names.txt", "--provider", "cpu", "--threads", "1")
    assert run("look", "scenes", cat, *settings, "-o", "page").code == 0
    commands = [text for tag, text in Page("page/index.html").texts if tag == "code"]
    lines = [line for text in commands for line in text.splitlines()]
    assert len(lines) >= len(WAYS)
    for i, line in enumerate(lines):
        words = shlex.split(line)
        assert words.pop(0) == "onnxlens"
        if words[0] == "dream":  # the same in fewer steps
            words += ["--iterations", "1", "--octaves", "1"]
        done = run(*words, "-o", f"again-{i}")
        assert done.code == 0, f"{line}\n{done.err}"


def test_the_convention_goes_to_every_panel_and_its_command(cat, run):
    assert run("look", "scenes", cat, "--convention", "cells", "--method", "layercam", "-o", "page").code == 0
    assert json.loads(Path("page/manifest.json").read_text())["arguments"]["convention"] == "cells"
    commands = [text for tag, text in Page("page/index.html").texts if tag == "code"]
    said = {text.split()[1]: "--convention cells" in text for text in commands}
    assert said.items() >= {"gradcam": True, "layercam": True, "activations": True, "weights": False}.items()
    assert run("look", "scenes", cat, "-o", "usual").code == 0
    assert "--convention" not in Path("usual/index.html").read_text()


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("unit", "120 x 120 pixels, seen as 96 x 96"),
        ("imagenet", "120 x 120 pixels, of which the middle 105 x 105 is seen as 96 x 96"),
    ],
)
def test_the_page_says_how_much_of_the_photo_the_model_sees(preset, said, cat, run):
    assert run("look", "scenes", cat, "--preset", preset, "-o", "page").code == 0
    assert any(said in text for _, text in Page("page/index.html").texts)


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "speak for the most probable classes."), (("--target", "fish"), "speak for fish.")],
)
def test_the_page_says_which_class_it_is_about(words, said, cat, run):
    assert run("look", "scenes", cat, *words, "-o", "page").code == 0
    assert any(text.endswith(said) for tag, text in Page("page/index.html").texts if tag == "p")


def test_the_layer_that_is_asked_for_is_the_one_that_is_looked_at(cat, run):
    assert run("look", "scenes", cat, "--layer", "relu4", "-o", "page").code == 0
    texts = [text for tag, text in Page("page/index.html").texts if tag in ("p", "code")]
    assert any("channels of relu4, weighted" in text for text in texts)
    for name in ("gradcam", "occlusion", "top", "deconvnet"):
        (line,) = (i for text in texts for i in text.splitlines() if i.startswith(f"onnxlens {name} "))
        assert "--layer relu4" in line


def test_what_a_model_does_not_allow_is_said_in_its_place(place, run):
    """The colours' head is one matrix: nothing of what the last layer holds speaks for the sky."""
    done = run("look", "model.onnx", "red.png", "--target", "sky", "-o", "page", "--json")
    assert done.code == 0, done.err
    notes = [text for tag, text in Page("page/index.html").texts if tag == "p"]
    assert any("no evidence" in note or "no weight" in note for note in notes)


HOSTILE = '<script src="{at}/x"></script>"\'><img src={at}/y onerror=alert(1)>'


def hostile(place, at):
    """A model, a photo and a folder whose every name is an attack."""
    name = HOSTILE.format(at=at)
    model = colours(preprocess=UNIT, labels=[name, *COLOURS[1:]])
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, value in enumerate(names):
                if value == "relu":
                    names[i] = name
    onnx.save(model, "hostile.onnx")
    image = "<b onclick=x>&quot;'\".png"
    cv2.imwrite("plain.png", blob(at=(20, 30))[..., ::-1])
    (place / "plain.png").rename(place / image)
    return image, name


def test_pixels_as_whole_numbers_leave_out_what_needs_their_gradient(place, run):
    model = colours(preprocess=None)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    model.graph.node[0].input[0] = "floats"
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["image"], ["floats"], to=1))
    onnx.save(model, "whole.onnx")
    done = run("look", "whole.onnx", "red.png", "-o", "out", "--json")
    assert done.code == 0, done.err
    missing = json.loads(done.out)["missing"]
    assert "'floats'" in missing["pixels"]
    assert not {"gradcam", "occlusion", "responses", "weights"} & missing.keys()
    assert "onnxlens deconvnet whole.onnx" in Path("out/index.html").read_text()


def test_names_that_are_attacks_stay_names(place, run):
    image, name = hostile(place, "http://127.0.0.1:9")
    done = run("look", "hostile.onnx", image, "-o", "page")
    assert done.code == 0, done.err
    page = Page("page/index.html")
    assert not page.all("script")
    assert not page.all("b") or all(not attrs for attrs in page.all("b"))
    assert all(img["src"].startswith("data:") for img in page.all("img"))
    assert any(name in text for _, text in page.texts)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [420, 1400])
def test_a_browser_shows_the_page_and_asks_nobody_for_anything(place, run, width):
    with listener() as (at, asked):
        image, _ = hostile(place, at)
        assert run("look", "hostile.onnx", image, "-o", "page").code == 0
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={place}/profile"]
        shot = [f"--window-size={width},2000", "--screenshot=shot.png", "page/index.html"]
        subprocess.run([CHROMIUM, *flags, *shot], check=True, capture_output=True, timeout=120)
    seen = cv2.imread("shot.png")
    assert seen.shape[1] == width
    # Pictures, and not a blank page.
    assert len({tuple(c) for c in seen[::7, ::7].reshape(-1, 3).tolist()}) > 200
    assert asked == []
    # Nothing is wider than the window: its right edge is the page's own background.
    assert (seen[:, -3:].std(axis=(0, 1)) < 12).all()


def test_on_something_small_the_photo_comes_before_the_layers_and_sheets_can_be_read(cat, run):
    if why := available():
        pytest.skip(why)
    assert run("look", "scenes", cat, "-o", "page").code == 0
    with browser() as driver:
        opened(driver, Path("page/index.html"), 390, 844)
        title, layers, sheet, wide = driver.execute_script(
            "const at = (what) => document.querySelector(what).getBoundingClientRect();"
            "return [at('h1').top, at('.layers').top - at('main').bottom, at('figure.wide img').width,"
            " document.documentElement.scrollWidth]"
        )
        opened(driver, Path("page/index.html"), 820, 1180)  # on a tablet the answers stand beside the photo
        photo, answers = driver.execute_script(
            "const at = (what) => document.querySelector(what).getBoundingClientRect();"
            "return [at('.top img').top, at('.top table').top]"
        )
    assert photo == answers
    assert title < 400
    assert layers >= 0
    assert sheet > 700
    assert wide == 390


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.png"], "nowhere.png: no such file"),
        (["."], "a folder; say one of its photos"),
        (["cat.png", "--layer", "relu9"], "no layer 'relu9'"),
        (["cat.png", "--target", "dog"], "dog"),
    ],
)
def test_a_bad_request_is_one_line_and_writes_nothing(cat, run, words, said):
    done = run("look", "scenes", *words, "-o", "page")
    assert done.code in (1, 2)
    assert said in done.err.splitlines()[-1]
    assert not Path("page").exists()
