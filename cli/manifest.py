"""The record of a run: all that is needed to do it again."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..models.network.digest import sha256
from .console import SCHEMA

if TYPE_CHECKING:
    from ..models.network.opened import Opened
    from ..models.network.vision_model import VisionModel

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
    lens: VisionModel | Opened, command: str, arguments: dict[str, Any], results: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of a run of `command` over images."""
    return {**about(lens, command, arguments), "results": results}


def about(lens: VisionModel | Opened, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What was run with what: all of the record but the results."""
    return {
        "schema": SCHEMA,
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


def said(record: Mapping[str, Any]) -> str:
    """The answer in the JSON of a prediction, as Prediction.said says it."""
    if record.get("value") is not None:
        return f"{record['value']:.4g}"
    return "nan" if record["probability"] is None else f"{record['probability']:.3f}"
