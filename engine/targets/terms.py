"""The terms of targets: each finds a thing in an answer, by what stands between its brackets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..anatomy.readouts.thing import Seed, Thing
from ..errors import BadRequest, NoMap, nearest
from .answered import Answered, no_such, told

_RANGE = re.compile(r"(\d{1,6}):(\d{1,6})")


def _class(answered: Answered, label: str) -> Thing:
    """The score of a class, or the best other thing of that class; of a vector one of its numbers."""
    if answered.reading.kind == "embedding":
        return _element(answered, answered.reading.parts[0], label)
    index = answered.class_of(label)
    found = [thing for thing in answered.things if thing.label == index]
    if not found:
        raise NoMap(f"the model found no {label!r} here")
    return told(found[0], answered)


def _box(answered: Answered, which: str = "0", least: str = "0") -> Thing:
    """A box by its number, best first, or the best one of a class, of a score of at least `least`."""
    found = answered.of("box") if least == "0" else answered.of_score(_number(least, "a score"))
    if which.isdecimal() and which not in answered.labels:
        return told(_nth(found, which, "box"), answered)
    index, least_score = answered.class_of(which), _number(least, "a score")
    best = [t for t in found if t.label == index and (t.score or 0) >= least_score]
    if not best:
        above = f" of a score of {least} or more" if least_score else ""
        there = ", ".join(dict.fromkeys(answered.label(t) for t in found))
        raise NoMap(f"there is no box of {which!r:.60}{above} here; found were: {there:.200}")
    return told(best[0], answered)


def _region(answered: Answered, label: str = "", rows: str = "", columns: str = "") -> Thing:
    """The score of a class over its region, or within some rows and columns of the photo: 120:200."""
    made = getattr(answered.reading, "region", None)
    if made is None:
        raise no_such(answered.reading, "region")
    if not label:
        return told(answered.of("region")[0], answered)
    (y0, y1), (x0, x1) = _range(rows), _range(columns)
    (y0, x0), (y1, x1) = answered.to_input(y0, x0), answered.to_input(y1, x1)
    within = (y0, y1) if rows else None, (x0, x1) if columns else None
    try:
        thing = made(answered.values, answered.class_of(label), *within)
    except NoMap as error:
        there = ", ".join(dict.fromkeys(map(answered.label, answered.things)))
        raise NoMap(f"there is no region of {label!r:.60} here; found were: {there:.200}") from error
    where = f" in rows {rows}" if rows else ""
    where += f", columns {columns}" if columns else ""
    return replace(thing, words=f"region of {answered.label(thing)}{where}")


def _pixel(answered: Answered, row: str, column: str, label: str = "") -> Thing:
    """What the model says at a pixel of the photo: of a class, or of the one that it sees there."""
    made = getattr(answered.reading, "pixel", None)
    if made is None:
        raise no_such(answered.reading, "pixel")
    at = answered.to_input(_number(row, "a row") + 0.5, _number(column, "a column") + 0.5)
    thing = made(answered.values, *at, answered.class_of(label) if label else None)
    return replace(thing, words=f"{answered.label(thing) or 'value'} at {row},{column}")


def _char(answered: Answered, which: str) -> Thing:
    """A character of the text that was read, by its number."""
    return told(_nth(answered.of("character"), which, "char"), answered)


def _text(answered: Answered) -> Thing:
    """All of the text that was read."""
    return answered.of("text")[0]


def _similar(answered: Answered, photo: str) -> Thing:
    """How alike the answer is to that to another photo: the cosine of the two."""
    reading = answered.reading
    if not getattr(reading, "unit", False):
        raise no_such(reading, "similar")
    (part,) = reading.parts
    other = answered.vector(photo)[part].astype(np.float64).ravel()
    length = np.linalg.norm(other)
    if not (np.isfinite(length) and length > 0):
        raise NoMap(f"the answer to {photo!r} is no direction: its length is {length:g}")
    seed = Seed.on(part, np.arange(other.size), other / length)
    own = answered.values[part].astype(np.float64).ravel()
    cosine = float(own @ other / length / max(np.linalg.norm(own), 1e-12))
    return Thing("likeness", None, None, seed, f"likeness to {photo}", value=cosine, other=photo)


def _element(answered: Answered, output: str, *indices: str) -> Thing:
    """One number of an output, by its indices, without that of the batch."""
    if output not in answered.values:
        raise BadRequest(f"no output {output!r:.60} was looked at{nearest(output, answered.values)}")
    array = answered.values[output]
    shape = array.shape[1:] if array.ndim and array.shape[0] == 1 else array.shape
    if len(indices) != len(shape) or not all(map(str.isdecimal, indices)):
        raise BadRequest(f"{output!r:.60} has an index for each axis of {list(shape)}")
    at = tuple(map(int, indices))
    if any(i >= size for i, size in zip(at, shape, strict=True)):
        raise BadRequest(f"{output!r:.60} of shape {list(shape)} has no element {list(at)}")
    flat = int(np.ravel_multi_index(at, shape)) if shape else 0
    seed = Seed.on(output, flat)
    return Thing("value", None, None, seed, f"{output}[{', '.join(indices)}]")


def _nth(found: Sequence[Thing], which: str, what: str) -> Thing:
    """The thing of a number. Raises BadRequest for what is no number, NoMap for one that this photo lacks."""
    if not re.fullmatch(r"\d{1,9}", which):
        raise BadRequest(f"{which!r:.40} is not the number of a {what}")
    if int(which) >= len(found):
        there = f"they go from 0 to {len(found) - 1}" if found else "none was found"
        raise NoMap(f"there is no {what} {which} here: {there}")
    return found[int(which)]


def _number(text: str, what: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
        raise BadRequest(f"{text!r:.40} is not {what}")
    return float(text)


def _range(text: str) -> tuple[float, float]:
    """The two ends of 120:200; 0 and 0 of nothing."""
    if not text:
        return 0.0, 0.0
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) >= int(found[2]):
        raise BadRequest(f"{text!r:.40} is no range of pixels such as 120:200")
    return float(found[1]), float(found[2])


TARGETS: dict[str, Callable[..., Any]] = {
    "class": _class,
    "box": _box,
    "region": _region,
    "pixel": _pixel,
    "char": _char,
    "text": _text,
    "similar": _similar,
    "element": _element,
}
