"""The Softmax or Sigmoid that a value stands behind, and the scores before it.

As an operator it is found by its name, through what passes its numbers on. Written out in elementary
operators (1 / (1 + exp(-z)), ½ tanh(z / 2) + ½, exp(z) / Σ exp(z), z - log Σ exp(z), ...) it is told from
what these make of a few numbers, since there are more spellings than anyone would list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from ..graph.dataflow import SMALL
from ..graph.graph import Graph
from ..graph.nodes import OURS, attributes
from ..operators.traits import traits_of
from .anatomy import seeing

Squashing = tuple[str, str, str, str]  # what it makes (classes, labels), its form, the scores, and why

SQUASHED = ("given", "logarithms")  # the forms of what is squashed in the model
_MAX_OPERATORS = 16  # operators that one is written in
_TRIED = np.array([0.3, -1.7, 2.6, -0.4, 1.1, 4.9, -3.2])  # numbers of both signs, over and over


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# What scores (N, C) become: what that makes them, in which form, and why.
_SPELLINGS: list[tuple[Callable[[np.ndarray], np.ndarray], str, str, str]] = [
    (_sigmoid, "labels", "given", "behind a Sigmoid"),
    (lambda z: np.log(_sigmoid(z)), "labels", "logarithms", "behind a Sigmoid"),
    (_softmax, "classes", "given", "behind a Softmax"),
    (lambda z: np.log(_softmax(z)), "classes", "logarithms", "behind a Softmax"),
]


def squashing(graph: Graph, name: str, count: int) -> Squashing | None:
    """What the last Softmax or Sigmoid before a value of `count` classes makes of it, and the scores before.

    None where there is none whose numbers are passed on as they are, or as their logarithms.
    """
    logarithms, value = 0, name
    while (node := graph.producer(value)) is not None and (passes(node) or _logarithm(node)):
        logarithms += _logarithm(node)
        value = node.input[0]
    if node is not None and not logarithms and (kind := _classical(node)):
        return kind, "given", value, f"probabilities, as its {node.op_type} makes them"
    kind = "" if node is None else traits_of(node).squashes
    if node is None or not kind:
        return _written_out(graph, _passed(graph, name), count)
    logarithms += node.op_type == "LogSoftmax"
    scores = node.input[0]
    shape, axis = graph[scores].shape, attributes(node).get("axis", -1)
    if kind == "classes" and shape is not None and shape[axis : axis + 1 or None] != (count,):
        return None
    if logarithms not in (0, 1):
        return None
    why = "behind a Softmax" if kind == "classes" else "behind a Sigmoid"
    return kind, SQUASHED[logarithms], _before(graph, scores), why


def _classical(node: NodeProto) -> str:
    """What an operator of ai.onnx.ml gives probabilities of ("classes", "labels"), or "".

    Models of scikit-learn are written in these. Their scores are no value of the graph.
    """
    named = attributes(node) if node.domain == "ai.onnx.ml" else {}
    made = named.get("post_transform") or named.get("norm") or ""
    kinds = {"SOFTMAX": "classes", "SOFTMAX_ZERO": "classes", "L1": "classes", "LOGISTIC": "labels"}
    return "classes" if _votes(node, named) else kinds.get(made, "")


def _votes(node: NodeProto, named: Mapping[str, Any]) -> bool:
    """Whether a forest's trees vote: each leaf gives out one share, and the shares of all trees make 1."""
    if node.op_type != "TreeEnsembleClassifier" or named.get("post_transform", "NONE") != "NONE":
        return False
    leaves: dict[tuple[int, int], float] = {}
    ids, weights = (named.get(f"class_{what}", ()) for what in ("treeids", "weights"))
    for tree, leaf, weight in zip(ids, named.get("class_nodeids", ()), weights, strict=False):
        leaves[tree, leaf] = leaves.get((tree, leaf), 0) + weight
    trees: dict[int, list[float]] = {}
    for (tree, _), share in leaves.items():
        trees.setdefault(tree, []).append(share)
    even = all(max(shares) - min(shares) < 1e-4 for shares in trees.values())
    return min(weights, default=-1) >= 0 and even and abs(sum(s[0] for s in trees.values()) - 1) < 1e-3


