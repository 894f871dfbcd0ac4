"""What the folder of a run says of it: its manifest, and the files that its rows name."""

from __future__ import annotations

import json
from typing import Any

from ...engine.errors import BadRequest, OnnxlensError
from ..maps.convention import CELLS
from ..storage.files import Files
from ..storage.folder import MANIFEST
from ..storage.shards import Row

PARTS = "identity", "model", "arguments", "provider"  # of a manifest, each a table


def read_manifest(run: Files) -> dict[str, Any]:
    """What a run says of itself. Raises BadRequest where there is none, OnnxlensError if damaged."""
    record = read_record(run)
    is_run = all(isinstance(record.get(part), dict) for part in PARTS)
    if not is_run or not isinstance(record.get("seconds", 0), int | float):
        raise BadRequest(f"{run} holds no run over folders, which `onnxlens run` makes")
    record["identity"].setdefault("convention", CELLS)  # the only one that older versions had
    return record


def read_record(run: Files) -> dict[str, Any]:
    """The manifest in a folder, whatever command left it there and whatever it says.

    Raises BadRequest where there is none, OnnxlensError if damaged.
    """
    try:
        record = json.loads(run.read(MANIFEST))
        json.dumps(record, allow_nan=False)  # a number that is none comes in as 1e999 too
    except FileNotFoundError:
        raise BadRequest(f"{run} holds no run: there is no {MANIFEST} in it") from None
    except (ValueError, OSError, RecursionError) as error:
        raise OnnxlensError(f"{run}/{MANIFEST} cannot be read: {str(error)[:200]}") from error
    if not isinstance(record, dict):
        raise BadRequest(f"{run}/{MANIFEST} is not that of a run")
    return record


AGAIN = "now it is", "say the same again, or another folder with -o"  # of a run that is to go on


def differs(run: str, ours: Any, theirs: dict[str, Any], words: tuple[str, str] = AGAIN) -> None:
    """Raise BadRequest, with the first difference, where two identities are not the same.

    `words`: what comes before the value of the other, and what to do about it.
    """
    ours = ours if isinstance(ours, dict) else {}
    for key in (*theirs, *ours):
        if ours.get(key) != theirs.get(key):
            one, other = (json.dumps(i.get(key))[:100] for i in (ours, theirs))
            raise BadRequest(f"{run} was begun with {key} {one}, and {words[0]} {other}; {words[1]}")


def files_of(row: Row) -> list[str]:
    """The files that a row names."""
    return [row[key] for key in ("picture", "map") if row.get(key)]
