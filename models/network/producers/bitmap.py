"""ONNX's own image metadata (docs/MetadataProps.md), which Azure Custom Vision and winmltools write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a pixel p of 0 to 255 becomes: p * scale - mean.
_RANGES: dict[str, dict[str, Any]] = {
    "nominalrange_0_255": {"scale": 1.0},
    "normalized_0_1": {"scale": 1 / 255},
    "normalized_1_1": {"scale": 1 / 127.5, "mean": (1.0,)},
    "nominalrange_16_235": {"scale": 219 / 255, "mean": (-16.0,)},
}
_FORMATS = {"gray8": "grey", "rgb8": "rgb", "bgr8": "bgr"}


def facts(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The order and the range of the colours, or one of them; None where the metadata says neither.

    Of the part of a photo it says nothing: all of it is stretched, with Pillow's usual filter, as the program
    does that Custom Vision hands out beside its models (onnx/python/predict.py). Letter case does not matter.
    """
    said = {key.lower(): value.lower() for key, value in metadata.items() if key.lower().startswith("image.")}
    order, pixels = said.get("image.bitmappixelformat"), said.get("image.nominalpixelrange")
    if order is None and pixels is None:
        return None
    for key, value, known in (("BitmapPixelFormat", order, _FORMATS), ("NominalPixelRange", pixels, _RANGES)):
        if value is not None and value not in known:
            raise ValueError(f"Image.{key} is {value!r:.50}, not one of {', '.join(known)}")
    if (gamma := said.get("image.colorspacegamma", "srgb")) != "srgb":
        raise ValueError(f"Image.ColorSpaceGamma is {gamma!r:.50}, and photos are sRGB")
    colours = {"channels": _FORMATS[order]} if order else {}
    return {"fit": "stretch", "interpolation": "cubic", **colours, **_RANGES.get(pixels or "", {})}
