"""What hiding one place of a photo after another does to a model's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ...engine.anatomy.readouts import Readout
from ...engine.attribution.perturbation.coarse import coarse_to_fine
from ...engine.attribution.perturbation.occlusion import Ask, Hiding, asking, how, plainly, watched
from ...engine.attribution.perturbation.places import Places, places
from ...engine.errors import BadRequest, NoMap
from ..maps.occluded import Approximation, Occlusion
from ..maps.placement import Placement
from ..maps.prediction import ranked
from ..network.vision_model import Target, VisionModel
from ..photos.fill import fill_named, filler

PATCHES = 7  # of the default size, side by side along the input's shorter side
Progress = Callable[[int, int], None]  # positions done, in all
TOLERANCE = 0.1  # of the score's range: by how much the corners of a cell differ that is refined
CHECKED = 16  # places at which an approximation is compared with the exact answers
Pair = int | tuple[int, int]


def places_for(lens: VisionModel, patch: Pair | None = None, stride: Pair | None = None) -> Places:
    """Where a patch goes on a model's input; `patch` and `stride`, one number or two, in pixels of it.

    By default a seventh of the input's shorter side, in steps of half a patch. Raises BadRequest as
    `engine.occlusions.places` does.
    """
    size = lens.preprocess.size
    height, width = _pair(max(1, round(min(size) / PATCHES)) if patch is None else patch)
    steps = (max(1, height // 2), max(1, width // 2)) if stride is None else _pair(stride)
    return places(size, (height, width), steps)


def occlusion(
    lens: VisionModel,
    photo: np.ndarray,
    target: Target = None,
    patch: Pair | None = None,
    stride: Pair | None = None,
    fill: str = "mean",
    layer: str | None = None,
    progress: Progress | None = None,
    coarse: bool = False,
    narrow: float = 1,
) -> Occlusion:
    """Hide one place after another of a photo, (H, W, 3) uint8 RGB, and record what the model answers.

    `target`: a class index, a label, or None for the predicted class. `patch` and `stride` as in
    `places_for`, `fill` as in `fill_named`. `layer`: whose strongest feature map is followed, by default
    the last before the head. `progress` is called with the positions done and their number.

    Two approximations, which may go together: `coarse` computes every fourth place down and across, and
    those between where the score differs (`coarse_to_fine`); with `narrow` below 1 a patch is taken to change
    no more than this share of a map's height and width (`Incremental`), where the network is cut at all. How
    far they are off is measured at some places, as `approximation`.

    Zeiler & Fergus 2014, section 4.2. Raises BadRequest as `check`, and NoMap where the model's answer is not
    a number.
    """
    wish, spots = check(lens, target, patch, stride, fill, layer)
    return _hidden(lens, photo, [wish], spots, fill, layer, progress, coarse, narrow)[0]


def occlusions(
    lens: VisionModel,
    photo: np.ndarray,
    targets: Sequence[Target] = (None,),
    patch: Pair | None = None,
    stride: Pair | None = None,
    fill: str = "mean",
    layer: str | None = None,
    progress: Progress | None = None,
) -> list[Occlusion]:
    """As `occlusion`, one for each target, where "top3" is three: the answers are computed once for all.

    Each class comes once, in the order of the targets.
    """
    wishes = [lens.wish(t) for t in targets]
    spots = check_places(lens, patch, stride, fill, layer)
    return _hidden(lens, photo, wishes, spots, fill, layer, progress)


def _hidden(
    lens: VisionModel,
    photo: np.ndarray,
    wishes: Sequence[int],
    spots: Places,
    fill: str,
    layer: str | None,
    progress: Progress | None,
    coarse: bool = False,
    narrow: float = 1,
) -> list[Occlusion]:
    """What hiding each of the places does to some classes: an index, or -n for the n most probable ones."""
    feeds, box = lens.feeds(photo)
    image = feeds[lens.input][:1]
    under = filler(image, lens.preprocess, fill)
    hiding = Hiding(image[0], under[0], spots, last=lens.preprocess.layout == "nhwc")
    unhidden, ask = asking(lens.network, layer, hiding, narrow)
    clean = unhidden()
    order = ranked(lens.readout, _finite(clean.output[0]), lens.labels)
    by_index = {p.index: p for p in order}
    classes = dict.fromkeys(c for w in wishes for c in ([p.index for p in order[:-w]] if w < 0 else [w]))
    channel = int(clean.totals[0].argmax()) if clean.totals.size else None
    record = _recorder(lens.readout, list(classes), channel, progress, len(spots))
    compute = partial(record, ask)
    if coarse:
        grids, computed = coarse_to_fine(spots.shape, compute, TOLERANCE, labels=1)
    else:
        grids, computed = compute(np.arange(len(spots))).reshape(*spots.shape, -1), np.ones(spots.shape, bool)
    approximation = None
    if coarse or narrow < 1:
        doubtful = ~computed if narrow == 1 else np.ones(spots.shape, bool)
        exactly = partial(record, plainly(lens.network, layer, hiding))
        approximation = _checked(grids[..., 0], computed, doubtful, lambda some: exactly(some)[:, 0])
    grids = np.moveaxis(grids, 2, 0)
    return [
        Occlusion(
            photo=photo,
            input=lens.input,
            place=Placement(box),
            places=spots,
            hidden=lens.preprocess.inverse(under)[0],
            target=by_index[index],
            score=float(clean.scores[0, index]),
            predictions=order[:5],
            labels=lens.labels,
            layer=watched(lens.network, layer),
            channel=channel,
            scores=grids[i].astype(np.float32),
            probabilities=grids[len(classes) + i].astype(np.float32),
            activations=grids[-2].astype(np.float32),
            classes=grids[-1].astype(np.int64),
            how=how(lens.network, layer, spots, narrow),
            approximation=approximation,
        )
        for i, index in enumerate(classes)
    ]


def _recorder(
    readout: Readout, classes: Sequence[int], channel: int | None, progress: Progress | None, count: int
) -> Callable[[Ask, np.ndarray], np.ndarray]:
    """The function of an Ask and the numbers (n,) of places that gives what is recorded of the answers.

    That is (n, 2 K + 2) float64: the scores of K classes, what the model says of them (their probabilities),
    the total of the channel (0 where there is none) and the most probable class. It counts its places, of
    `count`, for `progress`.
    """
    done = 0

    def record(ask: Ask, numbers: np.ndarray) -> np.ndarray:
        nonlocal done
        found = [np.empty((0, 2 * len(classes) + 2))]
        for batch in ask(numbers):
            p = _finite(readout.answers(batch.output))
            totals = np.zeros(len(p)) if channel is None else batch.totals[:, channel]
            found.append(np.column_stack([batch.scores[:, classes], p[:, classes], totals, p.argmax(1)]))
            done += len(p)
            if progress is not None:
                progress(min(done, count), count)
        return np.concatenate(found)

    return record


def _checked(
    scores: np.ndarray,
    computed: np.ndarray,
    doubtful: np.ndarray,
    exactly: Callable[[np.ndarray], np.ndarray],
) -> Approximation:
    """How far scores by place, (rows, columns), are off, measured at some of the `doubtful` places.

    Which were `computed` and which are in doubt is bool (rows, columns); `exactly` gives the scores (n,) at
    places by their numbers (n,).
    """
    some = np.random.default_rng(0).permutation(np.flatnonzero(doubtful))[:CHECKED]
    exact = exactly(some)
    off = np.abs(exact - scores.reshape(-1)[some]).max(initial=0)
    spread = np.ptp(np.append(scores, exact))
    return Approximation(int(computed.sum()), len(some), float(off / spread) if off else 0.0)


def check(
    lens: VisionModel, target: Target, patch: Pair | None, stride: Pair | None, fill: str, layer: str | None
) -> tuple[int, Places]:
    """The class (-1 for the predicted one) and the places that arguments of `occlusion` mean.

    Raises BadRequest for a class, layer, patch, stride or fill that cannot be, before there is a photo.
    """
    wish = lens.wish(target)
    if wish < -1:
        raise BadRequest(f"occlusion follows one class, not the best {-wish}; name one")
    return wish, check_places(lens, patch, stride, fill, layer)


def check_places(
    lens: VisionModel, patch: Pair | None, stride: Pair | None, fill: str, layer: str | None
) -> Places:
    """The places that arguments of `occlusion` mean. Raises BadRequest as `check` does."""
    spots = places_for(lens, patch, stride)
    fill_named(fill)
    watched(lens.network, layer)
    return spots


def _finite(answers: np.ndarray) -> np.ndarray:
    if not np.isfinite(answers).all():
        raise NoMap("the model's answer is not a number (NaN); `onnxlens gradcam` finds where that begins")
    return answers


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
