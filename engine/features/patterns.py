"""The input pattern that each output of a layer answers to, if the network were linear up to there.

    pattern(k) = d y_k / d x        of the network with every activation replaced by the identity
                                    and every max-pooling by an average

For a first convolution this is the kernel itself. For a second one it is the sum of the first kernels,
weighted and shifted by the second - how Lee, Ekanadham & Ng 2008, "Sparse deep belief net model for visual
area V2", and Erhan et al. 2009, "Visualizing Higher-Layer Features of a Deep Network", show the units
behind the first layer. What the nonlinearities choose between is not in it, so it says less the deeper
the layer lies.

A pattern is as large as what the unit sees, not as the image: where a network does the same everywhere, it is
computed on the smallest image whose borders the pattern does not touch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..anatomy.maps import View, views
from ..autodiff.gradient import backpropagate, inside
from ..canonical.resized import rebound
from ..errors import BadModel, BadRequest
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import reads
from ..operators.rules import VJP
from ..operators.rules.pooling import average_pool
from ..operators.traits import having
from ..runtime.network import Network
from ..runtime.session import Session
from .borders import sees_no_border

MAX_AT_ONCE = 8  # patterns of one run, at most
MAX_BYTES = 100 << 20  # bytes that the values of a run hold at once; the runtime takes about twice that
SIDES = (128, 256, 512)  # pixels of smaller images that are tried


def _identity(g: Tensor, *_: Tensor | None) -> Tensor:
    return g


def _mean(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Tensor:
    return average_pool(g, y, x, kernel_shape, strides, pads, dilations)


LINEAR = VJP | dict.fromkeys(having(lambda t: t.activates), _identity) | {"MaxPool": _mean}


@dataclass(frozen=True)
class _Backward:
    """From weights of a layer's outputs (`batch`, `count`) to the gradient of their sum by the image."""

    session: Session
    feeds: dict[str, np.ndarray]
    seed: str
    gradient: str
    batch: int
    count: int

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Weights (n, count), n up to the batch, to gradients (n, C, h, w) float32."""
        seed = np.concatenate([weights, np.zeros((self.batch - len(weights), self.count))])
        found = self.session({**self.feeds, self.seed: seed})[self.gradient]
        return found[: len(weights)].astype(np.float32)


def patterns(network: Network, layer: str, outputs: Sequence[int]) -> Iterator[np.ndarray]:
    """The patterns of a layer's outputs, one by one: (C, h, w) float32, in the values that the model takes.

    `layer` is a feature map, of which the position in the middle is taken, or a vector (N, K). They are cut
    to what any of them sees of the input. The gradient is taken at an input of zeros, where it depends
    on the input at all (a normalisation over the features). Raises BadRequest where the model takes no
    image, the layer is neither, a size is not known or it would take much memory, and NoRule for an
    operator without a gradient.
    """
    graph = network.graph
    image = _image(graph)
    back = _backward(network, _smallest(graph, image, layer), image, layer)
    if back is None:
        return (np.zeros((1, 1, 1), np.float32) for _ in outputs)
    return _each(back, outputs)


def _each(back: _Backward, outputs: Sequence[int]) -> Iterator[np.ndarray]:
    window = _reached(back, outputs)
    for start in range(0, len(outputs), back.batch):
        some = outputs[start : start + back.batch]
        weights = np.zeros((len(some), back.count), np.float32)
        weights[np.arange(len(some)), list(some)] = 1
        yield from (found[:, *window].copy() for found in back(weights))


def _image(graph: Graph) -> str:
    """The input that is an image."""
    seen = views(graph)
    for name in graph.pictured:
        if name in seen and (graph[name].shape or ())[seen[name].channels] in (1, 3):
            return name
    raise BadRequest("the model takes no image that a pattern could be shown in")


def _smallest(graph: Graph, image: str, layer: str) -> Graph:
    """The network on the smallest of SIDES on which the unit in the middle sees no border, else as it is."""
    shape, value = list(graph[image].shape or ()), inside(graph, layer).name
    channels = views(graph)[image].channels
    for side in SIDES:
        sizes = [min(d, side) if isinstance(d, int) and a != channels else d for a, d in enumerate(shape)]
        if sizes[1:] == shape[1:]:
            break
        try:
            smaller = rebound(graph, image, ["images", *sizes[1:]], value)
        except BadModel:  # a constant is as large as its map
            break
        if sees_no_border(smaller, image, value):
            return smaller
    return graph


def _backward(network: Network, graph: Graph, image: str, layer: str) -> _Backward | None:
    """The backward pass from a layer to the image, None where nothing leads there. Raises as `patterns`."""
    graph = graph.copy()
    seen = views(graph)
    batch, *sizes = graph[image].shape or (None,)
    value = inside(graph, layer)
    middle = _middle(value, seen.get(value.name), batch)
    count = (middle.shape or (None, None))[-1]
    if not isinstance(count, int) or not all(isinstance(d, int) for d in sizes):
        raise BadRequest(f"a size of the input or of layer {layer!r} is not known; say --size HEIGHTxWIDTH")
    seed = graph.input(graph.unused("seed"), middle.dtype, [batch, count])
    (grad,) = backpropagate(graph, {middle.name: seed}, [inside(graph, image).name], LINEAR)
    if grad is None:
        return None
    grad = seen[image](grad)
    held = _held(graph, grad.name)
    if held > MAX_BYTES:
        raise BadRequest(
            f"it would take {held >> 20} MB at this size of image; `onnxlens dream` shows what it answers to"
        )
    together = batch if isinstance(batch, int) else max(1, min(MAX_AT_ONCE, MAX_BYTES // max(held, 1)))
    session = network.compile(graph, [grad.name])
    feeds = {n: _blank(graph[n], together) for n in graph.pictured if n != seed.name}
    return _Backward(session, feeds, seed.name, grad.name, together, count)


def _blank(value: Tensor, batch: int) -> np.ndarray:
    """An input that says nothing: zeros, of the batch where its first size is open."""
    sizes = [d if isinstance(d, int) else batch if i == 0 else 1 for i, d in enumerate(value.shape or ())]
    return np.zeros(sizes, value.dtype)


def _held(graph: Graph, wanted: str) -> int:
    """The bytes of the values that are held at once, at most, on the way to one; an open size counts 1."""

    def size(name: str) -> int:
        value = Tensor(graph, name)
        known = [d for d in value.shape or () if isinstance(d, int)]
        return int(np.prod(known, dtype=np.int64)) * (value.dtype.itemsize if value.dtype else 0)

    nodes = graph.ancestors([wanted])
    last = {
        name: i for i, node in enumerate(nodes) for name in reads(node) if graph.producer(name) is not None
    }
    held = most = 0
    for i, node in enumerate(nodes):
        held += sum(size(o) for o in node.output if o)
        most = max(most, held)
        held -= sum(size(name) for name in reads(node) if last.get(name) == i)
    return most


def _middle(value: Tensor, view: View | None, batch: int | str | None) -> Tensor:
    """The outputs in the middle of a feature map, or a vector as it is: (N, K)."""
    if view is None:
        first, *rest = value.shape or (None,)
        if not rest or any(d != 1 for d in rest[1:]):
            raise BadRequest(
                f"layer {value.name!r} of shape {list(value.shape or ())} is no feature map and no vector"
            )
        if first != batch and isinstance(first, int):
            raise BadRequest(
                f"layer {value.name!r} has {first} rows, of tokens or windows, for {batch} images"
            )
        return op.Flatten(value)
    maps = view(value)
    if maps.spatial is None:
        raise BadRequest(f"the size of layer {value.name!r} is not known; say --size HEIGHTxWIDTH")
    h, w = maps.spatial
    return op.Gather(op.Reshape(maps, [0, 0, -1]), h // 2 * w + w // 2, axis=2)


def _reached(back: _Backward, outputs: Sequence[int]) -> tuple[slice, slice]:
    """The smallest window of the image that holds all that any of the outputs sees."""
    weights = np.zeros((1, back.count), np.float32)
    weights[0, list(outputs)] = np.random.default_rng(0).uniform(1, 2, len(outputs))
    seen = back(weights)[0] != 0
    rows, columns = (np.flatnonzero(seen.any(axes)) for axes in ((0, 2), (0, 1)))
    if not rows.size:
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
