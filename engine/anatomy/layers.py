"""Which layer is meant: by its name, by a pattern, or by default the last features before the head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile

from onnx import NodeProto

from ..errors import BadRequest, nearest
from ..graph.graph import Graph
from ..graph.sizes import Dim
from ..operators.traits import traits_of
from .anatomy import bottlenecks, seeing
from .embeddings import is_embedding, is_wide
from .maps import coordinates, is_map, layer_named, map_names, module_names, view_of, why_not


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


def last_features(graph: Graph, score: str) -> str:
    """The last feature maps before the head: the layer that Grad-CAM looks at by itself.

    The head is the last operator with weights on the way to the score and all that follows it, and begins at
    recurrent layers where there are any. Before it stands the last feature map that all of the photo passes
    through: a block's output, not its inside. A pooling in between is stepped over, for the finer map.

        conv -> relu -> [pool] -> flatten -> gemm -> softmax        conv -> relu -> gap -> conv 1x1
                ^^^^                                                        ^^^^

    Where the head reads the class token alone, patches matter for the last time in the attention that
    fills this token: the layer is what that attention reads.

        tokens -> norm -> attention -> + -> mlp -> + -> norm -> tokens[0] -> gemm
                  ^^^^

    Where attention pools the patches, what is made of them for this attention alone is its inside.

        tokens -> norm -> gemm -> keys, values -> attention of a learned query -> gemm
                  ^^^^

    Raises BadRequest when there is none.
    """
    name, end, passed = _last(graph, score)
    return _attended(graph, name, passed) if _only_extra_read(graph, end, name) else name


def earlier_features(graph: Graph, name: str) -> list[str]:
    """The last feature map of each other grid that all passes through before a layer, nearest first."""
    ways = bottlenecks(graph, name, scales=False)
    grids, found, of_layers = {_grid(graph, name)}, [], _found_by_layers(graph, name, seeing(graph))
    for layer in reversed(ways):
        if not _shows(graph, layer) or _grid(graph, layer) in grids:
            continue
        grids.add(_grid(graph, layer))
        while (before := _stepped_over(graph, layer)) is not None:
            layer = before
            grids.add(_grid(graph, layer))
        if layer in of_layers:
            found.append(layer)
    return found


def asks_patches(graph: Graph, score: str) -> bool:
    """Whether the head reads a class token alone, which has asked the patches by attention: not each of them
    weighs as much. False where there are no features before the head.
    """
    try:
        name, end, _ = _last(graph, score)
    except BadRequest:
        return False
    return _only_extra_read(graph, end, name)


def _last(graph: Graph, score: str) -> tuple[str, str, list[str]]:
    """The last features before the head, what the head reads, and what everything passes through."""
    depending, passed = seeing(graph), bottlenecks(graph, score, scales=False)
    end = _before_head(graph, score, {*passed, score}, depending)
    found, nodes = _found_by_layers(graph, end, depending), graph.ancestors([end])
    way = {o for n in nodes for o in n.output[:1]}
    through = [name for name in reversed(passed) if name in way]
    name = _first_map(graph, through, found)
    behind = takewhile(lambda n: name not in n.output, reversed(nodes))
    if any(traits_of(n).attends for n in behind):
        found -= _inside_attention(graph, nodes, end, found, depending)
        name = _first_map(graph, through, found)
    if name is None or not _is_deep(graph, name, end):
        name = _last_map(graph, found, end, score)
    while (before := _stepped_over(graph, name)) is not None:
        name = before
    return name, end, passed


def _first_map(graph: Graph, names: Iterable[str], among: set[str]) -> str | None:
    """The first of some values that is a feature map among others."""
    return next((name for name in names if name in among and _shows(graph, name)), None)


def _shows(graph: Graph, name: str) -> bool:
    """Whether a value is itself a feature map, and not the integers that stand for one."""
    return name not in graph.twins and is_map(graph, name)


def _last_map(graph: Graph, among: set[str], *ends: str) -> str:
    """The last feature map before the first of some values that has one before it. Raises BadRequest."""
    for end in ends:
        for node in reversed(graph.ancestors([end])):
            if node.output and node.output[0] in among and _shows(graph, node.output[0]):
                return node.output[0]
    layers = [n.output[0] for n in graph.ancestors([ends[0]]) if traits_of(n).weights]
    reason = f": {layers[-1]!r} {why_not(graph, layers[-1])}" if layers else ""
    raise BadRequest(
        "this model has no feature map (N, C, H, W), (N, H, W, C) or (N, patches, C) before its head"
        f"{reason}; `onnxlens layers MODEL` lists what it has"
    )


def _found_by_layers(graph: Graph, end: str, depending: set[str]) -> set[str]:
    """What layers with weights make of the photo: before them it is the photo itself, cut or turned at most.

    All that depends on the photo where no such layer stands before the head.
    """
    weighted = [n for n in graph.ancestors([end]) if traits_of(n).weights]
    found = {o for n in weighted if not depending.isdisjoint(graph.reads(n)) for o in n.output}
    if not found:
        return depending
    for node in graph.nodes:
        if not found.isdisjoint(graph.reads(node)):
            found.update(node.output)
    return found


def _inside_attention(
    graph: Graph, nodes: Sequence[NodeProto], end: str, found: set[str], depending: set[str]
) -> set[str]:
    """What dense layers make of others' features for attention alone: its queries, keys and values."""
    outside, asked = {end}, list[NodeProto]()  # what a layer, an activation or the end takes; the others
    for node in reversed(nodes):
        taken, traits = not outside.isdisjoint(node.output), traits_of(node)
        if not taken:
            asked.append(node)
        if (taken or traits.weights or traits.activates) and not asks(node, depending):
            outside.update(graph.reads(node))
    inside: set[str] = set()
    for node in reversed(asked):
        is_dense = traits_of(node).weights and not is_wide(graph, node)
        if not (found if is_dense else inside).isdisjoint(graph.reads(node)):
            inside.update(node.output)
    return inside


