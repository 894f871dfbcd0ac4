"""Pictures of what models look at, drawn: scenes, lines of text, captchas, pages, a seal; and two photos."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from packages import Packaged, fetched

from onnxlens.models.embedded.scenes import TEST_SEEDS, scene

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK = 20, 20, 20
WORDS = re.findall(r"\w+", "a page that nobody wrote says in small letters what a model of pages has to find")
# EAN-13: seven modules a digit, and which of the first six digits are mirrored where the code starts with 9.
BARS = textwrap.wrap("0001101001100100100110111101010001101100010101111011101101101110001011", 7)
MIRRORED = "011010"
# Rear Admiral Grace Hopper: a photo of the United States Navy, in the public domain.
HOPPER = Packaged(
    name="hopper",
    registry="pypi",
    package="matplotlib",
    version="3.10.3",
    path="matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    bytes=61306,
    sha256="a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
)


def picture(kind: str, folder: Path) -> np.ndarray:
    """What a model is for, as far as it can be drawn, (H, W, 3) uint8 BGR; `folder` keeps a fetched photo."""
    return FACES[kind](read(fetched(HOPPER, folder))) if kind in FACES else DRAWN[kind]()


def read(path: Path) -> np.ndarray:
    """A photo out of its file."""
    photo = cv2.imread(str(path))
    assert photo is not None, path
    return photo


def dog() -> np.ndarray:
    """A dog where there is the photo of one, else a drawn scene."""
    photo = Path(os.environ.get("ONNXLENS_TEST_DATA", ""), "photos", "dog.jpg")
    return smaller(read(photo)) if photo.is_file() else drawn_scene()


def drawn_scene() -> np.ndarray:
    """One of the scenes that the model of the package was trained on."""
    return np.ascontiguousarray(scene(TEST_SEEDS[3], size=512).image[..., ::-1])


def smaller(photo: np.ndarray, side: int = 448) -> np.ndarray:
    """The photo with a longer side of at most so many pixels: what is tried is the models, not the pixels."""
    scale = min(1.0, side / max(photo.shape[:2]))
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


# -- lines of text --------------------------------------------------------------------------------------


def paper(height: int, width: int, tone: int | tuple[int, int, int] = 255) -> np.ndarray:
    """An empty sheet."""
    return np.full((height, width, 3), tone, np.uint8)


def write(
    sheet: np.ndarray,
    text: str,
    at: tuple[int, int],
    scale: float,
    thick: int = 2,
    ink: tuple[int, int, int] = INK,
) -> np.ndarray:
    """Letters, drawn into the picture; `at` is x and the base line."""
    return cv2.putText(sheet, text, at, FONT, scale, ink, thick, cv2.LINE_AA)


def lines_of_words(sheet: np.ndarray, at: tuple[int, int], count: int, width: int, scale: float) -> None:
    """A paragraph of so many lines, each as long as fits."""
    said, step = 0, round(scale * 41)
    for i in range(count):
        line = ""
        while cv2.getTextSize(line + WORDS[said % len(WORDS)], FONT, scale, 1)[0][0] < width:
            line, said = line + WORDS[said % len(WORDS)] + " ", said + 1
        write(sheet, line.strip(), (at[0], at[1] + i * step), scale, 1)


def text() -> np.ndarray:
    """One line: capitals, digits, small letters and a space."""
    return write(paper(64, 320, 245), "W52H runtime", (6, 46), 64 / 45)


def digits() -> np.ndarray:
    """Five digits, each in a place of its own."""
    sheet = paper(50, 155, 244)
    for i, digit in enumerate("72672"):
        write(sheet, digit, (5 + 25 * i, 41), 1.1, 3, (133, 89, 77))
    return sheet


def seal() -> np.ndarray:
    """A stamp: words along the upper half of a circle."""
    sheet, red, words, radius = paper(448, 448), (40, 30, 200), "NOBODY SIGNED THIS", 140
    cv2.circle(sheet, (224, 224), 182, red, 6, cv2.LINE_AA)
    for letter, angle in zip(words, np.radians(np.linspace(-125, 125, len(words))), strict=True):
        (width, height), _ = cv2.getTextSize(letter, FONT, 1.0, 3)
        one = write(paper(60, 60), letter, (30 - width // 2, 30 + height // 2), 1.0, 3, red)
        turn = cv2.getRotationMatrix2D((30, 30), -np.degrees(angle), 1.0)
        one = cv2.warpAffine(one, turn, (60, 60), borderValue=(255, 255, 255))
        x, y = int(224 + radius * np.sin(angle)), int(224 - radius * np.cos(angle))
        place = sheet[y - 30 : y + 30, x - 30 : x + 30]
        np.minimum(place, one, out=place)
    return sheet


# -- captchas -------------------------------------------------------------------------------------------


def captcha() -> np.ndarray:
    """Four letters of different colours on a blurred photo."""
    sheet = cv2.resize(cv2.GaussianBlur(dog(), (0, 0), 3), (300, 150))
    inks = (0, 0, 220), (200, 30, 0), (0, 160, 0), INK
    for letter, at, ink in zip("K7WD", ((20, 60), (95, 120), (170, 70), (240, 130)), inks, strict=True):
        write(sheet, letter, at, 1.6, 8, (255, 255, 255))
        write(sheet, letter, at, 1.6, 4, ink)
    return sheet


def slider() -> np.ndarray:
    """A piece at the left edge of a photo, and the gap that it was cut from."""
    ground = cv2.resize(dog(), (400, 400))[:220].copy()
    hole, piece = puzzle(260, 110), puzzle(14, 110)
    sheet = np.where(hole[..., None] > 0, (ground * 0.35).astype(np.uint8), ground)
    sheet[piece > 0] = ground[hole > 0]
    for form, ink, thick in ((hole, (220, 220, 220), 1), (piece, (255, 255, 255), 2)):
        edge, _ = cv2.findContours(form, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(sheet, edge, -1, ink, thick)
    return sheet


def puzzle(x: int, y: int, side: int = 56) -> np.ndarray:
    """The form of a puzzle piece in a picture of 220 x 400: two knobs and a dent."""
    form = np.zeros((220, 400), np.uint8)
    cv2.rectangle(form, (x, y), (x + side, y + side), 255, -1)
    for at, tone in (((side // 2, 0), 255), ((side, side // 2), 255), ((0, side // 2), 0)):
        cv2.circle(form, (x + at[0], y + at[1]), 10, tone, -1)
    return form


# -- pages ----------------------------------------------------------------------------------------------


def page() -> np.ndarray:
    """A sheet with a heading, lines of text, a bar code and a table with rules."""
    sheet = paper(877, 620)
    write(sheet, "ISBN 978-0-262-03561-3", (60, 80), 1.0)
    for i in range(7):
        write(sheet, f"line {i + 1} of a page that nobody wrote", (60, 130 + 28 * i), 0.6, 1)
    barcode(sheet, (330, 360), 2, 90)
    rules(sheet, (60, 560), 100)
    return sheet


def article() -> np.ndarray:
    """A sheet with a title, two paragraphs and a photo with what it shows."""
    sheet = paper(877, 620)
    write(sheet, "What a page is made of", (120, 70), 1.0)
    lines_of_words(sheet, (60, 110), 9, 500, 0.42)
    sheet[280:520, 150:470] = cv2.resize(dog(), (320, 240), interpolation=cv2.INTER_AREA)
    write(sheet, "Figure 1: a dog", (240, 545), 0.45, 1)
    lines_of_words(sheet, (60, 590), 14, 500, 0.42)
    return sheet


def cover() -> np.ndarray:
    """The back of a book: a paragraph, and a bar code on white."""
    sheet = paper(640, 480, (200, 190, 160))
    lines_of_words(sheet, (40, 60), 9, 400, 0.5)
    sheet[455:590, 215:435] = 255
    barcode(sheet, (230, 470), 2, 80)
    return sheet


def table() -> np.ndarray:
    """A table with rules, seven rows of five numbers."""
    return rules(paper(330, 540), (20, 24), 100)


def barcode(sheet: np.ndarray, at: tuple[int, int], module: int, height: int) -> None:
    """An EAN-13, upper left corner at x, y: the number of the page's book."""
    number, (x, y) = "9780262035613", at
    code = "101"
    for i, (digit, how) in enumerate(zip(number[1:], MIRRORED + "2" * 6, strict=True)):
        bars = BARS[int(digit)] if how == "0" else BARS[int(digit)].translate({48: "1", 49: "0"})
        code += ("01010" if i == 6 else "") + (bars[::-1] if how == "1" else bars)
    for i, bar in enumerate(code + "101"):
        if bar == "1":
            sheet[y : y + height, x + i * module : x + (i + 1) * module] = 0
    write(sheet, number, (x, y + height + 24), 0.7, 1)


