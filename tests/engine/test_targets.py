"""The language of targets: what each term comes to, where the answer is known, and what it refuses."""

import cv2
import numpy as np
import pytest
from oracles import answers
from oracles.answers import spots

from onnxlens.engine.anatomy.readouts.thing import Seed
from onnxlens.engine.errors import BadRequest, NoMap
from onnxlens.engine.targets.aim import MAX_NUMBERS, Aim
from onnxlens.engine.targets.terms import TARGETS
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens

TWO, LINE = spots(((20, 30), 0), ((44, 70), 2)), spots(((7, 20), 0), ((7, 60), 2), size=(14, 90))
CAT = scene(TEST_SEEDS[3], size=96).image


@pytest.fixture(scope="module")
def lenses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    answers.save(folder)
    cv2.imwrite(str(folder / "blue.png"), spots(((44, 70), 2))[..., ::-1])
    found = {name: Lens(folder / f"{name}.onnx") for name in answers.MODELS}
    return {**found, "scenes": Lens("scenes"), "other": str(folder / "blue.png")}


def asked(lens, photo, *targets, method="saliency", **options):
    return lens.attribute(photo, method, list(targets), **options)


def score(lens, photo, target):
    return asked(lens, photo, target)[0].score


def outputs(lens, photo, *names):
    return lens.network.run(lens.feeds(photo)[0], list(names) or None)


def cells(lens, of="z"):
    """Scores (3, 8, 8) of each class in each cell of the detector, before their Sigmoid or behind it."""
    return outputs(lens, TWO, of)[of][0, -3:].reshape(3, 8, 8)


