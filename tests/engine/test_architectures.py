"""Whole networks: gradients against PyTorch's autograd on the same weights, answers unchanged to the bit.

The nine architectures are those that the onnx package carries; their weights are drawn here.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from oracles.networks import randomised

from onnxlens.models import embedded

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.reference
from oracles import autograd  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
NAMES = [
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    pytest.param("vgg19", marks=pytest.mark.slow),
    "zfnet512",
]
TOLERANCE = 1e-4  # of the norm of the gradient


def assert_autograd_agrees(model, image):
    for name, error in autograd.of_file(model, image).items():
        assert error < TOLERANCE, f"grad/{name} is off by {error:.1e} of its norm"


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_architecture(name):
    model = randomised(onnx.load(LIGHT / f"light_{name}.onnx"))
    image = np.random.default_rng(2).standard_normal((1, 3, 224, 224)).astype(np.float32)
    assert_autograd_agrees(model, image)


def test_the_embedded_model():
    model = onnx.load(embedded.path())
    image = np.random.default_rng(3).standard_normal((2, 3, 96, 96)).astype(np.float32)
    assert_autograd_agrees(model, image)


@pytest.mark.skipif("ONNXLENS_TEST_DATA" not in os.environ, reason="ONNXLENS_TEST_DATA is not set")
@pytest.mark.parametrize("photo", [None, "kitten.jpg"])
def test_a_real_network_in_float16(photo):
    folder = Path(os.environ["ONNXLENS_TEST_DATA"])
    model = onnx.load(folder / "models/squeezenet1.1-caffe2-fp16.onnx")
    if photo is None:
        image = 50 * np.random.default_rng(4).standard_normal((1, 3, 224, 224))
    else:
        pixels = cv2.resize(
            cv2.imread(str(folder / "photos" / photo)), (224, 224), interpolation=cv2.INTER_AREA
        )
        image = (pixels - np.array([103.94, 116.78, 123.68])).transpose(2, 0, 1)[None]
    assert_autograd_agrees(model, image.astype(np.float16))
