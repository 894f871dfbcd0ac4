"""What came back from a unit to the pixels of a photo: drawn, laid over the photo, cut out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...engine import picture
from ...engine.attribution import tones
from ...engine.errors import BadRequest, NoMap, nearest
from ...kernels.photos.upsample import upsample
from ..photos.preprocess import Box
from .heatmap import HeatMap, Prediction
from .shown import Shown

STYLES = {"signed": tones.signed, "absolute": tones.absolute, "diverging": tones.diverging}


@dataclass(frozen=True, repr=False)
class Projection(Shown):
    """What of one photo a unit answers to, as one method sees it.

    `signal` (h, w, C) float32 lies on the model's input, in the model's units; its channels are red, green
    and blue, or one for a model of grey pictures. `box` (y0, x0, y1, x1) is the part of the photo that it
    covers, in photo pixels. The unit: `layer` (None for a class, which is the `target`), `channel`,
    `position` (row, column) in the layer, and its `value`. `problem` says why there is nothing to draw,
    `note` what is to be known of the method in this network. `rise` and `gap`, of integrated gradients: see
    engine/attribution/averages.py.
    """

    photo: np.ndarray
    signal: np.ndarray
    box: Box
    method: str
    layer: str | None
    channel: int
    position: tuple[int, int]
    value: float
    target: Prediction | None
    predictions: list[Prediction]
    problem: str = ""
    rise: float | None = None
    gap: float | None = None
    note: str = ""

    def at_photo(self) -> np.ndarray:
        """The signal on the pixels of the upright photo, (H, W, C) float32; NaN where it is not covered."""
        planes = np.ascontiguousarray(np.moveaxis(self.signal, -1, 0))
        wide = upsample(planes, *self.photo.shape[:2], box=self.box, outside=np.nan)
        return np.moveaxis(wide, 0, -1)

    def picture(self, style: str = "signed") -> np.ndarray:
        """The signal alone in one of STYLES, on the photo's pixels, (H, W, 3) uint8.

        Raises BadRequest for another style, and NoMap, with the reason, where there is nothing to draw.
        """
        drawn = self._drawn(style, self.signal)
        none = STYLES[style](np.zeros((1, 1, 3), np.float32))[0, 0].tolist()
        height, width = self.photo.shape[:2]
        planes = [upsample(drawn[None, ..., c], height, width, self.box, none[c])[0] for c in range(3)]
        return np.stack([np.rint(p).astype(np.uint8) for p in planes], axis=-1)

    def shown(self) -> np.ndarray:
        """The signal alone, for notebooks."""
        return self.picture()

    def overlay(self, colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
        """The strength of the signal as heat over the photo, (H, W, 3) uint8. Raises as `picture` does."""
        if self.problem:
            raise NoMap(self.problem)
        heat = tones.scaled(tones.strength(self.signal))
        at_photo = upsample(heat[None], *self.photo.shape[:2], box=self.box, outside=np.nan)[0]
        return picture.overlay(self.photo, at_photo, colour, alpha)

    def crops(self, style: str = "signed", side: int = 128) -> tuple[np.ndarray, np.ndarray]:
        """What the unit sees of the photo and what comes back, each (side, side, 3) uint8.

        Both show the smallest square of the input that holds the signal, as in Zeiler & Fergus, figure 2.
        """
        window = self.window()
        top, left, bottom, right = window
        drawn = self._drawn(style, self.signal[top:bottom, left:right])
        return cut(self.photo, self._at_photo(window), side), cv2.resize(drawn, (side, side))

    def window(self) -> tuple[int, int, int, int]:
        """The smallest square of the input that holds the signal: (top, left, bottom, right), in its pixels.

        It is no square where the input has no room for one; without a signal it is all of the input.
        """
        felt = (self.signal != 0).any(axis=-1)
        ys, xs = (np.flatnonzero(felt.any(axis=axis)) for axis in (1, 0))
        if not ys.size:
            return 0, 0, *self.signal.shape[:2]
        side = max(ys[-1] - ys[0], xs[-1] - xs[0]) + 1
        (top, bottom), (left, right) = (
            _around(int(axis[0]), int(axis[-1]) + 1, int(side), length)
            for axis, length in zip((ys, xs), self.signal.shape[:2], strict=True)
        )
        return top, left, bottom, right

    def _at_photo(self, window: tuple[int, int, int, int]) -> Box:
        """A window of the input in photo pixels."""
        y0, x0, y1, x1 = self.box
        down, across = (y1 - y0) / self.signal.shape[0], (x1 - x0) / self.signal.shape[1]
        top, left, bottom, right = window
        return y0 + top * down, x0 + left * across, y0 + bottom * down, x0 + right * across

    def _drawn(self, style: str, signal: np.ndarray) -> np.ndarray:
        if style not in STYLES:
            raise BadRequest(f"there is no style {style!r}{nearest(style, STYLES)}")
        if self.problem:
            raise NoMap(self.problem)
        return STYLES[style](signal)


def sheet(shown: Sequence[Projection], style: str = "signed") -> np.ndarray:
    """What channels see of a photo beside what comes back from each, as one picture, (H, W, 3) uint8.

    Raises NoMap for a projection with a problem.
    """
    cells = [np.hstack(p.crops(style)) for p in shown]
    return picture.grid(cells, 3, captions=[f"channel {p.channel}: {p.value:.3g}" for p in shown])


def guided_gradcam(guided: Projection, heat: HeatMap) -> Projection:
    """Guided backpropagation of a class, times where Grad-CAM sees the class: as fine as the one, as much of
    the class as the other.

    Both are of the same photo and class. Selvaraju et al. 2017, section 3.1: the map is upsampled bilinearly
    to the input's size and multiplied with every channel.
    """
    where = upsample(heat.map[None], *guided.signal.shape[:2])[0]
    return replace(
        guided,
        signal=guided.signal * where[..., None],
        method="guided-gradcam",
        problem=heat.problem or guided.problem,
    )


def cut(photo: np.ndarray, box: Box, side: int) -> np.ndarray:
    """The part of a photo in a box, in photo pixels, as (side, side, 3); grey beyond the photo."""
    y0, x0, y1, x1 = box
    height, width = photo.shape[:2]
    top, left = max(0, int(np.floor(y0))), max(0, int(np.floor(x0)))
    bottom, right = min(height, int(np.ceil(y1))), min(width, int(np.ceil(x1)))
    page = np.full((side, side, 3), 127, np.uint8)
    if top >= bottom or left >= right:
        return page
    down, across = side / (y1 - y0), side / (x1 - x0)
    # Where the whole pixels that hold the box would lie on the page; what is beyond it is cut off.
    rows, columns = (
        [round((edge - start) * scale) for edge in edges]
        for edges, start, scale in (((top, bottom), y0, down), ((left, right), x0, across))
    )
    size = max(1, columns[1] - columns[0]), max(1, rows[1] - rows[0])
    way = cv2.INTER_AREA if size[0] < right - left else cv2.INTER_LINEAR
    part = cv2.resize(photo[top:bottom, left:right], size, interpolation=way)
    y, x = max(rows[0], 0), max(columns[0], 0)
    part = part[y - rows[0] :, x - columns[0] :][: side - y, : side - x]
    page[y : y + part.shape[0], x : x + part.shape[1]] = part
    return page


def _around(low: int, high: int, side: int, length: int) -> tuple[int, int]:
    """An interval of `side`, or all that there is, around [low, high) within [0, length)."""
    side = min(side, length)
    low = min(max(0, low - (side - (high - low)) // 2), length - side)
    return low, low + side
