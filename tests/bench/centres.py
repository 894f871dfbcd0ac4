"""How far from its object the map of a class lies: on drawn scenes, in pixels of 96.

python tests/bench/centres.py [MODEL ...] [--scenes N] [--threads N]

Grad-CAM's centre of mass, of what is above half of its maximum and of the whole map, beside the centre of the
object's mask: the mean distance, and how far it is too low and too far right in the mean, by convention.
The embedded model's copy with strides: `python -m onnxlens.models.embedded.train --strided --out FILE`.
"""

from __future__ import annotations

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens
from onnxlens.models.maps.convention import CONVENTIONS


def centre(weights: np.ndarray) -> np.ndarray:
    """The centre of mass (y, x) of weights (h, w), in pixels."""
    at = np.indices(weights.shape) + 0.5
    return (at * weights).sum((1, 2)) / weights.sum()


def hot(heat: np.ndarray) -> np.ndarray:
    """What of a map is above half of its maximum; 0 elsewhere."""
    heat = np.nan_to_num(heat)
    return np.where(heat > heat.max() / 2, heat, 0)


def offsets(lens: Lens, seed: int, convention: str) -> np.ndarray:
    """From the object's centre to that of what is above half of the maximum, and of the whole map: (2, 2)."""
    drawn = scene(seed)
    heat = np.nan_to_num(lens.gradcam(drawn.image, drawn.label, convention=convention).at_photo())
    return np.stack([centre(hot(heat)), centre(heat)]) - centre(drawn.mask)


@click.command()
@click.argument("models", nargs=-1)
@click.option("--scenes", default=500, show_default=True, type=click.IntRange(1, len(TEST_SEEDS)))
@click.option("--threads", type=click.IntRange(1), help="All cores by default.")
def main(models: tuple[str, ...], scenes: int, threads: int | None) -> None:
    """Print the mean distances of each model, by default of the embedded one."""
    table = Table("model", "convention", "above half", "too low", "too far right", "the whole map", box=None)
    for model in models or ("scenes",):
        lens = Lens(model, provider="cpu", threads=threads)
        for convention in CONVENTIONS:
            seeds = track(TEST_SEEDS[:scenes], f"{model}, {convention}", console=Console(stderr=True))
            found = np.stack([offsets(lens, seed, convention) for seed in seeds])
            half, whole = np.hypot(*found.transpose(2, 1, 0)).mean(1)
            low, right = found[:, 0].mean(0)
            table.add_row(lens.path.name, convention, *(f"{v:.2f}" for v in (half, low, right, whole)))
    Console().print(table)


if __name__ == "__main__":
    main()
