"""Methods that hide parts of a photo and look at what a model answers then; no gradient is needed.

Each takes what is `asked`, one image of a network and the classes in question (asked.py), and its options,
and gives the maps of these classes (T, h, w) float32, h x w being the size of the network's input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from ..method import Option, Pair, family

if TYPE_CHECKING:
    from .asked import Asked, Maps

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


def _places(size: tuple[int, int], options: Patches) -> None:
    from .hidden import places_on

    places_on(size, options.patch, options.stride)


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
