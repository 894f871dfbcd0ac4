"""What a result was made with: the model, its preprocessing, the provider, and the packages' versions."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from .digest import sha256

if TYPE_CHECKING:
    import numpy as np

    from .opened import Opened
    from .vision_model import VisionModel

PACKAGES = (
    "onnxlens",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "numpy",
    "numba",
    "opencv-python-headless",
    "opencv-python",
    "simplejpeg",
)
SCHEMA = 2  # of the JSON Lines and of manifests; raised when a field changes its meaning or goes


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


def identity(lens: VisionModel) -> dict[str, Any]:
    """What two models must have in common for the results of one to stand for those of the other."""
    from ...engine.anatomy.readouts.classes import Readout  # is heavy, and --help reads this file

    read, labels = lens.reading, json.dumps(lens.labels)
    given = digests(lens.inputs)
    said = [read.output, read.kind, read.form] if isinstance(read, Readout) else [*read.outputs, read.kind]
    return {
        "model": sha256(lens.path),
        **({"inputs": given} if given else {}),
        "preprocess": lens.preprocess.to_dict(),
        "readout": said,
        "labels": hashlib.sha256(labels.encode()).hexdigest(),
    }


def digests(inputs: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What inputs beside the picture were given, for the record."""
    return {
        name: {
            "type": str(array.dtype),
            "shape": list(array.shape),
            "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
        }
        for name, array in inputs.items()
    }


def about(
    lens: VisionModel | Opened, command: str, command_line: Sequence[str], arguments: dict[str, Any]
) -> dict[str, Any]:
    """What was run with what: all of a manifest but the results."""
    return {
        "schema": SCHEMA,
        "command": command,
        "command_line": list(command_line),
        "arguments": arguments,
        "model": {
            "path": str(lens.path),
            "sha256": sha256(lens.path),
            "opset": lens.network.opset,
            "input": lens.input,
            **({"inputs": digests(lens.inputs)} if lens.inputs else {}),
        },
        "provider": {"used": lens.network.provider, "why": lens.network.why},
        "preprocess": lens.preprocess and lens.preprocess.to_dict(),
        "settings_from": lens.source,
        "versions": versions(),
    }
