"""Can a model be differentiated, and if not, where does it stop; what an image leaves dead or saturated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import NodeProto

from ..anatomy.anatomy import default_input
from ..anatomy.layers import last_features
from ..anatomy.readouts.classes import score_name
from ..canonical.canonical import canonical
from ..errors import BadRequest, NoRule, OnnxlensError
from ..graph.file import Source
from ..graph.graph import Graph
from ..graph.nodes import OURS, key_of, reads
from ..graph.types import is_real
from ..operators.bodies import BODIES
from ..operators.rules import VJP
from ..operators.traits import Traits, traits_of
from ..runtime.network import Network
from .blocks import STEPS, no_rule, not_real, value_before, value_behind, why
from .dependence import depending, leading
from .expansion import specified_function
from .gradient import differentiate, refusal

MAX_SHOWN = 20  # values that are not finite, at most
CLOSE = 1e-4  # to an end of its range: there is hardly any gradient left


@dataclass(frozen=True)
class Block:
    """A node at which gradients stop: why, and the nearest real value before it, if one is computed."""

    node: str
    operator: str
    output: str
    why: str
    instead: str | None
    text: str


@dataclass(frozen=True)
class Finding:
    """Whether gradients lead from `of` to each `wrt`, and the nodes that stop some or all of them.

    `open` holds the `wrt` that a gradient reaches. `operators` counts the nodes between them by how they
    are differentiated: "rule", "own body", "graphs inside" (If, Loop, ...), "function body" or "blocked",
    and then by operator.
    `layer` is the feature map that Grad-CAM looks at, where only what lies before it stops the gradient.
    `refused`: why ONNX Runtime does not load the model or its gradients (see `tried`).
    """

    of: list[str]
    wrt: list[str]
    open: list[str]
    blocks: list[Block]
    operators: dict[str, dict[str, int]]
    layer: str | None = None
    refused: str | None = None

    @property
    def verdict(self) -> str:
        """ "open", or "partial" where one way of several is; "blocked", or "apart" where nothing leads there.

        The last two are said where one `wrt` of several is not reached, and "refused" before all others.
        """
        if self.refused is not None:
            return "refused"
        if len(self.open) == len(self.wrt):
            return "partial" if self.blocks else "open"
        return "blocked" if self.blocks else "apart"

    @property
    def kinds(self) -> list[list[Block]]:
        """The blocks of one operator and reason together, in the order of the network."""
        found: dict[tuple[str, str], list[Block]] = {}
        for block in self.blocks:
            found.setdefault((block.operator, block.why), []).append(block)
        return list(found.values())


def examine(
    model: Source | Graph, of: Sequence[str] = (), wrt: Sequence[str] = (), output: str | None = None
) -> Finding:
    """Look for what stops the gradient of `of` by `wrt`.

    By default those are the scores (of `output`, or of the output that holds the classes) and the image, or
    what a model that takes whole numbers makes of it. Raises BadModel, and BadRequest for a name that is not
    there or a value that holds no real numbers.
    """
    graph = model if isinstance(model, Graph) else canonical(model, keep=wrt)
    ofs, wrts = list(of) or [score_name(graph, output)], list(wrt) or _real_input(graph)
    for name in (*of, *wrts):
        value = graph[graph.twins.get(name, name)]
        if value.dtype is not None and not is_real(value.dtype):
            raise BadRequest(not_real(value, name))
    finding = find(graph, ofs, wrts)
    asked = of or wrt or finding.verdict != "blocked"
    return finding if asked else replace(finding, layer=_open_layer(graph, ofs[0]))


def tried(network: Network, finding: Finding) -> Finding:
    """The finding, after ONNX Runtime has loaded the model and the gradients that are said to lead there.

    What it does not load is `refused`, with the reason.
    """
    try:
        network.compile(network.graph)  # and let go, so that large weights are not held twice
        if finding.open:
            graph = network.graph.copy()
            network.compile(graph, differentiate(graph, finding.of, finding.open))
    except NoRule as error:  # a way that leads there is of no use beside one that must not be left out
        return replace(finding, open=[]) if finding.blocks else replace(finding, refused=str(error))
    except OnnxlensError as error:
        return replace(finding, refused=str(error))
    return finding


def _real_input(graph: Graph) -> list[str]:
    """The image, or the first real value behind it."""
    image = default_input(graph)
    whole = [n for n in image if (d := graph[n].dtype) is not None and not is_real(d)]
    return [value_behind(graph, name) or name for name in whole] or image


def _open_layer(graph: Graph, score: str) -> str | None:
    """The last feature map, if gradients lead there."""
    try:
        layer = last_features(graph, score)
    except BadRequest:
        return None
    return layer if find(graph, [score], [layer]).open else None


def find(graph: Graph, of: Sequence[str], wrt: Sequence[str]) -> Finding:
    """As `examine`, in a graph."""
    ends = [graph[graph.twins.get(n, n)].name for n in of]
    starts = [graph[graph.twins.get(n, n)].name for n in wrt]
    way = graph.ancestors(ends)
    operators: dict[str, Counter[str]] = {}
    stopped: dict[str, tuple[NodeProto, str]] = {}
    reached, followed_by_any = [], set[str]()
    scratch = graph.copy()
    for name, start in zip(wrt, starts, strict=True):
        touched, followed = {start}, {start}
        for node in way:
            if not _touches(node, touched):
                continue
            touched.update(filter(None, node.output))
            if not _touches(node, followed):
                continue
            here = followed.intersection(reads(node))
            after = depending(graph, [node], here) - followed
            flat = key_of(node) in STEPS or not after
            reason = why(graph, node) if flat else refusal(scratch, node, here)
            if reason is None:
                followed |= after
            else:
                stopped[node.output[0]] = node, reason
        followed_by_any |= followed
        if followed.intersection(ends):
            reached.append(name)
    # What only decides - the condition of a Where, the indices of a Gather - needs no gradient.
    needed = leading(graph, way, ends, stopped)
    matter = {o: stop for o, stop in stopped.items() if not needed.isdisjoint(stop[0].output)}
    if matter or len(reached) == len(wrt):
        stopped = matter
    touched = set(starts)
    for node in way:
        if not _touches(node, touched):
            continue
        touched.update(filter(None, node.output))
        if node.output[0] in stopped or not needed.isdisjoint(node.output):
            how = "blocked" if node.output[0] in stopped else _how(graph, node)
            operators.setdefault(how, Counter())[key_of(node)] += 1
    blocks = [_block(graph, *stop, followed_by_any) for stop in stopped.values()]
    return Finding(list(of), list(wrt), reached, blocks, {k: dict(v) for k, v in operators.items()})


def _touches(node: NodeProto, values: set[str]) -> bool:
    """True where a node works on what one of the values holds, not on its size alone."""
    return not values.isdisjoint(reads(node)) and not traits_of(node).reads_sizes


def _how(graph: Graph, node: NodeProto) -> str:
    if key_of(node) in VJP:
        return "rule"
    if key_of(node) in BODIES:
        return "own body"
    if traits_of(node).runs:
        return "graphs inside"
    return "function body" if specified_function(graph, node) is not None else "blocked"


def _block(graph: Graph, node: NodeProto, reason: str, followed: set[str]) -> Block:
    before = value_before(graph, node)
    instead = before if before in followed else None  # another block may lie before that one
    return Block(node.name, key_of(node), node.output[0], reason, instead, no_rule(graph, node, reason))


@dataclass
class Health:
    """What some images leave dead or saturated.

    `dead`: for each rectifier's output, the share of its channels that are zero for every image.
    `saturated`: for each bounded activation's output, the share of its elements (of its rows, for a
    softmax) that lie within 0.0001 of an end. `not_finite`: values with NaN or infinity, in order.
    """

    dead: dict[str, float] = field(default_factory=dict)
    saturated: dict[str, float] = field(default_factory=dict)
    not_finite: list[str] = field(default_factory=list)


def health(network: Network, feeds: Iterable[Mapping[str, np.ndarray]]) -> Health:
    """Run images through a network and look at its activations; each feed is one image, (1, ...) by name."""
    graph = network.graph
    made = {o: traits_of(n) for n in graph.nodes for o in n.output[:1] if o and not o.startswith(OURS)}
    names = [o for o in made if (d := graph[o].dtype) is not None and is_real(d)]
    alive: dict[str, Any] = {}
    ends: dict[str, list[float]] = {}
    broken: set[str] = set()
    for feed in feeds:
        for name, value in network.run(feed, names).items():
            if not np.isfinite(value).all():
                broken.add(name)
            if made[name].rectifies and value.ndim > 1:
                active = (value > 0).any(axis=(0, *range(2, value.ndim)))
                alive[name] = alive.get(name, False) | active
            if _saturates(made[name]):
                ends.setdefault(name, []).append(_at_the_end(made[name], value))
    return Health(
        {n: float(1 - np.mean(a)) for n, a in alive.items()},
        {n: float(np.mean(shares)) for n, shares in ends.items()},
        [n for n in names if n in broken][:MAX_SHOWN],
    )


def _saturates(traits: Traits) -> bool:
    """True for a bounded activation, and a softmax."""
    is_activation = traits.activates or traits.squashes == "classes"
    return is_activation and traits.range is not None and bool(np.isfinite(traits.range).all())


def _at_the_end(traits: Traits, value: np.ndarray) -> float:
    assert traits.range is not None
    low, high = traits.range
    if traits.squashes == "classes":  # most are always near 0: it is full where one class has it all
        return float(np.mean(value.max(axis=1) > high - CLOSE)) if value.ndim > 1 else 0.0
    return float(np.mean((value < low + CLOSE) | (value > high - CLOSE)))
