"""What a picture file says of itself before a pixel is decoded: kind, size, orientation, wholeness.

Decoders allocate what a header asks for, and some fill the missing end of a file with grey. So the
header is read here first, in plain Python, and only a whole file of a known size goes on.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
# Of a progressive JPEG each scan takes as long as a photo. Cameras write ten; 100 is libjpeg-turbo's advice.
_SCANS = 100
_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in a scan 0xFF is followed by 0 or a restart marker
_WIDTH, _HEIGHT, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA = 256, 257, 262, 274, 277, 338


class Header(NamedTuple):
    """Size as stored, EXIF orientation 1 to 8 that is still to be applied, and the bytes to decode.

    `associated`: the colours in this file are stored multiplied by their alpha.
    """

    kind: str
    height: int
    width: int
    orientation: int
    data: bytes
    associated: bool = False


def read_header(data: bytes) -> Header:
    """Read the header of a JPEG, PNG, WebP, GIF, BMP or TIFF file.

    Raises ValueError, whose text says what is wrong, for any other file and for one that ends before
    its picture does; struct.error and IndexError where the file ends inside a header.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(_PNG):
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", data, 6)
        return Header("GIF", height, width, 1, data)
    if data[:4] in _TIFF:
        return _tiff(data)
    if data.startswith(b"BM"):
        old = struct.unpack_from("<I", data, 14)[0] == 12
        width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
        return Header("BMP", abs(height), abs(width), 1, data)
    raise ValueError("not a picture of a kind that onnxlens reads (JPEG, PNG, WebP, GIF, TIFF, BMP)")


def _jpeg(data: bytes) -> Header:
    """ITU T.81, annex B: segments up to the first scan, then an end-of-image marker."""
    at, orientation, size, frame = 2, 1, None, (0, 0)
    while True:
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        mark, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if data[at] != 0xFF:
            raise ValueError("damaged")
        if mark == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _orientation(data[at + 10 : at + 2 + length])
        elif mark == 0xE0 and data[at + 4 : at + 9] == b"JFIF\0" and data[at + 9] != 1:
            data = data[: at + 9] + b"\1" + data[at + 10 :]  # decoders warn about others, and of nothing else
        elif 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            size, frame = struct.unpack_from(">HH", data, at + 5), (mark, data[at + 9])
        elif mark == 0xDA:
            break
        at += 2 + length
    if size is None:
        raise ValueError("damaged")
    # Inside a scan 0xFF is always followed by 0 or a restart marker: what is found is the real end.
    if data.find(b"\xff\xd9", at) < 0:
        raise ValueError("cut short: its end is missing")
    is_one = frame in ((0xC0, data[at + 4]), (0xC1, data[at + 4]))  # sequential, all components in this scan
    if not is_one and data.count(b"\xff\xda", at) > _SCANS and _scans(data, at) > _SCANS:
        raise ValueError(f"a JPEG in more than {_SCANS} scans; save it anew")
    return Header("JPEG", *size, orientation, data)


def _scans(data: bytes, at: int) -> int:
    """How many scans a JPEG has from the one at `at` on; it is left open how many more than _SCANS."""
    scans = 0
    while scans <= _SCANS and (mark := _MARK.search(data, at)) and data[mark.end() - 1] != 0xD9:
        scans += data[mark.end() - 1] == 0xDA
        at = mark.end() + struct.unpack_from(">H", data, mark.end())[0]
    return scans


def _png(data: bytes) -> Header:
    """PNG, third edition: keep the chunks that make pixels. The others make libpng talk on stderr."""
    if data[12:16] != b"IHDR":
        raise ValueError("damaged")
    width, height = struct.unpack_from(">II", data, 16)
    kept, at, orientation, kind = [_PNG], len(_PNG), 1, b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError("cut short: its end is missing")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            if end > len(data):
                raise ValueError("cut short: its end is missing")
            if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
                raise ValueError("damaged: a checksum in it is wrong")
            kept.append(data[at:end])
        elif kind == b"eXIf":
            orientation = _orientation(data[at + 8 : end - 4])
        at = end
    return Header("PNG", height, width, orientation, b"".join(kept))


def _webp(data: bytes) -> Header:
    """RFC 9649: RIFF chunks; the first one holds the size."""
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise ValueError("cut short: its end is missing")
    first = data[12:16]
    if first == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    elif first == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif first == b"VP8 ":
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError("damaged")
    at, orientation = 12, 1
    while first == b"VP8X" and at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            orientation = _orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return Header("WebP", height, width, orientation, data)


def _tiff(data: bytes) -> Header:
    """TIFF 6.0. The decoder turns the picture upright itself, so no orientation is left to apply."""
    tags = _tags(data)
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise ValueError("damaged")
    if tags.get(_PHOTOMETRIC, 0) > 6:
        raise ValueError("a TIFF in a colour space other than grey, RGB, CMYK and YCbCr; save it as RGB")
    if tags.get(_SAMPLES) == 2:
        raise ValueError("a grey TIFF with alpha, which the decoder would drop; save it as PNG")
    return Header("TIFF", tags[_HEIGHT], tags[_WIDTH], 1, data, tags.get(_EXTRA) == 1)


def _orientation(exif: bytes) -> int:
    """EXIF 2.32, tag 0x0112; 1 (upright) where it is missing or makes no sense."""
    try:
        value = _tags(exif).get(_ORIENTATION, 1)
    except (KeyError, struct.error):
        return 1
    return value if 1 <= value <= 8 else 1


def _tags(block: bytes) -> dict[int, int]:
    """The first directory of a TIFF block: tag to value, for single whole numbers."""
    order = _TIFF[block[:4]]
    at = struct.unpack_from(order + "I", block, 4)[0]
    tags = {}
    for i in range(struct.unpack_from(order + "H", block, at)[0]):
        tag, kind, count = struct.unpack_from(order + "HHI", block, at + 2 + 12 * i)
        if count == 1 and kind in (3, 4):
            tags[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), block, at + 10 + 12 * i)[0]
    return tags
