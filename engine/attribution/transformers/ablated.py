"""Token ablation compiled for one network: what it answers with one token after another removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...anatomy.readouts.classes import readout
from ...autodiff.gradient import inside
from ...runtime.ahead import BATCH
from ...runtime.network import Network
from ..compiled import Intake, image_of
from ..method import Method
from ..perturbation.answerer import BATCH_ON_GPU, Answer, answerer_of
from ..perturbation.asked import Asked, Maps, Perturbed, finite
from .removal import removal

MOST = 16  # places down and across that are removed one after the other, where nobody says


class Ablated(Perturbed):
    """A method that removes tokens of a transformer, for one network; see Compiled.

    Raises BadRequest for a network without attention, and for one whose tokens cannot be told or removed.
    """

    def __init__(self, network: Network, method: Method, options: Any, intake: Intake):
        graph, read = network.graph, readout(network.graph)
        score = inside(graph, read.scores).name
        self._removal = removal(graph, score, image_of(graph), method.name)
        super().__init__(network, method, options, intake, self._removal.layer)
        self._names = [read.value, score]
        self._session = network.compile(self._removal.graph, list(dict.fromkeys(self._names)))
        if not self._removal.masked:
            self.note = "removed tokens are the mean of all: more than attention alone reads them"

    def maps(self, asked: Asked) -> Maps:
        """How much of the score of each class goes with each token, (T, h, w)."""
        rows, columns = self._removal.grid
        side = self._options.group or -(-max(rows, columns) // MOST)
        down, across = -(-rows // side), -(-columns // side)
        group = (np.arange(rows) // side)[:, None] * across + np.arange(columns) // side
        nothing = np.zeros((1, rows * columns), np.float32)
        asked.clean = next(self._answers(asked.image, nothing))
        found, classes = [], asked.classes
        for start in range(0, down * across, BATCH_ON_GPU):
            some = np.arange(start, min(start + BATCH_ON_GPU, down * across))
            removed = (group.ravel() == some[:, None]).astype(np.float32)
            found += [answer.scores[:, classes] for answer in self._answers(asked.image, removed)]
            asked.progress(int(some[-1]) + 1, down * across)
        drops = self._record.compute(asked.clean.scores[0, classes], finite(np.concatenate(found)))
        return Maps(np.moveaxis(drops[group], -1, 0).astype(np.float32))

    def _answers(self, image: np.ndarray, removed: np.ndarray) -> Iterator[Answer]:
        """The answers to an image with tokens removed (n, h * w), some at a time."""
        fixed = answerer_of(self.network, None).fixed
        size = fixed or (BATCH if self.network.provider == "cpu" else BATCH_ON_GPU)
        for start in range(0, len(removed), size):
            part = removed[start : start + size]
            count = fixed or len(part)
            filled = np.resize(part, (count, removed.shape[1]))
            images = np.repeat(image[None].astype(np.float32), count, 0)
            values = self._session({self.images: images, self._removal.removed: filled})
            output, scores = (values[n].reshape(count, -1)[: len(part)] for n in self._names)
            yield Answer(output, scores, output[:, :0])
