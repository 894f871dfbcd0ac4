"""One HTML page that needs nothing but itself: pictures inside, no script, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MAX_SIDE = 1200  # pixels of a picture's longer side in a page: sharp on any screen, and the page stays small


@dataclass(frozen=True)
class Figure:
    """A picture (H, W, 3) uint8 and what stands below it, which is also what a screen reader says.

    `wide`: it takes the whole width of the page. `crisp`: its pixels are numbers or letters, and are kept.
    """

    picture: np.ndarray
    caption: str
    wide: bool = False
    crisp: bool = False

    @property
    def source(self) -> str:
        """The picture as a data address: PNG where its pixels are to be seen, else JPEG."""
        from ....engine.picture import encode_jpeg, encode_png, shrunk
        from ....models.report.pages import address

        small = shrunk(self.picture, MAX_SIDE)
        kind, data = ("png", encode_png(small)) if self.crisp else ("jpeg", encode_jpeg(small))
        return address(kind, data)


@dataclass(frozen=True)
class Panel:
    """One way of looking: what it `shows`, how it was `computed`, the `command` that makes it alone.

    `note` says what is worth knowing of this one, such as why there is nothing to see.
    """

    key: str
    title: str
    shows: str
    computed: str
    command: str
    figures: Sequence[Figure] = ()
    note: str = ""


def page(**content: Any) -> str:
    """The page that look.html makes of its content."""
    from ....models.report.pages import rendered

    return rendered("look.html", **content)
