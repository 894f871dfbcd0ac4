"""What the shape of a model's input says about the pictures it takes, and what has to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...engine.errors import BadModel, BadRequest


class Layout(NamedTuple):
    """Axis order ("nchw" or "nhwc"), number of channels, and (height, width)."""

    order: str
    channels: int
    size: tuple[int, int]


def infer_layout(
    shape: Sequence[int | str | None], size: tuple[int, int] | None = None, order: str | None = None
) -> Layout:
    """Read an ONNX input shape, where names and None stand for axes of any length.

    `size` and `order` are what the user said; a fixed axis of the model must agree with them. Never
    guesses: raises BadRequest that names the flag to give where two readings are possible or a side
    is open, and BadModel where nothing says which of the axes are the channels.
    """
    dims = [d if isinstance(d, int) and d > 0 else None for d in shape]
    shown = "x".join(str("?" if d is None else d) for d in shape) or "of a scalar"
    if len(dims) != 4:
        raise BadModel(f"the input {shown} is not a batch of pictures: it has {len(dims)} axes, not 4")
    readings = {"nchw": dims[1], "nhwc": dims[3]}
    if order is None:
        likely = [name for name, channels in readings.items() if channels in (1, 3)]
        likely = likely or [name for name, channels in readings.items() if channels == 4]
        likely = likely or _beside_a_square(dims)
        if not likely and None not in readings.values():
            raise BadModel(
                f"the input {shown} has no axis of 3, 1 or 4 channels, so it takes no photos; for those "
                "of more from .npy files say --layout nchw or nhwc"
            )
        if len(likely) != 1:
            raise BadRequest(
                f"the input {shown} may be channels first or last: say --layout nchw or --layout nhwc"
            )
        order = likely[0]
    elif order not in readings:
        raise BadRequest(f"no layout {order!r:.50}: --layout is nchw or nhwc")
    channels = readings[order]
    if channels is None:
        raise BadRequest(
            f"the input {shown} leaves the number of channels open, which onnxlens cannot know: set it in "
            "the file, as `python -m onnxruntime.tools.make_dynamic_shape_fixed` does"
        )
    if channels not in (1, 3, 4) and any(other in (1, 3, 4) for other in readings.values()):
        raise BadRequest(f"the input {shown} read as {order} has {channels} channels, not 3, 1 or 4")
    fixed = dims[2:] if order == "nchw" else dims[1:3]
    if size is None:
        if None in fixed:
            raise BadRequest(f"the input {shown} takes pictures of any size: say --size HEIGHTxWIDTH")
        size = (fixed[0] or 0, fixed[1] or 0)
    elif any(f not in (None, s) for f, s in zip(fixed, size, strict=True)):
        raise BadRequest(f"the input {shown} cannot take pictures of {size[0]}x{size[1]}; leave --size away")
    return Layout(order, channels, size)


def _beside_a_square(dims: Sequence[int | None]) -> list[str]:
    """The order of axes in which height and width are alike and the number of channels is another."""
    orders = {"nchw": (dims[1], dims[2:]), "nhwc": (dims[3], dims[1:3])}
    return [name for name, (c, (h, w)) in orders.items() if c and h == w and h is not None and c != h]
