"""Class names, from whatever they are written in. All of them are a stranger's text."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...engine.errors import BadRequest, nearest

MAX_BYTES = 2**22
_MAX_LABELS, _MAX_LENGTH = 2**17, 200
_ENDINGS = ("txt", "csv", "json")


def to_labels(names: Any) -> list[str]:
    """A list of names, or a table of index to name, as labels in the order of the classes.

    Control characters and line breaks become spaces and long names are cut, so that a label is one
    line on any screen. Raises ValueError where the indices are not 0, 1, 2, ... or a name is no text.
    """
    if isinstance(names, Mapping):
        if len(names) > _MAX_LABELS:
            raise ValueError(f"more than {_MAX_LABELS} labels")
        if not all(isinstance(index, str | int) for index in names):
            raise ValueError("a class index in it is no number")
        by_index = {int(index): name for index, name in names.items()}
        if sorted(by_index) != list(range(len(names))):
            raise ValueError("its class indices are not 0, 1, 2, ... without gaps")
        names = [by_index[i] for i in range(len(names))]
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise ValueError("it holds no list of labels")
    if len(names) > _MAX_LABELS:
        raise ValueError(f"more than {_MAX_LABELS} labels")
    if not all(isinstance(name, str | int) for name in names):
        raise ValueError("a label in it is not text")
    return [_one_line(str(name)) for name in names]


def read_labels(path: Path) -> list[str]:
    """Read a label file by its ending: .txt one name a line, .csv `index,name`, .json list or table.

    A .txt of one line may have them between semicolons. A .csv without indices is read like a .txt; a heading
    and blank lines at the end do not count, but for one of a single space: alphabets end with it.
    Raises ValueError for contents that are not that, OSError where it cannot be read.
    """
    text = read_text(path)
    if path.suffix == ".json":
        return to_labels(parse_json(text))
    lines = text.rstrip().splitlines()
    if text.rstrip("\r\n").endswith("\n "):
        lines.append(" ")
    if (
        path.suffix == ".txt" and len(lines) == 1 and ";" in text
    ):  # as DeepStream reads them of TAO's classifiers
        lines = text.strip().rstrip(";").split(";")
    if path.suffix == ".csv":
        cells = [[cell.strip().strip('"') for cell in line.split(",", 1)] for line in lines]
        if len(cells) > 1 and not cells[0][0].isdecimal() and cells[1][0].isdecimal():
            del cells[0]
        # Names hold commas more often than files hold a third column: what follows the index is the name.
        if all(len(row) == 2 and row[0].isdecimal() and len(row[0]) < 10 for row in cells):
            if len({int(row[0]) for row in cells}) != len(cells):
                raise ValueError("a class index in it stands twice")
            return to_labels({int(index): name for index, name in cells})
    return to_labels(lines)


def class_named(text: str, labels: Sequence[str]) -> int:
    """The class whose label is this text, or has it as one of its names between commas, or alone holds it.

    Raises BadRequest, with the nearest of these names, where there is none or there are several.
    """
    low = text.lower()
    names = [[n.strip().lower() for n in label.split(",")] for label in labels]
    for matches in (
        [i for i, label in enumerate(labels) if label.lower() == low],
        [i for i, parts in enumerate(names) if low in parts],
        [i for i, label in enumerate(labels) if low in label.lower()],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            # A cat comes before bullfrog, Rana catesbeiana.
            matches.sort(key=lambda i: low not in re.findall(r"\w+", labels[i].lower()))
            several = ", ".join(f"{i} {labels[i]!r}" for i in matches[:5]) + ", ..." * (len(matches) > 5)
            raise BadRequest(f"{len(matches)} classes are called {text!r}: {several}; give the index")
    single = [name.strip() for label in labels for name in label.split(",")]
    raise BadRequest(f"no class is called {text!r}{nearest(text, single)}")


def label_by_name(labels: Sequence[str]) -> dict[str, str]:
    """Labels by each name in lower case, which is a label or its part between commas, of one class alone."""
    owners: dict[str, set[str]] = {}
    for label in labels:
        for name in {label, *label.split(",")}:
            owners.setdefault(name.strip().lower(), set()).add(label)
    whole = {label.lower(): label for label in labels}
    return {name: next(iter(own)) for name, own in owners.items() if len(own) == 1} | whole


def find_label_file(model: Path) -> Path | None:
    """The label file that stands beside a model: STEM.labels.*, labels.*, or the only *labels*.*.

    Raises ValueError where several could be meant.
    """
    for stem in (f"{model.stem}.labels", "labels"):
        for ending in _ENDINGS:
            if (path := model.with_name(f"{stem}.{ending}")).is_file():
                return path
    found = [p for e in _ENDINGS for p in model.parent.glob(f"*labels*.{e}") if p.is_file()]
    # Another model's own file is not this one's.
    found = sorted(p for p in found if not p.stem.endswith(".labels"))
    if len(found) > 1:
        raise ValueError(f"several label files: {', '.join(p.name for p in found[:3])}")
    return found[0] if found else None


def read_text(path: Path) -> str:
    """The UTF-8 text of a small file. Raises ValueError above 4 MiB or for other bytes, OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
    return data.decode("utf-8-sig")


def parse_json(text: str) -> Any:
    """JSON, with every way in which it can be broken a ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _one_line(name: str) -> str:
    clean = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in name[: 4 * _MAX_LENGTH])
    return " ".join(clean.split())[:_MAX_LENGTH] or clean[:1]
