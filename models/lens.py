"""A model with all that is needed to show it photos: its network, preprocessing and class names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import picture
from ..engine.anatomy import score_name
from ..engine.canonical import read_model
from ..engine.errors import BadModel, BadRequest, NoMap, NoRule, nearest
from ..engine.explainer import Explainer, Explanation, class_count
from ..engine.gradient import inside, no_rule
from ..engine.graph import Graph, dtype_of, is_float, shape_of
from ..engine.network import Network
from ..kernels.normalise import normalise
from ..kernels.upsample import upsample
from . import embedded, zoo
from .labels import read_labels
from .layout import infer_layout
from .preprocess import CHANNELS, Box, Preprocess
from .presets import PRESETS, preset
from .sidecar import Sidecar, find

EMBEDDED = "scenes"  # the model that comes with the package, by name
Target = int | str | None


@dataclass(frozen=True)
class Prediction:
    """One class of a photo: its index, its name and its probability (0 to 1)."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class HeatMap:
    """Where one photo speaks for one class, as one method sees it at one layer.

    `map` (h, w) float32 is what the method gave, in the layer's resolution; `box` (y0, x0, y1, x1) is
    the part of the photo that it covers, in photo pixels. `problem` says why there is nothing to draw.
    """

    photo: np.ndarray
    map: np.ndarray
    box: Box
    target: Prediction
    score: float
    predictions: list[Prediction]
    method: str
    layer: str
    problem: str = ""

    def at_photo(self) -> np.ndarray:
        """The map on the pixels of the upright photo, (H, W) float32; NaN where the model did not look."""
        return upsample(self.map[None], *self.photo.shape[:2], box=self.box, outside=np.nan)[0]

    def overlay(self, colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
        """The photo with the map over it, (H, W, 3) uint8. Raises NoMap, with the reason, if it is none."""
        if self.problem:
            raise NoMap(self.problem)
        return picture.overlay(self.photo, normalise(self.at_photo()[None])[0], colour, alpha)


class Lens:
    """A classifier and the way photos go into it.

    `model`: a path, a name of the zoo, or "scenes", the model of the package. How photos go in and what
    the classes are called is read from inside or beside the file where it stands there; `preset` (a name
    of PRESETS or a Preprocess), `size` (h, w), `layout` ("nchw", "nhwc") and `labels` (a list or a label
    file) say it otherwise. `provider`, `threads`: see Network.

    Raises BadModel for a file that is no image classifier, and BadRequest with a question where the
    preprocessing cannot be known.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        preset: str | Preprocess | None = None,
        size: tuple[int, int] | None = None,
        layout: str | None = None,
        labels: Sequence[str] | str | os.PathLike[str] | None = None,
        provider: str = "auto",
        threads: int | None = None,
        progress: zoo.Progress | None = None,
    ):
        self.path = locate(model, progress)
        proto = read_model(self.path)
        self.input, shape = image_input(proto)
        metadata = {p.key: p.value for p in proto.metadata_props}
        beside = find(self.path, metadata)
        record = zoo.records().get(str(model))
        if isinstance(preset, Preprocess):
            self.preprocess, source = _checked(shape, preset), "preprocessing as given"
        else:
            name = preset or (record.preset if record and not beside.preprocess else None)
            self.preprocess = _preprocess(shape, name, size, layout, beside.preprocess)
            source = f"preset {name}" if name else _notes(beside, "preprocessing")
        bound = _bound(shape, self.preprocess)
        self.network = Network(proto, provider, threads, {self.input: bound} if bound != shape else None)
        self.batch = bound[0] if isinstance(bound[0], int) else 1  # a fixed batch is filled with copies
        self._explainers: dict[tuple[str, str | None], Explainer] = {}
        self.labels, named = self._named(labels, metadata, record)
        self.source = f"{source}; {named}"

    def _named(
        self, labels: Any, metadata: dict[str, str], record: zoo.Record | None
    ) -> tuple[list[str], str]:
        """The names of the classes and where they are from; without any they are called by their index."""
        graph = self.network.graph
        count = class_count(inside(graph, graph.outputs[0]))
        if isinstance(labels, str | os.PathLike):
            labels = _label_file(Path(labels))
        if labels is not None:
            if len(labels) != count:
                raise BadRequest(f"{len(labels)} labels were given for a model of {count} classes")
            return list(labels), "labels as given"
        beside = find(self.path, metadata, count)
        if beside.labels:
            return beside.labels, _notes(beside, "labels")
        if record and len(record.class_names) == count:
            return list(record.class_names), "labels from the zoo"
        return [f"class {i}" for i in range(count)], _notes(beside, "labels") or "no labels"

    # -- looking ---------------------------------------------------------------------------------------

    def predict(self, photo: np.ndarray, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes of a photo, (H, W, 3) uint8 RGB, best first.

        Raises NoMap where the model's answer is not a number.
        """
        feeds, _ = self._feeds(photo)
        name = self.network.outputs[0]
        best = self.ranked(self.network.run(feeds, [name])[name][0], top)
        if np.isnan(best[0].probability):
            raise NoMap(f"output {name!r} is not a number (NaN); `onnxlens gradcam` finds where that begins")
        return best

    def gradcam(self, photo: np.ndarray, target: Target = None, layer: str | None = None) -> HeatMap:
        """Grad-CAM of a photo for a class (index, label or None for the predicted one)."""
        return self.explain(photo, [target], layer=layer)[0]

    def explain(
        self,
        photo: np.ndarray,
        targets: Sequence[Target] = (None,),
        method: str = "gradcam",
        layer: str | None = None,
    ) -> list[HeatMap]:
        """One map of a photo for each target: a class index, a label, None for the predicted class, or
        "top3" for the three most probable ones.

        Raises BadRequest for a class, method or layer that is not there, with the nearest names.
        """
        explainer = self.explainer(method, layer)
        feeds, box = self._feeds(photo)
        wished = [self.wish(t) for t in targets]
        first = explainer(feeds)[0]
        ranked = self.ranked(first.output, len(self.labels))
        classes = [c for w in wished for c in ([p.index for p in ranked[:-w]] if w < 0 else [w])]
        found = {first.target: first}
        for index in dict.fromkeys(classes):
            if index not in found:
                found[index] = explainer(feeds, index)[0]
        by_index = {p.index: p for p in ranked}
        return [
            self._heat_map(photo, box, found[c], by_index[c], ranked[:5], method, explainer.layer)
            for c in dict.fromkeys(classes)
        ]

    def _feeds(self, photo: np.ndarray) -> tuple[dict[str, np.ndarray], Box]:
        x, box = self.preprocess(photo)
        return {self.input: np.repeat(x, self.batch, 0)}, box

    @staticmethod
    def _heat_map(
        photo: np.ndarray,
        box: Box,
        explanation: Explanation,
        target: Prediction,
        predictions: list[Prediction],
        method: str,
        layer: str,
    ) -> HeatMap:
        return HeatMap(
            photo=photo,
            map=explanation.map,
            box=box,
            target=target,
            score=explanation.score,
            predictions=predictions,
            method=method,
            layer=layer,
            problem=explanation.problem,
        )

    def explainer(self, method: str = "gradcam", layer: str | None = None) -> Explainer:
        """The compiled explainer for a layer; made once."""
        key = (method, layer)
        if key not in self._explainers:
            _check_understood(self.network.graph)
            self._explainers[key] = Explainer(self.network, method, layer)
        return self._explainers[key]

    def ranked(self, output: np.ndarray, top: int) -> list[Prediction]:
        """The classes of one image's output, by probability; a softmax is taken where the model has none."""
        p = probabilities(np.ravel(output))
        return [Prediction(int(i), self.labels[i], float(p[i])) for i in np.argsort(-p, kind="stable")[:top]]

    def wish(self, target: Target) -> int:
        """A class index; -n for the n most probable classes (None is -1, "top3" is -3).

        Raises BadRequest for a class that the model does not have, or a label that names several.
        """
        if target is None:
            return -1
        text = str(target).strip()
        if best := re.fullmatch(r"top0*([1-9]\d{0,8})", text.lower()):
            return -min(int(best[1]), len(self.labels))
        if text.removeprefix("-").isdecimal():
            if len(text) > 9 or not 0 <= int(text) < len(self.labels):
                raise BadRequest(
                    f"there is no class {text:.20}: the model has classes 0 to {len(self.labels) - 1}"
                )
            return int(text)
        return self._labelled(text)

    def _labelled(self, text: str) -> int:
        """The class whose label is this text, or one of its names between commas, or holds it alone."""
        low = text.lower()
        names = [[n.strip().lower() for n in label.split(",")] for label in self.labels]
        for matches in (
            [i for i, label in enumerate(self.labels) if label.lower() == low],
            [i for i, parts in enumerate(names) if low in parts],
            [i for i, label in enumerate(self.labels) if low in label.lower()],
        ):
            if len(matches) == 1:
                return matches[0]
            if matches:
                several = ", ".join(f"{i} {self.labels[i]!r}" for i in matches[:5])
                raise BadRequest(f"{len(matches)} classes are called {text!r}: {several}; give the index")
        raise BadRequest(f"no class is called {text!r}{nearest(text, self.labels)}")


def probabilities(output: np.ndarray) -> np.ndarray:
    """An output (C,) as probabilities: itself where it is a distribution already, else its softmax."""
    p = output.astype(np.float64)
    if (p >= 0).all() and abs(p.sum() - 1) < 1e-2:
        return p
    p = np.exp(p - p.max())
    return p / p.sum()


def locate(model: str | os.PathLike[str], progress: zoo.Progress | None = None) -> Path:
    """The file that a model argument means: a path, a zoo name, or "scenes" for the model of the package."""
    if str(model) == EMBEDDED and not Path(model).is_file():
        return embedded.path()
    return zoo.resolve(model, progress)


def image_input(model: Any) -> tuple[str, tuple[Any, ...]]:
    """The name and shape of the one image input of a ModelProto.

    Raises BadModel where there is no floating-point input, or other inputs besides it.
    """
    weights = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in weights]
    images = [
        v
        for v in inputs
        if (d := dtype_of(v.type)) is not None and is_float(d) and len(shape_of(v.type) or ()) == 4
    ]
    if not images:
        shown = ", ".join(f"{v.name} ({dtype_of(v.type)}, {list(shape_of(v.type) or ())})" for v in inputs)
        raise BadModel(f"the model has no floating-point image input of four axes; it has: {shown or 'none'}")
    if len(inputs) > 1:
        others = ", ".join(v.name for v in inputs if v is not images[0])
        raise BadModel(
            f"besides the image {images[0].name!r} the model needs {others}, which onnxlens cannot know"
        )
    return images[0].name, shape_of(images[0].type) or ()


