"""An explainer compiled for one layer of one network: every class and every image through one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from .anatomy import checked_layer, score_name
from .diagnosis import diagnose, is_sound
from .errors import BadRequest, nearest
from .explainers import EXPLAINERS
from .gradient import inside
from .graph import Tensor, op
from .network import Network

PREDICTED = -1  # as a target: the class of highest score


@dataclass(frozen=True)
class Explanation:
    """One map of one image for one class.

    `map` (h, w) float32, in the layer's resolution; `target` the class that it explains and `score` its
    score before a softmax; `output` the model's own output for the image. `problem` says why the map is
    no map (blank, constant, not a number), and is empty for a sound one.
    """

    map: np.ndarray
    target: int
    score: float
    output: np.ndarray
    problem: str = ""


class Explainer:
    """A method of EXPLAINERS for one layer, as one ONNX graph with the class as an input.

    `layer`: the name of a feature map, by default the last before the head. `output`: the output of the
    model that holds the classes, by default the first.

    Raises BadRequest for a layer, method or output that is not there, NoRule where no gradient leads
    from the scores to the layer.
    """

    def __init__(
        self, network: Network, method: str = "gradcam", layer: str | None = None, output: str | None = None
    ):
        if method not in EXPLAINERS:
            raise BadRequest(f"there is no method {method!r}{nearest(method, EXPLAINERS)}")
        graph = network.graph.copy()
        if not graph.inputs:
            raise BadRequest("the model has no input; only image models can be explained")
        self.network, self.method = network, method
        output = graph.outputs[0] if output is None else output
        scores = inside(graph, score_name(graph, output))
        self.score = scores.name
        self.layer = checked_layer(graph, layer, self.score)
        self.classes = class_count(scores)
        self.target = graph.unused("target")
        wish = graph.input(self.target, np.int64, (scores.shape or ())[:1])
        chosen = predicted_or(wish, scores)
        heatmap = graph.output(EXPLAINERS[method](scores, chosen, graph[self.layer]), graph.unused("heatmap"))
        picked = op.GatherElements(op.Flatten(scores), op.Unsqueeze(chosen, [1]), axis=1)
        score = graph.output(op.Squeeze(picked, [1]), graph.unused("score"))
        chosen = graph.output(chosen, graph.unused("class"))
        self.names = [heatmap.name, chosen.name, score.name, output]
        self.graph = graph
        self._session = network.compile(graph, self.names)

    def __call__(
        self, feeds: Mapping[str, np.ndarray], targets: int | Sequence[int] | None = None
    ) -> list[Explanation]:
        """One explanation per image of a batch.

        `feeds`: arrays by input name, images along the first axis. `targets`: one class for all, one for
        each image, or None for the class of highest score.

        Raises BadRequest for a class that the model does not have.
        """
        images = self.graph.inputs[0]
        if images not in feeds or np.ndim(feeds[images]) == 0:
            raise BadRequest(f"the model's input {images!r} is missing, or has no batch axis")
        count = len(feeds[images])
        wish = np.full(count, PREDICTED) if targets is None else np.broadcast_to(targets, count)
        for target in wish:
            if not PREDICTED <= target < self.classes:
                raise BadRequest(f"there is no class {target}: the model has classes 0 to {self.classes - 1}")
        values = self._session({**feeds, self.target: wish})
        maps, classes, scores, outputs = (values[name] for name in self.names)
        return [
            Explanation(
                maps[i],
                int(classes[i]),
                float(scores[i]),
                outputs[i],
                self._problem(maps[i], i, feeds, classes),
            )
            for i in range(count)
        ]

    def _problem(self, map_: np.ndarray, i: int, feeds: Mapping[str, np.ndarray], classes: np.ndarray) -> str:
        if is_sound(map_):
            return ""
        fixed = (self.graph[self.target].shape or (1,))[0]
        count = fixed if isinstance(fixed, int) else 1
        alone = {name: np.repeat(array[i : i + 1], count, 0) for name, array in feeds.items()}
        return diagnose(self.network, self.score, self.layer, alone, int(classes[i]))

    def to_model(self) -> ModelProto:
        """The explainer as an ONNX model: the network's inputs and `target` (a class, or -1 for the
        predicted) in; heatmap, class, score and the network's output out.
        """
        return self.graph.to_model(self.names)


def class_count(scores: Tensor) -> int:
    """How many classes scores of shape (N, C) or (N, C, 1, 1) have. BadRequest for other shapes."""
    shape = scores.shape or ()
    if len(shape) < 2 or not isinstance(shape[1], int) or any(d != 1 for d in shape[2:]):
        raise BadRequest(
            f"value {scores.name!r} of shape {list(shape)} does not hold one score per class (N, C); "
            "only classifiers can be explained this way"
        )
    return shape[1]


def predicted_or(wish: Tensor, scores: Tensor) -> Tensor:
    """The wished class of each image, or where that is negative the class of highest score, (N,) int64."""
    best = op.ArgMax(op.Flatten(scores), axis=1, keepdims=0)
    return op.Where(wish < 0, best, wish)
