"""Where things are in a network: the last spatial features, the head, what lies between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from onnx import NodeProto

from ..errors import BadRequest, nearest
from ..graph.graph import Graph
from ..graph.nodes import captured, reads
from ..graph.types import is_float
from ..operators.traits import traits_of
from .maps import View, coordinates, layer_named, map_names, module_names, view_of, views


def seeing(graph: Graph) -> set[str]:
    """The values that depend on what the inputs hold, and not on their sizes alone; the inputs included."""
    found = set(graph.inputs)
    for node in graph.nodes:
        if not traits_of(node).reads_sizes and not found.isdisjoint(reads(node)):
            found.update(filter(None, node.output))
    return found


def default_input(graph: Graph) -> list[str]:
    """The name of the input that is most likely the image: the first of four axes, or else the first."""
    images = [name for name in graph.inputs if len(graph[name].shape or ()) == 4]
    return (images or graph.inputs)[:1]


def last_features(graph: Graph, score: str) -> str:
    """The last feature maps before the head: the layer that Grad-CAM looks at by itself.

    The head is the last operator with weights on the way to the score and all that follows it. Before
    it stands the last feature map; a pooling in between is stepped over, for the finer map behind it.

        conv -> relu -> [pool] -> flatten -> gemm -> softmax        conv -> relu -> gap -> conv 1x1
                ^^^^                                                        ^^^^

    Where the head reads the class token alone, patches matter for the last time in the attention that
    fills this token: the layer is what that attention reads.

        tokens -> norm -> attention -> + -> mlp -> + -> norm -> tokens[0] -> gemm
                  ^^^^

    Raises BadRequest when there is none.
    """
    seen = views(graph)
    depending = seeing(graph)
    way = [n for n in graph.ancestors([score]) if not depending.isdisjoint(reads(n))]
    weighted = [n for n in way if traits_of(n).weights]
    # Where a network ends in features, its last weights are inside a block, beside a skip connection.
    if weighted and weighted[-1].output[0] in {*bottlenecks(graph, score, scales=False), score}:
        way = graph.ancestors(weighted[-1].input[:1])
    maps = [n for n in way if n.output and n.output[0] in seen]
    if not maps:  # all of it is a head
        maps = [n for n in graph.ancestors([score]) if n.output and n.output[0] in seen.keys() & depending]
    if not maps:
        raise BadRequest(
            "this model has no feature map (N, C, H, W), (N, H, W, C) or (N, patches, C) before its head; "
            "`onnxlens layers MODEL` lists what it has"
        )
    node = maps[-1]
    while _is_stepped_over(maker := _maker(graph, node)):
        before = graph.producer(maker.input[0])
        if before is None or before.output[0] not in seen:
            break
        node = before
    name = node.output[0]
    return _attended(graph, name, seen) if _only_extra_read(graph, way, name) else name


def _is_stepped_over(node: NodeProto) -> bool:
    """True for what shows the map before it once more: coarser, in another shape, its contrast normalised."""
    return is_pooling(node) or traits_of(node).reshapes or node.op_type == "LRN"


def is_pooling(node: NodeProto) -> bool:
    """True for a pooling over windows, which leaves a map."""
    return traits_of(node).pools and traits_of(node).window == "window"


def _only_extra_read(graph: Graph, way: list[NodeProto], name: str) -> bool:
    """True where the head takes the extra tokens alone, and none of the patches."""

    places = coordinates(graph)

    def takes_extra(node: NodeProto) -> bool:
        found = [p for o in node.output if o and (p := places[o]) is not None]
        return bool(traits_of(node).moves) and all(p.nowhere for p in found)

    readers = [n for n in way if name in (*n.input[:1], *captured(n))]
    return bool(readers) and all(map(takes_extra, readers))


def _attended(graph: Graph, name: str, seen: dict[str, View]) -> str:
    """What the last attention before a value reads: the last tokens like it that all of it comes from."""
    attentions = [n for n in graph.ancestors([name]) if traits_of(n).attends]
    if not attentions:
        return name
    (output,) = attentions[-1].output[:1]
    alike = [
        n
        for n in bottlenecks(graph, output)
        if n != output and n in seen and _width(graph, n, seen) == _width(graph, name, seen)
    ]
    return alike[-1] if alike else name


def _width(graph: Graph, name: str, seen: dict[str, View]) -> tuple[int | str | None, View]:
    """How many channels, and how the value is seen, wherever it lies."""
    return (graph[name].shape or ())[seen[name].channels], replace(seen[name], place=None)


def _maker(graph: Graph, node: NodeProto) -> NodeProto:
    """The node that computes what a node quantises or dequantises, if it does; else the node itself."""
    while traits_of(node).quantises and (before := graph.producer(node.input[0])) is not None:
        node = before
    return node


def checked_layer(graph: Graph, layer: str | None, score: str) -> str:
    """The layer to look at: the named one, or the last features before the head.

    Raises BadRequest where it is not there, with the nearest names, or is no feature map.
    """
    if layer is None:
        return last_features(graph, score)
    view_of(graph, layer)
    return layer_named(graph, layer)


def matching(graph: Graph, patterns: Iterable[str]) -> list[str]:
    """The feature maps that any pattern names, once each, in the order of the network.

    A pattern is a name, or a glob as in a shell ("fire?/concat", "layer4*"), of values or of modules of the
    framework where no value is meant (scopes.py), which stand for what they hand on; a name is taken as it
    stands even where it holds a `*`. Raises BadRequest for a pattern that matches none, with the nearest
    names, and for a name that is no feature map.
    """
    names, modules = map_names(graph), module_names(graph)
    found: set[str] = set()
    for pattern in patterns:
        if pattern in graph or pattern in modules:
            found.add(checked_layer(graph, pattern, ""))
        else:
            among = names if any(fnmatchcase(n, pattern) for n in names) else [*names, *modules]
            found.update(layer_named(graph, name) for name in globbed(pattern, among))
    return [name for name in graph.value_names() if name in found]


def globbed(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a shell's glob matches. Raises BadRequest where it matches none, with the nearest."""
    hits = [name for name in names if fnmatchcase(name, pattern)]
    if not hits:
        raise BadRequest(f"no layer matches {pattern!r}{nearest(pattern, names)}")
    return hits


