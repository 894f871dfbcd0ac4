"""A model with all that is needed to show it photos: its network, preprocessing and class names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.anatomy.maps import Place, view_of
from ...engine.anatomy.readouts.classes import KINDS, Readout, SeveralReadouts, is_of_all, readout
from ...engine.anatomy.readouts.thing import Hints, Reading, Thing
from ...engine.errors import BadRequest, NoMap, nearest
from ...engine.graph.file import read_model
from ...engine.graph.types import is_float
from ...engine.runtime.ahead import BATCH
from ...engine.runtime.network import Network
from ...engine.targets.aim import batch_axis
from ...engine.targets.answered import Answered, told
from ..maps.convention import CELLS, FIELDS
from ..maps.found import Found
from ..maps.placement import Placement, whole
from ..maps.prediction import Prediction, ranked
from ..photos.preprocess import Box, Preprocess
from ..photos.presets import Said
from . import zoo
from .inputs import all_said, stored
from .intake import PIXELS, bound, check_whole, image_input, preprocess_for
from .labels import class_named, read_labels
from .sidecar import Sidecar, find

Target = int | str | None
# of a Lens, but for the runtime's
SETTINGS = "preset", "size", "layout", "labels", "output", "readout", "inputs", "second"


class VisionModel:
    """A model that takes photos, the way they go into it, and what it answers; arguments as of a Lens.

    How photos go in and what the classes are called is read from inside or beside the file where it stands
    there, and which output holds the classes from the graph (engine/anatomy/readouts); what is given says it
    otherwise. A model without classes opens as any other: only what needs a class refuses it.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        preset: Preprocess | Said = None,
        size: tuple[int, int] | None = None,
        layout: str | None = None,
        labels: Sequence[str] | str | os.PathLike[str] | None = None,
        output: str | None = None,
        readout: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        second: Any = None,
        provider: str = "auto",
        threads: int | None = None,
        progress: zoo.Progress | None = None,
    ):
        self.path = zoo.resolve(model, progress)
        proto = read_model(self.path)
        self.input, shape, dtype = image_input(proto, inputs or ())
        said = all_said(proto, self.input, inputs, second)
        metadata = {p.key: p.value for p in proto.metadata_props}
        beside = find(self.path, metadata)
        record = zoo.records().get(str(model))
        usual = record.preset if record else None if is_float(dtype) else PIXELS
        self.preprocess, source = preprocess_for(shape, preset, size, layout, beside, usual)
        check_whole(self.preprocess, dtype)
        fixed = bound(shape, self.preprocess)
        self.inputs, fixed = stored(proto, self.input, shape, fixed, said, self.preprocess)
        shapes = {self.input: fixed} if fixed != shape or self.inputs else None
        self.network = Network(proto, provider, threads, shapes)
        if not isinstance(fixed[0], int) and is_of_all(self.network.graph, output):  # others would count too
            fixed = (1, *fixed[1:])
            self.network = Network(proto, provider, threads, {self.input: fixed})
        self._fixed = fixed[0] if isinstance(fixed[0], int) else None
        self.batch = self._fixed or 1  # a fixed batch is filled with copies
        self._unread: BadRequest | None = None
        self._read: Reading | None = None
        self.labels, named = self._named(labels, beside, metadata, record, output, readout)
        self.source = "; ".join(filter(None, (source, named)))
        self._places: dict[str, Place | None] = {}

    def _named(
        self,
        labels: Any,
        beside: Sidecar,
        metadata: dict[str, str],
        record: zoo.Record | None,
        output: str | None,
        kind: str | None,
    ) -> tuple[list[str], str]:
        """The names of the classes and where they are from; without any they are called by their index.

        They also tell which output holds the classes. A model without any has the names that it came with.
        """
        where = ""
        if isinstance(labels, str | os.PathLike):
            where, labels = f"{os.fspath(labels)}: ", _label_file(Path(labels))
        known = labels or beside.labels or (record.class_names if record else None) or []
        graph = self.network.graph
        if output is not None and output not in graph.outputs:
            raise BadRequest(f"the model has no output {output!r}{nearest(output, graph.outputs)}")
        self.hints = Hints(self.preprocess.size, known, beside.words, output, kind)
        try:
            if kind is not None and kind not in KINDS:
                from ...engine.anatomy.readouts.table import reading  # classifiers do without

                self._read = reading(graph, self.hints)
                raise BadRequest(f"the answer is read as {kind}, which holds no score for each class")
            graph.head = readout(graph, output, len(known), kind or beside.readout)
        except BadRequest as error:
            if kind is not None and self._read is None:
                raise
            self._unread = error
            return list(known), "no classes"
        count, read = graph.head.count, _told(graph.head, len(graph.outputs))
        if labels is not None:
            if len(labels) != count:
                raise BadRequest(f"{where}{len(labels)} labels were given for a model of {count} classes")
            return list(labels), f"{read}labels as given"
        beside = find(self.path, metadata, count)
        if beside.labels:
            return beside.labels, f"{read}{beside.told('labels')}"
        if record and len(record.class_names) == count:
            return list(record.class_names), f"{read}labels from the zoo"
        if len(graph.head.names) == count:
            return list(graph.head.names), f"{read}labels from the graph"
        word = "class" if graph.head.sure else "value"
        return [f"{word} {i}" for i in range(count)], f"{read}{beside.told('labels') or 'no labels'}"

    @property
    def readout(self) -> Readout:
        """Which output holds the classes, and how its numbers become probabilities.

        Raises BadRequest where the model has no classes, with what it has, or several outputs may hold them.
        """
        if self._unread is not None:
            raise self._unread
        return readout(self.network.graph)

    @property
    def reading(self) -> Reading:
        """How the answer is read: as classes, or whatever else it is (engine/anatomy/readouts/table.py).

        Raises BadRequest where several outputs may be meant, and for an answer that cannot be read.
        """
        if self._read is None:
            if isinstance(self._unread, SeveralReadouts):
                raise self._unread
            read = self.readout if self.has_classes else None
            if read is None or (read.kind == "values" and self.hints.kind is None):
                from ...engine.anatomy.readouts.table import otherwise  # classifiers do without

                read = otherwise(self.network.graph, self.hints, read)
            self._read = read
        return self._read

    @property
    def is_read(self) -> bool:
        """Whether there is a reading."""
        try:
            return bool(self.reading)
        except BadRequest:
            return False

    @property
    def has_classes(self) -> bool:
        """Whether there is a readout."""
        return self._unread is None

    def place_of(self, layer: str) -> Place | None:
        """Where the feature maps of a layer lie in the input; None is over all of it.

        Raises BadRequest for a layer that is not there or no feature map.
        """
        if layer not in self._places:
            self._places[layer] = view_of(self.network.graph, layer).place
        return self._places[layer]

    def placement(self, at: str, box: Box | None = None, convention: str = FIELDS) -> Placement:
        """Where what lies on a value of the network, its input or a layer, lies in a photo.

        `box` is the part of the photo that the input covers, in photo pixels; without it, it is where it lies
        in the input. `convention` is one of CONVENTIONS, and makes no difference to what lies on the input.
        """
        size = whole(self.preprocess.size)
        place = None if at == self.input or convention == CELLS else self.place_of(at)
        found = Placement(place.seen if place else size, place and place.cells, convention)
        return found if box is None else found.moved(size, box)

    def together(self, count: int) -> int:
        """How many of `count` inputs are best computed in one run: a fixed batch as it is, on a CPU few."""
        return self._fixed or (min(count, BATCH) if self.network.provider == "cpu" else count)

    def predict(self, photo: np.ndarray, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes of a photo, (H, W, 3) uint8 RGB, best first.

        Of a model that gives no probabilities, those of the greatest values. Raises NoMap where the model's
        answer is not a number, and BadRequest where it has no classes.
        """
        if top < 1:
            raise BadRequest(f"at least 1 class, not {top}")
        read = self.readout
        feeds, _ = self.feeds(photo)
        name = read.value
        best = ranked(read, self.network.run(feeds, [name])[name][0], self.labels, top)
        if any(np.isnan(p.answer) for p in best):
            raise NoMap(f"output {name!r} is not a number (NaN); `onnxlens gradcam` finds where that begins")
        return best

    def things(self, photo: np.ndarray) -> list[Found]:
        """What the model finds in a photo (H, W, 3) uint8 RGB, best first: classes, boxes, regions, text, a
        vector, numbers, whatever it answers.

        Raises NoMap where the answer is not a number, and BadRequest where it cannot be read.
        """
        x, box = self.preprocess(photo)
        answered = self.answered(x, box)
        found = [told(thing, answered) for thing in answered.things]
        return [self.found(i, thing, answered, box) for i, thing in enumerate(found)]

    def vector(self, photo: np.ndarray) -> np.ndarray:
        """The vector (D,) float32 that an embedder answers to a photo (H, W, 3) uint8 RGB.

        Raises NoMap where it is not a number, and BadRequest where the model answers none.
        """
        read = self.reading
        if not getattr(read, "unit", False):
            raise BadRequest(f"the model answers {read.kind}, which are no vector")
        answered = self.answered(*self.preprocess(photo))
        return answered.values[read.outputs[0]].ravel().astype(np.float32)

    def found(self, index: int, thing: Thing, answered: Answered, box: Box) -> Found:
        """A thing of an answer to a photo, of which the input covers the `box`."""
        value = thing.seed.total(answered.values) if thing.value is None else thing.value
        plain = next((t for t in answered.things if t.seed is thing.seed), thing)  # in words of its own
        return Found(index, thing.words, thing, value, self.preprocess.size, box, answered.label(plain))

    def answered(
        self,
        x: np.ndarray,
        box: Box,
        parts: Collection[str] = (),
        photo: Callable[[str], np.ndarray] | None = None,
    ) -> Answered:
        """What the model answers to an input (1, ...), which covers the `box` of a photo, for targets to ask.

        `parts` are values of the network that are looked at besides, `photo` reads another photo. Raises
        NoMap where the answer is not a number.
        """
        read = self.reading
        names = list(dict.fromkeys([*read.outputs, *read.parts, *parts]))
        values = self._values(x, names)
        for name in names:
            if values[name].dtype.kind == "f" and not np.isfinite(values[name]).all():
                raise NoMap(f"{name!r} is not a number (NaN); `onnxlens doctor` may say where that begins")
        (height, width), (y0, x0, y1, x1) = self.preprocess.size, box
        rows, columns = height / (y1 - y0), width / (x1 - x0)
        return Answered(
            read,
            read.things(values, self.preprocess.size),
            values,
            self.labels,
            self.class_of,
            lambda row, column: ((row - y0) * rows, (column - x0) * columns),
            lambda name: self._values(self.preprocess(photo(name))[0] if photo else x, names),
            self.preprocess.size,
        )

    def _values(self, x: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Some values for one input (1, ...), without the copies that a fixed batch is filled with."""
        values = self.network.run({self.input: np.repeat(x, self.batch, 0)}, names)
        if self.batch == 1:
            return values
        axes = {name: batch_axis(self.network.graph, name) for name in names}
        return {n: v if axes[n] is None else np.take(v, [0], axes[n]) for n, v in values.items()}

    def class_of(self, text: str) -> int:
        """The index of a class that a thing may be of, from its name or number.

        Raises BadRequest for one that the model does not have, as far as its names are known.
        """
        if text.isdecimal() and len(text) < 10:
            if self.labels and int(text) >= len(self.labels):
                raise BadRequest(
                    f"there is no class {text}: the model has classes 0 to {len(self.labels) - 1}"
                )
            return int(text)
        if not self.labels:
            raise BadRequest(f"the names of the classes are not known: {text!r:.40} is to be a number")
        return class_named(text, self.labels)

    def feeds(self, photo: np.ndarray) -> tuple[dict[str, np.ndarray], Box]:
        """A photo (H, W, 3) uint8 RGB as the model takes it, and the part of it that the input covers.

        A model of a fixed batch is given that many copies. The box is in photo pixels.
        """
        x, box = self.preprocess(photo)
        return {self.input: np.repeat(x, self.batch, 0)}, box

    def wish(self, target: Target) -> int:
        """A class index; -n for the n most probable classes (None is -1, "top3" is -3).

        Raises BadRequest for a class that the model does not have, or a label that names several.
        """
        count = self.readout.count
        if target is None:
            return -1
        text = str(target).strip()
        if best := re.fullmatch(r"top0*([1-9]\d{0,8})", text.lower()):
            return -min(int(best[1]), count)
        if text.removeprefix("-").isdecimal():
            if len(text) > 9 or not 0 <= int(text) < count:
                raise BadRequest(f"there is no class {text:.20}: the model has classes 0 to {count - 1}")
            return int(text)
        return class_named(text, self.labels)


def _told(read: Readout, outputs: int) -> str:
    """What a person should know of a readout: all but that the only output is squashed in the model."""
    plain = read.sure and read.form == "given" and outputs == 1
    return "" if plain else f"{read.output}: {read.why}; "


def _label_file(path: Path) -> list[str]:
    try:
        return read_labels(path)
    except (OSError, ValueError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        reason = getattr(error, "strerror", None) or reason
        raise BadRequest(f"cannot read labels from {path}: {reason}") from error
