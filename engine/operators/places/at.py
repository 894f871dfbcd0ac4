"""A node, and what a rule may ask of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from onnx import GraphProto, NodeProto

from ..traits import traits_of
from .positions import Positions, nowhere, transposed

Found = Positions | Sequence[Positions | None] | None  # None where places are lost


class Around(Protocol):
    """What a rule may ask of the values around its node."""

    def known(self, name: str) -> Positions | None:
        """Where a value lies that was followed before; None for what does not depend on the picture."""
        ...

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The sizes of a value; None where they are not known."""
        ...

    def array(self, name: str) -> np.ndarray | None:
        """What a value holds that does not depend on the picture; None where it does."""
        ...

    def inside(self, body: GraphProto, given: Sequence[Positions | None]) -> list[Positions | None]:
        """Where the outputs of a graph inside the node lie, by where its inputs do.

        None of what does not depend on the picture. Raises ValueError for graphs too deep inside others.
        """
        ...


class At:
    """A node with its attributes, and what is known of what it reads."""

    def __init__(
        self,
        around: Around,
        node: NodeProto,
        attributes: Callable[[NodeProto], dict[str, Any]],
        sizes_alone: bool = False,
    ):
        self.around, self.node, self._attributes = around, node, attributes
        self._input, self._sizes_alone = list(node.input), sizes_alone

    @cached_property
    def attrs(self) -> dict[str, Any]:
        """The attributes, which most rules do not ask for."""
        return self._attributes(self.node)

    def __len__(self) -> int:
        return len(self._input)

    def __getitem__(self, i: int) -> Positions:
        """Where an input lies; nowhere for one that does not depend on the picture."""
        found = self.positions(i)
        return nowhere(self.shape(i)) if found is None else found

    def given(self, i: int) -> bool:
        """Whether there is such an input."""
        return i < len(self._input) and bool(self._input[i])

    def positions(self, i: int) -> Positions | None:
        """Where an input lies; None for one that does not depend on the picture."""
        return self.around.known(self._input[i]) if self.given(i) else None

    def depends(self, i: int) -> bool:
        """Whether an input depends on the picture."""
        return self.positions(i) is not None

    def shape(self, i: int) -> tuple[int, ...]:
        """The sizes of an input. Raises ValueError where they are not known."""
        found = self.around.shape(self._input[i])
        if found is None:
            raise ValueError(f"the sizes of {self._input[i]!r} are not known")
        return found

    def array(self, i: int) -> np.ndarray | None:
        """What an input holds; None where it depends on the picture, or its sizes alone count."""
        return self.around.array(self._input[i]) if self.given(i) and not self._sizes_alone else None

    def declared(self, i: int = 0) -> tuple[int, ...] | None:
        """The sizes of an output, by default the first, as the graph has them."""
        return self.around.shape(self.node.output[i])


def slots(at: At) -> int:
    """Which input of a layer holds its kernel, or of a product the other factor."""
    weights = traits_of(at.node).weights
    return 1 if weights is None else weights.kernel


def is_last(at: At) -> bool:
    """Whether the channels stand last, as ONNX Runtime's own operators of integers can have them."""
    return traits_of(at.node).channels == -1 or bool(at.attrs.get("channels_last"))


def channels_second(at: At, p: Positions) -> Positions:
    """The positions with the channels on the second axis, as rules of windows have them."""
    rank = len(p.shape)
    return transposed(p, [0, rank - 1, *range(1, rank - 1)]) if is_last(at) else p


def as_given(at: At, p: Found) -> Found:
    """Positions with the channels on the second axis, with them where the node has them."""
    if not isinstance(p, Positions) or not is_last(at):
        return p
    return transposed(p, [0, *range(2, len(p.shape)), 1])
