"""The input of a model: which it is, and how photos are made to fit it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto

from ...engine.canonical.given import given_sizes
from ...engine.errors import BadModel, BadRequest
from ...engine.graph.decoders import obstacle
from ...engine.graph.nodes import describe
from ...engine.graph.types import dtype_of, is_float, shape_of
from ..photos.layout import infer_layout
from ..photos.preprocess import CHANNELS, Preprocess
from ..photos.presets import ENOUGH, OPTIONS, PRESETS, Said, completed, facts_of, has_preset, told
from .inputs import described, is_picture, needed_inputs
from .sidecar import Sidecar

NOWHERE = "how photos go into this model stands nowhere in or beside it"

PIXELS = "raw"  # the preset of a model that takes pixels as they are: whole numbers can be nothing else
TONES = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)


def image_input(model: ModelProto, said: Collection[str] = ()) -> tuple[str, tuple[Any, ...], np.dtype]:
    """The name, shape and type of the image input; open sizes that the graph knows are filled in.

    Inputs that nothing reads, those that have a value of their own and those that are `said` are none that a
    photo goes into; of several it is the first of colours, as others are masks and depths. Raises BadModel
    where there is no input of four axes and real or whole numbers.
    """
    needed = [v for v in needed_inputs(model) if v.name not in said]
    images = [v for v in needed if is_picture(v)]
    if not images:
        shown = ", ".join(map(described, needed))
        raise BadModel(
            _lacking(model) or f"the model has no image input of four axes; it has: {shown or 'no input'}"
        )
    coloured = (v for v in images if 3 in (shape_of(v.type) or ())[1::2])
    image = next(coloured, images[0])
    name, shape, dtype = image.name, shape_of(image.type) or (), dtype_of(image.type)
    given = given_sizes(model.graph, name, len(shape))
    filled = tuple(d if isinstance(d, int) else given.get(i, d) for i, d in enumerate(shape))
    return name, filled, np.dtype(dtype)


def _lacking(model: ModelProto) -> str:
    """That all that a model answers needs an operator that ONNX Runtime lacks, if it does."""
    node = obstacle(model)
    if node is None:
        return ""
    return (
        f"every answer of the model needs its {describe(node)}, which ONNX Runtime lacks without its "
        "extensions, and onnxlens does not load them; cut the model with onnx.utils.extract_model"
    )


def check_whole(preprocess: Preprocess, dtype: np.dtype) -> None:
    """Raises BadRequest where a model takes whole numbers, and the preprocessing makes others."""
    if is_float(dtype) or isinstance(preprocess.channels, int):
        return
    tones, least = np.unique(preprocess(TONES)[0]), np.iinfo(dtype)
    if (tones != np.rint(tones)).any() or tones[0] < least.min or tones[-1] > least.max:
        raise BadRequest(
            f"the model takes pixels as whole numbers ({dtype}), and the preprocessing makes numbers from "
            f"{tones[0]:.3g} to {tones[-1]:.3g}: say --preset raw"
        )


def preprocess_for(
    shape: tuple[Any, ...],
    said: Preprocess | Said,
    size: tuple[int, int] | None,
    layout: str | None,
    beside: Sidecar,
    usual: str | None = None,
) -> tuple[Preprocess, str]:
    """The preprocessing for an input of this shape, and who says so.

    Field by field: what is said here, else what was found beside the model, else the preset that is `usual`
    for it. Raises BadRequest, with a question, where all that leaves open how photos go in.
    """
    if isinstance(said, Preprocess):
        return _undisturbed(checked(shape, said), beside), "preprocessing as given"
    found = PRESETS[usual] if usual and beside.facts is None else beside.facts
    facts = facts_of(said, found)
    shape = _known(shape, facts, layout, beside.is_enough and not has_preset(said))
    is_open = not all(isinstance(d, int) and d > 0 for d in shape[1:])
    is_said = isinstance(said, Mapping) and "size" in said
    wanted = size or (facts.get("size") if is_open or is_said else None)
    if beside.decoded and is_open and wanted is None:
        raise BadRequest(
            "the model decodes pictures itself and takes each at its own size: say --size HEIGHTxWIDTH, the "
            "photo's own for the answer that the file gives"
        )
    order, channels, extent = infer_layout(shape, wanted, layout or facts.get("layout"))
    if not facts.keys() >= ENOUGH:
        asked = beside.told("preprocessing") or NOWHERE
        fields = " and ".join(f"--{OPTIONS[name]}" for name in sorted(ENOUGH - facts.keys()))
        raise BadRequest(
            f"{asked}: say --preset ({', '.join(PRESETS)}) or {fields}; "
            "imagenet is what most PyTorch models were trained with"
        )
    if not said and size is None and facts.get("size", extent) != extent:
        (h, w), (rows, columns) = extent, facts["size"]
        raise BadRequest(
            f"the model takes pictures of {h}x{w}, and {beside.told('preprocessing')} is for "
            f"{rows}x{columns}: say --size {h}x{w} to keep all else of it, or --preset"
        )
    where = f"preset {usual}" if found is not beside.facts else beside.told("preprocessing")
    sources = [told(said), "" if has_preset(said) else where]
    preprocess = _undisturbed(completed(facts, extent, order, channels), beside)
    return preprocess, ", ".join(s for s in sources if s)


def _undisturbed(preprocess: Preprocess, beside: Sidecar) -> Preprocess:
    """The preprocessing, if it makes pixels as the model's decoder gave them. Raises BadRequest otherwise."""
    p = preprocess
    if beside.decoded and (p.channels, p.scale, *set(p.mean), *set(p.std)) != (beside.decoded, 1, 0, 1):
        raise BadRequest(
            f"the model decodes pictures itself, to {beside.decoded} pixels of 0 to 255: leave --preset, "
            "--channel-order, --scale, --mean and --std away"
        )
    return preprocess


