"""The gradient of max pooling without the indices of the maxima, out of operators that copy and compare."""

from __future__ import annotations

from onnx import NodeProto

from ...graph.graph import Tensor, op
from ...graph.nodes import attributes, key_of
from ..rewrites.pools import scattered
from ..rewritten import Rewritten

LOWEST = -3.4028234663852886e38  # what stands around a picture: the lowest float


def first_maximum(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """What goes back through a max pooling: the first of the greatest in each window takes all.

        rest_0 = g        part_k = rest_k where x_k = y, else 0        rest_(k+1) = rest_k - part_k

    x_k is the k-th pixel of every window, which lies in one of the s x s phases that a stride of s leaves;
    the parts are added up phase by phase, and the phases put together again. Indices cost ONNX Runtime more
    than twice as much, and several runtimes have none, or forget the batch in them.
    """
    found = scattered(graph, node) if node.op_type == "Reshape" else None
    if found is None:
        return None
    x, g, attrs = found
    window, steps = attrs["kernel_shape"], {*attrs.get("strides", [1, 1])}
    size, maxima = x.spatial, g.spatial
    if size is None or maxima is None or len(steps) > 1 or (step := steps.pop()) > min(window):
        return None
    apart = attrs.get("dilations", [1, 1])
    before = attrs["pads"][:2]
    reach = [(m - 1) * step + (k - 1) * d + 1 for m, k, d in zip(maxima, window, apart, strict=True)]
    whole = [-(-max(r, b + s) // step) * step for r, b, s in zip(reach, before, size, strict=True)]
    after = [w - b - s for w, b, s in zip(whole, before, size, strict=True)]
    inner = [w // step for w in whole]

    y, phases = _pooled(graph, x, attrs), _phases(_padded(x, before, after, LOWEST), step)
    parts: dict[int, list[Tensor]] = {}
    offsets = [(i * apart[0], j * apart[1]) for i in range(window[0]) for j in range(window[1])]
    rest = g
    for offset in offsets:
        phase, start = offset[0] % step * step + offset[1] % step, [o // step for o in offset]
        end = [s + m for s, m in zip(start, maxima, strict=True)]
        x_k = phases[phase]
        if [*start, *end] != [0, 0, *inner]:
            x_k = op.Slice(x_k, start, end, [2, 3])
        part = op.Where(op.Equal(x_k, y), rest, 0)
        rest = rest - part
        around = [i - e for i, e in zip(inner, end, strict=True)]
        parts.setdefault(phase, []).append(_padded(part, start, around, 0))
    sums = [sum(parts[phase][1:], parts[phase][0]) for phase in range(step * step)]
    joined = sums[0] if step == 1 else op.DepthToSpace(op.Concat(*sums, axis=1), blocksize=step)
    if [*before, *after] != [0, 0, 0, 0]:
        joined = op.Slice(joined, before, [b + s for b, s in zip(before, size, strict=True)], [2, 3])
    return [joined]


def _padded(x: Tensor, before: list[int], after: list[int], value: float) -> Tensor:
    """A picture (N, C, h, w) with rows and columns of a value around it."""
    if [*before, *after] == [0, 0, 0, 0]:
        return x
    return op.Pad(x, [0, 0, *before, 0, 0, *after], x.graph.constant(value, x.dtype))


def _phases(x: Tensor, step: int) -> list[Tensor]:
    """Every `step`-th pixel down and across, from each of the first: step² pictures."""
    if step == 1:
        return [x]
    channels = (x.shape or (0, 0))[1]
    deep = op.SpaceToDepth(x, blocksize=step)
    return op.Split(deep, [channels] * step**2, axis=1, outputs=step**2)


def _pooled(graph: Rewritten, x: Tensor, attrs: dict[str, object]) -> Tensor:
    """What the model's own pooling makes of x."""
    for node in graph.nodes:
        if key_of(node) == "MaxPool" and node.input[0] == x.name and len(node.output) == 1:
            own = attributes(node)
            if all(own.get(name, attrs[name]) == value for name, value in attrs.items()):
                return Tensor(graph, node.output[0])
    return op.MaxPool(x, **attrs)
