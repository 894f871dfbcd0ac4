"""`--method best`: the method that a model and photos speak for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ....engine.errors import BadImage, BadRequest
from ...console import counting, note
from ...options import open_lens

if TYPE_CHECKING:
    import numpy as np

    from ....models.attribution.best import Best

BEST = "best"  # as the name of a method


def best_method(model: str, images: Sequence[str], given: dict[str, Any]) -> str:
    """The best method for a model on some photos, folders or patterns; says on standard error why.

    Raises BadRequest where there are too few photos, and for options that are one method's own.
    """
    from ....models.attribution.best import LEAST, MOST, best
    from ....models.network.vision_model import SETTINGS
    from ....models.storage.album import photos

    targets = given.get("targets") or (None,)
    if len(targets) > 1 or given.get("layer"):
        raise BadRequest("--method best is for one target and each method's own layer: name a method")
    names = list(photos(images))
    if len(names) < LEAST:
        raise BadRequest(
            f"--method best judges methods by at least {LEAST} photos, and here are {len(names)}: give a "
            "folder of photos as the model gets them, or name a method"
        )
    settings = {k: given[k] for k in (*SETTINGS, "provider", "threads") if k in given}
    lens = open_lens(model, given["quiet"], **settings)
    some = names[:: max(1, len(names) // MOST)][:MOST]
    pictures = (photo for name in some if (photo := _readable(name)) is not None)
    with counting("judging methods", given["quiet"]) as progress:
        found = best(lens, pictures, targets[0], progress=lambda done: progress(done, len(some)))
    _say(found)
    return found.method


def _readable(name: str) -> np.ndarray | None:
    """The pixels of a photo; None of one that cannot be read, which is said where it is explained."""
    from ....models.storage.store import photo_at

    try:
        return photo_at(name)
    except BadImage:
        return None


def _say(found: Best) -> None:
    """Which method it is, by which numbers, and how sure that is."""
    from ....models.attribution.best import BY

    half = found.photos // 2
    chosen = f"{found.method} is best on {found.photos - half} photos"
    note(f"{chosen}, of {len(found.ranks)} methods; on {half} others:")
    for method, rank in found.ranks.items():
        numbers = ", ".join(f"{name} {found.numbers[method][name]:.3f}" for name in BY)
        word = " (fails: alike for random weights)" if method in found.fails else ""
        note(f"  {method:<17} mean rank {rank:.1f}; {numbers}{word}")
    if found.even:
        note(f"no significant difference from {', '.join(found.even)} (5 %)")
