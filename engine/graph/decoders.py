"""Pictures that a model decodes itself: cut off, so that it takes their pixels.

That is done by operators of onnxruntime-extensions, a library of its own (operators/vision and
operators/cv2/imgcodecs in its source), or by ONNX's ImageDecoder. ONNX Runtime has neither.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from .nodes import attributes, every_node, ours, reads, understood

DECODED = "onnxlens.decoded"  # in the metadata: the colours of the pixels, rgb, bgr or grey
DOMAINS = ("com.microsoft.extensions", "ai.onnx.contrib")
_COLOURS = {"rgb": "rgb", "bgr": "bgr", "grayscale": "grey"}
_SHOWS = ("DrawBoundingBoxes", "EncodeImage")  # what only shows a person the answer


def cut_decoders(model: ModelProto) -> None:
    """Lets a model that decodes a picture take its pixels: uint8 (1, H, W, 3), or (1, H, W, 1) if grey.

    The input keeps its name, and so do all values from the decoded one on; DECODED goes into the metadata.
    Outputs that need other operators of that kind are left out; where none remains, what is drawn or encoded
    is the output. A model of which nothing would remain stays as it is. Nodes must be in order. Raises
    BadModel for a damaged one.
    """
    graph, lacking = model.graph, lacking_nodes(model)
    if not lacking:
        return
    source, colours, decoded = _decoded(graph, lacking)
    lost = {source}.union(*(n.output for n in lacking)) - decoded
    kept: list[NodeProto] = []
    for node in graph.node:
        lost.discard("")  # the name of what is left out
        if decoded.isdisjoint(node.output) and not lost.isdisjoint([*reads(node), *node.output]):
            lost.update(node.output)
        else:
            kept.append(node)
    computed = {o for n in kept for o in n.output} - decoded
    drawn = [i for n in lacking if n.op_type in _SHOWS for i in n.input if i in computed]
    outputs = [o for o in graph.output if o.name not in lost] or _declared(graph, drawn)
    if not outputs:
        return
    del graph.output[:]
    graph.output.extend(outputs)
    if decoded:
        kept = [n if decoded.isdisjoint(n.output) else _unbatched(model, n) for n in kept]
        _take_pixels(model, source, colours)
    del graph.node[:]
    graph.node.extend(kept)


def lacking_nodes(model: ModelProto) -> list[NodeProto]:
    """The nodes that need an operator of the library, or ONNX's ImageDecoder; also in a graph inside them."""
    own = {(f.domain, f.name) for f in model.functions}
    return [n for n in model.graph.node if any(_is_lacking(inner, own) for inner in every_node([n]))]


def obstacle(model: ModelProto) -> NodeProto | None:
    """The first node without which nothing can be answered: in what `cut_decoders` left, and no decoder that
    it could have cut, if there is another; None where it left nothing.
    """
    nodes = lacking_nodes(model)
    _, _, decoded = _decoded(model.graph, nodes)
    return next((n for n in nodes if decoded.isdisjoint(n.output)), next(iter(nodes), None))


def _is_lacking(node: NodeProto, own: Collection[tuple[str, str]]) -> bool:
    if node.domain in ("", "ai.onnx"):
        return node.op_type == "ImageDecoder"
    return node.domain in DOMAINS and (node.domain, node.op_type) not in own


def _decoded(graph: GraphProto, nodes: Sequence[NodeProto]) -> tuple[str, str, set[str]]:
    """The input that holds a picture's bytes, the colours that it is decoded to, and the decoded values."""
    given = {v.name for v in graph.input} - {t.name for t in graph.initializer}
    found = [(n.input[0], c, n.output[0]) for n in nodes if (c := _colours(n)) and n.input[0] in given]
    source, colours = found[0][:2] if found else ("", "")
    return source, colours, {o for *same, o in found if same == [source, colours]}


def _colours(node: NodeProto) -> str:
    """The colours that a decoder gives; empty for any other node."""
    if node.op_type not in ("DecodeImage", "ImageDecoder") or not node.input or not node.output:
        return ""
    with understood(node):
        said = attributes(node)
    key, usual = ("color_space", "bgr") if node.domain in DOMAINS else ("pixel_format", "RGB")
    return _COLOURS.get(str(said.get(key, usual)).lower(), "")


def _declared(graph: GraphProto, names: Sequence[str]) -> list[ValueInfoProto]:
    known = {v.name: v for v in graph.value_info}
    return [known.get(name, ValueInfoProto(name=name)) for name in dict.fromkeys(names)]


def _take_pixels(model: ModelProto, source: str, colours: str) -> None:
    shape = [1, f"{source}/height", f"{source}/width", 1 if colours == "grey" else 3]
    for value in (*model.graph.input, *model.graph.value_info):  # some files declare an input twice
        if value.name == source:
            value.CopyFrom(helper.make_tensor_value_info(source, TensorProto.UINT8, shape))
    helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | {DECODED: colours})


def _unbatched(model: ModelProto, decoder: NodeProto) -> NodeProto:
    """What takes the batch of one off the pixels, in place of their decoder."""
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    inputs, outputs = decoder.input[:1], decoder.output[:1]
    if opset < 13:
        return helper.make_node("Squeeze", inputs, outputs, decoder.name, axes=[0])
    axes = ours(f"{outputs[0]}/axes", {t.name for t in model.graph.initializer})
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), axes))
    return helper.make_node("Squeeze", [*inputs, axes], outputs, decoder.name)
