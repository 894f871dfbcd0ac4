"""What a run says of one image, method and target: a row of plain values, the same in every format."""

from __future__ import annotations

from math import isfinite, isnan
from typing import Any

import numpy as np

from ...engine.attribution import tones
from ...kernels.summary import summary
from ..photos.preprocess import Box
from ..storage.shards import FIELDS, Row
from .heatmap import HeatMap
from .projected import Projection

Found = HeatMap | Projection


def failed(path: str, error: str) -> Row:
    """The row of an image that nothing can be said of."""
    return {**dict.fromkeys(FIELDS), "path": path, "error": error}


def row_of(found: Found, box: Box, size: tuple[int, int], **known: Any) -> Row:
    """The row of one map of a photo of `size` (height, width) that has the map in the `box`, both in pixels
    of the photo as it is (that of `found` may be smaller), with what else is `known` of it.
    """
    best, target = next(iter(found.predictions), None), found.target
    score = found.score if isinstance(found, HeatMap) else found.value
    return {
        **dict.fromkeys(FIELDS),
        "height": size[0],
        "width": size[1],
        "method": found.method,
        "layer": found.layer or None,
        "target": target and target.index,
        "target_label": target and target.label,
        "target_probability": target and rounded(target.probability),
        "score": rounded(score),
        "prediction": best and best.index,
        "label": best and best.label,
        "probability": best and rounded(best.probability),
        **statistics(strength(found), box, size),
        "problem": found.problem or None,
        **known,
    }


def strength(found: Found) -> np.ndarray:
    """How much there is at each place, (h, w) float32: the map in the layer's resolution, or of a signal the
    greatest channel at each pixel of the model's input.
    """
    return found.map if isinstance(found, HeatMap) else tones.strength(found.signal)


def statistics(map_: np.ndarray, box: Box, size: tuple[int, int]) -> dict[str, float | int | None]:
    """A map (h, w) in numbers; nulls where it is not finite or, for peak and entropy, nowhere above zero.

    The peak is the centre of the cell of the greatest value, the first in reading order, in pixels of a
    photo of `size` that has the map in the `box`; where that lies in a letterbox's edge, the pixel nearest.
    """
    found = summary(map_)
    if found is None:
        return {}
    values = {"map_min": found.least, "map_max": found.most, "map_mean": found.mean}
    values = {name: rounded(value) for name, value in values.items()}
    if isnan(found.entropy):
        return values
    y, x = divmod(found.peak, map_.shape[1])
    y0, x0, y1, x1 = box
    peak_y = y0 + (y + 0.5) * (y1 - y0) / map_.shape[0]
    peak_x = x0 + (x + 0.5) * (x1 - x0) / map_.shape[1]
    return {
        **values,
        "map_entropy": rounded(found.entropy),
        "map_peak_y": min(max(int(peak_y), 0), size[0] - 1),
        "map_peak_x": min(max(int(peak_x), 0), size[1] - 1),
    }


def rounded(value: float | None) -> float | None:
    """A number for every format: six significant digits, nothing for what is none or not finite."""
    return float(f"{float(value):.6g}") if value is not None and isfinite(value) else None
