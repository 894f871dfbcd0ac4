"""What segments add to an answer: linear models, axioms, slow twins, and Captum on the same orders."""

from itertools import permutations

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.errors import BadRequest, NoMap, Unavailable
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(3)
W = RNG.standard_normal((3, 2, 6, 9)).astype(np.float32) / 4
IMAGE = RNG.standard_normal((1, 2, 6, 9)).astype(np.float32)
FILL = 0.25
# The one answers with probabilities that are linear, as long as they stay between 0 and 1.
LINEAR, SOFT = "y = HardSigmoid <alpha = 0.01, beta = 0.5> (f)", "y = Softmax <axis = 1> (f)"
SHARES = ["shapley", "kernel-shap", "lime"]


def network(end=SOFT, shape="2,6,9", w=W):
    text = f"(float[N,{shape}] x) => (float[N,3] y) {{ c = Conv (x, w) f = Flatten (c) {end} }}"
    return Network(parsed(text, w=w), provider="cpu", threads=1)


def values(of, name, wishes=(1,), image=IMAGE, **options):
    """The map of each class."""
    intake = Intake(image.shape[2:], False, lambda x, fill: np.full_like(x, FILL), ["a", "b", "c"])
    made = compiled(of, METHODS[name], None, options_given(METHODS[name], options), intake)
    return [e.values for e in made.explained(image, list(wishes))[0]]


def cell_of(cells, size=(6, 9)):
    rows, columns = (np.arange(length) * cells // length for length in size)
    return rows[:, None] * cells + columns


def answer(of, seen, cell):
    """What the model says of class 1, image by image, with some cells seen."""
    found = []
    for row in np.atleast_2d(seen):
        mask = row[cell]
        x = (IMAGE * mask + FILL * (1 - mask)).astype(np.float32)
        found.append(float(of.run({"x": x})["y"][0, 1]))
    return np.array(found)


def of_cells(map_, cell):
    """The value of each cell, which all of its pixels share."""
    found = [np.unique(map_[cell == i]) for i in range(cell.max() + 1)]
    assert all(len(f) == 1 for f in found)
    return np.concatenate(found)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("shapley", {"permutations": 2}),
        ("kernel-shap", {"samples": 200}),
        ("lime", {"samples": 200, "ridge": 0}),
        ("lime", {"samples": 200, "ridge": 0, "kernel_width": 5}),
    ],
)
def test_of_a_linear_model_they_are_its_terms(name, options):
    # y = Σ w x, of which a cell adds Σ w (x - fill) over its pixels, whatever else is seen.
    terms, cell = (W * (IMAGE - FILL)).sum(1), cell_of(4)
    for c, map_ in enumerate(values(network(LINEAR), name, (0, 1, 2), cells=4, **options)):
        expected = [0.01 * terms[c][cell == i].sum() for i in range(16)]
        np.testing.assert_allclose(of_cells(map_, cell), expected, atol=2e-6)


def exact(of, cell):
    """Shapley values of the cells of class 1, over all orders."""
    count, found = cell.max() + 1, np.zeros(cell.max() + 1)
    orders = list(permutations(range(count)))
    every = {}
    for order in orders:
        seen = np.zeros(count)
        for i in order:
            before = every.setdefault(tuple(seen), answer(of, seen, cell)[0])
            seen[i] = 1
            after = every.setdefault(tuple(seen), answer(of, seen, cell)[0])
            found[i] += (after - before) / len(orders)
    return found


def test_shapley_values_of_random_orders_come_to_those_of_all_orders():
    of, cell = network(), cell_of(2)
    found = of_cells(values(of, "shapley", cells=2, permutations=800)[0], cell)
    expected = exact(of, cell)
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


def test_orders_are_added_up_as_a_slow_twin_does():
    of, cell, rng = network(), cell_of(3), np.random.default_rng(7)
    expected = np.zeros(9)
    for _ in range(5):
        seen = np.zeros(9)
        for i in rng.permutation(9):
            before = answer(of, seen, cell)
            seen[i] = 1
            expected[i] += (answer(of, seen, cell) - before)[0] / 5
    found = of_cells(values(of, "shapley", cells=3, permutations=5, random_seed=7)[0], cell)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), [("shapley", {"permutations": 1}), ("kernel-shap", {})])
def test_they_sum_to_the_rise(name, options):
    of, cell = network(), cell_of(5)
    rise = np.diff(answer(of, np.stack([np.zeros(25), np.ones(25)]), cell))[0]
    found = of_cells(values(of, name, cells=5, **options)[0], cell)
    assert found.sum() == pytest.approx(rise, abs=1e-6)


@pytest.mark.parametrize("name", SHARES)
def test_a_cell_that_does_nothing_has_nothing(name):
    w, cell = W.copy(), cell_of(3)
    w[:, :, cell == 4] = 0
    found = of_cells(values(network(w=w), name, cells=3)[0], cell)
    rest = np.abs(np.delete(found, 4)).max()
    assert abs(found[4]) < (1e-6 if name == "shapley" else 0.05 * rest)


@pytest.mark.parametrize(("width", "ridge"), [(0.25, 1.0), (0.7, 0.0), (3.0, 20.0)])
def test_lime_is_the_weighted_ridge_regression_of_its_definition(width, ridge):
    of, cell = network(), cell_of(3)
    seen = (np.random.default_rng(2).random((100, 9)) < 0.5).astype(float)
    seen[0] = 1
    weights = []
    for z in seen:
        norms = np.linalg.norm(z) * np.linalg.norm(np.ones(9))
        distance = 1 - z.sum() / norms if norms else 1
        weights.append(np.sqrt(np.exp(-(distance**2) / width**2)))
    # Centred by weighted means, as scikit-learn does, so that the constant is not held small.
    weights, y = np.array(weights), answer(of, seen, cell)
    x = seen - np.average(seen, axis=0, weights=weights)
    y = y - np.average(y, weights=weights)
    root = np.sqrt(weights)[:, None]
    expected = np.linalg.lstsq(
        np.concatenate([root * x, np.sqrt(ridge) * np.eye(9)]),
        np.concatenate([root[:, 0] * y, np.zeros(9)]),
        rcond=None,
    )[0]
    options = {"cells": 3, "samples": 100, "kernel_width": width, "ridge": ridge, "random_seed": 2}
    found = of_cells(values(of, "lime", **options)[0], cell)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", SHARES)
