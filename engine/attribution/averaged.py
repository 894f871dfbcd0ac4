"""A method of path.py compiled for one layer of one network: gradients at many inputs, added up."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from math import prod
from typing import Any

import numpy as np

from ..runtime.ahead import ahead, cores
from ..runtime.network import Network
from .compiled import Compiled, Explanation, Intake, filled
from .methods import method_named, options_given, options_of
from .path import Given, Step
from .projector import STRONGEST, Projector, shows_nothing

MAX_HELD = 54_000_000  # numbers that all inputs under way make: the backward pass holds about half of them
BATCH_ON_GPU = 64
Gradients = Iterator[tuple[Step, np.ndarray]]  # each step with the gradient at its input


class Averaged(Projector):
    """A method of the family of paths, for one layer; is called and answers as a Projector does.

    A few of its inputs are under way at once. The unit is chosen on the image itself. Baselines are inputs
    without their batch axis, arrays, or names of what `intake` can fill with: zero, the mean image of the
    usual preprocessings, where it does not say otherwise.

    Of a method that has baselines, `extras` hold the "completeness": the "rise" of the unit's value from
    their mean value to the image, and the "sum" of the map, which differs from it by what finitely many
    steps leave.

    Raises BadRequest as a Projector does, for a baseline of another shape and for options that are none.
    """

    stands = False
    asking = Compiled.asking  # each gradient is taken at an input of its own: no forward pass is shared

    def __init__(
        self,
        network: Network,
        method: str = "integrated",
        layer: str | None = None,
        intake: Intake | None = None,
        **options: Any,
    ):
        record = method_named(method, ("path",))
        self._path, self._options = record.compute, options_given(record, options)
        self._blank = record.blank
        self._fills = [name for name, field in options_of(record).items() if field.option.fill]
        self._workers, threads = (1, network.threads) if self._path.found else shared_out(network)
        super().__init__(network, "saliency", layer, threads, intake=intake)
        self.method = method
        self._most = self.batch or (1 if network.provider == "cpu" else BATCH_ON_GPU)

    def __call__(
        self,
        feeds: Mapping[str, np.ndarray],
        channels: int | Sequence[int] = STRONGEST,
        positions: tuple[int, int] | Sequence[tuple[int, int]] | None = None,
    ) -> list[Explanation]:
        """One signal for each image of a batch, one image after the other. As a Projector's."""
        found: list[Explanation] = []
        units = self.once(feeds, channels, positions)
        images = feeds[self.images]
        for i, unit in enumerate(units):
            if i and _same_unit(found[-1], unit) and np.array_equal(images[i], images[i - 1]):
                found.append(found[-1])  # a batch of fixed size is filled with copies
            else:
                alone = {name: x[i : i + 1] if np.ndim(x) else x for name, x in feeds.items()}
                found.append(self._averaged(alone, unit))
        return found

    def first(self, feeds: Mapping[str, np.ndarray]) -> list[Explanation]:
        """The predicted class of each image and the model's output, with the plain gradient."""
        return self.once(feeds)

    def _averaged(self, feeds: Mapping[str, np.ndarray], unit: Explanation) -> Explanation:
        image, options = np.asarray(feeds[self.images][0], np.float32), self._options
        fills = [b for name in self._fills for b in filled(self.intake, image, getattr(options, name))]
        given = Given(image, fills, self.intake.last)

        def gradients(part: list[Step]) -> Gradients:
            found = self._of([step.input for step in part], feeds, unit)
            return ((step, e.values) for step, e in zip(part, found, strict=True))

        steps = self._path.steps(given, options)
        if self._path.found:
            whole = followed(steps, lambda x: self._of([x], feeds, unit)[0].values)
        else:
            parts = iter(lambda: list(islice(steps, self._most)), [])
            whole = MOMENTS[self._path.moment](chain.from_iterable(ahead(gradients, parts, self._workers)))
        starts = [e.score for b in self._path.begin(given, options) for e in self._of([b], feeds, unit)]
        if not starts:
            return self._with(unit, whole)
        rise = unit.score - sum(starts) / len(starts)
        completeness = {"sum": float(whole.sum()), "rise": rise}
        return replace(self._with(unit, whole), extras={"completeness": completeness})

    def _of(
        self, inputs: Sequence[np.ndarray], feeds: Mapping[str, np.ndarray], unit: Explanation
    ) -> list[Explanation]:
        """The gradients of one unit at some inputs; a batch of fixed size is filled with the last."""
        size = self.batch or len(inputs)
        images = np.stack([*inputs, *[inputs[-1]] * (size - len(inputs))])
        others = {name: np.repeat(x, size, 0) if np.ndim(x) else x for name, x in feeds.items()}
        return self.once({**others, self.images: images}, unit.target, unit.position)[: len(inputs)]

    def _with(self, unit: Explanation, whole: np.ndarray) -> Explanation:
        values = whole.astype(np.float32)
        nothing = np.isfinite(values).all() and not values.any()
        problem = self._blank if nothing and self._blank else shows_nothing(values, unit.score)
        return replace(unit, values=values, problem=problem)


