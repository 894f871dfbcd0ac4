"""Why a map is blank, constant or not a number: the reason in a sentence, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..anatomy.anatomy import between, bottlenecks
from ..autodiff.doctor import find
from ..autodiff.gradient import backpropagate, inside
from ..graph.graph import op
from ..graph.nodes import describe, reads
from ..graph.types import is_float
from ..runtime.network import Network
from ..runtime.session import Session
from .gradients import maps_of, seed_of
from .method import Method


class Inspection(NamedTuple):
    """A network with all that lies between a layer and the scores in view: `names` of the values from the
    layer on, those of their `gradients` (None where none arrives), of the map before its ReLU (`cam`), and of
    the input with the `target`.
    """

    names: list[str]
    gradients: list[str | None]
    cam: str
    target: str
    session: Session


_INSPECTIONS: WeakKeyDictionary[Network, dict[tuple[str, Any, str, str], Inspection]] = WeakKeyDictionary()


def sound(maps: np.ndarray) -> list[bool]:
    """Which of the maps (N, h, w) show something: finite, and not the same everywhere."""
    low, high = maps.min((1, 2)), maps.max((1, 2))
    with np.errstate(invalid="ignore"):
        spread = high - low > 1e-6 * np.maximum(abs(low), abs(high))
    return (spread & np.isfinite(low) & np.isfinite(high)).tolist()


def diagnose(
    network: Network,
    method: Method,
    options: Any,
    score: str,
    layer: str,
    feeds: Mapping[str, np.ndarray],
    target: int,
) -> str:
    """Why the map that a method of class activation, with its `options`, makes of this layer, for this class
    and this one image, shows nothing.

    `feeds`: arrays by input name, the image first along the batch axis. Runs the network once more with the
    values on the way in view; only called for maps that are not sound.
    What that takes is compiled for the first of them: a run over thousands of photos may have many.
    """
    made, key = _INSPECTIONS.setdefault(network, {}), (method.name, options, score, layer)
    inspection = made.get(key) or made.setdefault(key, _inspection(network, method, options, score, layer))
    count = len(next(iter(feeds.values())))
    values = inspection.session({**feeds, inspection.target: np.full(count, target, np.int64)})

    features = values[layer]
    if not np.isfinite(features).all():
        return f"layer {layer!r} is not finite: {_first_not_finite(network, feeds)}"
    if not features.any():
        return f"all activations of layer {layer!r} are zero for this image; choose an earlier layer"
    blocked = None
    for name, grad in zip(reversed(inspection.names), reversed(inspection.gradients), strict=True):
        gradient = None if grad is None else values[grad]
        if gradient is not None and not np.isfinite(gradient).all():
            return f"the gradient of class {target} is not finite at {name!r}; {_made_by(network, name)}"
        if gradient is None or not gradient.any():
            blocked = blocked or name
    first = inspection.gradients[0]
    if blocked is not None and (first is None or not values[first].any()):
        return (
            f"the gradient of class {target} is zero from {blocked!r} on: nothing in layer {layer!r} changes "
            f"the score ({_reader(network, blocked, score)}); choose another class or a later layer"
        )
    heat = values[inspection.cam]
    if not heat.any():
        return f"{method.blank.format(layer=layer, target=target)}; choose another class or layer"
    if heat.max() <= 0:
        return (
            f"all of layer {layer!r} speaks against class {target} (contributions from {heat.min():.3g} to "
            f"{heat.max():.3g}): there is no evidence for it to show; choose another class or layer"
        )
    return f"the map of layer {layer!r} is the same everywhere ({heat.max():.3g}); choose an earlier layer"


def losses(network: Network, of: str, image: str) -> Callable[[Mapping[str, np.ndarray]], str]:
    """The function of `feeds` (see `diagnose`) that says where the gradient of a value gets lost.

    That is the gradient of its greatest number by the input `image`; "" where it arrives. Looks at the values
    that everything passes through. Raises NoRule where no gradient leads there, whatever the image.
    """
    graph = network.graph.copy()
    value = inside(graph, of)
    names = [inside(graph, image).name, *(n for n in bottlenecks(graph, value.name) if n != value.name)]
    axes = list(range(1, len(value.shape or ())))
    seed = op.CastLike(op.Equal(value, op.ReduceMax(value, axes, keepdims=1)), value)
    grads = backpropagate(graph, {value.name: seed}, names)
    way = {name: g.name for name, g in zip(names, grads, strict=True) if g is not None}
    session = network.compile(graph, [value.name, *way.values()])

    def lost(feeds: Mapping[str, np.ndarray]) -> str:
        gradients, behind = session(feeds), value.name
        if not np.isfinite(gradients[value.name]).all():
            return f"{value.name!r} is not finite: {_first_not_finite(network, feeds)}"
        for name in reversed(way):
            gradient = gradients[way[name]]
            if not np.isfinite(gradient).all():
                return f"the gradient is not finite at {name!r}; {_made_by(network, name)}"
            if not gradient.any():
                return f"the gradient is zero from {name!r} on: lost on the way to it from {behind!r}"
            behind = name
        return ""

    return lost


def _inspection(network: Network, method: Method, options: Any, score: str, layer: str) -> Inspection:
    graph = network.graph.copy()
    target = graph.unused("target")
    chosen = graph.input(target, np.int64, (graph[score].shape or ())[:1])
    names = between(graph, layer, score)
    (cam,) = maps_of(method, options, graph[score], chosen, [graph[layer]])
    if (last := graph.producer(cam.name)) is not None and last.op_type == "Relu":
        cam = graph[last.input[0]]  # what it cuts off speaks against the class
    grads = backpropagate(graph, {score: seed_of(method, options, graph[score], chosen)}, names)
    gradients = [g and g.name for g in grads]
    shown = dict.fromkeys([*filter(None, gradients), cam.name, layer])
    return Inspection(names, gradients, cam.name, target, network.compile(graph, list(shown)))


def _made_by(network: Network, name: str) -> str:
    node = network.graph.producer(name)
    return "it is an input" if node is None else f"it is made by {describe(node)}"


def _reader(network: Network, name: str, score: str) -> str:
    """The node on the way to the score that reads a value: where its gradient got lost."""
    readers = [n for n in network.graph.ancestors([score]) if name in reads(n)]
    if not readers:
        return "it does not reach the score"
    stops = [b for b in find(network.graph, [score], [name]).blocks if b.output in readers[0].output]
    return f"lost in {describe(readers[0])}" + (f", which {stops[0].why}" if stops else "")


def _first_not_finite(network: Network, feeds: Mapping[str, np.ndarray]) -> str:
    """The first value of the network that is not finite, and what makes it."""
    for name, array in feeds.items():
        if not np.isfinite(array).all():
            return f"input {name!r} is not"
    names = [n for n in network.values if (d := network.graph[n].dtype) is not None and is_float(d)]
    values = network.run(feeds, names)
    name = next((n for n in names if not np.isfinite(values[n]).all()), names[-1])
    return f"the first such value is {name!r}, {_made_by(network, name)}"
