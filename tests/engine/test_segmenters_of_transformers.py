"""Regions, masks and depths beside transformers' own post-processing, on the same numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.maps import coordinates
from onnxlens.engine.anatomy.readouts.table import reading
from onnxlens.engine.anatomy.readouts.thing import Hints
from onnxlens.engine.canonical.canonical import canonical

pytestmark = pytest.mark.reference
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

RNG = np.random.default_rng(0)
SIZE = (64, 96)


def read(body, outputs, **weights):
    proto = parsed(f"(float[1, 3, 64, 96] x) => ({outputs}) {{ {body} }}", **weights)
    graph = canonical(proto)
    return reading(graph, Hints(coordinates(graph).size))


def smooth(*shape):
    """Numbers that change slowly from cell to cell, as those of networks do."""
    coarse = torch.tensor(RNG.normal(size=(1, shape[0], 5, 7)), dtype=torch.float32)
    grown = torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bicubic")
    return 4 * grown.numpy()


@pytest.mark.parametrize("name", ["SegformerImageProcessor", "BeitImageProcessor", "MobileViTImageProcessor"])
def test_classes_of_pixels(name):
    found = read(
        "logits = Conv<strides=[4, 4]>(x, w)", "float[1, 12, 16, 24] logits", w=RNG.normal(size=(12, 3, 4, 4))
    )
    logits = smooth(12, 16, 24)
    index = np.full(SIZE, -1)
    for thing in found.things({"logits": logits}, SIZE):
        index[thing.mask > 0] = thing.label
    outputs = SimpleNamespace(logits=torch.tensor(logits))
    (theirs,) = getattr(transformers, name)().post_process_semantic_segmentation(outputs, [SIZE])
    assert (index != theirs.numpy()).mean() < 1e-3  # where two classes are alike to the last digit


@pytest.mark.parametrize("name", ["Mask2FormerImageProcessor", "MaskFormerImageProcessor"])
def test_masks_of_queries(name):
    body = """c = Conv<strides=[4, 4]>(x, w) masks_queries_logits = Einsum<equation="qc,bchw->bqhw">(e, c)
        p = GlobalAveragePool(c) f = Flatten(p) d = MatMul(f, k) class_queries_logits = Reshape(d, shape)"""
    outputs = "float[1, 8, 6] class_queries_logits, float[1, 8, 96, 96] masks_queries_logits"
    weights = {
        "w": RNG.normal(size=(5, 3, 4, 4)),
        "e": RNG.normal(size=(8, 5)),
        "k": RNG.normal(size=(5, 48)),
    }
    proto = parsed(
        f"(float[1, 3, 384, 384] x) => ({outputs}) {{ {body} }}", **weights, shape=np.int64([1, 8, 6])
    )
    graph = canonical(proto)
    model = {"model_type": name.removesuffix("ImageProcessor").lower()}
    found = reading(graph, Hints(coordinates(graph).size, facts=model))
    logits = (4 * RNG.normal(size=(1, 8, 6))).astype(np.float32)
    masks = 2 * smooth(8, 96, 96)
    values = {"class_queries_logits": logits, "masks_queries_logits": masks}
    things = found.things(values, (384, 384))
    answer = SimpleNamespace(**{key: torch.tensor(value) for key, value in values.items()})
    (theirs,) = getattr(transformers, name)().post_process_instance_segmentation(
        answer, target_sizes=[(384, 384)], return_binary_maps=True
    )
    segments = sorted(theirs["segments_info"], key=lambda s: -s["score"])
    assert len(segments) > 1
    assert [t.label for t in things] == [s["label_id"] for s in segments]
    np.testing.assert_allclose([t.score for t in things], [s["score"] for s in segments], atol=1e-5)
    for thing, segment in zip(things, segments, strict=True):
        assert (thing.mask != theirs["segmentation"][segment["id"]].numpy()).mean() < 1e-3


def test_depths():
    body = "c = Conv<pads=[1, 1, 1, 1]>(x, w) r = Relu(c) predicted_depth = Squeeze(r, one)"
    shape, weights = (
        "float[1, 64, 96] predicted_depth",
        {"w": RNG.normal(size=(1, 3, 3, 3)), "one": np.int64([1])},
    )
    depth = smooth(1, *SIZE)[0]
    nearest, _ = read(body, shape, **weights).things({"predicted_depth": depth}, SIZE)
    outputs = SimpleNamespace(predicted_depth=torch.tensor(depth))
    (theirs,) = transformers.DPTImageProcessor().post_process_depth_estimation(outputs, [SIZE])
    wanted = theirs["predicted_depth"].numpy()
    wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min())
    np.testing.assert_allclose(nearest.mask, wanted, atol=1e-5)
