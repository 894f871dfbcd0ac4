"""Pictures of what a network looks for, made of noise.

Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017.
"""

from __future__ import annotations

import numpy as np

from ...engine.dreams.parameterisation import noise, to_spectrum
from ...engine.dreams.transforms import still, wobble
from ...engine.runtime.session import Session
from ..network.vision_model import VisionModel
from .ascent import Ascent
from .dream import Dream, Octave, Tell, Watch, number, telling
from .octaves import to_pictures, to_pixels

VARIATION = 0.3  # the prior by default: enough for forms to show, not so much that it bleaches them


def imagine(
    ascent: Ascent,
    photo: np.ndarray | None = None,
    *,
    count: int = 1,
    iterations: int = 256,
    rate: float = 0.05,
    robust: bool = True,
    seed: int = 0,
    watch: Watch | None = None,
) -> Dream:
    """Make a picture of what the objective says from noise, in decorrelated frequencies and colours.

    Adam climbs the spectrum of an image of the network's input size (engine/dreams/).

    Parameters
    ----------
    ascent
        The model and the objective.
    photo
        What it starts from, (H, W, 3) uint8 RGB, as the model sees it; noise by default.
    count
        So many pictures, made together where the model takes them together.
    iterations
        Steps.
    rate
        Of Adam.
    robust
        Whether the network sees the picture shifted, scaled and turned at random each time.
    seed
        Of all that is random.
    watch
        Called with the Moment after each step.

    Returns
    -------
    Dream
        The pictures, (N, h, w, 3) uint8, and the objective before and after.

    Raises
    ------
    BadRequest, NoMap
        As `dream` does.

    Examples
    --------
    >>> ascent = onnxlens.Ascent(onnxlens.Lens("scenes"), "odds(cat)")
    >>> made = onnxlens.imagine(ascent, iterations=8)
    >>> made.pictures.shape, bool(made.octaves[0].after > made.octaves[0].before)
    ((1, 96, 96, 3), True)
    """
    rng = np.random.default_rng(seed)
    h, w = ascent.lens.preprocess.size
    session, group = ascent.spectrum_session(count, rate)
    rounds = -(-count // group)
    begin = noise(rng, (rounds * group, 3, h, w))
    if photo is not None:
        begin += to_spectrum(to_pixels(as_seen(ascent.lens, photo), 1))
    tell = telling(ascent.text, rounds * iterations, watch)
    moved = rng if robust else None
    ends = [_climbed(session, part, iterations, moved, tell) for part in np.split(begin, rounds)]
    start, before, made, after = (np.concatenate(parts)[:count] for parts in zip(*ends, strict=True))
    number(after, ascent.text)
    return Dream(ascent.text, to_pictures(start)[0], to_pictures(made), (Octave(h, w, before, after),))


def _climbed(
    session: Session, spectrum: np.ndarray, iterations: int, rng: np.random.Generator | None, tell: Tell
) -> tuple[np.ndarray, ...]:
    """The images and their objective before the steps, and both after them, with nothing moved."""
    state = {"spectrum": spectrum, "first": np.zeros_like(spectrum), "second": np.zeros_like(spectrum)}
    ends = []
    for k in range(iterations + 1):  # the last shows what the steps have come to
        affine = wobble(rng, len(spectrum)) if rng and 0 < k < iterations else still(len(spectrum))
        found = session({**state, "count": np.array(k + 1, np.float32), "affine": affine})
        if k < iterations:
            tell(found["value"], found["pixels"])
        if k in (0, iterations):
            ends.append((found["pixels"], found["value"]))
        state = {name: found[f"{name}/next"] for name in state}
    return *ends[0], *ends[-1]


def as_seen(lens: VisionModel, photo: np.ndarray) -> np.ndarray:
    """A photo as the model sees it: the part and the size of its input, (h, w, 3) uint8."""
    return lens.preprocess.inverse(lens.preprocess(photo)[0])[0]
