"""Addresses such as s3://bucket/photos: places in a store that fsspec has a way to."""

from __future__ import annotations

from typing import Any

from ..engine.errors import Unavailable


def is_address(place: str) -> bool:
    """True for s3://bucket/photos and the like."""
    return "://" in place


def opened(address: str) -> tuple[Any, str]:
    """The store of an address and the path in it. Raises Unavailable where there is no such store."""
    try:
        from fsspec.core import url_to_fs  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Unavailable(f"{address} needs fsspec: pip install 'onnxlens[scale]'") from None
    try:
        return url_to_fs(address)
    except Exception as error:  # each store has errors of its own
        raise Unavailable(f"{address}: {said(error)}") from error


def said(error: Exception) -> str:
    """What a store's error says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
