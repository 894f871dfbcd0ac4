"""Pictures for docs/placement.md: maps of strided networks as other tools lay them on a photo, and as here.

python tests/bench/conventions.py STRIDED_MODEL PICTURE

STRIDED_MODEL: from `python -m onnxlens.models.embedded.train --strided --out FILE`. What others do is
restated: pytorch-grad-cam 1.5.7 (`scale_cam_image`), Captum 0.9.0 (`LayerAttribution.interpolate`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import cv2
import numpy as np
import onnx

from onnxlens.engine.picture import encode_jpeg, encode_png, grid, overlay
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.centres import centre, hot
from oracles.strided import network, places

SIDE = 224
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def pytorch_grad_cam(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The cells stretched over the photo, bilinearly."""
    return cv2.resize(values, (width, height))


def captum(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The cells stretched over the photo, each all over its square."""
    rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), values.shape, strict=True))
    return values[np.ix_(rows, columns)]


RESTATED: dict[str, Callable[..., np.ndarray]] = {"pytorch-grad-cam": pytorch_grad_cam, "Captum": captum}


def drawn(photo: np.ndarray, mask: np.ndarray, heat: np.ndarray | None = None) -> np.ndarray:
    """The photo with a map over it, the object's outline and centre (a cross), the map's (a ring)."""
    picture = photo.copy()
    if heat is not None:
        picture = overlay(photo, heat / np.nanmax(heat))
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outline, -1, WHITE, 1)
    for colour, wide in ((BLACK, 3), (WHITE, 1)):
        cv2.drawMarker(picture, _pixel(centre(mask)), colour, cv2.MARKER_CROSS, 13, wide)
        if heat is not None:
            cv2.circle(picture, _pixel(centre(hot(heat))), 6, colour, wide, cv2.LINE_AA)
    return picture


def _pixel(point: np.ndarray) -> tuple[int, int]:
    y, x = np.floor(point).astype(int).tolist()
    return x, y


def row(lens: Lens, photo: np.ndarray, mask: np.ndarray, target: int, title: str) -> dict[str, np.ndarray]:
    """By caption the photo, what other tools draw, and what is drawn here."""
    found = lens.gradcam(photo, target)
    maps = {name: made(found.map, *mask.shape) for name, made in RESTATED.items()}
    maps["onnxlens"] = found.at_photo()
    far = {name: np.hypot(*(centre(hot(m)) - centre(mask))) for name, m in maps.items()}
    laid = {f"{name}: {far[name]:.1f} pixels off": drawn(photo, mask, m) for name, m in maps.items()}
    return {title: drawn(photo, mask), **laid}


def hand_worked(kind: str, folder: Path) -> dict[str, np.ndarray]:
    """A network of stride 32 whose cells see one pixel each, and a mark that one cell sees."""
    model, _ = network(kind, 5, SIDE)
    onnx.save(model, folder / "model.onnx")
    y, x = (places(kind, 5, 7, axis)[cell] for axis, cell in ((0, 2), (1, 4)))
    rows, columns = np.indices((SIDE, SIDE)) + 0.5
    mask = np.hypot(rows - y, columns - x) < 14
    ground = scene(TEST_SEEDS[2], size=SIDE).image.mean(-1, keepdims=True).repeat(3, -1) * 0.5 + 60
    photo = np.where(mask[..., None], (230, 20, 20), ground).astype(np.uint8)
    return row(Lens(folder / "model.onnx", preset="unit"), photo, mask, 0, f"stride 32, kernel {kind}")


@click.command()
@click.argument("strided_model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--scene", "scenes", multiple=True, type=int, default=(3, 10), show_default=True)
def main(strided_model: str, out: Path, scenes: tuple[int, ...]) -> None:
    """Write the picture, a row for each network and photo."""
    with TemporaryDirectory() as folder:
        found = [hand_worked(kind, Path(folder)) for kind in ("3, padding 1", "3, SAME_UPPER")]
    lens = Lens(strided_model)
    for index in scenes:
        seen = scene(TEST_SEEDS[index], size=SIDE)
        found.append(row(lens, seen.image, seen.mask, seen.label, f"stride 8, {lens.labels[seen.label]}"))
    tiles = [tile for one in found for tile in one.items()]
    sheet = grid([t for _, t in tiles], 4, captions=[c for c, _ in tiles])
    out.write_bytes((encode_png if out.suffix == ".png" else encode_jpeg)(sheet))


if __name__ == "__main__":
    main()
