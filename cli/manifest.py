"""The record of a run: all that is needed to do it again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..models.network.provenance import about

if TYPE_CHECKING:
    from ..models.network.opened import Opened
    from ..models.network.vision_model import VisionModel


def manifest(
    lens: VisionModel | Opened, command: str, arguments: dict[str, Any], results: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of a run of `command` over images."""
    return {**about(lens, command, sys.argv[1:], arguments), "results": results}


def said(record: Mapping[str, Any]) -> str:
    """The answer in the JSON of a prediction or of a thing, as Prediction.said and Found.said say it."""
    if record["probability"] is not None:
        return f"{record['probability']:.3f}"
    return "nan" if record.get("value") is None else f"{record['value']:.4g}"
