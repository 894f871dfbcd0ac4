"""Small detectors for the tests."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from .networks import parsed

GRID = np.stack(np.meshgrid(np.arange(6), np.arange(4)), 0).reshape(1, 2, 24).astype(np.float32)  # x, y

# What Ultralytics exports: distances to the sides, two corners, their centre and size, times the stride.
PLAIN = """
    c = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, w)
    f = Reshape (c, flat)
    d, z = Split <axis = 1> (f, parts)
    lt, rb = Split <axis = 1, num_outputs = 2> (d)
    a = Sub (grid, lt)
    b = Add (grid, rb)
    s = Add (a, b)
    m = Div (s, two)
    e = Sub (b, a)
    q = Concat <axis = 1> (m, e)
    box = Mul (q, eight)
    p = Sigmoid (z)
"""


def plain(
    classes: int,
    more: str = "",
    joined: str = "box, p",
    ends: str = "y = Concat <axis = 1> ({})",
    extra: int = 0,
    spread: float = 0.3,
) -> ModelProto:
    """A head of random weights on an image x (1, 3, 32, 48): y (1, 4 + classes + extra, 24).

    `more` are further nodes, `joined` what is put together in the end, and `spread` how large weights are.
    """
    width = 4 + classes + extra
    body = PLAIN.replace("z = Split", "z, r = Split" if extra else "z = Split") + more + ends.format(joined)
    rng = np.random.default_rng(0)
    w = rng.normal(size=(width, 3, 8, 8)) * spread
    w[:4] = abs(w[:4]) / 30  # distances are seldom negative
    return parsed(
        f"(float[1, 3, 32, 48] x) => (float y) {{ {body} }}",
        w=w,
        flat=np.array([1, width, 24]),
        parts=np.array([4, classes, extra] if extra else [4, classes]),
        grid=GRID + 0.5,
        two=np.float32(2),
        eight=np.float32(8),
    )
