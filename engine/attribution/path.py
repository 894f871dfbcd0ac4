"""Methods that follow the gradient over many inputs: along the way from a baseline to an image, or around it.

Each is a function of an image, of the baselines that its options name (none where it has no such option) and
of its options, and gives the steps: inputs of the image's shape, float32, each with its weight. The map is
the sum of the gradients at the inputs by their weights, times the direction in which the path runs there; or
another `moment` of the gradients, by the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from .method import Option, family

if TYPE_CHECKING:
    import numpy as np

NOISE = 0.15  # standard deviation over the range of the image: Smilkov et al. 2017, section 4
SEED = 0

_enter = family(
    "path",
    layer="Look from this layer instead of from a class.",
    units=True,
    signed=True,
    style="absolute",
)


class Step(NamedTuple):
    """An input, its weight, and the direction `along` in which the path runs there, of the image's shape;
    steps that share one hold the same array. None: the gradient stands for itself.
    """

    weight: float
    input: np.ndarray
    along: np.ndarray | None = None


class Path(NamedTuple):
    """What a method looks at, and what it takes of the gradients there, a name in MOMENTS of averaged.py."""

    steps: Callable[..., Iterator[Step]]
    moment: str


def path(*about: str, moment: str = "mean", **more: Any) -> Callable[[Any], Any]:
    """The decorator of this family: as `family` says, and the fields of a Path."""
    enter = _enter(*about, **more)
    return lambda steps: enter(Path(steps, moment)) and steps


def gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes within 0 to 1, weights that sum to 1: exact for polynomials of degree 2 · steps - 1."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def even(steps: int, first: float) -> tuple[np.ndarray, np.ndarray]:
    """One node in each of so many parts of one length, `first` (0 to 1) of it from where the part begins."""
    import numpy as np

    return (np.arange(steps) + first) / steps, np.full(steps, 1 / steps)


def trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends and even places between them, the ends of half the weight; of one step the middle."""
    import numpy as np

    weights = np.ones(steps)
    weights[[0, -1]] = 0.5
    return (np.linspace(0, 1, steps), weights / weights.sum()) if steps > 1 else even(1, 0.5)


RULES: dict[str, Callable[[int], tuple[np.ndarray, np.ndarray]]] = {
    "gauss-legendre": gauss_legendre,
    "riemann-left": lambda steps: even(steps, 0),
    "riemann-middle": lambda steps: even(steps, 0.5),
    "riemann-right": lambda steps: even(steps, 1),
    "riemann-trapezoid": trapezoid,
}


class Smooth(NamedTuple):
    """Of SmoothGrad, and of the other moments of gradients at noisy copies."""

    steps: Annotated[int, Option("How many gradients an average is over.", 1, 10_000)] = 50


class Integrated(NamedTuple):
    """Of integrated gradients."""

    steps: Annotated[int, Option("How many gradients an average is over.", 1, 10_000)] = 50
    baseline: Annotated[
        str,
        Option(
            "Where the way begins: mean, zero (black), blur, noise, a colour; a mean of several.", fill=True
        ),
    ] = "mean"
    rule: Annotated[str, Option("At which places of the way.", choices=tuple(RULES))] = "gauss-legendre"


class Expected(NamedTuple):
    """Of expected gradients."""

    steps: Annotated[int, Option("How many gradients an average is over, in all.", 1, 10_000)] = 100
    baselines: Annotated[
        str, Option("Where the ways begin, each as likely: fills or colours with commas.", fill=True)
    ] = "mean,zero,blur,noise"


def straight(
    image: np.ndarray, baseline: np.ndarray, steps: int, share: float = 1, rule: str = "gauss-legendre"
) -> Iterator[Step]:
    """The straight way from a baseline to an image, at the nodes of a rule, by weights that sum to `share`.

    Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks", section 5.
    """
    import numpy as np

    along = image - baseline
    for node, weight in zip(*RULES[rule](steps), strict=True):
        yield Step(float(share * weight), baseline + np.float32(node) * along, along)


