"""What native code prints on the process's standard error, which Python does not see."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")
_CHANGE = threading.Condition()
_waiting = 0  # threads that want to listen alone
_together: list[Ear] = []  # that of the threads that listen together, once for each of them
_heard = 0  # lines that they have heard


def heard(work: Callable[[], T], *beginnings: str) -> tuple[T, list[str]]:
    """What `work` gives, and what it prints that begins with one of `beginnings`, line by line.

    Threads may do so together. Nobody knows which of them printed a line: those that it may be of do their
    work once more, one after the other. So `work` is to give and print the same again.
    """
    global _heard
    if os.name != "posix":  # pipes block elsewhere
        with overheard(*beginnings) as said:
            return work(), said
    with _CHANGE:
        _CHANGE.wait_for(lambda: not _waiting)
        _together.append(_together[0] if _together else Ear())
        before = _heard
    try:
        result = work()
    finally:
        with _CHANGE:
            ear = _together.pop()
            _heard += len(ear.lines(beginnings) if _together else ear.close(beginnings))
            is_silent = _heard == before
            _CHANGE.notify_all()
    if is_silent:
        return result, []
    with overheard(*beginnings) as said:
        result = work()
    return result, said


@contextmanager
def overheard(*beginnings: str) -> Iterator[list[str]]:
    """Collect what is printed meanwhile, line by line, where it begins with one of `beginnings`.

    The list is filled at the end. Other lines, which other threads may have written, are passed on then.
    Nobody else listens meanwhile.
    """
    global _waiting
    lines: list[str] = []
    with _CHANGE:
        _waiting += 1
        try:
            _CHANGE.wait_for(lambda: not _together)
            ear = Ear()
            try:
                yield lines
            finally:
                lines += ear.close(beginnings)
        finally:
            _waiting -= 1
            _CHANGE.notify_all()


class Ear:
    """A pipe in the place of standard error; what it holds too much is lost, and no writer waits."""

    def __init__(self):
        self._begun = b""  # a line whose end has not been written yet
        try:
            self._kept = os.dup(2)
        except OSError:  # a process without stderr: there is nothing to hear
            self._kept = -1
            return
        self._end, mouth = os.pipe()
        with suppress(AttributeError, OSError):
            os.set_blocking(mouth, False)
            os.set_blocking(self._end, False)
        os.dup2(mouth, 2)
        os.close(mouth)

    def lines(self, beginnings: tuple[str, ...], is_last: bool = False) -> list[str]:
        """The lines since the last time that begin so; the others are passed on."""
        parts = [self._begun]
        with suppress(BlockingIOError):
            while self._kept >= 0 and (part := os.read(self._end, 2**16)):
                parts.append(part)
        whole = b"".join(parts).splitlines(keepends=True)
        self._begun = whole.pop() if whole and not is_last and not whole[-1].endswith(b"\n") else b""
        found = []
        for line in whole:
            text = line.decode(errors="replace").strip()
            if text.startswith(beginnings):
                found.append(text)
            else:
                os.write(self._kept, line)
        return found

    def close(self, beginnings: tuple[str, ...]) -> list[str]:
        """Put standard error back; the rest of the lines."""
        if self._kept < 0:
            return []
        os.dup2(self._kept, 2)
        found = self.lines(beginnings, is_last=True)
        os.close(self._kept)
        os.close(self._end)
        return found