# Of each term a target, on which model, the number that it is, and what it is called.
TERMS = {
    "class": ("detector", "class(blue)", lambda m: cells(m)[2].max(), "box 1: blue"),
    "box": ("detector", "box(blue, 0.5)", lambda m: cells(m)[2].max(), "box 1: blue"),
    "region": (
        "segmenter",
        "region(red, 15:30, 15:45)",
        lambda m: outputs(m, TWO)["logits"][0, 1, 16:32, 11:32].mean(),
        "region of red in rows 15:30, columns 15:45",
    ),
    "pixel": (
        "segmenter",
        "pixel(44, 70)",
        lambda m: outputs(m, TWO)["logits"][0, 3, 47, 50],
        "blue at 44,70",
    ),
    "char": ("reader", "char(1)", None, "char 1: b"),
    "text": ("reader", "text()", None, "rb"),
    "similar": ("embedder", "similar({other})", lambda m: outputs(m, TWO)["embedding"][0, 2], None),
    "element": (
        "detector",
        "element(output0, 4, 18)",
        lambda m: cells(m, "output0")[0, 2, 2],
        "output0[4, 18]",
    ),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_term_is_the_number_that_it_names(name, lenses):
    model, text, number, words = TERMS[name]
    lens, photo = lenses[model], LINE if model == "reader" else TWO
    (found,) = asked(lens, photo, text.format(other=lenses["other"]))
    assert words is None or found.target.label == words
    if number is not None:
        assert found.score == pytest.approx(float(number(lens)), rel=0.02)


def test_a_text_is_the_sum_of_its_characters(lenses):
    whole, *single = (score(lenses["reader"], LINE, t) for t in ("text()", "char(0)", "char(1)"))
    assert whole == pytest.approx(sum(single), rel=1e-5)


def test_a_region_is_the_mean_over_its_pixels(lenses):
    logits = outputs(lenses["segmenter"], TWO)["logits"][0]
    expected = logits[1][logits.argmax(0) == 1].mean()
    assert score(lenses["segmenter"], TWO, "region(red)") == pytest.approx(float(expected), rel=1e-4)
    assert score(lenses["segmenter"], TWO, "red") == pytest.approx(float(expected), rel=1e-4)


def test_numbers_of_a_box_are_those_of_the_model(lenses):
    rows = outputs(lenses["detector"], TWO)["output0"][0]
    best = rows[4:].max(0).argmax()
    for axis, name in enumerate("xywh"):
        assert score(lenses["detector"], TWO, f"box(0).{name}") == pytest.approx(rows[axis, best], rel=1e-5)


def test_a_difference_of_classes_has_the_difference_of_their_gradients(lenses):
    lens = lenses["scenes"]
    cat, moon, rather, half = asked(lens, CAT, "cat", "moon", "cat - moon", "0.5*cat + 2*moon")
    scale = np.abs(rather.values).max()
    np.testing.assert_allclose(rather.values, cat.values - moon.values, atol=1e-5 * scale)
    np.testing.assert_allclose(half.values, cat.values / 2 + 2 * moon.values, atol=1e-5 * scale)
    assert rather.score == pytest.approx(cat.score - moon.score, rel=1e-4)


@pytest.mark.parametrize("method", ["saliency", "gradcam", "hirescam", "lrp"])
def test_an_element_of_the_scores_is_the_class(method, lenses):
    lens = lenses["scenes"]
    index = lens.class_of("cat")
    for_class, of_element = (
        asked(lens, CAT, target, method=method)[0]
        for target in (index, f"element({lens.readout.scores}, {index})")
    )
    scale = np.abs(for_class.values).max()
    np.testing.assert_allclose(of_element.values, for_class.values, atol=1e-5 * scale)
    assert of_element.score == pytest.approx(for_class.score, rel=1e-5)


def test_hiding_places_changes_an_element_as_it_changes_that_class(lenses):
    lens = lenses["scenes"]
    index = lens.class_of("cat")
    plain, of_element = (
        asked(lens, CAT, target, method="occlusion", patch=24)[0]
        for target in (index, f"element({lens.readout.scores}, {index})")
    )
    np.testing.assert_allclose(of_element.values, plain.values, atol=1e-4 * np.abs(plain.values).max())


@pytest.mark.parametrize("method", ["saliency", "gradcam", "occlusion"])
def test_things_that_are_asked_together_are_those_asked_alone(method, lenses):
    lens, options = lenses["detector"], {"patch": 16} if method == "occlusion" else {}
    together = asked(lens, TWO, "every", method=method, **options)
    assert len(together) == len(lens.things(TWO)) > 2
    for i, found in enumerate(together):
        (alone,) = asked(lens, TWO, f"box({i})", method=method, **options)
        assert alone.target.label == found.target.label
        np.testing.assert_allclose(alone.values, found.values, atol=1e-5 * np.abs(found.values).max())


def test_what_is_said_twice_is_explained_once(lenses):
    found = asked(lenses["detector"], TWO, "box(0)", "box(0)", "top3")
    assert [f.target.label for f in found] == ["box 0: red", "box 1: blue", "box 2: blue"]


@pytest.mark.parametrize(
    ("model", "text", "said"),
    [
        ("detector", "box(0) -", r"position 9, at the end: expected a term"),
        ("detector", "box(0) - boxx(1)", r"'boxx\(1\)'.*no target is called 'boxx'; nearest: box"),
        ("detector", "box(0) + region(red)", r"position 10 \('region\(red\)'\).*answers boxes.*box\(0\)"),
        ("detector", "box(0", r"position 6, at the end: expected , or \)"),
        ("detector", "box(0) - box(12345678901234567890)", r"position 10.*not the number of a box"),
        ("detector", "box(0).z", r"has no 'z'"),
        ("detector", "box(0, a)", "'a' is not a score"),
        ("detector", "box(0, 0.5, 1)", r"it is box\(\[which\], \[least\]\)"),
        ("detector", "reed", "nearest: red"),
        ("detector", "char(0)", "answers boxes, which have no char"),
        ("detector", "similar(x.png)", "which have no similar"),
        ("detector", "element(output0, 4)", r"an index for each axis of \[7, 64\]"),
        ("detector", "element(output0, 7, 0)", r"shape \[7, 64\] has no element \[7, 0\]"),
        ("detector", "element(output0, -1, 0)", "an index for each axis"),
        ("detector", "element(outptu0, 0, 0)", "nearest: output0"),
        ("detector", "9e999*box(0)", "is no number"),
        ("detector", "x" * 5000, "4000 characters"),
        ("segmenter", "region(red, 30:15)", "no range of pixels"),
        ("segmenter", "pixel(1)", r"it is pixel\(row, column, \[label\]\)"),
        ("segmenter", "pixel(a, b)", "'a' is not a row"),
        ("reader", "char(b)", "'b' is not the number of a char"),
        ("scenes", "box(0)", "which have no box"),
        ("scenes", "cat - dog", "no class is called 'dog'"),
        ("scenes", "class(99)", "no class 99"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_place(model, text, said, lenses):
    photo = LINE if model == "reader" else CAT if model == "scenes" else TWO
    with pytest.raises(BadRequest, match=said):
        asked(lenses[model], photo, text)


@pytest.mark.parametrize(
    ("model", "text", "said"),
    [
        ("detector", "box(green)", "found were: red, blue"),
        ("detector", "box(red, 1.5)", "of a score of 1.5 or more"),
        ("detector", "box(0, 1.5)", "no box 0 here: none was found"),
        ("detector", "box(9)", "no box 9 here: they go from 0 to 3"),
        ("reader", "char(2)", "no char 2 here: they go from 0 to 1"),
        ("segmenter", "region(green)", "no region of 'green' here; found were: "),
    ],
)
def test_what_the_photo_does_not_show_is_no_map(model, text, said, lenses):
    photo = LINE if model == "reader" else TWO
    with pytest.raises(NoMap, match=said):
        asked(lenses[model], photo, text)


def test_where_nothing_is_found_the_likeliest_box_can_be_asked_for(lenses):
    assert lenses["detector"].things(spots()) == []
    (found,) = asked(lenses["detector"], spots(), "box(0, 0.000001)")
    assert found.target.label.startswith("unlikely box: ")


def test_targets_that_would_not_fit_into_memory_are_refused(lenses):
    aim = Aim(lenses["detector"].network, ["output0"], one=False)
    many = [Seed.on("output0", 0)] * 257
    with pytest.raises(BadRequest, match=r"257 targets of .* are too many"):
        aim.at(many, {"output0": np.zeros((1, MAX_NUMBERS // 256), np.float32)})