def asks(node: NodeProto, depending: set[str]) -> bool:
    """Whether a node takes of one value what another says: attention, a product in it, samples at places."""
    traits = traits_of(node)
    if traits.elementwise or traits.moves or traits.window:
        return False
    second = node.input[traits.weights.kernel if traits.weights else 1 :][:1]
    return node.op_type == "GridSample" or not depending.isdisjoint(second)


def _before_head(graph: Graph, score: str, passed: set[str], depending: set[str]) -> str:
    """What the head reads: the first recurrent layer, or else the last one with weights.

    A network that ends in features, its last weights inside a block or before a normalisation, has none.
    """
    way = [n for n in graph.ancestors([score]) if not depending.isdisjoint(graph.reads(n)) and n.output]
    weighted = [n for n in way if traits_of(n).weights]
    recurrent = [n for n in way if traits_of(n).recurs and not passed.isdisjoint(n.output)]
    if recurrent:
        return recurrent[0].input[0]
    if not weighted or weighted[-1].output[0] not in passed:
        return score
    behind = way[way.index(weighted[-1]) + 1 :]
    normalised = any(traits_of(n).normalises for n in behind) and is_embedding(graph, score, depending)
    # Of a product with what is said beside the picture, as of a text, the other side is the picture's.
    return score if normalised else next(i for i in weighted[-1].input if i in depending)


def _is_deep(graph: Graph, name: str, end: str) -> bool:
    """Whether half of the layers that give maps stand before a value: branches may meet nowhere but early."""
    layers = lambda value: [n.output[0] for n in graph.ancestors([value]) if traits_of(n).weights]
    before = set(layers(name))
    behind = [layer for layer in layers(end) if layer not in before and is_map(graph, layer)]
    return len(before) >= len(behind)


def _stepped_over(graph: Graph, name: str) -> str | None:
    """The map that another one shows once more: coarser, reshaped, in a border, its contrast normalised."""
    node = _maker(graph, name)
    if node is None or not node.input or not _shows(graph, node.input[0]):
        return None
    traits = traits_of(node)
    again = traits.pools or traits.reshapes or traits.moves == "pads" or node.op_type == "LRN"
    if traits.moves == "selects":  # some tokens: all that lie on the grid, and others left out
        again = _width(graph, name) == _width(graph, node.input[0])
    return node.input[0] if again else None


def _only_extra_read(graph: Graph, end: str, name: str) -> bool:
    """True where the head takes tokens that lie nowhere in the photo, and none of the patches."""
    places = coordinates(graph)

    def takes_extra(node: NodeProto) -> bool:
        found = [p for o in node.output if o and (p := places[o]) is not None]
        return bool(traits_of(node).moves) and all(p.nowhere for p in found)

    readers = [n for n in graph.ancestors([end]) if name in graph.reads(n)]
    return bool(readers) and all(map(takes_extra, readers))


def _attended(graph: Graph, name: str, passed: Sequence[str]) -> str:
    """Where patches still reach the other tokens of a value: what the last attention before it reads.

    Where there is no attention, the last map like it that everything has `passed` before tokens meet.
    """
    attentions = [n for n in graph.ancestors([name]) if traits_of(n).attends]
    if attentions:
        (output,) = attentions[-1].output[:1]
        before = [n for n in bottlenecks(graph, output) if n != output and _shows(graph, n)]
        alike = [n for n in before if _width(graph, n) == _width(graph, name)]
        tokens = [n for n in before if not _is_of_pairs(graph, n)]  # of another branch, where none is alike
        name = [name, *tokens, *alike][-1]
        while (node := graph.producer(name)) is not None and traits_of(node).moves in ("axes", "order"):
            if not _shows(graph, node.input[0]):
                break
            name = node.input[0]
        return name
    mixed: set[str] = set()  # what reaches other tokens, at once or later
    for node in reversed(graph.ancestors([name])):
        if not _is_token_wise(node) or not mixed.isdisjoint(node.output):
            mixed.update(graph.reads(node))
    before = (n for n in reversed(passed) if n in mixed and _shows(graph, n))
    return next((n for n in before if _width(graph, n) == _width(graph, name)), name)


def _is_of_pairs(graph: Graph, name: str) -> bool:
    """Whether a value comes, scaled at most, of a product of two others: what queries are to keys."""
    node = graph.producer(name)
    while node is not None and traits_of(node).elementwise:
        node = graph.producer(node.input[0])
    if node is None or traits_of(node).linear != "product":
        return False
    places = coordinates(graph)
    return sum(places[i] is not None for i in node.input) > 1


def _is_token_wise(node: NodeProto) -> bool:
    traits = traits_of(node)
    return bool(traits.elementwise or traits.channels == -1 or (traits.mixes == "last" and traits.weights))


def _width(graph: Graph, name: str) -> tuple[Dim, tuple[Dim, ...]]:
    """How many channels a map has, and its grid."""
    return (graph[name].shape or ())[view_of(graph, name).channels], _grid(graph, name)


def _grid(graph: Graph, name: str) -> tuple[Dim, ...]:
    view, shape = view_of(graph, name), graph[name].shape or ()
    return view.grid or tuple(shape[a] for a in view.perm[2:])


def _maker(graph: Graph, name: str) -> NodeProto | None:
    """The node that computes a value, before it was quantised or dequantised."""
    node = graph.producer(name)
    while node is not None and traits_of(node).quantises and (before := graph.producer(node.input[0])):
        node = before
    return node
