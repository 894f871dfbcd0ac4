"""Targets: what of an answer is to be explained, said in a line of text, as one thing with its seed.

    cat        box(3)        box(dog, 0.5).x        region(dog, 120:200, 40:90)        tabby - tiger

One language for all models (../sums.py). What a text means is only known once the model has answered to a
photo: its third box, the region of its dog. Each target says in words what it came to.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..anatomy.readouts.thing import Reading, Seed, Thing
from ..errors import BadRequest, NoMap, nearest
from ..sums import Part, parse, wrong
from .answered import Answered, has, no_such, told
from .terms import TARGETS

BARE = {"boxes": "box", "regions": "region"}  # what a name without brackets means; a class elsewhere
_TOP = re.compile(r"top0*([1-9]\d{0,5})", re.IGNORECASE)


def targets(wishes: Sequence[str | int | None], answered: Answered, absent: bool = False) -> list[Thing]:
    """The things that are meant, each once, with its words.

    None is the best thing, however unlikely, "top3" the three best ones and "every" all; a number is a class.
    Raises BadRequest for what the model cannot be asked, with what there is, and NoMap where the photo shows
    no such thing; or else, with `absent`, what cannot be found is a thing of the kind "nothing" whose words
    say why.
    """
    found: list[Thing] = []
    for wish in wishes:
        text = "" if wish is None else str(wish).strip()
        try:
            found += _meant(text, answered, absent)
        except (BadRequest, NoMap) as error:
            if not absent:
                raise
            found.append(Thing("nothing", None, None, Seed(), str(error), asked=text))
    return list({id(thing.seed): thing for thing in found}.values())


def _meant(text: str, answered: Answered, absent: bool) -> list[Thing]:
    """The things that one wish means; what is unlikely counts for none where what is `absent` is said."""
    most = _TOP.fullmatch(text)
    if not (text in ("", "every") or most):
        return [replace(_summed(text, answered), asked=text)]
    if not (answered.things or text or absent) and (likeliest := answered.of_score(0)[:1]):
        return [told(thing, answered) for thing in likeliest]
    if not answered.things:
        raise NoMap("the model found nothing in this photo; a target such as element(...) always works")
    there = answered.there if text == "every" else answered.things[: int(most[1]) if most else 1]
    return [told(thing, answered) for thing in there]


def check(text: str, reading: Reading) -> list[Part]:
    """The terms of a target, before there is a photo. Raises BadRequest where it is none for this answer."""
    parts = parse(text, "target", TARGETS, "box(0)", BARE.get(reading.kind, "class"))
    for part in parts:
        if not has(reading, part.name):
            raise wrong("target", text, part.at, str(no_such(reading, part.name)))
    return parts


def elements(wishes: Sequence[str | int | None], reading: Reading) -> list[str]:
    """The values of which targets name elements: they have to be looked at too."""
    return [p.arguments[0] for p in _terms(wishes, reading) if p.name == "element" and p.arguments]


def are_alike(wishes: Sequence[str | int | None], reading: Reading) -> bool:
    """Whether a target asks how alike two vectors are, which is of those of length 1.

    A vector's own length is not: of length 1, it is the same whatever the photo shows.
    """
    return any(part.name == "similar" for part in _terms(wishes, reading))


def check_classes(
    wishes: Sequence[str | int | None], reading: Reading, class_of: Callable[[str], int]
) -> None:
    """Raise BadRequest for a class that targets name and that is not there, whatever a photo shows.

    `class_of` raises it for a name. What is written as a term and is none is taken for a name, as those of
    classes may have brackets: it is said that it is neither.
    """
    at = {"class": 0, "box": 0, "region": 0, "pixel": 2}
    named = [p.arguments[at[p.name]] for p in _terms(wishes, reading) if len(p.arguments) > at.get(p.name, 9)]
    for name in (name for name in named if name and not name.isdecimal()):
        try:
            class_of(name)
        except BadRequest as error:
            term = re.match(r"(\w+)\s*\(", name)
            neither = f"; no target is called {term[1]!r:.40}{nearest(term[1], TARGETS)}" if term else ""
            raise BadRequest(f"{error}{neither}") from error


def _terms(wishes: Sequence[str | int | None], reading: Reading) -> list[Part]:
    """The terms of all targets that have any."""
    texts = [str(w).strip() for w in wishes if w is not None]
    texts = [t for t in texts if t not in ("", "every") and not _TOP.fullmatch(t)]
    return [part for text in texts for part in check(text, reading)]


def is_sum(text: str) -> bool:
    """Whether a text looks like more than the name of one class: a term with brackets, or a sum."""
    return bool(re.search(r"^\s*(?:[-+](?!\d+\s*$)|[\d.]+\s*\*|\w+\s*\()|\s[-+]\s", text))


def _summed(text: str, answered: Answered) -> Thing:
    parts = check(text, answered.reading)
    found = []
    for part in parts:
        try:
            found.append(_built(part, answered))
        except BadRequest as error:
            raise wrong("target", text, part.at, str(error)) from error
    if len(parts) == 1 and parts[0].weight == 1:
        return found[0]
    weighted = [thing.seed * part.weight for thing, part in zip(found, parts, strict=True)]
    seed = sum(weighted[1:], weighted[0])
    return Thing("sum", None, None, seed, text, found[0].box)


def _built(part: Part, answered: Answered) -> Thing:
    """One term: the thing that a function of TARGETS finds for what stands between its brackets."""
    term = TARGETS[part.name]
    parameters = list(inspect.signature(term).parameters.values())[1:]
    rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    given = part.arguments if part.arguments != ("",) else ()
    needed = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters)
    if len(given) < needed or (len(given) > len(parameters) and not rest) or "" in given:
        names = ", ".join(p.name if p.default is p.empty else f"[{p.name}]" for p in parameters)
        raise BadRequest(f"it is {part.name}({names})")
    thing = term(answered, *given)
    if not part.field:
        return thing
    if part.field not in thing.seeds:
        raise BadRequest(f"{part.name} has no {part.field!r:.20}{nearest(part.field, thing.seeds)}")
    return replace(thing, seed=thing.seeds[part.field], score=None, words=f"{part.field} of {thing.words}")
