"""Rows in files: JSON Lines, or Parquet with pyarrow. A file that is there is whole."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ...engine.errors import BadRequest, OnnxlensError, Unavailable
from ...engine.metrics.metrics import METRICS
from .files import Files

SHARD = re.compile(r"rows/part-(\d+)(-[0-9a-f]+)?\.(jsonl|parquet)")  # a number; in a store, who wrote it
ENDINGS = {"jsonl": ".jsonl", "parquet": ".parquet"}
# The columns in their order. Each may be null; of an image with an `error` all are but that and the path.
FIELDS: dict[str, type] = {
    "path": str,  # below the root of the run, with / between folders
    "sha256": str,
    "width": int,
    "height": int,
    "method": str,
    "layer": str,
    "target": int,
    "target_label": str,
    "target_probability": float,
    "score": float,
    "prediction": int,
    "label": str,
    "probability": float,
    "truth": str,  # the class that the photo's folder is called after
    "map_min": float,
    "map_max": float,
    "map_mean": float,
    "map_entropy": float,  # in nats, of what is above zero as a distribution: 0 for one point
    "map_peak_y": int,  # in pixels of the upright photo
    "map_peak_x": int,
    "picture": str,  # below the folder of the run
    "map": str,
    "seconds": float,
    "problem": str,  # why there is no map
    "error": str,  # why there is nothing
}
# And those of a run over things that a model finds, where it is not over classes alone.
THINGS: dict[str, type] = {
    "kind": str,  # box, region, character, text, ...; "nothing" where there is none
    "class": int,
    "class_label": str,
    "asked": str,  # the target that means this one in this photo
    "box_y0": float,  # in pixels of the upright photo, before it is turned
    "box_x0": float,
    "box_y1": float,
    "box_x1": float,
    "box_angle": float,  # radians about its centre, clockwise
}
# And how good a map is, of a run that was asked for that: the name of each metric behind this.
METRIC = "metric_"
COLUMNS = {**FIELDS, **THINGS, **{METRIC + name: float for name in METRICS}}
GREATEST = 1e99  # of the numbers in a row
MAX_CHARACTERS = 4096  # characters of a text in a row
Row = dict[str, Any]


def encoded(rows: Sequence[Row], kind: str) -> bytes:
    """A shard's bytes. Raises Unavailable for Parquet without pyarrow."""
    if kind == "jsonl":
        return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
    import_arrow()
    import pyarrow  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet  # pyright: ignore[reportMissingImports]

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    columns = [name for name in COLUMNS if not rows or name in rows[0]]
    schema = pyarrow.schema([(name, types[COLUMNS[name]]) for name in columns])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema), buffer, compression="zstd")
    return buffer.getvalue()


def import_arrow() -> None:
    """Raise Unavailable, with the cure, where pyarrow is missing."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]  # noqa: F401
    except ImportError:
        raise Unavailable("Parquet needs pyarrow: pip install 'onnxlens[parquet]'") from None


def shards(files: Files) -> list[str]:
    """The names of the files of rows of a run, in their order."""
    found = [name for name in files.names("rows") if SHARD.fullmatch(name)]
    return sorted(found, key=lambda name: (number_of(name), name))  # 100000 comes after 99999


def number_of(name: str) -> int:
    """Which one of a run a file of rows is."""
    match = SHARD.fullmatch(name)
    return int(match[1]) if match else -1


def read_shard(files: Files, name: str) -> list[Row]:
    """The rows of one file: a value is of its column's kind, or None. Raises OnnxlensError where it is no
    file that a run writes.
    """
    try:
        data = files.read(name)
        if name.endswith(ENDINGS["jsonl"]):
            rows = [json.loads(line) for line in data.splitlines()]
        else:
            import_arrow()
            import pyarrow.parquet  # pyright: ignore[reportMissingImports]

            rows = pyarrow.parquet.ParquetFile(io.BytesIO(data)).read().to_pylist()
    except (ValueError, OSError, RecursionError) as error:  # those of pyarrow are among them
        if isinstance(error, FileNotFoundError):
            raise BadRequest(f"{files}/{name}: no such file") from None
        raise OnnxlensError(
            f"{files}/{name}: no whole file of rows ({' '.join(str(error).split())[:200]})"
        ) from error
    if not all(isinstance(row, dict) and isinstance(row.get("path"), str) for row in rows):
        raise OnnxlensError(f"{files}/{name}: a row in it names no photo")
    return [
        {key: _plain(row.get(key), COLUMNS[key]) for key in COLUMNS if key in FIELDS or key in row}
        for row in rows
    ]


def read_rows(files: Files) -> Iterator[Row]:
    """The rows of a run, one file after the other."""
    for name in shards(files):
        yield from read_shard(files, name)


def encodable(text: str) -> str:
    """Text as UTF-8 can hold it, of a bounded length: what a stranger wrote may have halves of characters."""
    return text[:MAX_CHARACTERS].encode("utf-8", "replace").decode()


def _plain(value: Any, kind: type) -> Any:
    """A value of a row if it is of its kind, else None: rows may be a stranger's, and so what is in them."""
    if kind is str:
        return encodable(value) if isinstance(value, str) else None
    most = GREATEST if kind is float else 2**63
    return kind(value) if isinstance(value, int | kind) and abs(value) < most else None  # NaN is not less
