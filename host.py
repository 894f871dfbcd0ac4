"""What onnxlens reads, changes and keeps of the whole process, which others in it share with it.

It all stands here, below the floors, and `tests/house/test_host.py` holds them to that. A change lasts as
long as the work that needs it: the first thread that does makes it, and the last one takes it back. What
stays is what cannot be taken back: libraries that are loaded, whether ONNX Runtime reports to its maker, and
the memory that its sessions share.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import FrameType

    import cv2 as cv2
    import onnxruntime as onnxruntime

T = TypeVar("T")
CACHE_SIZE = 1000  # MB
_LIBRARIES = ("cv2", "onnxruntime")
_COUNTING, _LISTENING = threading.Lock(), threading.Lock()
_changed: dict[str, tuple[Any, int]] = {}  # what settings were before, and for how many threads they are not
_is_ours = False


@contextmanager
def _changing(name: str, swap: Callable[[T], T], value: T) -> Iterator[None]:
    """Have a setting of the process at `value`; `swap` sets it, and gives what it was."""
    with _COUNTING:
        before, threads = _changed.get(name) or (swap(value), 0)
        _changed[name] = before, threads + 1
    try:
        yield
    finally:
        with _COUNTING:
            before, threads = _changed.pop(name)
            if threads > 1:
                _changed[name] = before, threads - 1
            else:
                swap(before)


# -- environment -------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where lies what is brought or made once and used again: models, kernels, graphs.

    $ONNXLENS_CACHE, or else the cache folder of the platform.
    """
    if chosen := os.environ.get("ONNXLENS_CACHE"):
        return Path(chosen).absolute()
    import platformdirs

    return platformdirs.user_cache_path("onnxlens", appauthor=False)


def cache_size() -> int:
    """The bytes that compiled graphs may take there: $ONNXLENS_CACHE_SIZE in MB. 0 keeps none."""
    text = os.environ.get("ONNXLENS_CACHE_SIZE", "")
    return 10**6 * (int(text) if text.isdecimal() else CACHE_SIZE)


def memory_size() -> int | None:
    """The bytes of memory that the machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


@contextmanager
def variable(name: str, default: str | None) -> Iterator[None]:
    """Have a variable of the environment, where it has no value, at `default`."""

    def swap(value: str | None) -> str | None:
        before = os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
        return before

    with _changing(f"${name}", swap, os.environ.get(name, default)):
        yield


# -- libraries ---------------------------------------------------------------------------------------------


def __getattr__(name: str) -> Any:
    """`cv2` and `onnxruntime`: `from ...host import cv2` imports them, and changes nothing else."""
    if name in _LIBRARIES:
        return _library(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _library(name: str) -> Any:
    """A library whose first import in a process does more than that.

    OpenCV puts its folder, and behind it an empty entry, which means the current one, where programs that are
    started from here would look for their libraries; that is put back. ONNX Runtime decides for the life of
    the process whether it reports to its maker on the machine and on sessions, and opens files for that. It
    does so by default, and here only where ORT_DISABLE_TELEMETRY is set to 0.
    """
    with variable("LD_LIBRARY_PATH", None), variable("ORT_DISABLE_TELEMETRY", "1"):
        library = importlib.import_module(name)
    if name == "onnxruntime" and _is_ours:
        library.set_default_logger_severity(4)  # what goes wrong is said by the exception
    return library


def own_process() -> None:
    """Say, before a model is read, that nobody else is in this process: ONNX Runtime never prints in it."""
    global _is_ours
    _is_ours = True


@cache
def shared_memory() -> None:
    """Make one memory for all sessions that ask for it by "session.use_env_allocators".

    Where the program has done so before, it is its memory. ONNX Runtime does not give it back.
    """
    runtime = _library("onnxruntime")
    kind, place = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, runtime.OrtMemType.DEFAULT
    with suppress(Exception):  # there is one already
        about = runtime.OrtMemoryInfo("Cpu", kind, 0, place)
        runtime.create_and_register_allocator(about, runtime.OrtArenaCfg(0, -1, -1, -1))


def trim() -> None:
    """Give back to the system what is free of the process's memory. Only glibc keeps it."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def opencv_silent() -> Iterator[None]:
    """Have OpenCV write nothing to its log."""
    _library("cv2")
    from cv2.utils import logging  # pyright: ignore[reportMissingImports] (the stubs lack it)

    with _changing("OpenCV's log", logging.setLogLevel, logging.LOG_LEVEL_SILENT):
        yield


@contextmanager
def opencv_threads(count: int) -> Iterator[None]:
    """Have OpenCV use so many threads in each call: 1 where many photos are read at once."""
    cv2 = _library("cv2")

    def swap(count: int) -> int:
        before = cv2.getNumThreads()
        cv2.setNumThreads(count)
        return before

    with _changing("OpenCV's threads", swap, count):
        yield


@contextmanager
def kernels_kept() -> Iterator[None]:
    """Have numba keep what it compiles in the cache folder, unless NUMBA_CACHE_DIR names another.

    Beside the source, where numba would put it, it outlives `pip uninstall`: what is left of the package's
    folder then hides an editable install of the same name.
    """
    from numba.core import config

    settings = config.__dict__  # which numba fills in as it starts

    def swap(folder: str) -> str:
        before, settings["CACHE_DIR"] = settings["CACHE_DIR"], folder
        return before

    with _changing("numba's cache", swap, settings["CACHE_DIR"] or str(cache_folder() / "kernels")):
        yield


# -- streams and signals -----------------------------------------------------------------------------------


@contextmanager
def overheard(*beginnings: str) -> Iterator[list[str]]:
    """Collect the lines that begin so of what native code prints on standard error, descriptor 2.

    The list is filled at the end. Other lines, which other threads may have written, are passed on then. One
    thread listens at a time. Raises OSError where there can be no temporary file.
    """
    lines: list[str] = []
    with _LISTENING, tempfile.TemporaryFile() as file:
        try:
            kept = os.dup(2)
        except OSError:  # a process without standard error
            kept = None
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            if kept is None:
                os.close(2)
            else:
                os.dup2(kept, 2)
                os.close(kept)
            file.seek(0)
            for line in file.read().splitlines(keepends=True):
                if (text := line.decode(errors="replace").strip()).startswith(beginnings):
                    lines.append(text)
                else:
                    with suppress(OSError):
                        os.write(2, line)


class _Others(io.TextIOBase):
    """What other threads than this one print."""

    def __init__(self):
        self._stream, self._me = sys.stdout, threading.get_ident()

    def write(self, text: str) -> int:
        """Write what another thread prints, and only that."""
        if self._stream is not None and threading.get_ident() != self._me:
            self._stream.write(text)
        return len(text)


@contextmanager
def unprinted() -> Iterator[None]:
    """Have what this thread prints go nowhere."""
    with redirect_stdout(_Others()):
        yield


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does: a machine that goes down leaves time to write what is done.

    Only where signals arrive, in the main thread, and where what is done now can be put back.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