def rules(sheet: np.ndarray, at: tuple[int, int], width: int) -> np.ndarray:
    """Lines of a table with seven rows of five numbers, drawn into the picture."""
    x, y = at
    for i in range(6):
        cv2.line(sheet, (x + i * width, y), (x + i * width, y + 280), (0, 0, 0), 2)
    for i in range(8):
        cv2.line(sheet, (x, y + i * 40), (x + 5 * width, y + i * 40), (0, 0, 0), 2)
    for i in range(35):
        row, column = divmod(i, 5)
        number = str((13 * row + 7 * column) % 90 + 10)
        write(sheet, number, (x + column * width + 30, y + row * 40 + 28), 0.7, 1)
    return sheet


def edges() -> np.ndarray:
    """Straight edges: a box and a line."""
    sheet = paper(320, 320, 235)
    cv2.rectangle(sheet, (60, 70), (250, 210), (90, 110, 160), -1)
    cv2.rectangle(sheet, (60, 70), (250, 210), INK, 3)
    return cv2.line(sheet, (30, 280), (290, 250), INK, 3)


# -- faces ----------------------------------------------------------------------------------------------


def close(photo: np.ndarray) -> np.ndarray:
    """The face alone, x before y: so MTCNN is fed."""
    return np.ascontiguousarray(photo[120:350, 165:375].swapaxes(0, 1))


def far(photo: np.ndarray) -> np.ndarray:
    """A face of 12 pixels in a picture of 96, x before y."""
    sheet = paper(96, 96, 128)
    small = cv2.resize(photo, None, fx=12 / 190, fy=12 / 190, interpolation=cv2.INTER_AREA)
    sheet[8 : 8 + small.shape[0], 30 : 30 + small.shape[1]] = small
    return np.ascontiguousarray(sheet.swapaxes(0, 1))


FACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"face": smaller, "close": close, "far": far}
DRAWN: dict[str, Callable[[], np.ndarray]] = {
    "photo": dog,
    "scene": drawn_scene,
    "text": text,
    "digits": digits,
    "seal": seal,
    "captcha": captcha,
    "slider": slider,
    "page": page,
    "article": article,
    "cover": cover,
    "table": table,
    "edges": edges,
}
