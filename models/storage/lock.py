"""The lock of a folder of results: one process at a time writes into it."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from ...engine.errors import BadRequest

LOCK = ".lock"


def lock(path: Path) -> FileLock:
    """The lock of a folder, taken; it goes with the process. Raises BadRequest where another has it."""
    held = FileLock(path / LOCK)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise BadRequest(
            f"another run is writing into {path}; wait for it, or say another folder with -o"
        ) from None
    return held


def is_held(path: Path) -> bool:
    """Whether a process is writing into a folder now."""
    try:
        lock(path).release()
    except BadRequest:
        return True
    except OSError:  # a folder that we may not write to: nobody asks us
        return False
    return False
