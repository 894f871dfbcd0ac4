"""Class activation maps without gradients: what the model answers says what a channel, or a cell, is worth.

Each takes what is `asked` (perturbation/asked.py) and its options, and gives the maps (T, h, w) float32 of
the classes in question, on the layer A, of K channels of h x w cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ..method import Option, family

if TYPE_CHECKING:
    import numpy as np

    from ..perturbation.asked import Asked, Maps

BATCH = 64  # masks at a time
SEED = 0
FILL = "Where the photo is hidden: as the fill of occlusion."
STRONGEST = "How many channels of the layer are looked at: those that vary most.  [default: all]"

scored = family(
    "perturbation",
    serial=True,
    on_layer=True,
    layer="Feature map to look at.  [default: the last one before the head]",
    blank="nothing in this layer speaks for {target!r}; choose another class or layer",
)


class Channels(NamedTuple):
    """Of Score-CAM."""

    strongest: Annotated[int, Option(STRONGEST, 1, 10**6)] = 10**6
    fill: Annotated[str, Option(FILL, fill=True)] = "mean"


class Smoothed(NamedTuple):
    """Of SS-CAM."""

    strongest: Annotated[int, Option(STRONGEST, 1, 10**6)] = 10**6
    fill: Annotated[str, Option(FILL, fill=True)] = "mean"
    steps: Annotated[int, Option("How many noisy copies of each mask an average is over.", 1, 10_000)] = 35
    noise: Annotated[float, Option("Standard deviation of the noise; masks go from 0 to 1.", 0, 100)] = 2.0


class Integrated(NamedTuple):
    """Of IS-CAM."""

    strongest: Annotated[int, Option(STRONGEST, 1, 10**6)] = 10**6
    fill: Annotated[str, Option(FILL, fill=True)] = "mean"
    steps: Annotated[int, Option("In how many steps each mask comes in.", 1, 10_000)] = 10


class Neighbours(NamedTuple):
    """Of Recipro-CAM."""

    alone: Annotated[bool, Option("One cell at a time, without its eight neighbours.")] = False


@scored(
    "scorecam",
    "Score-CAM",
    "Wang et al. 2020, algorithm 1",
    shows="where the feature maps of a layer lie through which alone the model still sees a class",
    options=Channels,
)
def scorecam(asked: Asked, options: Channels) -> Maps:
    """ReLU(Σ_k α_k A_k), where α is the softmax over k of the score of the photo seen through A_k, which is
    enlarged bilinearly to it and stretched to 0 to 1.

    The score is that before a softmax; one forward pass for each channel.
    """
    return _weighed(asked, options, lambda masks: [masks])


@scored(
    "sscam",
    "SS-CAM",
    "Wang et al. 2020, Naidu & Michael 2020, section 3",
    shows="as Score-CAM, where noise over each map is averaged out",
    options=Smoothed,
)
def sscam(asked: Asked, options: Smoothed) -> Maps:
    """As Score-CAM, of the mean of the scores over noisy copies of each mask, the same in every run."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    draw = lambda masks: options.noise * rng.standard_normal(masks.shape, np.float32)
    return _weighed(asked, options, lambda masks: (masks + draw(masks) for _ in range(options.steps)))


@scored(
    "iscam",
    "IS-CAM",
    "Naidu et al. 2020, section 3",
    shows="as Score-CAM, averaged over the way on which each map comes in",
    options=Integrated,
)
def iscam(asked: Asked, options: Integrated) -> Maps:
    """As Score-CAM, of the mean over i of the score through i/N of each mask, i = 1 to N."""
    shares = [(i + 1) / options.steps for i in range(options.steps)]
    return _weighed(asked, options, lambda masks: (share * masks for share in shares))


