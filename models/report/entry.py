"""What a page shows of an image of a run: texts, numbers and thumbnails."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ...engine import tones
from ...engine.attribution.methods import METHODS
from ...engine.errors import BadRequest, OnnxlensError
from ...engine.metrics.sanity import spearman
from ...engine.picture import encode_jpeg, shrunk
from ...host import cv2
from ...kernels.photos.normalise import normalise
from ..maps.placement import Placement, Size, whole
from ..photos.photo import decode
from ..photos.preprocess import Preprocess
from ..runs.record import command, looking, part, read_map
from ..storage.files import Files
from ..storage.shards import Row, encodable
from ..storage.store import Read
from . import tally
from .pages import address

QUALITY = 72  # of a thumbnail's JPEG
OF_IMAGE = "path", "width", "height", "sha256", "truth", "label", "probability", "error"
OF_THING = "target", "kind", "target_label", "class_label", "target_probability", "box_angle"
EDGES = "box_y0", "box_x0", "box_y1", "box_x1"
MARGIN = 0.3  # of a thing's longer side, around it in its picture
GRID = 16  # cells of a map, down and across, where maps are held against each other
SMALL = 200  # pixels of the picture of a thing, at most
OF_MAP = (
    *("target", "method", "layer", "target_label", "target_probability", "score", "map_entropy"),
    *("map_peak_y", "map_peak_x", "seconds", "problem"),
)


@dataclass(frozen=True)
class Drawer:
    """Makes an image's entry of its rows, which know how "shaky" they are.

    `files` and `manifest` are those of the run, and `read` gives the bytes of a photo by its name; thumbnails
    have at most `side` pixels on their longer side.
    """

    files: Files
    manifest: Mapping[str, Any]
    side: int
    read: Read

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The fields OF_IMAGE, the `photo`, or a `note` why there is none, a `command`, `maps` and `things`.

        A map has its `heat`, grey tones that lie on the photo, or without the file of the map its `picture`;
        its `target` is that of a thing, where it is of one. `disagreement` is that of the maps.
        """
        first, heats = rows[0], [self._heat(row) for row in rows]
        photo, note = self._photo(first)
        return {
            **{key: first[key] for key in OF_IMAGE},
            "surprise": tally.surprise(first),
            "shaky": max(row["shaky"] for row in rows),
            "photo": None if photo is None else self._thumbnail(photo),
            "note": note,
            "command": looking(self.manifest, first),
            "disagreement": disagreement(rows, heats),
            "maps": [self._map(row, heat) for row, heat in zip(rows, heats, strict=True)],
            "things": [self._thing(row, photo) for row in tally.things_of(rows)],
        }

    def _thing(self, row: tally.Row, photo: np.ndarray | None) -> dict[str, Any]:
        """What there is to see of a thing: the fields OF_THING, its `box` in the photo (y0, x0, y1, x1), the
        `window` around it, and of that a `picture` where it is sharper than the photo's thumbnail.
        """
        box = [row.get(edge) for edge in EDGES]
        window = None if None in (*box, row["height"], row["width"]) else _around(row)
        picture = None
        if photo is not None and window is not None and max(photo.shape) > self.side:
            y0, x0, y1, x1 = window
            cut = photo[y0:y1, x0:x1]
            picture = address("jpeg", encode_jpeg(shrunk(cut, SMALL), QUALITY)) if cut.size else None
        known = {key: row.get(key) for key in OF_THING}
        return {**known, "box": box if window else None, "window": window, "picture": picture}

    def _map(self, row: Row, heat: np.ndarray | None) -> dict[str, Any]:
        line, picture = command(self.manifest, row), self._picture(row) if heat is None else None
        tones = None if heat is None else address("jpeg", encode_jpeg(heat, QUALITY))
        return {**{key: row[key] for key in OF_MAP}, "heat": tones, "picture": picture, "command": line}

    def _photo(self, row: Row) -> tuple[np.ndarray | None, str]:
        """The photo that the run saw, or why there is none."""
        if row["error"] is not None:
            return None, ""
        try:
            data = self.read(row["path"])
            if hashlib.sha256(data).hexdigest() != row["sha256"]:
                return None, "the photo has changed since the run"
            return decode(data, row["path"]), ""
        except BadRequest as error:
            return None, encodable(str(error))
        except OnnxlensError:
            return None, "the photo is not there any more"

    def _heat(self, row: Row) -> np.ndarray | None:
        """The map that the run wrote, on the pixels of the photo's thumbnail (h, w) uint8, as the run's
        picture has it: black where there is no heat or the model did not look, white at the hottest.
        """
        sides = row["height"], row["width"]
        if not row["map"] or row["problem"] is not None or None in sides or min(sides) < 1:
            return None
        try:
            map_ = read_map(self.files.read(row["map"]))
            place = self._place(row["method"], sides)
        except (OnnxlensError, OSError):
            return None
        share = min(1, self.side / max(sides))
        small = max(1, round(sides[0] * share)), max(1, round(sides[1] * share))
        method = METHODS.get(row["method"])
        is_signal = method is not None and method.style != "overlay"  # drawn by its strength
        map_ = tones.scaled(map_) if is_signal else map_
        heat = place.scaled(sides, small).spread(map_[None], small)
        heat = heat if is_signal else normalise(heat)
        return np.rint(255 * np.nan_to_num(heat[0])).astype(np.uint8)

    def _place(self, method: str, size: Size) -> Placement:
        """Where the maps of a method lie in a photo of some size: over all that the input covers, in runs of
        versions that did not say. Raises BadRequest for a manifest that says it wrongly.
        """
        preprocess = Preprocess.from_dict(part(self.manifest, "preprocess"))
        places, every = part(self.manifest, "places"), whole(preprocess.size)
        found = Placement.from_record(part(places, method)) if method in places else Placement(every)
        return found.moved(every, preprocess.box(*size))

    def _picture(self, row: Row) -> str | None:
        """The thumbnail of the picture that the run wrote of a map, if it did."""
        name = row["picture"]
        try:
            return name and self._thumbnail(decode(self.files.read(name), name))
        except (OnnxlensError, OSError):
            return None

    def _thumbnail(self, photo: np.ndarray) -> str:
        return address("jpeg", encode_jpeg(shrunk(photo, self.side), QUALITY))


