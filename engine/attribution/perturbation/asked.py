"""What a method of hiding asks of a network: the answers for some classes, with parts of one image hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...anatomy.layers import checked_layer
from ...anatomy.readouts.classes import readout
from ...autodiff.gradient import inside
from ...errors import NoMap
from ...runtime.network import Network
from ..compiled import Compiled, Explanation, Intake, Progress, image_of, meant
from ..diagnose import sound
from ..method import Method
from .answerer import Answer, answerer_of, in_batches, summed_layer


class Maps(NamedTuple):
    """The maps of some classes (T, h, w) float32, in pixels of the input, and where a method knows it of each
    class why it shows nothing, or "", and what else there is to say.
    """

    values: np.ndarray
    problems: Sequence[str] = ()
    extras: Sequence[Mapping[str, Any]] = ()


class Asked:
    """An image (C, h, w) or (h, w, C) of a network, and the classes in question: what `wishes` mean for it.

    `progress` is called with how much is done, of how much. `at` is the layer that the maps are to lie on, of
    methods whose maps do.
    """

    def __init__(
        self,
        network: Network,
        layer: str | None,
        image: np.ndarray,
        wishes: Sequence[int],
        intake: Intake,
        progress: Progress | None = None,
        at: str = "",
    ):
        self.at = at
        self.network, self.layer, self.image, self.intake = network, layer, image, intake
        self.progress = progress or (lambda done, count: None)
        self._wishes = wishes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.intake.size

    @cached_property
    def clean(self) -> Answer:
        """The answer to the image as it is."""
        answerer = answerer_of(self.network, self.layer)
        feeds = {self.network.graph.pictured[0]: np.repeat(self.image[None], answerer.fixed or 1, 0)}
        return Answer(*(values[:1] for values in answerer.whole(self.network, feeds)))

    @cached_property
    def classes(self) -> list[int]:
        """The classes in question. Raises NoMap where the answer to the image is not a number."""
        return meant(self._wishes, self.answers(self.clean)[0])

    def answers(self, answer: Answer) -> np.ndarray:
        """What the network says of each class, (n, C). Raises NoMap where that is not a number."""
        return finite(readout(self.network.graph).answers(answer.output))

    def under(self, fill: str) -> np.ndarray:
        """What is seen where the image is hidden, of its shape."""
        return self.intake.fill(self.image[None], fill)[0]

    def of_classes(self, answer: Answer, raw: bool = False) -> np.ndarray:
        """What the network says of the classes in question, (n, T); `raw`: their scores before a softmax."""
        return (finite(answer.scores) if raw else self.answers(answer))[:, self.classes]

    def through(self, masks: np.ndarray, fill: str, raw: bool = False) -> np.ndarray:
        """What the network says of the classes, (n, T), with the image seen through masks (n, h, w).

        They are 1 where it is seen and 0 where a fill is. Images are made and answered a few at a time.
        `raw` as of `of_classes`.
        """
        image, under = self.image, self.under(fill)
        axis = 3 if self.intake.last else 1

        def write(some: np.ndarray, out: np.ndarray) -> None:
            shares = np.expand_dims(masks[some], axis)
            np.add(image * shares, under * (1 - shares), out=out)

        return self._written(write, len(masks), raw)

    def of(self, images: np.ndarray) -> np.ndarray:
        """The same for other images (n, ...) of the shape of this one."""
        return self._written(lambda some, out: np.copyto(out, images[some]), len(images))

    def _written(
        self, write: Callable[[np.ndarray, np.ndarray], object], count: int, raw: bool = False
    ) -> np.ndarray:
        """What the network says of the classes, (count, T), for images as in_batches has them written."""
        ask = in_batches(self.network, answerer_of(self.network, self.layer), self.image, write)
        return np.concatenate([self.of_classes(found, raw) for found in ask(np.arange(count))])

    def found_through(self, masks: np.ndarray, fill: str) -> np.ndarray:
        """How well each box in question is found again, (n, T), with the image seen through masks (n, h, w).

        Without boxes it is what the network says of the classes.
        """
        again = self.intake.again
        if again is None:
            return self.through(masks, fill)
        under, (name,) = self.under(fill), self.network.graph.pictured
        copies = answerer_of(self.network, self.layer).fixed or 1
        answers = []
        for mask in np.expand_dims(masks, 3 if self.intake.last else 1):
            seen = (self.image * mask + under * (1 - mask)).astype(np.float32)
            values = self.network.run({name: np.repeat(seen[None], copies, 0)}, again.values)
            answers.append(again.found(values)[self.classes])
        return finite(np.stack(answers))


class Perturbed(Compiled):
    """A method that hides parts of an image, or of a layer, for one network; see Compiled.

    `layer` is what a method looks at that takes one: its maps lie there, of several on each, or it is
    followed, and its feature maps are summed beside the answers. Raises BadRequest for a layer that is not
    there or is no feature map, and for a model without classes.
    """

    def __init__(
        self,
        network: Network,
        method: Method,
        options: Any,
        intake: Intake,
        layer: str | Sequence[str] | None = None,
    ):
        self.network, self.images = network, image_of(network.graph)
        self.method, self._record = method.name, method
        self._options, self._intake, self._layer = options, intake, None
        if method.on_layer:
            graph, named = network.graph, [layer] if layer is None or isinstance(layer, str) else layer
            score = inside(graph, readout(graph).scores).name
            self.layers = [checked_layer(graph, name, score) for name in named]
        else:
            assert layer is None or isinstance(layer, str)
            self._layer = layer
            self.layers = [summed_layer(network, layer) if method.layer else None]

    def maps(self, asked: Asked) -> Maps:
        """The maps of the classes in question."""
        compute: Callable[..., Maps] = self._record.compute
        return compute(asked, self._options)

    def explained(
        self, x: np.ndarray, wishes: Sequence[int], progress: Progress | None = None
    ) -> list[list[Explanation]]:
        """As Compiled, one image after the other: the classes of one are asked for at once."""
        return [self._of(image, wishes, progress) for image in x]

    def _of(self, image: np.ndarray, wishes: Sequence[int], progress: Progress | None) -> list[Explanation]:
        """The explanations of one image: of each class those of all layers."""
        of_layers = [self._on(layer, image, wishes, progress) for layer in self.layers]
        return [found for of_class in zip(*of_layers, strict=True) for found in of_class]

    def _on(
        self, layer: str | None, image: np.ndarray, wishes: Sequence[int], progress: Progress | None
    ) -> list[Explanation]:
        """The explanations of each class that go by one layer, if any."""
        at = layer if self._record.on_layer and layer else ""
        asked = Asked(self.network, self._layer, image, wishes, self._intake, progress, at)
        maps = self.maps(asked)
        shown, scores = sound(maps.values), asked.clean.scores[0]
        blank = lambda c: self._record.blank.format(target=self._intake.labels[c])
        return [
            Explanation(
                maps.values[i],
                at or self.images,
                layer,
                c,
                float(scores[c]),
                asked.clean.output[0],
                maps.problems[i] if maps.problems else "" if shown[i] else blank(c),
                extras=maps.extras[i] if maps.extras else {},
            )
            for i, c in enumerate(asked.classes)
        ]


def finite(answers: np.ndarray) -> np.ndarray:
    """The answers. Raises NoMap where they are not numbers."""
    if not np.isfinite(answers).all():
        raise NoMap("the model's answer is not a number (NaN); `onnxlens gradcam` finds where that begins")
    return answers
