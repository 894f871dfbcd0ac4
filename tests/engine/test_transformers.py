"""Attention maps, rollout and relevance of attention: the formulas once more in NumPy, in any spelling."""

import numpy as np
import onnx
import pytest
from oracles.vits import COUNT, HEADS, SPELLINGS, attend, vit, without

from onnxlens.engine.anatomy.attention import attentions
from onnxlens.engine.anatomy.layers import asks_patches
from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

PIXELS = np.random.default_rng(1).normal(size=(2, 3, 16, 16)).astype(np.float32)
NAMES = [m.name for m in METHODS.values() if m.family == "attention"]
CASES = [
    ("attention", {}),
    ("attention", {"block": 1}),
    ("attention", {"block": 0, "head": 1}),
    ("rollout", {}),
    ("rollout", {"heads": "max"}),
    ("rollout", {"heads": "min"}),
    ("chefer", {}),
]


def made(model, name, **options):
    network = Network(model, provider="cpu", threads=1)
    intake = Intake((16, 16), labels=list("abcde"))
    return compiled(network, METHODS[name], None, options_given(METHODS[name], options), intake)


def expected(name, found, slopes, head, block=-1, head_=None, heads="mean"):
    """(N, T): the row of the class token, or the mean of all rows."""
    row = np.zeros(1 + COUNT)
    row[slice(None) if head == "mean" else 0] = 1 / (1 + COUNT) if head == "mean" else 1
    eye = np.eye(1 + COUNT)
    if name == "attention":
        of = found[block]
        return row @ (of.mean(1) if head_ is None else of[:, head_])
    if name == "rollout":
        whole = eye
        for of in found:
            mixed = getattr(of, heads)(1) + eye
            whole = mixed / mixed.sum(-1, keepdims=True) @ whole
        return row @ whole
    whole = eye
    for of, slope in zip(found, slopes, strict=True):
        whole = whole + np.maximum(of * slope, 0).mean(1) @ whole
    return row @ (whole - eye)


@pytest.fixture(scope="module", params=["token", "mean"])
def twin(request):
    return request.param, attend(PIXELS, request.param)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_formula_whatever_the_spelling(twin, spelling, name, options):
    head, (logits, found, slopes) = twin
    explainer = made(vit(spelling, head), name, **options)
    own = {"head_" if key == "head" else key: value for key, value in options.items()}
    wanted = expected(name, found, slopes, head, **own)[:, 1:].reshape(-1, 4, 4)
    for e, want, scores in zip(explainer({"pixels": PIXELS}), wanted, logits, strict=True):
        assert (e.target, e.values.shape, e.problem) == (scores.argmax(), (4, 4), "")
        assert e.score == pytest.approx(scores.max(), rel=1e-4)
        np.testing.assert_allclose(e.values, want, rtol=1e-4, atol=1e-4 * want.max())


def test_another_class_has_another_relevance_and_the_same_attention():
    _, found, slopes = attend(PIXELS, target=3)
    for name in NAMES:
        same, other = (made(vit(), name)({"pixels": PIXELS}, c)[0].values for c in (2, 3))
        assert np.array_equal(same, other) == (name != "chefer")
    want = expected("chefer", found, slopes, "token")[0, 1:].reshape(4, 4)
    np.testing.assert_allclose(other, want, rtol=1e-4, atol=1e-4 * want.max())


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_exported_explainer_is_a_model(spelling):
    explainer = made(vit(spelling), "chefer")
    alone = Network(explainer.to_model(), provider="cpu", threads=1)
    values = alone.run({"pixels": PIXELS, "target": np.array([1, 4])}, ["heatmap"])["heatmap"]
    asked = [e.values for e in explainer({"pixels": PIXELS}, [1, 4])]
    np.testing.assert_allclose(values, asked, rtol=1e-5)


def test_a_batch_is_what_its_images_are_alone():
    explainer = made(vit("Attention"), "chefer")
    together = explainer({"pixels": PIXELS})
    for i, e in enumerate(together):
        np.testing.assert_allclose(explainer({"pixels": PIXELS[i : i + 1]})[0].values, e.values, rtol=1e-4)


@pytest.mark.parametrize("spelling", ["written", "bmm", "einsum"])
def test_where_tokens_lie(spelling):
    graph = Network(vit(spelling), provider="cpu", threads=1).graph
    found = attentions(graph, "logits")
    assert asks_patches(graph, "logits")
    assert [a.weights for a in found] == [f"b{i}_weights" for i in range(3)]
    for a in found:
        assert (a.own, a.heads, a.keys.windows, a.keys.count) == (True, HEADS, 1, 1 + COUNT)
        assert np.isnan(a.keys.centres[:, 0, 0]).all()
        ys, xs = a.keys.centres[:, 0, 1:]
        np.testing.assert_allclose(ys.reshape(4, 4)[:, 0], [2, 6, 10, 14])
        np.testing.assert_allclose(xs.reshape(4, 4)[0], [2, 6, 10, 14])


