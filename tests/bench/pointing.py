"""Where the peaks of maps lie: on drawn scenes of the embedded model, the share that is on the object.

python tests/bench/pointing.py [--scenes N] [--skip N] [--threads N] [--method NAME ...]
"""

from __future__ import annotations

from collections.abc import Callable

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from onnxlens.engine.attribution.methods import METHODS as TABLE
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.metrics.truth import pointing
from onnxlens.engine.tones import strength
from onnxlens.models.attribution.attribute import Attributor
from onnxlens.models.attribution.projection import project
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens
from onnxlens.models.maps.attribution import guided_gradcam
from onnxlens.models.report.evaluation import mean_of

Heat = Callable[[np.ndarray], np.ndarray]  # from a photo to the map of its predicted class, on its pixels


def attributed(method: str) -> Callable[[Lens], Heat]:
    """The map, or the greatest absolute value over the channels of what comes back to the pixels."""

    def of(lens: Lens) -> Heat:
        made = Attributor(lens, method)

        def heat(photo: np.ndarray) -> np.ndarray:
            at_photo = made.of_photo(photo)[0].at_photo()
            return at_photo if at_photo.ndim == 2 else strength(at_photo)

        return heat

    return of


def guided_gradcam_of(lens: Lens) -> Heat:
    """The same of guided backpropagation times Grad-CAM."""
    guided = Projector(lens.network, "guided")
    return lambda photo: strength(
        guided_gradcam(project(lens, photo, guided)[0], lens.gradcam(photo)).at_photo()
    )


METHODS: dict[str, Callable[[Lens], Heat]] = {
    "middle": lambda lens: middle,
    **{method: attributed(method) for method in TABLE},
    "guided-gradcam": guided_gradcam_of,
}


def middle(photo: np.ndarray) -> np.ndarray:
    """The map that always points at the middle: what a method has to beat."""
    y, x = (np.arange(n) - n // 2 for n in photo.shape[:2])
    return -np.hypot(y[:, None], x)


@click.command()
@click.option("--scenes", default=500, show_default=True, type=click.IntRange(1, len(TEST_SEEDS)))
@click.option(
    "--skip", default=0, show_default=True, help="Scenes before the first, as those that were looked at."
)
@click.option("--threads", type=click.IntRange(1), help="All cores by default.")
@click.option("--method", "methods", multiple=True, type=click.Choice(list(METHODS)), help="All by default.")
def main(scenes: int, skip: int, threads: int | None, methods: tuple[str, ...]) -> None:
    """Print, for each method, how many peaks lie on the object that decides the class."""
    lens = Lens("scenes", provider="cpu", threads=threads)
    looks = {name: METHODS[name](lens) for name in methods or METHODS}
    hits: dict[str, list[float]] = {name: [] for name in looks}
    for seed in track(TEST_SEEDS[skip : skip + scenes], "scenes", console=Console(stderr=True)):
        drawn = scene(seed)
        for name, look in looks.items():
            hits[name].append(pointing(look(drawn.image), drawn.mask))
    table = Table("method", "peaks on the object", "share", "95 %", box=None)
    for name, each in hits.items():
        found = mean_of(np.array(each, float))
        assert found is not None
        count = f"{int(sum(each))} of {len(each)}"
        table.add_row(name, count, f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
