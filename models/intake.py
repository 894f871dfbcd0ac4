"""The input of a model: which it is, and how photos are made to fit it."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto

from ..engine.errors import BadModel, BadRequest
from ..engine.given import given_sizes
from ..engine.types import dtype_of, is_float, shape_of
from .layout import infer_layout
from .preprocess import CHANNELS, Preprocess
from .presets import PRESETS, preset


def image_input(model: ModelProto) -> tuple[str, tuple[Any, ...]]:
    """The name and shape of the one image input; sizes that it leaves open and the graph knows are filled in.

    Raises BadModel where there is no floating-point input, or other inputs besides it.
    """
    weights = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in weights]
    images = [
        v
        for v in inputs
        if (d := dtype_of(v.type)) is not None and is_float(d) and len(shape_of(v.type) or ()) == 4
    ]
    if not images:
        shown = ", ".join(f"{v.name} ({dtype_of(v.type)}, {list(shape_of(v.type) or ())})" for v in inputs)
        raise BadModel(f"the model has no floating-point image input of four axes; it has: {shown or 'none'}")
    if len(inputs) > 1:
        others = ", ".join(v.name for v in inputs if v is not images[0])
        raise BadModel(
            f"besides the image {images[0].name!r} the model needs {others}, which onnxlens cannot know"
        )
    name, shape = images[0].name, shape_of(images[0].type) or ()
    given = given_sizes(model.graph, name, len(shape))
    return name, tuple(d if isinstance(d, int) else given.get(i, d) for i, d in enumerate(shape))


def preprocess_for(
    shape: tuple[Any, ...],
    name: str | None,
    size: tuple[int, int] | None,
    layout: str | None,
    found: Preprocess | None,
) -> Preprocess:
    """The preprocessing for an input of this shape: the preset of that name, or what was found beside it.

    Raises BadRequest, with a question, where neither is there or an axis of the input stays open.
    """
    if name is None and found is not None and size is None and layout is None:
        return checked(shape, found)
    if found is not None and layout in (None, found.layout):
        shape = _told(shape, found.layout, CHANNELS[found.channels])
    elif layout and len(PRESETS.get(name or "", {}).get("mean", ())) == 3:
        shape = _told(shape, layout, 3)
    order, channels, extent = infer_layout(shape, size or (found.size if found else None), layout)
    if name is None:
        raise BadRequest(
            "how photos go into this model stands nowhere in or beside it: say --preset "
            f"({', '.join(PRESETS)}); imagenet is what most PyTorch models were trained with"
        )
    return preset(name, extent, order, channels)


def checked(shape: tuple[Any, ...], preprocess: Preprocess) -> Preprocess:
    """The preprocessing, if what it makes fits the model's input. Raises BadRequest otherwise."""
    channels = infer_layout(_made(shape, preprocess), preprocess.size, preprocess.layout).channels
    if channels != CHANNELS[preprocess.channels]:
        raise BadRequest(
            f"the preprocessing makes {preprocess.channels} pictures, the model takes {channels} channels"
        )
    return preprocess


def _made(shape: tuple[Any, ...], preprocess: Preprocess) -> tuple[Any, ...]:
    """The input's shape with as many channels as the preprocessing makes, where it leaves them open."""
    return _told(shape, preprocess.layout, CHANNELS[preprocess.channels])


def _told(shape: tuple[Any, ...], layout: str, channels: int) -> tuple[Any, ...]:
    """The input's shape with so many channels, where it leaves them open."""
    axis = 3 if layout == "nhwc" else 1
    return tuple(channels if i == axis and not isinstance(d, int) else d for i, d in enumerate(shape))


def bound(shape: tuple[Any, ...], preprocess: Preprocess) -> tuple[Any, ...]:
    """The input's shape with its open sizes bound to those of the preprocessing; the batch stays open."""
    h, w = preprocess.size
    c = _made(shape, preprocess)[1 if preprocess.layout == "nchw" else 3]
    rest = (c, h, w) if preprocess.layout == "nchw" else (h, w, c)
    return (shape[0], *rest)
