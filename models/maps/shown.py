"""Results in a notebook: as the picture that they are, and in one line where there is only text."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from ...engine import picture
from ...engine.errors import NoMap

LONG = 80  # characters of a value
MAX_PIXELS = 960  # pixels of the longer side


class Shown:
    """A dataclass that a notebook shows as a picture, and that prints without its arrays.

    A subclass, a dataclass with repr=False, says in `shown` which picture that is, (H, W, 3) uint8, or raises
    NoMap where there is none.
    """

    def shown(self) -> np.ndarray:
        """The picture. To be overridden."""
        raise NotImplementedError

    def _repr_png_(self) -> bytes | None:
        """What IPython asks for; None has it print the line instead.

        https://ipython.readthedocs.io/en/stable/config/integrating.html#rich-display
        """
        try:
            return picture.encode_png(picture.shrunk(self.shown(), MAX_PIXELS))
        except NoMap:
            return None

    def __repr__(self) -> str:
        parts = ", ".join(f"{f.name}={_brief(getattr(self, f.name))}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({parts})"


def _brief(value: object) -> str:
    """A value, or where that is long what kind of value it is."""
    if isinstance(value, np.ndarray):
        return f"<{'x'.join(map(str, value.shape))} {value.dtype}>"
    if isinstance(value, list):
        return f"<list of {len(value)}>"
    text = repr(value)
    return text if len(text) <= LONG or isinstance(value, str) else f"<{type(value).__name__}>"
