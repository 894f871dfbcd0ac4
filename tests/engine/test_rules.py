"""Every rule against central differences, in float64.

Most cases are ONNX's own, one node each, with their values drawn anew: the suite's values sit on kinks and
ties. What the suite lacks is in HAND_MADE.
"""

import warnings
from itertools import product

import numpy as np
import pytest
from onnx import TensorProto, checker, defs, helper
from onnx.backend.test.case.node import collect_testcases
from oracles.differences import assert_slopes, float_names, in_double
from oracles.networks import run, single

from onnxlens.engine.errors import NoRule
from onnxlens.engine.gradient import gradient
from onnxlens.engine.graph import IR_VERSION, schema_of
from onnxlens.engine.rules import VJP

# Where an operator is defined, or smooth: uniform between these, per input (the last for all that follow).
DOMAINS = {
    "Acos": [(-0.9, 0.9)],
    "Acosh": [(1.2, 3)],
    "Asin": [(-0.9, 0.9)],
    "Atanh": [(-0.9, 0.9)],
    "BatchNormalization": [(-2, 2), (-2, 2), (-2, 2), (-2, 2), (0.5, 2)],
    "Div": [(-2, 2), (0.5, 2)],
    "Log": [(0.5, 3)],
    "MaxPool": [(-1000, 1000)],  # so that no two of many are as near as a step
    "Pow": [(0.5, 2), (-2, 2)],
    "PRelu": [(-2, 2), (0.1, 2)],
    "Reciprocal": [(0.5, 2)],
    "ReduceLogSum": [(0.5, 2)],
    "Sqrt": [(0.5, 3)],
    "Tan": [(-1.2, 1.2)],
}
OPSET = 23  # the newest that every supported ONNX Runtime has
# Not defined in float64, or computed in float32 by their specification or by the reference.
SINGLE = {"Celu", "Gelu", "LayerNormalization", "MeanVarianceNormalization", "RotaryEmbedding"}
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def redrawn(model, data):
    """The case's inputs, in float64 where the model is, with new values for those that have a gradient."""
    rng = np.random.default_rng(0)
    node = model.graph.node[0]
    schema = defs.get_schema(node.op_type, model.opset_import[0].version, node.domain)
    domains = DOMAINS.get(node.op_type, [(-2, 2)])
    types = {value.type.tensor_type.elem_type for value in model.graph.input}
    dtype = np.float64 if DOUBLE in types else np.float32
    feeds, wrt = {}, []
    for value, given in zip(model.graph.input, data, strict=True):
        name, given = value.name, np.asarray(given)
        feeds[name] = given
        if name not in float_names([value]):
            continue
        index = list(node.input).index(name)
        slot = schema.inputs[min(index, len(schema.inputs) - 1)]
        feeds[name] = given.astype(dtype)
        if slot.differentiation_category != defs.OpSchema.DifferentiationCategory.NonDifferentiable:
            low, high = domains[min(index, len(domains) - 1)]
            feeds[name] = np.asarray(rng.uniform(low, high, given.shape), dtype)
            wrt.append(name)
    return feeds, wrt


# Operators without a slope, or whose cases are about the rounding of types (others are in HAND_MADE).
LEFT_OUT = {"Cast", "CastLike", "DynamicQuantizeLinear", "Bernoulli", "Range"}

# What has no slope: infinities and NaN among the outputs, random numbers.
IMPOSSIBLE = {
    "test_attention_23_boolmask_fullymasked_row_nan_robustness": "a row without a score",
    "test_attention_23_fullymasked_qk_matmul_output_mode3_zero": "a row without a score",
    "test_attention_24_fullymasked_qk_matmul_output_mode3_zero": "a row without a score",
    "test_attention_24_qk_matmul_output_mode3_softmax_precision": "a row without a score",
    "test_attention_causal_boolmask_nan_robustness": "a row without a score",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal": "masked scores of -inf",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal": "masked scores of -inf",
    "test_batchnorm_epsilon_training_mode": "refused, see test_training_mode_is_refused",
    "test_batchnorm_example_training_mode": "refused, see test_training_mode_is_refused",
    "test_reduce_log_sum_empty_set": "the logarithm of nothing",
    "test_reduce_log_sum_exp_empty_set": "the logarithm of nothing",
    "test_reduce_max_empty_set": "the maximum of nothing",
    "test_reduce_min_empty_set": "the minimum of nothing",
    "test_training_dropout": "refused, see test_training_mode_is_refused",
    "test_training_dropout_default": "refused, see test_training_mode_is_refused",
    "test_training_dropout_default_mask": "refused, see test_training_mode_is_refused",
    "test_training_dropout_mask": "refused, see test_training_mode_is_refused",
    "test_training_dropout_zero_ratio": "refused, see test_training_mode_is_refused",
    "test_training_dropout_zero_ratio_mask": "refused, see test_training_mode_is_refused",
}


