"""What a model answered to one photo, as those ask who say what is to be explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..anatomy.readouts.thing import Reading, Thing
from ..errors import BadRequest, NoMap

NUMBERED = {"box": "box", "character": "char"}  # things of which there are many of a class, and their targets


@dataclass(frozen=True)
class Answered:
    """What a model answered to one photo, as targets ask for it.

    `things` are the ones that its `reading` found, best first, `values` those of the graph that these and the
    seeds are of, by name, for this photo alone. `labels` name the classes, and `class_of` gives the index of
    a class from what is written. `to_input` takes a point (row, column) of the photo to one of the model's
    input, `vector` gives the values of the answer to another photo, by its path. `size` is the height and
    width of the input.
    """

    reading: Reading
    things: Sequence[Thing]
    values: Mapping[str, np.ndarray]
    labels: Sequence[str]
    class_of: Callable[[str], int]
    to_input: Callable[[float, float], tuple[float, float]]
    vector: Callable[[str], Mapping[str, np.ndarray]]
    size: tuple[int, int] = (0, 0)

    @property
    def there(self) -> Sequence[Thing]:
        """The things that are more likely there than not: some of the classes, all others; at least one."""
        some = [t for t in self.things if t.kind != "class" or (t.score or 0) >= 0.5]
        return some or self.things[:1]

    def of_score(self, least: float) -> Sequence[Thing]:
        """The things of a score of at least so much, where the answer has a threshold; else all of them."""
        if not hasattr(self.reading, "threshold"):
            return self.things
        found: list[Thing] = self.reading.things(self.values, self.size, least)  # type: ignore[call-arg]
        known = {(t.label, t.score, t.box): t for t in self.things}
        return [known.get((t.label, t.score, t.box), t) for t in found]

    def label(self, thing: Thing) -> str:
        """What a thing is called: its own words, or its class."""
        if thing.label is None:
            return thing.words
        return self.labels[thing.label] if thing.label < len(self.labels) else f"class {thing.label}"

    def of(self, kind: str) -> list[Thing]:
        """The things of a kind, best first. Raises BadRequest where the model answers no such things."""
        found = [thing for thing in self.things if thing.kind == kind]
        if not found and self.things:
            raise no_such(self.reading, kind)
        if not found:
            raise NoMap(f"the model found no {kind} here")
        return found


def told(thing: Thing, answered: Answered) -> Thing:
    """A thing with words that say which one it is, and the target that means it."""
    among = [t for t in answered.things if t.kind == thing.kind]
    number = next((i for i, t in enumerate(among) if t is thing), None)
    name, kind = answered.label(thing), NUMBERED.get(thing.kind)
    if kind and number is None:
        return replace(thing, words=f"unlikely {kind}: {name}")
    if kind:
        return replace(thing, words=f"{kind} {number}: {name}", asked=f"{kind}({number})")
    of_class = thing.kind in ("class", "region") and thing.label is not None
    asked = f"{thing.kind}({thing.label})" if of_class else "text()" if thing.kind == "text" else ""
    return replace(thing, words=name, asked=asked)


def has(reading: Reading, term: str) -> bool:
    """Whether an answer can have a term of targets, whatever a photo shows."""
    of_kind = {"box": "boxes", "char": "sequence", "text": "sequence"}
    if term in ("region", "pixel"):
        return hasattr(reading, term)
    return (
        getattr(reading, "unit", False)
        if term == "similar"
        else of_kind.get(term, reading.kind) == reading.kind
    )


def no_such(reading: Reading, what: str) -> BadRequest:
    """That an answer has no such targets, and which it has."""
    named = {"boxes": "box(0), box(LABEL)", "regions": "region(LABEL), pixel(ROW, COLUMN)"}
    named |= {"sequence": "char(0), text()", "embedding": "similar(PHOTO)", "picture": "pixel(ROW, COLUMN)"}
    there = named.get(reading.kind, "class(LABEL)")
    return BadRequest(f"the model answers {reading.kind}, which have no {what}: say {there} or element(...)")
