from dataclasses import replace

import numpy as np
import onnx
import pytest
from oracles.toys import SIDE, UNIT, blob, build, colours

from onnxlens.engine.attribution.perturbation.hidden import moves
from onnxlens.engine.errors import BadRequest, NoMap
from onnxlens.engine.metrics.truth import pointing
from onnxlens.models.attribution.occlusion import occlusion, occlusions
from onnxlens.models.attribution.panels import PANELS, class_colours, panel, sheet
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens
from onnxlens.models.maps.placement import Placement
from onnxlens.models.photos.preprocess import Preprocess


@pytest.fixture(scope="module")
def lens(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "model.onnx"
    onnx.save(colours(preprocess=UNIT), path)
    return Lens(path, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def scenes():
    return Lens("scenes", provider="cpu", threads=1)


def linear(weight, preprocess, tmp_path):
    """Two classes: the sum of pixels * weight (3, h, w), and nothing."""
    h, w = weight.shape[1:]
    matrix = np.zeros((weight.size, 2), np.float32)
    matrix[:, 0] = weight.ravel()
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    path = tmp_path / "linear.onnx"
    onnx.save(build(nodes, {"x": ("N", 3, h, w)}, {"y": ("N", 2)}, {"w": matrix}), path)
    return Lens(path, preset=preprocess, provider="cpu", threads=1)


def test_the_heat_of_a_linear_model_is_known(tmp_path):
    """A patch costs the sum over it of weight * (pixel - fill), and the heat at its centre is that."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((3, 12, 16)).astype(np.float32)
    how = Preprocess(size=(12, 16), fit="stretch", scale=1 / 255, mean=(0.5,), std=(0.25,))
    photo = rng.integers(0, 256, (12, 16, 3), np.uint8)
    found = occlusion(linear(weight, how, tmp_path), photo, 0, patch=(3, 5), stride=(3, 2), fill="#204060")
    fill = (np.array([0x20, 0x40, 0x60]) / 255 - 0.5) / 0.25
    worth = (weight * ((photo / 255 - 0.5) / 0.25 - fill).transpose(2, 0, 1)).sum(0)
    drop = [[worth[y : y + 3, x : x + 5].sum() for x in (0, 2, 4, 6, 8, 10, 11)] for y in (0, 3, 6, 9)]
    np.testing.assert_allclose(found.score - found.scores, drop, atol=1e-4)
    for heat in (found.heat(), found.heat(exact=True)):
        at_centres = heat.at_photo()[1::3, [2, 4, 6, 8, 10, 12, 13]]
        np.testing.assert_allclose(at_centres, np.maximum(drop, 0), atol=1e-4)
    e = np.exp(found.scores)
    np.testing.assert_allclose(found.probabilities, e / (e + 1), atol=1e-5)
    np.testing.assert_array_equal(found.classes, (found.scores < 0).astype(int))
    assert (found.layer, found.channel) == (None, None)


def test_hiding_the_spot_costs_most(lens):
    found = occlusion(lens, blob(at=(20, 30)))
    assert found.target.label == "red"
    assert found.places.patch == (round(SIDE / 7),) * 2
    assert (found.layer, found.channel) == ("relu", 0)
    heat = found.heat()
    assert (heat.method, heat.problem, heat.map.shape) == ("occlusion", "", (SIDE, SIDE))
    y, x = np.unravel_index(np.argmax(heat.at_photo()), (60, 90))
    assert abs(y - 20) <= 4
    assert abs(x - 30) <= 6
    for grid in (found.scores, found.probabilities, found.activations):
        assert grid.dtype == np.float32
        assert grid.shape == found.places.shape
        row, column = np.unravel_index(grid.argmin(), grid.shape)
        assert abs(found.places.tops[row] + 2.5 - 20 / 60 * SIDE) <= 2
        assert abs(found.places.lefts[column] + 2.5 - 30 / 90 * SIDE) <= 2
    assert found.classes.dtype == np.int64


def test_a_target_that_is_not_the_predicted_class(lens):
    found = occlusion(lens, blob(), "green")
    assert found.target.label == "green"
    assert found.predictions[0].label == "red"
    assert np.bincount(found.classes.ravel()).argmax() == 0


@pytest.mark.parametrize(
    ("options", "atol"), [({"layout": "nhwc"}, 1e-4), ({"batch": 3}, 1e-4), ({"half": True}, 0.05)]
)
def test_other_inputs_give_the_same(options, atol, lens, tmp_path):
    how = replace(UNIT, layout=options.get("layout", "nchw"))
    onnx.save(colours(preprocess=how, **options), tmp_path / "other.onnx")
    other = Lens(tmp_path / "other.onnx", provider="cpu", threads=1)
    for fill in ("noise", "blur"):
        wanted, got = (occlusion(model, blob(), patch=(7, 5), fill=fill) for model in (lens, other))
        np.testing.assert_allclose(got.scores, wanted.scores, atol=atol)
        np.testing.assert_allclose(got.activations, wanted.activations, atol=atol)


def test_a_letterbox_reaches_beyond_the_photo(tmp_path):
    how = replace(UNIT, fit="letterbox", fill=114)
    onnx.save(colours(preprocess=how), tmp_path / "letterbox.onnx")
    found = occlusion(Lens(tmp_path / "letterbox.onnx", provider="cpu", threads=1), blob(at=(20, 30)))
    y, x = np.unravel_index(np.argmax(found.heat().at_photo()), (60, 90))
    assert abs(y - 20) <= 4
    assert abs(x - 30) <= 4
    assert not np.isnan(found.at_photo(found.scores)).any()
    assert sheet([found]).ndim == 3


def test_progress_ends_at_the_number_of_positions(lens):
    told = []
    found = occlusion(lens, blob(), patch=8, stride=3, progress=lambda *numbers: told.append(numbers))
    count = found.scores.size
    assert told[-1] == (count, count)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_twice_the_same_and_the_photo_left_alone(lens):
    photo = blob()
    before = photo.copy()
    first, second = (occlusion(lens, photo, fill="noise") for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(photo, before)


def slow_at_photo(found, values, exact):
    """Pixel by pixel: the nearest centre, or linear between the centres around it."""
    (y0, x0, y1, x1), places = found.box, found.places
    out = np.full(found.photo.shape[:2], np.nan)
    centres = [s + (p / 2 * 1.0) for s, p in zip((places.tops, places.lefts), places.patch, strict=True)]
    for y, x in np.ndindex(out.shape):
        at = (y + 0.5 - y0) / (y1 - y0) * places.size[0], (x + 0.5 - x0) / (x1 - x0) * places.size[1]
        if not (0 <= at[0] <= places.size[0] and 0 <= at[1] <= places.size[1]):
            continue
        if exact:
            i, j = (np.abs(c - a).argmin() for c, a in zip(centres, at, strict=True))
            out[y, x] = values[i, j]
        else:
            rows = [np.interp(at[1], centres[1], row) for row in values]
            out[y, x] = np.interp(at[0], centres[0], rows)
    return out


@pytest.mark.parametrize("box", [(0, 0, 20, 31), (3.3, -4, 17.1, 29.2), (-5, 6, 22, 25)])
@pytest.mark.parametrize("exact", [False, True])
def test_maps_on_the_photo_agree_with_the_slow_twin(lens, box, exact):
    found = occlusion(lens, blob(20, 31, at=(8, 9)), patch=(7, 9), stride=(5, 4))
    found = replace(found, place=Placement(box))
    got = found.at_photo(found.scores, exact)
    assert got.shape == (20, 31)
    np.testing.assert_allclose(got, slow_at_photo(found, found.scores.astype(float), exact), rtol=1e-5)


def test_a_score_that_does_not_move_is_explained(lens):
    grey = np.full((40, 40, 3), 128, np.uint8)  # nothing has a colour, and grey lies under the patch
    found = occlusion(lens, grey)
    assert not moves(found.scores)
    assert "is the same wherever a patch of 5x5 lies" in found.heat().problem
    with pytest.raises(NoMap, match="is the same"):
        found.heat().overlay()
    for name in ("score", "activation"):
        with pytest.raises(NoMap, match="wherever the patch is"):
            panel(found, name)


def test_a_score_that_only_rises_is_explained(lens, tmp_path):
    how = Preprocess(size=(8, 8), fit="stretch")
    against = linear(np.full((3, 8, 8), -1, np.float32), how, tmp_path)
    found = occlusion(against, np.arange(1, 193, dtype=np.uint8).reshape(8, 8, 3), 0, patch=2, fill="zero")
    assert "rises: nothing speaks for it" in found.heat().problem
    assert panel(found, "score").shape == (8, 8, 3)


def test_answers_that_are_no_numbers(tmp_path):
    weight = np.full((3, 8, 8), np.nan, np.float32)
    broken = linear(weight, Preprocess(size=(8, 8), fit="stretch"), tmp_path)
    with pytest.raises(NoMap, match="not a number"):
        occlusion(broken, blob(), patch=2)


def test_several_classes_are_those_one_by_one(lens):
    photo = blob(at=(20, 30))
    found = occlusions(lens, photo, ["blue", "top2", 0], patch=8)
    names = [p.label for p in occlusion(lens, photo, patch=8).predictions[:2]]
    assert [o.target.label for o in found] == list(dict.fromkeys(["blue", *names, "red"]))
    for several in found:
        single = occlusion(lens, photo, several.target.index, patch=8)
        for name in ("scores", "probabilities", "activations", "classes"):
            np.testing.assert_array_equal(getattr(several, name), getattr(single, name))
        assert (several.score, several.channel, several.target) == (
            single.score,
            single.channel,
            single.target,
        )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"patch": SIDE + 1}, "larger than the model's input"),
        ({"patch": 0}, "at least 1 pixel"),
        ({"stride": 0}, "at least 1 pixel"),
        ({"stride": -2}, "at least 1 pixel"),
        ({"patch": 4, "stride": 5}, "leaves gaps"),
        ({"fill": "gren"}, "nearest: green"),
        ({"layer": "rely"}, "nearest: relu"),
        ({"target": 5}, "there is no class 5"),
        ({"target": "top3"}, "one class"),
    ],
)
def test_what_cannot_be_is_said(options, text, lens):
    with pytest.raises(BadRequest, match=text):
        occlusion(lens, blob(), **options)


def test_panels_lie_on_the_photo(lens):
    photo = blob(at=(20, 30))
    found = occlusion(lens, photo, patch=8)
    for name in PANELS:
        assert panel(found, name).shape == photo.shape
    shown = panel(found, "score").astype(int)
    assert shown[20, 30, 2] > shown[20, 30, 0]  # cold where hiding costs
    assert shown[50, 80, 0] > shown[50, 80, 2]
    part = panel(replace(found, place=Placement((0, 30, 60, 60))), "probability")
    np.testing.assert_array_equal(part[:, :30], part[:, :30, :1].repeat(3, 2))  # grey where it did not look


def test_classes_have_colours_and_the_rest_share_one(lens):
    found = occlusion(lens, blob(), patch=8, stride=2)
    many = replace(
        found, classes=np.arange(found.classes.size).reshape(found.classes.shape), labels=["?"] * 999
    )
    chosen = class_colours([many])
    assert len(set(chosen.values())) == len(chosen) == 7
    assert next(iter(chosen)) == found.target.index
    blocks = panel(replace(many, photo=np.zeros_like(found.photo)), "class").reshape(-1, 3)
    assert len(np.unique(blocks, axis=0)) == 8
    assert sheet([many]).ndim == 3


def test_a_sheet_has_a_row_for_each_size(lens):
    photo = blob(120, 30, at=(30, 10))
    one, two = (occlusion(lens, photo, patch=p) for p in (5, 9))
    assert sheet([one, two]).shape[1] == sheet([one]).shape[1]
    assert len(sheet([one, two])) > 1.8 * len(sheet([one]))
    sheet([occlusion(lens, np.full((40, 40, 3), 128, np.uint8))])


def test_it_points_at_the_object(scenes):
    hits = 0
    for seed in TEST_SEEDS[:12]:
        drawn = scene(seed)
        hits += pointing(occlusion(scenes, drawn.image).heat().at_photo(), drawn.mask)
    assert hits >= 11
