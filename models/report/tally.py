"""What the rows of a run come to: totals, classes, confusions, histograms, and what to look at first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

BINS = 20
QUANTITIES = {
    "target_probability": "probability",
    "score": "score",
    "map_entropy": "entropy of the map (nats)",
    "seconds": "seconds",
}

Row = Mapping[str, Any]


def totals(images: Sequence[Sequence[Row]]) -> dict[str, int]:
    """Counts over images, each given by its rows: how many there are, and what became of them.

    `known`: those whose truth is known; `right`: those of them whose prediction is that.
    """
    rows = [row for image in images for row in image]
    known = [image[0] for image in images if image[0]["truth"] is not None]
    return {
        "images": len(images),
        "maps": sum(is_map(row) for row in rows),
        "problems": sum(row["problem"] is not None for row in rows),
        "errors": sum(row["error"] is not None for row in rows),
        "known": len(known),
        "right": sum(row["label"] == row["truth"] for row in known),
    }


def classes(firsts: Iterable[Row]) -> list[list[Any]]:
    """[label, images, mean probability] of each predicted class, most frequent first.

    `firsts`: one row of each image.
    """
    found: dict[str, list[float | None]] = defaultdict(list)
    for row in firsts:
        if row["label"] is not None:
            found[row["label"]].append(row["probability"])
    return [[label, len(found[label]), _mean(found[label])] for label in _frequent(found, len)]


def things(images: Iterable[Sequence[Row]]) -> list[list[Any]]:
    """[class, things, mean probability] of what a run over things is of, most frequent first.

    `images`: the rows of each. A thing has a row for each method, and counts once.
    """
    found: dict[str, list[float | None]] = defaultdict(list)
    for image in images:
        for row in things_of(image):
            found[row.get("class_label") or row["kind"]].append(row["target_probability"])
    return [[label, len(found[label]), _mean(found[label])] for label in _frequent(found, len)]


def things_of(rows: Sequence[Row]) -> list[Row]:
    """One row of each thing in an image, of all its rows; none of classes."""
    found = {row["target"]: row for row in reversed(rows) if row.get("kind") not in (None, "nothing")}
    return list(reversed(found.values()))


def confusion(firsts: Iterable[Row]) -> list[list[Any]]:
    """[truth, prediction, images] of each pair that occurs, most frequent first; of one row of each image."""
    pairs = Counter((r["truth"], r["label"]) for r in firsts if None not in (r["truth"], r["label"]))
    return [[*pair, pairs[pair]] for pair in _frequent(pairs, int)]


def histograms(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of each quantity that the rows have: its `key` and `title`, the `edges` of BINS bins, their `counts`.

    Probabilities are counted over [0, 1], the others from the least to the most.
    """
    found = []
    for key, title in QUANTITIES.items():
        values = [row[key] for row in rows if row[key] is not None]
        if values:
            span = (0.0, 1.0) if key == "target_probability" else None
            counts, edges = np.histogram(np.clip(values, *span) if span else values, BINS, span)
            found.append({"key": key, "title": title, "edges": edges.tolist(), "counts": counts.tolist()})
    return found


def is_map(row: Row) -> bool:
    """True for a row that has a map to look at."""
    return row["error"] is None and row["problem"] is None


def surprise(row: Row) -> float | None:
    """The probability of a wrong prediction; None where it is right, or the truth is not known."""
    wrong = row["truth"] is not None and row["label"] is not None and row["truth"] != row["label"]
    return row["probability"] if wrong else None


def shakiness(rows: Sequence[Row]) -> list[float]:
    """For each row how shaky its map is, in [0, 1]; 0 for what has no map.

    The mean of two shares of the maps of its method: those of a surer class, and those whose heat is less
    spread out (map_entropy). Shares and not values, because entropies depend on the size of the map.
    """
    groups = defaultdict(list)
    for i, row in enumerate(rows):
        if is_map(row):
            groups[row["method"]].append(i)
    shaky = np.zeros(len(rows))
    for places in groups.values():
        unsure = _share_below([-_or_nan(rows[i]["target_probability"]) for i in places])
        spread = _share_below([_or_nan(rows[i]["map_entropy"]) for i in places])
        shaky[places] = (unsure + spread) / 2
    return shaky.tolist()


def _frequent(found: Mapping[Any, Any], count: Callable[[Any], int]) -> list[Any]:
    """The keys of a table, those of the greatest count first, and in their order where it is the same."""
    return sorted(found, key=lambda key: (-count(found[key]), key))


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [v for v in values if v is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _share_below(values: Sequence[float]) -> np.ndarray:
    """For each value the share of all that are less; 0 for what is not a number."""
    array = np.array(values)
    return np.searchsorted(np.sort(array), array, "left") / len(array) * ~np.isnan(array)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
