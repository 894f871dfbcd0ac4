import base64
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from cv2.utils import logging  # pyright: ignore[reportMissingImports] (the stubs lack it)
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlens.engine.errors import BadImage
from onnxlens.models.photos import photo
from onnxlens.models.photos.photo import decode, read_photo

# Files that OpenCV cannot write; made with Pillow.
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUV"
    "FQwPFxgWFBgSFBUU/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAAICf/EABQQAQAAAAAAAAAAAAAA"
    "AAAAAAD/2gAOBEMATQBZAEsAAD8A1TR4jxZoAAAD/9k="
)
# `quarters`, with colours in a fourth of the columns and half of the rows (4:1:0); from cjpeg -sample 4x2.
QUARTER_COLOUR_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0"
    "Hyc5PTgyPC4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIy"
    "MjL/wAARCAAgADADAUIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAAYI/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/EABgBAAMBAQAA"
    "AAAAAAAAAAAAAAUGBwMI/8QAIBEAAQIFBQAAAAAAAAAAAAAAAAIDAQY1grIEMjNB8P/aAAwDAQACEQMRAD8AkQU6YBTg69o1TVSHrckg"
    "AAYEbIAGnmYQaeUWeKC/bmkcNJzQ90AABz4GT//Z"
)
TWO_FRAME_GIF = base64.b64decode(
    "R0lGODlhBgAEAIEAAMgeKAAAAAAAAAAAACH5BAAKAAAALAAAAAAGAAQAAAgLAAEIHEiwoMGBAQEAIfkEAQoAAQAsAAAAAAYABACB"
    "AAD/AAAAAAAAAAAACAsAAQgcSLCgwYEBAQA7"
)
HALF_CLEAR_GIF = base64.b64decode(
    "R0lGODlhBgAEAIEAAMgeKAAA/wAAAAAAACH5BAEAAAEALAAAAAAGAAQAAAgQAAEIDEBQIACCAQwiVEgwIAA7"
)
TURNED_WEBP = base64.b64decode(
    "UklGRlIAAABXRUJQVlA4WAoAAAAIAAAABQAAAwAAVlA4TBEAAAAvBcAAAAdQjyIXpf+BiOh/AABFWElGGgAAAE1NACoAAAAIAAEB"
    "EgADAAAAAQAGAAAAAAAA"
)
HALF_CLEAR_TIFF = base64.b64decode(
    "SUkqAAgAAAALAAABBAABAAAABgAAAAEBBAABAAAABAAAAAIBAwAEAAAAkgAAAAMBAwABAAAAAQAAAAYBAwABAAAAAgAAABEBBAAB"
    "AAAAmgAAABUBAwABAAAABAAAABYBBAABAAAABAAAABcBBAABAAAAYAAAABwBAwABAAAAAQAAAFIBAwABAAAAAgAAAAAAAAAIAAgA"
    "CAAIAMgeKIDIHiiAyB4ogMgeKIDIHiiAyB4ogMgeKIDIHiiAyB4ogMgeKIDIHiiAyB4ogMgeKIDIHiiAyB4ogMgeKIDIHiiAyB4o"
    "gMgeKIDIHiiAyB4ogMgeKIDIHiiAyB4ogA=="
)
RED = (200, 30, 40)
HALF_RED = (227, 142, 147)  # RED at alpha 128 of 255 on white


