"""Explained embeddings: a vector alone, and how alike it is to that of another photo."""

import cv2
import numpy as np
import onnx
import pytest
from oracles.networks import parsed

import onnxlens

NORM = "l = ReduceL2(f, last) m = Max(l, tiny) e = Div(f, m)"


@pytest.fixture(params=["vector", "unit vector"])
def lens(request, tmp_path):
    """An embedder that counts red in one half of its numbers and green in the other."""
    norm = NORM if request.param == "unit vector" else "e = Identity(f)"
    weights = np.zeros((2, 3, 8, 8), np.float32)
    weights[0, 0] = weights[1, 1] = 1 / 64
    proto = parsed(
        f"""(float[1, 3, 64, 64] x) => (float[1, 2] e) {{
        c = Conv<strides=[8, 8]>(x, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) {norm} }}""",
        w=weights,
        last=np.int64([-1]),
        tiny=np.float32(1e-12),
    )
    onnx.save(proto, tmp_path / "embedder.onnx")
    return onnxlens.Lens(tmp_path / "embedder.onnx", preset="unit")


def photo(*marks):
    picture = np.zeros((64, 64, 3), np.uint8)
    for row, column, colour in marks:
        picture[row : row + 8, column : column + 8, colour] = 255
    return picture


def peak(found):
    return np.unravel_index(found.at_photo().argmax(), (64, 64))


def test_alone_it_is_explained_by_what_makes_it_long(lens):
    found = lens.gradcam(photo((8, 40, 0)))
    y, x = peak(found)
    assert 8 <= y < 16
    assert 40 <= x < 48
    assert lens.saliency(photo((8, 40, 0))).signal.any()


def test_two_are_alike_by_what_both_show(lens, tmp_path):
    cv2.imwrite(str(tmp_path / "other.png"), photo((40, 8, 1))[..., ::-1])
    both = photo((8, 40, 0), (40, 40, 1))
    (found,) = lens.explain(both, [f"similar({tmp_path / 'other.png'})"])
    y, x = peak(found)
    assert 40 <= y < 48
    assert 40 <= x < 48
