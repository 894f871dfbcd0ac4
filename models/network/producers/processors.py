"""The arithmetic of transformers' image processors.

Each class has its own (SPECIAL) or the common one, and its own defaults for what a file leaves out
(processors.json, from transformers 5.24). All raise ValueError for what does not end in one fixed size, and
for values that are none. Where a class is not in the table, what it does is not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ...photos.preprocess import MAX_SIDE

Config = Mapping[str, Any]  # what a file says, with the defaults of its class
Facts = dict[str, Any]

# Pillow's numbers for its filters.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "linear", 3: "cubic", 4: "box", 5: "hamming"}
_OPEN = "it leaves the size of pictures open"


@cache
def table() -> dict[str, dict[str, Any]]:
    """By "classes" the defaults of each class, by "models" the class of each model type."""
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


# -- sizes -----------------------------------------------------------------------------------------------


def plain(c: Config) -> Facts:
    """Resize, take the middle, rescale, normalise."""
    return _resized(c, _size(c)) | _numbers(c)


def _resized(c: Config, size: Config) -> Facts:
    """Fields for a photo that is resized to `size` and cut to `crop_size`, if it is."""
    if not c.get("do_resize"):
        raise ValueError(_OPEN)
    filters = {"interpolation": _filter(c)}
    sides, short = (size.get("height"), size.get("width")), size.get("shortest_edge")
    cropped = _pair(c.get("crop_size")) if c.get("do_center_crop") else None
    if short is not None and cropped and size.get("longest_edge") is None:
        return {"size": cropped, "fit": "crop", "resize": short, **filters}
    if None in sides:
        raise ValueError(_OPEN)
    if cropped is None or cropped == sides:
        return {"size": sides, "fit": "stretch", **filters}
    resize = sides[0] if sides[0] == sides[1] else sides
    return {"size": cropped, "fit": "stretch", "resize": resize, **filters}


def _padded(c: Config, sides: tuple[Any, Any], fill: Any, anchor: str) -> Facts:
    """Fields for a photo that keeps its proportions and is padded."""
    if not c.get("do_resize") or None in sides:
        raise ValueError(_OPEN)
    return {
        "size": sides,
        "fit": "letterbox",
        "fill": fill,
        "anchor": anchor,
        "interpolation": _filter(c),
        **_numbers(c),
    }


def _size(c: Config) -> Config:
    """`size` as an object: a number alone is both sides or the shorter one, as the class has it."""
    size = c.get("size")
    if isinstance(size, int):
        return {"height": size, "width": size} if c.get("is_square") else {"shortest_edge": size}
    if isinstance(size, list) and len(size) == 2:
        return {"height": size[0], "width": size[1]}
    if not isinstance(size, Mapping):
        raise ValueError("its size is neither a number nor an object")
    return size


def _pair(size: Any) -> tuple[Any, Any]:
    """The sides of a size; None for what it does not say."""
    return (size.get("height"), size.get("width")) if isinstance(size, Mapping) else (size, size)


def _filter(c: Config) -> str:
    resample = c.get("resample")
    if not isinstance(resample, int) or resample not in _RESAMPLE:
        raise ValueError(f"its resample {str(resample)!r:.40} is no filter of Pillow's")
    return _RESAMPLE[resample]


def _larger(side: Any, factor: Any) -> int:
    """A side made larger by a factor, rounded down."""
    numbers = isinstance(side, int) and isinstance(factor, int | float)
    if not numbers or not 1 <= side <= MAX_SIDE or not 1 <= factor <= 100:
        raise ValueError("its crop_pct or size makes no sense")
    return int(side * factor)


# -- numbers ---------------------------------------------------------------------------------------------


def _numbers(c: Config) -> Facts:
    """`scale`, and `mean` and `std` if the pictures are normalised."""
    found: Facts = {"scale": c.get("rescale_factor") if c.get("do_rescale") else 1.0}
    if c.get("do_normalize"):
        found |= {"mean": _statistic(c, "image_mean"), "std": _statistic(c, "image_std")}
    return found


def _statistic(c: Config, key: str) -> tuple[float, ...]:
    numbers = c.get(key)
    if not isinstance(numbers, list) or not all(isinstance(n, int | float) for n in numbers):
        raise ValueError(f"its {key} is no list of numbers")
    return tuple(numbers)


def _mean_tones(c: Config) -> tuple[float, ...]:
    """The tones that become 0: what is padded after normalising."""
    numbers = _numbers(c)
    return tuple(min(max(n / numbers["scale"], 0), 255) for n in numbers.get("mean", (0.0,)))


def _bgr(found: Facts) -> Facts:
    """The same with the channels turned round at the end, and the statistics with them."""
    return found | {"channels": "bgr"} | {k: found[k][::-1] for k in ("mean", "std") if k in found}


# -- classes of their own --------------------------------------------------------------------------------


def _convnext(c: Config) -> Facts:
    """A margin below 384 pixels, none from there on."""
    short = _size(c).get("shortest_edge")
    if not isinstance(short, int) or short >= 384:
        return _resized(c, {"height": short, "width": short}) | _numbers(c)
    inside = {**c, "do_center_crop": True, "crop_size": short}
    return _resized(inside, {"shortest_edge": _larger(short, _inverse(c["crop_pct"]))}) | _numbers(c)


def _poolformer(c: Config) -> Facts:
    """A margin of `crop_pct`, of a square too."""
    size = _size(c)
    short = size.get("shortest_edge") or size.get("height")
    if not size.get("shortest_edge") and size.get("width") != short:
        raise ValueError(_OPEN)
    return _resized(c, {"shortest_edge": _larger(short, _inverse(c["crop_pct"]))}) | _numbers(c)


def _inverse(part: Any) -> Any:
    return 1 / part if isinstance(part, int | float) and part > 0 else None


def _levit(c: Config) -> Facts:
    """The shorter side to 256 for 224."""
    size = _size(c)
    if size.get("shortest_edge"):
        size = {"shortest_edge": _larger(size["shortest_edge"], 256 / 224)}
    return _resized(c, size) | _numbers(c)


def _efficientnet(c: Config) -> Facts:
    """`rescale_offset` takes 1 off after rescaling, `include_top` divides by the deviation once more."""
    found = plain(c)
    if c.get("do_rescale") and c.get("rescale_offset"):
        found["mean"] = tuple(n + 1 for n in found.get("mean", (0.0,)))
    if c.get("include_top"):
        std = _statistic(c, "image_std")
        found["std"] = tuple(n * m for n, m in zip(found.get("std", (1.0,) * len(std)), std, strict=True))
        if len(found.get("mean", std)) == 1:
            found["mean"] *= len(std)
    return found


def _mobilevit(c: Config) -> Facts:
    """Never normalised, blue first."""
    found = plain({**c, "do_normalize": False})
    return _bgr(found) if c.get("do_flip_channel_order") else found


def _pplcnet(c: Config) -> Facts:
    """The shorter side to `resize_short`, blue first."""
    if c.get("size_divisor") not in (None, 1):
        raise ValueError("its size_divisor makes the size of pictures depend on the photo")
    size = {"shortest_edge": c["resize_short"]} if c.get("resize_short") else _size(c)
    return _bgr(_resized(c, size) | {"rounding": "nearest"} | _numbers(c))


def _perceiver(c: Config) -> Facts:
    """The middle is taken before resizing: as much of the shorter side as `size` is of `crop_size`."""
    sides = _pair(_size(c))
    if not c.get("do_center_crop"):
        return plain(c)
    crop = _pair(c.get("crop_size"))
    if None in sides or None in crop or sides[0] != sides[1] or crop[0] != crop[1]:
        raise ValueError(_OPEN)
    found = _resized({**c, "crop_size": sides[0]}, {"shortest_edge": crop[0]})
    return found | {"crop_first": True} | _numbers(c)


def _donut(c: Config) -> Facts:
    """The photo is fitted into the page's size and padded with black."""
    for key in ("do_align_long_axis", "do_crop_margin"):
        if c.get(key):
            raise ValueError(f"its {key} makes the part of a photo depend on what it shows")
    if not c.get("do_thumbnail") or not c.get("do_pad"):
        raise ValueError(_OPEN)
    size = c["size"][::-1] if isinstance(c["size"], list) else c["size"]  # a list is (width, height)
    return _padded(c, _pair(_size({**c, "size": size})), 0, "centre") | {"rounding": "down"}


