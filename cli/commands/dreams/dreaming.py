"""The options of `onnxlens dream` that say what to dream of and how to climb there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.errors import BadRequest
from ... import options

if TYPE_CHECKING:
    import numpy as np

    from ....models.dreams.ascent import Ascent
    from ....models.dreams.dream import Dream, Watch
    from ....models.network.vision_model import VisionModel

MAX_NUMBERS = 2**20  # of a vector in a file
MAX_SIDE = 2048  # pixels, where nobody says how many
MAX_PIXELS = 2**26  # of all the pictures of a batch

aims = options.stacked(
    click.option("--objective", help="What to have more of: '0.8*channel(conv4, 12) + 0.2*class(cat)'."),
    click.option("--layer", help="All that a layer answers with.  [default: one two thirds of the way up]"),
    click.option("--target", help="A class: index or label."),
    click.option(
        "--guide", type=click.Path(path_type=Path), help="Photo whose features of --layer to bring out."
    ),
    click.option(
        "--vector", "vectors", multiple=True, metavar="NAME=FILE.npy", help="Numbers of a direction()."
    ),
)
climbs = options.stacked(
    click.option(
        "--fourier/--pixels",
        default=None,
        help="Climb in decorrelated frequencies and colours, or in pixels and octaves."
        "  [default: --pixels for photos and films]",
    ),
    click.option(
        "--iterations", type=click.IntRange(1, 100_000), help="Steps.  [default: 10 an octave, or 256]"
    ),
    click.option(
        "--step",
        type=click.FloatRange(0, 1000, min_open=True),
        help="Length of a step.  [default: 1.5 levels of 255, or 0.05 in the spectrum]",
    ),
    click.option(
        "--octaves", default=4, show_default=True, type=click.IntRange(1, 32), help="Sizes to climb at."
    ),
    click.option(
        "--octave-scale",
        default=1.4,
        show_default=True,
        type=click.FloatRange(1.01, 8),
        help="How much larger each is than the one before.",
    ),
    click.option(
        "--jitter",
        default=32,
        show_default=True,
        type=click.IntRange(0, 4096),
        help="With --pixels: random shifts, in pixels.",
    ),
    click.option(
        "--robust/--still",
        default=True,
        show_default=True,
        help="With --fourier: shift, scale and turn the picture at random.",
    ),
    click.option(
        "--tv",
        type=click.FloatRange(0, 1e9),
        help="Weight of the total variation.  [default: 0, or 0.3 with --fourier]",
    ),
    click.option(
        "--blur",
        default=0.0,
        show_default=True,
        type=click.FloatRange(0, 64),
        help="Of the gradient, in pixels.",
    ),
    click.option(
        "--count", default=1, show_default=True, type=click.IntRange(1, 256), help="Pictures in a batch."
    ),
    click.option(
        "--side",
        type=click.IntRange(16, 4096),
        help="Longer side in pixels.  [default: the image's, at most 2048]",
    ),
    click.option(
        "--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of all chance."
    ),
)


def wished(lens: VisionModel, given: dict[str, Any]) -> str:
    """The objective that the options say, by default a layer's own. BadRequest where they say several."""
    from ....engine.sums import quoted
    from ....models.dreams.dream import default_layer

    said = [name for name in ("objective", "layer", "target") if given[name] is not None]
    if len(said) > 1:
        raise BadRequest(
            f"--{said[0]} and --{said[1]} both say what to dream of; use one, or a sum in --objective"
        )
    if given["objective"] is not None:
        return given["objective"]
    if given["target"] is not None:
        if given["guide"]:
            raise BadRequest("--guide brings out features of a --layer, not of a --target")
        if (index := lens.wish(given["target"])) < 0:
            raise BadRequest(f"--target {given['target']} depends on a photo; say one class")
        return f"odds({index})"
    layer = quoted(given["layer"] if given["layer"] is not None else default_layer(lens))
    return f"guide({layer}, guide)" if given["guide"] else f"layer({layer})"


def ascent(lens: VisionModel, given: dict[str, Any], fourier: bool) -> Ascent:
    """What is climbed; the vectors and the guide that the objective names are read for it."""
    from ....engine.dreams.dream import Priors
    from ....engine.dreams.objective import parse
    from ....models.dreams.ascent import Ascent
    from ....models.dreams.dream import guide_features
    from ....models.dreams.imagine import VARIATION
    from ....models.photos.photo import read_photo

    text = wished(lens, given)
    vectors = dict(_vector(said) for said in given["vectors"])
    guided = {p.arguments[0] for p in parse(text) if p.name == "guide" and p.arguments}
    if given["guide"]:
        if len(guided) != 1:
            raise BadRequest("--guide goes with one guide(LAYER, guide) in --objective, or with --layer")
        vectors["guide"] = guide_features(lens, read_photo(given["guide"]), *guided)
    tv = given["tv"] if given["tv"] is not None else VARIATION if fourier else 0.0
    return Ascent(lens, text, vectors, Priors(tv, given["blur"]))


def climber(given: dict[str, Any], fourier: bool) -> Callable[[Ascent, np.ndarray | None, Watch], Dream]:
    """What makes a dream of a photo, or of noise where there is none, with these options."""
    from ....models.dreams.dream import dream
    from ....models.dreams.imagine import imagine

    count, seed = given["count"], given["seed"]

    def climb(ascent: Ascent, photo: np.ndarray | None, watch: Watch) -> Dream:
        if fourier:
            return imagine(
                ascent,
                photo,
                count=count,
                iterations=given["iterations"] or 256,
                rate=given["step"] or 0.05,
                robust=given["robust"],
                seed=seed,
                watch=watch,
            )
        start = started(ascent.lens, photo, given)
        return dream(ascent, start, count=count, seed=seed, watch=watch, **settings(given))

    return climb


def started(lens: VisionModel, photo: np.ndarray | None, given: dict[str, Any]) -> np.ndarray:
    """The photo, or grey noise, at the size at which it is climbed. BadRequest for too large a batch."""
    from ....models.dreams.dream import grain
    from ....models.dreams.octaves import within

    height, width = lens.preprocess.size
    photo = grain(height, width, given["seed"]) if photo is None else photo
    start = within(photo, given["side"] or min(max(photo.shape[:2]), MAX_SIDE))
    if given["count"] * start.shape[0] * start.shape[1] > MAX_PIXELS:
        raise BadRequest(
            f"{given['count']} pictures of {start.shape[1]}x{start.shape[0]}: say a smaller --side"
        )
    return start


def settings(given: dict[str, Any]) -> dict[str, Any]:
    """How pixels are climbed, as `dream` and `film` take it."""
    return {
        "iterations": given["iterations"] or 10,
        "octaves": given["octaves"],
        "scale": given["octave_scale"],
        "rate": given["step"] or 1.5,
        "most": given["jitter"],
    }


def _vector(said: str) -> tuple[str, np.ndarray]:
    """A name and the numbers of a .npy file. BadRequest where it is none, or a large one."""
    import numpy as np

    name, equals, path = said.partition("=")
    try:
        if not equals or not name:
            raise ValueError("say NAME=FILE.npy")
        held = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(held, np.ndarray) or held.size > MAX_NUMBERS:
            raise ValueError(f"it holds no array of at most {MAX_NUMBERS} numbers")
        return name, np.array(held)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise BadRequest(f"--vector {said:.80}: {reason}") from error
