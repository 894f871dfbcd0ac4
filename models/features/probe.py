"""Whether layers answer to marks where they are said to lie on the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ...engine.anatomy.layers import checked_layer, matching
from ...engine.anatomy.maps import layer_named, view_of, why_not
from ...engine.anatomy.readouts.classes import score_name
from ...engine.errors import BadRequest
from ...engine.features.probe import Probe, probe, unplaced
from ...engine.features.responses import stages
from ...engine.graph.graph import Graph
from ...engine.graph.types import is_float
from ..network.opened import Opened
from ..photos.preprocess import Preprocess

STAGES = 4  # of a network, looked at besides the default layer where none is named
NORMALISED = -2.0, 2.0  # the range of numbers where nobody says how photos go in
PIXELS = 0.0, 255.0  # the range of whole numbers


def probes(model: Opened, layers: Sequence[str] = (), output: str | None = None) -> Iterator[Probe]:
    """Plant marks in pictures in the model's own range of numbers, and look where its layers answer.

    Parameters
    ----------
    model
        The model.
    layers
        Names, or globs such as "layer?*"; by default the layer that Grad-CAM looks at, and the stages of the
        network.
    output
        The output that holds the classes, which decides on these.

    Returns
    -------
    Iterator of Probe
        Of each layer, with its `problem` where it has no place or answers to no mark.

    Raises
    ------
    BadRequest
        For a model that takes no picture, has no feature maps, or not the layer, with the nearest names.
    """
    if model.input is None:
        raise BadRequest("this model takes no picture in which marks could be planted")
    graph = model.network.graph
    names = _named(graph, layers) if layers else _usual(graph, output)
    low, high = _range(model.preprocess, graph[model.input].dtype)
    for name in names:
        if why := why_not(graph, name):
            yield unplaced(name, why)
        else:
            yield probe(model.network, name, view_of(graph, name), low, high)


def _named(graph: Graph, layers: Sequence[str]) -> list[str]:
    """The values that are meant, feature maps or not."""
    names: list[str] = []
    for layer in layers:
        name = layer_named(graph, layer)
        names += [name] if name in graph else matching(graph, [layer])
    return list(dict.fromkeys(names))


def _usual(graph: Graph, output: str | None) -> list[str]:
    """The layer that Grad-CAM looks at, where there is one, and the stages of the network."""
    score, names = score_name(graph, output), []
    with suppress(BadRequest):
        names.append(checked_layer(graph, None, score))
    names = list(dict.fromkeys([*names, *stages(graph, score, STAGES)]))
    if not names:
        raise BadRequest("this model has no feature map; `onnxlens layers MODEL` lists what it has")
    return names


def _range(preprocess: Preprocess | None, dtype: np.dtype | None) -> tuple[np.ndarray, ...]:
    """What black and white are as the model takes them, for each channel."""
    if preprocess is None:
        return tuple(map(np.array, NORMALISED if dtype is None or is_float(dtype) else PIXELS))
    pixel = replace(preprocess, size=(1, 1), fit="stretch", resize=None)
    return tuple(pixel(np.full((1, 1, 3), tone, np.uint8))[0].reshape(-1) for tone in (0, 255))
