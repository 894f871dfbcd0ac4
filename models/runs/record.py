"""What lies in the folder of a run: its manifest and rows, and how to make one of its maps again."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.attribution.methods import METHODS, options_of
from ...engine.errors import BadRequest
from ..maps.convention import CELLS, FIELDS
from ..network import inputs
from ..photos.presets import as_options
from ..storage.addresses import is_address
from ..storage.album import safe
from ..storage.files import Files
from ..storage.shards import Row, encodable, read_rows
from .manifest import read_record

OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # control characters; a line's end is safe in quotes
DRAWN = {"colour": "turbo", "alpha": 0.7}  # the options of a run that decide a picture, with their defaults


def read_run(files: Files) -> tuple[dict[str, Any], list[Row]]:
    """The manifest of a run and its rows.

    Raises BadRequest where there is no run, OnnxlensError where its manifest is damaged, and what `read_rows`
    does.
    """
    manifest = read_record(files)
    rows = list(read_rows(files))
    if not rows:
        raise BadRequest(f"{files} holds no rows of a run")
    return manifest, rows


def read_map(data: bytes) -> np.ndarray:
    """A map (h, w) float32 as a run writes it. Raises BadRequest for what is none, or not finite."""
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, OverflowError):
        raise BadRequest("no array") from None
    if found.ndim != 2 or found.dtype != np.float32 or not found.size or not np.isfinite(found).all():
        raise BadRequest("no map")
    return found


def looking(manifest: Mapping[str, Any], row: Row) -> str | None:
    """The command line that says what the model takes the photo of a row for; None at an address."""
    if is_address(str(manifest.get("root", ""))):
        return None
    settings = part(part(manifest, "arguments"), "settings")
    return line(["predict", *_photo(manifest, row), *_options(settings)])


def command(manifest: Mapping[str, Any], row: Row) -> str:
    """The command line that makes the map of a row alone, into a folder of its own."""
    arguments = part(manifest, "arguments")
    methods = [row["method"]] if row["method"] else [str(m) for m in arguments.get("methods") or ()]
    usual = {"layer": None, **_own(methods), **DRAWN}
    given = {**part(arguments, "settings"), **{key: arguments.get(key, usual[key]) for key in usual}}
    if any(METHODS[name].on_layer for name in methods if name in METHODS):
        usual["convention"], given["convention"] = FIELDS, arguments.get("convention", CELLS)
    given["method"] = ",".join(methods)
    given["target"] = row.get("asked", row["target"])
    words = ["run", *_photo(manifest, row)]
    words += _options({key: value for key, value in given.items() if value != usual.get(key)})
    name = "-".join(str(v) for v in (safe(row["path"]), row["target"], row["method"]) if v is not None)
    return line([*words, "-o", f"again/{name}"])


def _own(methods: Sequence[str]) -> dict[str, Any]:
    """The options of methods with their defaults; none of a method that is not there any more."""
    records = [METHODS[name] for name in methods if name in METHODS]
    return {name: field.default for m in records for name, field in options_of(m).items()}


def line(words: Sequence[str]) -> str:
    """A command line of ours to be copied. What a terminal would obey as it is pasted, quoted or not, is left
    out: the words may be a stranger's.
    """
    return encodable(OBEYED.sub("\ufffd", shlex.join(["onnxlens", *words])))


def _photo(manifest: Mapping[str, Any], row: Row) -> list[str]:
    """The model and the photo, as a command line names them."""
    root = str(manifest.get("root", ""))
    image = f"{root}/{row['path']}" if is_address(root) else str(Path(root, row["path"]))
    return [str(part(manifest, "model").get("path", "MODEL")), image]


def _options(given: Mapping[str, Any]) -> list[str]:
    words = []
    for key, value in given.items():
        if key == "preset" and isinstance(value, str | dict):
            words += as_options(value)
        elif key == "inputs":
            words += inputs.as_options(value if isinstance(value, dict) else None)
        elif isinstance(value, bool):
            words += [f"--{key}"] if value else []
        elif value not in (None, ""):
            words += [f"--{key}", "x".join(map(str, value)) if isinstance(value, list) else str(value)]
    return words


def part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a manifest that should be a table; what is none is empty."""
    value = record.get(key)
    return value if isinstance(value, dict) else {}
