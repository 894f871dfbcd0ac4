"""Which values of a network are feature maps, and how each is seen as (N, K, h, w).

    N,C,H,W    as it is                  convolutions, wherever a model comes from
    N,H,W,C    channels moved            TensorFlow, ConvNeXt, Swin
    N,T,D      tokens laid out           transformers: [class|p11 p12 ... phw] -> the grid of the patches

Which axis holds the channels is worked out in axes.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any, NamedTuple

from ..errors import BadRequest, nearest
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import OURS, reads
from ..graph.types import is_float
from .axes import channel_axes
from .scopes import members

MAX_EXTRA = 16  # tokens before the patches: of the class, of distillation, registers


Box = tuple[float, float, float, float]  # y0, x0, y1, x1 in pixels; pixel Y spans Y to Y + 1


class Place(NamedTuple):
    """Where feature maps (h, w) lie in the model's input, in its pixels.

    `seen` is the hull of what all of their cells see, clipped to the input; the cells themselves are even,
    over `cells`: the middle of each is that of what it sees, and they may reach beyond the input.
    """

    seen: Box
    cells: Box


@dataclass(frozen=True)
class View:
    """How a value is seen as feature maps: its axis of channels, for tokens the grid behind `extra`, and its
    `place` in the input; None is over all of it.
    """

    channels: int
    grid: tuple[int, int] | None = None
    extra: int = 0
    place: Place | None = None

    def __call__(self, value: Tensor) -> Tensor:
        """The value, or anything of its shape such as its gradient, as (N, K, h, w)."""
        if self.grid is None:
            order = [0, self.channels, *(a for a in (1, 2, 3) if a != self.channels)]
            return value if self.channels == 1 else op.Transpose(value, perm=order)
        tokens = value if self.channels == 1 else op.Transpose(value, perm=[0, 2, 1])
        if self.extra:
            tokens = op.Slice(tokens, [self.extra], [2**31 - 1], [2])
        return op.Reshape(tokens, [0, 0, *self.grid])


def feature_map(graph: Graph, name: str) -> Tensor:
    """A value of the graph as feature maps (N, K, h, w), appended to it as expressions.

    Raises BadRequest where it is not there or is no feature map, with the nearest names.
    """
    return view_of(graph, name)(graph[layer_named(graph, name)])


def view_of(graph: Graph, name: str) -> View:
    """How a value is seen as feature maps. Raises BadRequest as `feature_map` does."""
    seen = views(graph)
    twin = layer_named(graph, name)
    if twin in seen:
        return seen[twin]
    names = [*(n for n in seen if not n.startswith(OURS)), *module_names(graph)]
    if twin not in graph:
        raise BadRequest(f"the model has no layer {name!r}{nearest(name, names)}")
    value = graph[twin if name not in graph else name]
    held = "" if value.dtype is None or is_float(value.dtype) else f"holds {value.dtype} and "
    raise BadRequest(
        f"layer {name!r} of shape {list(value.shape or ())} {held}is no feature map "
        f"(N, C, H, W), (N, H, W, C) or (N, patches, C){nearest(name, names)}"
    )


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
    return graph.twins.get(name, name) in views(graph)


def views(graph: Graph) -> dict[str, View]:
    """Every feature map of the graph by name, in order, and how it is seen."""
    axes = channel_axes(graph)
    batch = (graph[graph.inputs[0]].shape or (None,))[0] if graph.inputs else None
    image = _sides(graph, graph.inputs[0], axes) if graph.inputs else None
    found: dict[str, View] = {}
    grids: dict[str, tuple[int, int]] = {}  # the finest grid that tokens can lie on, by value
    for name in graph.inputs:  # pixels may be whole numbers
        if _is_picture(graph, name, axes, whole=True):
            found[name] = View(axes[name])
    for node in graph.nodes:
        behind = next((grids[i] for i in reads(node) if i in grids), None)
        for name in filter(None, node.output):
            if _is_picture(graph, name, axes) and _same_batch(graph, name, batch):
                found[name] = View(axes[name])
                behind = _grid(graph, name, axes, image) or behind
            elif _same_batch(graph, name, batch) and (view := _tokens(graph, name, axes, behind)):
                found[name] = view
            if behind is not None:
                grids[name] = behind
    return found


def _is_picture(graph: Graph, name: str, axes: dict[str, int], whole: bool = False) -> bool:
    """True for floats (or `whole` numbers) of rank 4, a known axis of channels and more than one pixel."""
    sides = _sides(graph, name, axes)
    dtype = graph[name].dtype
    return sides is not None and any(s != 1 for s in sides) and (whole or dtype is None or is_float(dtype))


def _sides(graph: Graph, name: str, axes: dict[str, int]) -> tuple[int | str | None, ...] | None:
    """Height and width of a value of rank 4."""
    shape = graph[name].shape or ()
    if len(shape) != 4 or name not in axes:
        return None
    return tuple(d for i, d in enumerate(shape) if i not in (0, axes[name]))


def _grid(graph: Graph, name: str, axes: dict[str, int], image: Any) -> tuple[int, int] | None:
    """Height and width of a feature map, for the tokens made of it; None for the size of the image."""
    match _sides(graph, name, axes):
        case (int(h), int(w)) if (h, w) != image:
            return h, w
    return None


def _same_batch(graph: Graph, name: str, batch: int | str | None) -> bool:
    """False for what has windows or regions, and not images, along its first axis."""
    first = (graph[name].shape or (None,))[0]
    return first == batch or isinstance(first, str) or first is None


def _tokens(graph: Graph, name: str, axes: dict[str, int], grid: tuple[int, int] | None) -> View | None:
    """How tokens (N, T, D) or (N, D, T) lie on the grid that they come from, or else on a square one."""
    shape, dtype = graph[name].shape or (), graph[name].dtype
    if len(shape) != 3 or name not in axes or dtype is None or not is_float(dtype):
        return None
    count = shape[3 - axes[name]] if axes[name] else None
    if not isinstance(count, int) or count < 4:
        return None
    if grid is not None:
        extra = count - grid[0] * grid[1]
        return View(axes[name], grid, extra) if 0 <= extra <= MAX_EXTRA else None
    for extra in (0, 1, 2, 5):
        side = isqrt(count - extra)
        if side**2 == count - extra > 1:
            return View(axes[name], (side, side), extra)
    return None