def test_a_token_that_is_the_mean_of_the_picture_has_no_place_in_it():
    plain, mean = (attentions(Network(vit(token=t)).graph, "logits") for t in ("learned", "mean"))
    assert [a.keys for a in plain] == [a.keys for a in mean]
    assert made(vit(token="mean"), "rollout")({"pixels": PIXELS})[0].values.shape == (4, 4)


def test_a_batch_of_one_size():
    model = vit("MultiHeadAttention")
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    fixed = made(model, "chefer").explained(PIXELS[:1], [-1])[0][0]
    free = made(vit("MultiHeadAttention"), "chefer").explained(PIXELS[:1], [-1])[0][0]
    np.testing.assert_allclose(fixed.values, free.values, rtol=1e-5)


def test_what_is_not_there_is_one_line():
    with pytest.raises(BadRequest, match=r"there is no block 3: .* 0 to 2"):
        made(vit(), "attention", block=3)
    with pytest.raises(BadRequest, match="there is no head 2: the attention has heads 0 to 1"):
        made(vit(), "attention", head=2)
    with pytest.raises(BadRequest, match="heads is one of mean, max, min"):
        made(vit(), "rollout", heads="median")
    with pytest.raises(BadRequest, match="'block' is no option of rollout: it is one of attention"):
        made(vit(), "rollout", block=1)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("head", ["token", "mean"])
@pytest.mark.parametrize("group", [1, 2])
def test_a_removed_token_was_never_there(spelling, head, group):
    """Masked in all attention, the answer is that of the network without it, and else that with the mean."""
    made_ = made(vit(spelling, head), "token-ablation", group=group)
    found = made_.explained(PIXELS[:1], [-1])[0][0]
    whole = without(PIXELS[:1], [], head)[0]
    want, cells = np.zeros((4, 4)), np.arange(COUNT).reshape(4, 4)
    for y in range(0, 4, group):
        for x in range(0, 4, group):
            gone = (1 + cells[y : y + group, x : x + group]).ravel().tolist()
            left = without(PIXELS[:1], gone, head)[0]
            want[y : y + group, x : x + group] = max(0, (whole - left)[found.target])
    assert (found.target, found.values.shape, found.at) == (whole.argmax(), (4, 4), "b0_in")
    assert found.score == pytest.approx(whole.max(), rel=1e-4)
    np.testing.assert_allclose(found.values, want, rtol=1e-4, atol=1e-4 * want.max())
    assert ("are the mean of all" in made_.note) == (head == "mean")


def test_several_classes_and_a_batch_of_one_size_lose_tokens_too():
    model = vit("MultiHeadAttention")
    alone = made(model, "token-ablation").explained(PIXELS, [-2])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    fixed = made(model, "token-ablation").explained(PIXELS, [-2])
    for of_image, same in zip(alone, fixed, strict=True):
        assert [e.target for e in of_image] == [e.target for e in same]
        assert len({e.target for e in of_image}) == 2
        for e, other in zip(of_image, same, strict=True):
            np.testing.assert_allclose(e.values, other.values, rtol=1e-3, atol=1e-5)


CONVOLUTIONS = """<ir_version: 8, opset_import: ["" : 18]> g (float[N,3,16,16] pixels) => (float[N,5] p)
<float[5,3,3,3] k = {KERNEL}> {
    maps = Conv(pixels, k)
    pooled = GlobalAveragePool(maps)
    flat = Flatten(pooled)
    p = Softmax(flat)
}"""


@pytest.mark.parametrize("name", [*NAMES, "token-ablation"])
def test_a_model_without_attention_is_told_what_to_take(name):
    text = CONVOLUTIONS.replace("KERNEL", ",".join(["0.1"] * 135))
    with pytest.raises(
        BadRequest, match=f"{name} is of transformers, and this model has no attention.*gradcam"
    ) as said:
        made(onnx.parser.parse_model(text), name)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", [*NAMES, "token-ablation"])
def test_tokens_that_lie_nowhere_are_refused(name):
    """Each token is the patches of a random order that the picture decides."""
    model = vit()
    nodes = {n.output[0]: n for n in model.graph.node}
    at = list(model.graph.node).index(nodes["tokens"])
    nodes["tokens"].output[0] = "tokens_before"
    more = onnx.parser.parse_graph("""g (float[N,16,8] tokens_before) => (float[N,16,8] tokens)
    <int64[1] sixteen = {16}> {
        strong = ReduceMean <axes = [2], keepdims = 0> (tokens_before)
        best, order = TopK <axis = 1> (strong, sixteen)
        order3 = Unsqueeze (order, last)
        shape = Shape (tokens_before)
        wide = Expand (order3, shape)
        tokens = GatherElements <axis = 1> (tokens_before, wide)
    }""")
    del more.node[0]
    mean = onnx.helper.make_node("ReduceMean", ["tokens_before", "two"], ["strong"], keepdims=0)
    for i, node in enumerate([mean, *more.node]):
        model.graph.node.insert(at + 1 + i, node)
    for key, value in {"two": [2], "last": [2], "sixteen": [16]}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), key))
    with pytest.raises(BadRequest, match=rf"{name} cannot place what attention .*layercam or saliency"):
        made(model, name)
