"""What a run says of one image, method and target: a row of plain values, the same in every format."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan, nextafter
from typing import Any

import numpy as np

from ...kernels.summary import summary
from ..storage.shards import FIELDS, METRIC, THINGS, Row
from .attribution import Attribution
from .found import Found
from .numbers import rounded
from .placement import Placement, Size
from .prediction import Prediction


def failed(path: str, error: str, of_things: bool = False, metrics: Sequence[str] = ()) -> Row:
    """The row of an image that nothing can be said of, in a run over classes or over things."""
    return {
        **dict.fromkeys(FIELDS),
        "path": path,
        "error": error,
        **dict.fromkeys(THINGS if of_things else ()),
        **{METRIC + name: None for name in metrics},
    }


def row_of(found: Attribution, place: Placement, size: Size, **known: Any) -> Row:
    """The row of one map of a photo of `size` (height, width) that has the map at the `place`, both in pixels
    of the photo as it is (that of `found` may be smaller), with what else is `known` of it.

    It is the record of the map (Attribution.about) made flat: of the target and of the first prediction the
    index is `target` and `prediction`; the numbers of the map itself take the place of its size and range.
    """
    said = found.about(rounded)
    target, best = said["target"] or {}, next(iter(said["predictions"]), {})
    metrics = found.extras.get("metrics", {})
    return {
        **dict.fromkeys(FIELDS),
        "height": size[0],
        "width": size[1],
        "method": said["method"],
        "layer": said["layer"],
        "target": target.get("index"),
        "target_label": target.get("label"),
        "target_probability": target.get("probability"),
        "score": said["score"],
        "prediction": best.get("index"),
        "label": best.get("label"),
        "probability": best.get("probability"),
        **statistics(found.map, place, size),
        "problem": found.problem or None,
        **known,
        **{METRIC + name: value if value is None else rounded(value) for name, value in metrics.items()},
        **(_thing(found.target, found.predictions) if isinstance(found.target, Found) else {}),
    }


def _thing(found: Found, every: Sequence[Prediction | Found]) -> Row:
    """What a row says of a thing beside a class; of the best one it has the class, as of a prediction."""
    best = every[0] if every else None
    of_best = isinstance(best, Found) and {"prediction": best.thing.label, "label": best.name}
    box = dict(zip(("box_y0", "box_x0", "box_y1", "box_x1"), found.box or (), strict=False))
    return {
        **(of_best or {}),
        **dict.fromkeys(THINGS),
        "kind": found.kind,
        "class": found.thing.label,
        "class_label": found.name if found.thing.label is not None or found.kind == "character" else None,
        "asked": found.thing.asked,
        **{name: rounded(edge) for name, edge in box.items()},
        **({"box_angle": rounded(found.thing.angle)} if box else {}),
        **({} if found.kind != "nothing" else {"target_label": None}),
    }


def statistics(map_: np.ndarray, place: Placement, size: Size) -> dict[str, float | int | None]:
    """A map (h, w) in numbers; nulls where it is not finite or, for peak and entropy, nowhere above zero.

    The peak is the centre of the cell of the greatest value, the first in reading order, in pixels of a
    photo of `size` that has the map at the `place`; where that lies beyond what the map is of or in a
    letterbox's edge, the pixel nearest.
    """
    found = summary(map_)
    if found is None:
        return {}
    values = {"map_min": found.least, "map_max": found.most, "map_mean": found.mean}
    values = {name: rounded(value) for name, value in values.items()}
    if isnan(found.entropy):
        return values
    row, column = divmod(found.peak, map_.shape[1])
    at = place.on_photo((row + 0.5, column + 0.5), (map_.shape[0], map_.shape[1]))
    inside = (min(max(at[i], place.box[i]), nextafter(place.box[i + 2], -inf)) for i in (0, 1))
    y, x = (min(max(int(edge), 0), side - 1) for edge, side in zip(inside, size, strict=True))
    return {**values, "map_entropy": rounded(found.entropy), "map_peak_y": y, "map_peak_x": x}