def quarters(h=32, w=48):
    """Four colours that tell every orientation from every other one."""
    picture = np.empty((h, w, 3), np.uint8)
    picture[: h // 2, : w // 2], picture[: h // 2, w // 2 :] = RED, (30, 180, 60)
    picture[h // 2 :, : w // 2], picture[h // 2 :, w // 2 :] = (30, 40, 220), (240, 240, 30)
    return picture


def encode(rgb, ending=".png", *flags):
    channels = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    stored = rgb if rgb.ndim == 2 else rgb[..., channels[rgb.shape[2]]]
    ok, data = cv2.imencode(ending, np.ascontiguousarray(stored), list(flags))
    assert ok
    return data.tobytes()


def jpeg(rgb, *flags):
    whole_colours = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    return encode(rgb, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95, *whole_colours, *flags)


def webp(rgb):
    return encode(rgb, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)


def exif(orientation, order="<"):
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return head + struct.pack(order + "IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, *extra):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def with_exif(data, orientation, order="<"):
    block = exif(orientation, order)
    if data.startswith(b"\xff\xd8"):
        segment = b"Exif\0\0" + block
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    return data[:33] + chunk(b"eXIf", block) + data[33:]


# What a viewer does for each orientation, in the words of the EXIF standard: where row 0 and column 0 are.
UPRIGHT = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: np.fliplr(np.rot90(x, -1)),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.fliplr(np.rot90(x)),
    8: np.rot90,
}


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tiff", ".webp"])
def test_lossless_files_come_back_as_they_were(ending):
    rgb = np.random.default_rng(0).integers(0, 256, (17, 29, 3), dtype=np.uint8)
    out = decode(webp(rgb) if ending == ".webp" else encode(rgb, ending), "x")
    np.testing.assert_array_equal(out, rgb)
    assert out.flags.c_contiguous


@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)])
def test_jpeg(flags):
    np.testing.assert_allclose(decode(jpeg(quarters(), *flags), "x"), quarters(), atol=8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_photo_stands_upright_whatever_way_the_camera_was_held(orientation, order):
    wanted = UPRIGHT[orientation](quarters())
    turned = decode(with_exif(jpeg(quarters()), orientation, order), "x")
    np.testing.assert_allclose(turned, wanted, atol=8)
    np.testing.assert_array_equal(decode(with_exif(encode(quarters()), orientation, order), "x"), wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_opencv_stands_it_up_the_same_way(orientation):
    data = with_exif(jpeg(quarters()), orientation)
    wanted = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decode(data, "x"), wanted)


@pytest.mark.parametrize("orientation", [3, 6])
def test_colours_and_alpha_turn_together(orientation):
    alpha = np.zeros((32, 48, 1), np.uint8)
    alpha[:16, :24] = 255
    data = with_exif(encode(np.dstack([quarters(), alpha])), orientation)
    wanted = UPRIGHT[orientation](np.where(alpha == 255, quarters(), 255))
    np.testing.assert_array_equal(decode(data, "x"), wanted)


def test_webp_with_orientation():
    assert decode(TURNED_WEBP, "x").shape == (6, 4, 3)


@pytest.mark.parametrize("block", [b"", b"II*\0", b"junk" * 9, exif(0), exif(9), exif(6)[:-8]])
def test_exif_that_makes_no_sense_means_upright(block):
    data = jpeg(quarters())
    segment = b"Exif\0\0" + block
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    assert decode(data, "x").shape == (32, 48, 3)


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_sixteen_bits_are_scaled_not_clipped(ending):
    deep = np.array([[0, 257, 256, 51400], [65535, 32768, 128, 129]], np.uint16)
    wanted = np.rint(deep / 257)
    np.testing.assert_array_equal(decode(encode(deep, ending), "x"), np.dstack([wanted] * 3))
    colour = np.dstack([deep, deep[::-1], deep])
    np.testing.assert_array_equal(decode(encode(colour, ending), "x"), np.rint(colour / 257))


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_sixteen_bits_with_alpha(ending):
    deep = np.empty((4, 6, 4), np.uint16)
    deep[:] = np.array([*RED, 128]) * 257
    np.testing.assert_array_equal(decode(encode(deep, ending), "x"), np.broadcast_to(HALF_RED, (4, 6, 3)))


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tiff", ".jpg"])
def test_grey(ending):
    grey = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[:, None], 16, 1)
    np.testing.assert_allclose(decode(encode(grey, ending), "x"), np.dstack([grey] * 3), atol=3)


@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_transparent_pixels_lie_on_white(ending):
    rgba = np.empty((4, 6, 4), np.uint8)
    rgba[:] = (*RED, 128)
    rgba[:, :2, 3], rgba[:, 4:, 3] = 255, 0
    out = decode(webp(rgba) if ending == ".webp" else encode(rgba, ending), "x")
    assert (out[:, :2] == RED).all()
    assert (out[:, 2:4] == HALF_RED).all()
    assert (out[:, 4:] == 255).all()


def test_transparent_tiff_lies_on_white():
    np.testing.assert_array_equal(decode(HALF_CLEAR_TIFF, "x"), np.broadcast_to(HALF_RED, (4, 6, 3)))


