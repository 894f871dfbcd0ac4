"""What a file of settings says, and the table in it that is ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..engine.errors import BadRequest
from .options import FIELD

FILE = "pyproject.toml"  # of the working folder; in a file of this name the table is [tool.onnxlens]
MAX_BYTES = 2**20  # bytes
TABLES = frozenset({"input"})  # options that a file says as a table of names and values


def read_table(path: Path | None) -> tuple[str, dict[str, Any]]:
    """The name of the file of settings, by default FILE of the working folder, and what it says, if any.

    Raises BadRequest for a file that cannot be read, that is no TOML, or larger than MAX_BYTES.
    """
    file = path or Path(FILE)
    if path is None and not file.is_file():
        return "", {}
    import tomllib

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadRequest(f"{file}: more than a file of settings holds ({MAX_BYTES >> 20} MiB)")
        table = tomllib.loads(data.decode())
    except OSError as error:
        raise BadRequest(f"{file}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{file} is no TOML file: {str(error)[:200]}") from None
    for level in ("tool", "onnxlens") if file.name == FILE else ():
        table = table.get(level, {})
        if not isinstance(table, dict):
            raise BadRequest(f"{file}: {level} is no table")
    return str(file), table


def levels(table: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What a file says for a command: for all, then for its group, then for it alone."""
    found = {key: value for key, value in table.items() if key in TABLES or not isinstance(value, dict)}
    if names and isinstance(table.get(names[0]), dict):
        found |= levels(table[names[0]], names[1:])
    return found


def as_said(option: click.Option, value: Any, where: str) -> Any:
    """A value of a file as a command line would say it, so that 1.5 and true are no whole numbers.

    `where` stands in front of the error, a BadRequest.
    """
    if isinstance(value, dict) and option.multiple:
        return [f"{name}={_words(v, f'{where}.{name}')}" for name, v in value.items()]
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        return [_word(v, where) for v in values]
    if option.is_flag:
        if not isinstance(value, bool):
            raise BadRequest(f"{where} is true or false, not {str(value)[:40]!r}")
        return value
    if (option.name or "").startswith(FIELD):  # as --mean 0.5,0.4,0.3
        return _words(value, where)
    return _word(value, where)


def _words(value: Any, where: str) -> str:
    """Several values as a command line says them: 1,2,3, and rows of them as 1,2;3,4."""
    if not isinstance(value, list):
        return _word(value, where)
    rows = [",".join(_word(v, where) for v in row) for row in value if isinstance(row, list)]
    return ";".join(rows) if rows and len(rows) == len(value) else ",".join(_word(v, where) for v in value)


def _word(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRequest(f"{where} cannot be {str(value)[:40]!r}")
    return str(value)
