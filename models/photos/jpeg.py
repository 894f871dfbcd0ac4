"""JPEG files to pixels, or what is damaged in them.

Where libjpeg-turbo cannot decode a part, it goes on with grey and a warning. Its interface TurboJPEG, here by
way of simplejpeg, raises the first warning; OpenCV has it written to the process's standard error. So OpenCV
decodes only what TurboJPEG does not take, or warns about for no good reason.
"""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np
import simplejpeg

from ...host import cv2, overheard

# Warnings about files whose pixels are right. Where libjpeg-turbo gives one, it keeps back those that follow.
# Cameras leave a few bytes before the end, where all is decoded.
_PADDING = re.compile(": [1-8] extraneous bytes before marker 0xd9")
# Some files state limits of a scan that do not apply, or repeat a scan, profiles are not used, and some
# samplings have no name in TurboJPEG.
_HARMLESS = re.compile(
    f"{_PADDING.pattern}|Invalid SOS parameters for sequential JPEG|Inconsistent progression sequence"
    "|Unknown Adobe color transform code|bad ICC marker|Could not determine subsampling level"
)
# How the warnings begin that decoding gives.
_WARNINGS = "Corrupt JPEG", "Premature end", "Invalid SOS", "Inconsistent progression", "Unknown Adobe"


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG file to (H, W, 3) uint8, RGB, not turned; grey and CMYK become RGB.

    Raises ValueError, whose text says what is wrong, where it is damaged, and OSError where that cannot be
    found out: only OpenCV decodes it, and there is no place for a temporary file.
    """
    try:
        return simplejpeg.decode_jpeg(data)
    except ValueError as error:
        said = str(error)
    if _PADDING.search(said):
        return simplejpeg.decode_jpeg(data, strict=False)
    if not _HARMLESS.search(said):
        raise ValueError(said.removeprefix("Corrupt JPEG data: "))
    return _decode_by_opencv(data)


def _decode_by_opencv(data: bytes) -> np.ndarray:
    """The same pixels, in twice the time."""
    pixels = None
    with overheard(*_WARNINGS) as said, suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    damage = [line for line in said if not _HARMLESS.search(line)]
    if pixels is None or damage:
        raise ValueError(damage[0].removeprefix("Corrupt JPEG data: ") if damage else "it cannot be decoded")
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB)