def test_grey_with_alpha_one_bit_and_palettes():
    out = decode(png(2, 2, 8, 4, b"\0\xc8\xff\xc8\x80\0\xc8\0\x00\xff"), "x")
    np.testing.assert_array_equal(out[..., 0], [[200, 227], [255, 0]])
    out = decode(png(8, 2, 1, 0, b"\0\xaa\0\x55"), "x")
    np.testing.assert_array_equal(out[..., 1], [[255, 0] * 4, [0, 255] * 4])
    palette = chunk(b"PLTE", bytes((*RED, 0, 0, 255))) + chunk(b"tRNS", b"\x80")
    out = decode(png(2, 2, 8, 3, b"\0\0\1\0\1\0", palette), "x")
    assert out[0].tolist() == [list(HALF_RED), [0, 0, 255]]


def test_cmyk_jpeg():
    out = decode(CMYK_JPEG, "x")
    assert out.shape == (16, 16, 3)
    np.testing.assert_allclose(out, np.broadcast_to((205, 44, 44), out.shape), atol=4)


@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_of_any_sampling_is_what_opencv_makes_of_it(sampling, progressive):
    noise = np.random.default_rng(1).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    data = encode(noise, ".jpg", *flags)
    np.testing.assert_array_equal(decode(data, "x"), by_opencv(data))


