"""The windows of convolutions and pools as numbers, where a node says them in words or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import NodeProto, helper

from ..graph.graph import Graph
from ..graph.nodes import schema_of
from ..graph.sizes import Dim
from ..graph.types import shape_of
from ..operators.traits import traits_of


def write_window(node: NodeProto, graph: Graph) -> None:
    """Write kernel_shape, strides, dilations and pads into a node as numbers, where the sizes are known.

    Padding that depends on an open size stays as the node says it.
    """
    traits = traits_of(node)
    if traits.window not in ("window", "transposed") or node.domain:
        return
    attrs, extra = graph.attributes(node), [0]
    kernel: list[int] | None = attrs.get("kernel_shape")
    if kernel is None and traits.weights is not None:
        shape = shape_of(graph.types.get(node.input[traits.weights.kernel])) or ()
        kernel = [d for d in shape[2:] if isinstance(d, int)]
        kernel = kernel if len(kernel) == len(shape) - 2 else None
    if not kernel:
        return
    strides = attrs.get("strides") or [1] * len(kernel)
    dilations = attrs.get("dilations") or [1] * len(kernel)
    auto = attrs.get("auto_pad", "NOTSET")
    pads = attrs.get("pads") if auto == "NOTSET" else None
    size = (shape_of(graph.types.get(node.input[0])) or ())[2:]
    if node.op_type == "ConvTranspose":
        padding = _transposed_padding(attrs, kernel, strides, dilations, size)
        if padding is None:
            return
        pads, extra = padding
        auto = "NOTSET"
    if pads is None and auto.startswith("SAME"):
        pads = _same(auto, size, kernel, strides, dilations)
        is_open = pads is None
    else:
        is_open, pads = False, pads or [0] * 2 * len(kernel)
    values = {"kernel_shape": kernel, "strides": strides} | ({} if is_open else {"pads": pads})
    if node.op_type == "ConvTranspose":
        values["output_padding"] = extra
    schema = schema_of(node.op_type, graph.opsets[""])
    if schema is not None and "dilations" in schema.attributes:
        values["dilations"] = dilations
    said = (*values, "output_shape", *(() if is_open else ("auto_pad",)))
    others = [a for a in node.attribute if a.name not in said]
    del node.attribute[:]
    node.attribute.extend(others)
    node.attribute.extend(helper.make_attribute(k, v) for k, v in values.items())


def _same(
    auto: str, size: Sequence[Dim], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int] | None:
    """The pads of SAME_UPPER and SAME_LOWER as numbers; None where a size is open.

    They split what ceil(size / stride) windows need, the odd one last or first (ONNX, Conv: auto_pad).
    """
    sizes = [d for d in size if isinstance(d, int)]
    if len(sizes) != len(kernel) or len(size) != len(kernel):
        return None
    before, after = [], []
    for x, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-x // s) - 1) * s + (k - 1) * d + 1 - x, 0)
        before.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
        after.append(total - before[-1])
    return before + after


def _transposed_padding(
    attrs: dict[str, Any],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    size: Sequence[Dim],
) -> tuple[list[int], list[int]] | None:
    """The pads and the output padding of a ConvTranspose as numbers; None where a size is open.

    total = stride (size - 1) + output_padding + (k - 1) dilation + 1 - output  (ONNX, ConvTranspose);
    where more output is asked for than there is, zeros are added behind it.
    """
    output, auto = attrs.get("output_shape"), attrs.get("auto_pad", "NOTSET")
    extra = list(attrs.get("output_padding") or [0] * len(kernel))
    if not output and not auto.startswith("SAME"):
        pads = attrs.get("pads") if auto == "NOTSET" else None
        return list(pads or [0] * 2 * len(kernel)), extra
    sizes = [d for d in size if isinstance(d, int)]
    if len(sizes) != len(kernel):
        return None
    before, after = [], []
    for i, n in enumerate(sizes):
        wanted = output[-len(kernel) :][i] if output else n * strides[i]
        total = strides[i] * (n - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 - wanted
        extra[i] += max(-total, 0)
        total = max(total, 0)
        before.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
        after.append(total - before[-1])
    return before + after, extra
