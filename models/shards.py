"""Rows in files: JSON Lines, or Parquet with pyarrow. A file that is there is whole."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..engine.errors import BadRequest, OnnxlensError, Unavailable
from .files import Bucket, Disk

SHARD = re.compile(r"rows/part-(\d+)(-[0-9a-f]+)?\.(jsonl|parquet)")  # a number; in a store, who wrote it
ENDINGS = {"jsonl": ".jsonl", "parquet": ".parquet"}
Row = dict[str, Any]


def encoded(rows: Sequence[Row], kind: str) -> bytes:
    """A shard's bytes. Raises Unavailable for Parquet without pyarrow."""
    if kind == "jsonl":
        return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
    import_arrow()
    import pyarrow  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet  # pyright: ignore[reportMissingImports]

    from .row import FIELDS

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in FIELDS.items()])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema), buffer, compression="zstd")
    return buffer.getvalue()


def import_arrow() -> None:
    """Raise Unavailable, with the cure, where pyarrow is missing."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]  # noqa: F401
    except ImportError:
        raise Unavailable("Parquet needs pyarrow: pip install 'onnxlens[parquet]'") from None


def shards(files: Disk | Bucket) -> list[str]:
    """The names of the files of rows of a run, in their order."""
    found = [name for name in files.names("rows") if SHARD.fullmatch(name)]
    return sorted(found, key=lambda name: (number_of(name), name))  # 100000 comes after 99999


def number_of(name: str) -> int:
    """Which one of a run a file of rows is."""
    match = SHARD.fullmatch(name)
    return int(match[1]) if match else -1


def read_shard(files: Disk | Bucket, name: str) -> list[Row]:
    """The rows of one file. Raises OnnxlensError where it is not what a run writes."""
    try:
        data = files.read(name)
        if name.endswith(ENDINGS["jsonl"]):
            rows = [json.loads(line) for line in data.splitlines()]
        else:
            import_arrow()
            import pyarrow.parquet  # pyright: ignore[reportMissingImports]

            rows = pyarrow.parquet.ParquetFile(io.BytesIO(data)).read().to_pylist()
    except (ValueError, OSError) as error:  # those of pyarrow are among them
        if isinstance(error, FileNotFoundError):
            raise BadRequest(f"{files}/{name}: no such file") from None
        raise OnnxlensError(
            f"{files}/{name}: no whole file of rows ({' '.join(str(error).split())[:200]})"
        ) from error
    if not all(isinstance(row, dict) and isinstance(row.get("path"), str) for row in rows):
        raise OnnxlensError(f"{files}/{name}: a row in it names no photo")
    return rows


def read_rows(files: Disk | Bucket) -> Iterator[Row]:
    """The rows of a run, one file after the other."""
    for name in shards(files):
        yield from read_shard(files, name)
