"""Methods that hide parts of a photo and look at what a model answers then; no gradient is needed.

Each takes what is `asked`, one image of a network and the classes in question (asked.py), and its options,
and gives the maps of these classes (T, h, w) float32, h x w being the size of the network's input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from ..method import Option, Pair, family

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from .asked import Asked, Maps

BATCH = 64  # masks at a time
SEED = 0

perturbation = family(
    "perturbation",
    serial=True,
    blank="the answer for {target!r} is the same whatever is hidden; try another fill or another class",
)


class Patches(NamedTuple):
    """Of occlusion."""

    patch: Annotated[
        Pair | None,
        Option(
            "Height and width of the patch in pixels of the input.  [default: 1/7 of the shorter side]",
            several=True,
        ),
    ] = None
    stride: Annotated[Pair | None, Option("Step of the patch.  [default: half the patch]")] = None
    fill: Annotated[
        str,
        Option(
            "Under the patch: mean (the grey that the model takes as zero), zero (black), blur, noise, "
            "#rrggbb or the name of a colour.",
            fill=True,
        ),
    ] = "mean"
    coarse: Annotated[
        bool, Option("Approximate: every fourth place, and those between where the score differs.")
    ] = False
    narrow: Annotated[
        float,
        Option(
            "Approximate: a patch changes at most this share of a map's height and width.", 0, 1, above=True
        ),
    ] = 1.0
    exact: Annotated[bool, Option("Draw one block for each place, nothing between them.")] = False


class Masks(NamedTuple):
    """Of RISE."""

    masks: Annotated[int, Option("How many random masks; the paper takes 4000 to 8000.", 1, 10**6)] = 1000
    cells: Annotated[int, Option("Cells of a mask, down and across.", 1, 256)] = 7
    shown: Annotated[
        float, Option("The share of cells through which the photo is seen.", 0, 1, above=True)
    ] = 0.5
    fill: Annotated[str, Option("Where the photo is hidden: as the fill of occlusion.", fill=True)] = "mean"


def _places(size: tuple[int, int], options: Patches) -> None:
    from .hidden import places_on

    places_on(size, options.patch, options.stride)


class Coalitions(NamedTuple):
    """Of Kernel SHAP."""

    cells: Annotated[int, Option("Cells of the photo, down and across.", 2, 32)] = 7
    samples: Annotated[int, Option("How many random coalitions of cells.", 1, 10**6)] = 1000
    fill: Annotated[str, Option("Where the photo is hidden: as the fill of occlusion.", fill=True)] = "mean"


@perturbation(
    "occlusion",
    "Occlusion",
    "Zeiler & Fergus 2014, section 4.2",
    shows="by how much the score of a class drops where a patch hides the photo",
    options=Patches,
    layer="Layer of the feature map to follow.  [default: the last one before the head]",
    check=_places,
)
def occlusion(asked: Asked, options: Patches) -> Maps:
    """max(0, score - score with a patch centred here); exact, and only what a patch changes is computed."""
    from .hidden import hidden

    return hidden(asked, **options._asdict())


@perturbation(
    "rise",
    "RISE",
    "Petsiuk, Das & Saenko 2018, equation 6",
    shows="how probable a class is on average where the photo is seen through random masks",
    options=Masks,
)
def rise(asked: Asked, options: Masks) -> Maps:
    """1 / (p N) Σ_i probability(photo seen through M_i) M_i, with the masks M of section 3.2.

    They are the same in every run.
    """
    return _averaged(asked, options, asked.through)


@perturbation(
    "d-rise",
    "D-RISE",
    "Petsiuk et al. 2021, equations 3 to 6",
    shows="how well a box is found again on average where the photo is seen through random masks",
    options=Masks,
    finds=True,
)
def d_rise(asked: Asked, options: Masks) -> Maps:
    """As RISE, of how well a box is found again: of all that the model finds then the best product of the
    overlap, the cosine of its classes with that class, and how sure it is. For a class it is RISE.
    """
    return _averaged(asked, options, asked.found_through)


def _averaged(asked: Asked, options: Masks, through: Callable[[np.ndarray, str], np.ndarray]) -> Maps:
    """The mean of random masks, each times what the model answers `through` it."""
    import numpy as np

    from .asked import Maps
    from .masks import smooth

    total, rng = np.zeros((len(asked.classes), *asked.size)), np.random.default_rng(SEED)
    for start in range(0, options.masks, BATCH):
        count = min(BATCH, options.masks - start)
        masks = smooth(rng, count, options.cells, options.shown, asked.size)
        total += np.tensordot(through(masks, options.fill), masks, (0, 0))
        asked.progress(start + count, options.masks)
    return Maps((total / (options.masks * options.shown)).astype(np.float32))


@perturbation(
    "kernel-shap",
    "Kernel SHAP",
    "Lundberg & Lee 2017, theorem 2",
    shows="how much each cell of the photo adds to how probable a class is, whatever else is seen",
    options=Coalitions,
    signed=True,
)
def kernel_shap(asked: Asked, options: Coalitions) -> Maps:
    """Shapley values of cells by least squares over coalitions, drawn as the kernel weights them; they sum to
    the rise from the photo that is hidden altogether.
    """
    import numpy as np

    from .asked import Maps

    rng, count = np.random.default_rng(SEED), options.cells**2
    rows, columns = (np.arange(length) * options.cells // length for length in asked.size)
    cell = rows[:, None] * options.cells + columns  # of each pixel
    sizes = np.arange(1, count)
    kernel = 1 / (sizes * (count - sizes))
    drawn = rng.choice(sizes, options.samples, p=kernel / kernel.sum())
    ranks = rng.random((options.samples, count)).argsort(1).argsort(1)
    seen = np.concatenate([np.ones((1, count)), np.zeros((1, count)), ranks < drawn[:, None]]).astype(
        np.float32
    )
    answers = []
    for start in range(0, len(seen), BATCH):
        answers.append(asked.through(seen[start : start + BATCH][:, cell], options.fill))
        asked.progress(min(start + BATCH, len(seen)), len(seen))
    whole, none, *others = np.concatenate(answers)
    # The last value is what the others leave of the rise, so that they sum to it.
    last, rise = seen[2:, -1:], whole - none
    found = np.linalg.lstsq(seen[2:, :-1] - last, others - none - last * rise, rcond=None)[0]
    values = np.concatenate([found, [rise - found.sum(0)]])
    return Maps(np.moveaxis(values[cell], -1, 0).astype(np.float32))
