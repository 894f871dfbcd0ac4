"""The cases that rules and bodies are held against: ONNX's own, with new values, and what these lack.

ONNX's values sit on kinks and ties, so `redrawn` draws them anew. What its suite lacks is in HAND_MADE.
"""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
from onnx import TensorProto, checker, defs, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from oracles.differences import finite_names, float_names, in_double
from oracles.networks import single

from onnxlens.engine.graph.dataflow import IR_VERSION
from onnxlens.engine.graph.nodes import schema_of
from onnxlens.engine.operators.bodies import BODIES
from onnxlens.engine.operators.rules import VJP
from onnxlens.engine.operators.traits import has_gradient

# Where an operator is defined, or smooth: uniform between these, per input (the last for all that follow).
DOMAINS = {
    "Acos": [(-0.9, 0.9)],
    "Acosh": [(1.2, 3)],
    "Asin": [(-0.9, 0.9)],
    "Atanh": [(-0.9, 0.9)],
    "Clip": [(-2, 2), (-1.5, -0.5), (0.5, 1.5)],
    "BatchNormalization": [(-2, 2), (-2, 2), (-2, 2), (-2, 2), (0.5, 2)],
    "Div": [(-2, 2), (0.5, 2)],
    "LinearAttention": [(-2, 2), (-0.5, 0.5), (-2, 2), (-1, 1), (-1, 0), (0, 1)],
    "Log": [(0.5, 3)],
    "MaxPool": [(-1000, 1000)],  # so that no two of many are as near as a step
    "Pow": [(0.5, 2), (-2, 2)],
    "PRelu": [(-2, 2), (0.1, 2)],
    "Reciprocal": [(0.5, 2)],
    "ReduceLogSum": [(0.5, 2)],
    "Sqrt": [(0.5, 3)],
    "Tan": [(-1.2, 1.2)],
}
AS_GIVEN = {"roi", "scales"}  # of Resize, whose sizes jump with them: test_resize.py has their slopes
OPSET = 23  # the newest that every supported ONNX Runtime has
# Not defined in float64, or computed in float32 by their specification or by the reference.
SINGLE = {
    "Celu",
    "DequantizeLinear",
    "Gelu",
    "LayerNormalization",
    "MeanVarianceNormalization",
    "RotaryEmbedding",
}
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def redrawn(model, data):
    """The case's inputs, in float64 where the model is, with new values for those that have a gradient."""
    rng = np.random.default_rng(0)
    node = model.graph.node[0]
    schema = defs.get_schema(node.op_type, model.opset_import[0].version, node.domain)
    domains = DOMAINS.get(node.op_type, [(-2, 2)])
    feeds, wrt = {}, []
    for value, given in zip(model.graph.input, data, strict=True):
        name = value.name
        given = numpy_helper.to_array(given) if isinstance(given, TensorProto) else np.asarray(given)
        feeds[name] = given
        if name not in float_names([value]):
            continue
        index = list(node.input).index(name)
        elem = value.type.tensor_type.elem_type
        dtype = np.float64 if elem == DOUBLE else np.float32
        feeds[name] = given.astype(dtype)
        if (
            has_gradient(schema, index)
            and schema.inputs[min(index, len(schema.inputs) - 1)].name not in AS_GIVEN
        ):
            low, high = domains[min(index, len(domains) - 1)]
            feeds[name] = np.asarray(rng.uniform(low, high, given.shape), dtype)
            wrt.append(name)
    return feeds, wrt


# Operators without a slope, or whose cases are about the rounding of types (others are in HAND_MADE).
LEFT_OUT = {"Cast", "CastLike", "DynamicQuantizeLinear", "Bernoulli", "Range"}


def is_random(node):
    """True for a Dropout that may be in training: see test_dropout_in_training."""
    return node.op_type == "Dropout" and len(node.input) > 2


def posed(model, data):
    """A case as it is held against differences: model, inputs, `of` and `wrt`.

    In double precision where it is computed in that and answers with numbers, else as it stands. Which
    outputs have a slope is found by running it: those that are finite. `of` is empty where there is none.
    """
    for one in (model,) if _computed_in_single(model.graph.node[0]) else (in_double(model), model):
        feeds, wrt = redrawn(one, data)
        of = finite_names(one, feeds)
        if of:
            break
    return one, feeds, of, wrt


