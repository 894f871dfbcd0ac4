"""Objectives: what an image is to have more of, said in a line of text, as one tensor expression.

    0.8*channel(conv4, 12) - 0.2*class("tabby cat")

A sum of terms with numbers before them, and nothing else (../sums.py). Each term is a function of tensors
(terms.py); its parameters are what stands between its brackets.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import sums
from ..anatomy.maps import feature_map
from ..anatomy.readouts.classes import readout
from ..autodiff.gradient import inside
from ..errors import BadRequest, nearest
from ..graph.graph import Graph, Tensor, op
from ..sums import Part
from .terms import TERMS


def index_of(text: str) -> int:
    """A class index from its digits. Raises BadRequest for anything else."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadRequest(f"{text!r:.60} is no class index, and there are no labels to find it in")
    return int(text)


def objective(
    graph: Graph,
    text: str,
    class_of: Callable[[str], int] = index_of,
    vectors: Mapping[str, np.ndarray] | None = None,
) -> Tensor:
    """Append what `text` says to the graph: one number for each image, (N,) of the layers' float type.

        class(281)   class("tabby cat")      the score of a class, before a softmax
        odds(281)    odds("tabby cat")       its log odds, log p/(1 - p)
        element(NAME, i[, j, ...])           one number of any value, without the index of the batch
        layer(NAME)                          ½‖A‖² over the layer
        channel(NAME, k)   peak(NAME, k)     the mean and the greatest value of a channel
        neuron(NAME, k[, row, column])       a channel at one position, by default the middle one
        direction(NAME, VECTOR)              the mean dot product with one of `vectors`, by name
        diversity(NAME)                      how unlike the images of a batch are (Gram matrices)
        guide(NAME, FEATURES)                how well each position fits its best among `vectors` (K, J)

    Terms are added up with `+` and `-`, each with a number before it if wished: `0.5*class(3) - layer(a)`.
    NAME is a feature map, or a value (N, K) as a map of one pixel; names with commas, brackets or quotes
    stand in quotes. `class_of` gives the index of a class from what is written (Lens.wish).

    Raises BadRequest, with the position in the text and the nearest names, for what it does not know.
    """
    total = None
    for part in parse(text):
        try:
            value = _built(graph, part, class_of, vectors or {})
        except BadRequest as error:
            raise sums.wrong("objective", text, part.at, str(error)) from error
        value = value if part.weight == 1 else value * part.weight
        total = value if total is None else total + value
    assert total is not None
    return total


def parse(text: str) -> list[Part]:
    """The terms of an objective, one at least. Raises BadRequest, with the position, where it is no sum of
    terms; whether layers, channels and classes exist is for the graph to say.
    """
    return sums.parse(text, "objective", TERMS, "channel(LAYER, 3)")


def _built(
    graph: Graph, part: Part, class_of: Callable[[str], int], vectors: Mapping[str, np.ndarray]
) -> Tensor:
    """One term on the graph: each argument read as the parameter of its place says."""
    term = TERMS[part.name]
    parameters = list(inspect.signature(term).parameters.values())
    given: dict[str, Any] = {}
    if parameters[0].name == "scores":
        read = readout(graph)
        if read.kind != "classes" and part.name == "odds":
            term = TERMS["class"]  # what stands by itself has its score for log odds
        given["scores"] = inside(graph, read.scores)
        del parameters[0]
    if parameters[0].name == "value":
        return term(*_element(graph, part.arguments))
    needed = sum(p.default is p.empty for p in parameters)
    if not needed <= len(part.arguments) <= len(parameters) or "" in part.arguments:
        names = ", ".join(p.name if p.default is p.empty else f"[{p.name}]" for p in parameters)
        raise BadRequest(f"it is {part.name}({names})")
    for parameter, argument in zip(parameters, part.arguments, strict=False):
        name = parameter.name
        if name == "layer":
            given[name] = _features(graph, argument)
        elif name == "label":
            given[name] = _within(class_of(argument), readout(graph).count, f"class {argument}")
        elif name in ("vector", "features"):
            given[name] = _vector(argument, vectors, given["layer"], 1 if name == "vector" else 2)
        else:
            axis = ("channel", "row", "column").index(name) + 1
            given[name] = _index(argument, name, given["layer"].shape[axis])
    return term(**given)


def _element(graph: Graph, arguments: Sequence[str]) -> tuple[Tensor, *tuple[int, ...]]:
    """A value by its name, and an index along each of its axes behind the batch."""
    name, *indices = arguments
    value = inside(graph, name)
    shape = (value.shape or ())[1:]
    if len(indices) != len(shape):
        shown = ", ".join(map(str, shape))
        raise BadRequest(f"it is element({name:.60}, ...) with an index for each axis of [{shown}]")
    axes = zip(indices, shape, strict=True)
    return value, *(_index(index, f"axis {i} index", size) for i, (index, size) in enumerate(axes, 1))


def _features(graph: Graph, name: str) -> Tensor:
    """A value as a feature map (N, K, h, w); one of shape (N, K) as a map of one pixel."""
    value = inside(graph, name) if name in graph else None
    if value is not None and value.shape is not None and len(value.shape) == 2:
        return op.Unsqueeze(value, [2, 3])
    return feature_map(graph, name)


def _vector(name: str, vectors: Mapping[str, np.ndarray], layer: Tensor, rank: int) -> np.ndarray:
    """The vector (K,) or the vectors (K, J) of a name, as many numbers as the layer has channels."""
    if name not in vectors:
        raise BadRequest(f"no vector {name!r:.60} was given{nearest(name, vectors)}")
    vector = np.asarray(vectors[name])
    channels = (layer.shape or (None, None))[1]
    fits = vector.ndim == rank and vector.shape[0] == channels and vector.size > 0
    if vector.dtype.kind not in "fiu" or not fits or not np.isfinite(vector).all():
        raise BadRequest(
            f"vector {name!r:.60} is {vector.dtype} of shape {vector.shape}, not {channels} finite numbers"
        )
    return vector


def _index(text: str, name: str, size: int | str | None) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadRequest(f"{name} {text!r:.40} is no index")
    return _within(int(text), size, f"{name} {text}")


def _within(index: int, size: int | str | None, what: str) -> int:
    if index < 0 or (isinstance(size, int) and index >= size):
        known = f"they go from 0 to {size - 1}" if isinstance(size, int) else "say one"
        raise BadRequest(f"{what:.60} is not there: {known}")
    return index
