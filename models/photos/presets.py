"""Preprocessing by name: what the families of published models expect of their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...engine.errors import BadRequest, nearest
from .preprocess import CHANNELS, Preprocess, known_fields

# `centre`: the part of the resized photo's shorter side that the window keeps, or the parts of both sides;
# what `resize` is at one size. 224 of 256, the habit of AlexNet's training code, is what torchvision, Caffe
# and TensorFlow-Slim all evaluate with. `oblong`: the fit where the size is not square.
RELATIVE = {"centre": "resize", "oblong": "fit"}  # facts that a size makes a field of
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
        "scale": 1.0,
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
    "yolo": {"fit": "letterbox", "antialias": False, "scale": 1 / 255, "fill": 114},  # Ultralytics
    "unit": {"fit": "stretch", "scale": 1 / 255},  # [0, 1]
    "unit-bgr": {"fit": "stretch", "scale": 1 / 255, "channels": "bgr"},
    "raw": {"fit": "stretch", "scale": 1.0},  # 0 to 255
    "raw-bgr": {"fit": "stretch", "scale": 1.0, "channels": "bgr"},
}

# The fields of Preprocess that can be said beside a preset, and the options that say them.
OPTIONS = {
    "fit": "fit",
    "resize": "resize",
    "interpolation": "interpolation",
    "antialias": "antialias",
    "anchor": "anchor",
    "crop_first": "crop-first",
    "rounding": "rounding",
    "fill": "pad-value",
    "channels": "channel-order",
    "scale": "scale",
    "mean": "mean",
    "std": "std",
}
_WORDS = {"fit", "interpolation", "anchor", "rounding", "channels", "layout"}
ENOUGH = {"fit", "scale"}  # the fields without which nobody knows how photos go in; the others have defaults
Said = str | Mapping[str, Any] | None


def preset(name: str, size: tuple[int, int], layout: str = "nchw", channels: int = 3) -> Preprocess:
    """The preset `name` for a model whose input has this (height, width), layout and channel count.

    Raises BadRequest with the nearest names for an unknown one, and for a preset whose mean and std
    are those of three colours where the model takes grey.
    """
    return completed(facts_of(name), size, layout, channels)


def facts_of(said: Said, found: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of a Preprocess that a preset says, or where none is said `found`; and those said beside it.

    `said`: a name of PRESETS, or fields of Preprocess and under "preset" such a name; fields may be text, as
    on the command line: "0.5,0.4,0.3", "1/255", "256x342". `found` is what lies beside the model, whose size
    and layout hold in any case. Raises BadRequest for names that are not there, with the nearest ones, and
    for text that is no such number.
    """
    beside = {"preset": said} if isinstance(said, str) else dict(said or {})
    name = beside.pop("preset", None)
    if name is not None and (not isinstance(name, str) or name not in PRESETS):
        raise BadRequest(f"no preset named {str(name)!r:.50}{nearest(str(name), PRESETS)}")
    base = _at_any_size(found or {})
    if name is not None:
        base = {key: base[key] for key in ("size", "layout") if key in base} | PRESETS[name]
    for relative, field in RELATIVE.items():
        if field in beside:
            base.pop(relative, None)
    return base | known_fields({key: _value(key, value) for key, value in beside.items()})


def told(said: Said) -> str:
    """What is said of a preprocessing, in words: "preset imagenet, mean 0.5"; nothing for None."""
    return " ".join(as_options(said)).removeprefix("--").replace(" --", ", ")


def as_options(said: Said) -> list[str]:
    """What is said of a preprocessing as words of a command line."""
    words = []
    for key, value in ({"preset": said} if isinstance(said, str) else dict(said or {})).items():
        name = OPTIONS.get(key, key)
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list | tuple):
            words += [f"--{name}", ("x" if key in ("size", "resize") else ",").join(map(str, value))]
        else:
            words += [f"--{name}", str(value)]
    return words


def has_preset(said: Said) -> bool:
    """Whether a preset is among what is said."""
    return isinstance(said, str) or bool(said and said.get("preset"))


def completed(facts: Mapping[str, Any], size: tuple[int, int], layout: str, channels: int) -> Preprocess:
    """The preprocessing that facts describe, for a model whose input has this size, layout, channel count.

    Raises BadRequest where the facts are those of other channels than the model takes.
    """
    fields = {**facts, "size": size, "layout": layout}
    if (oblong := fields.pop("oblong", None)) and size[0] != size[1]:
        fields["fit"] = oblong
    if isinstance(centre := fields.pop("centre", None), tuple):
        fields["resize"] = tuple(max(1, round(n / part)) for n, part in zip(size, centre, strict=True))
    elif centre:
        fields["resize"] = max(1, round(min(size) / centre))
    if channels == 1 and not isinstance(fields.get("channels"), int):
        if not _takes_grey(facts):
            grey = ", ".join(name for name, preset in PRESETS.items() if _takes_grey(preset))
            raise BadRequest(
                f"this preprocessing is for colour, and the model takes grey; presets for grey are: {grey}"
            )
        fields["channels"] = "grey"
    if channels not in CHANNELS.values() and "channels" not in fields:  # no colours: numbers as they are
        if any(len(facts.get(name, (0.0,))) not in (1, channels) for name in ("mean", "std")):
            raise BadRequest(
                f"this preprocessing has a mean or std for other channels than the model's {channels}: say "
                f"--preset unit or raw, and --mean and --std as one number or {channels}"
            )
        fields["channels"] = channels
    found = Preprocess(**fields)
    if channels == 4 != found.count:
        raise BadRequest(
            "the model takes 4 channels: say --channel-order rgba where the fourth says how opaque a pixel "
            "is, or 4 where they are numbers, as in .npy files"
        )
    if channels != found.count:
        raise BadRequest(
            f"the preprocessing makes {found.channels} pictures, the model takes {channels} channels"
        )
    return found


def _at_any_size(found: Mapping[str, Any]) -> dict[str, Any]:
    """Facts for one size, with what they say of the margin in parts of it."""
    facts = dict(found)
    resize, size = facts.pop("resize", None), facts.get("size")
    if resize is None or size is None:
        return facts
    if isinstance(resize, int):
        return facts | {"centre": min(size) / resize}
    return facts | {"centre": tuple(n / r for n, r in zip(size, resize, strict=True))}


def _takes_grey(facts: Mapping[str, Any]) -> bool:
    """Whether facts say nothing that only colours have."""
    grey = facts.get("channels", "grey") == "grey"
    return grey and all(len(facts.get(name, (0.0,))) == 1 for name in ("mean", "std"))


def _value(key: str, value: Any) -> Any:
    """A field of Preprocess as its type, from text of the command line or a number alone."""
    if key in ("mean", "std") and isinstance(value, int | float):
        return (value,)
    if key == "channels" and isinstance(value, str) and value.isdecimal() and len(value) < 5:
        return int(value)
    if not isinstance(value, str) or key in _WORDS:
        return value
    try:
        if key in ("antialias", "crop_first"):
            return {"true": True, "false": False}[value.lower()]
        if key in ("size", "resize"):
            sides = [int(side) for side in value.lower().split("x")]
            return sides[0] if len(sides) == 1 and key == "resize" else tuple(sides)
        numbers = [_number(text) for text in value.split(",")]
    except (ValueError, KeyError, ZeroDivisionError, OverflowError):
        raise BadRequest(f"preprocessing: {key} cannot be {value!r:.80}") from None
    return tuple(numbers) if key in ("mean", "std") or len(numbers) > 1 else numbers[0]


def _number(text: str) -> float:
    """A number or a quotient, such as 1/255."""
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(text)
