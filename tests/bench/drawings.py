"""Pictures of what models look at, drawn: scenes, lines of text, digits, a page with a table."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from onnxlens.models.embedded.scenes import TEST_SEEDS, scene


def picture(kind: str) -> np.ndarray:
    """What the model is for, as far as it can be drawn; a dog where there is a photo. (H, W, 3) uint8 BGR."""
    photo = Path(os.environ.get("ONNXLENS_TEST_DATA", ""), "photos", "dog.jpg")
    if kind == "photo" and photo.is_file():
        return smaller(cv2.imread(str(photo)))  # pyright: ignore[reportArgumentType]
    if kind in ("photo", "scene"):
        return np.ascontiguousarray(scene(TEST_SEEDS[3], size=512).image[..., ::-1])
    if kind == "page":
        return page()
    height, width, text = {"text": (64, 320, "onnx runtime"), "digits": (50, 155, "48213")}[kind]
    paper = np.full((height, width, 3), 245, np.uint8)
    return write(paper, text, (6, height - 18), height / 45)


def smaller(photo: np.ndarray, side: int = 448) -> np.ndarray:
    """The photo with a longer side of at most so many pixels: what is tried is the models, not the pixels."""
    scale = min(1.0, side / max(photo.shape[:2]))
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def page() -> np.ndarray:
    """A sheet with a heading, lines of text and a table with rules."""
    sheet = np.full((877, 620, 3), 255, np.uint8)
    write(sheet, "ISBN 978-0-262-03561-3", (60, 80), 1.0)
    for i in range(12):
        write(sheet, f"line {i + 1} of a page that nobody wrote", (60, 140 + 28 * i), 0.6)
    for x in range(60, 561, 100):
        cv2.line(sheet, (x, 520), (x, 800), (0, 0, 0), 2)
    for y in range(520, 801, 40):
        cv2.line(sheet, (60, y), (560, y), (0, 0, 0), 2)
    return sheet


def write(paper: np.ndarray, text: str, at: tuple[int, int], scale: float) -> np.ndarray:
    """Black letters, drawn into the picture."""
    return cv2.putText(paper, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 20), 2, cv2.LINE_AA)
