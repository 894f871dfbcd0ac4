"""The table of traits against what ONNX Runtime makes of the operators, and that no other list stands.

Each operator is given small real inputs, its cases of test_rules.py among them. One number of its data is
changed at a time to see what depends on it; the rest are properties of the function as a whole.
"""

import ast
from functools import cache

import numpy as np
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as binding
import pytest
from house.rooms import ROOT, modules
from onnx import TensorProto, defs, helper, numpy_helper
from oracles.cases import CASES, HAND_MADE, redrawn
from oracles.fused import CASES as FUSED
from oracles.fused import MS, alone, drawn
from oracles.networks import NO_KERNEL, run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import NoRule
from onnxlens.engine.graph.nodes import attributes, key_of
from onnxlens.engine.operators.bodies import BODIES
from onnxlens.engine.operators.rules import VJP
from onnxlens.engine.operators.traits import TRAITS, UNKNOWN, Slots, having, traits_of

X, MAP, TRUE = drawn(3, 4), drawn(2, 4, 5, 6), drawn(3, 4) > 0
BYTES, STEP, ZERO = np.arange(12, dtype=np.uint8).reshape(3, 4), np.float32(0.1), np.uint8(3)
QUANTISED = [BYTES, STEP, ZERO]
BOXES = [drawn(1, 6, 4), drawn(1, 2, 6), np.int64(3), np.float32(0.5), np.float32(0)]
STUMP = {
    "n_targets": 1, "nodes_treeids": [0] * 3, "nodes_nodeids": [0, 1, 2], "nodes_featureids": [1, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [0.1, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0],
    "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, -2.0],
}  # fmt: skip
# What ONNX's cases with gradients lack: (key, inputs, attributes).
MORE = [
    ("Identity", [X], {}), ("Cast", [X], {"to": TensorProto.DOUBLE}), ("CastLike", [X, X.astype(float)], {}),
    ("Not", [TRUE], {}), ("IsNaN", [X], {}), ("IsInf", [X], {}), ("Round", [3 * X], {}),
    ("Floor", [3 * X], {}), ("Ceil", [3 * X], {}), ("Sign", [X], {}), ("Hardmax", [X], {}),
    ("PRelu", [X, drawn(4)], {}), ("Dropout", [X], {}), ("Where", [TRUE, X, drawn(4)], {}),
    *((name, [X, drawn(4)], {}) for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *((name, [TRUE, drawn(4) > 0], {}) for name in ("And", "Or", "Xor")),
    *((name, [MAP], {"axis": 1}) for name in ("ArgMax", "ArgMin")),
    ("Shape", [X], {}), ("Size", [X], {}), ("NonZero", [X], {}), ("TopK", [X, np.array([2])], {}, 2),
    ("OneHot", [np.array([1, 2]), np.int64(4), np.array([0, 1], np.float32)], {}), ("Unique", [X], {}),
    ("ai.onnx.ml:ArrayFeatureExtractor", [X, np.array([[0, 3, 3]])], {}),
    ("ai.onnx.ml:Binarizer", [X], {"threshold": 0.2}),
    ("NonMaxSuppression", BOXES, {}), ("Bernoulli", [np.full((9, 9), 0.5, np.float32)], {}),
    ("Multinomial", [np.zeros((1, 5), np.float32)], {"sample_size": 30}),
    ("RandomNormal", [], {"shape": [3, 4]}), ("RandomUniform", [], {"shape": [3, 4]}),
    ("RandomNormalLike", [X], {}), ("RandomUniformLike", [X], {}),
    ("QuantizeLinear", [X, STEP, ZERO], {}), ("DequantizeLinear", QUANTISED, {}),
    ("DynamicQuantizeLinear", [X], {}, 3),
    (f"{MS}:QuantizeLinear", [X, STEP, ZERO], {}), (f"{MS}:DequantizeLinear", QUANTISED, {}),
    (f"{MS}:QLinearAdd", QUANTISED * 2 + QUANTISED[1:], {}),
    (f"{MS}:QLinearMul", QUANTISED * 2 + QUANTISED[1:], {}),
    (f"{MS}:QLinearWhere", [TRUE, *QUANTISED * 2, *QUANTISED[1:]], {}),
    (f"{MS}:QLinearSigmoid", QUANTISED + QUANTISED[1:], {}),
    (f"{MS}:QLinearLeakyRelu", QUANTISED + QUANTISED[1:], {"alpha": 0.1}),
    (f"{MS}:QLinearSoftmax", [*QUANTISED, np.float32(1 / 256), np.uint8(0)], {"axis": -1, "opset": 13}),
    ("GlobalLpPool", [MAP], {}), ("EyeLike", [X], {}),
    ("MelWeightMatrix", [*np.array([4, 16, 8000]), np.float32(20), np.float32(4000)], {}),
    ("ai.onnx.ml:OneHotEncoder", [np.float32([1, 2, 2])], {"cats_int64s": [1, 2]}),
    ("ai.onnx.ml:TreeEnsembleRegressor", [X], STUMP),
    ("Upsample", [MAP, np.array([1, 1, 2, 2], np.float32)], {}),
]  # fmt: skip


class Tried:
    """A model of one node and its inputs; calling it with others in place of some gives its outputs."""

    def __init__(self, model, feeds):
        del model.graph.output[:]
        (self.node,) = model.graph.node
        model.graph.output.extend(map(helper.make_empty_tensor_value_info, self.node.output))
        stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.model, self.feeds, self.stored = model, feeds, stored
        self.inputs = [feeds.get(i, stored.get(i)) for i in self.node.input]
        self.opset = model.opset_import[0].version
        self.session = None

    def __call__(self, **changed):
        if self.session is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = 1, 3
            self.session = onnxruntime.InferenceSession(
                self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        names = [name for name in self.node.output if name]
        return dict(zip(names, self.session.run(names, {**self.feeds, **changed}), strict=True))

    @property
    def data(self):
        """The names of the real inputs that the model is given."""
        return [
            i for i in dict.fromkeys(self.node.input) if i in self.feeds and self.feeds[i].dtype.kind == "f"
        ]

    def first(self, **changed):
        return self(**changed)[self.node.output[0]]

    def attribute(self, name):
        return attributes(self.node, self.opset).get(name)


def single_cases():
    for name, (model, data) in CASES.items():
        types = {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
        if not {TensorProto.FLOAT16, TensorProto.BFLOAT16} & {*types.values()}:
            feeds, _ = redrawn(model, data)
            kinds = {n: helper.tensor_dtype_to_np_dtype(elem) for n, elem in types.items()}
            yield name, model, {n: np.asarray(x, kinds[n]) for n, x in feeds.items()}
    for name, model in HAND_MADE.items():
        shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
        yield name, model, redrawn(model, [np.zeros(shape) for shape in shapes])[0]
    for i, (key, inputs, attrs, *more) in enumerate([*FUSED.values(), *MORE]):
        model, feeds = alone(key, [None if i is None else np.asarray(i) for i in inputs], attrs, *more)
        model.opset_import[0].version = 9 if key == "Upsample" else 18
        yield f"{key}_{i}", model, feeds


@cache
def tried():
    """The cases that ONNX Runtime runs and whose results are numbers, by the key of their operator."""
    found = {}
    for _, model, feeds in single_cases():
        case = Tried(type(model).FromString(model.SerializeToString()), feeds)
        try:
            y = case.first()
        except (*NO_KERNEL, binding.InvalidArgument, binding.RuntimeException):
            continue
        own = traits_of(case.node) is TRAITS.get(key_of(case.node), UNKNOWN)  # not so in training
        if own and (y.dtype.kind != "f" or np.isfinite(y).all()):
            found.setdefault(key_of(case.node), []).append(case)
    return found


def of(fact):
    """The keys of which a fact is so and that are run; a parametrisation."""
    return pytest.mark.parametrize("key", having(fact))


def cases_of(key):
    found = tried().get(key, [])
    if not found:
        assert key in {**NOT_RUN, **NEWER}, f"{key} has no case that runs"
        pytest.skip({**NOT_RUN, **NEWER}[key])
    return found


_WRITTEN_OUT = "its body is held against the kernel (test_quantised.py)"
NOT_RUN = {
    **dict.fromkeys(["ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"], _WRITTEN_OUT),
    **dict.fromkeys(
        [f"{MS}:{name}" for name in (
            "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "NhwcMaxPool", "QGemm", "QLinearAveragePool",
            "QLinearConv", "QLinearGlobalAveragePool",
        )],
        _WRITTEN_OUT,
    ),
    **dict.fromkeys(
        [f"{MS}:{name}" for name in ("NhwcConv", "NhwcFusedConv", "GemmFastGelu", "BiasAdd", "GroupNorm")],
        "its kernels are for other devices; its body is held against what it stands for (test_fused.py)",
    ),
    f"{MS}:QLinearReduceMean": "ONNX Runtime has no kernel for it any more",
    **dict.fromkeys(
        [f"ai.onnx.ml:{name}" for name in (
            "CategoryMapper", "DictVectorizer", "CastMap", "ZipMap", "LabelEncoder", "SVMClassifier",
            "TreeEnsembleClassifier",
        )],
        "it takes or gives words, maps or labels, no real numbers first",
    ),
    "ai.onnx.ml:TreeEnsemble": "ONNX's own case of it is held against differences (operator_cases.py)",
    **dict.fromkeys(["BitCast", "CausalConvWithState", "LinearAttention"], "no released runtime has it"),
}  # fmt: skip
NEWER = dict.fromkeys(["CumProd", "DeformConv", "Swish"], "older runtimes have no kernel for it")


def test_what_is_not_run_has_no_case_that_runs():
    assert not NOT_RUN.keys() & tried().keys()
    assert NEWER.keys() <= {key_of(model.graph.node[0]) for _, model, _ in single_cases()}


def changes(case, name, seed=0, at_most=24):
    """Pairs of the place of a number that is changed, and where the first output changes with it."""
    x, y = case.feeds[name], case.first()
    rng = np.random.default_rng(seed)
    for flat in rng.permutation(x.size)[:at_most]:
        where = np.unravel_index(flat, x.shape)
        for size in (-0.37, 0.29, 3.1, -3.3):
            other = x.copy()
            if x.dtype.kind == "f":
                other[where] += size * (abs(x[where]) if abs(x).max() > 100 else 1)
            else:
                other[where] = np.bitwise_xor(x[where], x.dtype.type(7))
            again = case.first(**{name: other})
            if again.shape == y.shape:
                yield where, (again != y) & ~(np.isnan(again) & np.isnan(y))


def assert_none(mask, message):
    assert not mask.any(), message


@of(lambda t: t.elementwise)
def test_elementwise_is_a_diagonal_jacobian(key):
    for case in cases_of(key):
        data = case.data if TRAITS[key].elementwise == "together" else case.node.input[:1]
        for name in (n for n in data if n in case.feeds):
            y, x = case.first(), case.feeds[name]
            if TRAITS[key].elementwise == "alone":
                assert y.shape == x.shape
            place = np.broadcast_to(np.arange(x.size).reshape(x.shape), y.shape)
            for where, changed in changes(case, name):
                assert_none(changed & (place != np.ravel_multi_index(where, x.shape)), f"{key}: {where}")


@of(lambda t: t.elementwise == "alone" and not t.per_channel)
def test_an_elementwise_operator_does_the_same_everywhere(key):
    for case in cases_of(key):
        others = [i for i in case.inputs[1:] if i is not None and i.size > 1]
        if others or not case.feeds:
            continue  # a parameter that differs from place to place is no trait of the operator
        name, (x, *_) = case.node.input[0], case.feeds.values()
        turned = case.first(**{name: np.ascontiguousarray(x.reshape(-1)[::-1].reshape(x.shape))})
        y = case.first()
        np.testing.assert_allclose(turned.reshape(-1)[::-1], y.reshape(-1), rtol=1e-6, atol=1e-7)


@of(lambda t: t.rises)
def test_what_rises_never_falls(key):
    for case in cases_of(key):
        name = case.node.input[0]
        if name in case.data:
            x = case.feeds[name]
            for more in (1e-3, 0.1, 0.5):
                y, again = case.first(), case.first(**{name: np.asarray(x + x.dtype.type(more))})
                assert ((again >= y) | np.isnan(again) | np.isnan(y)).all()


@of(lambda t: t.even)
def test_even_is_the_same_for_the_opposite(key):
    for case in cases_of(key):
        np.testing.assert_array_equal(case.first(**{case.data[0]: -case.feeds[case.data[0]]}), case.first())


@of(lambda t: t.range)
def test_numbers_lie_in_the_range(key):
    low, high = TRAITS[key].range
    for case in cases_of(key):
        for factor in (1, 20, -20, 0.01):
            y = case.first(
                **{n: np.asarray(case.feeds[n] * factor, case.feeds[n].dtype) for n in case.data[:1]}
            )
            y = y.astype(float) / 256 if y.dtype == np.uint8 else y.astype(float)
            y = y[~np.isnan(y)]
            assert (y >= low - 1e-6).all()
            assert (y <= high + 1e-6).all()


@of(lambda t: t.truth)
def test_truth_is_true_or_false(key):
    for case in cases_of(key):
        assert case.first().dtype == bool


@of(lambda t: t.step)
def test_a_step_is_flat_and_jumps(key):
    jumps = []
    for case in cases_of(key):
        x = case.feeds[case.data[0]] + 0.01  # drawn ones lie on no jump
        y, again = (case.first(**{case.data[0]: np.asarray(x + d, x.dtype)}) for d in (0, 1e-6))
        np.testing.assert_array_equal(again, y)
        jumps.append(any(changed.any() for _, changed in changes(case, case.data[0])))
    assert any(jumps)


@of(lambda t: t.infinities)
def test_infinities_are_made_or_stopped(key):
    stops = TRAITS[key].infinities == "stops"
    numbers = [np.inf, -np.inf, 0, 1] if stops else [0, 1, -1, 200, -200, 1e-30]
    for case in cases_of(key):
        if stops and TRAITS[key].squashes != "classes":
            x = np.resize(np.array(numbers), case.feeds[case.data[0]].shape)
            assert np.isfinite(case.first(**{case.data[0]: x.astype(case.feeds[case.data[0]].dtype)})).all()
    if not stops:
        x = np.array(numbers, np.float32)
        inputs = [x] if len(defs.get_schema(key).inputs) == 1 else [x[:, None], x[None]]
        assert np.isinf(Tried(*alone(key, inputs, {})).first()).any()


@of(lambda t: t.linear)
def test_linear_is_affine(key):
    traits = TRAITS[key]
    for case in cases_of(key):
        schema = defs.get_schema(key, case.opset)
        many = schema.inputs[0].option == defs.OpSchema.FormalParameterOption.Variadic
        together = many or traits.elementwise == "together" or traits.linear == "product"
        names = case.data if together else case.data[:1]
        names = [n for n in names if n in case.node.input[: 1 if key == "Div" else len(case.node.input)]]
        names = names[:2] if traits.linear == "product" and not many else names
        if case.attribute("mode") in ("reflect", "edge", "wrap") and key == "Pad":
            names = case.data[:1]
        for group in [[n] for n in names] if traits.linear == "product" else [names]:
            other = {n: np.asarray(drawn(*case.feeds[n].shape, seed=5), case.feeds[n].dtype) for n in group}
            middle = {n: np.asarray((case.feeds[n] + other[n]) / 2, other[n].dtype) for n in group}
            expected = (case.first().astype(float) + case.first(**other)) / 2
            found = case.first(**middle)
            np.testing.assert_allclose(
                found, expected, rtol=1e-3, atol=1e-4 * max(1, abs(expected).max(initial=0))
            )


@of(lambda t: t.rectifies)
def test_a_rectifier_is_the_identity_or_flat(key):
    for case in cases_of(key):
        if len(case.data) == 1 or key == "Clip":
            x = np.asarray(case.feeds[case.data[0]])
            x = np.linspace(-3, 3, x.size).reshape(x.shape).astype(x.dtype)
            y, again = case.first(**{case.data[0]: x}), case.first(**{case.data[0]: x + x.dtype.type(1e-3)})
            slope = (again - y) / 1e-3
            assert (abs(slope) < 1e-2).any() or x.size < 9
            inner = (abs(slope) > 1e-2) & (abs(slope - 1) > 1e-2)
            assert inner.mean() < 0.2  # next to the bound alone


@of(lambda t: t.hull)
def test_a_hull_holds_its_numbers(key):
    for case in cases_of(key):
        many = TRAITS[key].elementwise == "together" or TRAITS[key].moves == "joins"
        data = [case.feeds[n] for n in (case.data if many else case.data[:1])]
        y = case.first()
        if y.size and data:
            assert y.min() >= min(d.min() for d in data) - 1e-6
            assert y.max() <= max(d.max() for d in data) + 1e-6


@of(lambda t: t.pools)
def test_a_pooling_keeps_what_is_positive(key):
    for case in cases_of(key):
        name = case.data[0]
        y = case.first(**{name: abs(case.feeds[name])})
        assert (y >= 0).all()


@of(lambda t: t.reshapes)
def test_reshaping_hands_on_every_element(key):
    for case in cases_of(key):
        np.testing.assert_allclose(case.first().reshape(-1), case.feeds[case.data[0]].reshape(-1), rtol=1e-6)


@of(lambda t: t.moves)
def test_what_moves_makes_no_new_numbers(key):
    kind = TRAITS[key].moves
    for case in cases_of(key):
        many = kind in ("joins", "chooses")
        names = case.data if many else case.data[:1]
        at, data = 1, {}
        for name in names:  # numbers that tell where they come from
            x = case.feeds[name]
            data[name] = np.arange(at, at + x.size).reshape(x.shape).astype(x.dtype)
            at += x.size
        y = np.concatenate([v.reshape(-1) for v in case(**data).values()])
        x = np.concatenate([v.reshape(-1) for v in data.values()])
        if kind == "order":
            np.testing.assert_array_equal(y, x)
        if kind in ("axes", "blocks", "joins"):
            np.testing.assert_array_equal(np.sort(y), x)
        if kind == "selects" or kind == "chooses":
            assert set(y) <= set(x) | {float(v) for i in case.stored.values() for v in np.ravel(i)}
        if kind == "copies" and y.size:
            assert set(y) == set(x)
        if kind == "pads":
            said = case.attribute("value") or 0.0  # in older opsets
            value = next((np.ravel(i)[0] for i in case.inputs[2:3] if i is not None and i.size), said)
            assert set(y) <= {*x, value}


@of(lambda t: t.window in ("window", "transposed"))
def test_a_window_sees_no_further(key):
    for case in cases_of(key):
        x, y = case.inputs[0], case.first()
        spatial = x.shape[2:]
        weights = TRAITS[key].weights
        kernel = case.attribute("kernel_shape") or case.inputs[weights.kernel].shape[2:]
        strides = case.attribute("strides") or [1] * len(spatial)
        dilations = case.attribute("dilations") or [1] * len(spatial)
        if case.node.input[0] not in case.data:
            continue
        for where, changed in changes(case, case.node.input[0], at_most=8):
            assert_none(np.delete(changed, where[0], axis=0), "another image")
            for axis, p in enumerate(where[2:]):
                seen = np.flatnonzero(changed.any(axis=tuple(a for a in range(y.ndim) if a != axis + 2)))
                if seen.size:
                    reach = (kernel[axis] - 1) * dilations[axis]
                    if TRAITS[key].window == "window":
                        reach //= strides[axis]
                    assert seen.max() - seen.min() <= reach
                    about = p / strides[axis] if TRAITS[key].window == "window" else p * strides[axis]
                    assert abs(seen - about).max() <= reach + max(kernel)


@of(lambda t: t.mixes in ("axis", "channels", "map", "reduced", "behind", "last"))
def test_mixing_stays_along_its_axes(key):
    kind = TRAITS[key].mixes
    for case in cases_of(key):
        name, y = case.node.input[0], case.first()
        if (
            name not in case.data
            or case.feeds[name].ndim < 2
            or (kind == "last" and len(case.data) > 1 and y.ndim < 2)
        ):
            continue
        rank = case.feeds[name].ndim
        axis = case.attribute("axis")
        if key.startswith("Cum"):
            axis = int(case.inputs[1])
        for where, changed in changes(case, name, at_most=8):
            if kind == "reduced":
                continue  # which axes are reduced is told by the shape, below
            if kind == "last":
                if case.attribute("transA") or any(case.attribute(f"trans{b}") for b in ("BatchA", "BatchB")):
                    continue
                kept = (
                    {rank - 2: y.ndim - 2}
                    if y.ndim >= 2 and rank >= 2 and np.ndim(case.inputs[1]) >= 2
                    else {}
                )
            else:
                said = (-1 if axis is None else axis) % rank
                mixed = {"axis": [said], "channels": [1], "map": range(2, rank), "behind": range(said, rank)}
                kept = {a: a for a in range(rank) if a not in mixed[kind]}
            if kind == "axis" and case.opset < 13 and key.endswith("max"):
                continue  # older ones flatten
            for a, b in kept.items():
                assert_none(np.delete(changed, where[a], axis=b), f"{key} along axis {a}")
        if kind == "reduced" and case.attribute("keepdims") and y.ndim == rank:
            assert all(m in (1, n) for m, n in zip(y.shape, case.feeds[name].shape, strict=True))


@of(lambda t: t.normalises == "input" and t.mixes in ("axis", "behind", "map", "groups"))
def test_what_normalises_takes_any_scale(key):
    for case in cases_of(key):
        x = case.feeds[case.data[0]] * 100  # beside which epsilon is nothing
        found = [case.first(**{case.data[0]: np.asarray(x * f, x.dtype)}) for f in (1, 4)]
        np.testing.assert_allclose(*found, rtol=2e-3, atol=2e-3)


@of(lambda t: t.normalises == "sum")
def test_what_normalises_a_sum_reads_the_sum(key):
    for case in cases_of(key):
        a, b = case.node.input[:2]
        swapped = case.first(**{a: case.feeds[b], b: case.feeds[a]})
        np.testing.assert_allclose(swapped, case.first(), rtol=1e-5, atol=1e-6)


@of(lambda t: t.per_channel)
def test_numbers_of_channels_are_as_many(key):
    for case in cases_of(key):
        assert all(i.shape == case.inputs[0].shape[1:2] for i in case.inputs[1:])


@of(lambda t: t.quantises)
def test_what_quantises_goes_to_integers_or_from_them(key):
    for case in cases_of(key):
        kind = case.first().dtype.kind
        assert (kind == "f") == (TRAITS[key].quantises == "from") or "float8" in str(case.model)


@of(lambda t: t.squashes)
def test_a_squashing_makes_probabilities(key):
    for case in cases_of(key):
        y = case.first().astype(float)
        y = y / 256 if key.startswith(MS) else np.exp(y) if key == "LogSoftmax" else y
        assert ((y >= 0) & (y <= 1 + 1e-6)).all()
        if TRAITS[key].squashes == "classes":
            axes = (case.attribute("axis") if case.attribute("axis") is not None else -1) % y.ndim
            axes = tuple(range(axes, y.ndim)) if case.opset < 13 else axes
            np.testing.assert_allclose(y.sum(axes), 1, atol=0.02 if key.startswith(MS) else 1e-5)


@of(lambda t: t.reads_sizes)
def test_sizes_say_nothing_of_values(key):
    for case in cases_of(key):
        np.testing.assert_array_equal(case.first(**{n: -x for n, x in case.feeds.items()}), case.first())


@of(lambda t: t.random)
def test_what_is_random_comes_out_otherwise(key):
    for case in cases_of(key):
        drawn_again = [case.first().tobytes() for _ in range(6)]
        assert len(set(drawn_again)) > 1 or case.attribute("seed") is not None


@of(lambda t: t.weights and not t.made_of)
def test_weights_stand_where_it_is_said(key):
    slots: Slots = TRAITS[key].weights
    for case in cases_of(key):
        given = dict(enumerate(case.node.input))
        kernel = given[slots.kernel]
        if kernel in case.data:
            doubled = case.first(**{kernel: 2 * case.feeds[kernel]}).astype(float)
            bias = given.get(slots.bias) if slots.bias is not None else ""
            none = case.first(**{kernel: 0 * case.feeds[kernel]}).astype(float)
            expected = 2 * case.first() - none  # linear in the kernel; what is left without it is the bias
            np.testing.assert_allclose(doubled, expected, rtol=1e-3, atol=1e-3)
            assert bias or not none.any()


@pytest.mark.parametrize("key", [k for k, t in TRAITS.items() if t.made_of])
def test_what_is_made_of_a_layer_has_its_body(key):
    assert TRAITS[TRAITS[key].made_of].weights
    assert TRAITS[TRAITS[key].made_of].window == TRAITS[key].window
    assert key in BODIES


@of(lambda t: t.stops)
def test_no_gradient_leads_through_what_stops_it(key):
    if key in ("Loop", "Scan", "If"):
        pytest.skip("graphs inside nodes: test_captured.py")
    for case in cases_of(key):
        model = type(case.model).FromString(case.model.SerializeToString())
        name = case.data[0]
        if TRAITS[key].step:
            found = run(
                gradient(model, wrt=name), {**case.feeds, f"seed/{case.node.output[0]}": case.first()}
            )
            assert not found[f"grad/{name}"].any()
        else:
            helper_node = helper.make_node("Cast", [case.node.output[0]], ["real"], to=TensorProto.FLOAT)
            model.graph.node.append(helper_node)
            del model.graph.output[:]
            model.graph.output.append(helper.make_tensor_value_info("real", TensorProto.FLOAT, None))
            try:
                found = run(gradient(model, of="real", wrt=name), {**case.feeds})
            except (NoRule, *NO_KERNEL, ValueError):
                continue
            assert not found[f"grad/{name}"].any()


def test_every_operator_of_which_something_is_known_exists():
    for key in TRAITS:
        domain, _, name = key.rpartition(":")
        assert domain or defs.has(name) or key in BODIES


def test_every_elementwise_rule_is_in_the_table():
    """Whatever depends on nothing but the same element is said to: the other direction, over all cases."""
    missing = set()
    for key, cases in tried().items():
        if (
            key in (*VJP, *BODIES)
            and not TRAITS.get(key, UNKNOWN).elementwise
            and all(map(is_diagonal, cases))
        ):
            missing.add(key)
    # Trilu takes what it hands on by where it stands.
    assert missing <= {"Trilu", "com.microsoft:Trilu", "ThresholdedRelu"}


def is_diagonal(case):
    name, y = case.node.input[0] if case.node.input else "", case.first()
    if name not in case.data or case.feeds[name].shape != y.shape or y.size < 2 or len(case.data) > 1:
        return False
    seen = list(changes(case, name))
    return any(c.any() for _, c in seen) and not any(
        np.delete(c.reshape(-1), np.ravel_multi_index(w, y.shape)).any() for w, c in seen
    )


# -- no other lists ----------------------------------------------------------------------------------------

MAX_LISTS = 6  # outside engine/operators, each with its reason beside it
NAMES = {schema.name for schema in defs.get_all_schemas_with_history()} | {
    k.rpartition(":")[2] for k in (*TRAITS, *BODIES)
}


def named_in(node):
    """The names of operators that a literal collection, or a comparison with several, holds."""
    if isinstance(node, ast.Dict):
        found = node.keys
    elif isinstance(node, ast.Set | ast.List | ast.Tuple):
        found = node.elts
    elif isinstance(node, ast.MatchOr):
        found = [p.value for p in node.patterns if isinstance(p, ast.MatchValue)]
    elif isinstance(node, ast.BoolOp):
        found = [
            c
            for v in node.values
            if isinstance(v, ast.Compare) and isinstance(v.ops[0], ast.Eq)
            for c in v.comparators
        ]
    else:
        return set()
    texts = [e.value for e in found if isinstance(e, ast.Constant) and isinstance(e.value, str)]
    return {t for t in texts if t.rpartition(":")[2] in NAMES}


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("{'Conv', 'Gemm'}", 2), ("('Conv', 'Gemm')", 2), ("{'Conv': 1, 'com.microsoft:Gelu': 2}", 2),
        ("x == 'Conv' or x == 'Gemm'", 2), ("{'Conv'}", 1), ("('conv', 'gemm')", 0),
    ],
)  # fmt: skip
def test_the_reader_of_lists_reads_them(code, count):
    assert len(named_in(ast.parse(code, mode="eval").body)) == count


def test_facts_about_operators_stand_in_one_table():
    found = []
    for name, path in modules().items():
        text = path.read_text()
        if name[:2] != ("engine", "operators"):
            for node in ast.walk(ast.parse(text)):
                if len(named_in(node)) > 1:
                    line = text.splitlines()[node.lineno - 2].strip()
                    found.append((f"{path.relative_to(ROOT)}:{node.lineno}", line))
    assert len(found) <= MAX_LISTS, found
    assert all(before.startswith("#") for _, before in found), found
