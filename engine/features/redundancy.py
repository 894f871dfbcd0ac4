"""What a layer has learnt in vain: kernels that are nothing, never heard, or there twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from ..graph.graph import Graph
from ..graph.nodes import attributes, reads
from ..operators.traits import traits_of
from .weights import Kernels

FAINT = 0.01
ALIKE = 0.95  # cosine
COMPARED, BLOCK, LISTED = 8192, 1024, 1000


def doubles(layer: Kernels) -> list[tuple[int, int, float]]:
    """Pairs (i, j, cosine), i < j, of kernels that are nearly the same or nearly each other's opposite.

    The cosine of the angle between them is above 0.95 or below -0.95; nearest to 1 or -1 first, and
    no more than 1,000 pairs. Those of different groups read different channels and are not compared, nor
    are more than the first 8,192, nor kernels of a single number.
    """
    count = min(len(layer.values), COMPARED)
    flat = layer.values[:count].reshape(count, -1)
    if flat.shape[1] == 1:
        return []
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    sound = np.isfinite(norms) & (norms > 0)
    flat = np.divide(flat, norms, out=np.zeros_like(flat), where=sound)
    size = len(layer.values) // layer.groups
    found: list[tuple[int, int, float]] = []
    for start, end, last in _blocks(count, size):
        cosines = np.triu(flat[start:end] @ flat[start:last].T, 1)
        near = np.argwhere(np.abs(cosines) > ALIKE)
        near = near[np.argsort(-np.abs(cosines[tuple(near.T)]), kind="stable")[:LISTED]]
        found += [(start + i, start + j, float(cosines[i, j])) for i, j in near.tolist()]
        found = sorted(found, key=lambda pair: -abs(pair[2]))[:LISTED]
    return found


def _blocks(count: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Rows start to end, no more than BLOCK at once, and the end of the group that they lie in."""
    for group in range(0, count, size):
        last = min(group + size, count)
        for start in range(group, last, BLOCK):
            yield start, min(start + BLOCK, last), last


def faint(graph: Graph, layer: Kernels) -> np.ndarray:
    """Which kernels are next to nothing: norms of at most a hundredth of the layer's median, (K,) bool.

    A normalisation behind the layer is counted in: it can make a small kernel large, and a large one nothing.
    """
    norms = layer.norms * np.abs(_tail(graph, layer.layer, len(layer.values))[0])
    return norms <= FAINT * np.median(norms)


def off(graph: Graph, layer: Kernels) -> np.ndarray:
    """Which outputs a rectifier holds at zero whatever the layer reads, (K,) bool.

    The largest Σ w x + b over all x that the layer may read - x >= 0 behind a rectifier, else any x -
    is not above zero there. A bias or a normalisation between layer and rectifier is counted in.
    """
    factor, offset, rectified = _tail(graph, layer.layer, len(layer.values))
    if not rectified:
        return np.zeros(len(layer.values), bool)
    node = graph.producer(layer.layer)
    assert node is not None
    above, below = (layer.values > 0).any((1, 2, 3)), (layer.values < 0).any((1, 2, 3))
    if node.input[0] in _positive(graph):
        raised = ((factor > 0) & above) | ((factor < 0) & below)
    else:
        raised = (factor != 0) & (above | below)
    bias = 0 if layer.bias is None else layer.bias
    return ~raised & (factor * bias + offset <= 0)


def _tail(graph: Graph, name: str, count: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """What follows a layer up to its rectifier, as factor * y + offset per output, and if there is one."""
    factor, offset = np.ones(count), np.zeros(count)
    while len(readers := [n for n in graph.nodes if name in reads(n)]) == 1:
        node = readers[0]
        others = [graph[i].array for i in node.input if i and i != name]
        numbers = [
            np.asarray(o, np.float64).ravel() for o in others if o is not None and o.size in (1, count)
        ]
        if node.op_type == "BatchNormalization" and len(numbers) == 4:
            gain, shift, mean, variance = numbers
            gain = gain / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
            factor, offset = factor * gain, (offset - mean) * gain + shift
        elif node.op_type == "Add" and len(numbers) == 1:
            offset = offset + numbers[0]
        else:
            return factor, offset, _rectifies(graph, node)
        name = node.output[0]
    return factor, offset, False


def _rectifies(graph: Graph, node: NodeProto) -> bool:
    """True for a ReLU, and for a Clip that begins at zero (ReLU6)."""
    floor = (
        graph[node.input[1]].array if node.op_type == "Clip" and node.input[1:2] not in ([], [""]) else None
    )
    return node.op_type == "Relu" or (floor is not None and floor.size == 1 and floor.item() == 0)


def _positive(graph: Graph) -> set[str]:
    """The values that cannot be below zero: what rectifiers make, and what hands that on."""
    found: set[str] = set()
    for node in graph.nodes:
        computed = [i for i in node.input if i and i not in graph.constants]
        handed_on = _keeps_sign(node) and bool(computed) and found.issuperset(computed)
        if handed_on or _rectifies(graph, node) or _is_positive(node):
            found.update(node.output)
    return found


def _keeps_sign(node: NodeProto) -> bool:
    """True for what makes no number below zero of data that has none."""
    traits = traits_of(node)
    return bool(traits.reshapes or traits.pools or (traits.moves and traits.hull))


def _is_positive(node: NodeProto) -> bool:
    """True for what makes no number below zero of any."""
    bounds = traits_of(node).range
    return bounds is not None and bounds[0] >= 0