@path(
    "integrated",
    "Integrated gradients",
    "Sundararajan, Taly & Yan 2017, equation 1",
    shows="what each pixel adds to the rise of a class from a photo in which there is nothing to see",
    options=Integrated,
)
def integrated(image: np.ndarray, baselines: Sequence[np.ndarray], options: Integrated) -> Iterator[Step]:
    """Sums to the rise from the baseline to the image, but for the gap that finitely many steps leave.

    Of several baselines it is the mean, each at as many steps.
    """
    for baseline in baselines:
        yield from straight(image, baseline, options.steps, 1 / len(baselines), options.rule)


@path(
    "expected-gradients",
    "Expected gradients",
    "Erion et al. 2021, equation 3",
    shows="what each pixel adds to the rise of a class from what is usual, over several baselines",
    options=Expected,
)
def expected(image: np.ndarray, baselines: Sequence[np.ndarray], options: Expected) -> Iterator[Step]:
    """The mean of integrated gradients over the baselines: sums to the rise from their mean score, as there.

    The paper draws baselines and positions at random, from the photos that a model was trained on; each of a
    few baselines once, at the nodes of an exact rule, is the same expectation without the noise.
    """
    steps = max(1, round(options.steps / len(baselines)))
    for baseline in baselines:
        yield from straight(image, baseline, steps, 1 / len(baselines))


@path(
    "smoothgrad",
    "SmoothGrad",
    "Smilkov et al. 2017, section 3",
    shows="how much each pixel changes a class, on average over noisy copies of the photo",
    options=Smooth,
)
def smoothgrad(image: np.ndarray, baselines: Sequence[np.ndarray], options: Smooth) -> Iterator[Step]:
    """The image with noise, the same in every run."""
    import numpy as np

    rng, size = np.random.default_rng(SEED), np.float32(NOISE * np.ptp(image))
    for _ in range(options.steps):
        yield Step(1 / options.steps, image + size * rng.standard_normal(image.shape, np.float32))


@path(
    "smoothgrad-squared",
    "SmoothGrad squared",
    "Hooker et al. 2019, SG-SQ",
    shows="how much each pixel changes a class, up or down, on average over noisy copies of the photo",
    options=Smooth,
    moment="square",
    signed=False,
)
def smoothgrad_squared(image: np.ndarray, baselines: Sequence[np.ndarray], options: Smooth) -> Iterator[Step]:
    """The copies of SmoothGrad; of the gradients the mean square, so that what changes sign adds up."""
    return smoothgrad(image, baselines, options)


@path(
    "vargrad",
    "VarGrad",
    "Adebayo et al. 2018, on local explanation methods; Seo et al. 2018",
    shows="where the gradient of a class depends most on noise in the photo",
    options=Smooth,
    moment="variance",
    signed=False,
    blank="its gradient is the same in all noisy copies: the network is linear around this photo",
)
def vargrad(image: np.ndarray, baselines: Sequence[np.ndarray], options: Smooth) -> Iterator[Step]:
    """The copies of SmoothGrad; of the gradients the variance.

    It says nothing of the gradient itself: zero where the network is linear around the photo (Seo et al.).
    """
    return smoothgrad(image, baselines, options)


@path(
    "gradient-shap",
    "Gradient SHAP",
    "Lundberg & Lee 2017, as Captum computes it",
    shows="what each pixel adds to a class, at random places on the ways from baselines to noisy photos",
    options=Expected,
)
def gradient_shap(image: np.ndarray, baselines: Sequence[np.ndarray], options: Expected) -> Iterator[Step]:
    """Baselines in turn, positions and noise at random, the same in every run: on average the rise."""
    import numpy as np

    rng, size = np.random.default_rng(SEED), np.float32(NOISE * np.ptp(image))
    for i in range(options.steps):
        start = baselines[i % len(baselines)]
        along = image + size * rng.standard_normal(image.shape, np.float32) - start
        yield Step(1 / options.steps, start + rng.random(dtype=np.float32) * along, along)
