"""Trained networks as ONNX files that say how photos go in and what the classes are called."""

# Only who trains has torch; the linter runs before that is installed.
# pyright: reportMissingImports=false

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from scenes import ALPHABET, CLASSES, LINE, SIZE, SMALL
from torch import Tensor, nn

from onnxlens.models.network.sidecar import CHARACTERS_KEY, LABELS_KEY, PREPROCESS_KEY

MODELS = Path(__file__).with_name("models")
OPSET = 17
OUTPUTS = {
    "unet": ["logits"],
    "detector": ["output0"],
    "detr": ["logits", "pred_boxes"],
    "labels": ["shares"],
    "embedder": ["embedding"],
    "crnn": ["steps"],
    "vit": ["logits"],
    "swin": ["logits"],
}


def write(name: str, model: nn.Module, made_by: str) -> None:
    """Write the file of a task's network, and the detector's once more with its doubles left out inside it.

    AssertionError where ONNX Runtime's answer differs from the network's.
    """
    height, width = _size(name)
    x = torch.rand(2, 3, height, width)
    proto = exported(model, x, OUTPUTS[name])
    helper.set_model_props(proto, metadata(name))
    proto.doc_string = f"Trained by tests/bench/tasks/train.py {name}; on unseen scenes: {made_by}"
    _check(proto, model, x)
    _save(proto, name)
    if name == "detector":
        _save(suppressed(proto), f"{name}-nms")


def _size(name: str) -> tuple[int, int]:
    return {"crnn": LINE, "vit": (SMALL,) * 2, "swin": (SMALL,) * 2}.get(name, (SIZE, SIZE))


def exported(model: nn.Module, x: Tensor, outputs: list[str]) -> onnx.ModelProto:
    """The network as PyTorch exports it, for any number of photos; without what names places of this machine.

    Weights are rounded to the precision of float16, which halves what they take when they are packed.
    """
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(_rounded(tensor))
    model.eval()
    file = io.BytesIO()
    free = {value: {0: "batch"} for value in ("image", *outputs)}
    torch.onnx.export(
        model,
        (x,),
        file,
        input_names=["image"],
        output_names=outputs,
        dynamic_axes=free,
        opset_version=OPSET,
        dynamo=False,
    )
    proto = onnx.load_from_string(file.getvalue())
    for node in proto.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            tensor.CopyFrom(numpy_helper.from_array(_rounded(values).numpy(), tensor.name))
    return proto


def _rounded(weights: Tensor) -> Tensor:
    """The nearest floats whose last 12 bits are zero."""
    return ((weights.contiguous().view(torch.int32) + 0x800) & ~0xFFF).view(torch.float32)


def metadata(name: str) -> dict[str, str]:
    """What the file says of itself: the detector in Ultralytics' words, the reader of lines in Paddle's."""
    height, width = _size(name)
    if name == "detector":
        names = str(dict(enumerate(CLASSES)))
        return {"task": "detect", "stride": "16", "imgsz": str([height, width]), "names": names, "batch": "1"}
    said = {PREPROCESS_KEY: json.dumps(_preprocess(height, width))}
    if name == "crnn":
        return said | {CHARACTERS_KEY: "\n".join(ALPHABET)}
    labels = {"unet": ["background", *CLASSES], "embedder": None}.get(name, list(CLASSES))
    return said | ({LABELS_KEY: json.dumps(labels)} if labels else {})


def _preprocess(height: int, width: int) -> dict[str, object]:
    unit = {"mean": [0.0] * 3, "std": [1.0] * 3, "scale": 1 / 255, "channels": "rgb", "layout": "nchw"}
    return {"size": [height, width], "fit": "stretch", **unit}


def suppressed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The detector that leaves out doubles itself: boxes (k, 4) x0, y0, x1, y1, scores (k,), labels (k,).

    Of one photo, best first, as torchvision's.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    part = onnx.parser.parse_graph(_SUPPRESSION % {"classes": len(CLASSES)})
    for node in part.node:
        node.name = node.output[0]
    made.graph.node.extend(part.node)
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del made.graph.output[:], made.graph.value_info[:]
    made.graph.output.extend(part.output)
    height, width = _size("detector")
    helper.set_model_props(
        made, {PREPROCESS_KEY: json.dumps(_preprocess(height, width)), LABELS_KEY: json.dumps(CLASSES)}
    )
    onnx.checker.check_model(made, full_check=True)
    return made


_SUPPRESSION = """
suppression (float[1, c, p] output0) => (float[k, 4] boxes, float[k] scores, int64[k] labels)
{
    parts = Constant <value = int64[3] {2, 2, %(classes)d}> ()
    half = Constant <value = float {0.5}> ()
    most = Constant <value = int64[1] {20}> ()
    alike = Constant <value = float[1] {0.5}> ()
    least = Constant <value = float[1] {0.25}> ()
    first = Constant <value = int64[1] {0}> ()
    last = Constant <value = int64[1] {1}> ()
    centre, size, shares = Split <axis = 1> (output0, parts)
    reach = Mul (size, half)
    low = Sub (centre, reach)
    high = Add (centre, reach)
    sides = Concat <axis = 1> (low, high)
    candidates = Transpose <perm = [0, 2, 1]> (sides)
    kept = NonMaxSuppression (candidates, shares, most, alike, least)
    kept_shares = GatherND (shares, kept)
    count = Shape (kept_shares)
    scores, order = TopK (kept_shares, count)
    photo, kept_class, kept_place = Split <axis = 1> (kept)
    classes = Squeeze (kept_class, last)
    labels = Gather (classes, order)
    places = Squeeze (kept_place, last)
    ranked = Gather (places, order)
    rows = Squeeze (candidates, first)
    boxes = Gather (rows, ranked)
}
"""


def _check(proto: onnx.ModelProto, model: nn.Module, x: Tensor) -> None:
    import onnxruntime

    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = model(x)
    wanted = wanted if isinstance(wanted, Iterable) and not isinstance(wanted, Tensor) else (wanted,)
    for ours, theirs in zip(session.run(None, {"image": x.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-3, atol=1e-2)


def _save(proto: onnx.ModelProto, name: str) -> None:
    MODELS.mkdir(exist_ok=True)
    unfinished = MODELS / f"{name}.part"
    unfinished.write_bytes(proto.SerializeToString(deterministic=True))
    unfinished.replace(MODELS / f"{name}.onnx")