def _dpt(c: Config) -> Facts:
    """Stretched, unless the proportions are kept."""
    sides, multiple = _pair(_size(c)), c.get("ensure_multiple_of") or 1
    if c.get("keep_aspect_ratio") or c.get("do_pad"):
        raise ValueError(_OPEN)
    if not all(isinstance(n, int) and isinstance(multiple, int) and n % multiple == 0 for n in sides):
        raise ValueError("its size is no multiple of ensure_multiple_of")
    return plain(c)


def _squared(c: Config) -> Facts:
    """Padded to a square with `background_color`."""
    if not c.get("do_pad"):
        raise ValueError(_OPEN)
    colour = c.get("background_color")
    fill = tuple(colour) if isinstance(colour, list) else colour
    return _padded(c, _pair(_size(c)), fill, "centre")


def _llava(c: Config) -> Facts:
    """Like CLIP's, or padded to a square with the mean."""
    if not c.get("do_pad"):
        return plain(c)
    found = plain(c)
    short, size = found.get("resize", found["size"]), found["size"]
    if found["fit"] == "crop" and size != (short, short):
        raise ValueError(_OPEN)
    mean = _statistic(c, "image_mean")
    return _padded(c, size, tuple(float(int(n * 255)) for n in mean), "centre")


def _sam(c: Config) -> Facts:
    """The longer side to the input's, padded behind with what normalising makes 0."""
    size, pad = _size(c), _pair(c.get("pad_size"))
    if not c.get("do_pad") or pad != (size.get("longest_edge"),) * 2:
        raise ValueError(_OPEN)
    return _padded(c, pad, _mean_tones(c), "top-left")