def passes(node: NodeProto) -> bool:
    """Whether a node passes numbers on as they are, between bounds at most."""
    traits = traits_of(node)
    return bool(traits.reshapes or traits.quantises or traits.moves == "axes" or node.op_type == "Clip")


def _logarithm(node: NodeProto) -> int:
    """1 for a logarithm, -1 for its inverse, else 0."""
    return (node.op_type == "Log") - (node.op_type == "Exp")


def _passed(graph: Graph, name: str) -> str:
    """The value whose numbers another one passes on."""
    while (node := graph.producer(name)) is not None and passes(node):
        name = node.input[0]
    return name


def _before(graph: Graph, name: str) -> str:
    """The model's own value that is passed on to a squashing by what the converter put before it."""
    while name.startswith(OURS) and (node := graph.producer(name)) is not None:
        if not (traits_of(node).reshapes or traits_of(node).quantises):
            break
        name = node.input[0]
    return name


def _written_out(graph: Graph, name: str, count: int) -> Squashing | None:
    """The squashing that the elementary operators before a value come to, of scores as far back as can be."""
    found = None
    for scores, nodes in _cuts(graph, name):
        tried = _tried(graph, scores, nodes, name, count)
        if tried is None:
            continue
        z, y = tried
        for function, kind, form, why in _SPELLINGS:
            if (kind == "labels" or count > 1) and np.allclose(y, function(z), 1e-4, 1e-6):
                found = kind, form, _before(graph, scores), why
    return found


def _is_elementary(node: NodeProto) -> bool:
    """Whether a squashing may be written with an operator: on elements, in rows, in another shape."""
    traits = traits_of(node)
    bends = traits.activates and (traits.rectifies or not traits.range)  # as layers of features do
    on_elements = traits.elementwise and not bends and not traits.quantises
    in_rows = traits.squashes or traits.mixes == "reduced" or traits.moves in ("axes", "copies")
    return bool(on_elements or in_rows or traits.reshapes or traits.reads_sizes or node.op_type == "Clip")


def _cuts(graph: Graph, name: str) -> Iterator[tuple[str, list[NodeProto]]]:
    """The values from which elementary operators alone make another one, the nearest first, and these."""
    depending, nodes, needed = seeing(graph), [], {name}
    for node in reversed(graph.ancestors([name])):
        if needed.isdisjoint(node.output):
            continue
        if node.domain or not _is_elementary(node) or len(nodes) == _MAX_OPERATORS:
            return
        nodes.insert(0, node)
        needed = needed.difference(node.output).union(
            i for i in graph.reads(node) if i not in graph.constants
        )
        if len(needed) == 1 and needed <= depending:
            yield next(iter(needed)), list(nodes)


def _tried(
    graph: Graph, scores: str, nodes: Sequence[NodeProto], name: str, count: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Some scores (N, C), and what the nodes make of them; None where these take no such scores."""
    constants = [
        graph.constants[i]
        for i in dict.fromkeys(i for n in nodes for i in graph.reads(n) if i in graph.constants)
    ]
    dims = graph[scores].shape
    if dims is None or any(np.prod(t.dims, dtype=np.int64) > SMALL for t in constants):
        return None
    shape = [d if isinstance(d, int) else 1 for d in dims]
    batch = shape[0] if shape else 0
    if np.prod(shape, dtype=float) != batch * count or batch > SMALL:
        return None
    z = np.resize(_TRIED, shape).astype(graph[scores].dtype)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tried",
            [helper.make_value_info(scores, graph.types[scores])],
            [helper.make_empty_tensor_value_info(name)],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", graph.opsets[""])],
    )
    try:
        with np.errstate(all="ignore"):
            (y,) = ReferenceEvaluator(model).run(None, {scores: z})
    except Exception:  # other operators than the reference has, or sizes that do not fit
        return None
    if not isinstance(y, np.ndarray) or y.size != z.size:
        return None
    return z.reshape(batch, count).astype(float), y.reshape(batch, count).astype(float)
