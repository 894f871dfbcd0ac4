"""What stands beside or inside a model file: its preprocessing and the names of its classes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..engine.errors import BadRequest
from . import huggingface
from .labels import find_label_file, parse_json, read_labels, read_text, to_labels
from .preprocess import Preprocess

PREPROCESS_KEY, LABELS_KEY = "onnxlens.preprocess", "onnxlens.labels"
_MAX_LITERAL = 2**18
_T = TypeVar("_T")


class Sidecar(NamedTuple):
    """What was found, None for what was not, and a line that tells a person where, or why not."""

    preprocess: Preprocess | None
    labels: list[str] | None
    source: str


def find(path: Path, metadata: Mapping[str, str], classes: int | None = None) -> Sidecar:
    """Look for preprocessing and labels of the model at `path`, whose metadata is `metadata`.

    In this order: onnxlens's own metadata, Ultralytics' metadata, Hugging Face's files in the
    model's folder (or above it, where that is called onnx), a label file beside the model. Labels
    count only if there are `classes` of them, where that is known. Nothing here is an error:
    contents that cannot be used are passed over, and `source` says why.
    """
    notes: list[str] = []
    preprocess = _first(_preprocesses(path, metadata), "preprocessing", notes)
    labels = _first(_labels(path, metadata, classes), "labels", notes)
    return Sidecar(preprocess, labels, "; ".join(notes))


_Source = tuple[str, Callable[[], _T | None]]


def _first(sources: Iterator[_Source[_T]], what: str, notes: list[str]) -> _T | None:
    """The first source that has something. Adds to `notes` where it was, and what was passed over."""
    for where, read in sources:
        try:
            found = read()
        except (ValueError, OSError, BadRequest) as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
            notes.append(f"{what} in {where} passed over: {reason}")
            continue
        if found is not None:
            notes.append(f"{what} from {where}")
            return found
    return None


def _preprocesses(path: Path, metadata: Mapping[str, str]) -> Iterator[_Source[Preprocess]]:
    if text := metadata.get(PREPROCESS_KEY):
        yield "the model's metadata", lambda: Preprocess.from_dict(parse_json(text))
    if _is_ultralytics(metadata):
        yield "Ultralytics' metadata", lambda: _ultralytics(metadata)
    for file in _beside(path, "preprocessor_config.json"):
        yield file.name, lambda file=file: huggingface.preprocess_of(parse_json(read_text(file)))


def _labels(path: Path, metadata: Mapping[str, str], classes: int | None) -> Iterator[_Source[list[str]]]:
    def counted(labels: list[str] | None) -> list[str] | None:
        if labels is not None and classes is not None and len(labels) != classes:
            raise ValueError(f"{len(labels)} labels for {classes} classes")
        return labels

    if text := metadata.get(LABELS_KEY):
        yield "the model's metadata", lambda: counted(to_labels(parse_json(text)))
    if _is_ultralytics(metadata):
        yield "Ultralytics' metadata", lambda: counted(to_labels(_literal(metadata["names"])))
    for file in _beside(path, "config.json"):
        yield file.name, lambda file=file: counted(huggingface.labels_of(parse_json(read_text(file))))
    try:
        file = find_label_file(path)
    except ValueError as error:
        yield "the model's folder", lambda error=error: _raise(error)
    else:
        if file:
            yield file.name, lambda: counted(read_labels(file))


def _beside(path: Path, name: str) -> Iterator[Path]:
    """A file in the model's folder; Hugging Face's exports put the model into a folder onnx below it."""
    folders = [path.parent, *([path.parent.parent] if path.parent.name == "onnx" else [])]
    return (folder / name for folder in folders if (folder / name).is_file())


def _is_ultralytics(metadata: Mapping[str, str]) -> bool:
    return {"names", "task", "stride"} <= metadata.keys()


def _ultralytics(metadata: Mapping[str, str]) -> Preprocess:
    """Ultralytics' predictor: classifiers crop the middle, all else is letterboxed on grey 114."""
    size = _literal(metadata.get("imgsz", ""))
    size = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else size
    fit = "crop" if metadata["task"] == "classify" else "letterbox"
    return Preprocess(size=size, fit=fit, scale=1 / 255, fill=114)


def _literal(text: str) -> Any:
    """A Python literal, the form in which Ultralytics writes numbers, lists and tables."""
    if len(text) > _MAX_LITERAL:
        raise ValueError(f"longer than {_MAX_LITERAL} characters")
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("not a Python literal") from None


def _raise(error: Exception) -> None:
    raise error
