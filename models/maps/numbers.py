"""Numbers as JSON and rows have them, which know neither NaN nor infinity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

Number = Callable[[float | None], float | None]  # writes a number; None for what is none


def finite(value: float | None) -> float | None:
    """Six decimals, as --json and manifests have them; None for what is none or not finite."""
    return round(float(value), 6) if value is not None and isfinite(value) else None


def rounded(value: float | None) -> float | None:
    """Six significant digits, as every format of rows has them; None for what is none or not finite."""
    return float(f"{float(value):.6g}") if value is not None and isfinite(value) else None


def plain(values: Mapping[str, Any], number: Number = finite) -> dict[str, Any]:
    """What of a mapping JSON can hold, its numbers written by `number`; arrays and objects are left out."""
    kept = {name: v for name, v in values.items() if isinstance(v, dict | list | tuple | str | int | float)}
    return {name: _plain(v, number) for name, v in kept.items()}


def _plain(value: Any, number: Number) -> Any:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return [_plain(v, number) for v in value]
    return plain(value, number) if isinstance(value, dict) else value
