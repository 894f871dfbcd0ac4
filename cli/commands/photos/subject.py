"""What a page is about: a photo through a lens, for a class or for what the model finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ....models.maps.convention import FIELDS

if TYPE_CHECKING:
    import numpy as np

    from ....models.lens import Lens
    from ....models.maps.found import Found


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
