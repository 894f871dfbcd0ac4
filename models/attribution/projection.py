"""From a unit of a network back to the pixels of a photo: deconvnet, guided backpropagation, saliency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...engine.attribution.projector import CHANNELS, Projector
from ..maps.attribution import Attribution
from ..network.vision_model import Target, VisionModel
from .attribute import Attributor


def projector_for(lens: VisionModel, method: str, layer: str | None = None, **options: Any) -> Projector:
    """A method that goes back to the pixels, compiled for a lens. Raises BadRequest as an Attributor does."""
    made = Attributor(lens, method, (), layer=layer, **options).compiled
    assert isinstance(made, Projector)
    return made


def project(
    lens: VisionModel,
    photo: np.ndarray,
    method: str | Projector = "deconvnet",
    targets: Sequence[Target] = (None,),
) -> list[Attribution]:
    """One projection of a photo (H, W, 3) uint8 RGB for each target: a class index, a label, None for the
    predicted class, or "top3" for the three most probable ones.

    `method` is a name of METHODS, or what `projector_for` compiled once for many photos. Raises BadRequest
    for a class or method that is not there, with the nearest names.
    """
    return Attributor(lens, method, targets).of_photo(photo)


def project_layer(
    lens: VisionModel,
    photo: np.ndarray,
    method: str | Projector,
    layer: str,
    channels: Sequence[int] = (),
    position: tuple[int, int] | None = None,
    top: int = CHANNELS,
) -> list[Attribution]:
    """One projection of a photo (H, W, 3) uint8 RGB for each of `channels` of a layer.

    Without channels, the `top` ones of the greatest values in this photo, strongest first, those that are not
    above 0 left out as far as one stays. `position` (row, column) in the layer, None for where the channel is
    strongest. `method` as in `project`; a Projector must be of this layer.

    Raises BadRequest for a layer, channel or position that is not there.
    """
    made = Attributor(lens, method, layer=layer, channels=channels, position=position, top=top)
    return made.of_photo(photo)
