"""The record of a run: all that is needed to do it again."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..models.network.digest import sha256

if TYPE_CHECKING:
    from ..models.maps.heatmap import HeatMap, Prediction
    from ..models.maps.projected import Projection
    from ..models.network.lens import Lens
    from ..models.network.opened import Opened

PACKAGES = (
    "onnxlens",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "numpy",
    "numba",
    "opencv-python-headless",
    "opencv-python",
)


def versions() -> dict[str, str]:
    """Versions of the packages that decide a result, of Python and of the system."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        **found,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def manifest(
    lens: Lens | Opened, command: str, arguments: dict[str, Any], results: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of a run of `command` over images."""
    return {**about(lens, command, arguments), "results": results}


def about(lens: Lens | Opened, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What was run with what: all of the record but the results."""
    return {
        "schema": 1,
        "command": command,
        "command_line": sys.argv[1:],
        "arguments": arguments,
        "model": {
            "path": str(lens.path),
            "sha256": sha256(lens.path),
            "opset": lens.network.opset,
            "input": lens.input,
        },
        "provider": {"used": lens.network.provider, "why": lens.network.why},
        "preprocess": lens.preprocess and lens.preprocess.to_dict(),
        "settings_from": lens.source,
        "versions": versions(),
    }


def finite(value: float | None) -> float | None:
    """A number for JSON, which has none for infinity and NaN."""
    return round(float(value), 6) if value is not None and isfinite(value) else None


def said(record: Mapping[str, Any]) -> str:
    """The answer in the JSON of a prediction, as Prediction.said says it."""
    if record.get("value") is not None:
        return f"{record['value']:.4g}"
    return "nan" if record["probability"] is None else f"{record['probability']:.3f}"


def prediction(p: Prediction) -> dict[str, Any]:
    """A prediction as JSON, which has no number for what is none; a value only where it is no probability."""
    value = {} if p.value is None else {"value": finite(p.value)}
    return {"index": p.index, "label": p.label, "probability": finite(p.probability), **value}


def heat_map(heat: HeatMap) -> dict[str, Any]:
    """A map as JSON: what it explains, where, and in numbers; without the map itself."""
    finite = heat.map.size > 0 and bool((abs(heat.map) < float("inf")).all())
    return {
        "method": heat.method,
        "layer": heat.layer,
        "target": prediction(heat.target),
        "score": round(heat.score, 6) if isfinite(heat.score) else None,
        "predictions": [prediction(p) for p in heat.predictions],
        "photo_size": list(heat.photo.shape[:2]),
        "map_size": list(heat.map.shape),
        "box": [round(edge, 4) for edge in heat.box],
        "map_range": [float(heat.map.min()), float(heat.map.max())] if finite else None,
    }


def projection(p: Projection) -> dict[str, Any]:
    """A projection as JSON: from which unit, to where, and in numbers; without the signal itself."""
    low, high = float(p.signal.min()), float(p.signal.max())
    unit: dict[str, Any] = {"layer": p.layer, "channel": p.channel, "position": list(p.position)}
    whole = None if p.rise is None or p.gap is None else p.rise + p.gap
    return {
        "method": p.method,
        **(unit if p.target is None else {"target": prediction(p.target)}),
        "value": finite(p.value),
        **({"note": p.note} if p.note else {}),
        **({} if whole is None else {"completeness": {"sum": finite(whole), "rise": finite(p.rise or 0)}}),
        "predictions": [prediction(q) for q in p.predictions],
        "photo_size": list(p.photo.shape[:2]),
        "signal_size": list(p.signal.shape[:2]),
        "box": [round(edge, 4) for edge in p.box],
        "window": list(p.window()),
        "signal_range": [low, high] if isfinite(low) and isfinite(high) else None,
    }