def disagreement(rows: Sequence[Row], heats: Sequence[np.ndarray | None]) -> float | None:
    """How far the maps of methods are from each other: 1 minus the mean of Spearman's ρ over the pairs of
    those of the same target, from 0 for maps that agree; None where there is no pair.
    """
    small = [h if h is None else cv2.resize(h, (GRID, GRID), interpolation=cv2.INTER_AREA) for h in heats]
    pairs = [
        1 - spearman(one, other)
        for (a, one), (b, other) in combinations(zip(rows, small, strict=True), 2)
        if one is not None and other is not None and a["target"] == b["target"] and a["method"] != b["method"]
    ]
    return round(sum(pairs) / len(pairs), 4) if pairs else None


def _around(row: tally.Row) -> list[int] | None:
    """The part (y0, x0, y1, x1) of a photo around the box of a row, in pixels; None beyond the photo."""
    (y0, x0, y1, x1), angle = (row[edge] for edge in EDGES), row.get("box_angle") or 0.0
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    tall, wide = (y1 - y0) * cos + (x1 - x0) * sin, (y1 - y0) * sin + (x1 - x0) * cos
    margin = MARGIN * max(tall, wide, 1.0)
    found = []
    for middle, extent, side in (((y0 + y1) / 2, tall, row["height"]), ((x0 + x1) / 2, wide, row["width"])):
        low, high = middle - extent / 2 - margin, middle + extent / 2 + margin
        found.append((math.floor(min(max(low, 0), side)), math.ceil(min(max(high, 0), side))))
    (top, bottom), (left, right) = found
    return [top, left, bottom, right] if top < bottom and left < right else None