def _weighed(asked: Asked, options: Any, copies: Any) -> Maps:
    """Maps of the chosen channels, weighted with the softmax of their mean scores over `copies` of masks."""
    import numpy as np

    from ..perturbation.asked import Maps
    from .behind import Behind
    from .masks import enlarged, stretched

    maps = Behind(asked).maps
    order = np.argsort(-np.ptp(maps, (1, 2)), kind="stable")[: options.strongest]
    maps, scores = maps[np.sort(order)], []
    for start in range(0, len(maps), BATCH):
        masks = stretched(enlarged(maps[start : start + BATCH], asked.size))
        found = [asked.through(m.astype(np.float32), options.fill, raw=True) for m in copies(masks)]
        scores.append(sum(found) / len(found))
        asked.progress(min(start + BATCH, len(maps)), len(maps))
    scores = np.concatenate(scores)
    weights = np.exp(scores - scores.max(0))
    return Maps(_positive(weights / weights.sum(0), maps))


@scored(
    "ablationcam",
    "Ablation-CAM",
    "Desai & Ramaswamy 2020, equation 2",
    shows="where the feature maps of a layer lie without which the score of a class drops",
)
def ablationcam(asked: Asked, options: Any) -> Maps:
    """ReLU(Σ_k w_k A_k), where w_k = (y - y_k) / |y|: y is the score of the class, before a softmax, and y_k
    that with channel k of the layer zero. The paper, which divides by y, means scores above zero.

    Only what follows the layer is computed for each channel.
    """
    import numpy as np

    from ..perturbation.asked import Maps
    from .behind import Behind

    behind = Behind(asked)
    count = len(behind.maps)
    (score,), found = behind(np.ones((1, 1, 1, 1), np.float32), raw=True), []
    for start in range(0, count, BATCH):
        without = 1 - np.eye(count, dtype=np.float32)[start : start + BATCH]
        found.append(behind(without[:, :, None, None], raw=True))
        asked.progress(min(start + BATCH, count), count)
    drops = score - np.concatenate(found)
    return Maps(_positive(drops / np.maximum(np.abs(score), 1e-12), behind.maps))


def _positive(weights: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """ReLU(Σ_k w_k A_k), (T, h, w) float32, of weights (K, T) and maps (K, h, w)."""
    import numpy as np

    return np.maximum(np.tensordot(weights, maps, (0, 0)), 0).astype(np.float32)


@scored(
    "reciprocam",
    "Recipro-CAM",
    "Byun & Lee 2022, equations 2 to 5",
    shows="how much more probable a class is where the model has one cell of a layer to go by",
    options=Neighbours,
    blank="the answer for {target!r} is the same whichever cell is seen; choose another class or layer",
)
def reciprocam(asked: Asked, options: Neighbours) -> Maps:
    """At each cell the probability of the class where the layer is zero but for that cell, less the least of
    them all; with the Gaussian 1/16 1/8 1/16, 1/8 1/4 1/8, 1/16 1/8 1/16 around it.

    Only what follows the layer is computed, once for each cell.
    """
    import numpy as np

    from ..perturbation.asked import Maps
    from .behind import Behind

    behind = Behind(asked)
    height, width = behind.maps.shape[1:]
    centre, side = (1.0, 0.0) if options.alone else (0.5, 0.25)
    down, across = (_band(length, centre, side) for length in (height, width))
    cells, found = [(y, x) for y in range(height) for x in range(width)], []
    for start in range(0, len(cells), BATCH):
        masks = np.stack([np.outer(down[y], across[x]) for y, x in cells[start : start + BATCH]])
        found.append(behind(masks[:, None].astype(np.float32)))
        asked.progress(min(start + BATCH, len(cells)), len(cells))
    values = np.moveaxis(np.concatenate(found).reshape(height, width, -1), -1, 0)
    return Maps((values - values.min((1, 2), keepdims=True)).astype(np.float32))


def _band(length: int, centre: float, side: float) -> np.ndarray:
    """A row for each place (length, length): `centre` at it, and `side` on either side."""
    import numpy as np

    return centre * np.eye(length) + side * (np.eye(length, k=1) + np.eye(length, k=-1))
