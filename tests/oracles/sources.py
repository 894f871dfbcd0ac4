"""What several sources say of one gradient: us, PyTorch's autograd, and (in tests/bench) another builder.

A `Case` is a model with inputs and with a random factor for each output; each source gives the gradient of
the sum of the outputs times these.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from oracles import torch_operators
from oracles.cases import CASES, HAND_MADE, redrawn
from oracles.differences import finite_names, float_names, runner

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import OnnxlensError

Arrays = dict[str, np.ndarray]
NARROW = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
AGREE = 1e-3  # of the norm of the gradient
SMALL = 1e-3  # a norm that counts as nothing


@dataclass
class Case:
    """A model, its inputs, the values to differentiate in, and a factor for each output."""

    model: ModelProto
    feeds: Arrays
    wrt: list[str]
    seeds: Arrays

    @property
    def operator(self) -> str:
        node = self.model.graph.node[0]
        return f"{node.domain}:{node.op_type}" if node.domain else node.op_type


def case(model: ModelProto, feeds: Arrays, wrt: list[str]) -> Case:
    """With factors drawn for all float outputs. Raises what the runtime raises where it cannot run it."""
    rng = np.random.default_rng(1)
    whole = ModelProto()
    whole.CopyFrom(model)
    answers = runner(whole)(feeds)
    seeds = {}
    for output, answer in zip(whole.graph.output, answers, strict=True):
        elem = output.type.tensor_type.elem_type
        output.CopyFrom(helper.make_tensor_value_info(output.name, elem, np.shape(answer)))
        if float_names([output]):
            seeds[output.name] = np.asarray(rng.standard_normal(np.shape(answer)), answer.dtype)
    return Case(whole, feeds, wrt, seeds)


def in_training(node: NodeProto) -> bool:
    """Whether a node is in training mode, in which what is dropped is another draw in each source."""
    told = any(a.name == "training_mode" and a.i for a in node.attribute)
    return told or (node.op_type == "Dropout" and len(node.input) > 2)


def in_single(model: ModelProto) -> ModelProto:
    """The model with float32 for float64, of which few runtimes have all kernels."""
    single = ModelProto()
    single.CopyFrom(model)
    values = [*single.graph.input] + [*single.graph.output] * (single.graph.node[0].op_type != "Cast")
    for value in values:
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    tensors = [*single.graph.initializer]
    tensors += [a.t for n in single.graph.node for a in n.attribute if a.type == AttributeProto.TENSOR]
    for tensor in tensors:
        if tensor.data_type == TensorProto.DOUBLE:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return single


def single_cases() -> Iterator[tuple[str, ModelProto, list]]:
    """Those of the conformance run, and those of ONNX for the operators that this leaves out."""
    for name, (model, data) in CASES.items():
        yield name, model, data
    for name, model in HAND_MADE.items():
        shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
        yield f"ours_{name}", in_single(model), [np.zeros(shape) for shape in shapes]
    held = {model.graph.node[0].op_type for model, _ in CASES.values()}
    held |= {model.graph.node[0].op_type for model in HAND_MADE.values()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        everything = collect_testcases(None)
    for other in everything:
        graph = other.model.graph
        node = graph.node[0]
        if len(graph.node) > 1 or node.domain or node.op_type in held or in_training(node):
            continue
        if float_names(graph.input) and float_names(graph.output):
            yield other.name.removeprefix("test_"), other.model, other.data_sets[0][0]


def fused_cases() -> Iterator[tuple[str, Case]]:
    """ONNX Runtime's own operators, as far as its training wheel has rules for them."""
    rng = np.random.default_rng(2)
    for name, domain, more in [
        ("BiasGelu", "com.microsoft", {"b": (6,)}),
        ("FastGelu", "com.microsoft", {"b": (6,)}),
        ("Gelu", "com.microsoft", {}),
        ("QuickGelu", "com.microsoft", {}),
        ("SimplifiedLayerNormalization", "", {"scale": (6,)}),  # and of an opset that is converted
    ]:
        shapes = {"x": (2, 6), **more}
        inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 6))
        node = helper.make_node(name, list(shapes), ["y", "rest"][: 1 + (not domain)], domain=domain)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(
            helper.make_graph([node], name, inputs, [y]), ir_version=8, opset_imports=opsets
        )
        feeds = {n: rng.uniform(-2, 2, s).astype(np.float32) for n, s in shapes.items()}
        yield f"fused_{name}", case(model, feeds, list(shapes))


RANDOM = {"Bernoulli"}  # another answer each time: nothing to compare


def cases() -> dict[str, Case]:
    """All with their inputs, but those of 16 bits, without a real input, and that are random."""
    kept = {}
    for name, model, data in single_cases():
        types = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
        if NARROW & {*types.values()} or RANDOM & {n.op_type for n in model.graph.node}:
            continue
        feeds, wrt = redrawn(model, data)
        feeds = {n: v.astype(helper.tensor_dtype_to_np_dtype(types[n])) for n, v in feeds.items()}
        if wrt and finite_names(model, feeds) == float_names(model.graph.output):
            kept[name] = case(model, feeds, wrt)
    return kept | dict(fused_cases())


def by_us(one: Case) -> Arrays:
    """By onnxlens; nothing where it refuses."""
    try:
        both = gradient(one.model, of=list(one.seeds), wrt=one.wrt)
    except OnnxlensError:
        return {}
    values = runner(both)(one.feeds | {f"seed/{name}": u for name, u in one.seeds.items()})
    found = dict(zip([o.name for o in both.graph.output], values, strict=True))
    return {name: found[f"grad/{name}"] for name in one.wrt}


def by_torch(one: Case) -> Arrays:
    """By PyTorch's autograd; nothing where it has no such operator."""
    try:
        return torch_operators.gradients(one.model, one.feeds, one.seeds, one.wrt)
    except (NotImplementedError, KeyError):
        return {}


def distance(found: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> float:
    """The largest, over what `found` has, of |found - right| / |right|; infinite where `right` lacks one."""
    worst = 0.0
    for name, value in found.items():
        if name not in right or right[name].shape != value.shape:
            return float("inf")
        expected = right[name].astype(np.float64)
        worst = max(worst, float(np.linalg.norm(value - expected) / max(np.linalg.norm(expected), SMALL)))
    return worst
