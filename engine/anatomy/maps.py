"""Which values of a network are feature maps, and how each is seen as (N, K, h, w).

A value is a map where its elements lie on a grid of the picture (coordinates.py, grids.py): whatever the
order of its axes, with other tokens anywhere among them, in windows or in pieces.

    N,C,H,W    as it is                  convolutions, wherever a model comes from
    N,H,W,C    channels moved            TensorFlow, ConvNeXt, Swin
    N,T,D      tokens laid out           transformers: [class|p11 p12 ... phw] -> the grid of the patches
"""

from __future__ import annotations

from ..errors import BadRequest, nearest
from ..graph.graph import Graph, Tensor
from ..graph.nodes import OURS
from ..graph.sizes import Dim
from ..graph.types import is_float
from .coordinates import Coordinates
from .grids import Place, View, seen_as
from .scopes import members

__all__ = ["Place", "View"]  # what views give is asked for here


def feature_map(graph: Graph, name: str) -> Tensor:
    """A value of the graph as feature maps (N, K, h, w), appended to it as expressions.

    Raises BadRequest where it is not there or is no feature map, with the nearest names.
    """
    return view_of(graph, name)(graph[layer_named(graph, name)])


def view_of(graph: Graph, name: str) -> View:
    """How a value is seen as feature maps. Raises BadRequest as `feature_map` does."""
    twin = layer_named(graph, name)
    if twin in graph:
        found = _view(graph, twin)
        if isinstance(found, View):
            return found
    seen = views(graph)
    names = [*(n for n in seen if not n.startswith(OURS)), *module_names(graph)]
    if twin not in graph:
        raise BadRequest(f"the model has no layer {name!r}{nearest(name, names)}")
    value = graph[twin if name not in graph else name]
    raise BadRequest(
        f"layer {name!r} of shape {list(value.shape or ())} is no feature map: it {why_not(graph, twin)}"
        f"{nearest(name, names)}"
    )


def why_not(graph: Graph, name: str) -> str:
    """Why a value is no feature map; empty for one that is."""
    found = _view(graph, graph.twins.get(name, name))
    return "" if isinstance(found, View) else found


def grid_of(graph: Graph, name: str) -> list[Dim]:
    """The rows and columns of a feature map; what is open is not known."""
    twin = layer_named(graph, name)
    view, shape = view_of(graph, twin), graph[twin].shape or ()
    return list(view.grid or (shape[a] for a in view.perm[2:]))


def layer_named(graph: Graph, name: str) -> str:
    """The value that a name means: of this name, or what a module of the framework hands on.

    That is the last of its feature maps, or of its values where it has none. Other names stay as they are.
    """
    if name not in graph and (values := members(graph).get(name)):
        name = next((v for v in reversed(values) if is_map(graph, v)), values[-1])
    return graph.twins.get(name, name)


def module_names(graph: Graph) -> list[str]:
    """The modules that hand on a feature map, in order."""
    seen = views(graph)
    return [m for m, values in members(graph).items() if any(graph.twins.get(v, v) in seen for v in values)]


def map_names(graph: Graph) -> list[str]:
    """The computed values that are feature maps, in order."""
    return [n for n in views(graph) if graph.producer(n) is not None and not n.startswith(OURS)]


def is_map(graph: Graph, name: str) -> bool:
    """True for a value that is a feature map of more than one pixel."""
    return isinstance(_view(graph, graph.twins.get(name, name)), View)


def views(graph: Graph) -> dict[str, View]:
    """Every feature map of the graph by name, in order, and how it is seen."""
    every = ((name, _view(graph, name)) for name in graph.value_names())
    return {name: view for name, view in every if isinstance(view, View)}


def coordinates(graph: Graph) -> Coordinates:
    """The coordinates of a graph, followed once; those of its copies are its own as far as they go."""
    found = graph.anatomy.get("coordinates")
    if found is None or found.graph is not graph:
        fed = graph.anatomy.get("image")  # what is computed in the place of an input
        images = [fed] if fed is not None and fed in graph else graph.pictured
        ranks = {i: len(graph[i].shape or ()) for i in images}
        image = next((i for i in images if ranks[i] == 4), None)
        if image is None:  # one picture as decoders give it
            single = (i for i in images if ranks[i] == 3 and (graph[i].shape or (0,))[-1] in (1, 3, 4))
            image = next(single, None)
        found = graph.anatomy["coordinates"] = Coordinates(graph, image or "", found)
    return found


def _view(graph: Graph, name: str) -> View | str:
    """How a value is seen as feature maps, or why it is none."""
    value = graph[name]
    if name not in graph.inputs and value.dtype is not None and not is_float(value.dtype):
        return f"holds {value.dtype}"
    followed = coordinates(graph)
    with followed.lock:
        positions = followed[name]
        if positions is None:
            return "does not depend on the picture"
        if positions.nowhere:
            return f"has lost its places in the picture at {followed.lost.get(name, 'an input')}"
        return followed.kept(positions, lambda: seen_as(positions, followed, value.shape or ()))
