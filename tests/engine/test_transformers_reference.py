"""Rollout and the relevance of attention against PyTorch, on an exported ViT of transformers."""

import numpy as np
import pytest

from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.runtime.network import Network

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request, torch, tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.ViTConfig(
        **sizes, image_size=64, patch_size=16, num_labels=6, initializer_range=0.3
    )
    network = transformers.ViTForImageClassification(config).eval()
    network.set_attn_implementation(request.param)
    path = tmp_path_factory.mktemp("vit") / "vit.onnx"
    x = torch.randn(1, 3, 64, 64)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pixels):
            return self.network(pixel_values=pixels).logits

    torch.onnx.export(Logits().eval(), (x,), str(path), input_names=["pixels"], dynamo=False)
    network.set_attn_implementation("eager")
    return network, path, x


def relevance(torch, network, x, name, target):
    """The row of the class token, in float64, as the papers have it."""
    network = network.double()
    found = network(pixel_values=x.double(), output_attentions=True)
    slopes = torch.autograd.grad(found.logits[0, target], found.attentions)
    whole = eye = torch.eye(found.attentions[0].shape[-1], dtype=torch.float64)
    for of, slope in zip(found.attentions, slopes, strict=True):
        if name == "rollout":
            whole = (of[0].mean(0) + eye) / 2 @ whole
        else:
            whole = whole + (of * slope)[0].clamp(min=0).mean(0) @ whole
    network.float()
    alone = found.attentions[-1][0].mean(0) if name == "attention" else whole
    return alone[0, 1:].reshape(4, 4).detach().numpy()


@pytest.mark.parametrize("name", ["attention", "rollout", "chefer"])
def test_they_are_what_pytorch_computes(torch, model, name):
    network, path, x = model
    lens = Network(path, provider="cpu", threads=1)
    made = compiled(lens, METHODS[name], None, options_given(METHODS[name], {}), Intake((64, 64)))
    for target in (1, 4):
        (found,) = made({"pixels": x.numpy()}, target)
        want = relevance(torch, network, x, name, target)
        np.testing.assert_allclose(found.values, want, rtol=1e-4, atol=1e-4 * want.max())
