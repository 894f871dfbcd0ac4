"""One network and one objective, climbed at any size of image: whole where that goes, else in windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...engine.autodiff.blocks import not_real
from ...engine.autodiff.gradient import inside
from ...engine.canonical.canonical import canonical
from ...engine.canonical.resized import freed
from ...engine.dreams.dream import (
    Climb,
    Priors,
    Shape,
    gradient_graph,
    pixel_step,
    spectrum_step,
    update_graph,
)
from ...engine.dreams.objective import objective, parse
from ...engine.dreams.tiles import tiled
from ...engine.errors import BadModel, BadRequest, CannotRun
from ...engine.graph.file import read_model
from ...engine.graph.graph import Graph, Tensor, op
from ...engine.graph.types import is_float
from ...engine.runtime.session import Session
from ..network.inputs import with_inputs
from ..network.vision_model import VisionModel
from ..photos.bands import mix_of
from ..photos.preprocess import Preprocess

WHOLE = 2**20  # pixels of a batch that go through a network at once; beyond that, windows bound the memory
_GREY = (0.299, 0.587, 0.114)  # as OpenCV weighs colours

PixelStep = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Ascent:
    """Steps of ascent for a lens and an objective, compiled once for each size of picture.

    Parameters
    ----------
    lens
        The model.
    text
        The objective, a sum of terms such as "channel(conv4, 12) + 0.2*class(cat)"
        (engine/dreams/objective.py).
    vectors
        What direction() and guide() name, arrays by name.
    priors
        A blur of the gradient and a pull towards smooth pictures; none by default.

    Raises
    ------
    BadRequest
        For an objective that the model does not have.

    Examples
    --------
    >>> lens = onnxlens.Lens("scenes")
    >>> onnxlens.Ascent(lens, "channel(relu4, 12) + 0.2*class(cat)").text
    'channel(relu4, 12) + 0.2*class(cat)'
    """

    def __init__(
        self,
        lens: VisionModel,
        text: str,
        vectors: Mapping[str, np.ndarray] | None = None,
        priors: Priors | None = None,
    ):
        self.lens, self.text, self.priors = lens, text, priors or Priors()
        image = inside(lens.network.graph, lens.input)
        if image.dtype is None or not is_float(image.dtype):
            raise BadRequest(not_real(image, lens.input))
        self._climb = Climb(
            lens.input,
            entry=lambda pixels: entered(pixels, lens.preprocess),
            aim=lambda graph: objective(graph, text, lens.wish, vectors or {}),
        )
        self._climb.aim(lens.network.graph.copy())
        parts = parse(text)
        self._layers = [p.arguments[0] for p in parts]
        if any(p.name in ("class", "odds") for p in parts):
            self._layers = []
        self._together = any(p.name == "diversity" for p in parts)
        self._free = None
        self._steps: dict[tuple[object, ...], PixelStep] = {}

    def pixel_step(self, shape: Shape, rate: float) -> PixelStep:
        """The step for images of a shape (N, 3, H, W): pixels and an offset to pixels and values (N,)."""
        key = (*shape, rate)
        if key not in self._steps:
            self._steps[key] = self._whole_step(shape, rate) or self._tiled_step(shape, rate)
        return self._steps[key]

    def spectrum_session(self, count: int, rate: float) -> tuple[Session, int]:
        """The step on spectra (engine/dreams/) at the network's own size, and how many images it takes.

        That is `count` if possible, and what the file says where it says it. Raises BadRequest where images
        are to differ and do not go through the network together.
        """
        h, w = self.lens.preprocess.size
        fixed = self._own_shape()[0]
        group = count if self._together else min(count, max(1, WHOLE // (h * w)))
        for n in (group, fixed):
            shape = (int(n or 1), 3, h, w) if isinstance(n, int) else (1, 3, h, w)
            session = self._compiled(
                shape, lambda graph, shape=shape: spectrum_step(graph, self._climb, shape, self.priors, rate)
            )
            if session is not None and (shape[0] >= count or not self._together):
                return session, shape[0]
        raise BadRequest(f"diversity needs a batch of {count}, and this model takes {fixed} at a time")

    def _whole_step(self, shape: Shape, rate: float) -> PixelStep | None:
        if shape[0] * shape[2] * shape[3] > WHOLE:
            return None
        return self._step_by_kernel(shape, rate) if self.priors == Priors() else self._step(shape, rate)

    def _step_by_kernel(self, shape: Shape, rate: float) -> PixelStep | None:
        """The same step with all but the gradient by a kernel: the graph has many passes over the pixels."""
        from ...kernels.climb import climb  # a kernel takes a while to load, and most commands never dream

        def build(graph: Graph) -> Graph:
            return gradient_graph(graph, self._climb, shape)

        session = self._compiled(shape, build)
        if session is None:
            return None

        def step(pixels: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = session({"pixels": np.roll(pixels, offset, (2, 3))})
            return climb(pixels, found["gradient"], offset, rate), found["value"]

        return step

    def _step(self, shape: Shape, rate: float) -> PixelStep | None:
        def build(graph: Graph) -> Graph:
            return pixel_step(graph, self._climb, shape, self.priors, rate)

        session = self._compiled(shape, build)
        if session is None:
            return None

        def step(pixels: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = session({"pixels": pixels, "offset": offset})
            return found["next"], found["value"]

        return step

    def _tiled_step(self, shape: Shape, rate: float) -> PixelStep:
        """The same step, its gradient gathered in windows; images one by one where the batch is fixed."""
        window = self.lens.preprocess.size
        fixed = self._own_shape()[0]
        count = fixed if isinstance(fixed, int) else shape[0]
        if isinstance(fixed, int) and self._together and shape[0] > 1:
            raise BadRequest(f"diversity needs a batch of {shape[0]}, and this model takes {fixed} at a time")
        small = (count, 3, *window)
        graph = gradient_graph(self.lens.network.graph, self._climb, small)
        session = self.lens.network.compile(graph)
        update = self.lens.network.compile(update_graph(shape, self.priors, rate))

        def slope(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = session({"pixels": windows})
            return found["gradient"], found["value"]

        def one_by_one(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pairs = [slope(np.repeat(w[None], count, 0)) for w in windows]
            return np.stack([g[0] for g, _ in pairs]), np.array([v[0] for _, v in pairs])

        def step(pixels: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            g, value = tiled(pixels, window, offset, slope if count == shape[0] else one_by_one)
            return update({"pixels": pixels, "gradient": g})["next"], value

        return step

    def _compiled(self, shape: Shape, build: Callable[[Graph], Graph]) -> Session | None:
        """A step on the network for images of a shape; None where network or objective does not fit that.

        Some graphs find that out only when they run, so a step on nothing is taken.
        """
        own = self._own_shape()
        h, w = self.lens.preprocess.size
        if shape[2:] == (h, w) and (not isinstance(own[0], int) or own[0] == shape[0]):
            return self.lens.network.compile(build(self.lens.network.graph))
        self._free = self._free or freed(
            with_inputs(read_model(self.lens.path), self.lens.inputs), self._layers
        )
        try:
            graph = canonical(self._free, {self.lens.input: self._bound(shape)})
            graph.head = self.lens.network.graph.head
            graph = build(graph)
            session = self.lens.network.compile(graph)
            session({i: _zeros(graph[i]) for i in graph.inputs})
        except (BadModel, BadRequest, CannotRun):  # an operator of one size, a neuron that is not there
            return None
        return session

    def _own_shape(self) -> tuple[int | str | None, ...]:
        return self.lens.network.inputs[self.lens.input].shape or ()

    def _bound(self, shape: Shape) -> tuple[int, ...]:
        """The shape of the model's input for images of a shape."""
        channels = self.lens.preprocess.count
        count, _, h, w = shape
        return (count, channels, h, w) if self.lens.preprocess.layout == "nchw" else (count, h, w, channels)


def _zeros(value: Tensor) -> np.ndarray:
    return np.zeros([d for d in value.shape or () if isinstance(d, int)], value.dtype)


def entered(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """Pixels (N, 3, h, w) RGB, 0 to 255, as the model's input: Preprocess after its fit, as an expression."""
    mixes = {"rgb": np.eye(3), "bgr": np.eye(3)[::-1], "grey": np.array([_GREY]), "rgba": np.eye(4, 3)}
    mix = mixes[preprocess.channels] if isinstance(preprocess.channels, str) else mix_of(preprocess.count)
    mean, std = (np.broadcast_to(np.asarray(v), len(mix)) for v in (preprocess.mean, preprocess.std))
    weight = (mix * preprocess.scale / std[:, None])[:, :, None, None]
    constant = pixels.graph.constant
    opaque = 255 * preprocess.scale * (np.arange(len(mix)) == 3)  # the fourth channel, where there is one
    bias = (opaque - mean) / std
    x = op.Conv(pixels, constant(weight.astype(np.float32)), constant(bias.astype(np.float32)))
    return x if preprocess.layout == "nchw" else op.Transpose(x, perm=[0, 2, 3, 1])
