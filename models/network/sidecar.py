"""What stands beside or inside a model file: its preprocessing and the names of its classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...engine.errors import BadRequest
from ...engine.graph.decoders import DECODED
from ..photos.preprocess import CHANNELS, Preprocess, known_fields
from ..photos.presets import ENOUGH, PRESETS, RELATIVE
from .labels import find_label_file, parse_json, read_labels, read_text, to_labels
from .producers import bitmap, huggingface, lobe, paddle, roboflow, timm, ultralytics
from .words import CHARACTERS_KEY, words_of

PREPROCESS_KEY, LABELS_KEY = "onnxlens.preprocess", "onnxlens.labels"
# Files of producers in a model's folder: what they say of photos, some with the config.json beside them, and
# of classes.
FACTS: dict[str, Callable[[Any, Any], Any]] = {
    "processor_config.json": huggingface.nested_facts,
    "preprocessor_config.json": huggingface.facts,
    "config.json": lambda config, _: timm.facts(config),
    "signature.json": lambda signature, _: lobe.facts(signature),
    "environment.json": lambda environment, _: roboflow.facts(environment),
}
LABELS = {
    "config.json": lambda config: timm.labels(config) or huggingface.labels(config),
    "signature.json": lobe.labels,
    "environment.json": roboflow.labels,
}
READOUTS = {"config.json": huggingface.readout}
LISTS = ("class_names.txt", "classes.txt")  # Roboflow's, TAO's and YOLO's
_T = TypeVar("_T")


class Sidecar(NamedTuple):
    """What was found, None for what was not, and a line that tells a person where, or why not.

    `readout`: what the answers are, one of KINDS (engine/anatomy/readouts/classes.py). `decoded`: the colours
    of the pixels of a model that decoded pictures itself. `words`: what the producer says of the answers.
    """

    facts: dict[str, Any] | None  # fields of a Preprocess, as many as are said
    labels: list[str] | None
    source: str
    readout: str | None = None
    decoded: str | None = None
    words: Mapping[str, str] = {}

    @property
    def is_enough(self) -> bool:
        """Whether the facts say how photos go in."""
        return self.facts is not None and self.facts.keys() >= ENOUGH

    def told(self, what: str) -> str:
        """What the source says of "preprocessing" or of "labels"."""
        return "; ".join(note for note in self.source.split("; ") if note.startswith(what))


def find(path: Path, metadata: Mapping[str, str], classes: int | None = None) -> Sidecar:
    """Look for preprocessing and labels of the model at `path`, whose metadata is `metadata`.

    In this order: the decoder that the model had, onnxlens's own metadata, that of producers, producers'
    files in the model's folder (or above it, where that is called onnx), a label file beside the model.
    Labels count only if there are `classes` of them, where that is known. Nothing here is an error: contents
    that cannot be used are passed over, and `source` says why.
    """
    notes: list[str] = []
    facts = _first(_preprocesses(path, metadata), "preprocessing", notes, lambda f: f.keys() >= ENOUGH)
    labels = _first(_labels(path, metadata, classes), "labels", notes)
    readout = _first(_readouts(path), "readout", notes)
    words = words_of(path, metadata, next(_beside(path, "config.json"), None))
    return Sidecar(facts, labels, "; ".join(notes), readout, decoded(metadata), words)


def decoded(metadata: Mapping[str, str]) -> str | None:
    """The colours that the model's own decoder gave, where it had one (engine/graph/decoders.py)."""
    colours = metadata.get(DECODED)
    return colours if colours in CHANNELS else None


_Source = tuple[str, Callable[[], _T | None]]


def _first(
    sources: Iterator[_Source[_T]], what: str, notes: list[str], is_enough: Callable[[_T], bool] = bool
) -> _T | None:
    """The first source that has enough, else the first that has something.

    Adds to `notes` where it was, and what was passed over.
    """
    some: tuple[str, _T] | None = None
    for where, read in sources:
        try:
            found = read()
        except (ValueError, ArithmeticError, OSError, BadRequest) as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
            notes.append(f"{what} in {where} passed over: {reason}")
            continue
        if found is not None and is_enough(found):
            notes.append(f"{what} from {where}")
            return found
        some = some or (None if found is None else (where, found))
    if some is None:
        return None
    notes.append(f"{what} in part from {some[0]}")
    return some[1]


def _preprocesses(path: Path, metadata: Mapping[str, str]) -> Iterator[_Source[dict[str, Any]]]:
    def usable(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if facts is None:
            return None
        relative = {key: value for key, value in facts.items() if key in RELATIVE}
        fields = known_fields({key: value for key, value in facts.items() if key not in RELATIVE})
        Preprocess(**{"size": (1, 1), **fields})  # which raises for what is out of range
        return fields | relative

    if colours := decoded(metadata):  # what else was written is about the network behind it
        yield "the model's decoder", lambda: PRESETS["raw"] | {"channels": colours}
    if text := metadata.get(PREPROCESS_KEY):
        yield "the model's metadata", lambda: usable(Preprocess.from_dict(parse_json(text)).to_dict())
    yield "the model's image metadata", lambda: usable(bitmap.facts(metadata))
    if ultralytics.is_ours(metadata):
        yield "Ultralytics' metadata", lambda: usable(ultralytics.facts(metadata))
    for name, read in FACTS.items():
        for file in _beside(path, name):
            yield name, lambda file=file, read=read: usable(read(_json(file), _config(file)))


def _labels(path: Path, metadata: Mapping[str, str], classes: int | None) -> Iterator[_Source[list[str]]]:
    def counted(labels: list[str] | None) -> list[str] | None:
        if labels is not None and classes is not None and len(labels) != classes:
            raise ValueError(f"{len(labels)} labels for {classes} classes")
        return labels

    if text := metadata.get(LABELS_KEY):
        yield "the model's metadata", lambda: counted(to_labels(parse_json(text)))
    if ultralytics.is_ours(metadata):
        yield "Ultralytics' metadata", lambda: counted(ultralytics.labels(metadata))
    if characters := metadata.get(CHARACTERS_KEY):
        yield "the model's characters", lambda: counted(paddle.labels(characters, classes))
    for name, read in LABELS.items():
        for file in _beside(path, name):
            yield name, lambda file=file, read=read: counted(read(_json(file)))
    try:
        file = find_label_file(path)
    except ValueError as error:
        yield "the model's folder", lambda error=error: _raise(error)
    else:
        if file:
            yield file.name, lambda file=file: counted(read_labels(file))
    for name in LISTS:
        for file in _beside(path, name):
            yield name, lambda file=file: counted(read_labels(file))


def _readouts(path: Path) -> Iterator[_Source[str]]:
    for name, read in READOUTS.items():
        for file in _beside(path, name):
            yield name, lambda file=file, read=read: read(parse_json(read_text(file)))


def _beside(path: Path, name: str) -> Iterator[Path]:
    """A file in the model's folder; Hugging Face's exports put the model into a folder onnx below it."""
    folders = [path.parent, *([path.parent.parent] if path.parent.name == "onnx" else [])]
    return (folder / name for folder in folders if (folder / name).is_file())


def _json(file: Path) -> Any:
    return parse_json(read_text(file))


def _config(file: Path) -> Any:
    """The config.json beside a file; None where there is none that can be read."""
    try:
        return _json(file.with_name("config.json"))
    except (ValueError, OSError):
        return None


def _raise(error: Exception) -> None:
    raise error
