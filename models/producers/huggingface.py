"""Hugging Face's preprocessor_config.json and config.json, as transformers' image processors read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..labels import to_labels
from ..preprocess import MAX_SIDE

# Pillow's numbers for its filters. Box and Hamming differ from linear only where a photo is enlarged.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "linear", 3: "cubic", 4: "linear", 5: "linear"}
# Processors that read a bare `size` number as both sides rather than as the shorter one.
_SQUARE = ("ViT", "DeiT", "Beit", "EfficientNet", "Swin")


def facts(config: Any) -> dict[str, Any]:
    """The preprocessing that a preprocessor_config.json describes.

    Raises ValueError or BadRequest where it describes none that ends in one fixed size: no resizing,
    detection's longest edges, patches.
    """
    if not isinstance(config, Mapping) or not ("size" in config or "crop_size" in config):
        raise ValueError("it describes no image size")
    if not config.get("do_resize", True):
        raise ValueError("it leaves the size of pictures open")
    fields = _geometry(config) | {"scale": 1.0}
    resample = config.get("resample")
    fields["interpolation"] = _RESAMPLE.get(resample, "linear") if isinstance(resample, int) else "linear"
    if config.get("do_rescale", True):
        fields["scale"] = config.get("rescale_factor", 1 / 255)
    if config.get("do_normalize", "image_mean" in config):
        for name in ("mean", "std"):
            numbers = config.get(f"image_{name}")
            if not isinstance(numbers, list):
                raise ValueError(f"it normalises and has no image_{name}")
            fields[name] = tuple(numbers)
    if config.get("do_flip_channel_order"):  # MobileViT
        fields["channels"] = "bgr"
    return fields


def labels(config: Any) -> list[str] | None:
    """The labels in a config.json; None where it has none, or only LABEL_0, LABEL_1, ..."""
    names = config.get("id2label") if isinstance(config, Mapping) else None
    if not names:
        return None
    found = to_labels(names)
    return None if all(re.fullmatch(r"LABEL_\d+", label) for label in found) else found


def readout(config: Any) -> str | None:
    """What a config.json says of the answers, one of readouts.KINDS; None where it says nothing.

    That is its problem_type, or a regression where there is one label only, as transformers takes it.
    """
    if not isinstance(config, Mapping):
        return None
    names = config.get("id2label")
    alone = "regression" if isinstance(names, Mapping) and len(names) == 1 else None
    kinds = {"single_label": "classes", "multi_label": "labels", "regression": "values"}
    said = str(config.get("problem_type") or alone).removesuffix("_classification")
    return kinds.get(said)


def _geometry(config: Mapping[str, Any]) -> dict[str, Any]:
    """`size`, `fit` and `resize` from `size`, `crop_size`, `do_center_crop` and `crop_pct`."""
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type"))
    size = config.get("size")
    if isinstance(size, int):
        crops = bool(config.get("do_center_crop") or config.get("crop_pct"))
        square = kind.startswith(_SQUARE) or not crops
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    if not isinstance(size, Mapping):
        raise ValueError("its size is neither a number nor an object")
    sides, short = (size.get("height"), size.get("width")), size.get("shortest_edge")
    if config.get("do_center_crop") and (crop := config.get("crop_size")):
        crop = (crop, crop) if not isinstance(crop, Mapping) else (crop.get("height"), crop.get("width"))
        if short is not None:
            return {"size": crop, "fit": "crop", "resize": _enlarged(short, config)}
        if None in sides:
            raise ValueError("it leaves the size of pictures open")
        if sides == crop:
            return {"size": crop, "fit": "stretch"}
        if sides[0] == sides[1]:
            return {"size": crop, "fit": "stretch", "resize": sides[0]}
    elif short is None:
        return {"size": sides, "fit": "stretch"}
    elif isinstance(short, int) and (kind.startswith("ConvNext") or "crop_pct" in config):
        # ConvNext's processor, which ResNet uses too: a margin below 384 pixels, none from there on.
        if short >= 384:
            return {"size": (short, short), "fit": "stretch"}
        return {"size": (short, short), "fit": "crop", "resize": _enlarged(short, config, 224 / 256)}
    raise ValueError("it leaves the size of pictures open")


def _enlarged(short: Any, config: Mapping[str, Any], usual: float = 1.0) -> int:
    kept = config.get("crop_pct") or usual
    numbers = isinstance(kept, int | float) and isinstance(short, int)
    if not numbers or not 0.01 <= kept <= 1 <= short <= MAX_SIDE:
        raise ValueError("its crop_pct or shortest_edge makes no sense")
    return int(short / kept)
