"""Sums of terms with numbers before them, read from a line of text: what objectives and targets are.

    0.8*channel(conv4, 12) - 0.2*class("tabby cat")        box(3).x        tabby - tiger

Nothing else can be said: the text may be a stranger's, and is read rather than run.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from math import isfinite
from typing import NamedTuple

from .errors import BadRequest, nearest

MAX_CHARACTERS = 4000  # characters of a sum
_START = re.compile(r"\s*(?P<sign>[+-]?)\s*(?:(?P<weight>[\d.]+(?:[eE][+-]?\d+)?)\s*\*)?\s*")
_NAME = re.compile(r"(?P<name>\w+)\s*\(")
_ARGUMENT = re.compile(r"""\s*(?:"(?P<double>[^"]*)"\s*|'(?P<single>[^']*)'\s*|(?P<bare>[^,()"']*))""")
_FIELD = re.compile(r"\.(?P<field>[A-Za-z]\w*)")
_BARE = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>.+?))\s*(?=\s[+-]\s|$)""")


class Part(NamedTuple):
    """One term of a sum: weight * name(arguments).field, and the position in the text where it begins."""

    weight: float
    name: str
    arguments: tuple[str, ...]
    at: int
    field: str = ""


def parse(text: str, what: str, names: Collection[str], example: str, bare: str = "") -> list[Part]:
    """The terms of a sum, one at least; `what` it is called, such as "objective".

    `names` are the terms that there are, `example` one of them as it is written. Where there is a `bare` one,
    it is meant by what stands without brackets: its argument alone. Raises BadRequest, with the position,
    where the text is no sum of terms; whether what they name exists is for others to say.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(f"{_a(what)} ends at {MAX_CHARACTERS} characters")
    parts: list[Part] = []
    at = 0
    while not parts or text[at:].strip():
        start = _START.match(text, at)
        assert start is not None
        if parts and not start["sign"]:
            raise wrong(what, text, at, "expected + or -")
        weight, begin = _weight(what, text, start), start.end()
        name = _NAME.match(text, begin)
        word = _BARE.match(text, begin) if bare and (name is None or name["name"] not in names) else None
        if word is not None:
            parts.append(Part(weight, bare, (word[word.lastgroup or "bare"],), begin))
            at = word.end()
            continue
        if name is None:
            raise wrong(what, text, begin, f"expected a term such as {example}{nearest('', names)}")
        if name["name"] not in names:
            reason = f"no term {name['name']!r:.40}{nearest(name['name'], names)}"
            raise wrong(what, text, name.start(), reason)
        arguments, at = _arguments(what, text, name.end())
        field = _FIELD.match(text, at) if bare else None
        at = field.end() if field else at
        parts.append(Part(weight, name["name"], arguments, name.start(), field["field"] if field else ""))
    return parts


def quoted(name: str) -> str:
    """A name as it stands in a sum. BadRequest for one that holds both kinds of quotes."""
    mark = "'" if '"' in name else '"'
    if mark in name:
        raise BadRequest(f"{name!r:.80} holds both kinds of quotes, and cannot stand in an objective")
    return mark + name + mark


def wrong(what: str, text: str, at: int, reason: str) -> BadRequest:
    """The error that says what is wrong with a sum, and where."""
    here = text[at : at + 20].strip()
    return BadRequest(f"{what}, position {at + 1}{f' ({here!r})' if here else ', at the end'}: {reason}")


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _weight(what: str, text: str, start: re.Match[str]) -> float:
    try:
        weight = float(start["weight"] or 1)
    except ValueError:
        weight = float("inf")
    if not isfinite(weight):
        raise wrong(what, text, start.start("weight"), f"{start['weight']!r:.40} is no number")
    return -weight if start["sign"] == "-" else weight


def _arguments(what: str, text: str, at: int) -> tuple[tuple[str, ...], int]:
    """What stands between brackets, and the position behind them."""
    arguments: list[str] = []
    while True:
        found = _ARGUMENT.match(text, at)
        assert found is not None
        at = found.end()
        if text[at : at + 1] not in (",", ")"):
            reason = "expected , or ); names with brackets or quotes stand in quotes"
            raise wrong(what, text, at, reason)
        given = found[found.lastgroup or "bare"]
        arguments.append(given.strip() if found.lastgroup == "bare" else given)
        at += 1
        if text[at - 1] == ")":
            return tuple(arguments), at