def test_the_same_seed_is_the_same_bytes_and_classes_do_not_disturb_each_other(name):
    of = network()
    alone, again = (values(of, name, cells=3, random_seed=5)[0] for _ in range(2))
    assert alone.tobytes() == again.tobytes()
    np.testing.assert_allclose(values(of, name, (0, 1, 2), cells=3, random_seed=5)[1], alone, atol=1e-6)
    assert values(of, name, cells=3, random_seed=6)[0].tobytes() != alone.tobytes()


@pytest.mark.parametrize("name", SHARES)
def test_progress_counts_photos_that_are_looked_at(name):
    seen = []
    intake = Intake((6, 9), False, lambda x, fill: np.zeros_like(x), ["a", "b", "c"])
    options = options_given(METHODS[name], {"cells": 3})
    made = compiled(network(), METHODS[name], None, options, intake)
    made.explained(IMAGE, [1], lambda *now: seen.append(now))
    assert seen[-1][0] == seen[-1][1] == {"shapley": 25 * 8 + 2, "kernel-shap": 1002, "lime": 1000}[name]
    assert seen == sorted(seen)


def test_more_cells_than_pixels_are_cells_of_one_pixel():
    found = values(network(), "shapley", cells=32, permutations=1)[0]
    assert len(np.unique(found)) == 54


@pytest.mark.parametrize("name", SHARES)
def test_superpixels_are_those_of_scikit_image(name):
    slic = pytest.importorskip("skimage.segmentation").slic
    image = np.zeros((1, 3, 40, 40), np.float32)
    image[0, 0, 5:20, 8:30], image[0, 1, 25:, :15] = 2, -1
    image += np.random.default_rng(0).normal(0, 0.02, image.shape).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((3, 3, 40, 40)).astype(np.float32) / 40
    found = values(network(shape="3,40,40", w=w), name, image=image, cells=4, segments="slic")[0]
    unit = (np.moveaxis(image[0], 0, -1).astype(float) - image.min()) / np.ptp(image)
    of_pixel = slic(unit, n_segments=16, start_label=0, channel_axis=-1)
    of_cells(found, np.unique(of_pixel, return_inverse=True)[1].reshape(40, 40))
    assert 4 < len(np.unique(found)) <= of_pixel.max() + 1


def test_without_the_extra_it_is_said_before_there_is_a_photo(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
    with pytest.raises(Unavailable, match=r"slic needs scikit-image: pip install 'onnxlens\[segments\]'"):
        values(network(), "lime", segments="slic")


def test_what_cannot_be_is_said():
    with pytest.raises(BadRequest, match="segments is one of grid, slic, not 'felzenszwalb'"):
        values(network(), "lime", segments="felzenszwalb")
    with pytest.raises(BadRequest, match="kernel_width is above 0, not 0"):
        values(network(), "lime", kernel_width=0)
    with pytest.raises(BadRequest, match="samples is at most 48828 for 32 x 32 cells"):
        values(network(), "kernel-shap", samples=10**6, cells=32)
    one = network(shape="2,1,1", w=W[:, :, :1, :1])
    with pytest.raises(NoMap, match="the photo is one segment as a whole"):
        values(one, "shapley", image=IMAGE[:, :, :1, :1])


@pytest.mark.reference
def test_captum_finds_the_same_on_the_same_orders():
    torch = pytest.importorskip("torch")
    captum = pytest.importorskip("captum.attr")
    cell, of = cell_of(4), network()
    weights = torch.tensor(W.reshape(3, -1).T)
    sampling = captum.ShapleyValueSampling(lambda x: torch.softmax(x.flatten(1) @ weights, 1))
    orders = np.random.default_rng(11)
    sampling.permutation_generator = lambda count, times: (orders.permutation(count) for _ in range(times))
    baseline = torch.full(IMAGE.shape, FILL)
    mask = torch.tensor(cell)[None, None].expand(1, 2, 6, 9)
    found = sampling.attribute(
        torch.tensor(IMAGE), baseline, target=1, feature_mask=mask, n_samples=10, perturbations_per_eval=1
    )
    ours = values(of, "shapley", cells=4, permutations=10, random_seed=11)[0]
    np.testing.assert_allclose(ours, found.numpy()[0, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.reference
def test_captums_kernel_shap_comes_to_the_same():
    torch = pytest.importorskip("torch")
    captum = pytest.importorskip("captum.attr")
    pytest.importorskip("sklearn")
    cell = cell_of(3)
    weights = torch.tensor(W.reshape(3, -1).T)
    torch.manual_seed(0)
    shap = captum.KernelShap(lambda x: torch.softmax(x.flatten(1) @ weights, 1))
    mask = torch.tensor(cell)[None, None].expand(1, 2, 6, 9)
    baseline = torch.full(IMAGE.shape, FILL)
    found = shap.attribute(torch.tensor(IMAGE), baseline, target=1, feature_mask=mask, n_samples=5000)
    ours = values(network(), "kernel-shap", cells=3, samples=5000)[0]
    np.testing.assert_allclose(ours, found.numpy()[0, 0], atol=0.04 * np.abs(ours).max())
