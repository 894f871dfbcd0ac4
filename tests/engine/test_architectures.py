"""Whole networks: gradients against PyTorch's autograd on the same weights, answers unchanged to the bit.

The nine architectures are those that the onnx package carries; their weights are drawn here.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from oracles.networks import randomised, run

from onnxlens.engine.gradient import gradient
from onnxlens.models import embedded

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.reference
from oracles import torch_interpreter  # noqa: E402

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


def weights_at_both_ends(model):
    """The weight of the first and of the last convolution or matrix product."""
    stored = {t.name for t in model.graph.initializer}
    found = [n.input[1] for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.input[1] in stored]
    return [found[0], found[-1]]


def assert_autograd_agrees(model, image):
    """Gradients of the default score, for a random vector, in the image and in an early and a late weight."""
    stored = {t.name: t for t in model.graph.initializer}
    (x,) = [i.name for i in model.graph.input if i.name not in stored]
    (y,) = [o.name for o in model.graph.output]
    wrt = [x, *dict.fromkeys(weights_at_both_ends(model))]
    answer = run(model, {x: image})[y]
    result = gradient(model, wrt=wrt)
    seed = result.graph.input[1]
    shape = [d.dim_value or len(image) for d in seed.type.tensor_type.shape.dim]
    u = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    found = run(result, {x: image, seed.name: u})
    kinks = torch_interpreter.kinks(model)
    result.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in kinks)
    seen = run(result, {x: image, seed.name: u})
    sides = {name: torch.from_numpy(seen[name].astype(np.float32)) for name in kinks}
    del result
    np.testing.assert_array_equal(found[y], answer)

    score = seed.name.removeprefix("seed/")
    leaves = {x: torch.from_numpy(image.astype(np.float32))} | {
        w: torch.from_numpy(onnx.numpy_helper.to_array(stored[w]).astype(np.float32)) for w in wrt[1:]
    }
    for leaf in leaves.values():
        leaf.requires_grad_()
    value = torch_interpreter.run(model, leaves, [score], sides)[score]
    (value * torch.from_numpy(u)).sum().backward()
    for name, leaf in leaves.items():
        expected = leaf.grad.numpy()
        assert np.isfinite(expected).all()
        assert np.linalg.norm(expected) > 0
        error = np.linalg.norm(found[f"grad/{name}"] - expected) / np.linalg.norm(expected)
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
