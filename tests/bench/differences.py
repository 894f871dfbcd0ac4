"""What two versions made of one command line, held against each other: files, values and lines."""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

SKIPPED = {"seconds", "time", "versions", "schema"}  # another in every run, or in every version
OWN = "ONNXLENS"  # stands for the folder of the version, wherever a text names it
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
PROGRESS = re.compile(r"^\d+ of \d+ .* left$")
INDEX = re.compile(r"\[\d+\]")
DATA = re.compile(r"<script type=\"application/json\"[^>]*>(.*?)</script>", re.DOTALL)
EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,([\w+/=]+)")


class Made(NamedTuple):
    """What a command made: SHA-256 of each file, values as JSON by their place, texts by where they stand."""

    folder: Path
    files: dict[str, str]
    values: dict[str, str]
    texts: dict[str, list[str]]


class Count(NamedTuple):
    """Names of what is equal, differs, and is in one only."""

    equal: list[str]
    different: list[str]
    here: list[str]
    there: list[str]


class Differences(NamedTuple):
    """Of all that a command made. `renamed` fields hold the same values in the same order under new names."""

    files: Count
    values: Count
    renamed: list[tuple[str, str]]
    lines: int
    changed: list[str]
    numbers: bool
    told: list[str]

    @property
    def found(self) -> bool:
        """Whether anything counts: a text that says the same numbers in other words does not."""
        lost = self.files.different, self.files.there, self.values.different, self.values.there
        return any(lost) or self.numbers


# -- reading ----------------------------------------------------------------------------------------------


def read(folder: Path, printed: Mapping[str, str], code: int, own: Sequence[str]) -> Made:
    """What lies in a folder, what was printed, and the exit code; `own`: how texts name the version."""
    made = Made(folder, {}, {"exit code": str(code)}, {})
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".json", ".jsonl", ".html"):
            _text(made, name, _without(path.read_text(encoding="utf-8"), own))
        elif path.suffix == ".npz":
            with np.load(path) as arrays:  # the container may hold times
                made.values.update({f"{name}: {key}": _digest(arrays[key]) for key in arrays.files})
        else:
            made.files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    for name, text in printed.items():
        _text(made, name, _without(text, own))
    return made


def _without(text: str, own: Sequence[str]) -> str:
    for spelling in own:
        text = text.replace(spelling, OWN)
    return text


def _digest(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()}"


def _text(made: Made, name: str, text: str) -> None:
    """Take JSON and what is inside a page for values, and the rest for lines."""
    if name.endswith(".json"):
        made.values.update(leaves(json.loads(text), name))
        return
    if name.endswith(".html"):
        for i, picture in enumerate(EMBEDDED.findall(text)):
            digest = hashlib.sha256(base64.b64decode(picture)).hexdigest()
            made.values[f"{name}: picture [{i}]"] = digest
        text = EMBEDDED.sub("PICTURE", text)
        for i, data in enumerate(DATA.findall(text)):
            made.values.update(leaves(json.loads(data), f"{name}: data [{i}]"))
        text = DATA.sub("DATA", text).replace("<", "\n<")
    lines = []
    for line in text.splitlines():
        if line.startswith("{"):
            made.values.update(leaves(json.loads(line), f"{name}[{len(lines)}]"))
        lines.append("JSON" if line.startswith("{") else line.rstrip())
    made.texts[name] = [line for line in lines if line not in ("", "JSON") and not PROGRESS.search(line)]


def leaves(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Each value of a JSON document that is no list or object, or an empty one, as JSON, by its place."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            if key not in SKIPPED and value.get("key") not in SKIPPED:  # a histogram is of its key
                yield from leaves(part, f"{place}.{key}")
    elif isinstance(value, list) and value:
        for i, part in enumerate(value):
            yield from leaves(part, f"{place}[{i}]")
    else:
        yield place, json.dumps(value)


# -- comparing --------------------------------------------------------------------------------------------


def compare(here: Made, there: Made) -> Differences:
    """Everything that is not the same to the bit."""
    files, values = _counted(here.files, there.files), _counted(here.values, there.values)
    renamed = list(_renamed(_fields(values.here, here.values), _fields(values.there, there.values)))
    new, old = {a for a, _ in renamed}, {b for _, b in renamed}
    values = values._replace(
        here=[p for p in values.here if _field(p) not in new],
        there=[p for p in values.there if _field(p) not in old],
    )
    lines = sum(map(len, here.texts.values()))
    changed = [line for name in sorted({*here.texts, *there.texts}) for line in _changed(name, here, there)]
    numbers = NUMBER.findall(_side(changed, "+")) != NUMBER.findall(_side(changed, "-"))
    code = here.values["exit code"]
    told = [f"both end with {code}"] if code == there.values["exit code"] != "0" else []
    told += [f"{name}: {_apart(there.folder / name, here.folder / name)}" for name in files.different]
    for first, more in firsts(values.different):
        told.append(f"{first}: {there.values[first]} -> {here.values[first]}{more}")
    return Differences(files, values, renamed, lines, changed, numbers, told)


def firsts(places: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The first place of each field, and how often the field stands elsewhere, in words."""
    for same in _fields(places, {place: place for place in places}).values():
        yield same[0], f" (and {len(same) - 1} more)" if same[1:] else ""


def _counted(here: Mapping[str, str], there: Mapping[str, str]) -> Count:
    both = [name for name in here if name in there]
    return Count(
        [name for name in both if here[name] == there[name]],
        [name for name in both if here[name] != there[name]],
        [name for name in here if name not in there],
        [name for name in there if name not in here],
    )


def _field(place: str) -> str:
    """The place without its numbers: the same field in all results."""
    return INDEX.sub("[]", place)


def _fields(places: Sequence[str], values: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for place in places:
        found.setdefault(_field(place), []).append(values[place])
    return found


def _renamed(here: Mapping[str, list[str]], there: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Fields of one version only that hold the same as one of the other only, in the same document."""
    free = dict(there)
    for new, values in here.items():
        document = re.split(r"[.\[]", new)[0]
        old = next((o for o, v in free.items() if v == values and o.startswith(document)), None)
        if old is not None:
            del free[old]
            yield new, old


def _changed(name: str, here: Made, there: Made) -> Iterator[str]:
    """The lines of a text that differ, with "-" before those of the other version."""
    for line in difflib.ndiff(there.texts.get(name, []), here.texts.get(name, [])):
        if line[0] in "+-":
            yield f"{line[0]} {name}: {line[2:]}"


def _side(changed: Sequence[str], sign: str) -> str:
    return " ".join(line.split(": ", 1)[1] for line in changed if line[0] == sign)


def _apart(before: Path, after: Path) -> str:
    """How far two files of a name are from each other."""
    if before.suffix == ".npy":
        a, b = np.load(before), np.load(after)
    else:
        a, b = (cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (before, after))
    if a is None or b is None:
        return f"{before.stat().st_size} and {after.stat().st_size} bytes"
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype}{list(a.shape)} -> {b.dtype}{list(b.shape)}"
    far = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return f"up to {np.nanmax(far, initial=0):.3g} of {np.nanmax(np.abs(a), initial=0):.3g}"
