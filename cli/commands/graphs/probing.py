"""What `onnxlens doctor --probe` says: whether layers answer to marks where they are said to lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...console import emit, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ....engine.features.probe import Probe

VERDICTS = {
    "right": "every layer answers where it is said to lie",
    "wrong": "answers lie beyond a cell from their marks: {wrong}",
    "unknown": "no layer can be compared",
}


def told(model: str, probes: Sequence[Probe], as_json: bool) -> int:
    """Print what came of each layer; 0 where all that could be compared are right and one could, else 1."""
    wrong = [p.layer for p in probes if p.is_beyond]
    verdict = "wrong" if wrong else "right" if any(not p.problem for p in probes) else "unknown"
    if as_json:
        emit({"model": model, "verdict": verdict, "probes": [_record(p) for p in probes]})
    else:
        _show(probes)
        say(VERDICTS[verdict].format(wrong=", ".join(wrong)))
    return 0 if verdict == "right" else 1


def _record(probe: Probe) -> dict[str, Any]:
    found: dict[str, Any] = {"layer": probe.layer}
    if probe.problem:
        return found | {"problem": probe.problem}
    errors = {"pixels": probe.pixels, "cells": probe.cells}
    return found | {
        "grid": list(probe.grid or ()),
        "cell": [round(float(side), 3) for side in probe.cell],
        "marks": len(probe.planted),
        "answered": len(probe.offsets),
        "largest": {unit: round(float(e.max()), 3) for unit, e in errors.items()},
        "median": {unit: round(float(np.median(e)), 3) for unit, e in errors.items()},
        "offset": [round(float(n), 3) for n in np.median(probe.offsets, 0)],
    }


def _show(probes: Sequence[Probe]) -> None:
    records = [_record(p) for p in probes if not p.problem]
    if records:
        table(
            ("layer", "grid", "cell", "answered", "largest error", "median error"), list(map(_cells, records))
        )
    for probe in probes:
        if probe.problem:
            say(f"{probe.layer}: {probe.problem}")


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    def error(of: dict[str, float]) -> str:
        return f"{of['pixels']:.1f} pixels, {of['cells']:.2f} cells"

    height, width = record["grid"]
    down, across = record["cell"]
    return (
        record["layer"],
        f"{height}x{width}",
        f"{down:.4g}x{across:.4g}",
        f"{record['answered']} of {record['marks']} marks",
        error(record["largest"]),
        error(record["median"]),
    )
