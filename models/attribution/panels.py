"""Occlusion drawn: the panels of Zeiler & Fergus 2014, figure 7, on the photo and side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...engine import picture
from ...engine.attribution.perturbation.hidden import moves
from ...engine.errors import NoMap
from ...host import cv2
from ..maps.occluded import Occlusion

PANELS = ("activation", "score", "probability", "class")
COLOUR = "turbo"
ALPHA = 0.65  # opacity of a map over the photo, which is grey so that all colour is the map's
CELL = 300  # pixels of a photo's longer side on a sheet
# After the target's own: Okabe & Ito 2008, which all eyes tell apart.
TARGET_COLOUR = 0, 114, 178
CLASS_COLOURS = (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (86, 180, 233), (213, 94, 0)
OTHER_COLOUR = 190, 190, 190

Colours = dict[int, tuple[int, int, int]]


def panel(occlusion: Occlusion, name: str, exact: bool = False, colours: Colours | None = None) -> np.ndarray:
    """One of PANELS on the pixels of the photo, (H, W, 3) uint8: the answer by where the patch's centre is.

    The probability's colours go from 0 to 1, those of the score and of the activation from their least to
    their greatest. `colours` of the classes, by default `class_colours`; `exact` as in Occlusion.at_photo.
    Raises NoMap for an activation or a score that does not depend on the place.
    """
    if name == "class":
        colours = class_colours([occlusion]) if colours is None else colours
        table = np.array([*colours.values(), OTHER_COLOUR], np.uint8)
        ranks = {c: i for i, c in enumerate(colours)}
        index = np.vectorize(lambda c: ranks.get(c, len(ranks)), otypes=[float])(occlusion.classes)
        level = occlusion.at_photo(index, exact=True)
    else:
        low, high = scale(occlusion, name)
        level = occlusion.at_photo(255 * (values(occlusion, name) - low) / (high - low), exact)
        table = picture.colour_map(COLOUR)
    grey = cv2.cvtColor(occlusion.photo, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
    colour = table[np.rint(np.nan_to_num(level)).astype(np.intp)]
    mixed = cv2.addWeighted(colour, ALPHA, grey, 1 - ALPHA, 0)
    return np.where(np.isnan(level)[..., None], grey, mixed)


def panels(occlusion: Occlusion) -> list[str]:
    """Those of PANELS that there are: no activation without feature maps, no probability without any."""
    missing = {"activation": occlusion.channel is None, "probability": occlusion.target.probability is None}
    return [name for name in PANELS if not missing.get(name)]


def values(occlusion: Occlusion, name: str) -> np.ndarray:
    """The grid behind a panel, (rows, columns)."""
    return {
        "activation": occlusion.activations,
        "score": occlusion.scores,
        "probability": occlusion.probabilities,
        "class": occlusion.classes,
    }[name]


def scale(occlusion: Occlusion, name: str) -> tuple[float, float]:
    """What the coldest and the hottest colour of a panel stand for. Raises NoMap as `panel` does."""
    if name == "probability":
        return 0.0, 1.0
    grid = values(occlusion, name)
    if not moves(grid):
        what = (
            "score" if name == "score" else f"total of feature map {occlusion.channel} of {occlusion.layer!r}"
        )
        raise NoMap(f"the {what} is {grid.flat[0]:.4g} wherever the patch is")
    return float(grid.min()), float(grid.max())


def class_colours(occlusions: Sequence[Occlusion]) -> Colours:
    """A colour for the target and for the classes that are the most probable one at most places."""
    count = Counter(c for o in occlusions for c in o.classes.ravel().tolist())
    others = [c for c, _ in count.most_common() if c != occlusions[0].target.index]
    return {occlusions[0].target.index: TARGET_COLOUR} | dict(zip(others, CLASS_COLOURS, strict=False))


def sheet(occlusions: Sequence[Occlusion], exact: bool = False) -> np.ndarray:
    """All panels of one photo and their keys as one picture (H, W, 3) uint8, a row for each size of patch."""
    colours = class_colours(occlusions)
    rows = []
    for full in occlusions:
        small = _shrunk(full)
        row = [_cell(_worst(small), _said(full), picture.text("", CELL))]
        for name in panels(full):
            try:
                drawn, key = panel(small, name, exact, colours), _key(full, name, colours)
            except NoMap:
                drawn, key = picture.blank(*small.photo.shape[:2]), picture.text("the same everywhere", CELL)
            row.append(_cell(drawn, _title(full, name), key))
        tallest = max(len(cell) for cell in row)
        row = [np.pad(c, ((0, tallest - len(c)), (0, 0), (0, 0)), constant_values=255) for c in row]
        rows.append(picture.grid(row, len(row)))
    return picture.stacked(rows)


def _shrunk(occlusion: Occlusion) -> Occlusion:
    """The same on a photo whose longer side is that of a sheet's cell."""
    height, width = occlusion.photo.shape[:2]
    factor = CELL / max(height, width)
    down, across = max(1, round(height * factor)), max(1, round(width * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    place = occlusion.place.scaled((height, width), (down, across))
    photo = cv2.resize(occlusion.photo, (across, down), interpolation=how)
    return replace(occlusion, photo=photo, place=place)


def _worst(occlusion: Occlusion) -> np.ndarray:
    """The photo with the patch where it costs the score most, in a frame."""
    photo, places, corner = occlusion.photo.copy(), occlusion.places, occlusion.worst
    edges = []
    for axis in (0, 1):
        low, high = occlusion.box[axis], occlusion.box[axis + 2]
        ends = np.array([corner[axis], corner[axis] + places.patch[axis]]) / places.size[axis]
        edges.append(np.clip(np.rint(low + ends * (high - low)), 0, photo.shape[axis]).astype(int).tolist())
    (top, bottom), (left, right) = edges
    if top < bottom and left < right:  # not where a letterbox has its bars
        fill = occlusion.hidden[corner[0] :, corner[1] :][: places.patch[0], : places.patch[1]]
        photo[top:bottom, left:right] = cv2.resize(fill, (right - left, bottom - top))
        cv2.rectangle(photo, (left, top), (right - 1, bottom - 1), (255, 255, 255), 1)
    return photo


def _said(occlusion: Occlusion) -> list[str]:
    height, width = occlusion.places.patch
    return [
        f"patch {height}x{width} where it costs most",
        f"score {occlusion.score:.4g} -> {occlusion.scores.min():.4g}",
    ]


def _title(occlusion: Occlusion, name: str) -> list[str]:
    target = f"{occlusion.target.index} {occlusion.target.label}"
    return {
        "activation": [f"total of feature map {occlusion.channel}", f"of {occlusion.layer}"],
        "score": ["score of", target],
        "probability": ["probability of", target],
        "class": ["most probable class", "by where the patch is"],
    }[name]


def _key(occlusion: Occlusion, name: str, colours: Colours) -> np.ndarray:
    """What the colours of a panel mean, (any, CELL, 3)."""
    if name != "class":
        low, high = scale(occlusion, name)
        bar = picture.colour_map(COLOUR)[np.linspace(0, 255, CELL - 144).astype(np.intp)]
        bar = np.pad(bar[None].repeat(12, 0), ((5, 5), (0, 0), (0, 0)), constant_values=255)
        return np.concatenate(
            [picture.text(f"{low:8.4g}", 72), bar, picture.text(f" {high:.4g}", 72)], axis=1
        )
    count = Counter(c if c in colours else None for c in occlusion.classes.ravel().tolist())
    lines = []
    for c, n in sorted(count.items(), key=lambda item: (item[0] is None, -item[1])):
        swatch = np.full((22, 28, 3), 255, np.uint8)
        swatch[3:20, :20] = OTHER_COLOUR if c is None else colours[c]
        share = n / len(occlusion.places)
        line = f"{'<1%' if share < 0.01 else f'{share:.0%}'}  "
        line += "other classes" if c is None else f"{c} {occlusion.labels[c]}"
        lines.append(np.concatenate([swatch, picture.text(line, CELL - 28)], axis=1))
    return np.concatenate(lines)


def _cell(drawn: np.ndarray, title: Sequence[str], key: np.ndarray) -> np.ndarray:
    """A picture in the middle of a column of CELL pixels, under its title and above its key."""
    (height, width), column = drawn.shape[:2], (CELL, CELL)
    top, left = (column[0] - height) // 2, (column[1] - width) // 2
    field = np.full((*column, 3), 255, np.uint8)
    field[top : top + height, left : left + width] = drawn
    lines = [picture.text(line, CELL) for line in title]
    return np.concatenate([*lines, field[top : top + height], key])