def onnx_cases():
    """Model and inputs of ONNX's single-node cases of operators with a rule or with a function body."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        everything = collect_testcases(None)
    for case in everything:
        (node, *more), values = case.model.graph.node, case.model.graph
        if more or node.domain or node.op_type in LEFT_OUT or case.name in IMPOSSIBLE:
            continue
        if not float_names(values.input) or not float_names(values.output):
            continue
        model = at_most(case.model, OPSET)
        if model is not None and (node.op_type in VJP or has_body(node, model)):
            yield pytest.param(model, case.data_sets[0][0], id=case.name.removeprefix("test_"))


def at_most(model, opset):
    """The model, at most of this opset; None where its operator is newer."""
    model.ir_version = min(model.ir_version, IR_VERSION)
    if model.opset_import[0].version > opset:
        model.opset_import[0].version = opset
        try:
            checker.check_model(model, full_check=True)
        except Exception:
            return None
    return model


def has_body(node, model):
    schema = schema_of(node.op_type, model.opset_import[0].version, node.domain)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


CASES = list(onnx_cases())


@pytest.mark.parametrize(("model", "data"), CASES)
def test_onnx_case(model, data):
    if model.graph.node[0].op_type not in SINGLE:
        model = in_double(model)
    feeds, wrt = redrawn(model, data)
    assert_slopes(model, feeds, float_names(model.graph.output), wrt)


def types_of(model):
    return {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}


# In 16 bits the inside is made float32 (test_widen.py), where kernels may round otherwise.
AS_THEY_ARE = [
    c for c in CASES if not {TensorProto.FLOAT16, TensorProto.BFLOAT16} & {*types_of(c.values[0]).values()}
]


@pytest.mark.parametrize(("model", "data"), AS_THEY_ARE)
def test_onnx_case_on_onnx_runtime(model, data):
    """In its own types: the runtime takes the gradient graph, and answers what it answered before."""
    feeds, wrt = redrawn(model, data)
    types = {name: helper.tensor_dtype_to_np_dtype(elem) for name, elem in types_of(model).items()}
    feeds = {name: value.astype(types[name]) for name, value in feeds.items()}
    try:
        expected = run(model, feeds)
    except Exception:
        pytest.skip("ONNX Runtime has no kernel for the case itself")
    of = float_names(model.graph.output)
    found = run(
        gradient(model, of=of, wrt=wrt),
        feeds | {f"seed/{name}": np.ones(expected[name].shape, types[name]) for name in of},
    )
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    for name in wrt:
        assert found[f"grad/{name}"].shape == feeds[name].shape
        assert found[f"grad/{name}"].dtype == feeds[name].dtype
        assert np.isfinite(found[f"grad/{name}"]).all()


# Name: a model of one node; inputs are drawn from DOMAINS.
HAND_MADE = {
    # Broadcasting, both ways.
    "add_row": single("Add", (3, 4), (4,)),
    "add_column": single("Add", (3, 1), (2, 3, 4)),
    "add_scalar": single("Add", (2, 3), ()),
    "add_outer": single("Add", (3, 1), (1, 4)),
    "mul_outer": single("Mul", (2, 1, 4), (3, 1)),
    "sub_ones": single("Sub", (1, 1, 1), (2, 3)),
    "div_column": single("Div", (3, 4), (3, 1)),
    "div_by_larger": single("Div", (4,), (2, 3, 4)),
    "pow_of_scalar": single("Pow", (), (2, 3)),
    "pow_by_scalar": single("Pow", (2, 3), ()),
    "pow_of_negative": single("Pow", (2, 3), np.array(3.0)),
    "pow_whole": single("Pow", (2, 3), np.array([1, 2, 3])),
    "pow_half": single("Pow", (2, 3), np.array(0.5)),
    "prelu_channel": single("PRelu", (2, 3, 4, 4), (3, 1, 1)),
    "prelu_shared": single("PRelu", (2, 3, 4, 4), (1,)),
    "where_broadcast": single("Where", [[True], [False]], (3,), (2, 1)),
    "where_scalar": single("Where", [[True, False, True]], (), (2, 3)),
    "max_broadcast": single("Max", (3, 1), (1, 4), (2, 1, 1)),
    "min_broadcast": single("Min", (3, 1), (4,)),
    "max_one": single("Max", (3, 4)),
    "sum_broadcast": single("Sum", (3, 1), (4,), (2, 3, 4)),
    "sum_one": single("Sum", (3, 4)),
    "mean_broadcast": single("Mean", (3, 1), (4,), (2, 3, 4)),
    "expand_to_more": single("Expand", (3, 1), [2, 1, 4]),
    "expand_to_fewer": single("Expand", (2, 3, 1), [4]),
    # Elements.
    "cast": single("Cast", (2, 3), to=TensorProto.DOUBLE),
    "castlike": single("CastLike", (2, 3), np.zeros(1)),
    "clip": single("Clip", (4, 5), np.array(-0.5), np.array(1.0)),
    "clip_below": single("Clip", (4, 5), np.array(-0.5)),
    "clip_above": single("Clip", (4, 5), None, np.array(0.5)),
    "clip_6": single("Clip", (4, 5), opset=6, dtype=FLOAT, min=-0.5, max=1.0),
    "elu_alpha": single("Elu", (4, 5), alpha=0.7),
    "selu": single("Selu", (4, 5), alpha=1.3, gamma=0.8),
    "leaky": single("LeakyRelu", (4, 5), alpha=0.3),
    "leaky_negative": single("LeakyRelu", (4, 5), alpha=-0.3),
    "elu_negative": single("Elu", (4, 5), alpha=-0.7),
    "hardsigmoid": single("HardSigmoid", (6, 6), alpha=0.9, beta=0.3),
    "thresholded": single("ThresholdedRelu", (4, 5), alpha=0.4),
    "dropout_7": single("Dropout", (4, 5), opset=7),
    "softmax_middle": single("Softmax", (2, 3, 4), axis=1),
    "softmax_first": single("Softmax", (2, 3, 4), axis=0),
    "softmax_flattening": single("Softmax", (2, 3, 4), opset=11, axis=1),
    "logsoftmax_middle": single("LogSoftmax", (2, 3, 4), axis=-2),
    "logsoftmax_flattening": single("LogSoftmax", (2, 3, 4), opset=9),
    # Matrix products.
    "matmul": single("MatMul", (3, 4), (4, 5)),
    "matmul_dot": single("MatMul", (4,), (4,)),
    "matmul_row": single("MatMul", (4,), (4, 5)),
    "matmul_column": single("MatMul", (3, 4), (4,)),
    "matmul_row_stack": single("MatMul", (4,), (2, 4, 5)),
    "matmul_stack_column": single("MatMul", (2, 3, 4), (4,)),
    "matmul_stack_shared": single("MatMul", (2, 3, 4), (4, 5)),
    "matmul_shared_stack": single("MatMul", (3, 4), (2, 4, 5)),
    "matmul_outer_stacks": single("MatMul", (2, 1, 3, 4), (5, 4, 2)),
    **{
        f"gemm_{ta}{tb}_{alpha}_{beta}_{'x'.join(map(str, c)) if c is not None else 'none'}": single(
            "Gemm",
            (4, 3) if ta else (3, 4),
            (5, 4) if tb else (4, 5),
            c,
            transA=ta,
            transB=tb,
            alpha=alpha,
            beta=beta,
        )
        for ta, tb in product((0, 1), (0, 1))
        for alpha, beta, c in [(1.0, 1.0, (5,)), (0.5, 2.0, (3, 1)), (-2.0, 0.3, (1,)), (1.0, 1.0, None)]
    },
    # Convolutions, with respect to image, kernel and bias.
    "conv_1d": single("Conv", (2, 3, 9), (4, 3, 3), (4,), strides=[2], pads=[1, 0]),
    "conv_2d": single("Conv", (2, 3, 6, 5), (4, 3, 3, 2), (4,)),
    "conv_3d": single(
        "Conv", (1, 2, 4, 5, 4), (3, 2, 2, 3, 2), (3,), strides=[1, 2, 1], pads=[0, 1, 0, 1, 0, 1]
    ),
    "conv_strides": single("Conv", (2, 2, 8, 7), (3, 2, 3, 3), strides=[2, 3]),
    "conv_rest": single("Conv", (1, 2, 8, 9), (2, 2, 2, 3), strides=[3, 4]),
    "conv_large_stride": single("Conv", (1, 2, 9, 9), (2, 2, 1, 2), strides=[4, 3], pads=[1, 0, 0, 1]),
    "conv_dilations": single("Conv", (1, 2, 9, 8), (3, 2, 3, 2), (3,), dilations=[2, 3], pads=[1, 2, 0, 1]),
    "conv_dilated_strides": single("Conv", (1, 2, 11, 9), (3, 2, 3, 2), dilations=[2, 3], strides=[2, 2]),
    "conv_groups": single(
        "Conv", (2, 4, 6, 6), (6, 2, 3, 3), (6,), group=2, strides=[2, 1], pads=[1, 1, 1, 1]
    ),
    "conv_depthwise": single(
        "Conv", (2, 3, 6, 6), (3, 1, 3, 3), (3,), group=3, strides=[2, 2], pads=[0, 1, 1, 0]
    ),
    "conv_multiplier": single("Conv", (1, 2, 5, 5), (6, 1, 2, 2), group=2, dilations=[2, 1]),
    "conv_pointwise": single("Conv", (2, 3, 4, 4), (5, 3, 1, 1), (5,)),
    "conv_whole": single("Conv", (2, 3, 4, 4), (5, 3, 4, 4), (5,)),
    "conv_same_upper": single("Conv", (1, 2, 7, 6), (3, 2, 4, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv_same_lower": single("Conv", (1, 2, 7, 6), (3, 2, 4, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv_same_dilated": single("Conv", (1, 2, 7, 6), (3, 2, 2, 2), auto_pad="SAME_UPPER", dilations=[2, 2]),
    "conv_valid": single("Conv", (1, 2, 7, 6), (3, 2, 4, 3), auto_pad="VALID", strides=[2, 2]),
    "conv_opset_7": single("Conv", (1, 2, 7, 6), (3, 2, 3, 3), (3,), opset=7, pads=[1, 1, 1, 1]),
    # Pools.
    "maxpool_overlap": single("MaxPool", (2, 2, 7, 7), kernel_shape=[3, 3], strides=[2, 2]),
    "maxpool_1d": single("MaxPool", (2, 2, 9), kernel_shape=[3], strides=[2], pads=[1, 1]),
    "maxpool_3d": single("MaxPool", (1, 2, 5, 4, 5), kernel_shape=[2, 2, 3], strides=[2, 1, 2]),
    "maxpool_ceil": single("MaxPool", (1, 2, 8, 7), kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1),
    "maxpool_ceil_pads": single(
        "MaxPool", (1, 2, 8, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 0, 1, 1]
    ),
    "maxpool_dilations": single("MaxPool", (1, 2, 8, 9), kernel_shape=[3, 2], dilations=[2, 3]),
    "maxpool_same_upper": single(
        "MaxPool", (1, 2, 8, 7), kernel_shape=[3, 4], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "maxpool_same_lower": single(
        "MaxPool", (1, 2, 8, 7), kernel_shape=[3, 4], strides=[2, 2], auto_pad="SAME_LOWER"
    ),
    "maxpool_column_major": single("MaxPool", (1, 2, 6, 5), kernel_shape=[2, 2], storage_order=1),
    "maxpool_opset_8": single("MaxPool", (1, 2, 6, 6), opset=8, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "averagepool_overlap": single("AveragePool", (2, 2, 7, 7), kernel_shape=[3, 3], strides=[2, 2]),
    "averagepool_1d": single("AveragePool", (2, 2, 9), kernel_shape=[3], strides=[2], pads=[1, 1]),
    "averagepool_3d": single("AveragePool", (1, 2, 5, 4, 5), kernel_shape=[2, 2, 3], strides=[2, 1, 2]),
    "averagepool_rest": single("AveragePool", (1, 2, 9, 8), kernel_shape=[2, 3], strides=[3, 4]),
    "averagepool_pads": single("AveragePool", (1, 2, 6, 5), kernel_shape=[3, 2], pads=[1, 0, 2, 1]),
    "averagepool_counting": single(
        "AveragePool", (1, 2, 6, 5), kernel_shape=[3, 2], pads=[1, 0, 2, 1], count_include_pad=1
    ),
    "averagepool_ceil": single("AveragePool", (1, 2, 8, 7), kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1),
    "averagepool_ceil_pads": single(
        "AveragePool", (1, 2, 8, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 0, 1, 1]
    ),
    "averagepool_ceil_counting": single(
        "AveragePool",
        (1, 2, 8, 8),
        opset=19,
        kernel_shape=[3, 3],
        strides=[2, 2],
        ceil_mode=1,
        pads=[1, 0, 0, 1],
        count_include_pad=1,
    ),
    "averagepool_dilations": single(
        "AveragePool", (1, 2, 8, 9), opset=19, kernel_shape=[3, 2], dilations=[2, 3]
    ),
    "averagepool_same_upper": single(
        "AveragePool", (1, 2, 8, 7), kernel_shape=[3, 4], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "averagepool_same_lower": single(
        "AveragePool", (1, 2, 8, 7), kernel_shape=[3, 4], strides=[2, 2], auto_pad="SAME_LOWER"
    ),
    "globalaveragepool_1d": single("GlobalAveragePool", (2, 3, 5)),
    "globalmaxpool_3d": single("GlobalMaxPool", (2, 3, 2, 3, 2)),
    # Moving elements.
    "slice": single("Slice", (5, 6), [1, -5], [4, -1]),
    "slice_steps": single("Slice", (7, 8), [1, 0], [100, 100], [0, 1], [2, 3]),
    "slice_backwards": single("Slice", (7, 8), [-1, 6], [-100, 1], [1, 0], [-2, -1]),
    "slice_empty": single("Slice", (3, 4), [2], [2], [1]),
    "slice_9": single("Slice", (5, 6), opset=9, starts=[1], ends=[-1], axes=[1]),
    "pad_constant": single("Pad", (2, 3), [1, 0, 0, 2], np.array(1.5)),
    "pad_cutting": single("Pad", (4, 5), [-1, 1, 2, -2]),
    "pad_axes": single("Pad", (2, 3, 4), [1, 2], None, [-1]),
    "pad_reflect": single("Pad", (3, 4), [2, 1, 1, 3], mode="reflect"),
    "pad_edge": single("Pad", (3, 4), [2, 0, 1, 3], mode="edge"),
    "pad_wrap": single("Pad", (3, 4), [2, 0, 1, 3], opset=19, mode="wrap"),
    "pad_2": single("Pad", (2, 3), opset=2, dtype=FLOAT, pads=[1, 0, 0, 2], value=0.5),
    "gather_repeated": single("Gather", (4, 3), [[0, 2, 2], [-1, 0, 0]]),
    "gather_axis": single("Gather", (4, 3), [1, 1, -3], axis=1),
    "gather_scalar": single("Gather", (4, 3), np.array(2)),
    "gather_elements_repeated": single("GatherElements", (3, 3), [[0, 0, 2], [1, 0, -1]], axis=0),
    "gather_nd_repeated": single("GatherND", (3, 4), [[0, 1], [2, 2], [0, 1]]),
    "gather_nd_batch": single("GatherND", (2, 3, 4), [[1], [0]], batch_dims=1),
    "concat_one": single("Concat", (2, 3), axis=0),
    "concat_three": single("Concat", (2, 1, 3), (2, 4, 3), (2, 2, 3), axis=-2),
    "split_sizes": single("Split", (2, 7), [3, 0, 4], outputs=3, axis=1),
    "split_number": single("Split", (7, 2), outputs=3, num_outputs=3),
    "split_11": single("Split", (2, 7), opset=11, outputs=2, axis=-1, split=[3, 4]),
    "tile": single("Tile", (2, 3), [2, 3]),
    "transpose_default": single("Transpose", (2, 3, 4)),
    "transpose_cycle": single("Transpose", (2, 3, 4, 5), perm=[2, 0, 3, 1]),
    "reshape_copy": single("Reshape", (2, 3, 4), [0, -1]),
    "flatten_end": single("Flatten", (2, 3, 4), axis=3),
    "squeeze_all": single("Squeeze", (1, 3, 1)),
    "squeeze_negative": single("Squeeze", (1, 3, 1), [-1]),
    "squeeze_11": single("Squeeze", (1, 3, 1), opset=11, axes=[0]),
    "unsqueeze": single("Unsqueeze", (2, 3), [0, -1]),
    "unsqueeze_11": single("Unsqueeze", (2, 3), opset=11, axes=[1]),
    "depth_to_space_dcr": single("DepthToSpace", (2, 8, 2, 3), blocksize=2, mode="DCR"),
    "depth_to_space_crd": single("DepthToSpace", (2, 8, 2, 3), blocksize=2, mode="CRD"),
    "space_to_depth": single("SpaceToDepth", (2, 2, 4, 6), blocksize=2),
    # Reductions.
    **{
        f"{name}_{label}".lower(): single(name, (2, 3, 4), axes, **attributes)
        for name in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
        for label, axes, attributes in [
            ("all", None, {}),
            ("all_flat", None, {"keepdims": 0}),
            ("noop", None, {"noop_with_empty_axes": 1}),
            ("none", np.zeros(0, np.int64), {"noop_with_empty_axes": 1}),
            ("empty", np.zeros(0, np.int64), {}),
            ("empty_flat", np.zeros(0, np.int64), {"keepdims": 0}),
            ("middle", [1], {}),
            ("ends_flat", [-1, 0], {"keepdims": 0}),
        ]
    },
    "reducesum_11": single("ReduceSum", (2, 3, 4), opset=11, axes=[1], keepdims=0),
    "reducemean_13": single("ReduceMean", (2, 3, 4), opset=13, axes=[-1, 0], keepdims=0),
    "reducemax_12": single("ReduceMax", (2, 3, 4), opset=12, axes=[1]),
    # Normalisations.
    "lrn": single("LRN", (2, 7, 3, 2), size=3, alpha=0.3, beta=0.75, bias=1.2),
    "lrn_even": single("LRN", (2, 7, 3, 2), size=4, alpha=0.3, beta=0.6, bias=0.9),
    "lrn_wide": single("LRN", (2, 3, 2, 2), size=9, alpha=0.5),
    "batchnorm": single("BatchNormalization", (2, 3, 4, 2), (3,), (3,), (3,), (3,), epsilon=0.1),
    "batchnorm_1d": single("BatchNormalization", (4, 3), (3,), (3,), (3,), (3,)),
    "batchnorm_7": single("BatchNormalization", (2, 3, 4), (3,), (3,), (3,), (3,), opset=7),
}


@pytest.mark.parametrize("model", [pytest.param(m, id=name) for name, m in HAND_MADE.items()])
def test_hand_made_case(model):
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    feeds, wrt = redrawn(model, [np.zeros(shape) for shape in shapes])
    assert_slopes(model, feeds, float_names(model.graph.output), wrt)


def test_every_rule_is_held_against_differences():
    models = [case.values[0] for case in CASES] + list(HAND_MADE.values())
    assert set(VJP) <= {model.graph.node[0].op_type for model in models}


def test_the_number_of_cases_is_what_it_was(record_property):
    """A suite that shrinks in silence would test nothing."""
    record_property("cases", len(CASES) + len(HAND_MADE))
    assert len(CASES) >= 400
    assert len(HAND_MADE) >= 150


@pytest.mark.parametrize(
    "model",
    [
        single("BatchNormalization", (2, 3), (3,), (3,), (3,), (3,), outputs=3, training_mode=1),
        single("Dropout", (2, 3), np.array(0.5, np.float32), np.array(True)),
    ],
    ids=["batchnorm", "dropout"],
)
def test_training_mode_is_refused(model):
    with pytest.raises(NoRule, match="makes 'y0' is in training mode"):
        gradient(model, of="y0", wrt="x0")