def _pi0(c: Config) -> Facts:
    """Fitted into the greatest size, padded behind with what normalising makes 0."""
    size, pad = _size(c), _pair(c.get("pad_size"))
    if not c.get("do_pad") or pad != (size.get("max_height"), size.get("max_width")):
        raise ValueError(_OPEN)
    return _padded(c, pad, _mean_tones(c), "top-left")


def _owlv2(c: Config) -> Facts:
    """Padded behind to a square with black."""
    return _padded(c, _pair(_size(c)), 0, "top-left") if c.get("do_pad") else plain(c)


def _patched(c: Config) -> Facts:
    """Whole pictures, unless they are cut into patches."""
    if c.get("crop_to_patches") or c.get("do_pad"):
        raise ValueError(_OPEN)
    return plain(c)


def _unaveraged(c: Config) -> Facts:
    """Resized without averaging."""
    return plain(c) | {"antialias": False}


SPECIAL: dict[str, Callable[[Config], Facts]] = {
    "ConvNext": _convnext,
    "DPT": _dpt,
    "DeepseekVL": _squared,
    "DepthPro": _unaveraged,
    "Donut": _donut,
    "EfficientNet": _efficientnet,
    "GotOcr2": _patched,
    "Janus": _squared,
    "LayoutLMv2": lambda c: _bgr(plain({**c, "do_rescale": False, "do_normalize": False})),
    "Levit": _levit,
    "Llava": _llava,
    "MobileViT": _mobilevit,
    "Nougat": _donut,
    "Ovis2": _patched,
    "Owlv2": _owlv2,
    "PI0": _pi0,
    "PPDocLayoutV2": _unaveraged,
    "PPDocLayoutV3": _unaveraged,
    "PPDocLayoutV4": _unaveraged,
    "PPLCNet": _pplcnet,
    "Perceiver": _perceiver,
    "PoolFormer": _poolformer,
    "PromptDepthAnything": _dpt,
    "RTDetr": _patched,
    "Sam": _sam,
}
