"""What a page is about: a photo through a lens, for a class or for what the model finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ....engine.errors import NoMap
from ....models.maps.convention import FIELDS

if TYPE_CHECKING:
    import numpy as np

    from ....models.lens import Lens
    from ....models.maps.found import Found

PATIENCE = 120  # seconds that hiding one place after another may take for a page, each a whole answer


@dataclass(frozen=True)
class Subject:
    """What all ways look at: a photo through a lens, for a class (None is the predicted one).

    `places`: folders and photos to search for the images of highest response; the photo itself by default.
    `command(name, *more)` is the command line that does one of them alone, `methods` are those of attribution
    that are looked by beside the usual ones, and `convention` says how maps of layers lie on the photo.
    `of_things`: what is explained is what the model finds, and not a class; `where` is the layer of its maps,
    None where they come from all levels of a detector.
    """

    lens: Lens
    photo: np.ndarray
    image: str
    target: str | None
    layer: str
    places: Sequence[str]
    command: Callable[..., str]
    methods: Sequence[str] = ()
    convention: str = FIELDS
    of_things: bool = False
    where: str | None = None

    @cached_property
    def things(self) -> list[Found]:
        """What the model finds in the photo, best first."""
        return self.lens.things(self.photo)

    @cached_property
    def patch(self) -> dict[str, Any]:
        """The options of occlusion: none, or of a slow model larger patches side by side, 16 on a square.

        Raises NoMap where these would take longer than a page is waited for, too.
        """
        from ....engine.attribution.perturbation.hidden import places_on

        size, seconds = self.lens.preprocess.size, self._seconds()
        quarter = max(1, min(size) // 4)
        for sides in ({}, {"patch": quarter, "stride": quarter}):
            if seconds * len(places_on(size, sides.get("patch"), sides.get("stride"))) <= PATIENCE:
                return sides
        raise NoMap(
            f"the model takes {seconds:.0f} s for an answer: too long for a page that hides one place after "
            "another; the command below does"
        )

    def _seconds(self) -> float:
        """How long the model takes for an answer, after its first."""
        x, box = self.lens.preprocess(self.photo)
        self.lens.answered(x, box)
        start = perf_counter()
        self.lens.answered(x, box)
        return perf_counter() - start
