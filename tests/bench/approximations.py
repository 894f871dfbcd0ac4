"""How fast and how exact occlusion's approximations are, and why no other could be much faster.

python tests/bench/approximations.py MODEL PHOTO... [--preset NAME] [--patch N] [--stride N] [--threads N]

Against all exact places of each photo: the time and the largest deviation of the score, as a share of its
range, of `narrow`, of `coarse`, and of two ways that were tried and not built in: every second place exact
and the others filled in from their four neighbours, and the rest of the network taken as a straight line
(its gradient) behind each place where it can be cut. Of deviations the least and the largest of the photos.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np

from onnxlens.engine.anatomy.readouts.classes import score_name
from onnxlens.engine.attribution.gradients import one_hot
from onnxlens.engine.attribution.perturbation.costs import cut_points
from onnxlens.engine.attribution.perturbation.hidden import places_on
from onnxlens.engine.attribution.perturbation.places import Places
from onnxlens.engine.attribution.perturbation.plans import entry
from onnxlens.engine.autodiff.gradient import backpropagate, inside
from onnxlens.kernels.tile import tile
from onnxlens.models.attribution.occlusion import occlusion
from onnxlens.models.lens import Lens
from onnxlens.models.maps.occluded import Occlusion
from onnxlens.models.photos.fill import filler
from onnxlens.models.photos.photo import read_photo

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
LINES = 200  # places for which the network is taken as a straight line


@click.command()
@click.argument("model")
@click.argument("photos", nargs=-1, required=True)
@click.option("--preset")
@click.option("--patch", default=16)
@click.option("--stride", default=8)
@click.option("--threads", type=int)
def main(
    model: str, photos: tuple[str, ...], preset: str | None, patch: int, stride: int, threads: int | None
) -> None:
    """Print a line for each way."""
    lens = Lens(model, preset=preset, provider="cpu", threads=threads)
    spots = places_on(lens.preprocess.size, patch, stride)
    print(f"{lens.path.name}, {len(photos)} photos, {len(spots)} places")
    ways: dict[str, dict[str, float | bool]] = {f"narrow {share}": {"narrow": share} for share in SHARES}
    ways |= {"coarse": {"coarse": True}}
    off: dict[str, list[float]] = {}
    faster: dict[str, list[float]] = {}
    for path in photos:
        photo = read_photo(path)

        def look(photo: np.ndarray = photo, **how: object) -> Occlusion:
            return occlusion(lens, photo, None, patch, stride, **how)  # type: ignore[arg-type]

        exact = look()
        spread = float(np.ptp(exact.scores))
        plain = seconds(look)
        for name, how in ways.items():
            near = look(**how)
            off.setdefault(name, []).append(float(np.abs(near.scores - exact.scores).max()) / spread)
            faster.setdefault(name, []).append(plain / seconds(lambda how=how: look(**how)))
        every = filled(exact.scores) - exact.scores
        off.setdefault("every second place, filled in", []).append(float(np.abs(every).max()) / spread)
        for name, apart in straight(lens, photo, exact, spots).items():
            off.setdefault(f"a straight line from {name}", []).append(apart / spread)
    for name, found in off.items():
        gain = f"{np.median(faster[name]):.2f} times as fast, " if name in faster else ""
        print(f"{name}: {gain}off by {min(found):.1%} to {max(found):.1%} of the range")


def seconds(call: Callable[[], object]) -> float:
    """The median of three."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def filled(values: np.ndarray) -> np.ndarray:
    """A grid of which every second place is known, like the black squares of a chessboard."""
    i, j = np.indices(values.shape)
    known = (i + j) % 2 == 0
    wide, there = np.pad(np.where(known, values, 0), 1), np.pad(known, 1).astype(int)
    around = [(slice(None, -2), slice(1, -1)), (slice(2, None), slice(1, -1))]
    around += [s[::-1] for s in around]
    return np.where(
        known, values, sum(wide[s] for s in around) / np.maximum(sum(there[s] for s in around), 1)
    )


def straight(lens: Lens, photo: np.ndarray, exact: Occlusion, spots: Places) -> dict[str, float]:
    """How far s + <∂s/∂A, A' - A> is off at most, for the values A where the network can be cut."""
    feeds, _ = lens.feeds(photo)
    image = feeds[lens.input][:1]
    under = filler(image, lens.preprocess, "mean")[0]
    graph = lens.network.graph.copy()
    scores = inside(graph, score_name(graph))
    start = entry(graph, image.shape[1:])
    cuts = cut_points(graph, start, scores.name) if start else []
    chosen = graph.input(graph.unused("chosen"), np.int64, (scores.shape or ())[:1])
    slopes = backpropagate(graph, {scores.name: one_hot(scores, chosen)}, cuts)
    outputs = [s.name for s in slopes if s is not None]
    classes = np.full(len(feeds[lens.input]), exact.target.index)
    at = lens.network.compile(graph, [*outputs, *cuts])({**feeds, chosen.name: classes})
    session, drops = lens.network.compile(lens.network.graph, cuts), exact.scores.reshape(-1) - exact.score
    apart = dict.fromkeys(cuts, 0.0)
    for number in np.linspace(0, len(spots) - 1, LINES).astype(int):
        hidden = np.repeat(image, len(feeds[lens.input]), 0)
        tile(image[0], under, spots.corners_of(np.array([number])), spots.patch, hidden[:1])
        values = session({lens.input: hidden})
        for cut, slope in zip(cuts, outputs, strict=True):
            line = float(((values[cut][0] - at[cut][0]) * at[slope][0]).sum(dtype=np.float64))
            apart[cut] = max(apart[cut], abs(line - float(drops[number])))
    return apart


if __name__ == "__main__":
    main()
