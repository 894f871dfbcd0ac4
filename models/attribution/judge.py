"""Metrics for what a method finds in photos: from an Attribution to numbers that say how good it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from ...engine.attribution.compile import compiled
from ...engine.attribution.compiled import Compiled, Explanation, meant
from ...engine.attribution.methods import options_given
from ...engine.attribution.perturbation.asked import Asked
from ...engine.errors import BadRequest
from ...engine.metrics.judged import Heat, Judged
from ...engine.metrics.metrics import metric_named
from ...engine.metrics.twins import STAGES, randomised
from ...engine.tones import strength
from ..maps.attribution import Attribution
from .attribute import Attributor, intake


class Judge:
    """Metrics of the maps of one Attributor; `metrics` are names of METRICS. With a `fill`, pixels are hidden
    under that, whatever a metric hides them under.

    Raises BadRequest for a metric that is not there, and for one that needs the probability of a class where
    what is explained is none.
    """

    def __init__(self, attributor: Attributor, metrics: Sequence[str], fill: str | None = None):
        self.metrics = [metric_named(name) for name in dict.fromkeys(metrics)]
        self.attributor, self.lens, self._fill = attributor, attributor.lens, fill
        asks = [m.name for m in self.metrics if m.needs in ("answers", "maps")]
        if asks and not self.lens.has_classes:
            raise BadRequest(
                f"{asks[0]} asks for the probability of a class, and this model answers with none"
            )
        if asks and attributor.of_things:
            raise BadRequest(f"{asks[0]} asks for the probability of a class: leave it or the target out")

    def __call__(
        self, image: np.ndarray, found: Attribution, mask: np.ndarray | None = None
    ) -> dict[str, float | None]:
        """The numbers by the names of the metrics; None for those that cannot be told, all of a map with a
        problem. `image` is the model's input (C, h, w) or (h, w, C), `mask` (h, w) bool lies on its pixels.
        """
        if found.problem:
            return {metric.name: None for metric in self.metrics}
        judged = self._judged(image, found, mask)
        return {metric.name: _finite(metric.compute(judged)) for metric in self.metrics}

    def _judged(self, image: np.ndarray, found: Attribution, mask: np.ndarray | None) -> Judged:
        network, target = self.lens.network, -1 if found.target is None else found.target.index
        asked = Asked(network, None, image, [target], intake(self.lens))
        whole = found.extras.get("completeness", {})
        return Judged(
            heat=self._on_input(found.map, found.at),
            image=image,
            last=asked.intake.last,
            through=lambda masks, fill: asked.through(masks, self._fill or fill)[:, 0],
            answers=lambda images: asked.of(images)[:, 0],
            again=lambda other: self._heat(self.attributor.compiled, other, target, found.at),
            other=lambda: self._next(asked, image, target, found.at),
            twins=lambda: self._of_twins(image, target, found.at),
            passes=lambda: self._passes(image, target),
            mask=mask,
            sum=whole.get("sum"),
            rise=whole.get("rise"),
        )

    def _on_input(self, values: np.ndarray, at: str) -> Heat:
        """A map on the pixels of the input; what it is not of has its least value."""
        place = self.lens.placement(at, None, self.attributor.convention)
        return place.spread(values[None], self.lens.preprocess.size, float(values.min()))[0]

    def _heat(self, method: Compiled, image: np.ndarray, target: int, at: str) -> Heat:
        """The map that a compiled method makes of an image; zeros where it shows nothing."""
        (every,) = method.explained(image[None], [target])
        found = next(e for e in every if e.at == at)
        return self._on_input(self._map(found), at)

    def _map(self, found: Explanation) -> np.ndarray:
        values = np.nan_to_num(found.values, posinf=0, neginf=0)
        if values.ndim == 2:
            return values
        return strength(values if self.lens.preprocess.layout == "nhwc" else np.moveaxis(values, 0, -1))

    def _next(self, asked: Asked, image: np.ndarray, target: int, at: str) -> Heat | None:
        """The map of the most probable class that is another one."""
        others = [c for c in meant([-2], asked.answers(asked.clean)[0]) if c != target]
        return self._heat(self.attributor.compiled, image, others[0], at) if others else None

    def _of_twins(self, image: np.ndarray, target: int, at: str) -> list[Heat]:
        """The maps by models with random weights, but for those that show nothing: they tell nothing."""
        heats = (self._heat(twin, image, target, at) for twin in self._twins)
        return [heat for heat in heats if np.ptp(heat)]

    def _passes(self, image: np.ndarray, target: int) -> float:
        """How long the method takes over how long the model's answer takes, each once more."""
        feeds, answer = (
            {self.lens.input: np.repeat(image[None], self.lens.batch, 0)},
            [self.lens.readout.value],
        )
        alone: Callable[[], object] = lambda: self.lens.network.run(feeds, answer)
        alone()
        taken = [_seconds(alone) for _ in range(3)]
        return _seconds(lambda: self.attributor.compiled.explained(image[None], [target])) / sorted(taken)[1]

    @cached_property
    def _twins(self) -> Sequence[Compiled]:
        """The method for models with random weights."""
        made, network = self.attributor, self.lens.network
        layer = None if not made.layers else made.layers[0]
        options = options_given(made.method, made.options)
        return [
            compiled(randomised(network, share), made.method, layer, options, intake(self.lens))
            for share in STAGES
        ]


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
