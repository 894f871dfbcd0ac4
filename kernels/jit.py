"""How every kernel is compiled: once per machine, then read back from disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types

from ..host import kernels_kept


def compiled(*arguments: types.Type) -> Callable[[Callable[..., None]], Callable[..., Any]]:
    """Decorate a kernel that returns nothing: compiled for these argument types only, cached on disk.

    One fixed signature means that no call can start a second compilation, and that a second
    process compiles nothing. The kernels are serial and release the GIL: numba's thread pools
    abort the process after a fork or on concurrent use, and the work is bound by memory anyway.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., Any]:
        signature = types.void(*arguments)
        try:
            with kernels_kept():
                return njit(signature, cache=True, nogil=True)(function)
        except RuntimeError:  # no folder for the cache can be written, as in a locked-down container
            return njit(signature, nogil=True)(function)

    return decorate


def view(dtype: types.Type, axes: int) -> types.Array:
    """Type of a C-contiguous array that a kernel only reads; writable arrays convert to it."""
    return types.Array(dtype, axes, "C", readonly=True)
