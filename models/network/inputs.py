"""What a model takes beside its picture: ids of a text, masks, sizes, a second picture.

What is said of such an input is stored in the model as a constant of its name, so that whatever follows the
network - gradients, cuts, explainers that are saved - meets a model of one input.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, ValueInfoProto, numpy_helper

from ...engine.errors import BadRequest, nearest
from ...engine.graph.nodes import reads
from ...engine.graph.types import dtype_of, is_float, shape_of
from ..photos.npy import decode_npy, is_npy
from ..photos.photo import decode
from ..photos.preprocess import Preprocess
from ..storage.addresses import is_address
from ..storage.store import file_at, pixels

MAX_NUMBERS = 2**26  # of one input
_NUMBERS = re.compile(r"[-+\d.,;eE\s]+")
Picture = Callable[[np.ndarray], np.ndarray]  # a photo (H, W, 3) as the model takes it, (1, ...)


def needed_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs that have no value of their own and that a node reads; all of the former where none does."""
    weights = {t.name for t in model.graph.initializer}
    read = {name for node in model.graph.node for name in reads(node)}
    inputs = [v for v in model.graph.input if v.name not in weights]
    return [v for v in inputs if v.name in read] or inputs


def is_picture(value: ValueInfoProto) -> bool:
    """Whether an input has the axes and the numbers of pictures."""
    return len(shape_of(value.type) or ()) == 4 and _is_of_numbers(dtype_of(value.type))


def _is_of_numbers(dtype: np.dtype | None) -> bool:
    return dtype is not None and (is_float(dtype) or dtype.kind in "iu")


class Second(NamedTuple):
    """A picture that goes in as the first does."""

    photo: Any


def all_said(
    model: ModelProto, image: str, said: Mapping[str, Any] | None, second: Any = None
) -> dict[str, Any]:
    """What is said of the inputs beside the image, and a `second` photo for the other that takes one.

    Raises BadRequest for an input that is not there, where one is left of which nothing is said, and for a
    second photo where there is no one input that it can only go into.
    """
    found = dict(said or {})
    others = [v.name for v in model.graph.input if v.name != image]
    for name in found:
        if name not in others:
            raise BadRequest(f"the model has no input {name!r} beside {image!r}{nearest(name, others)}")
    left = [v for v in needed_inputs(model) if v.name != image and v.name not in found]
    if second is not None:
        places = [v for v in left if is_picture(v)]
        if len(places) != 1:
            shown = ", ".join(map(described, places)) or f"none but {image!r}"
            raise BadRequest(
                f"a second picture goes into the other input that takes one; the model has {shown}"
            )
        found[places[0].name] = Second(second)
        left.remove(places[0])
    if left:
        pictures = " (or --second PHOTO)" if second is None and any(map(is_picture, left)) else ""
        raise BadRequest(
            f"besides the image {image!r} the model needs {', '.join(map(described, left))}: "
            f"say {' '.join(f'--input {v.name}=VALUE' for v in left)}{pictures}"
        )
    return found


def stored(
    model: ModelProto,
    image: str,
    shape: tuple[Any, ...],
    fixed: tuple[Any, ...],
    said: Mapping[str, Any],
    preprocess: Preprocess | None,
) -> tuple[dict[str, np.ndarray], tuple[Any, ...]]:
    """Put what is said of inputs into the model; what they are given, and the shape of the image.

    The model is changed. `said`, by input: an array, numbers, text as --input takes it, or a Second.
    `shape` is that of the image as the model says it, `fixed` as it will be. Where another input leaves its
    first size open too, that may be the images' number or not, so there is one image at a time. Raises
    BadRequest for what does not fit its input, BadImage for what cannot be read.
    """

    def entry(photo: np.ndarray) -> np.ndarray:
        if preprocess is None:
            raise BadRequest("how a picture goes in is not known: say --preset")
        return preprocess(photo)[0]

    inputs = {v.name: v for v in model.graph.input}
    known = {d: n for d, n in zip(shape[1:], fixed[1:], strict=True) if isinstance(d, str)}
    arrays = {name: _array(name, value, entry) for name, value in said.items()}
    for name in sorted(arrays, key=lambda n: arrays[n].size == 1):  # what is one number takes others' sizes
        arrays[name] = _fitted(inputs[name], arrays[name], known)
    with_inputs(model, arrays)
    sizes = [shape_of(inputs[name].type) for name in arrays]
    alone = any(s and not isinstance(s[0], int) for s in sizes) and not isinstance(fixed[0], int)
    return arrays, (1, *fixed[1:]) if alone else fixed


