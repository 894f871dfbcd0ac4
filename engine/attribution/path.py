"""Methods that follow the gradient over many inputs: along the way from a baseline to an image, or around it.

Each is a function of what is `given` and of its options, and gives the steps: inputs of the image's shape,
float32, each with its weight. The map is the sum of the gradients at the inputs by their weights, times the
direction in which the path runs there; or another `moment` of the gradients, by the same weights. A path that
is `found` on the way gives inputs, is sent the gradient at each before the next, and returns the map.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ..errors import BadRequest
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


class Given(NamedTuple):
    """An image, the baselines that the options of a method name (none where it has no such option), and
    whether the channels of both come last.
    """

    image: np.ndarray
    baselines: Sequence[np.ndarray]
    last: bool = False


class Path(NamedTuple):
    """What a method looks at, and what it takes of the gradients there, a name in MOMENTS of averaged.py;
    where its ways `begin`; and whether each input depends on the gradients before it.
    """

    steps: Callable[..., Any]
    moment: str
    begin: Callable[[Given, Any], Sequence[np.ndarray]]
    found: bool


def path(
    *about: str,
    moment: str = "mean",
    begin: Callable[[Given, Any], Sequence[np.ndarray]] = lambda given, options: given.baselines,
    found: bool = False,
    **more: Any,
) -> Callable[[Any], Any]:
    """The decorator of this family: as `family` says, and the fields of a Path."""
    enter = _enter(*about, **more)
    return lambda steps: enter(Path(steps, moment, begin, found)) and steps


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


class Blurred(NamedTuple):
    """Of blur integrated gradients."""

    steps: Annotated[int, Option("How many gradients an average is over.", 1, 10_000)] = 50
    spread: Annotated[
        float, Option("Of the first blur: standard deviation over the shorter side.", 0, 1, above=True)
    ] = 1 / 6


class Guided(NamedTuple):
    """Of guided integrated gradients."""

    steps: Annotated[int, Option("How many gradients an average is over.", 1, 10_000)] = 100
    baseline: Annotated[
        str, Option("Where the way begins: mean, zero (black), blur, noise, a colour.", fill=True)
    ] = "mean"
    fraction: Annotated[float, Option("What share of the numbers moves at a time.", 0.01, 1)] = 0.25
    distance: Annotated[float, Option("How far from the straight way, as a share of it.", 0, 1)] = 0.02


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
def integrated(given: Given, options: Integrated) -> Iterator[Step]:
    """Sums to the rise from the baseline to the image, but for the gap that finitely many steps leave.

    Of several baselines it is the mean, each at as many steps.
    """
    for baseline in given.baselines:
        yield from straight(given.image, baseline, options.steps, 1 / len(given.baselines), options.rule)


def blurred(given: Given, spread: float) -> np.ndarray:
    """The image behind a Gaussian of a standard deviation in pixels; mirrored at the border, so that nothing
    is lost there. Raises BadRequest for an input that is no picture.
    """
    import numpy as np

    from ...host import cv2

    image = np.moveaxis(given.image, -1, 0) if given.last else given.image
    if image.ndim < 2:
        raise BadRequest(f"blur-integrated blurs pictures, and an input of {image.shape} is none")
    planes = image.reshape(-1, *image.shape[-2:])
    found = [cv2.GaussianBlur(p, (0, 0), spread, borderType=cv2.BORDER_REFLECT) for p in planes]
    whole = np.stack(found).reshape(image.shape)
    return np.moveaxis(whole, 0, -1) if given.last else whole


def _spread(given: Given, options: Blurred) -> float:
    """The standard deviation that the way begins with, in pixels."""
    sides = given.image.shape[-3:-1] if given.last else given.image.shape[-2:]
    return options.spread * min(sides)


@path(
    "blur-integrated",
    "Blur integrated gradients",
    "Xu, Venugopalan & Sundararajan 2020, equation 6",
    shows="what each pixel adds to the rise of a class as the photo comes into focus",
    options=Blurred,
    begin=lambda given, options: [blurred(given, _spread(given, options))],
)
def blur_integrated(given: Given, options: Blurred) -> Iterator[Step]:
    """Gradients along the way on which a blur gives way to the photo, times what that changes: between two
    blurs the gradient in the middle, times their difference. Sums to the rise from the blurred photo.
    """
    most, steps, image = _spread(given, options), options.steps, given.image
    one = blurred(given, most)
    for i in reversed(range(steps)):
        other = blurred(given, most * (i / steps) ** 2) if i else image
        yield Step(1, (one + other) / 2, other - one)
        one = other


@path(
    "guided-integrated",
    "Guided integrated gradients",
    "Kapishnikov et al. 2021, algorithm 1",
    shows="what each pixel adds to the rise of a class, on a way that leaves steep places for the end",
    options=Guided,
    found=True,
)
def guided_integrated(given: Given, options: Guided) -> Generator[np.ndarray, np.ndarray, np.ndarray]:
    """At each step those numbers of the input move that change the class least, none farther than `distance`
    from the straight way: steep places that no photo is at are passed by. Sums to the rise from the
    baseline; of several baselines it is the mean.

    The way turns often, so that the sum needs more steps than that of `integrated` to come near the rise.
    """
    import numpy as np

    whole = np.zeros(given.image.shape)
    for start in given.baselines:
        whole += (yield from _guided(given.image, start, options)) / len(given.baselines)
    return whole


def _guided(
    image: np.ndarray, start: np.ndarray, options: Guided
) -> Generator[np.ndarray, np.ndarray, np.ndarray]:
    """The same of one baseline."""
    import numpy as np

    image, x = image.astype(np.float64), start.astype(np.float64)
    start, along, whole = x, image - x, np.zeros_like(x)
    for i in range(1, options.steps + 1):
        slope, done = (yield x.astype(np.float32)), i / options.steps
        low, high = (start + np.clip(done + d, 0, 1) * along for d in (-options.distance, options.distance))
        late = np.abs(image - x) > np.abs(image - low)
        rest = (1 - done) * np.abs(along).sum()
        moved = _moved(np.where(late, low, x), high, image, rest, np.abs(slope), options.fraction)
        whole, x = whole + slope * (moved - x), moved
    return whole


def _moved(
    x: np.ndarray, high: np.ndarray, image: np.ndarray, rest: float, slope: np.ndarray, fraction: float
) -> np.ndarray:
    """x when it has come as near to the image as `rest`, the sum of what its numbers are off. A `fraction` of
    them moves at a time, those of the least slope first, and none beyond `high`.
    """
    import numpy as np

    slope, last = np.where(x == high, np.inf, slope), int(fraction * (x.size - 1))
    while (left := np.abs(image - x).sum() - rest) > 1e-9 * np.abs(image).sum():
        flat = (slope <= np.partition(slope, last, None).flat[last]) & (slope < np.inf)
        room = np.abs(high - x)[flat].sum()
        if not room > 0:
            break
        share = min(1, left / room)
        x = np.where(flat, high if share == 1 else x + share * (high - x), x)
        slope = np.where(flat, np.inf, slope)
    return x


@path(
    "expected-gradients",
    "Expected gradients",
    "Erion et al. 2021, equation 3",
    shows="what each pixel adds to the rise of a class from what is usual, over several baselines",
    options=Expected,
)
def expected(given: Given, options: Expected) -> Iterator[Step]:
    """The mean of integrated gradients over the baselines: sums to the rise from their mean score, as there.

    The paper draws baselines and positions at random, from the photos that a model was trained on; each of a
    few baselines once, at the nodes of an exact rule, is the same expectation without the noise.
    """
    steps = max(1, round(options.steps / len(given.baselines)))
    for baseline in given.baselines:
        yield from straight(given.image, baseline, steps, 1 / len(given.baselines))


@path(
    "smoothgrad",
    "SmoothGrad",
    "Smilkov et al. 2017, section 3",
    shows="how much each pixel changes a class, on average over noisy copies of the photo",
    options=Smooth,
)
def smoothgrad(given: Given, options: Smooth) -> Iterator[Step]:
    """The image with noise, the same in every run."""
    import numpy as np

    rng, size = np.random.default_rng(SEED), np.float32(NOISE * np.ptp(given.image))
    for _ in range(options.steps):
        yield Step(1 / options.steps, given.image + size * rng.standard_normal(given.image.shape, np.float32))


@path(
    "smoothgrad-squared",
    "SmoothGrad squared",
    "Hooker et al. 2019, SG-SQ",
    shows="how much each pixel changes a class, up or down, on average over noisy copies of the photo",
    options=Smooth,
    moment="square",
    signed=False,
)
def smoothgrad_squared(given: Given, options: Smooth) -> Iterator[Step]:
    """The copies of SmoothGrad; of the gradients the mean square, so that what changes sign adds up."""
    return smoothgrad(given, options)


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
def vargrad(given: Given, options: Smooth) -> Iterator[Step]:
    """The copies of SmoothGrad; of the gradients the variance.

    It says nothing of the gradient itself: zero where the network is linear around the photo (Seo et al.),
    and where it is large need not be what speaks for a class.
    """
    return smoothgrad(given, options)


@path(
    "gradient-shap",
    "Gradient SHAP",
    "Lundberg & Lee 2017, as Captum computes it",
    shows="what each pixel adds to a class, at random places on the ways from baselines to noisy photos",
    options=Expected,
)
def gradient_shap(given: Given, options: Expected) -> Iterator[Step]:
    """Baselines in turn, positions and noise at random, the same in every run: on average the rise."""
    import numpy as np

    rng, size = np.random.default_rng(SEED), np.float32(NOISE * np.ptp(given.image))
    for i in range(options.steps):
        start = given.baselines[i % len(given.baselines)]
        along = given.image + size * rng.standard_normal(given.image.shape, np.float32) - start
        yield Step(1 / options.steps, start + rng.random(dtype=np.float32) * along, along)
