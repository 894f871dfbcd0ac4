"""What compiled methods of all families have in common: from inputs and wished classes to explanations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..anatomy.readouts.classes import readout
from ..errors import BadRequest
from ..graph.graph import Graph
from ..runtime.ahead import BATCH
from ..runtime.network import Network
from ..runtime.session import Session

PREDICTED = -1  # as a class: that of highest score; -n are the n most probable ones
Progress = Callable[[int, int], object]  # how much is done, of how much
Ask = Callable[..., "list[Explanation]"]  # from a wish, or none for `first`


def _zero(image: np.ndarray, name: str) -> np.ndarray:
    return np.zeros_like(image)


@dataclass(frozen=True)
class Explanation:
    """What any method found: one map of one image, for one class or unit.

    `values` float32 lie on `at`, a layer or the model's input: (h, w) there, or the input's own shape without
    the batch. What they explain: a class, or a unit of `layer` with its `position` (row, column): `target` is
    the index of the class or channel, `score` its value before a softmax. For a class `layer` is the one that
    was looked at, if any. `peaks` (K,) are the greatest values of the layer's channels, `output` the model's
    own for the image; None where there are none. `problem` says why there is nothing to show, empty for a
    sound map. `extras` is what a method says beside.

    Examples
    --------
    >>> explainer = onnxlens.Explainer(onnxlens.Network("model.onnx"), "layercam", "relu4")
    >>> found = explainer({"image": np.ones((1, 3, 96, 96), np.float32)}, targets=3)[0]
    >>> found.at, found.values.shape, found.target, found.problem
    ('relu4', (12, 12), 3, '')
    """

    values: np.ndarray
    at: str
    layer: str | None
    target: int
    score: float
    output: np.ndarray | None
    problem: str = ""
    position: tuple[int, int] | None = None
    peaks: np.ndarray | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def map(self) -> np.ndarray:
        """The values."""
        return self.values


class Again(NamedTuple):
    """How boxes are found again in another picture: what is read there, the `values` by name, and what makes
    of these how well each of the boxes in question is found, (T,) of 0 to 1.
    """

    values: Sequence[str]
    found: Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Intake(NamedTuple):
    """What a method has to know of the inputs of a network: their `size` (height, width), whether their
    channels come `last`, the input (1, ...) that a `fill` of some name makes of one, which raises BadRequest
    for a name that is none, what the classes are called, and of an answer that holds boxes how they are found
    `again`.
    """

    size: tuple[int, int] = (0, 0)
    last: bool = False
    fill: Callable[[np.ndarray, str], np.ndarray] = _zero
    labels: Sequence[str] = ()
    again: Again | None = None


def filled(intake: Intake, image: np.ndarray, said: Any) -> list[np.ndarray]:
    """The baselines, float32 of an image's shape, that an option names, or is: one array or several.

    Raises BadRequest for a name that is none and for one of another shape.
    """
    if isinstance(said, str):
        found = [intake.fill(image[None], name.strip())[0] for name in said.split(",")]
    else:
        found = list(said) if np.ndim(said) > image.ndim else [said]
    for baseline in found:
        if np.shape(baseline) != image.shape:
            raise BadRequest(f"a baseline of {np.shape(baseline)} is none for an image of {image.shape}")
    return [np.asarray(baseline, np.float32) for baseline in found]


class Compiled:
    """A `method` compiled for a network.

    `images` is the name of its input, `layers` the layers that a map is made of each, `note` what is to be
    known of the method in this network. `stands` says whether what `first` gives is an explanation already,
    and `together` whether images are best explained several at once.
    """

    network: Network
    method: str
    images: str
    layers: Any = (None,)  # names, or None for none
    note: str = ""
    stands: bool = True
    together: bool = False

    def __call__(self, feeds: Mapping[str, np.ndarray], targets: Any = PREDICTED) -> list[Explanation]:
        """For each image of a batch the explanation of each of `layers`. To be overridden."""
        raise NotImplementedError

    def first(self, feeds: Mapping[str, np.ndarray]) -> list[Explanation]:
        """The same for the predicted class, or at least its `target` and `output`."""
        return self(feeds)

    def asking(self, feeds: Mapping[str, np.ndarray], several: bool) -> Ask:
        """What explains a batch: asked without a wish it is `first`, and else as the method is called.

        Where `several` wishes are to come, it may do what is the same for all of them beforehand.
        """
        return lambda *wish: self(feeds, *wish) if wish else self.first(feeds)

    def explained(
        self, x: np.ndarray, wishes: Sequence[int], progress: Progress | None = None
    ) -> list[list[Explanation]]:
        """For each of the inputs (N, ...) an explanation of each layer for each class that `wishes` mean.

        A wish is a class, or -n for the n most probable ones of an image; each class comes once. Raises
        BadRequest for a class that the model does not have.
        """
        fixed, found = self._fixed, list[list[Explanation]]()
        size = fixed or (self._best(len(x)) if self.together else 1)
        for start in range(0, len(x), size):
            part = x[start : start + size]
            if (missing := (fixed or 1) - len(part)) > 0:  # a fixed batch is filled up
                part = np.concatenate([part, part[-1:].repeat(missing, 0)])
            found += self._of_batch(part, wishes)[: len(x) - start]
        return found

    def _of_batch(self, x: np.ndarray, wishes: Sequence[int]) -> list[list[Explanation]]:
        """The same for a batch that the network takes as it is."""
        ask = self.asking({self.images: x}, are_several(wishes))
        first, wanted = list[list[Explanation]](), [list(dict.fromkeys(wishes))] * len(x)
        if min(wishes, default=PREDICTED) < 0:
            first, read = self._by_image(ask()), readout(self.network.graph)
            outputs = [own[0].output for own in first]
            wanted = [meant(wishes, read.answers(np.ravel(o))) for o in outputs if o is not None]
        found: list[list[Explanation]] = [[] for _ in x]
        for rank in range(max(map(len, wanted), default=0)):
            classes = [own[min(rank, len(own) - 1)] for own in wanted]
            is_first = self.stands and classes == [own[0].target for own in first]
            explained = first if is_first else self._by_image(ask(classes))
            for own, classes_of, here in zip(found, wanted, explained, strict=True):
                own += here if rank < len(classes_of) else []
        return found

    def _by_image(self, flat: list[Explanation]) -> list[list[Explanation]]:
        """The explanations of each image, one of each layer."""
        count = len(self.layers)
        return [flat[i : i + count] for i in range(0, len(flat), count)]

    @property
    def _fixed(self) -> int | None:
        """The only size of a batch that the network takes, or None."""
        size = (self.network.graph[self.images].shape or (None,))[0]
        return size if isinstance(size, int) else None

    def _best(self, count: int) -> int:
        """How many of `count` inputs are best computed in one run: on a CPU few."""
        return min(count, BATCH) if self.network.provider == "cpu" else count


class OneGraph(Compiled):
    """A method that is one `graph`, with a wish as inputs: those that are `varying`.

    For one wish of a batch of images it is compiled as a whole. For several it is compiled in two parts, of
    which the first, all that none of them changes and so the forward pass, is run once; what it hands over is
    held meanwhile, and the backward passes take turns. Either is compiled when it is first asked for. `names`
    are the values that an explanation is made of; `threads` and `keep` as of Network.compile.
    """

    graph: Graph
    names: list[str]
    varying: list[str]
    threads: int | None = None
    keep: bool = False

    def fed(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The inputs of the graph that do not vary: the feeds, and what is made of them."""
        return feeds

    def wished(self, feeds: Mapping[str, np.ndarray], *wish: Any, **named: Any) -> dict[str, np.ndarray]:
        """A wish as the inputs that vary. To be overridden."""
        raise NotImplementedError

    def read(self, values: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray]) -> list[Explanation]:
        """The explanations that values of the graph hold. To be overridden."""
        raise NotImplementedError

    @cached_property
    def _sessions(self) -> dict[bool, Session]:
        return {}

    def session(self, several: bool = False) -> Session:
        """The graph compiled, for one wish or for several."""
        apart = several and self.network.provider == "cpu"
        if apart not in self._sessions:
            compiled, varying = self.network.compile, self.varying if apart else ()
            self._sessions[apart] = compiled(self.graph, self.names, self.threads, self.keep, varying)
        return self._sessions[apart]

    def once(self, feeds: Mapping[str, np.ndarray], *wish: Any) -> list[Explanation]:
        """The explanations of a wish in one run of the graph."""
        return self.read(self.session()({**self.fed(feeds), **self.wished(feeds, *wish)}), feeds)

    def asking(self, feeds: Mapping[str, np.ndarray], several: bool) -> Ask:
        """As of Compiled: several wishes share all that does not depend on them."""
        if not several:
            return super().asking(feeds, several)
        run = self.session(several).begun(self.fed(feeds))
        return lambda *wish: self.read(run(self.wished(feeds, *wish)), feeds)


def image_of(graph: Graph) -> str:
    """The input that holds the images. Raises BadRequest for a model without any."""
    if not graph.pictured:
        raise BadRequest("the model has no input; only image models can be explained")
    return graph.pictured[0]


def are_several(wishes: Sequence[int]) -> bool:
    """Whether wishes may mean more than one class of an image."""
    return len(set(wishes)) > 1 or min(wishes, default=PREDICTED) < PREDICTED


def meant(wishes: Sequence[int], chances: np.ndarray) -> list[int]:
    """The classes of one image that wishes mean, each once; `chances` (C,) are the answers of the model.

    -n are the n most probable ones, best first, of equal ones the first.
    """
    most = max(1, -min(wishes, default=0))
    one = [int(chances.argmax())] if most == 1 else None
    order = one or np.argsort(-chances, kind="stable")[:most].tolist()
    return list(dict.fromkeys(c for w in wishes for c in (order[:-w] if w < 0 else [w])))