def checked(shape: tuple[Any, ...], preprocess: Preprocess) -> Preprocess:
    """The preprocessing, if what it makes fits the model's input. Raises BadRequest otherwise."""
    channels = infer_layout(_made(shape, preprocess), preprocess.size, preprocess.layout).channels
    if channels != preprocess.count:
        raise BadRequest(
            f"the preprocessing makes {preprocess.channels} pictures, the model takes {channels} channels"
        )
    return preprocess


def _made(shape: tuple[Any, ...], preprocess: Preprocess) -> tuple[Any, ...]:
    """The input's shape with as many channels as the preprocessing makes, where it leaves them open."""
    return _told(shape, preprocess.layout, preprocess.count)


def _told(shape: tuple[Any, ...], layout: str, channels: int) -> tuple[Any, ...]:
    """The input's shape with so many channels, where it leaves them open."""
    axis = 3 if layout == "nhwc" else 1
    return tuple(channels if i == axis and not isinstance(d, int) else d for i, d in enumerate(shape))


def _known(
    shape: tuple[Any, ...], facts: Mapping[str, Any], layout: str | None, is_beside: bool
) -> tuple[Any, ...]:
    """The input's shape with the number of channels that the facts know, where it leaves them open.

    What producers write beside a model is of colours and in PyTorch's order of axes, unless it says else.
    """
    colours = facts.get("channels") or ("rgb" if is_beside or len(facts.get("mean", ())) == 3 else "")
    both = len(shape) == 4 and not any(isinstance(shape[axis], int) for axis in (1, 3))
    order = layout or facts.get("layout") or ("nchw" if is_beside and both else "")
    return (
        _told(shape, order, colours if isinstance(colours, int) else CHANNELS.get(colours, 3))
        if order and colours
        else shape
    )


def bound(shape: tuple[Any, ...], preprocess: Preprocess) -> tuple[Any, ...]:
    """The input's shape with its open sizes bound to those of the preprocessing; the batch stays open."""
    h, w = preprocess.size
    c = _made(shape, preprocess)[1 if preprocess.layout == "nchw" else 3]
    rest = (c, h, w) if preprocess.layout == "nchw" else (h, w, c)
    return (shape[0], *rest)
