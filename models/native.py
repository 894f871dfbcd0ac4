"""What native code prints on the process's standard error, which Python does not see."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def overheard(*beginnings: str) -> Iterator[list[str]]:
    """Collect what is printed meanwhile, line by line, where it begins with one of `beginnings`.

    The list is filled at the end. Other lines, which other threads may have written, are passed on then.
    """
    lines: list[str] = []
    with _ONE_AT_A_TIME:
        try:
            kept = os.dup(2)
        except OSError:  # a process without stderr: there is nothing to hear
            kept = -1
        if kept < 0:
            yield lines
            return
        ear, mouth = os.pipe()
        with suppress(AttributeError, OSError):  # more than a pipe holds is lost, and nobody waits for us
            os.set_blocking(mouth, False)
        os.dup2(mouth, 2)
        os.close(mouth)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            with os.fdopen(ear, "rb") as file:
                said = file.read()
            for line in said.splitlines(keepends=True):
                text = line.decode(errors="replace").strip()
                if text.startswith(beginnings):
                    lines.append(text)
                else:
                    os.write(2, line)
