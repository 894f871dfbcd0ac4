"""The kernels of a network's layers, wherever a file keeps them.

A layer reads its weights through whatever the exporter put in between - DequantizeLinear, Transpose, Cast,
Reshape, Unsqueeze, Concat - which ONNX Runtime computes here: all that depends on constants alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from ..anatomy.maps import View, views
from ..graph.graph import Graph
from ..graph.nodes import attributes, bodies, reads, understood
from ..operators.traits import traits_of
from ..runtime.session import Session

MAX_ELEMENTS = 2**28  # elements of a weight, or of a value on the way to it, that is computed


@dataclass(frozen=True)
class Kernels:
    """The weights of one layer as it uses them.

    `values` (K, C, h, w) float32 holds a kernel for each of the K outputs, over the C input channels that
    this output reads; a dense layer has kernels of 1 x 1, or of the size of the feature map that it reads
    flattened. `bias` (K,) where the operator has one. Of `groups`, each reads channels of its own. `layer`
    is the value that it computes, `weight` the stored tensor. `first` says that no other layer lies
    before it, so that its channels are those of the image. Integer operators without a scale of their own
    (ConvInteger, MatMulInteger) have their integers less the zero point.
    """

    layer: str
    operator: str
    weight: str
    values: np.ndarray
    bias: np.ndarray | None
    groups: int
    first: bool

    @property
    def norms(self) -> np.ndarray:
        """The Euclidean norm of each kernel, (K,)."""
        return np.sqrt(np.einsum("kchw,kchw->k", self.values, self.values, dtype=np.float64))

    @property
    def dense(self) -> bool:
        """True where a picture of a kernel says nothing: it is one number per input."""
        return self.values.shape[2:] == (1, 1)


def layers(graph: Graph) -> dict[str, str]:
    """The layers whose weights can be shown, in order: what each computes, and its stored tensor."""
    fixed = fixed_values(graph)
    return {n.output[0]: _stored(graph, _places(n)[0]) for n in graph.nodes if _is_layer(graph, n, fixed)}


def kernels(graph: Graph, names: Iterable[str]) -> Iterator[Kernels]:
    """The weights of the layers that compute these values (some of `layers`), one layer at a time.

    Raises BadModel where they cannot be computed, or do not fit the operator.
    """
    fixed, seen, behind = fixed_values(graph), views(graph), _behind_layers(graph)
    for name in names:
        node = graph.producer(name)
        assert node is not None
        weight, scale, zero, bias = (i if i in fixed else "" for i in _places(node))
        found = evaluated(graph, [i for i in (weight, scale, zero, bias) if i])
        axis = 0 if "Conv" in node.op_type else -1
        real = _real(found[weight], found.get(scale), found.get(zero), axis)
        with understood(node):
            values = _laid_out(graph, node, _outputs_first(node, real), seen)
            offset = _bias(node, found.get(bias), len(values))
            groups = attributes(node).get("group", 1)
        first = node.input[0] not in behind
        yield Kernels(name, node.op_type, _stored(graph, weight), values, offset, groups, first)


def fixed_values(graph: Graph) -> set[str]:
    """The values that depend on constants alone, and are not larger than a weight may be."""
    fixed = set(graph.constants)
    for node in graph.nodes:
        # What depends on more than its inputs, or may go on for ever, is not computed.
        if fixed.issuperset(reads(node)) and not (bodies(node) or traits_of(node).random):
            fixed.update(o for o in node.output if o and _is_bounded(graph, o))
    return fixed


def evaluated(graph: Graph, names: list[str]) -> dict[str, np.ndarray]:
    """Values that depend on constants alone, by name, each of its shape and type in the graph.

    Raises BadModel where they cannot be computed.
    """
    found = {n: array for n in names if (array := graph[n].array) is not None}
    behind = [n for n in names if n not in found]
    return {**found, **(Session(graph, behind)({}) if behind else {})}


def _is_bounded(graph: Graph, name: str) -> bool:
    count = _elements(graph, name)
    return count is not None and count <= MAX_ELEMENTS


def _elements(graph: Graph, name: str) -> float | None:
    """How many numbers a value holds; None where a size is not known."""
    shape = graph[name].shape
    sizes = [d for d in shape or () if isinstance(d, int)]
    return None if shape is None or len(sizes) < len(shape) else float(np.prod(sizes))


def _places(node: NodeProto) -> list[str]:
    """The names of the weights, their scale, their zero point and the bias; "" where there is none."""
    slots = traits_of(node).weights
    assert slots is not None
    places = (slots.kernel, slots.scale, slots.zero, slots.bias)
    return [node.input[i] if i is not None and i < len(node.input) else "" for i in places]


def _is_layer(graph: Graph, node: NodeProto, fixed: set[str]) -> bool:
    slots = traits_of(node).weights
    if slots is None or slots.packed or not node.input or node.input[0] in fixed:
        return False
    weight, *others = _places(node)[:3]
    if weight not in fixed or not all(i in fixed for i in others if i):
        return False
    shape = graph[weight].shape or ()
    return 0 not in shape and len(shape) in ((3, 4, 5) if "Conv" in node.op_type else (2,))


def _stored(graph: Graph, name: str) -> str:
    """The largest constant that a value is made of: its name is the one that the exporter gave."""
    if name in graph.constants:
        return name
    made_of = {i for n in graph.ancestors([name]) for i in reads(n) if i in graph.constants}
    return max(sorted(made_of), key=lambda n: _elements(graph, n) or 0, default=name)


def _real(w: np.ndarray, scale: np.ndarray | None, zero: np.ndarray | None, axis: int) -> np.ndarray:
    """(w - zero) scale, in float32, where scale and zero point are for all or one for each output."""
    values = w.astype(np.float32)
    for factor, apply in ((zero, np.subtract), (scale, np.multiply)):
        if factor is not None:
            shape = [1] * w.ndim
            if factor.size > 1:
                shape[axis] = factor.size
            values = apply(values, factor.astype(np.float32).reshape(shape))
    return values


def _outputs_first(node: NodeProto, w: np.ndarray) -> np.ndarray:
    """Weights as (K, C, h, w): a kernel for each output; the slices of deep ones below one another."""
    attrs = attributes(node)
    if "Conv" not in node.op_type:
        w = (w if attrs.get("transB", 0) else w.T)[:, :, None, None]
        return w if attrs.get("alpha", 1) == 1 else w * np.float32(attrs["alpha"])
    if node.op_type == "ConvTranspose":  # (C, K / group, ...)
        groups = attrs.get("group", 1)
        w = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
        w = w.reshape(-1, *w.shape[2:])
    return w.reshape(*w.shape[:2], -1, w.shape[-1])


def _bias(node: NodeProto, stored: np.ndarray | None, count: int) -> np.ndarray | None:
    """One number for each output; None where there is none, or another one for each image."""
    if stored is None or stored.size not in (1, count):
        return None
    return np.resize(stored.astype(np.float32), count) * np.float32(attributes(node).get("beta", 1))


def _laid_out(graph: Graph, node: NodeProto, values: np.ndarray, seen: dict[str, View]) -> np.ndarray:
    """The weights of a dense layer that reads a flattened feature map, as maps (K, C, h, w)."""
    name, maker = node.input[0], graph.producer(node.input[0])
    while len(graph[name].shape or ()) != 4 and maker is not None and _only_reshapes(maker):
        name = maker.input[0]
        maker = graph.producer(name)
    sizes = [d for d in (graph[name].shape or ())[1:] if isinstance(d, int)]
    fits = "Conv" not in node.op_type and len(sizes) == 3 and np.prod(sizes) == values.shape[1]
    if name not in seen or not fits or seen[name].shape or seen[name].perm[0]:
        return values
    return values.reshape(len(values), *sizes).transpose(seen[name].perm)


def _only_reshapes(node: NodeProto) -> bool:
    return bool(traits_of(node).reshapes or traits_of(node).quantises)


def _behind_layers(graph: Graph) -> set[str]:
    """Every value that some layer with weights had a part in."""
    behind: set[str] = set()
    for node in graph.nodes:
        if traits_of(node).weights or behind.intersection(reads(node)):
            behind.update(node.output)
    return behind
