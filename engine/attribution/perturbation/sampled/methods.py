"""Methods that hide parts of a photo at random, as ../methods.py has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ....errors import BadRequest
from ...method import Option
from ..methods import perturbation

if TYPE_CHECKING:
    from ..asked import Asked, Maps

SEED = 0
MOST_HELD = 50_000_000  # numbers of a least squares problem

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


class Designs(NamedTuple):
    """Of Sobol indices."""

    cells: Cells = 7
    designs: Annotated[
        int, Option("How many points each index is of; takes so many answers for each segment.", 2, 4096)
    ] = 32
    segments: Segments = "grid"
    fill: Fill = "mean"
    random_seed: Seed = SEED


class Coins(NamedTuple):
    """Of HSIC."""

    cells: Cells = 7
    samples: Annotated[int, Option("How many random coalitions of segments.", 2, 10_000)] = 1000
    segments: Segments = "grid"
    fill: Fill = "mean"
    random_seed: Seed = SEED


def _coalitions(size: tuple[int, int], options: Coalitions) -> None:
    _segments(size, options)
    most = MOST_HELD // options.cells**2
    if options.samples > most:
        raise BadRequest(f"samples is at most {most} for {options.cells} x {options.cells} cells: take fewer")


def _segments(size: tuple[int, int], options: Any) -> None:
    from .segments import SLIC, slic

    if options.segments == SLIC:
        slic()


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
    from .means import averaged

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
    from .means import averaged

    return averaged(asked, asked.found_through, **options._asdict())


@perturbation(
    "kernel-shap",
    "Kernel SHAP",
    "Lundberg & Lee 2017, theorem 2",
    shows="how much each cell of the photo adds to how probable a class is, whatever else is seen",
    options=Coalitions,
    signed=True,
    check=_coalitions,
)
def kernel_shap(asked: Asked, options: Coalitions) -> Maps:
    """Shapley values of cells by least squares over coalitions, drawn as the kernel weights them; they sum to
    the rise from the photo that is hidden altogether.

    A cell is alike all over and may reach beyond the object: where in it the evidence lies it does not say.
    """
    from . import shares

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

    A cell is alike all over and may reach beyond the object: where in it the evidence lies it does not say.
    """
    from . import shares

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

    A cell is alike all over and may reach beyond the object: where in it the evidence lies it does not say.
    """
    from . import shares

    return shares.lime(asked, **options._asdict())


@perturbation(
    "sobol",
    "Sobol attribution",
    "Fel et al. 2021, section 3; Jansen 1999",
    shows="which share of the variance of how probable a class is each cell of the photo takes part in",
    options=Designs,
    check=_segments,
)
def sobol(asked: Asked, options: Designs) -> Maps:
    """1 / 2N Σ (probability(A) - probability(A with cell i of B))² / Var: total-order indices of how far each
    cell is seen, from 0 to 1, by Jansen's estimator. They say nothing of for or against.

    The points A and B are of a random Latin hypercube, where the paper takes a Sobol sequence; the indices
    that they come to are the same.

    A cell is alike all over and may reach beyond the object: where in it the evidence lies it does not say.
    """
    from . import sensitivity

    return sensitivity.sobol(asked, **options._asdict())


@perturbation(
    "hsic",
    "HSIC attribution",
    "Novello, Fel & Vigouroux 2022, section 3",
    shows="how much the answer for a class depends on whether each cell of the photo is seen",
    options=Coins,
    check=_segments,
)
def hsic(asked: Asked, options: Coins) -> Maps:
    """tr(K_i H L H) / (N - 1)² over coalitions of cells: K_i whether cell i is alike in two, L how near their
    probabilities are (a Gaussian as wide as the median distance), H what centres. It says nothing of for or
    against.

    A cell is alike all over and may reach beyond the object: where in it the evidence lies it does not say.
    """
    from . import sensitivity

    return sensitivity.hsic(asked, **options._asdict())
