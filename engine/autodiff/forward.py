"""Forward-mode differentiation of ONNX graphs, by the rules of reverse mode.

There is one table of rules. A rule writes down u ↦ Jᵀu for one operator, in operators that are linear in u;
the transpose of that, which the walk of reverse mode gives, is v ↦ Jv. So a tangent is carried forwards node
by node, each step a gradient by the vector u, of which nothing is left in the end:

    for node in graph:
        back = rule(u, node)                       what reverse mode does there
        tangent[y] = gradient of ⟨back, tangent[x]⟩ with respect to u

No operator has a second rule that could say something else, and the adjoint identity ⟨u, Jv⟩ = ⟨Jᵀu, v⟩ holds
by construction. Operators that are linear and only hand on or add up what they are given do so with the
tangent itself, which is shorter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto

from ..graph.file import Source
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import key_of, reads
from ..graph.sizes import Dim
from ..graph.types import is_real
from ..operators.rules import VJP
from ..operators.traits import having
from .broadcasting import total, zeros_like
from .dependence import carries, reached_outputs
from .gradient import check_real, differentiate, inside, opened, unrounded, walk
from .scope import Grads
from .vectors import Ends, append_map

# Linear in their first input, with nothing added to it.
LINEAR = having(
    lambda t: t.linear == "sum" and (t.pools or t.moves in ("order", "axes", "blocks", "selects", "copies"))
)


def jvp(
    model: Source,
    of: str | Sequence[str] | None = None,
    wrt: str | Sequence[str] | None = None,
    seeds: int | None = None,
) -> ModelProto:
    """The model and its derivative along a direction: the change of `of` where `wrt` changes by a tangent.

    Parameters
    ----------
    model, of, wrt
        As of `gradient`.
    seeds
        How many directions there are for one forward pass; by default one.

    Returns
    -------
    ModelProto
        A model of plain ai.onnx operators (besides those that it had). Its inputs are the model's own and
        then `tangent/<wrt>` for each `wrt`, of that value's type and shape: the vector v of the product Jv.
        Its outputs are the model's own, unchanged, and then `jvp/<of>` for each `of`, of the shape of that
        value, the sum over all `wrt`. With `seeds` these and the tangents have an axis of that many in front.

    Raises
    ------
    BadModel
        For a file that is no usable model.
    BadRequest
        For a name that is not there, and for less than one seed.
    NoRule
        For an operator without a gradient.

    Examples
    --------
    >>> graph = onnxlens.jvp("model.onnx").graph
    >>> [value.name for value in graph.input], [value.name for value in graph.output]
    (['image', 'tangent/image'], ['probabilities', 'jvp/head'])
    """
    return tangent_graph(model, of, wrt, seeds=seeds).to_model()


def hvp(
    model: Source,
    of: str | Sequence[str] | None = None,
    wrt: str | Sequence[str] | None = None,
    seeds: int | None = None,
) -> ModelProto:
    """The model, its gradient, and how that changes along a direction: a Hessian times a vector.

    The Hessian is that of ⟨u, of⟩ with respect to all `wrt` together. It is zero where the network between
    them is made of pieces that are linear, as one of convolutions and ReLUs up to the scores is.

    Parameters
    ----------
    model, of, wrt
        As of `gradient`.
    seeds
        How many directions there are for one gradient; by default one.

    Returns
    -------
    ModelProto
        A model of plain ai.onnx operators (besides those that it had). Its inputs are the model's own, then
        `seed/<of>` for each `of`, the weights u, and then `tangent/<wrt>` for each `wrt`, the vector v. Its
        outputs are the model's own, unchanged, then `grad/<wrt>` and then `hvp/<wrt>` for each `wrt`: Hv, of
        the shape of that value. With `seeds` Hv and v, and neither u nor the gradient, have an axis of that
        many in front.

    Raises
    ------
    BadModel
        For a file that is no usable model.
    BadRequest
        For a name that is not there, and for less than one seed.
    NoRule
        For an operator without a gradient.

    Examples
    --------
    >>> graph = onnxlens.hvp("model.onnx", of="probabilities").graph
    >>> [value.name for value in graph.input]
    ['image', 'seed/probabilities', 'tangent/image']
    >>> [value.name for value in graph.output]
    ['probabilities', 'grad/image', 'hvp/image']
    """
    return curvature_graph(model, of, wrt, seeds=seeds).to_model()


def tangent_graph(
    model: Source,
    of: str | Sequence[str] | None = None,
    wrt: str | Sequence[str] | None = None,
    output: str | None = None,
    shapes: Mapping[str, Sequence[Dim]] | None = None,
    seeds: int | None = None,
) -> Graph:
    """As `jvp`, as a Graph; `output` and `shapes` as of `training_graph`."""
    graph, ofs, wrts = opened(model, of, wrt, output, shapes)
    check_real(graph, (*ofs, *wrts))
    _append(graph, Ends("jvp", ofs, [inside(graph, name) for name in ofs]), wrts, seeds)
    return graph


def curvature_graph(
    model: Source,
    of: str | Sequence[str] | None = None,
    wrt: str | Sequence[str] | None = None,
    output: str | None = None,
    shapes: Mapping[str, Sequence[Dim]] | None = None,
    seeds: int | None = None,
) -> Graph:
    """As `hvp`, as a Graph; `output` and `shapes` as of `training_graph`."""
    graph, ofs, wrts = opened(model, of, wrt, output, shapes)
    grads = differentiate(graph, ofs, wrts)
    _append(graph, Ends("hvp", wrts, [Tensor(graph, name) for name in grads]), wrts, seeds)
    return graph


def _append(graph: Graph, end: Ends, wrts: Sequence[str], seeds: int | None) -> None:
    """Append tangents of `wrts` as inputs, and those of the values at the end as outputs."""
    start = Ends("tangent", wrts, [inside(graph, name) for name in wrts])
    names = [value.name for value in end.values]
    append_map(graph, start, end, lambda tangents: pushforward(graph, tangents, names), seeds)


def pushforward(graph: Graph, tangents: Mapping[str, Tensor], of: Sequence[str]) -> list[Tensor | None]:
    """Append the Jacobian-vector product to the graph: Σ ∂of/∂x tangent over all x of `tangents`.

    Returns one tensor per `of`, of its shape, or None where no path of differentiable operators leads to it.
    """
    before = {name: unrounded(graph, name) for name in of}
    found = dict(tangents)
    reached = set(found)
    for node in list(graph.nodes):
        if reached_outputs(graph, node, reached):
            for name, tangent in _through(graph, node, found, reached).items():
                found[name] = total([found[name], tangent]) if name in found else tangent
                reached.add(name)
    return [found.get(name if name in tangents else before[name]) for name in of]


def _through(
    graph: Graph, node: NodeProto, tangents: Mapping[str, Tensor], reached: set[str]
) -> dict[str, Tensor]:
    """The tangents of a node's outputs: its vector-Jacobian product, transposed.

    What hands its elements on, or adds them up, does so with their tangents.
    """
    sources = reached.intersection(reads(node))
    if key_of(node) in LINEAR and sources == {node.input[0]}:
        return _again(graph, node, tangents[node.input[0]])
    start = len(graph.nodes)
    vectors = {o: _vector(graph, o) for o in node.output if o and carries(graph, node, o, reached)}
    back: Grads = {name: [u] for name, u in vectors.items()}
    walk(graph, [node], back, sources, VJP)
    forth: Grads = {}
    for name in sources:
        if back.get(name):
            forth.setdefault(total(back[name]).name, []).append(tangents[name])
    walk(graph, graph.nodes[start:], forth, {u.name for u in vectors.values()}, VJP)
    return {name: total(forth[u.name]) for name, u in vectors.items() if forth.get(u.name)}


def _again(graph: Graph, node: NodeProto, tangent: Tensor) -> dict[str, Tensor]:
    """A node once more, on the tangent of its first input."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name, copy.input[0] = "", tangent.name
    copy.output[:] = [graph.fresh(node.op_type) if o else "" for o in node.output]
    graph.add(copy)
    return {o: Tensor(graph, new) for o, new in zip(node.output, copy.output, strict=True) if o}


def _vector(graph: Graph, name: str) -> Tensor:
    """Zeros for the vector u that a linear map is transposed by: what still reads it is right for any.

    An integer that stands for a real has a gradient for each of its steps, in float32.
    """
    y = Tensor(graph, name)
    if y.dtype is None or is_real(y.dtype):
        return zeros_like(y)
    return op.Expand(
        graph.constant(np.zeros((), np.float32)), y.dims
    )  # steps of an integer that stands for a real
