"""What options take that is more than a number or a word."""

from __future__ import annotations

import re
from typing import Any

import click

from ..engine.errors import nearest


class Size(click.ParamType):
    """HEIGHTxWIDTH or one number for a square."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """A pair (height, width)."""
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(p.isdecimal() and len(p) < 9 and 0 < int(p) <= 8192 for p in parts):
            self.fail(f"{str(value)[:40]!r} is not a size such as 224x224", param, ctx)
        return int(parts[0]), int(parts[-1])


class Channels(click.ParamType):
    """Numbers and ranges of channels: 0,3,7-12."""

    name = "0,3,7-12"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """The channels in order, each once."""
        found: set[int] = set()
        for part in str(value)[:4096].split(","):
            start, dash, end = (text.strip() for text in part.partition("-"))
            ends = (start, end if dash else start)
            if not all(e.isdecimal() and len(e) < 7 for e in ends) or int(ends[0]) > int(ends[1]):
                self.fail(f"{part.strip()[:40]!r} is no channel and no range such as 7-12", param, ctx)
            found.update(range(int(ends[0]), int(ends[1]) + 1))
        return sorted(found)


class Position(click.ParamType):
    """ROW,COLUMN in a layer, from 0."""

    name = "Y,X"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """A pair (row, column)."""
        found = re.fullmatch(r"\s*(\d{1,8})\s*,\s*(\d{1,8})\s*", str(value), re.ASCII)
        if found is None:
            self.fail(f"{str(value)[:40]!r} is not a position such as 6,4 (row, column)", param, ctx)
        return int(found[1]), int(found[2])


class Readout(click.ParamType):
    """A kind of answers, with the layout that some have behind a colon."""

    name = "KIND[:LAYOUT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it was said, if there is such a kind; its layouts are a matter of the model."""
        from ..engine.anatomy.readouts.table import kinds

        kind, colon, layout = str(value).partition(":")
        if kind not in kinds() or (colon and not layout):
            self.fail(f"there is no readout {str(value)[:40]!r}{nearest(kind, kinds())}", param, ctx)
        return str(value)
