"""What the outputs of a model hold, as lines and as JSON, and what to say to have one read otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ....engine.anatomy.readouts.thing import Reading

Read = Mapping[str, "Reading | str"]
MAX_LINES = 20  # outputs that are said to a person; JSON has all


def records(read: Read) -> dict[str, dict[str, Any]]:
    """Of each output, by name, the kind of its readout, null where none fits, and why."""
    return {
        name: {"readout": None, "why": how} if isinstance(how, str) else {"readout": how.kind, "why": how.why}
        for name, how in read.items()
    }


def lines(read: Read) -> list[str]:
    """What each output holds and how that is known; then what is to be said to have one read otherwise."""
    from ....engine.anatomy.readouts.table import kinds

    said = [_line(name, how) for name, how in list(read.items())[:MAX_LINES]]
    more = [f"{len(read) - MAX_LINES} more outputs (--json has all)"] if len(read) > MAX_LINES else []
    which = "--output NAME or " if len(read) > 1 else ""
    return [*said, *more, f"to have it read otherwise: {which}--readout {', '.join(kinds())}"]


def _line(name: str, how: Reading | str) -> str:
    if isinstance(how, str):
        return f"{name} is not read: {how}"
    count = f"{len(how.outputs)} outputs: " if len(how.outputs) > 1 else ""
    return f"{name} holds {count}{how.kind}: {how.why}"