def bottlenecks(graph: Graph, score: str, scales: bool = True) -> list[str]:
    """The values between inputs and score that everything passes through, in order.

    They are where a network can be cut by one tensor: in a residual network the sums, not the branches. Sizes
    say nothing of the image, but positions do (ArgMax, TopK): what is read at them depends on both. So do
    `scales` that are found on the spot, which go around the integers that they belong to; without them those
    integers stand for all.
    """
    way = [n for n in graph.ancestors([score]) if not traits_of(n).reads_sizes]
    reached, last_read = set(graph.inputs), dict.fromkeys(graph.inputs, -1)
    for i, node in enumerate(way):
        if reached.intersection(reads(node)):
            numbers = node.output if scales or traits_of(node).quantises != "to" else node.output[:1]
            reached.update(filter(None, numbers))
        last_read.update((name, i) for name in reads(node) if name in reached)
    found = []
    needed_until = max((last_read[name] for name in graph.inputs), default=-1)
    for i, node in enumerate(way):
        made = [o for o in node.output if o in last_read]
        if len(made) == 1 and needed_until <= i:
            found += made
        needed_until = max([needed_until, *(last_read[o] for o in made)])
    return found


def between(graph: Graph, layer: str, score: str) -> list[str]:
    """The computed floating-point values that lead from the layer to the score, in order, both included."""
    reached = {layer}
    for node in graph.nodes:
        if reached.intersection(reads(node)):
            reached.update(node.output)
    way = [o for n in graph.ancestors([score]) for o in n.output[:1]]
    return [o for o in way if o in reached and (d := graph[o].dtype) is not None and is_float(d)]