def _computed_in_single(node):
    """Whether the specification or the reference computes a node in float32, whatever it is given."""
    if node.op_type == "Attention":  # the reference does with a seventh input, the lengths of the keys
        return len(node.input) > 6 or any(
            a.name == "softmax_precision" and a.i == FLOAT for a in node.attribute
        )
    return node.op_type in SINGLE


def onnx_cases():
    """Model and inputs of ONNX's single-node cases of operators with a rule or with a function body."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        everything = collect_testcases(None)
    for case in everything:
        (node, *more), values = case.model.graph.node, case.model.graph
        if more or node.domain or node.op_type in LEFT_OUT or is_random(node):
            continue
        if not float_names(values.input) or not float_names(values.output):
            continue
        model = at_most(case.model, OPSET)
        if node.op_type == "Unique":  # as many as there are of these very numbers, which are drawn anew
            for size in (d for v in values.output for d in v.type.tensor_type.shape.dim):
                size.Clear()
        if node.op_type in VJP or node.op_type in BODIES or has_body(node, model):
            yield case.name.removeprefix("test_"), (model, case.data_sets[0][0])


def at_most(model, opset):
    """The model at this opset, where it is of a newer one but has no need to be."""
    model.ir_version = min(model.ir_version, IR_VERSION)
    own = model.opset_import[0].version
    if own > opset:
        model.opset_import[0].version = opset
        try:
            checker.check_model(model, full_check=True)
        except Exception:
            model.opset_import[0].version = own
    return model


def has_body(node, model):
    schema = schema_of(node.op_type, model.opset_import[0].version, node.domain)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


CASES = dict(onnx_cases())  # name: (model, inputs)


def resizes():
    """Resize in every mode and coordinate transformation, by scales and by sizes, up and down."""
    coordinates = [
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_crop_and_resize",
    ]  # fmt: skip
    for mode, where in product(("nearest", "linear", "cubic"), coordinates):
        roi = np.array([0, 0, 0.1, 0.2, 1, 1, 0.9, 0.7]) if where == "tf_crop_and_resize" else None
        for name, scales, sizes in [
            ("scales", np.array([1, 1, 1.7, 0.6], np.float32), None),
            ("sizes", None, [1, 2, 3, 7]),
        ]:
            yield (
                f"resize_{mode}_{where}_{name}",
                single(
                    "Resize", (1, 2, 4, 5), roi, scales, sizes, opset=19, mode=mode,
                    coordinate_transformation_mode=where,
                ),
            )  # fmt: skip
    for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        yield (
            f"resize_{nearest}",
            single("Resize", (1, 1, 4, 6), None, None, [1, 1, 6, 4], mode="nearest", nearest_mode=nearest),
        )
    for policy in ("stretch", "not_larger", "not_smaller"):
        yield (
            f"resize_{policy}",
            single(
                "Resize", (1, 2, 4, 6), None, None, [8, 9], dtype=FLOAT, axes=[2, 3], mode="linear",
                keep_aspect_ratio_policy=policy,
            ),
        )  # fmt: skip
    rounded = [
        ("linear", "half_pixel"), ("cubic", "half_pixel"), ("nearest", "half_pixel"),
        ("linear", "align_corners"), ("cubic", "asymmetric"),
    ]  # fmt: skip
    for (mode, where), policy in product(rounded, ("not_larger", "not_smaller")):
        yield (
            f"resize_{mode}_{where}_{policy}_rounded",
            single(
                "Resize", (1, 2, 5, 7), None, None, [8, 9], dtype=FLOAT, axes=[2, 3], mode=mode,
                coordinate_transformation_mode=where, keep_aspect_ratio_policy=policy,
            ),
        )  # fmt: skip
    small = np.array([0.6, 0.5], np.float32)
    for mode, outside in product(("linear", "cubic"), (0, 1)):
        yield (
            f"resize_antialias_{mode}_{outside}",
            single(
                "Resize", (1, 2, 6, 8), None, small, dtype=FLOAT, axes=[-2, -1], mode=mode, antialias=1,
                exclude_outside=outside,
            ),
        )  # fmt: skip
    yield (
        "resize_cubic_a",
        single(
            "Resize", (1, 1, 4, 4), None, None, [1, 1, 7, 6], mode="cubic", cubic_coeff_a=-0.5,
            exclude_outside=1,
        ),
    )  # fmt: skip
    yield "resize_1d", single("Resize", (2, 3, 5), None, None, [2, 3, 8], mode="linear")
    yield "resize_3d", single("Resize", (1, 1, 3, 4, 3), None, None, [1, 1, 5, 3, 4], mode="linear")
    yield (
        "upsample_9",
        single(
            "Upsample", (1, 2, 3, 3), np.array([1, 1, 2, 3], np.float32), opset=9, dtype=FLOAT, mode="linear"
        ),
    )


def samplings():
    """GridSample in every mode and padding, over two and three axes."""
    for mode, padding, corners in product(
        ("nearest", "linear", "cubic"), ("zeros", "border", "reflection"), (0, 1)
    ):
        name = f"gridsample_{mode}_{padding}_{corners}"
        how = {"mode": mode, "padding_mode": padding, "align_corners": corners}
        yield name, single("GridSample", (2, 2, 4, 5), (2, 3, 3, 2), opset=20, **how)
        if mode != "cubic":
            yield name + "_3d", single("GridSample", (1, 2, 3, 4, 3), (1, 2, 3, 2, 3), opset=20, **how)


def recurrences():
    """RNN, GRU and LSTM in each direction, layout, with lengths, states, clipping and other activations."""
    for name, gates in [("RNN", 1), ("GRU", 3),
                               ("LSTM", 4)]:  # fmt: skip
        other = {
            "RNN": ["Softsign"], "GRU": ["HardSigmoid", "Affine"], "LSTM": ["HardSigmoid", "Elu", "ScaledTanh"]  # noqa: E501
        }[name]  # fmt: skip
        numbers = {
            "RNN": ([], []), "GRU": ([0.3, 0.7], [0.4, 0.1]), "LSTM": ([0.3, 0.8, 1.2], [0.4, 0.6])
        }[name]  # fmt: skip
        for direction, layout, extra in product(("forward", "reverse", "bidirectional"), (0, 1), range(3)):
            count, out = (2 if direction == "bidirectional" else 1), (3 if name == "LSTM" else 2)
            x, state = ((2, 4, 3), (2, count, 2)) if layout else ((4, 2, 3), (count, 2, 2))
            inputs = [x, (count, gates * 2, 3), (count, gates * 2, 2)]
            attrs = {"direction": direction, "layout": layout, "hidden_size": 2}
            if extra:
                lengths = np.array([4, 2] if extra == 1 else [3, 4], np.int32)
                inputs += [(count, 2 * gates * 2), lengths, state]
                if name == "LSTM":
                    inputs += [state, (count, 3 * 2)]
                attrs["clip"] = 0.9
            if extra == 2:
                attrs |= {"activations": other * count, "activation_alpha": numbers[0] * count,
                          "activation_beta": numbers[1] * count}  # fmt: skip
                attrs |= {"linear_before_reset": 1} if name == "GRU" else {}
                attrs |= {"input_forget": 1} if name == "LSTM" else {}
            attrs = {k: v for k, v in attrs.items() if v != []}
            yield (
                f"{name.lower()}_{direction}_{layout}_{('plain', 'full', 'other')[extra]}",
                single(name, *inputs, opset=22, outputs=out, **attrs),
            )


def transposed():
    """ConvTranspose over one to three axes, with every way to say its padding."""
    for axes in (1, 2, 3):
        size, kernel = (4, 3, 2)[:axes], (3, 2, 2)[:axes]
        for name, group, attrs in [
            ("plain", 1, {}),
            ("strided", 1, {"strides": [2] * axes, "output_padding": [1] * axes, "pads": [1, 0, 0, 1, 0, 1][: 2 * axes]}),  # noqa: E501
            ("groups", 2, {"dilations": [2, 1, 2][:axes], "strides": [2, 2, 1][:axes]}),
            ("upper", 1, {"auto_pad": "SAME_UPPER", "strides": [2, 3, 1][:axes]}),
            ("lower", 1, {"auto_pad": "SAME_LOWER", "strides": [2, 1, 3][:axes]}),
            ("valid", 2, {"auto_pad": "VALID", "strides": [2] * axes}),
            ("shape", 1, {"output_shape": [8, 5, 3][:axes], "strides": [2] * axes}),
            ("larger", 1, {"output_shape": [10, 7, 5][:axes], "strides": [2, 2, 2][:axes]}),
        ]:  # fmt: skip
            yield (
                f"convtranspose_{axes}d_{name}",
                single("ConvTranspose", (2, 4, *size), (4, 2, *kernel), (2 * group,), group=group, **attrs),
            )


def with_indices(model):
    """The model, its second output of int64."""
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    return model


def scatters():
    for reduction in ("none", "add", "mul", "max", "min"):
        yield (
            f"scatterelements_{reduction}",
            single("ScatterElements", (3, 4), [[0, 2, 1], [3, 0, -1]], (2, 3), axis=1, reduction=reduction),
        )
        yield (
            f"scatternd_{reduction}",
            single("ScatterND", (3, 4), [[0], [2]], (2, 4), opset=18, reduction=reduction),
        )
        if reduction in ("add", "max", "min"):
            yield (
                f"scatterelements_{reduction}_repeated",
                single(
                    "ScatterElements", (3, 4), [[0, 0, 1], [3, 3, 3]], (2, 3), axis=1, reduction=reduction
                ),
            )
    yield "scatter_10", single("Scatter", (3, 4), [[0, 2, 1]], (1, 3), opset=10, axis=0)


def transforms():
    """DFT both ways, whole and one half, cut and filled, over each axis and at both spellings of it."""
    for opset, inverse, onesided, length in product((19, 20), (0, 1), (0, 1), (None, 4, 7)):
        shape = (2, 5, 3, 1) if onesided and not inverse else (2, 5, 3, 2)
        if inverse and onesided and length:  # of another number of bins the runtime has no right answer
            length = {19: {4: 4, 7: 5}, 20: {4: 8, 7: 9}}[opset][length]
        rest = [None if length is None else np.array(length)]
        how = {"inverse": inverse, "onesided": onesided}
        if opset == 20:
            rest.append(np.array(1 if length else -2))
        elif length:
            how["axis"] = 2
        yield f"dft_{opset}_{inverse}{onesided}_{length}", single("DFT", shape, *rest, opset=opset, **how)
    for name, onesided, length in (("whole", 0, None), ("half", 1, None), ("told", 1, np.array(4))):
        step, window = np.array(2), np.array([0.5, 1, 1, 0.5])
        yield f"stft_{name}", single("STFT", (2, 11, 1), step, window, length, onesided=onesided)


def losses():
    labels = np.array([[0, 2], [1, 3], [2, 2]])
    for reduction, ignored in product(("none", "sum", "mean"), (None, 2)):
        attrs = {"reduction": reduction} | ({} if ignored is None else {"ignore_index": ignored})
        weight = np.array([0.5, 1.0, 2.0, 0.7])
        for name in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"):
            label = f"{name.lower()}_{reduction}_{ignored}"
            yield label, single(name, (3, 4, 2), labels, **attrs)
            yield label + "_weights", single(name, (3, 4, 2), labels, weight, **attrs)


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
    "clip_bounds": single("Clip", (4, 5), (), ()),
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
    "pad_value": single("Pad", (2, 3), [1, -1, 0, 2], ()),
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
    "batchnorm_training": single(
        "BatchNormalization", (4, 3, 2), (3,), (3,), (3,), (3,), outputs=3, training_mode=1, momentum=0.7
    ),
    "batchnorm_training_rows": single(
        "BatchNormalization", (5, 3), (3,), (3,), (3,), (3,), outputs=3, training_mode=1, epsilon=0.1
    ),
    # Sums of products by letters.
    **{
        f"einsum_{i}": single("Einsum", *shapes, equation=equation)
        for i, (equation, *shapes) in enumerate(
            [
                ("ii->", (3, 3)),
                ("ii->i", (3, 3)),
                ("iij->j", (3, 3, 2)),
                ("ij->ji", (2, 3)),
                ("ij", (2, 3)),
                ("ba", (2, 3)),
                ("ij,jk", (2, 3), (3, 4)),
                ("ij,kl->", (2, 3), (4, 2)),
                ("ij,jk->k", (2, 3), (3, 4)),
                ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 2)),
                ("i...->...", (3, 2, 2)),
                ("bi,bj,bk->ijk", (2, 2), (2, 3), (2, 2)),
                ("i,i->", (4,), (4,)),
                ("ij,ij->ij", (2, 3), (2, 3)),
                ("...ii->...i", (2, 3, 3)),
            ]
        )
    },
    # Selecting, counting up, determinants.
    **{
        f"topk_{largest}{sorted_}": with_indices(
            single("TopK", (3, 6), [2], outputs=2, axis=1, largest=largest, sorted=sorted_)
        )
        for largest, sorted_ in product((0, 1), (0, 1))
    },
    **{
        f"{name.lower()}_{exclusive}{reverse}": single(
            name, (3, 4), np.array(1), opset=opset, exclusive=exclusive, reverse=reverse
        )
        for name, opset in (("CumSum", 14), ("CumProd", 26))
        for exclusive, reverse in product((0, 1), (0, 1))
    },
    "det_1": single("Det", (2, 1, 1)),
    "det_2": single("Det", (2, 2)),
    "det_4": single("Det", (2, 4, 4)),
    "det_pair": single("Det", (2, 2, 3, 3)),
    "trilu_upper": single("Trilu", (2, 3, 4), np.array(1), upper=1),
    "trilu_lower": single("Trilu", (3, 4), np.array(-1), upper=0),
    "col2im": single(
        "Col2Im", (1, 8, 12), [5, 6], [2, 2], dilations=[1, 2], pads=[0, 1, 0, 1], strides=[2, 1]
    ),
    "col2im_5x4": single("Col2Im", (2, 9, 12), [5, 6], [3, 3]),
    "maxunpool": single(
        "MaxUnpool", (1, 1, 2, 2), [[[[1, 3], [8, 14]]]], kernel_shape=[2, 2], strides=[2, 2]
    ),
    **{
        f"lppool_{p}_{name}": single("LpPool", (2, 2, 7, 6), kernel_shape=[3, 2], p=p, **attrs)
        for p in (1, 2, 3)
        for name, attrs in {
            "plain": {},
            "strided": {"strides": [2, 2], "pads": [1, 0, 0, 1]},
            "same": {"auto_pad": "SAME_UPPER"},
            "dilated": {"dilations": [2, 1]},
        }.items()
    },
    **{f"globallppool_{p}": single("GlobalLpPool", (2, 3, 4, 2), p=p) for p in (1, 2, 3)},
    "maxroipool": single(
        "MaxRoiPool",
        (2, 2, 6, 6),
        np.array([[0, 0, 0, 5, 5], [1, 1, 2, 4, 3.0]], np.float32),
        dtype=FLOAT,
        pooled_shape=[2, 2],
    ),
    "reduceprod": single("ReduceProd", (2, 3, 4), [1]),
    "reduceprod_all": single("ReduceProd", (2, 3), keepdims=0),
    **dict(resizes()),
    **dict(samplings()),
    **dict(recurrences()),
    **dict(transposed()),
    **dict(scatters()),
    **dict(losses()),
    **dict(transforms()),
}

# Where an input has a gradient here although the specification says that it has none, or the reverse.
DISAGREEMENTS = {
    ("AffineGrid", "theta"): "the grid is linear in it: spatial transformers learn it",
    ("CausalConvWithState", "past_state"): "the convolution runs over it as over the input",
    ("Clip", "min"): "it is the output, where the input lies below",
    ("Clip", "max"): "it is the output, where the input lies above",
    ("DFT", "input"): "the transform is linear in it",
    ("GRU", "initial_h"): "it is the first of the states",
    ("GridSample", "grid"): "between pixels the picture has a slope: spatial transformers need it",
    ("Hardmax", "input"): "called differentiable, but a step: the gradient is zero",
    ("LSTM", "initial_c"): "it is the first of the states",
    ("LSTM", "initial_h"): "it is the first of the states",
    ("LinearAttention", "past_state"): "it is the first of the states",
    ("Mod", "B"): "the remainder is a - b n, with n constant between its jumps",
    ("NegativeLogLikelihoodLoss", "weight"): "the loss is a sum weighted by it",
    ("OneHot", "values"): "they are the output, where it is on and off",
    ("Pad", "constant_value"): "it is the output, where there was no input",
    ("RNN", "initial_h"): "it is the first of the states",
    ("Resize", "roi"): "between pixels the picture has a slope: what crops learns where",
    ("Resize", "scales"): "between pixels the picture has a slope, where the sizes stay as they are",
    ("STFT", "signal"): "the transform is linear in it",
    ("STFT", "window"): "the pieces are multiplied by it",
    ("SoftmaxCrossEntropyLoss", "weights"): "the loss is a sum weighted by it",
    ("Unique", "X"): "what is found is handed on",
}

# Operators of which the specification calls an input differentiable.
SCOPE = {
    schema.name
    for schema in defs.get_all_schemas()
    if schema.domain == ""
    and any(
        i.differentiation_category == defs.OpSchema.DifferentiationCategory.Differentiable
        for i in schema.inputs
    )
}
