"""The concepts of a layer as one HTML page: of each its importance, its best patches, and a dream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from ...engine.errors import OnnxlensError
from ...engine.picture import encode_jpeg, shrunk
from ..features.concepts import Concepts, Patch
from ..storage.shards import encodable
from .pages import address, as_it_stands, rendered

SIDE = 140  # pixels of a patch
QUALITY = 80


def page(
    model: str,
    found: Concepts,
    vectors: Sequence[str],
    read: Callable[[str], np.ndarray],
    dreams: Sequence[np.ndarray] = (),
) -> str:
    """The page. `vectors` are the files of the concepts, `dreams` pictures (h, w, 3) of each, or none;
    `read` gives the pixels of a photo by its name.
    """
    most = max((one.importance for one in found.concepts), default=0) or 1
    shown = [
        {
            "percent": f"{100 * one.importance:.1f}",
            "wide": round(100 * one.importance / most, 1),
            "vector": vectors[k],
            "dream": _picture(dreams[k]) if dreams else None,
            "patches": [_patch(read, patch) for patch in one.patches],
        }
        for k, one in enumerate(found.concepts)
    ]
    return rendered(
        "concepts.html",
        version=version("onnxlens"),
        title=f"What {encodable(model)} tells {encodable(found.label)} by",
        found=found,
        explained=f"{100 * found.explained:.0f}",
        concepts=shown,
        style=as_it_stands("style.css", "concepts.css"),
    )


def _patch(read: Callable[[str], np.ndarray], patch: Patch) -> dict[str, Any]:
    y0, x0, y1, x1 = patch.box
    try:
        picture = _picture(read(patch.name)[y0:y1, x0:x1])
    except OnnxlensError:  # gone, since it was looked at
        picture = None
    return {"name": encodable(patch.name), "amount": f"{patch.amount:.3g}", "picture": picture}


def _picture(pixels: np.ndarray) -> str:
    return address("jpeg", encode_jpeg(shrunk(np.ascontiguousarray(pixels), SIDE), QUALITY))
