"""Addresses such as s3://bucket/photos: places in a store that fsspec has a way to."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ...engine.errors import Unavailable

# Stores whose servers are those of whoever runs this, and whose objects are there as a whole or not at all.
CLOUDS = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a"})


def is_address(place: str) -> bool:
    """True for s3://bucket/photos and the like."""
    return "://" in place


def kind_of(address: str) -> str:
    """The word before :// of an address."""
    return address.partition("://")[0]


def folder_of(address: str) -> str | None:
    """The folder that file:///folder is; None for what lies in a store."""
    return opened(address)[1] if kind_of(address) in ("file", "local") else None


def opened(address: str) -> tuple[Any, str]:
    """The store of an address and the path in it. Raises Unavailable where there is no such store."""
    try:
        from fsspec.core import url_to_fs  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Unavailable(
            f"{address} needs fsspec and the package of its store (for s3:// pip install s3fs)"
        ) from None
    try:
        return url_to_fs(address)
    except Exception as error:  # each store has errors of its own
        raise Unavailable(f"{address}: {said(error)}") from error


def fetched(store: Any, path: str, most: int | None = None) -> bytes:
    """The bytes of an object, of a large one the first `most`, in one request: with a range no store is asked
    for the size first. Raises what the store does.
    """
    try:
        return store.cat_file(path, start=0, end=most)
    except FileNotFoundError:
        raise
    except Exception:
        with suppress(Exception):
            if store.size(path) == 0:  # of nothing S3 has no range
                return b""
        raise


def said(error: Exception) -> str:
    """What a store's error says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
