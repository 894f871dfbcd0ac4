"""Methods that hide parts of a photo and look at what a model answers then; no gradient is needed.

Each takes what is `asked`, one image of a network and the classes in question (asked.py), and its options,
and gives the maps of these classes (T, h, w) float32, h x w being the size of the network's input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from ..method import Option, Pair, family

if TYPE_CHECKING:
    from .asked import Asked, Maps

SEED = 0

perturbation = family(
    "perturbation",
    serial=True,
    blank="the answer for {target!r} is the same whatever is hidden; try another fill or another class",
)

# What options of several methods say.
Fill = Annotated[str, Option("Where the photo is hidden: as the fill of occlusion.", fill=True)]
Seed = Annotated[
    int, Option("Seed of what is drawn at random: the same one gives the same map.", 0, 2**32 - 1)
]
Tolerance = Annotated[
    float | None,
    Option(
        "Sample on until the standard error of the map is at most this share of its range.",
        0,
        1,
        above=True,
    ),
]
Seconds = Annotated[
    float | None, Option("Stop sampling after so many, and say how sure the map is then.", 0, above=True)
]


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

    masks: Annotated[
        int,
        Option("How many random masks, with a tolerance at least; the paper takes 4000 to 8000.", 1, 10**6),
    ] = 1000
    cells: Annotated[int, Option("Cells of a mask, down and across.", 1, 256)] = 7
    shown: Annotated[
        float, Option("The share of cells through which the photo is seen.", 0, 1, above=True)
    ] = 0.5
    fill: Fill = "mean"
    random_seed: Seed = SEED
    tolerance: Tolerance = None
    seconds: Seconds = None


def _places(size: tuple[int, int], options: Patches) -> None:
    from .hidden import places_on

    places_on(size, options.patch, options.stride)


Segments = Annotated[
    str,
    Option(
        "What is hidden as a whole: the cells of a grid, or what looks alike (slic; extra segments).",
        choices=("grid", "slic"),
    ),
]
Cells = Annotated[
    int, Option("Cells of the photo, down and across; of slic the root of the number of segments.", 2, 32)
]
Samples = Annotated[int, Option("How many random coalitions of segments.", 1, 10**6)]


class Coalitions(NamedTuple):
    """Of Kernel SHAP."""

    cells: Cells = 7
    samples: Samples = 1000
    segments: Segments = "grid"
    fill: Fill = "mean"
    random_seed: Seed = SEED


class Nearby(NamedTuple):
    """Of LIME."""

    cells: Cells = 7
    samples: Samples = 1000
    segments: Segments = "grid"
    kernel_width: Annotated[
        float, Option("How far from the whole photo a coalition may be and weigh much.", 0, above=True)
    ] = 0.25
    ridge: Annotated[float, Option("How much large weights are held small.", 0)] = 1.0
    fill: Fill = "mean"
    random_seed: Seed = SEED


class Orders(NamedTuple):
    """Of Shapley sampling."""

    cells: Cells = 7
    permutations: Annotated[
        int,
        Option("How many random orders of the segments, with a tolerance at least.", 1, 10**6),
    ] = 25
    segments: Segments = "grid"
    fill: Fill = "mean"
    random_seed: Seed = SEED
    tolerance: Tolerance = None
    seconds: Seconds = None


def _segments(size: tuple[int, int], options: Coalitions | Nearby | Orders) -> None:
    from .sampled.segments import SLIC, slic

    if options.segments == SLIC:
        slic()


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

    They are the same in every run of one seed. With a tolerance they are drawn until s / √N, the standard
    error of the mean (its root mean square over the pixels), is that share of the range of the map.
    """
    from .sampled.means import averaged

    return averaged(asked, asked.through, **options._asdict())


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
    from .sampled.means import averaged

    return averaged(asked, asked.found_through, **options._asdict())


@perturbation(
    "kernel-shap",
    "Kernel SHAP",
    "Lundberg & Lee 2017, theorem 2",
    shows="how much each cell of the photo adds to how probable a class is, whatever else is seen",
    options=Coalitions,
    signed=True,
    check=_segments,
)
def kernel_shap(asked: Asked, options: Coalitions) -> Maps:
    """Shapley values of cells by least squares over coalitions, drawn as the kernel weights them; they sum to
    the rise from the photo that is hidden altogether.
    """
    from .sampled import shares

    return shares.kernel_shap(asked, **options._asdict())


@perturbation(
    "shapley",
    "Shapley sampling",
    "Castro, Gómez & Tejada 2009; Štrumbelj & Kononenko 2014",
    shows="how much each cell of the photo adds to how probable a class is, on average over the orders in "
    "which they come into view",
    options=Orders,
    signed=True,
    check=_segments,
)
def shapley(asked: Asked, options: Orders) -> Maps:
    """1 / N Σ_π probability(cells up to i in the order π) - probability(those before i): an unbiased estimate
    of Shapley values, which sums exactly to the rise from the photo that is hidden altogether.

    Each order takes as many answers as there are cells.
    """
    from .sampled import shares

    return shares.shapley(asked, **options._asdict())


@perturbation(
    "lime",
    "LIME",
    "Ribeiro, Singh & Guestrin 2016, section 3.4",
    shows="how much each cell weighs in a linear model of how probable a class is near the photo",
    options=Nearby,
    signed=True,
    check=_segments,
)
def lime(asked: Asked, options: Nearby) -> Maps:
    """argmin_w Σ_z π(z) (probability(z) - w·z - b)² + ridge |w|², over coalitions z of cells, each seen or
    not by the throw of a coin, with π(z) = sqrt(exp(-d² / width²)) and d the cosine distance of z from the
    whole; kernel and penalty are those of the authors' program.

    Misleads where the answer is far from linear: the weights do not sum to the rise, and of most coalitions
    half of the photo is hidden, which is not near it.
    """
    from .sampled import shares

    return shares.lime(asked, **options._asdict())