def with_inputs(model: ModelProto, arrays: Mapping[str, np.ndarray]) -> ModelProto:
    """The model, which is changed: these of its inputs are constants."""
    weights = {t.name: t for t in model.graph.initializer}
    for name, array in arrays.items():
        if name in weights:
            model.graph.initializer.remove(weights[name])
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def elsewhere(said: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What is said of inputs as JSON holds it, so that a process in another folder reads the same."""
    return None if said is None else {name: value_elsewhere(value) for name, value in said.items()}


def value_elsewhere(value: Any) -> Any:
    """What is said of one input: a file by its whole path, arrays as lists."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and not _NUMBERS.fullmatch(value.strip())):
        place = os.fspath(value)
        return place if is_address(place) else str(Path(place).absolute())
    return value if isinstance(value, str) else np.asarray(value).tolist()


def as_options(said: Mapping[str, Any] | None) -> list[str]:
    """What is said of inputs as words of a command line."""
    return [w for name, value in (said or {}).items() for w in ("--input", f"{name}={_as_text(value)}")]


def _as_text(value: Any) -> str:
    """Numbers as --input takes them: 1,2,3, and rows as 1,2;3,4."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    array = np.asarray(value)
    rows = array if array.ndim == 2 else array.reshape(1, -1)
    return ";".join(",".join(str(+n) for n in row) for row in rows.tolist())


def described(value: ValueInfoProto) -> str:
    """An input in words: "ids (int64, batch x 77)"."""
    shape = shape_of(value.type)
    sizes = "any shape" if shape is None else " x ".join("?" if d is None else str(d) for d in shape) or "one"
    return f"{value.name} ({dtype_of(value.type)}, {sizes})"


def _array(name: str, value: Any, picture: Picture) -> np.ndarray:
    """What is said of an input: numbers, in a text or a file, or a photo. Raises BadRequest for all else."""
    if isinstance(value, Second):
        return picture(pixels(value.photo))
    where = f"input {name!r}"
    if isinstance(value, os.PathLike) or (isinstance(value, str) and not _NUMBERS.fullmatch(value.strip())):
        place = os.fspath(value)
        if not place.strip():
            raise BadRequest(f"{where}: numbers such as 1,2,3, a .npy file or a photo, not {place!r:.50}")
        data = file_at(place)
        return decode_npy(data, place) if is_npy(data) else picture(decode(data, place))
    try:
        found = _numbers(value) if isinstance(value, str) else np.asarray(value)
    except (ValueError, OverflowError):
        raise BadRequest(f"{where}: {str(value)[:50]!r} is no list of numbers such as 1,2,3") from None
    if not found.size or (found.dtype.kind not in "fiub" and not is_float(found.dtype)):
        raise BadRequest(f"{where} takes numbers, not {found.dtype if found.size else 'none'}")
    return found


def _numbers(text: str) -> np.ndarray:
    """The numbers of a text: one alone, a list with commas, or rows of them with semicolons between."""
    rows = [[_number(word) for word in row.split(",")] for row in text.split(";")]
    if len(rows) > 1:
        return np.array(rows)
    return np.array(rows[0] if len(rows[0]) > 1 else rows[0][0])


def _number(word: str) -> int | float:
    return int(word) if re.fullmatch(r"\s*[-+]?\d{1,18}\s*", word) else float(word)


def _fitted(value: ValueInfoProto, array: np.ndarray, known: dict[str, int]) -> np.ndarray:
    """An array in the type and shape of an input; sizes that it settles become known.

    Raises BadRequest where it does not fit.
    """
    dtype, shape = dtype_of(value.type), shape_of(value.type)
    if dtype is None or not (_is_of_numbers(dtype) or dtype == np.bool_):
        raise BadRequest(f"the input {described(value)} does not take numbers")
    shaped = array if shape is None else _shaped(array, [known.get(str(d), d) for d in shape])
    if shaped is None:
        raise BadRequest(f"the input {described(value)} does not take {_shown(array)}")
    known.update((d, n) for d, n in zip(shape or (), shaped.shape, strict=False) if isinstance(d, str))
    with np.errstate(over="ignore", invalid="ignore"):
        fitted = shaped.astype(dtype)
    if not is_float(dtype) and not np.array_equal(fitted, shaped):
        raise BadRequest(f"the input {described(value)} takes whole numbers, not {_shown(array)}")
    return fitted


def _shaped(array: np.ndarray, sizes: Sequence[int | str | None]) -> np.ndarray | None:
    """An array in an input's shape: as it is, a number all over, for each of a batch, or a list laid out."""
    free = 1 if array.size == 1 else -1
    settled = [d if isinstance(d, int) else free if i else 1 for i, d in enumerate(sizes)]
    if _fits(array.shape, sizes):
        return array
    if array.size == 1:
        return np.full(settled, array.reshape(())) if prod(settled) <= MAX_NUMBERS else None
    first = sizes[0] if sizes and isinstance(sizes[0], int) else 1
    one = array if array.shape[:1] == (1,) and array.ndim == len(sizes) else array[None]
    if _fits((first, *one.shape[1:]), sizes):
        return one.repeat(first, 0) if first * one.size <= MAX_NUMBERS else None
    with suppress(ValueError):  # more open sizes than one, or other numbers than that
        return array.reshape(settled) if array.ndim == 1 else None
    return None


def _fits(shape: Sequence[int], dims: Sequence[int | str | None]) -> bool:
    """Whether an array of this shape is one for an input of these sizes."""
    same = len(shape) == len(dims)
    return same and all(d == n or not isinstance(d, int) for d, n in zip(dims, shape, strict=True))


def _shown(array: np.ndarray) -> str:
    if array.size == 1:
        return str(array.item())
    return f"{' x '.join(map(str, array.shape))} numbers from {array.min()} to {array.max()}"
