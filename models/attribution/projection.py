"""From a unit of a network back to the pixels of a photo: deconvnet, guided backpropagation, saliency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...engine.attribution.averages import AVERAGES, STEPS, Averaged
from ...engine.attribution.projector import Projector, Signal
from ..maps.attribution import Attribution, Unit
from ..maps.placement import Placement
from ..maps.prediction import Prediction, ranked
from ..network.vision_model import Target, VisionModel
from ..photos.fill import filler
from ..photos.preprocess import Box, Preprocess


def projector_for(lens: VisionModel, method: str, layer: str | None = None, steps: int = STEPS) -> Projector:
    """A method of engine.signals, of projection.METHODS or averages.AVERAGES, compiled for a lens.

    The ways of integrated gradients begin at the mean image of the preprocessing; `steps` is how many inputs
    an average is over. Raises BadRequest for a method that is neither, with the nearest names.
    """
    if method not in AVERAGES:
        return Projector(lens.network, method, layer)
    shape = lens.preprocess(np.zeros((1, 1, 3), np.uint8))[0].shape
    baseline = filler(np.zeros(shape, np.float32), lens.preprocess, "mean")[0]
    return Averaged(lens.network, method, layer, baseline, steps)


def project(
    lens: VisionModel,
    photo: np.ndarray,
    method: str | Projector = "deconvnet",
    targets: Sequence[Target] = (None,),
) -> list[Attribution]:
    """One projection of a photo (H, W, 3) uint8 RGB for each target: a class index, a label, None for the
    predicted class, or "top3" for the three most probable ones.

    `method` is a name that `projector_for` knows, or a Projector, which is compiled once for many photos.
    Raises BadRequest for a class or method that is not there, with the nearest names.
    """
    projector = method if isinstance(method, Projector) else projector_for(lens, method)
    wished = [lens.wish(t) for t in targets]
    feeds, box = lens.feeds(photo)
    first = projector.once(feeds)[0]
    order = _ranked(lens, first)
    classes = [c for w in wished for c in ([p.index for p in order[:-w]] if w < 0 else [w])]
    signals = _signals(projector, feeds, first, list(dict.fromkeys(classes)), None)
    return [_projection(lens, photo, box, projector, s, order) for s in signals]


def project_layer(
    lens: VisionModel,
    photo: np.ndarray,
    method: str | Projector,
    layer: str,
    channels: Sequence[int] = (),
    position: tuple[int, int] | None = None,
    top: int = 9,
) -> list[Attribution]:
    """One projection of a photo (H, W, 3) uint8 RGB for each of `channels` of a layer.

    Without channels, the `top` ones of the greatest values in this photo, strongest first, those that are not
    above 0 left out as far as one stays. `position` (row, column) in the layer, None for where the channel is
    strongest. `method` as in `project`; a Projector must be of this layer.

    Raises BadRequest for a layer, channel or position that is not there.
    """
    projector = method if isinstance(method, Projector) else projector_for(lens, method, layer)
    projector.check(channels, position)
    feeds, box = lens.feeds(photo)
    first = projector.once(feeds)[0]
    if not channels:
        order = np.argsort(-first.peaks, kind="stable")[:top].tolist()
        channels = [k for k in order if first.peaks[k] > 0] or order[:1]
    signals = _signals(projector, feeds, first, channels, position)
    order = _ranked(lens, first)
    return [_projection(lens, photo, box, projector, s, order) for s in signals]


def _ranked(lens: VisionModel, signal: Signal) -> list[Prediction]:
    """Every class of a model that has any, the most probable first."""
    return [] if signal.output is None else ranked(lens.readout, signal.output, lens.labels)


def _signals(
    projector: Projector,
    feeds: dict[str, np.ndarray],
    first: Signal,
    channels: Sequence[int],
    position: tuple[int, int] | None,
) -> list[Signal]:
    """The signal of each channel; the one that is there already is not computed again."""
    found = {} if position or isinstance(projector, Averaged) else {first.channel: first}
    return [found[k] if k in found else projector(feeds, k, position)[0] for k in channels]


def _projection(
    lens: VisionModel,
    photo: np.ndarray,
    box: Box,
    projector: Projector,
    signal: Signal,
    order: list[Prediction],
) -> Attribution:
    """The signal of a unit on a photo; `order` holds every class, of a model that has any."""
    of_class = projector.layer is None
    extras = {}
    if signal.rise is not None and signal.gap is not None:
        extras["completeness"] = {"sum": signal.rise + signal.gap, "rise": signal.rise}
    return Attribution(
        photo=photo,
        values=in_colours(signal.array, lens.preprocess),
        place=Placement(box),
        at=lens.input,
        method=projector.method,
        target=next(p for p in order if p.index == signal.channel) if of_class else None,
        score=signal.value,
        predictions=order[:5],
        layer=projector.layer,
        unit=None if of_class else Unit(signal.channel, signal.position),
        problem=signal.problem,
        note=projector.note,
        extras=extras,
    )


def in_colours(array: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """What has the shape of the model's input, (C, h, w) or (h, w, C), as (h, w, C) with red first."""
    array = np.moveaxis(array, 0, -1) if preprocess.layout == "nchw" else array
    return np.ascontiguousarray(array[..., ::-1] if preprocess.channels == "bgr" else array)
