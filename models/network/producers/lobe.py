"""Lobe's signature.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..labels import to_labels


def facts(signature: Any) -> dict[str, Any] | None:
    """The middle square of the photo, from 0 to 1, as the onnx_example.py does that lies beside it."""
    if not is_ours(signature):
        return None
    return {"fit": "crop", "crop_first": True, "interpolation": "cubic", "scale": 1 / 255}


def labels(signature: Any) -> list[str] | None:
    """The labels of the project."""
    return to_labels(signature["classes"]["Label"]) if is_ours(signature) else None


def is_ours(signature: Any) -> bool:
    """Whether this is a signature of Lobe's: other tools have files of that name."""
    classes = signature.get("classes") if isinstance(signature, Mapping) else None
    return isinstance(classes, Mapping) and "Label" in classes
