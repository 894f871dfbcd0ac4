"""Maps of strided networks lie where their cells look, against places that were worked out by hand."""

import numpy as np
import onnx
import pytest
from oracles.strided import KINDS, network, places

from onnxlens.models.lens import Lens

GREY, RED = 90, (230, 20, 20)


def interior(centres, side, stride):
    """The first and the last cell that has neighbours and lies at least a stride from the image's border."""
    inside = np.flatnonzero((centres >= stride) & (centres <= side - stride))
    inside = inside[(inside > 0) & (inside < len(centres) - 1)]
    return inside[0], inside[-1]


def marked(side, middle, width):
    """A grey photo with a red mark of about `width` pixels around a point."""
    photo = np.full((side, side, 3), GREY, np.uint8)
    rows, columns = (np.abs(np.arange(side) + 0.5 - m) <= width / 2 for m in middle)
    photo[np.ix_(rows, columns)] = RED
    return photo


def peak(heat):
    return np.argwhere(heat == heat.max()).mean(0) + 0.5


def mass(heat):
    """The centre of mass of what rises above the background."""
    above = heat - np.median(heat)
    at = np.indices(heat.shape) + 0.5
    return (at * above).sum((1, 2)) / above.sum()


def mark_at(kind, stages, counts, side=224, corner=0):
    """The middle of what an interior cell sees, next to the upper right corner or the lower left one."""
    ends = [interior(places(kind, stages, n, axis), side, 2**stages) for axis, n in enumerate(counts)]
    cell = (ends[0][corner], ends[1][1 - corner])
    return np.array(
        [places(kind, stages, n, axis)[c] for axis, (n, c) in enumerate(zip(counts, cell, strict=True))]
    )


def lens_of(kind, stages, path, side=224):
    model, layer = network(kind, stages, side)
    onnx.save(model, path / "model.onnx")
    lens = Lens(path / "model.onnx", preset="unit")
    whole = lens.gradcam(marked(side, (side / 2, side / 2), side), 0, layer)
    return lens, layer, whole.map.shape


def width(kind, stages):
    """A cell sees one pixel, or as many as its stride where kernels have no middle."""
    return 1 if KINDS[kind].first[0] % 1 == 0 else 2**stages


# At stride 32, kernels of 7 without padding leave 2 x 2 cells of 224 x 224 pixels, of which none is inside.
CASES = [(kind, stages) for kind in KINDS for stages in (3, 4, 5) if (kind, stages) != ("7, no padding", 5)]


@pytest.mark.parametrize(("kind", "stages"), CASES)
def test_an_interior_cell_is_drawn_where_it_looks(kind, stages, tmp_path):
    lens, layer, counts = lens_of(kind, stages, tmp_path)
    for corner in (0, 1):
        middle = mark_at(kind, stages, counts, corner=corner)
        found = lens.gradcam(marked(224, middle, width(kind, stages)), 0, layer)
        heat = np.nan_to_num(found.at_photo())  # not a number where no cell sees anything
        np.testing.assert_allclose(peak(heat), middle, atol=0.5)
        np.testing.assert_allclose(mass(heat), middle, atol=0.1)
