"""When a training graph answers what the model that it was made of does, to the last bit."""

import numpy as np
import onnxruntime
import pytest

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.graph.graph import Graph, op

LEVELS = onnxruntime.GraphOptimizationLevel
OFF, BASIC, ALL = LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_BASIC, LEVELS.ORT_ENABLE_ALL
ACTIVATIONS = {
    "Relu": op.Relu,
    "ReLU6": lambda x: op.Clip(x, 0.0, 6.0),
    "Clip from below": lambda x: op.Clip(x, -0.5),
    "Clip to both sides": lambda x: op.Clip(x, -1.0, 1.0),
    "LeakyRelu": lambda x: op.LeakyRelu(x, alpha=0.1),
    "PRelu": lambda x: op.PRelu(x, np.full((x.shape[1], 1, 1), 0.2, np.float32)),
    "Elu": lambda x: op.Elu(x, alpha=1.0),
    "Sigmoid": op.Sigmoid,
    "Tanh": op.Tanh,
    "SiLU": lambda x: x * op.Sigmoid(x),
    "HardSwish": op.HardSwish,
    "hard swish, written out": lambda x: x * op.Clip(x + 3.0, 0.0, 6.0) / 6.0,
    "Gelu": op.Gelu,
    "Mish": lambda x: x * op.Tanh(op.Softplus(x)),
}


def network(activation, normalised=False, pool="GlobalAveragePool"):
    """Inverted residuals: wide, depthwise, narrow, added to what came in; then a mean and a dense layer."""
    rng = np.random.default_rng(4)
    graph = Graph({"": 20})

    def conv(x, out, kernel, **attrs):
        within = x.shape[1] // attrs.get("group", 1)
        w = rng.standard_normal((out, within, kernel, kernel)) / np.sqrt(within * kernel**2)
        y = op.Conv(x, w.astype(np.float32), pads=[kernel // 2] * 4, **attrs)
        if not normalised:
            return y
        numbers = [rng.uniform(0.5, 1.5, out).astype(np.float32) for _ in range(4)]
        return op.BatchNormalization(y, *numbers)

    x = activation(conv(graph.input("x", np.float32, [1, 3, 32, 32]), 16, 3, strides=[2, 2]))
    for k in range(3):
        wide = activation(conv(x, 96, 1))
        deep = activation(conv(wide, 96, 3, group=96))
        x = x + conv(deep, 16, 1) if k else conv(deep, 16, 1)
    x = activation(conv(x, 192, 1))
    mean = (
        op.ReduceMean(x, [2, 3], keepdims=0) if pool == "ReduceMean" else op.Flatten(op.GlobalAveragePool(x))
    )
    graph.output(op.Gemm(mean, rng.standard_normal((192, 10)).astype(np.float32)), "y")
    return graph.to_model()


def answer(model, level, threads, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads = level, threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["y"], {i.name: feeds[i.name] for i in session.get_inputs()})[0]


def furthest(model, level, threads=1, wrt=None):
    """The largest difference, of the largest answer; 0 where all are the same to the bit."""
    rng = np.random.default_rng(1)
    feeds = {
        i.name: rng.standard_normal([d.dim_value for d in i.type.tensor_type.shape.dim]).astype(np.float32)
        for i in model.graph.input
    }
    shape = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    before = answer(model, level, threads, feeds)
    after = answer(
        gradient(model, of="y", wrt=wrt), level, threads, feeds | {"seed/y": np.ones(shape, np.float32)}
    )
    return float(np.abs(after - before).max() / np.abs(before).max())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("normalised", [False, True], ids=["merged", "normalised"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_of_a_convolutional_network_at_default_options(name, normalised, threads):
    assert furthest(network(ACTIVATIONS[name], normalised), ALL, threads) == 0


@pytest.mark.parametrize("level", [OFF, BASIC], ids=["off", "basic"])
@pytest.mark.parametrize("name", ["ReLU6", "LeakyRelu"])
def test_of_a_convolutional_network_with_fewer_optimisations(name, level):
    assert furthest(network(ACTIVATIONS[name], normalised=True), level) == 0


def test_by_the_scale_of_a_normalisation_the_runtime_cannot_merge_it():
    """Its gradient reads what the convolution gives, which merged there is nowhere."""
    model = network(op.Relu, normalised=True)
    scale = next(n.input[1] for n in model.graph.node if n.op_type == "BatchNormalization")
    assert 0 < furthest(model, BASIC, wrt=["x", scale]) < 1e-5


def gelu(x):
    """As exporters write it out; ONNX Runtime makes one operator of it."""
    return x * (op.Erf(x / 1.4142135) + 1.0) * 0.5


def transformer(activation):
    """Two blocks of attention and of two dense layers, with a norm before each."""
    rng = np.random.default_rng(5)
    graph = Graph({"": 20})

    def norm(x):
        return op.LayerNormalization(x, *rng.uniform(0.5, 1.5, (2, 32)).astype(np.float32), axis=-1)

    def dense(x, out):
        w = rng.standard_normal((x.shape[-1], out)) / np.sqrt(x.shape[-1])
        return x @ w.astype(np.float32) + rng.standard_normal(out).astype(np.float32)

    x = graph.input("x", np.float32, [1, 12, 32])
    for _ in range(2):
        seen = norm(x)
        q, k, v = (
            op.Transpose(op.Reshape(dense(seen, 32), [0, 0, 4, 8]), perm=[0, 2, 1, 3]) for _ in range(3)
        )
        weights = op.Softmax(q @ op.Transpose(k, perm=[0, 1, 3, 2]) * 0.35, axis=-1)
        x = x + dense(op.Reshape(op.Transpose(weights @ v, perm=[0, 2, 1, 3]), [0, 0, -1]), 32)
        x = x + dense(activation(dense(norm(x), 64)), 32)
    graph.output(dense(op.ReduceMean(norm(x), [1], keepdims=0), 10), "y")
    return graph.to_model()


@pytest.mark.parametrize(
    "model",
    [network(gelu), network(gelu, normalised=True), transformer(gelu), transformer(op.Gelu)],
    ids=["convolutions with gelu", "normalised ones", "transformer", "transformer with Gelu"],
)
def test_where_operators_can_no_longer_become_one(model):
    """Without optimisation nothing changes; else what is written out stays so, and rounds otherwise."""
    assert furthest(model, OFF) == 0
    assert furthest(model, ALL) < 1e-6


def test_of_a_transformer_with_fewer_optimisations():
    assert furthest(transformer(op.Gelu), BASIC) == 0