def by_opencv(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_cmyk_jpeg_is_what_opencv_makes_of_it():
    np.testing.assert_array_equal(decode(CMYK_JPEG, "x"), by_opencv(CMYK_JPEG))


def test_real_photos_are_what_opencv_makes_of_them():
    photos = Path(os.environ.get("ONNXLENS_TEST_DATA", "nowhere"), "photos")
    if not (found := sorted(photos.glob("*.jpg"))):
        pytest.skip("needs ONNXLENS_TEST_DATA")
    for path in found:
        np.testing.assert_array_equal(read_photo(path), by_opencv(path.read_bytes()))


def test_a_jpeg_of_a_sampling_that_has_no_name(capfd):
    np.testing.assert_array_equal(decode(QUARTER_COLOUR_JPEG, "x"), by_opencv(QUARTER_COLOUR_JPEG))
    assert np.abs(decode(QUARTER_COLOUR_JPEG, "x") - quarters().astype(int)).mean() < 3
    damaged = QUARTER_COLOUR_JPEG[:-30] + bytes(20) + QUARTER_COLOUR_JPEG[-10:]
    with pytest.raises(BadImage, match="x: the JPEG file is damaged"):
        decode(damaged, "x")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("oddity", ["a later revision", "a broken profile"])
def test_damage_is_found_all_the_same(oddity):
    odd = ODD[oddity](encode(quarters(), ".jpg"))
    with pytest.raises(BadImage, match="x: the JPEG file is damaged"):
        decode(odd[:-60] + bytes(50) + odd[-10:], "x")


def segment(kind, body):
    return bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body


ODD = {
    "a later revision": lambda data: data.replace(b"JFIF\0\1", b"JFIF\0\2", 1),
    "a colour transform without a name": lambda data: (
        data[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\7") + data[2:][18:]
    ),
    "a broken profile": lambda data: data[:2] + segment(0xE2, b"ICC_PROFILE\0\2\1" + bytes(9)) + data[2:],
    "wrong limits of its scan": lambda data: data.replace(b"\x11\0\x3f\0", b"\x11\0\0\0", 1),
}


@pytest.mark.parametrize("oddity", ODD)
def test_what_cannot_be_decoded_is_found_all_the_same(oddity, capfd):
    odd = ODD[oddity](encode(quarters(), ".jpg"))
    at = odd.index(b"\xff\xda") + 10
    odd = odd[:at] + b"\x33" + odd[at + 1 :]  # a component asks for a table of codes that there is not
    with pytest.raises(BadImage, match="x: the JPEG file is damaged"):
        decode(odd, "x")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("oddity", ODD)
def test_what_no_pixel_depends_on_does_no_harm(oddity, capfd):
    data = encode(quarters(), ".jpg")
    odd = ODD[oddity](data)
    assert odd != data
    np.testing.assert_array_equal(decode(odd, "x"), decode(data, "x"))
    assert capfd.readouterr() == ("", "")


def test_gif_shows_its_first_frame_and_white_where_it_is_clear():
    np.testing.assert_array_equal(decode(TWO_FRAME_GIF, "x"), np.broadcast_to(RED, (4, 6, 3)))
    out = decode(HALF_CLEAR_GIF, "x")
    assert (out[:, :3] == RED).all()
    assert (out[:, 3:] == 255).all()


def test_reading_a_file(tmp_path):
    (tmp_path / "photo of mine.png").write_bytes(encode(quarters()))
    np.testing.assert_array_equal(read_photo(tmp_path / "photo of mine.png"), quarters())
    np.testing.assert_array_equal(read_photo(str(tmp_path / "photo of mine.png")), quarters())


WHOLE = {
    "jpg": jpeg(quarters()),
    "progressive jpg": jpeg(quarters(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "turned jpg": with_exif(jpeg(quarters()), 6),
    "png": encode(quarters()),
    "webp": webp(quarters()),
    "lossy webp": encode(quarters(), ".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    "gif": TWO_FRAME_GIF,
    "bmp": encode(quarters(), ".bmp"),
    "tiff": encode(quarters(), ".tiff"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_every_truncation_is_one_line_with_the_path(kind, capfd):
    data = WHOLE[kind]
    assert decode(data, "x").shape[2] == 3
    for end in sorted({*range(1, min(len(data), 60)), *range(60, len(data) - 1, 37), len(data) - 2}):
        with pytest.raises(BadImage) as caught:
            decode(data[:end], "some/photo.x")
        assert str(caught.value).startswith("some/photo.x: ")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_photo():
    whole = jpeg(quarters())
    thumbnail = jpeg(quarters(8, 8))
    segment = b"Exif\0\0" + exif(1) + thumbnail
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + whole[2:]
    np.testing.assert_array_equal(decode(data, "x"), decode(whole, "x"))
    with pytest.raises(BadImage, match="cut short"):
        decode(data[:-40], "x")


def test_what_follows_the_end_of_a_photo_does_no_harm():
    for kind in ("jpg", "png", "webp"):
        np.testing.assert_array_equal(decode(WHOLE[kind] + b"\0" * 500, "x"), decode(WHOLE[kind], "x"))


def test_a_png_with_one_wrong_byte_is_found_out():
    data = bytearray(WHOLE["png"])
    data[len(data) // 2] ^= 1
    with pytest.raises(BadImage, match="checksum"):
        decode(bytes(data), "x")


def test_decoders_keep_quiet_about_what_they_need_not_read(capfd):
    junk = chunk(b"iCCP", b"x") + chunk(b"gAMA", b"\0") + chunk(b"tEXt", b"y")
    data = WHOLE["png"][:33] + junk + WHOLE["png"][33:]
    np.testing.assert_array_equal(decode(data, "x"), quarters())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello, I am a text", "not a picture"),
        (bytes(5000), "not a picture"),
        (b"\xff\xd8\xff\xd9", "damaged or cut short"),
        (encode(np.zeros((1, 1, 3), np.uint8)), "1x1: nothing to look at"),
        (encode(np.zeros((1, 9, 3), np.uint8)), "9x1: nothing to look at"),
        (encode(np.zeros((4, 4), np.float32), ".tiff"), "float32 pixels"),
    ],
)
def test_what_is_no_photo_is_one_line_with_the_path(data, why, capfd):
    with pytest.raises(BadImage, match=why) as caught:
        decode(data, "some/photo.jpg")
    assert str(caught.value).startswith("some/photo.jpg: ")
    assert capfd.readouterr() == ("", "")


BOMBS = {
    "png": png(30000, 30000, 8, 2, bytes(9000)),
    "jpg": WHOLE["jpg"].replace(struct.pack(">HH", 32, 48), struct.pack(">HH", 60000, 60000)),
    "gif": TWO_FRAME_GIF[:6] + struct.pack("<HH", 60000, 60000) + TWO_FRAME_GIF[10:],
    "bmp": WHOLE["bmp"][:18] + struct.pack("<ii", 30000, -30000) + WHOLE["bmp"][26:],
    "tiff": HALF_CLEAR_TIFF[:18] + struct.pack("<I", 10**6) + HALF_CLEAR_TIFF[22:30]
    + struct.pack("<I", 10**6) + HALF_CLEAR_TIFF[34:],
    "webp": TURNED_WEBP[:24] + b"\xff\xff\x3f\xff\xff\x3f" + TURNED_WEBP[30:],
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_size_is_bounded_before_a_decoder_sees_the_file(kind, monkeypatch):
    monkeypatch.setattr(photo, "_pixels", lambda _: pytest.fail("decoded"))
    with pytest.raises(BadImage, match=r"x: \d{5,}x\d{5,}: more than 134 million pixels"):
        decode(BOMBS[kind], "x")


def test_a_few_bytes_do_not_make_a_million_pixels(monkeypatch):
    monkeypatch.setattr(photo, "_pixels", lambda _: pytest.fail("decoded"))
    data = HALF_CLEAR_GIF[:6] + struct.pack("<HH", 10000, 10000) + HALF_CLEAR_GIF[10:]
    with pytest.raises(BadImage, match="x: 63 bytes cannot hold 10000x10000 pixels"):
        decode(data, "x")


def test_a_jpeg_of_a_thousand_scans_is_not_begun():
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = data[data.rindex(b"\xff\xda") : -2]
    hidden = b"\xff\xfe\x00\x04\xff\xd9"  # a comment that looks like the end
    few, many = (data[:-2] + hidden + last * count + data[-2:] for count in (5, 1000))
    assert decode(few, "few.jpg").shape == (40, 50, 3)
    film = decode(few + b"\xff\xda" * 1000, "film.jpg")  # which telephones append, whatever is in it
    assert film.shape == (40, 50, 3)
    with pytest.raises(BadImage, match=r"many.jpg: a JPEG in more than 100 scans"):
        decode(many, "many.jpg")


def test_files_are_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(photo, "MAX_BYTES", 2**20)
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(3 * 2**20)
    with pytest.raises(BadImage, match=r"large\.png: 3 MiB"):
        read_photo(path)
    with pytest.raises(BadImage, match="x: 3 MiB"):
        decode(bytes(3 * 2**20), "x")


def test_paths_that_are_no_photos(tmp_path):
    for path, why in (
        (tmp_path / "nowhere.jpg", "no such file"),
        (tmp_path, "a folder"),
        (tmp_path / "x\0y", "cannot be read"),
        (tmp_path / ("n" * 5000), "cannot be read"),
    ):
        with pytest.raises(BadImage, match=why):
            read_photo(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadImage, match="not a regular file"):
        read_photo(tmp_path / "pipe.png")


@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
def test_a_jpeg_that_is_damaged_in_its_middle_is_refused_and_nothing_else_printed(flags, capfd):
    noise = np.random.default_rng(3).integers(0, 255, (120, 160, 3), np.uint8)
    data = bytearray(jpeg(noise, *flags))
    start = len(data) // 2
    data[start : start + 200] = bytes(200)
    with pytest.raises(BadImage, match=r"x: the JPEG file is damaged \(.*\); if it looks right"):
        decode(bytes(data), "x")
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_with_padding_before_its_end_is_whole(capfd):
    data = jpeg(quarters())
    padded = data[:-2] + bytes(3) + data[-2:]
    np.testing.assert_array_equal(decode(padded, "x"), decode(data, "x"))
    assert capfd.readouterr() == ("", "")


def test_threads_decode_together_and_each_damage_is_found_where_it_is(capfd):
    noise = np.random.default_rng(3).integers(0, 255, (60, 80, 3), np.uint8)
    whole, level = jpeg(noise), logging.getLogLevel()
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 100] = bytes(100)

    def outcome(i):
        try:
            decode(bytes(damaged) if i % 7 == 3 else whole, "x")
        except BadImage as error:
            return "damaged" in str(error)
        return False

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(outcome, range(400)))
    assert found == [i % 7 == 3 for i in range(400)]
    assert logging.getLogLevel() == level
    assert capfd.readouterr() == ("", "")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_damage_is_a_photo_or_a_bad_image_never_anything_else(kind, draw):
    data = bytearray(WHOLE[kind])
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        out = decode(bytes(data), "x")
    except BadImage:
        return
    assert out.dtype == np.uint8
    assert out.shape[2] == 3
