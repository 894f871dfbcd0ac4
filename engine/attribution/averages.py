"""Gradients averaged over many inputs: along the way from a baseline to an image, or around the image.

A method is what it looks at: inputs, each with its weight. To add one, add a line to AVERAGES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from math import prod

import numpy as np

from ..errors import BadRequest, nearest
from ..runtime.ahead import ahead, cores
from ..runtime.network import Network
from .projector import STRONGEST, Projector, Signal, shows_nothing

STEPS = 50  # as in both papers
HELD = 54_000_000  # numbers that all inputs under way make: the way back holds on to about half of them
BATCH_ON_GPU = 64
NOISE = 0.15  # standard deviation over the range of the image: Smilkov et al. 2017, section 4
SEED = 0

Weighted = Iterator[tuple[float, np.ndarray]]


def straight(image: np.ndarray, baseline: np.ndarray, steps: int) -> Weighted:
    """The inputs between a baseline and an image, at the nodes of Gauss and Legendre, with their weights.

    Both, and what comes, are of the shape of one image, float32; the weights sum to 1.
    Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks", section 5. The integral is exact
    for networks that are polynomials of degree 2 · steps - 1 along the way, and needs neither end.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        yield float(weight), baseline + np.float32(node) * (image - baseline)


def noisy(image: np.ndarray, baseline: np.ndarray, steps: int) -> Weighted:
    """The image with noise, the same in every run, `steps` times; shapes and weights as of `straight`.

    Smilkov et al. 2017, "SmoothGrad", section 3.
    """
    rng, size = np.random.default_rng(SEED), np.float32(NOISE * np.ptp(image))
    for _ in range(steps):
        yield 1 / steps, image + size * rng.standard_normal(image.shape, np.float32)


AVERAGES: dict[str, Callable[[np.ndarray, np.ndarray, int], Weighted]] = {
    "integrated": straight,
    "smoothgrad": noisy,
}


class Averaged(Projector):
    """A method of AVERAGES for one layer; is called and gives signals as a Projector does.

    `baseline`, for "integrated": an input without its batch axis in which there is nothing to see; zero, the
    mean image of the usual preprocessings, by default. `steps`: at how many inputs the gradient is taken, a
    few of them under way at once. The unit is chosen on the image itself.

    The signal of "integrated" is (image - baseline) times the mean gradient: it sums to the `rise` of the
    unit's value from the baseline to the image, but for the `gap` that finitely many steps leave.

    Raises BadRequest as a Projector does, for a baseline of another shape and for less than one step.
    """

    def __init__(
        self,
        network: Network,
        method: str = "integrated",
        layer: str | None = None,
        baseline: np.ndarray | None = None,
        steps: int = STEPS,
    ):
        if method not in AVERAGES:
            raise BadRequest(f"there is no method {method!r}{nearest(method, AVERAGES)}")
        if steps < 1:
            raise BadRequest(f"at least 1 step, not {steps}")
        self._workers, threads = shared_out(network)
        super().__init__(network, "saliency", layer, threads)
        self.method, self.steps, self._baseline = method, steps, baseline
        self._most = self.batch or (1 if network.provider == "cpu" else BATCH_ON_GPU)

    def __call__(
        self,
        feeds: Mapping[str, np.ndarray],
        channels: int | Sequence[int] = STRONGEST,
        positions: tuple[int, int] | Sequence[tuple[int, int]] | None = None,
    ) -> list[Signal]:
        """One signal for each image of a batch, one image after the other. As a Projector's."""
        found: list[Signal] = []
        units = self.once(feeds, channels, positions)
        images = feeds[self.images]
        for i, unit in enumerate(units):
            if i and _same_unit(found[-1], unit) and np.array_equal(images[i], images[i - 1]):
                found.append(found[-1])  # a batch of fixed size is filled with copies
            else:
                alone = {name: x[i : i + 1] if np.ndim(x) else x for name, x in feeds.items()}
                found.append(self._averaged(alone, unit))
        return found

    def _averaged(self, feeds: Mapping[str, np.ndarray], unit: Signal) -> Signal:
        image = np.asarray(feeds[self.images][0], np.float32)
        baseline = np.zeros_like(image) if self._baseline is None else self._baseline
        if baseline.shape != image.shape:
            raise BadRequest(f"a baseline of {baseline.shape} is none for an image of {image.shape}")
        mean = np.zeros(image.shape)
        points = AVERAGES[self.method](image, baseline, self.steps)

        def gradients(part: list[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
            signals = self._of([x for _, x in part], feeds, unit)
            return ((weight, signal.array) for (weight, _), signal in zip(part, signals, strict=True))

        parts = iter(lambda: list(islice(points, self._most)), [])
        for weight, gradient in chain.from_iterable(ahead(gradients, parts, self._workers)):
            mean += weight * gradient
        if self.method != "integrated":
            return self._with(unit, mean)
        rise = unit.value - self._of([baseline], feeds, unit)[0].value
        whole = mean * (image - baseline)
        return replace(self._with(unit, whole), rise=rise, gap=float(whole.sum()) - rise)

    def _of(
        self, inputs: Sequence[np.ndarray], feeds: Mapping[str, np.ndarray], unit: Signal
    ) -> list[Signal]:
        """The gradients of one unit at some inputs; a batch of fixed size is filled with the last."""
        size = self.batch or len(inputs)
        images = np.stack([*inputs, *[inputs[-1]] * (size - len(inputs))])
        others = {name: np.repeat(x, size, 0) if np.ndim(x) else x for name, x in feeds.items()}
        return self.once({**others, self.images: images}, unit.channel, unit.position)[: len(inputs)]

    @staticmethod
    def _with(unit: Signal, array: np.ndarray) -> Signal:
        array = array.astype(np.float32)
        return replace(unit, array=array, problem=shows_nothing(array, unit.value))


def shared_out(network: Network) -> tuple[int, int | None]:
    """How many inputs are under way at once, each on its own, and on how many threads each of them.

    On a CPU those that need not wait for each other are 1.1 to 1.3 times as soon as threads that share each
    operator, and a batch for each is no sooner. Their number is bounded by HELD; open sizes count as one.
    """
    if network.provider != "cpu":
        return 1, None
    graph, threads = network.graph, network.threads or cores()
    shapes = (graph[o].shape or () for n in graph.nodes for o in n.output if o)
    numbers = sum(prod(d for d in shape if isinstance(d, int)) for shape in shapes)
    workers = max(1, min(threads, HELD // max(1, numbers)))
    return workers, threads // workers if workers > 1 else network.threads


def _same_unit(a: Signal, b: Signal) -> bool:
    return (a.channel, a.position) == (b.channel, b.position)
