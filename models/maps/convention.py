"""How the map of a layer is laid on a photo. It loads nothing heavy: `--help` reads it."""

from __future__ import annotations

from ...engine.errors import BadRequest, nearest

# Each value in the middle of what it sees, or all of them stretched over the whole of what the model's input
# covers, as pytorch-grad-cam and Captum do.
CONVENTIONS = FIELDS, CELLS = "fields", "cells"


def check_convention(name: str) -> None:
    """Raise BadRequest for what is none of CONVENTIONS, with the nearest."""
    if name not in CONVENTIONS:
        raise BadRequest(f"there is no convention {str(name)!r:.50}{nearest(str(name), CONVENTIONS)}")
