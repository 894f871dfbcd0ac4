"""Arrays in files of NumPy's, read without pickle and never beyond what the file holds."""

from __future__ import annotations

import io
import math

import numpy as np

from ...engine.errors import BadImage

MAGIC = b"\x93NUMPY"


def is_npy(data: bytes) -> bool:
    """Whether these are the bytes of a .npy file."""
    return data.startswith(MAGIC)


def decode_npy(data: bytes, name: str) -> np.ndarray:
    """The array of numbers in a .npy file, which is not copied.

    `name` stands in the errors, all of them BadImage: no such file, damaged or cut short, and what holds
    anything but numbers (objects would be code).
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, by_columns, dtype = header[version[0]](stream)
    except (ValueError, KeyError, EOFError, RecursionError, MemoryError, SyntaxError, TypeError) as error:
        raise BadImage(f"{name}: a damaged .npy file ({' '.join(str(error).split())[:100]})") from None
    if dtype.kind not in "fiub" or dtype.itemsize == 0:
        raise BadImage(f"{name}: a .npy file of {str(dtype)[:40]}, where numbers are asked for")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data) - stream.tell():
        raise BadImage(f"{name}: the .npy file does not hold the numbers that it says: damaged or cut short")
    found = np.frombuffer(data, dtype, count, stream.tell()) if count else np.empty(0, dtype)
    return found.reshape(shape, order="F" if by_columns else "C").astype(dtype.newbyteorder("="), copy=False)
