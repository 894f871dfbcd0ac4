"""Where the peaks of heat maps lie: between the cells where the producer reads them so."""

from types import SimpleNamespace

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.readouts.heatmaps import unbiased
from onnxlens.engine.anatomy.readouts.picture import find
from onnxlens.engine.anatomy.readouts.thing import Hints
from onnxlens.engine.runtime.network import Network

GRID, SIZE = (16, 12), (64, 48)
RNG = np.random.default_rng(0)


def heat(y, x, spread=2.0, height=0.9):
    """A Gaussian (16, 12) around a place between the cells."""
    down, across = (np.arange(side) for side in GRID)
    return height * np.exp(-((down[:, None] - y) ** 2 + (across - x) ** 2) / (2 * spread**2))


@pytest.mark.parametrize(("y", "x"), RNG.uniform((3, 3), (12, 8), (8, 2)))
def test_the_middle_of_a_gaussian_is_found_between_the_cells(y, x):
    found = unbiased(heat(y, x), (round(y), round(x)), SIZE)
    right = [c * (side - 1) / (n - 1) + 0.5 for c, side, n in zip((y, x), SIZE, GRID, strict=True)]
    assert found == pytest.approx(right, abs=0.02)


@pytest.mark.parametrize("cell", [(0, 0), (15, 11), (0, 5), (7, 7)])
def test_where_there_is_no_top_the_cell_is_the_place(cell):
    down, across = (c * (side - 1) / (n - 1) + 0.5 for c, side, n in zip(cell, SIZE, GRID, strict=True))
    valley = 2 - heat(*cell)
    for plane in (np.zeros(GRID), np.full(GRID, 3.0), valley):
        assert unbiased(plane, cell, SIZE) == pytest.approx((down, across))


@pytest.mark.reference
def test_points_are_those_of_transformers():
    torch = pytest.importorskip("torch")
    pytest.importorskip("scipy")
    transformers = pytest.importorskip("transformers")
    planes = np.stack([heat(*p, height=h) for p, h in zip(PLACES, HEIGHTS, strict=True)])
    planes += RNG.uniform(0, 0.02, planes.shape)
    names = ("VitPoseImageProcessor", "VitPoseImageProcessorPil")
    for name in names:  # the first one needs torchvision
        try:
            processor = getattr(transformers, name)(size={"height": SIZE[0], "width": SIZE[1]})
            break
        except (ImportError, RuntimeError, AttributeError):
            continue
    box = np.array([0.0, 0.0, *SIZE[::-1]])
    answer = SimpleNamespace(heatmaps=torch.from_numpy(planes[None].astype(np.float32)))
    ((theirs,),) = processor.post_process_pose_estimation(answer, boxes=[[box]])
    assert theirs["scores"].numpy() == pytest.approx([t.points[0, 2] for t in ours(planes)], abs=1e-6)
    # the crop of the photo that fills the input, as the processor widens the box by a quarter
    crop = 1.25 * np.array(SIZE)
    start = (np.array(SIZE) - crop) / 2
    in_the_input = (theirs["keypoints"].numpy()[:, ::-1] - start) / crop * (np.array(SIZE) - 1) + 0.5
    np.testing.assert_allclose([t.points[0, :2] for t in ours(planes)], in_the_input, atol=0.01)


PLACES = [(5.3, 4.2), (0.4, 6.0), (15.0, 10.8), (9.5, 2.5), (12.1, 9.9), (7.0, 0.0)]
HEIGHTS = [0.9, 0.5, 0.7, 0.3, 1.2, 0.08]


def ours(planes):
    """What a network says whose planes are each 4 by 4 pixels' mean."""
    model = parsed(
        f"(float[1, {len(planes)}, 64, 48] x) => (float[1, {len(planes)}, 16, 12] heatmaps)"
        "{ heatmaps = AveragePool<kernel_shape=[4, 4], strides=[4, 4]>(x) }"
    )
    network = Network(model, provider="cpu")
    facts = {"architectures": "VitPoseForPoseEstimation", "model_type": "vitpose"}
    found = find(network.graph, Hints(SIZE, facts=facts))
    x = np.repeat(np.repeat(planes, 4, 1), 4, 2)[None].astype(np.float32)
    return found.things(network.run({"x": x}, ["heatmaps"]), SIZE)