def followed(
    path: Generator[np.ndarray, np.ndarray, np.ndarray], gradient: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The map of a path that is found on the way: it is sent the gradient at each input before the next."""
    try:
        x = next(path)
        while True:
            x = path.send(gradient(x))
    except StopIteration as end:
        return end.value


def added(gradients: Gradients) -> np.ndarray:
    """The sum of gradients by the weights of their steps, times their directions, float64 of one's shape.

    Steps of one direction are added up before they are multiplied with it.
    """
    whole = mean = along = None
    for step, gradient in gradients:
        if mean is None or step.along is not along:
            whole = _plus(whole, mean, along)
            mean, along = np.zeros(gradient.shape), step.along
        mean += step.weight * gradient
    whole = _plus(whole, mean, along)
    assert whole is not None
    return whole


def _plus(whole: np.ndarray | None, mean: np.ndarray | None, along: np.ndarray | None) -> np.ndarray | None:
    """What is added up so far and a mean gradient times its direction; None where there is neither."""
    if mean is None:
        return whole
    part = mean if along is None else mean * along
    return part if whole is None else whole + part


def spread(gradients: Gradients) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the variance of gradients by the weights of their steps, float64 of one's shape.

    They are followed from one gradient to the next (West 1979, "Updating Mean and Variance Estimates"): the
    variance of gradients that are all the same is zero, and none is below.
    """
    weight, mean, squares = 0.0, np.zeros(()), np.zeros(())
    for step, gradient in gradients:
        weight += step.weight
        off = gradient - mean
        mean = mean + off * (step.weight / weight)
        squares = squares + step.weight * off * (gradient - mean)
    return mean, squares / weight


def variance(gradients: Gradients) -> np.ndarray:
    """The variance of gradients by the weights of their steps."""
    return spread(gradients)[1]


def square(gradients: Gradients) -> np.ndarray:
    """The mean square of gradients by the weights of their steps."""
    mean, around = spread(gradients)
    return around + mean**2


MOMENTS: dict[str, Callable[[Gradients], np.ndarray]] = {
    "mean": added,
    "square": square,
    "variance": variance,
}


def shared_out(network: Network) -> tuple[int, int | None]:
    """How many inputs are under way at once, each on its own, and on how many threads each of them.

    On a CPU those that need not wait for each other are 1.1 to 1.3 times as soon as threads that share each
    operator, and a batch for each is no faster. Their number is bounded by MAX_HELD; open sizes count as one.
    """
    if network.provider != "cpu":
        return 1, None
    graph, threads = network.graph, network.threads or cores()
    shapes = (graph[o].shape or () for n in graph.nodes for o in n.output if o)
    numbers = sum(prod(d for d in shape if isinstance(d, int)) for shape in shapes)
    workers = max(1, min(threads, MAX_HELD // max(1, numbers)))
    return workers, threads // workers if workers > 1 else network.threads


def _same_unit(a: Explanation, b: Explanation) -> bool:
    return (a.target, a.position) == (b.target, b.position)
