"""A model opened for what needs no photo: whatever it is for, and whatever is known of its input."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import BadModel
from ...engine.graph.file import read_model
from ...engine.runtime.network import Network
from ..photos.layout import infer_layout
from ..photos.preprocess import Preprocess
from ..photos.presets import Said
from . import zoo
from .inputs import all_said, needed_inputs, stored
from .intake import bound, check_whole, image_input, preprocess_for
from .sidecar import find

SIDE = 224  # pixels that an input is given which leaves its size open


@dataclass(frozen=True)
class Opened:
    """A model that may be for anything: what a VisionModel knows of it, as far as that is known."""

    path: Path
    network: Network
    input: str | None
    preprocess: Preprocess | None
    source: str
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)


def open_network(
    model: str | os.PathLike[str],
    preset: Said = None,
    size: tuple[int, int] | None = None,
    layout: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    second: Any = None,
    progress: zoo.Progress | None = None,
    **runtime: Any,
) -> Opened:
    """A model's network, and how photos go into it where that stands in or beside it.

    An input that leaves its size open is given `size`, or 224 pixels a side where the model takes that.
    `runtime`: provider and threads.
    Raises BadModel for what cannot be read, BadRequest for settings that do not fit.
    """
    path = zoo.resolve(model, progress)
    proto = read_model(path)
    try:
        name, shape, dtype = image_input(proto, inputs or ())
    except BadModel:  # its weights can be shown, its patterns cannot
        return Opened(path, Network(proto, **runtime), None, None, "takes no image")
    if inputs is second is None and len(needed_inputs(proto)) > 1:
        return Opened(path, Network(proto, **runtime), None, None, "takes more than an image")
    said = all_said(proto, name, inputs, second)
    record = zoo.records().get(str(model))
    beside = find(path, {p.key: p.value for p in proto.metadata_props})
    usual = record.preset if record else None
    if beside.decoded and size is None:
        size = (SIDE, SIDE)  # the network behind the decoder has its own
    if preset or usual or beside.is_enough:
        preprocess, told = preprocess_for(shape, preset, size, layout, beside, usual)
        check_whole(preprocess, dtype)
        fixed = bound(shape, preprocess)
        source = f"colours: {preprocess.channels}, {told}"
    else:
        preprocess, fixed = None, _filled(shape, size, layout)
        source = "colours: taken as rgb (--preset says it otherwise)"
    found, fixed = stored(proto, name, shape, fixed, said, preprocess)
    try:
        network = Network(proto, shapes={name: fixed} if fixed != shape or found else None, **runtime)
    except BadModel:
        if size is not None or preprocess is not None or fixed == shape:
            raise
        network = Network(proto, **runtime)  # SIDE, which nobody said, is none that it takes
    return Opened(path, network, name, preprocess, source, found)


def _filled(shape: tuple[Any, ...], size: tuple[int, int] | None, layout: str | None) -> tuple[Any, ...]:
    """An input's shape with its open sides filled in, each that nobody says with SIDE."""
    if size is None and all(isinstance(d, int) for d in shape[1:]):
        return shape
    last = layout == "nhwc" if layout else shape[3] in (1, 3) and shape[1] not in (1, 3)
    sides = () if size else (1, 2) if last else (2, 3)
    told = tuple(SIDE if i in sides and not isinstance(d, int) else d for i, d in enumerate(shape))
    order, channels, (h, w) = infer_layout(told, size, layout)
    return (shape[0], channels, h, w) if order == "nchw" else (shape[0], h, w, channels)
