"""timm's config.json: `pretrained_cfg` and `label_names`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...photos.preprocess import MAX_SIDE
from ..labels import to_labels

# timm/data/config.py and constants.py: what counts where a configuration does not say it.
_USUAL: dict[str, Any] = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop_pct": 0.875,
    "crop_mode": "center",
}
_FILTERS = {
    "nearest": "nearest",
    "bilinear": "linear",
    "bicubic": "cubic",
    "lanczos": "lanczos",
    "box": "box",
}
_FITS = {"center": "crop", "squash": "stretch", "border": "letterbox"}


def facts(config: Any) -> dict[str, Any] | None:
    """timm's evaluation (timm/data/transforms_factory.py, transforms_imagenet_eval).

    The photo is resized to `crop_pct` more than the input - by `crop_mode` its shorter side, both sides or
    its longer one -, and the middle is taken. None without `pretrained_cfg`.
    """
    stored = _stored(config)
    if stored is None:
        return None
    cfg = _USUAL | {key: stored[key] for key in _USUAL if stored.get(key)}
    size, part = cfg["input_size"], cfg["crop_pct"]
    if (
        not isinstance(size, list)
        or len(size) != 3
        or not all(isinstance(n, int) and 0 < n <= MAX_SIDE for n in size)
    ):
        raise ValueError("its input_size is not three sensible numbers")
    if not isinstance(part, int | float) or not 0.01 <= part <= 1:
        raise ValueError("its crop_pct is not a part of 1")
    for key, known in (("interpolation", _FILTERS), ("crop_mode", _FITS)):
        if not isinstance(cfg[key], str) or cfg[key] not in known:
            raise ValueError(f"it has the {key} {str(cfg[key])!r:.50}, not one of {', '.join(known)}")
    for key in ("mean", "std"):
        if not isinstance(cfg[key], list) or not all(isinstance(n, int | float) for n in cfg[key]):
            raise ValueError(f"its {key} is no list of numbers")
    resize = tuple(math.floor(side / part) for side in size[1:])
    border = {"fill": tuple(round(255 * n) for n in cfg["mean"])} if cfg["crop_mode"] == "border" else {}
    return {
        "size": tuple(size[1:]),
        "fit": _FITS[cfg["crop_mode"]],
        "resize": resize,
        "interpolation": _FILTERS[cfg["interpolation"]],
        "scale": 1 / 255,
        "mean": tuple(cfg["mean"]),
        "std": tuple(cfg["std"]),
        **border,
    }


def labels(config: Any) -> list[str] | None:
    """`label_names`, which older files call `labels`."""
    if not isinstance(config, Mapping):
        return None
    names = config.get("label_names") or (config.get("labels") if _stored(config) else None)
    return to_labels(names) if names else None


def _stored(config: Any) -> Mapping[str, Any] | None:
    """The configuration itself: in a table of its own, or in older files among all else."""
    if not isinstance(config, Mapping):
        return None
    if isinstance(stored := config.get("pretrained_cfg"), Mapping):
        return stored
    return config if {"architecture", "input_size", "mean"} <= config.keys() else None
