"""Where a patch is put on an image, one place after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import BadRequest
from .stages import Ranges

Key = tuple[tuple[int, int], tuple[int, int], bytes, bytes]


@dataclass(frozen=True)
class Places:
    """Where a patch is put on an image of `size`: at each of `tops` and each of `lefts`, in pixels.

    The positions are numbered in reading order; a grid of values has the shape (len(tops), len(lefts)).
    """

    size: tuple[int, int]
    patch: tuple[int, int]
    tops: np.ndarray
    lefts: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """How many positions there are down and across."""
        return len(self.tops), len(self.lefts)

    @property
    def ranges(self) -> Ranges:
        """The pixels under the patch at each position."""
        (height, width), tops, lefts = self.patch, self.tops, self.lefts
        return Ranges((tops, tops + height), (lefts, lefts + width))

    @property
    def key(self) -> Key:
        """What tells places from others."""
        return self.size, self.patch, self.tops.tobytes(), self.lefts.tobytes()

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def corners(self, numbers: np.ndarray) -> np.ndarray:
        """The upper left pixels (y, x) of the positions of these numbers (n,), (n, 2) int64."""
        rows, columns = np.divmod(numbers, len(self.lefts))
        return np.stack([self.tops[rows], self.lefts[columns]], axis=1)

    def at(self, values: np.ndarray, ys: np.ndarray, xs: np.ndarray, exact: bool = False) -> np.ndarray:
        """Values of `shape`, as a function of where the patch's centre is, at rows `ys` and columns `xs`.

        `ys` (H,) and `xs` (W,) are in pixels of the image, whose first one spans 0 to 1; gives (H, W)
        float32. Linear between the centres, or `exact`: the value of the nearest one. Beyond the
        outermost centres, where no patch can be centred, the value stays as it is there.
        """
        out = values.astype(np.float32)
        for axis, (starts, points) in enumerate(((self.tops, ys), (self.lefts, xs))):
            index = np.interp(points, starts + self.patch[axis] / 2, np.arange(len(starts)))
            if exact:
                out = out.take(np.rint(index).astype(np.intp), axis)
                continue
            first = index.astype(np.intp)
            second = np.minimum(first + 1, len(starts) - 1)
            share = np.expand_dims((index - first).astype(np.float32), 1 - axis)
            out = out.take(first, axis) * (1 - share) + out.take(second, axis) * share
        return out


class Hiding(NamedTuple):
    """An image, the `filler` that is under a patch, and the `places` that the patch hides one after another.

    `image` and `filler` are inputs of a network without their batch axis: float32 (C, h, w) or, with the
    channels `last`, (h, w, C), where (h, w) is the size of the places.
    """

    image: np.ndarray
    filler: np.ndarray
    places: Places
    last: bool = False

    @property
    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Image and filler as float32 (C, h, w), in one piece each."""
        first = (np.moveaxis(x, -1, 0) if self.last else x for x in (self.image, self.filler))
        image, filler = (np.ascontiguousarray(x, np.float32) for x in first)
        return image, filler


def places(size: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int]) -> Places:
    """The positions of a patch on an image, both (height, width), at multiples of the stride.

    Where these leave pixels at the lower or right edge uncovered, one more position ends flush with
    it: every pixel is covered. Raises BadRequest for a patch or stride below 1, a patch larger than the
    image, and a stride larger than the patch, which would leave pixels out.
    """
    shown = "{}x{}".format
    if min(patch) < 1 or min(stride) < 1:
        what, pair = ("patch", patch) if min(patch) < 1 else ("stride", stride)
        raise BadRequest(f"a {what} is at least 1 pixel, not {shown(*pair)}")
    if patch[0] > size[0] or patch[1] > size[1]:
        raise BadRequest(f"a patch of {shown(*patch)} is larger than the model's input of {shown(*size)}")
    if stride[0] > patch[0] or stride[1] > patch[1]:
        raise BadRequest(
            f"a stride of {shown(*stride)} leaves gaps between patches of {shown(*patch)}; "
            "it is at most as large as the patch"
        )
    tops, lefts = (
        np.unique(np.append(np.arange(0, room + 1, step), room))
        for room, step in zip((size[0] - patch[0], size[1] - patch[1]), stride, strict=True)
    )
    return Places(size, patch, tops, lefts)
