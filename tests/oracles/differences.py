"""Central differences in float64: the slope of a model as seen from outside, against which rules are held."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from oracles.reference import TWINS

from onnxlens.engine.autodiff.forward import hvp, jvp
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.graph.dataflow import IR_VERSION
from onnxlens.engine.graph.nodes import schema_of

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
# By type: the step, and what may be lacking, relative to the gradient's norm and absolutely.
BOUNDS = {np.dtype(np.float64): (1e-5, 1e-6, 1e-8), np.dtype(np.float32): (1e-2, 2e-3, 1e-3)}
ROUNDING = {"Shrink"}  # ONNX Runtime computes these in float32 even for float64

Feeds = Mapping[str, np.ndarray]


def runner(model: ModelProto) -> Callable[[Feeds], list[np.ndarray]]:
    """The model as a function: on ONNX Runtime where it has the kernels, else on ONNX's reference."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = None
    # Few of its kernels take float64, and it says so in many ways; some only when they run.
    with contextlib.suppress(Exception):
        if not any(n.op_type in ROUNDING for n in model.graph.node):
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
    reference, answered = None, False

    def call(feeds: Feeds) -> list[np.ndarray]:
        nonlocal session, reference, answered
        if session is not None:
            try:
                found = session.run(None, dict(feeds))
                answered = True
                return found
            except Exception:
                if answered:  # what it refuses aside of a place where it answers is no matter for another
                    raise
                session = None
        reference = reference or ReferenceEvaluator(model, new_ops=TWINS)
        return [np.asarray(y) for y in reference.run(None, dict(feeds))]

    return call


def takes_double(graph: GraphProto, opset: int, name: str) -> bool:
    """Whether all that read a value accept float64 (Resize, for one, wants float32 scales)."""
    for node in graph.node:
        schema = schema_of(node.op_type, opset, node.domain)
        if schema is None or name not in node.input:
            continue
        slot = schema.inputs[min(list(node.input).index(name), len(schema.inputs) - 1)]
        if "tensor(double)" not in slot.types:
            return False
    return True


def in_double(model: ModelProto) -> ModelProto:
    """The model with all its floating-point values of 16 and 32 bits made float64."""
    double = ModelProto()
    double.CopyFrom(model)
    double.ir_version = min(model.ir_version, IR_VERSION)
    _graph_in_double(double.graph, model.opset_import[0].version)
    return double


