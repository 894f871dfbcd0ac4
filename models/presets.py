"""Preprocessing by name: what the families of published models expect of their inputs."""

from __future__ import annotations

from typing import Any

from ..engine.errors import BadRequest, nearest
from .preprocess import CHANNELS, Preprocess

# `centre`: the part of the resized photo's shorter side that the centre crop keeps. 224 of 256, the habit of
# AlexNet's training code, is what torchvision, Caffe and TensorFlow-Slim all evaluate with.
_CENTRE = 224 / 256
_INCEPTION: dict[str, Any] = {"fit": "crop", "centre": _CENTRE, "scale": 1 / 127.5, "mean": (1.0,)}

PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {  # torchvision, timm, most PyTorch exports
        "fit": "crop",
        "centre": _CENTRE,
        "scale": 1 / 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
    "imagenet-bgr": {  # the same numbers on the channels in Caffe2's order
        "fit": "crop",
        "centre": _CENTRE,
        "channels": "bgr",
        "scale": 1 / 255,
        "mean": (0.406, 0.456, 0.485),
        "std": (0.225, 0.224, 0.229),
    },
    "caffe": {  # the Caffe model zoo's channel means, 0 to 255
        "fit": "crop",
        "centre": _CENTRE,
        "channels": "bgr",
        "mean": (103.94, 116.78, 123.68),
    },
    "inception": _INCEPTION,  # [-1, 1]
    "tf": _INCEPTION,
    "clip": {  # openai/CLIP, clip.py: no margin around the crop, bicubic
        "fit": "crop",
        "centre": 1.0,
        "interpolation": "cubic",
        "scale": 1 / 255,
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    },
    "yolo": {"fit": "letterbox", "scale": 1 / 255, "fill": 114},  # Ultralytics
    "unit": {"fit": "stretch", "scale": 1 / 255},  # [0, 1]
    "raw": {"fit": "stretch"},  # 0 to 255
}


def preset(name: str, size: tuple[int, int], layout: str = "nchw", channels: int = 3) -> Preprocess:
    """The preset `name` for a model whose input has this (height, width), layout and channel count.

    Raises BadRequest with the nearest names for an unknown one, and for a preset whose mean and std
    are those of three colours where the model takes grey.
    """
    if name not in PRESETS:
        raise BadRequest(f"no preset named {name!r:.50}{nearest(name, PRESETS)}")
    fields = dict(PRESETS[name])
    centre = fields.pop("centre", None)
    if centre:
        fields["resize"] = round(min(size) / centre)
    if channels == 1:
        if len(fields.get("mean", (0.0,))) != 1:
            grey = ", ".join(n for n, f in PRESETS.items() if len(f.get("mean", (0.0,))) == 1)
            raise BadRequest(f"preset {name!r} is for colour, and the model takes grey; there are: {grey}")
        fields["channels"] = "grey"
    elif channels not in CHANNELS.values():
        raise BadRequest(f"no preset feeds {channels} channels; there are presets for 3 and 1")
    return Preprocess(size=size, layout=layout, **fields)
