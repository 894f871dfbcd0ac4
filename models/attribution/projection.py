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
    """What of a photo goes back to the pixels from classes.

    Parameters
    ----------
    lens
        The model.
    photo
        Pixels (H, W, 3) uint8, RGB.
    method
        A name of METHODS, or what `projector_for` compiled once for many photos.
    targets
        Class indices, labels, None for the predicted class, or "top3" for the three most probable ones.

    Returns
    -------
    list of Attribution
        One for each class, with a signal (h, w, 3) on the model's input.

    Raises
    ------
    BadRequest
        For a class or method that is not there, with the nearest names.

    Examples
    --------
    >>> lens = onnxlens.Lens("scenes")
    >>> found = onnxlens.project(lens, onnxlens.read_photo("cat.jpg"), "guided", ["cat", "heart"])
    >>> [(each.name, each.signal.shape) for each in found]
    [('cat', (96, 96, 3)), ('heart', (96, 96, 3))]
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
    """What of a photo goes back to the pixels from channels of a layer.

    Parameters
    ----------
    lens
        The model.
    photo
        Pixels (H, W, 3) uint8, RGB.
    method
        As in `project`; what is compiled already must be of this layer.
    layer
        A feature map, or a dense layer.
    channels
        Of the layer; without any, those of the greatest values in this photo, strongest first.
    position
        Row and column in the layer, None for where the channel is strongest.
    top
        How many channels, where none are said; those that are not above 0 are left out as far as one stays.

    Returns
    -------
    list of Attribution
        One for each channel, with a signal (h, w, 3) on the model's input.

    Raises
    ------
    BadRequest
        For a layer, channel or position that is not there.

    Examples
    --------
    >>> lens = onnxlens.Lens("scenes")
    >>> photo = onnxlens.read_photo("cat.jpg")
    >>> found = onnxlens.project_layer(lens, photo, "deconvnet", "relu4", top=2)
    >>> [each.unit.channel for each in found]
    [2, 78]
    """
    made = Attributor(lens, method, layer=layer, channels=channels, position=position, top=top)
    return made.of_photo(photo)
