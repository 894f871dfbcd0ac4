"""Photo files to pixels, as a person sees them: upright, opaque, eight bits, RGB."""

from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...engine.errors import BadImage
from ...host import cv2, opencv_silent
from .bands import banded
from .header import Header, read_header
from .jpeg import decode_jpeg
from .npy import decode_npy, is_npy

MAX_BYTES = 2**28
MAX_PIXELS = 2**27
# Beyond deflate's best on one-bit pixels: only a blank page, or a lie that costs gigabytes, is denser.
_MAX_DENSITY = 2**14
_TURN = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


def read_photo(path: str | Path) -> np.ndarray:
    """A photo from its file, upright, opaque, in eight bits.

    Parameters
    ----------
    path
        A JPEG, PNG, WebP, GIF, TIFF or BMP file, or an array in a .npy file, which comes as Bands.

    Returns
    -------
    ndarray
        Pixels (H, W, 3) uint8, RGB. EXIF orientation is applied, transparent pixels lie on white.

    Raises
    ------
    BadImage
        As `read_file` and `decode` do: no such file, no picture, a damaged or an oversized one.

    Examples
    --------
    >>> photo = onnxlens.read_photo("cat.jpg")
    >>> photo.shape, photo.dtype
    ((288, 288, 3), dtype('uint8'))
    """
    return decode(read_file(path), str(path))


def read_file(path: str | Path) -> bytes:
    """The bytes of a photo file. Raises BadImage where there is no such file, or no regular one of a size
    that a photo may have.
    """
    try:
        about = os.stat(path)  # noqa: PTH116 (there are millions of them, and a Path takes as long as a file)
        if stat.S_ISDIR(about.st_mode):
            raise BadImage(f"{path}: {_why_no_photos(path)}")
        if not stat.S_ISREG(about.st_mode):
            raise BadImage(f"{path}: not a regular file")
        if about.st_size > MAX_BYTES:
            raise BadImage(f"{path}: {about.st_size >> 20} MiB, and photos end at {MAX_BYTES >> 20}")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall()
    except FileNotFoundError:
        raise BadImage(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadImage(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _why_no_photos(folder: str | Path) -> str:
    """Why a folder stands where a photo should: it was named as one, or may not be listed."""
    try:
        with os.scandir(folder):
            return "a folder, not a photo"
    except OSError as error:
        return f"cannot be listed ({error.strerror or error})"


def decode(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of a JPEG, PNG, WebP, GIF, TIFF, BMP or .npy file to (H, W, 3) uint8, RGB.

    EXIF orientation is applied. Transparent pixels are laid on white; 16 bits are scaled to 8; grey,
    palettes and CMYK become RGB; of an animation it is the first frame. Colours are taken as sRGB: ICC
    profiles are not applied. Sizes are bounded before anything is allocated. `name` stands in the
    errors, all of them BadImage: not a picture, damaged or cut short (also where the decoder would fill
    the gap), under 2 pixels on a side, over `MAX_PIXELS` or `MAX_BYTES`, too few bytes for its size.
    """
    if not data:
        raise BadImage(f"{name}: the file is empty")
    if len(data) > MAX_BYTES:
        raise BadImage(f"{name}: {len(data) >> 20} MiB, and photos end at {MAX_BYTES >> 20}")
    if is_npy(data):
        return banded(decode_npy(data, name), name)
    try:
        header = read_header(data)
    except (struct.error, IndexError):
        raise BadImage(f"{name}: the file is damaged or cut short") from None
    except ValueError as error:
        raise BadImage(f"{name}: {error}") from None
    if min(header.height, header.width) < 2:
        raise BadImage(f"{name}: {header.width}x{header.height}: nothing to look at")
    if header.height * header.width > MAX_PIXELS:
        raise BadImage(
            f"{name}: {header.width}x{header.height}: more than {MAX_PIXELS // 10**6} million pixels;"
            " shrink it first"
        )
    if header.height * header.width > len(data) * _MAX_DENSITY:
        raise BadImage(
            f"{name}: {len(data)} bytes cannot hold {header.width}x{header.height} pixels: damaged"
        )
    photo = _pixels(header, name)
    return np.ascontiguousarray(_TURN.get(header.orientation, lambda x: x)(photo))


def _pixels(header: Header, name: str) -> np.ndarray:
    """What is stored, not turned: (H, W, 3) uint8, RGB, on white. Raises BadImage as `decode` does."""
    if header.kind == "JPEG":
        try:
            return decode_jpeg(header.data)
        except ValueError as error:
            raise BadImage(
                f"{name}: the JPEG file is damaged ({error}); "
                "if it looks right in an image program, save it anew from there"
            ) from None
        except OSError as error:
            why = error.strerror or error
            raise BadImage(
                f"{name}: a rare kind of JPEG, to read it takes a temporary file ({why})"
            ) from None
    pixels = None
    with opencv_silent(), suppress(cv2.error):  # the error says what there is to say
        pixels = cv2.imdecode(np.frombuffer(header.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadImage(f"{name}: the {header.kind} file is damaged or cut short")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"{name}: {pixels.dtype} pixels have no known range; save it with 8 or 16 bits")
    # OpenCV multiplies the colours of an eight-bit TIFF by alpha; all else comes as it is stored.
    premultiplied = header.associated or (header.kind == "TIFF" and pixels.dtype == np.uint8)
    if pixels.dtype == np.uint16:
        pixels = ((pixels + np.uint32(128)) // 257).astype(np.uint8)
    return opaque_rgb(pixels, premultiplied)


def opaque_rgb(pixels: np.ndarray, premultiplied: bool) -> np.ndarray:
    """Grey, BGR or BGRA, uint8, to RGB on white."""
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    alpha = pixels[..., 3].astype(np.uint16)
    white = 255 * (255 - alpha) + 127
    rgb = np.empty((*alpha.shape, 3), np.uint8)
    for c in range(3):  # one channel at a time: large photos, and the sums need 16 bits
        stored = pixels[..., 2 - c].astype(np.uint16)
        ink = np.minimum(stored, alpha) * 255 if premultiplied else stored * alpha
        rgb[..., c] = (ink + white) // 255
    return rgb
