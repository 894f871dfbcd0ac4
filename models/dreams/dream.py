"""Photos that become more of what a network sees in them, octave by octave, and films of that.

Mordvintsev, Olah & Tyka, "Inceptionism: Going Deeper into Neural Networks", 2015, with the numbers of its
reference notebook (google/deepdream).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count as counting
from typing import Any

import numpy as np

from ...engine.anatomy.maps import feature_map, map_names
from ...engine.dreams.transforms import jitter
from ...engine.errors import NoMap
from ...engine.picture import grid
from ..features.top import looked_at
from ..maps.shown import Shown
from ..network.vision_model import VisionModel
from .ascent import Ascent, PixelStep
from .octaves import closer, octave_sizes, resize, to_pictures, to_pixels

GREY, GRAIN = 128, 16  # levels of 255: noise to start from
ZOOM = 0.05  # share of the picture's sides by which a film goes nearer in a frame


@dataclass(frozen=True)
class Moment:
    """Where a dream stands after a step: `done` steps of `total`, the mean objective before it, and the
    images, (N, 3, H, W) float32, 0 to 255.
    """

    done: int
    total: int
    value: float
    pixels: np.ndarray

    def pictures(self) -> np.ndarray:
        """The images as pictures (N, H, W, 3) uint8."""
        return to_pictures(self.pixels)


Watch = Callable[[Moment], None]
Tell = Callable[[np.ndarray, np.ndarray], None]  # of the objectives (N,) and the images after a step


@dataclass(frozen=True)
class Octave:
    """One size at which a picture was dreamed, and the objective of each image (N,) before and after it."""

    height: int
    width: int
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True, repr=False)
class Dream(Shown):
    """What a dream came to: `pictures` (N, H, W, 3) uint8, what it started from, and how far it rose."""

    objective: str
    start: np.ndarray
    pictures: np.ndarray
    octaves: tuple[Octave, ...]

    def picture(self) -> np.ndarray:
        """All pictures in one, (H, W, 3) uint8."""
        if len(self.pictures) == 1:
            return self.pictures[0]
        return grid(list(self.pictures), columns=int(np.ceil(np.sqrt(len(self.pictures)))))

    def shown(self) -> np.ndarray:
        """All pictures in one, for notebooks."""
        return self.picture()

    def beside(self) -> np.ndarray:
        """What it started from and what became of it, side by side, (H, W', 3) uint8."""
        return grid([self.start, *self.pictures], columns=1 + len(self.pictures))


def dream(
    ascent: Ascent,
    photo: np.ndarray,
    *,
    count: int = 1,
    iterations: int = 10,
    octaves: int = 4,
    scale: float = 1.4,
    rate: float = 1.5,
    most: int = 32,
    seed: int | np.random.Generator = 0,
    watch: Watch | None = None,
) -> Dream:
    """Make a photo more of what the objective says, at its own size.

    The reference notebook's deepdream: at each of some sizes, what was dreamed so far is added to the photo,
    and steps follow, each moved round at random (jitter) and clipped to 0..255.

    Parameters
    ----------
    ascent
        The model and the objective.
    photo
        Pixels (H, W, 3) uint8, RGB.
    count
        So many pictures are dreamed together, from starts that differ by noise of one level.
    iterations
        Steps at each size.
    octaves
        How many sizes.
    scale
        By how much each is larger than the last.
    rate
        Levels of 255 by which a step moves, over the mean size of the gradient.
    most
        Pixels, at most, by which a step is moved round.
    seed
        Of all that is random.
    watch
        Called with the Moment after each step.

    Returns
    -------
    Dream
        The pictures, (N, H, W, 3) uint8, and the objective before and after each octave.

    Raises
    ------
    BadRequest
        For an objective that does not depend on the image.
    NoMap
        Where it is not a number.

    Examples
    --------
    >>> ascent = onnxlens.Ascent(onnxlens.Lens("scenes"), "layer(relu4)")
    >>> photo = onnxlens.read_photo("cat.jpg")[:96, :96]
    >>> made = onnxlens.dream(ascent, photo, octaves=1, iterations=2)
    >>> made.pictures.shape, bool(made.octaves[0].after > made.octaves[0].before)
    ((1, 96, 96, 3), True)
    """
    rng = np.random.default_rng(seed)
    base = to_pixels(photo, count)
    base[1:] += rng.standard_normal(base[1:].shape).astype(np.float32)
    sizes = octave_sizes(photo.shape[0], photo.shape[1], octaves, scale)
    tell = telling(ascent.text, iterations * len(sizes), watch)
    offsets = (jitter(rng, most) for _ in counting())
    climb = partial(_climbed, iterations=iterations, offsets=offsets, tell=tell)
    made, found = _by_octaves(ascent, base, sizes, rate, climb)
    return Dream(ascent.text, photo, to_pictures(made), tuple(found))


def _by_octaves(
    ascent: Ascent, base: np.ndarray, sizes: Sequence[tuple[int, int]], rate: float, climb: Callable[..., Any]
) -> tuple[np.ndarray, list[Octave]]:
    """Images (N, 3, H, W) with what was dreamed of them at each size added up, and how far each size rose."""
    detail = np.zeros((*base.shape[:2], *sizes[0]), np.float32)
    pixels, found = base, []
    for size in sizes:
        below = resize(base, size)
        step = ascent.pixel_step((*base.shape[:2], *size), rate)
        pixels, before, after = climb(step, below + resize(detail, size))
        number(after, ascent.text)
        found.append(Octave(*size, before, after))
        detail = pixels - below
    return pixels, found


def _climbed(
    step: PixelStep, pixels: np.ndarray, iterations: int, offsets: Iterator[np.ndarray], tell: Tell
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images after steps at one size, and the objective (N,) before and after them."""
    first = offset = next(offsets)
    before = None
    for _ in range(iterations):
        pixels, value = step(pixels, offset)
        before = value if before is None else before
        tell(value, pixels)
        offset = next(offsets)
    after = step(pixels, first)[1]  # moved round as before the first step, to be compared with it
    return pixels, after if before is None else before, after


def film(
    ascent: Ascent, photo: np.ndarray, frames: int, *, zoom: float = ZOOM, seed: int = 0, **settings: Any
) -> Iterator[Dream]:
    """Dreams of dreams: each starts from the last one, seen from nearer.

    Parameters
    ----------
    ascent
        The model and the objective.
    photo
        Where it begins, (H, W, 3) uint8 RGB; it is not among the frames.
    frames
        How many.
    zoom
        Share of its sides by which each is seen from nearer.
    seed
        Of all that is random.
    **settings
        Of `dream`, which also says what is raised.

    Returns
    -------
    Iterator of Dream
        One for each frame, made as it is asked for.

    Examples
    --------
    >>> ascent = onnxlens.Ascent(onnxlens.Lens("scenes"), "layer(relu4)")
    >>> photo = onnxlens.read_photo("cat.jpg")[:96, :96]
    >>> frames = onnxlens.film(ascent, photo, frames=2, octaves=1, iterations=1)
    >>> [frame.picture().shape for frame in frames]
    [(96, 96, 3), (96, 96, 3)]
    """
    rng = np.random.default_rng(seed)
    for _ in range(frames):
        made = dream(ascent, photo, seed=rng, **settings)
        yield made
        photo = to_pictures(closer(to_pixels(made.picture(), 1), zoom))[0]


def grain(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Grey noise to start from, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(GREY, GRAIN, (height, width, 3)), 0, 255).astype(np.uint8)


def guide_features(lens: VisionModel, photo: np.ndarray, layer: str) -> np.ndarray:
    """The feature vectors of a photo at every position of a layer, (K, positions) float32, for guide()."""
    graph = lens.network.graph.copy()
    name = feature_map(graph, layer).name
    feeds, _ = lens.feeds(photo)
    found = lens.network.compile(graph, [name])(feeds)[name][0]
    return found.reshape(len(found), -1)


def default_layer(lens: VisionModel) -> str:
    """The feature map two thirds of the way from the image to the head: there are parts of things.

    Raises BadRequest where the model has no feature map.
    """
    graph = lens.network.graph
    last = looked_at(lens)
    names = map_names(graph)
    return names[2 * names.index(last) // 3]


def number(values: np.ndarray, text: str) -> float:
    """The mean of objectives (N,), which `text` names. Raises NoMap where it is not a number."""
    if not np.isfinite(values).all():
        raise NoMap(f"the objective {text:.60} is not a number (NaN or infinite); try smaller steps")
    return float(values.mean())


def telling(text: str, total: int, watch: Watch | None) -> Tell:
    """What tells `watch` of one step after the other. It raises NoMap where the objective is not a number."""
    done = counting(1)

    def tell(values: np.ndarray, pixels: np.ndarray) -> None:
        value = number(values, text)
        if watch:
            watch(Moment(next(done), total, value, pixels))

    return tell
