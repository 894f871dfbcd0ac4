"""A map that is to be judged, and whom a metric may ask about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Heat = np.ndarray  # (h, w) float32 on the pixels of the input, finite


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The map `heat` of a class of one `image` (C, h, w) or (h, w, C) as the model takes it.

    `mask` (h, w) bool is where the object is, None where that is not known. `through` gives the probability
    of the class (n,) with the image seen through masks (n, h, w), 1 where it is seen and 0 where a fill is;
    `answers` the same for other images (n, ...); `last` says that channels come last. `again` is the map that
    the method makes of another image for the same class, `other` that of this image for the class that comes
    next, None where there is none, `twins` the maps of this image by models whose weights are random: a few
    layers at the end first, then more, all at last. `sum` is what the values sum to and `rise` what they
    should, of methods that promise that. `passes` times the map, in forward passes of the model.
    """

    heat: Heat
    image: np.ndarray
    last: bool
    through: Callable[[np.ndarray, str], np.ndarray]
    answers: Callable[[np.ndarray], np.ndarray]
    again: Callable[[np.ndarray], Heat]
    other: Callable[[], Heat | None]
    twins: Callable[[], Sequence[Heat]]
    passes: Callable[[], float]
    mask: np.ndarray | None = None
    sum: float | None = None
    rise: float | None = None
