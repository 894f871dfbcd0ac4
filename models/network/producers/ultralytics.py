"""Ultralytics' metadata: task, names, imgsz and stride, as Python writes them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from ..labels import to_labels

MAX_LITERAL = 2**18  # characters
_UNIT: dict[str, Any] = {"scale": 1 / 255}


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Whether a model's metadata is Ultralytics'."""
    return {"names", "task", "stride"} <= metadata.keys()


def facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Their predictors: all but classifiers are letterboxed on grey 114, with OpenCV's plain linear filter.

    A square classifier takes the middle of the photo, another one stretches it
    (ultralytics 8.4, data/augment.py: classify_transforms, LetterBox).
    """
    size = _literal(metadata.get("imgsz", ""))
    size = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else size
    if metadata["task"] != "classify":
        return {"size": size, "fit": "letterbox", "antialias": False, "fill": 114} | _UNIT
    return {"size": size, "fit": "crop", "oblong": "stretch"} | _UNIT


def labels(metadata: Mapping[str, str]) -> list[str]:
    """The table of names."""
    return to_labels(_literal(metadata["names"]))


def _literal(text: str) -> Any:
    """A Python literal, the form in which Ultralytics writes numbers, lists and tables."""
    if len(text) > MAX_LITERAL:
        raise ValueError(f"longer than {MAX_LITERAL} characters")
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("not a Python literal") from None