def _preprocess(
    shape: tuple[Any, ...],
    name: str | None,
    size: tuple[int, int] | None,
    layout: str | None,
    found: Preprocess | None,
) -> Preprocess:
    if name is None and found is not None and size is None and layout is None:
        return _checked(shape, found)
    order, channels, extent = infer_layout(shape, size or (found.size if found else None), layout)
    if name is None:
        raise BadRequest(
            "how photos go into this model stands nowhere in or beside it: say --preset "
            f"({', '.join(PRESETS)}); imagenet is what most PyTorch models were trained with"
        )
    return preset(name, extent, order, channels)


def _notes(beside: Sidecar, what: str) -> str:
    """What a sidecar says of its preprocessing or of its labels."""
    return "; ".join(note for note in beside.source.split("; ") if note.startswith(what))


def _check_understood(graph: Graph) -> None:
    """Raise NoRule where an operator that ONNX does not know leaves the scores without a type."""
    score = score_name(graph)
    if inside(graph, score).dtype is None:
        unknown = (n for n in graph.ancestors([score]) if any(graph[o].dtype is None for o in n.output if o))
        raise NoRule(no_rule(next(unknown)))


def _checked(shape: tuple[Any, ...], preprocess: Preprocess) -> Preprocess:
    """The preprocessing, if what it makes fits the model's input. Raises BadRequest otherwise."""
    channels = infer_layout(shape, preprocess.size, preprocess.layout).channels
    if channels != CHANNELS[preprocess.channels]:
        raise BadRequest(
            f"the preprocessing makes {preprocess.channels} pictures, the model takes {channels} channels"
        )
    return preprocess


def _bound(shape: tuple[Any, ...], preprocess: Preprocess) -> tuple[Any, ...]:
    """The input's shape with its open sizes bound to those of the preprocessing; the batch stays open."""
    h, w = preprocess.size
    c = shape[1 if preprocess.layout == "nchw" else 3]
    rest = (c, h, w) if preprocess.layout == "nchw" else (h, w, c)
    return (shape[0], *rest)


def _label_file(path: Path) -> list[str]:
    try:
        return read_labels(path)
    except (OSError, ValueError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        reason = getattr(error, "strerror", None) or reason
        raise BadRequest(f"cannot read labels from {path}: {reason}") from error
