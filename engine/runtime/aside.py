"""Large weights that are made on the way to a session: in a temporary file, not in memory."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from ..graph.external import PAGE, left_in


def temporary(owner: object) -> Path:
    """A file in a new folder, which is removed when its owner is. Raises OSError where there is no room."""
    folder = Path(tempfile.mkdtemp(prefix="onnxlens-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder / "made"


def set_aside(array: np.ndarray, name: str, path: Path) -> TensorProto:
    """A tensor whose numbers are put behind what such a file holds, to be mapped from there.

    `array` of a type that files hold as NumPy does. Raises OSError where there is no room.
    """
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % PAGE))
        offset = file.tell()
        np.ascontiguousarray(array).tofile(file)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=array.shape)
    left_in(path, tensor, offset, array.nbytes, grows=True)
    return tensor
