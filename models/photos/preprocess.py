"""Photos to model inputs, and back: which photo pixels the input covers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...engine.errors import BadImage, BadRequest, nearest
from ...host import cv2
from ...kernels.photos.planes import planes
from ...kernels.photos.resample import FILTERS, resample
from .bands import MAX_CHANNELS, numbers_of, resized, shown

Box = tuple[float, float, float, float]

FITS = ("crop", "stretch", "letterbox")
CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1, "rgba": 4}
_ORDER = {"rgb": (0, 1, 2), "bgr": (2, 1, 0), "grey": (0,), "rgba": (0, 1, 2, 3)}
LAYOUTS = ("nchw", "nhwc")
INTERPOLATIONS = ("nearest", *FILTERS)
_PLAIN = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}
ANCHORS = ("centre", "top-left")
ROUNDINGS = ("down", "nearest")
MAX_SIDE = 8192
_MAX_RESIZED = 2**26


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How a photo goes into a model: x = (pixel * scale - mean) / std, after one of three fits.

    `size` is the model's (height, width). The photo is resized and a window of that size is taken from it:

        crop       keeps the proportions; the resized photo covers `resize`
        letterbox  keeps them; it fits into `resize`
        stretch    does not keep them; it is `resize`

    where `resize` is one number for a square, (height, width), or None for `size` itself. The window lies
    in the middle (`anchor` "centre") or at the photo's first pixel ("top-left"); what it holds beyond the
    photo is `fill`, tones of 0 to 255. With `crop_first` a crop is cut out of the photo, in whole pixels,
    before it is resized. The side that follows from the proportions is rounded "down" or to the "nearest"
    pixel by `rounding`; None is what is usual, down for a crop that says `resize` and nearest else.
    `interpolation` is a filter of Pillow's: "nearest", "box" (averages of areas), "linear", "hamming",
    "cubic" or "lanczos". Where a photo shrinks it averages, unless it is "nearest"; with `antialias` False
    linear, cubic and lanczos leave out what lies between, as OpenCV does. `fill`, `mean` and `std` have one
    number, or one for each channel in the order of `channels`.

    Parameters
    ----------
    size
        Height and width of the model's input.
    fit
        "crop", "letterbox" or "stretch".
    resize
        Size to which the photo is resized before the window is taken, that of the input by default.
    interpolation
        A filter of Pillow's.
    antialias
        Whether it averages where a photo shrinks.
    channels
        "rgb", "bgr", "grey", or "rgba": a fourth channel says how opaque a pixel is, which is 255 throughout;
        or how many channels of numbers, which are taken as they are.
    layout
        "nchw" or "nhwc", the order of the input's axes.
    scale
        What pixels of 0 to 255 are multiplied by.
    mean
        What is then taken off.
    std
        What is then divided by.
    fill
        Tone of what lies beyond the photo.
    anchor
        "centre" or "top-left".
    crop_first
        Whether a crop is cut out before resizing.
    rounding
        "down" or "nearest".

    Raises
    ------
    BadRequest
        For a value that is out of range or of the wrong type.

    Examples
    --------
    >>> preprocess = onnxlens.Preprocess(size=(224, 224), resize=256, scale=1 / 255)
    >>> x, box = preprocess(onnxlens.read_photo("cat.jpg"))
    >>> x.shape, x.dtype, box
    ((1, 3, 224, 224), dtype('float32'), (18.0, 18.0, 270.0, 270.0))
    """

    size: tuple[int, int]
    fit: str = "crop"
    resize: int | tuple[int, int] | None = None
    interpolation: str = "linear"
    antialias: bool = True
    channels: str | int = "rgb"
    layout: str = "nchw"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    fill: float | tuple[float, ...] = 0
    anchor: str = "centre"
    crop_first: bool = False
    rounding: str | None = None

    def __post_init__(self):
        for name, choices in (
            ("fit", FITS),
            ("interpolation", INTERPOLATIONS),
            *([("channels", CHANNELS)] if not _whole(self.channels, 1, MAX_CHANNELS) else []),
            ("layout", LAYOUTS),
            ("anchor", ANCHORS),
            *([("rounding", ROUNDINGS)] if self.rounding is not None else []),
        ):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                raise BadRequest(f"preprocessing: no {name} {str(value)!r:.50}{nearest(str(value), choices)}")
        _check(_pair(self.size), "size", self.size)
        resize = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
        _check(resize is None or _pair(resize), "resize", self.resize)
        _check(isinstance(self.antialias, bool), "antialias", self.antialias)
        _check(isinstance(self.crop_first, bool), "crop_first", self.crop_first)
        _check(_number(self.scale) and self.scale != 0, "scale", self.scale)
        fill = self.fill if isinstance(self.fill, tuple) else (self.fill,)
        for name, numbers in (("mean", self.mean), ("std", self.std), ("fill", fill)):
            fits = isinstance(numbers, tuple) and len(numbers) in (1, self.count)
            _check(fits and all(_number(n) for n in numbers), name, numbers)
        _check(all(0 <= n <= 255 for n in fill), "fill", self.fill)
        _check(all(n > 0 for n in self.std), "std", self.std)

    def __call__(self, photo: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, Box]:
        """Make a model input from a photo.

        Parameters
        ----------
        photo
            Pixels (H, W, 3) uint8, RGB, or Bands.
        out
            Where the input is written, so that many photos need no memory of their own.

        Returns
        -------
        tuple
            A float32 array (1, C, h, w), or (1, h, w, C) for "nhwc", and the box (y0, x0, y1, x1) that it
            covers, in photo pixels; a letterbox reaches beyond the photo. The box is exact: it holds whatever
            the rounding of sizes and offsets did.

        Raises
        ------
        ValueError
            For what is no such photo.
        BadImage
            For one so long and thin that a crop would have to enlarge it beyond 64 million pixels.
        """
        shape = getattr(photo, "shape", None)
        if shape is None or len(shape) != 3 or shape[2] != 3 or photo.dtype != np.uint8:
            what = type(photo).__name__ if shape is None else f"{shape} {photo.dtype}"
            raise ValueError(f"a photo is an array (H, W, 3) uint8, as read_photo(PATH) gives it, not {what}")
        height, width = photo.shape[:2]
        y0, x0, y1, x1 = self._cut(height, width)
        rows, columns = self._resized(y1 - y0, x1 - x0)
        if rows * columns > _MAX_RESIZED:
            raise BadImage(f"a {width}x{height} photo is too long and thin to crop; letterbox or stretch it")
        out = self.room(1) if out is None else out
        if isinstance(self.channels, int):
            self._put(numbers_of(photo, self.channels)[y0:y1, x0:x1], rows, columns, out[0])
            return out, self.box(height, width)
        if not getattr(photo, "exact", True):
            raise BadImage(
                f"the picture holds numbers that are no tones of 0 to 255: say --channel-order {self.count}, "
                "with which numbers are taken as they are"
            )
        photo = np.asarray(photo)
        resized = _resize(photo[y0:y1, x0:x1], rows, columns, self.interpolation, self.antialias)
        if self.channels == "grey":
            resized = cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)[..., None]
        if self.channels == "rgba":
            resized = cv2.cvtColor(resized, cv2.COLOR_RGB2RGBA)
        tones, fill = _tones(self)
        corner = self._corner(rows, columns)
        planes(resized, corner, tones, fill, _ORDER[self.channels], out[0], self.layout == "nhwc")
        return out, self.box(height, width)

    @property
    def count(self) -> int:
        """How many channels the input has."""
        return self.channels if isinstance(self.channels, int) else CHANNELS[self.channels]

    def _put(self, numbers: np.ndarray, rows: int, columns: int, out: np.ndarray) -> None:
        """Write numbers (H, W, C) into an input, resized and with a fill around them."""
        numbers = resized(numbers, rows, columns, self.interpolation, self.antialias)
        (top, left), (h, w) = self._corner(rows, columns), self.size
        x = np.empty((h, w, self.count), np.float32)
        x[:] = np.asarray(self.fill, np.float32)
        y0, x0 = max(-top, 0), max(-left, 0)
        part = numbers[max(top, 0) : max(top, 0) + h - y0, max(left, 0) : max(left, 0) + w - x0]
        x[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
        x = (x * np.float32(self.scale) - np.asarray(self.mean, np.float32)) / np.asarray(
            self.std, np.float32
        )
        out[:] = x if self.layout == "nhwc" else np.moveaxis(x, -1, 0)

    def room(self, count: int) -> np.ndarray:
        """Memory for so many inputs: zeros, (N, C, h, w) or (N, h, w, C) float32."""
        (h, w), channels = self.size, self.count
        return np.zeros(
            (count, channels, h, w) if self.layout == "nchw" else (count, h, w, channels), np.float32
        )

    def box(self, height: int, width: int) -> Box:
        """The part of a photo of this size that the input covers, (y0, x0, y1, x1) in photo pixels."""
        y0, x0, y1, x1 = self._cut(height, width)
        (rows, columns), (h, w) = self._resized(y1 - y0, x1 - x0), self.size
        top, left = self._corner(rows, columns)
        down, across = (y1 - y0) / rows, (x1 - x0) / columns
        return y0 + top * down, x0 + left * across, y0 + (top + h) * down, x0 + (left + w) * across

    def _cut(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a photo that is resized, in its pixels: all of it unless the crop comes first."""
        if not self.crop_first or self.fit != "crop":
            return 0, 0, height, width
        (h, w), (rows, columns) = self.size, self._target()
        larger = max(rows / height, columns / width)
        sides = min(max(int(h / larger), 1), height), min(max(int(w / larger), 1), width)
        top, left = (
            (0, 0) if self.anchor == "top-left" else ((height - sides[0]) // 2, (width - sides[1]) // 2)
        )
        return top, left, top + sides[0], left + sides[1]

    def _target(self) -> tuple[int, int]:
        """`resize` as (height, width)."""
        return (self.resize, self.resize) if isinstance(self.resize, int) else self.resize or self.size

    def _corner(self, rows: int, columns: int) -> tuple[int, int]:
        """Where the window starts on the resized photo: above 0 it crops, below 0 it pads."""
        if self.anchor == "top-left":
            return 0, 0
        return int((rows - self.size[0]) / 2), int((columns - self.size[1]) / 2)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Size of the whole photo before the window of the model's size is cut out of it."""
        h, w = self._target()
        if self.fit == "stretch":
            return h, w
        if self.crop_first and self.fit == "crop":
            return self.size
        if self.fit == "letterbox":
            whole = int if self.rounding == "down" else round
            if h * width <= w * height:
                return h, max(1, whole(h * width / height))
            return max(1, whole(w * height / width)), w
        if self.resize is None:
            factor = max(h / height, w / width)
            return max(h, round(height * factor)), max(w, round(width * factor))
        whole = round if self.rounding == "nearest" else int
        if h * width >= w * height:
            return h, max(w, whole(h * width / height))
        return max(h, whole(w * height / width)), w

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """Model inputs (N, C, h, w) or (N, h, w, C) back to pictures (N, h, w, 3) uint8 RGB.

        Undoes the normalisation, not the fit; what lies beyond 0 to 255 is clipped.
        """
        x = np.moveaxis(x, 1, -1) if self.layout == "nchw" else x
        x = x * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32)
        if isinstance(self.channels, int):
            return shown(x / np.float32(self.scale))
        x = np.clip(np.rint(x / np.float32(self.scale)), 0, 255).astype(np.uint8)
        x = x.repeat(3, -1) if self.channels == "grey" else coloured(x, self.channels)
        return np.ascontiguousarray(x)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; `from_dict` reads it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Preprocess:
        """Read what `to_dict` wrote. Raises BadRequest for unknown or missing keys and bad values."""
        if not isinstance(stored, Mapping) or "size" not in stored:
            raise BadRequest("preprocessing: not an object with a size")
        return cls(**known_fields(stored))


def known_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a Preprocess as JSON holds them, with tuples for lists. Raises BadRequest for other keys."""
    names = [field.name for field in dataclasses.fields(Preprocess)]
    for key in stored:
        if key not in names:
            raise BadRequest(f"preprocessing: unknown key {str(key)!r:.50}{nearest(str(key), names)}")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}


def coloured(values: np.ndarray, channels: str | int) -> np.ndarray:
    """Values (..., C) of the channels of an input, with red first and without how opaque it is.

    Channels of numbers are no colours: all of them, as they are.
    """
    if isinstance(channels, int):
        return values
    return values[..., ::-1] if channels == "bgr" else values[..., :3]


@lru_cache(maxsize=16)
def _tones(p: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    """What the 256 tones that a photo has become in each channel, (C, 256) float32, and the fill, (C,)."""
    fill = np.broadcast_to(np.asarray(p.fill, np.float32), p.count)
    x = np.arange(256, dtype=np.float32)[:, None].repeat(p.count, 1)
    x = np.concatenate([x, fill[None]]) * np.float32(p.scale)
    x -= np.asarray(p.mean, np.float32)
    x /= np.asarray(p.std, np.float32)
    return np.ascontiguousarray(x[:256].T), x[256]


def _resize(photo: np.ndarray, rows: int, columns: int, interpolation: str, antialias: bool) -> np.ndarray:
    if photo.shape[:2] == (rows, columns):
        return photo
    if interpolation == "nearest":  # of the pixels' centres, unlike OpenCV's, which moves the photo
        y, x = ((np.arange(n) + 0.5) * (m / n) for n, m in zip((rows, columns), photo.shape[:2], strict=True))
        return photo[y.astype(int)[:, None], x.astype(int)]
    if antialias or interpolation not in _PLAIN:
        return resample(photo, rows, columns, interpolation)
    return cv2.resize(photo, (columns, rows), interpolation=_PLAIN[interpolation])


def _pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_whole(n, 1, MAX_SIDE) for n in value)


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: object) -> bool:
    # Compared rather than asked for isfinite, which raises for a whole number of hundreds of digits.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e30 < value < 1e30


def _check(holds: bool, name: str, value: object) -> None:
    if not holds:
        raise BadRequest(f"preprocessing: {name} cannot be {value!r:.80}")
