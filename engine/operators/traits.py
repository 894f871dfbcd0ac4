"""What is so of each operator, whatever it is given: one table of facts, which all others ask.

    traits_of(node).elementwise          one node
    having(lambda t: t.rectifies)        the keys of all operators of which something is so

A fact that is not in the table is not known, and whoever asks takes the careful way. What depends on a node's
attributes or on its other inputs (an axis, a mode) is no trait: that is asked of the node. `tests/engine/
test_traits.py` runs the operators and holds each fact against what they do.

To add an operator, add a row; an operator of the same facts as another stands in its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, pi
from typing import Literal

from onnx import NodeProto, defs

from ..graph.nodes import is_differentiable


@dataclass(frozen=True)
class Slots:
    """Which inputs of a layer hold its kernel, the scale and zero point of that, and a bias of real numbers.

    `packed`: several numbers share a byte.
    """

    kernel: int = 1
    scale: int | None = None
    zero: int | None = None
    bias: int | None = None
    packed: bool = False


@dataclass(frozen=True)
class Traits:
    """The facts about an operator. Data are the inputs that it works on; the others are its parameters."""

    # "alone": an element depends on the same one of the first input; "together": of all, broadcast. At all
    # positions alike.
    elementwise: Literal["", "alone", "together"] = ""
    activates: bool = False  # a nonlinearity between layers, which a linear network would not have
    rectifies: bool = False  # the identity, but flat below a bound: a gate on the backward pass
    rises: bool = False  # never falls where its input rises
    even: bool = False  # the same for x and -x
    range: tuple[float, float] | None = None  # between which all its numbers lie
    truth: bool = False  # gives True or False
    step: bool = False  # flat wherever it does not jump
    infinities: Literal["", "makes", "stops"] = ""  # makes them of finite numbers; hands none on
    # "sum": affine in all data at once; "product": in each factor, the others held (Div: the first alone).
    linear: Literal["", "sum", "product"] = ""
    # Each position looks at a window of a map, at what windows reach it from, or at its neighbours in a map
    # of another size.
    window: Literal["", "window", "transposed", "resized"] = ""
    pools: bool = False  # makes one number of several: their mean, sum, largest, smallest or norm
    hull: bool = False  # none of its numbers lies outside those of its data
    reshapes: bool = False  # hands on every element in its order, in another shape or type at most
    # Every element is one of the data (or a constant): in their order, with axes exchanged, in blocks of
    # pixels, some of them, several times, joined, with a border, or one of two.
    moves: Literal["", "order", "axes", "blocks", "selects", "copies", "joins", "pads", "chooses"] = ""
    # Which elements meet beside those of a window: all along an axis that the node names, neighbours among
    # the channels, all from an axis on, groups of channels, a whole map, axes that are reduced, the last axis
    # times a matrix; or axes cannot be followed through it.
    mixes: Literal["", "axis", "channels", "behind", "groups", "map", "reduced", "last", "any"] = ""
    channels: int | None = None  # the axis of the channels of its first input and output
    normalises: Literal["", "input", "sum"] = ""  # its first input, or the sum of its first two
    per_channel: bool = False  # inputs 1 and more hold a number for each channel
    quantises: Literal["", "to", "from"] = ""  # to integers that stand for reals, or from them
    squashes: Literal["", "classes", "labels"] = ""  # scores to (logarithms of) probabilities
    recurs: bool = False  # goes through a sequence step by step, each reading those before it
    attends: bool = False  # attention, or the softmax in the middle of one that is written out
    finds: Literal["", "things", "ranks"] = ""  # an entry for each thing that is found, or for each rank
    weights: Slots | None = None  # of a layer with weights
    made_of: str = ""  # the layer that a fused or integer one computes
    reads_sizes: bool = False  # of its input the shape alone
    random: bool = False
    # One of the graphs inside it, or the one there is again and again, or for each element of a sequence.
    runs: Literal["", "one", "again", "each"] = ""
    stops: str = ""  # why no gradient leads through it
    smooth: tuple[str, ...] = ()  # inputs that change the output smoothly, though the specification denies it
    # ONNX Runtime's CPU kernels give blocks of channels always, or where all inputs lie in blocks.
    blocks: Literal["", "makes", "keeps"] = ""


UNKNOWN = Traits()
_IN_TRAINING = Traits(normalises="input", channels=1)  # each channel over the whole batch
MS = "com.microsoft:"
_UNIT, _POSITIVE = (0.0, 1.0), (0.0, inf)
_POSITIONS = "gives positions, which do not change by a little"
_STEP = "is a step: its gradient is zero"


def _rows(names: str, **facts: object) -> dict[str, Traits]:
    """One row for several operators."""
    return dict.fromkeys(names.split(), Traits(**facts))  # type: ignore[arg-type]


def _alone(names: str, **facts: object) -> dict[str, Traits]:
    return _rows(names, elementwise="alone", **facts)


def _together(names: str, **facts: object) -> dict[str, Traits]:
    return _rows(names, elementwise="together", **facts)


_ELEMENTWISE = {
    **_alone("Identity", reshapes=True, rises=True, linear="sum", hull=True, blocks="keeps"),
    **_alone("Dropout", reshapes=True, rises=True, linear="sum", hull=True),
    **_alone("Cast CastLike", reshapes=True),
    **_alone("Neg", linear="sum"),
    **_alone("Abs", even=True, range=_POSITIVE),
    **_alone("Exp", rises=True, range=_POSITIVE, infinities="makes"),
    **_alone("Log", rises=True, infinities="makes"),
    **_alone("Sqrt", rises=True, range=_POSITIVE),
    **_alone("Reciprocal", infinities="makes"),
    **_alone("Sin", range=(-1.0, 1.0)),
    **_alone("Cos", range=(-1.0, 1.0), even=True),
    **_alone("Tan Acosh"),
    **_alone("Asin Atan", rises=True, range=(-pi / 2, pi / 2)),
    **_alone("Acos", range=(0.0, pi)),
    **_alone("Asinh", rises=True),
    **_alone("Sinh Atanh", rises=True, infinities="makes"),
    **_alone("Cosh", even=True, range=(1.0, inf), infinities="makes"),
    **_alone("Erf", rises=True, range=(-1.0, 1.0), infinities="stops"),
    **_alone("Floor Ceil Round", rises=True, step=True, stops=_STEP),
    **_alone("Sign", rises=True, step=True, range=(-1.0, 1.0), stops=_STEP),
    **_alone("Not IsNaN IsInf", truth=True, range=_UNIT),
    **_together("Add Sum", linear="sum", blocks="keeps"),
    **_together(f"{MS}BiasAdd", linear="sum"),
    **_together("Sub", linear="sum"),
    **_together("Mean", linear="sum", hull=True),
    **_together("Mul", linear="product", blocks="keeps"),
    **_together("Div", linear="product", infinities="makes"),
    **_together("Pow", infinities="makes"),
    **_together("Mod", smooth=("B",)),
    **_together("Max Min", hull=True),
    **_together("Where", moves="chooses", hull=True),
    **_together("Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor", truth=True, range=_UNIT),
    **_together(f"{MS}QLinearAdd {MS}QLinearMul {MS}QLinearWhere"),
}

_ACTIVATIONS = {
    **_alone("Relu", activates=True, rectifies=True, rises=True, range=_POSITIVE, blocks="keeps"),
    **_alone("Clip", activates=True, rectifies=True, rises=True, smooth=("min", "max")),
    **_alone("ThresholdedRelu", activates=True, rectifies=True),
    **_alone(f"LeakyRelu Elu Celu Selu Gelu HardSwish Swish Mish {MS}Gelu {MS}FastGelu", activates=True),
    **_alone(f"{MS}QuickGelu {MS}QLinearLeakyRelu", activates=True),
    **_together(f"PRelu {MS}BiasGelu", activates=True),
    **_alone("Sigmoid", activates=True, rises=True, range=_UNIT, squashes="labels", infinities="stops",
             blocks="keeps"),
    **_alone("HardSigmoid", activates=True, range=_UNIT, squashes="labels", infinities="stops",
             blocks="keeps"),
    **_alone(f"{MS}QLinearSigmoid", activates=True, rises=True, range=_UNIT, squashes="labels"),
    **_alone("Tanh", activates=True, rises=True, range=(-1.0, 1.0), infinities="stops", blocks="keeps"),
    **_alone("Softplus", activates=True, rises=True, range=_POSITIVE),
    **_alone("Softsign", activates=True, rises=True, range=(-1.0, 1.0)),
    **_rows("Softmax", mixes="axis", range=_UNIT, squashes="classes", attends=True, infinities="stops"),
    **_rows(f"{MS}QLinearSoftmax", mixes="axis", range=_UNIT, squashes="classes", attends=True),
    **_rows("LogSoftmax", mixes="axis", range=(-inf, 0.0), squashes="classes"),
    **_rows("Hardmax", mixes="axis", range=_UNIT, step=True, stops=_STEP),
    **_rows(f"Attention {MS}Attention {MS}MultiHeadAttention {MS}QAttention "
            f"{MS}GroupQueryAttention", attends=True),
}  # fmt: skip

_LAYERS = {
    **_rows("Conv", window="window", linear="product", channels=1, weights=Slots(bias=2), blocks="makes"),
    **_rows("ConvTranspose", window="transposed", linear="product", channels=1, weights=Slots(bias=2)),
    **_rows("DeformConv", channels=1, weights=Slots(bias=3)),
    **_rows(f"{MS}FusedConv", window="window", channels=1, weights=Slots(bias=2), made_of="Conv"),
    **_rows(
        f"{MS}NhwcConv {MS}NhwcFusedConv", window="window", channels=-1, weights=Slots(bias=2), made_of="Conv"
    ),
    **_rows("ConvInteger", window="window", channels=1, weights=Slots(zero=3), made_of="Conv"),
    **_rows(
        f"QLinearConv {MS}QLinearConv", window="window", channels=1, weights=Slots(3, 4, 5), made_of="Conv"
    ),
    **_rows("Gemm", mixes="last", linear="product", weights=Slots(bias=2)),
    **_rows(f"{MS}FusedGemm", mixes="last", weights=Slots(bias=2), made_of="Gemm"),
    **_rows(f"{MS}QGemm", mixes="last", weights=Slots(3, 4, 5), made_of="Gemm"),
    **_rows("MatMul", mixes="last", linear="product", weights=Slots()),
    **_rows(f"{MS}FusedMatMul {MS}TransposeMatMul", mixes="last", weights=Slots(), made_of="MatMul"),
    **_rows(f"{MS}GemmFastGelu", mixes="last", weights=Slots(bias=2), made_of="MatMul"),
    **_rows("QLinearMatMul", mixes="last", weights=Slots(3, 4, 5), made_of="MatMul"),
    **_rows("MatMulInteger", mixes="last", weights=Slots(zero=3), made_of="MatMul"),
    **_rows(f"{MS}MatMulIntegerToFloat", mixes="last", weights=Slots(1, 3, 5, 6), made_of="MatMul"),
    **_rows(f"{MS}DynamicQuantizeMatMul", mixes="last", weights=Slots(1, 2, 3, 4), made_of="MatMul"),
    **_rows(f"{MS}MatMulNBits", mixes="last", weights=Slots(1, 2, 3, 5, packed=True), made_of="MatMul"),
    **_rows(f"{MS}MatMulBnb4", mixes="last", weights=Slots(1, 2, packed=True), made_of="MatMul"),
    **_rows("Einsum", mixes="any", linear="product"),
    **_rows("CausalConvWithState LinearAttention", smooth=("past_state",)),
    **_rows("RNN GRU", recurs=True, smooth=("initial_h",)),
    **_rows("LSTM", recurs=True, smooth=("initial_h", "initial_c")),
}

_POOLS = {
    **_rows("MaxPool", window="window", pools=True, hull=True, channels=1, blocks="makes"),
    **_rows("AveragePool", window="window", pools=True, linear="sum", channels=1, blocks="makes"),
    **_rows("LpPool", window="window", pools=True, even=True, range=_POSITIVE, channels=1),
    **_rows(f"{MS}NhwcMaxPool", window="window", pools=True, channels=-1),
    **_rows(f"{MS}QLinearAveragePool", window="window", pools=True, channels=1),
    **_rows(
        "GlobalAveragePool", mixes="map", pools=True, hull=True, linear="sum", channels=1, blocks="makes"
    ),
    **_rows("GlobalMaxPool", mixes="map", pools=True, hull=True, channels=1, blocks="makes"),
    **_rows("GlobalLpPool", mixes="map", pools=True, even=True, range=_POSITIVE, channels=1),
    **_rows(f"{MS}QLinearGlobalAveragePool", mixes="map", pools=True, channels=1),
    **_rows("ReduceMean", mixes="reduced", pools=True, hull=True, linear="sum"),
    **_rows(f"{MS}QLinearReduceMean", mixes="reduced", pools=True),
    **_rows("ReduceSum", mixes="reduced", pools=True, linear="sum"),
    **_rows("ReduceMax ReduceMin", mixes="reduced", pools=True, hull=True),
    **_rows("ReduceL1 ReduceL2 ReduceSumSquare", mixes="reduced", even=True, range=_POSITIVE),
    **_rows("ReduceProd ReduceLogSum ReduceLogSumExp", mixes="reduced"),
    **_rows("ArgMax ArgMin", mixes="reduced", stops=_POSITIONS),
    **_rows("CumSum", mixes="axis", linear="sum"),
    **_rows("CumProd", mixes="axis"),
}

_NORMALISATIONS = {
    **_alone("BatchNormalization", normalises="input", per_channel=True, linear="sum", channels=1,
             blocks="makes"),
    **_rows("InstanceNormalization", normalises="input", per_channel=True, mixes="map", channels=1),
    **_rows("GroupNormalization", normalises="input", mixes="groups", channels=1),
    **_rows(f"{MS}GroupNorm", normalises="input", mixes="groups"),
    **_rows("LRN", normalises="input", mixes="channels", channels=1),
    **_rows("LpNormalization", normalises="input", mixes="axis"),
    **_rows("MeanVarianceNormalization", normalises="input"),
    **_rows("LayerNormalization RMSNormalization SimplifiedLayerNormalization", normalises="input",
            mixes="behind", channels=-1),
    **_rows(f"{MS}SkipLayerNormalization {MS}SkipSimplifiedLayerNormalization", normalises="sum",
            mixes="behind", channels=-1),
}  # fmt: skip

_MOVING = {
    **_rows("Reshape Flatten", moves="order", reshapes=True, hull=True, linear="sum", mixes="any"),
    **_rows("Squeeze Unsqueeze", moves="order", reshapes=True, hull=True, linear="sum"),
    **_rows("Transpose", moves="axes", hull=True, linear="sum"),
    **_rows("DepthToSpace SpaceToDepth", moves="blocks", hull=True, linear="sum", channels=1),
    **_rows("Slice Split ReverseSequence Compress", moves="selects", hull=True, linear="sum"),
    **_rows("Gather GatherElements GatherND", moves="selects", hull=True, linear="sum", mixes="any"),
    **_rows("Expand Tile", moves="copies", hull=True, linear="sum"),
    **_rows(f"{MS}GatherND", moves="selects", hull=True, mixes="any"),
    **_rows(f"{MS}ExpandDims", moves="order", reshapes=True, hull=True),
    **_rows("Concat", moves="joins", hull=True, linear="sum", blocks="keeps"),
    **_rows("Pad", moves="pads", linear="sum", smooth=("constant_value",)),
    **_rows("Resize", window="resized", linear="sum", smooth=("roi", "scales")),
    **_rows("Upsample", window="resized", linear="sum", channels=1),
    **_rows("Col2Im", linear="sum"),
    **_rows("DFT", linear="sum", smooth=("input",)),
    **_rows("STFT", linear="product", smooth=("signal", "window")),
    **_rows("ai.onnx.ml:ArrayFeatureExtractor", hull=True, mixes="any"),
    **_rows("MaxUnpool", channels=1),
    **_rows("GridSample", channels=1, smooth=("grid",)),
    **_rows("AffineGrid", smooth=("theta",)),
}

_OTHERS = {
    **_alone(f"QuantizeLinear {MS}QuantizeLinear", quantises="to"),
    **_alone(f"DequantizeLinear {MS}DequantizeLinear", quantises="from"),
    **_rows("DynamicQuantizeLinear", quantises="to"),
    **_rows("Shape", reads_sizes=True, mixes="any"),
    **_rows("Size", reads_sizes=True),
    **_rows(
        "RandomNormal RandomUniform RandomNormalLike RandomUniformLike Bernoulli Multinomial", random=True
    ),
    **_rows("OneHot", mixes="any", smooth=("values",)),
    **_alone("ai.onnx.ml:Binarizer", step=True, stops=_STEP),
    **_rows("ai.onnx.ml:TreeEnsemble ai.onnx.ml:TreeEnsembleClassifier ai.onnx.ml:TreeEnsembleRegressor",
            step=True, stops=_STEP),
    **_rows("ai.onnx.ml:LabelEncoder ai.onnx.ml:OneHotEncoder ai.onnx.ml:CategoryMapper",
            stops="looks categories up, which do not change by a little"),
    **_rows("ai.onnx.ml:DictVectorizer ai.onnx.ml:CastMap ai.onnx.ml:ZipMap",
            stops="takes or gives a map from names to numbers, not a tensor"),
    **_rows("ai.onnx.ml:SVMClassifier", stops="counts the votes of pairs of classes"),
    **_rows("BitCast", stops="reads the bits of numbers as others, which jump"),
    **_rows("EyeLike", stops="gives ones and zeros by the sizes alone"),
    **_rows("MelWeightMatrix", stops="gives a table of frequencies between rounded borders"),
    **_alone("OptionalGetElement"),
    **_rows("TopK", mixes="any", finds="ranks"),
    **_rows("Unique", finds="ranks", smooth=("X",)),
    **_rows("NonZero", finds="things", stops=_POSITIONS),
    **_rows("NonMaxSuppression", finds="things", stops="gives the numbers of the boxes that it keeps"),
    # Called so in the domains of several producers.
    **_rows("*:RoiAlign *:MultiClassNMS *:EfficientNMS_TRT *:BatchedNMS_TRT", finds="things"),
    **_rows("If", runs="one"),
    **_rows("Loop Scan", runs="again"),
    **_rows("SequenceMap", runs="each"),
    **_rows("NegativeLogLikelihoodLoss", smooth=("weight",)),
    **_rows("SoftmaxCrossEntropyLoss", smooth=("weights",)),
}  # fmt: skip

# By key, see nodes.key_of; "*:" before a name stands for any domain.
TRAITS: dict[str, Traits] = {
    **_ELEMENTWISE,
    **_ACTIVATIONS,
    **_LAYERS,
    **_POOLS,
    **_NORMALISATIONS,
    **_MOVING,
    **_OTHERS,
}


def traits_of(node: NodeProto) -> Traits:
    """The facts about a node's operator; UNKNOWN for one that is not in the table."""
    key = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}:{node.op_type}"
    if key == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute):
        return _IN_TRAINING
    return TRAITS.get(key) or TRAITS.get(f"*:{node.op_type}") or UNKNOWN


def having(fact: Callable[[Traits], object]) -> tuple[str, ...]:
    """The keys of the operators of which a fact is so, in the order of the table."""
    return tuple(key for key, traits in TRAITS.items() if fact(traits))


def has_gradient(schema: defs.OpSchema, index: int) -> bool:
    """Whether an input of an operator has a gradient, as the specification says or the table corrects it."""
    slot = schema.inputs[min(index, len(schema.inputs) - 1)]
    return is_differentiable(slot) or slot.name in TRAITS.get(schema.name, UNKNOWN).smooth
