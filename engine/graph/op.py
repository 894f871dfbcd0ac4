"""The operators of ONNX by their names. Loads nothing: tables that `--help` reads name operators too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


class _Operators:
    """`op.AnyOnnxName(tensor, ..., attribute=...)` for every operator of ONNX: see graph.emit."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(_appended, name)


op = _Operators()


def _appended(op_type: str, *args: Any, **more: Any) -> Any:
    """What a node in the graph of the first tensor among the arguments gives."""
    return next(a for a in args if hasattr(a, "emit")).emit(op_type, *args, **more)
