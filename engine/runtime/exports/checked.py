"""An export in the runtimes that are installed, held against the graph that it was written from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import BadRequest, Unavailable
from ...graph.graph import Graph, Tensor
from ..session import Session
from .installed import INSTALLED, answers, version

BOUND = 1e-4  # of the norm of what is right
WIDEST = 0.1  # as much may be forgiven where rounding alone moves the answer
TRIES = 8  # inputs that are drawn in search of one at which nothing is at a kink
SHAKEN = 1e-6  # by how much of themselves numbers differ that rounding moves
BATCH = 2  # pictures where the batch is open
LARGEST = 2**28  # numbers in an input


class Check(NamedTuple):
    """What came of a file in one runtime.

    `off`: how far the worst output is from what is right, over its norm; None where it gave none, but `said`
    something. `bound`: how far it may be.
    """

    runtime: str
    version: str
    off: float | None
    bound: float
    said: str = ""

    @property
    def verdict(self) -> str:
        """right, wrong (it gave an answer, and said nothing) or refused."""
        if self.off is None:
            return "refused"
        return "right" if self.off <= self.bound else "wrong"


class Probe(NamedTuple):
    """Inputs by name, the right outputs, and how far rounding may move these, over their norms."""

    feeds: dict[str, np.ndarray]
    right: dict[str, np.ndarray]
    moved: float


def checked(path: Path, probe: Probe) -> list[Check]:
    """The file that a graph was written to, in each runtime that is installed: what `steady` found of it."""
    bound = min(max(BOUND, 10 * probe.moved), WIDEST)
    found = []
    for runtime in INSTALLED:
        if (number := version(runtime)) is None:
            continue
        try:
            given = answers(runtime, path, probe.feeds)
        except Unavailable as error:
            found.append(Check(runtime, number, None, bound, str(error)))
            continue
        missing = [name for name in probe.right if name not in given]
        if missing:
            found.append(Check(runtime, number, None, bound, f"it gave no output {missing[0]!r}"))
        else:
            off = max(distance(given[name], array) for name, array in probe.right.items())
            found.append(Check(runtime, number, off, bound))
    return found


def steady(graph: Graph) -> Probe:
    """Random inputs of a graph, those of a few at which rounding moves the outputs the least.

    Where a rectifier is at its kink, or two pixels of a window are as large, it takes little to have the
    gradient jump, and runtimes that round otherwise are not wrong. What is right is what ONNX Runtime says to
    the graph, before it is written for a runtime. Raises BadRequest where sizes but the batch are open.
    """
    session = Session(graph, threads=1)
    best = None
    for seed in range(TRIES):
        rng = np.random.default_rng(seed)
        feeds = {name: _drawn(graph, name, rng) for name in graph.inputs}
        right = session(feeds)
        most = max(moved(session, feeds, right, rng) for _ in range(3))
        if best is None or most < best.moved:
            best = Probe(feeds, right, most)
        if most < BOUND / 10:
            break
    assert best is not None
    return best


def distance(found: np.ndarray, right: np.ndarray) -> float:
    """How far off, over the norm of what is right; infinite where shapes differ or only one is finite.

    Text is right or not.
    """
    if found.shape != right.shape:
        return float("inf")
    if right.dtype.kind in "OSTU":
        return 0.0 if np.array_equal(found, right) else float("inf")
    found, right = (np.asarray(a, np.float64) for a in (found, right))
    finite = np.isfinite(right)
    same = np.array_equal(found[~finite], right[~finite], equal_nan=True) and np.isfinite(found[finite]).all()
    off = float(np.linalg.norm(found[finite] - right[finite]) / (np.linalg.norm(right[finite]) or 1))
    return off if same else float("inf")


def moved(
    call: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]],
    feeds: Mapping[str, np.ndarray],
    right: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> float:
    """How far the outputs go where inputs change by about their rounding."""
    shaken = {
        name: (array * (1 + SHAKEN * rng.standard_normal(array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in ((name, np.asarray(given)) for name, given in feeds.items())
    }
    return max(distance(array, right[name]) for name, array in call(shaken).items())


def _drawn(graph: Graph, name: str, rng: np.random.Generator) -> np.ndarray:
    """Random numbers for an input, digits where it takes text, or what is given for it."""
    value = Tensor(graph, name)
    dtype = np.dtype(np.float32) if value.dtype is None else value.dtype
    if name in graph.given:
        return np.asarray(graph.given[name], dtype)
    batches = {shape[0] for i in graph.inputs if (shape := graph.shape(i))}
    known = ("?",) if value.shape is None else value.shape
    shape = [d if isinstance(d, int) else BATCH if d in batches else -1 for d in known]
    if min(shape, default=1) < 0 or np.prod(shape, dtype=float) > LARGEST:
        sizes = ", ".join("?" if d is None else str(d) for d in known)
        raise BadRequest(f"a check has to know how large {name!r} is ({sizes}): say --size or --batch")
    if dtype.kind == "O":
        return rng.integers(0, 2, shape).astype(str).astype(object)
    if dtype.kind in "iub":
        return rng.integers(0, 256 if dtype.kind == "u" else 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
