"""What a model finds in a picture, and the numbers of its answer that say so.

Whatever is explained is a linear functional of the model's values: a `Seed` holds its weights. A class is
one weight of 1 on its score; the region of a class has equal weights on the class's scores there; "A rather
than B" is the difference of two. The weighted sum is what methods go back from (targets/aim.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np


class Weights(NamedTuple):
    """Of elements of one value: their `indices` (n,) int64, flat, without the batch axis, and what each
    counts (n,) float32.
    """

    indices: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Seed:
    """Weights on elements of a graph's values, by the name of the value; all others are zero.

    Seeds are added, subtracted and multiplied with numbers.
    """

    of: Mapping[str, Weights] = field(default_factory=dict)

    @classmethod
    def on(cls, value: str, indices: Sequence[int] | np.ndarray | int, weights: object = 1.0) -> Seed:
        """Weights on some flat indices of one value: one for all, or one for each."""
        flat = np.atleast_1d(np.asarray(indices, np.int64)).ravel()
        return cls({value: Weights(flat, np.broadcast_to(np.asarray(weights, np.float32), flat.shape))})

    def __add__(self, other: Seed) -> Seed:
        both = dict(self.of)
        for name, more in other.of.items():
            known = both.get(name)
            both[name] = Weights(*map(np.concatenate, zip(known, more, strict=True))) if known else more
        return Seed(both)

    def __mul__(self, factor: float) -> Seed:
        return Seed({n: Weights(w.indices, w.weights * np.float32(factor)) for n, w in self.of.items()})

    __rmul__ = __mul__

    def __sub__(self, other: Seed) -> Seed:
        return self + other * -1.0

    def total(self, values: Mapping[str, np.ndarray]) -> float:
        """The weighted sum of some values, of one image each."""
        found = (np.ravel(values[name])[w.indices] @ w.weights for name, w in self.of.items())
        return float(sum(found))

    def dense(self, value: str, size: int) -> np.ndarray:
        """The weights of all elements of a value that has `size` of them, (size,) float32."""
        array = np.zeros(size, np.float32)
        if value in self.of:
            np.add.at(array, *self.of[value])
        return array


@dataclass(frozen=True, eq=False)
class Thing:
    """One thing that a model found in one picture.

    `kind` is "class", "box", "region", "character", "text", "vector", "likeness" or "value". `label` is the
    index of its class, None where it has none, and `words` what it is then, or besides; `asked` is the target
    that means it, as a text, once somebody asked. `score` is a probability (0 to 1) where the model gives
    one. The sum of `seed` is the number that is explained when this thing is, unless `value` says what else
    is; `seeds` are further ones, by name: "x", "y", "w", "h" of a box, as the model gives them. A likeness is
    that to `other`, the path of a photo.

    `box` (y0, x0, y1, x1) and `points` (k, 3), each y, x and a score, are in pixels of the model's input, and
    `mask` (h, w) float32, 0 to 1, lies over all of it; `angle` turns the box about its centre, in radians,
    clockwise on the screen.
    """

    kind: str
    label: int | None
    score: float | None
    seed: Seed
    words: str = ""
    box: tuple[float, float, float, float] | None = None
    angle: float = 0.0
    mask: np.ndarray | None = None
    points: np.ndarray | None = None
    seeds: Mapping[str, Seed] = field(default_factory=dict)
    asked: str = ""
    value: float | None = None
    other: str = ""


class Hints(NamedTuple):
    """What is known of a model's answers beside its graph; all of it may be missing.

    `size` is the height and width of its input, `labels` the names of classes or the alphabet, `facts` the
    words of its producer, such as "task" or "model_type". `output` and `kind` are what somebody said: an
    output of the model, and a name of READOUTS, or with the layout behind a colon: "boxes:yolox".
    """

    size: tuple[int, int] = (0, 0)
    labels: Sequence[str] = ()
    facts: Mapping[str, str] = {}
    output: str | None = None
    kind: str | None = None


class Reading(Protocol):
    """An answer that holds things, of one kind; a frozen dataclass in the file of that kind."""

    @property
    def kind(self) -> str:
        """Its name in READOUTS."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of the model that it reads."""
        ...

    @property
    def parts(self) -> tuple[str, ...]:
        """The values of the graph that its seeds lie on."""
        ...

    @property
    def why(self) -> str:
        """How it is known, in words."""
        ...

    def things(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Thing]:
        """The things in the first picture of a batch, best first.

        `values` holds arrays by the names of outputs and parts; `size` is the height and width of the input.
        """
        ...
