"""Roboflow's environment.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..labels import parse_json, to_labels

# inference/core/models/roboflow.py: preproc_image and what calls it; the resizing is OpenCV's plain linear.
_RESIZES: dict[str, dict[str, Any]] = {
    "Stretch to": {"fit": "stretch"},
    "Fit (black edges) in": {"fit": "letterbox", "fill": 0},
    "Fit (white edges) in": {"fit": "letterbox", "fill": 255},
    "Fit (grey edges) in": {"fit": "letterbox", "fill": 114},
}


def facts(environment: Any) -> dict[str, Any] | None:
    """Which part of a photo goes in. The scale of the colours stands nowhere, and depends on the model.

    None where there is no `PREPROCESSING`. Raises ValueError for steps that onnxlens does not have.
    """
    steps = environment.get("PREPROCESSING") if isinstance(environment, Mapping) else None
    steps = parse_json(steps) if isinstance(steps, str) else steps
    if not isinstance(steps, Mapping):
        return None
    for name in ("grayscale", "contrast", "static-crop"):
        step = steps.get(name)
        if step and not (isinstance(step, Mapping) and step.get("enabled") is False):
            raise ValueError(f"it has a step {name!r}, which onnxlens does not know")
    resize = steps.get("resize")
    if not isinstance(resize, Mapping):
        return None
    how, sides = resize.get("format", "Stretch to"), (resize.get("height"), resize.get("width"))
    if not isinstance(how, str) or how not in _RESIZES:
        raise ValueError(f"it resizes by {str(how)!r:.50}, not one of {', '.join(_RESIZES)}")
    size = {} if None in sides else {"size": sides}
    return {"antialias": False, **size, **_RESIZES[how]}


def labels(environment: Any) -> list[str] | None:
    """The table of classes."""
    names = environment.get("CLASS_MAP") if isinstance(environment, Mapping) else None
    return to_labels(names) if names else None
