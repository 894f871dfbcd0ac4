"""Objectives: what an image is to have more of, said in a line of text, as one tensor expression.

    0.8*channel(conv4, 12) - 0.2*class("tabby cat")

A sum of terms with numbers before them, and nothing else: the text may be a stranger's, and is read rather
than run. Each term is a function of tensors (terms.py); its parameters are what stands between its brackets.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from ..anatomy.maps import feature_map
from ..anatomy.readouts.classes import readout
from ..autodiff.gradient import inside
from ..errors import BadRequest, nearest
from ..graph.graph import Graph, Tensor, op
from .terms import TERMS

MAX_CHARACTERS = 4000  # characters of an objective
_START = re.compile(r"\s*(?P<sign>[+-]?)\s*(?:(?P<weight>[\d.]+(?:[eE][+-]?\d+)?)\s*\*)?\s*")
_NAME = re.compile(r"(?P<name>\w+)\s*\(")
_ARGUMENT = re.compile(r"""\s*(?:"(?P<double>[^"]*)"\s*|'(?P<single>[^']*)'\s*|(?P<bare>[^,()"']*))""")


class Part(NamedTuple):
    """One term of an objective: weight * name(arguments), and the position in the text where it begins."""

    weight: float
    name: str
    arguments: tuple[str, ...]
    at: int


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
            raise _wrong(text, part.at, str(error)) from error
        value = value if part.weight == 1 else value * part.weight
        total = value if total is None else total + value
    assert total is not None
    return total


def quoted(name: str) -> str:
    """A name as it stands in an objective. BadRequest for one that holds both kinds of quotes."""
    mark = "'" if '"' in name else '"'
    if mark in name:
        raise BadRequest(f"{name!r:.80} holds both kinds of quotes, and cannot stand in an objective")
    return mark + name + mark


def parse(text: str) -> list[Part]:
    """The terms of an objective, one at least. Raises BadRequest, with the position, where it is no sum of
    terms; whether layers, channels and classes exist is for the graph to say.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(f"an objective ends at {MAX_CHARACTERS} characters")
    parts: list[Part] = []
    at = 0
    while not parts or text[at:].strip():
        start = _START.match(text, at)
        assert start is not None
        if parts and not start["sign"]:
            raise _wrong(text, at, "expected + or -")
        name = _NAME.match(text, start.end())
        if name is None:
            raise _wrong(text, start.end(), f"expected a term such as channel(LAYER, 3){nearest('', TERMS)}")
        if name["name"] not in TERMS:
            raise _wrong(text, name.start(), f"no term {name['name']!r:.40}{nearest(name['name'], TERMS)}")
        weight = _weight(text, start)
        arguments, at = _arguments(text, name.end())
        parts.append(Part(weight, name["name"], arguments, name.start()))
    return parts


def _weight(text: str, start: re.Match[str]) -> float:
    try:
        weight = float(start["weight"] or 1)
    except ValueError:
        weight = np.inf
    if not isfinite(weight):
        raise _wrong(text, start.start("weight"), f"{start['weight']!r:.40} is no number")
    return -weight if start["sign"] == "-" else weight


def _arguments(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """What stands between brackets, and the position behind them."""
    arguments: list[str] = []
    while True:
        found = _ARGUMENT.match(text, at)
        assert found is not None
        at = found.end()
        if text[at : at + 1] not in (",", ")"):
            raise _wrong(text, at, "expected , or ); names with brackets or quotes stand in quotes")
        given = found[found.lastgroup or "bare"]
        arguments.append(given.strip() if found.lastgroup == "bare" else given)
        at += 1
        if text[at - 1] == ")":
            return tuple(arguments), at


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


def _wrong(text: str, at: int, what: str) -> BadRequest:
    here = text[at : at + 20].strip()
    return BadRequest(f"objective, position {at + 1}{f' ({here!r})' if here else ', at the end'}: {what}")