def _graph_in_double(graph: GraphProto, opset: int) -> None:
    """And those of the graphs inside its nodes."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in FLOATS and takes_double(graph, opset, value.name):
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in graph.initializer:
        if takes_double(graph, opset, tensor.name):
            _widen(tensor)
    for node in graph.node:
        schema = schema_of(node.op_type, opset, node.domain)
        if schema is not None and "stash_type" in schema.attributes:
            del node.output[1:]
            del graph.output[1:]  # these are of the type it computes in
            node.attribute.append(helper.make_attribute("stash_type", TensorProto.DOUBLE))
    for attribute in (a for node in graph.node for a in node.attribute):
        if attribute.type == AttributeProto.TENSOR:
            _widen(attribute.t)
        elif attribute.type == AttributeProto.GRAPH:
            _graph_in_double(attribute.g, opset)
        elif attribute.name in ("to", "dtype") and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in FLOATS:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
        )


def assert_slopes(
    model: ModelProto,
    feeds: Feeds,
    of: Sequence[str],
    wrt: Sequence[str],
    directions: int = 2,
    seed: int = 0,
    epsilon: float | None = None,
) -> None:
    """The gradient graph of a float64 model against central differences, of step ε.

    With random u for each of `of` and random v for each of `wrt`, one at a time:

        ⟨Jᵀu, v⟩ = ⟨u, J v⟩ = (⟨u, f(x + εv)⟩ - ⟨u, f(x - εv)⟩) / 2ε
    """
    rng = np.random.default_rng(seed)
    names = [o.name for o in model.graph.output]
    f, both = runner(model), runner(gradient(model, of=of, wrt=wrt))
    clean = dict(zip(names, f(feeds), strict=True))
    us = {name: rng.standard_normal(clean[name].shape).astype(clean[name].dtype) for name in of}
    grads = both({**feeds, **{f"seed/{name}": u for name, u in us.items()}})[len(names) :]

    def score(x: str, value: np.ndarray) -> float:
        found = dict(zip(names, f({**feeds, x: np.asarray(value)}), strict=True))
        return sum(float((us[name] * found[name]).sum()) for name in of)

    for name, grad in zip(wrt, grads, strict=True):
        x = feeds[name]
        assert grad.shape == x.shape, f"grad/{name} is of shape {grad.shape}, not {x.shape}"
        assert grad.dtype == x.dtype
        step, relative, absolute = BOUNDS[x.dtype]
        step = epsilon or step
        for _ in range(directions):
            v = rng.standard_normal(x.shape).astype(x.dtype)
            slope = (score(name, x + step * v) - score(name, x - step * v)) / (2 * step)
            found = float((grad * v).sum())
            bound = relative * np.linalg.norm(grad) + absolute
            assert abs(slope - found) <= bound, f"grad/{name}: {found} where differences say {slope}"


def finite_names(model: ModelProto, feeds: Feeds) -> list[str]:
    """Names of the floating-point outputs that are finite: only these have a slope."""
    names = float_names(model.graph.output)
    values = zip([o.name for o in model.graph.output], runner(model)(feeds), strict=True)
    return [name for name, value in values if name in names and np.isfinite(value).all()]


def float_names(values: Sequence[object]) -> list[str]:
    """Names of the floating-point values among graph inputs or outputs."""
    return [v.name for v in values if v.type.tensor_type.elem_type in FLOATS]  # type: ignore[attr-defined]


def drawn_like(feeds: Feeds, prefix: str, seed: int = 0) -> dict[str, np.ndarray]:
    """A random vector for each of these values, of its shape and type, named `prefix/name`."""
    rng = np.random.default_rng(seed)
    return {f"{prefix}/{n}": rng.standard_normal(x.shape).astype(x.dtype) for n, x in feeds.items()}


def answered(model: ModelProto, feeds: Feeds) -> dict[str, np.ndarray]:
    """What a model answers, by name."""
    return dict(zip([o.name for o in model.graph.output], runner(model)(feeds), strict=True))


def assert_transposed(model: ModelProto, feeds: Feeds, of: Sequence[str], wrt: Sequence[str]) -> None:
    """Forward mode and reverse mode are each other's transpose: ⟨u, Jv⟩ = ⟨Jᵀu, v⟩, for random u and v."""
    clean = answered(model, feeds)
    us = drawn_like({n: clean[n] for n in of}, "seed")
    vs = drawn_like({n: feeds[n] for n in wrt}, "tangent", 1)
    forth = answered(jvp(model, of=of, wrt=wrt), {**feeds, **vs})
    back = answered(gradient(model, of=of, wrt=wrt), {**feeds, **us})
    for name in of:
        assert forth[f"jvp/{name}"].shape == clean[name].shape
        assert forth[f"jvp/{name}"].dtype == clean[name].dtype
    parts = [us[f"seed/{n}"] * forth[f"jvp/{n}"] for n in of]
    others = [vs[f"tangent/{n}"] * back[f"grad/{n}"] for n in wrt]
    relative = max(BOUNDS[p.dtype][1] for p in (*parts, *others))  # a body may compute in float32
    bound = relative * sum(np.linalg.norm(p) for p in (*parts, *others))
    assert abs(sum(p.sum() for p in parts) - sum(p.sum() for p in others)) <= bound + 1e-12


def assert_curvature(model: ModelProto, feeds: Feeds, of: Sequence[str], wrt: Sequence[str]) -> None:
    """The Hessian times a vector against central differences of the gradient."""
    clean = answered(model, feeds)
    us = drawn_like({n: clean[n] for n in of}, "seed")
    vs = drawn_like({n: feeds[n] for n in wrt}, "tangent", 1)
    slope = gradient(model, of=of, wrt=wrt)
    found = answered(hvp(model, of=of, wrt=wrt), {**feeds, **us, **vs})
    step, relative, absolute = BOUNDS[feeds[wrt[0]].dtype]

    def at(s: float) -> dict[str, np.ndarray]:
        there = {n: (feeds[n] + s * vs[f"tangent/{n}"]).astype(feeds[n].dtype) for n in wrt}
        return answered(slope, {**feeds, **us, **there})

    above, below = at(step), at(-step)
    for name in wrt:
        expected = (above[f"grad/{name}"].astype(np.float64) - below[f"grad/{name}"]) / (2 * step)
        error = np.linalg.norm(expected - found[f"hvp/{name}"])
        assert error <= 10 * (relative * np.linalg.norm(expected) + absolute), name
