"""ONNX's operators in PyTorch, in their newest spelling: autograd as a witness, operator by operator.

Written from the specification of ONNX, with PyTorch's own functions, and shares nothing with the engine.
What PyTorch has no like of is not here; where it knows an operator only in part, NotImplementedError is
raised for the rest. (torch_interpreter.py runs whole networks, in the spelling of their time.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, defs, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

Attributes = dict[str, Any]
KNOWN_SINCE = 13  # older spellings are another interpreter's


def gradients(
    model: ModelProto,
    feeds: Mapping[str, np.ndarray],
    seeds: Mapping[str, np.ndarray],
    wrt: Sequence[str],
) -> dict[str, np.ndarray]:
    """The gradient of the sum of the outputs in `seeds` times their seeds, by name.

    Of a model of one node. Raises NotImplementedError where PyTorch cannot say it, or KeyError.
    """
    (node,) = model.graph.node
    operator = OPERATORS[f"{node.domain}:{node.op_type}" if node.domain else node.op_type]
    version = model.opset_import[0].version
    if version < KNOWN_SINCE:
        since = [defs.get_schema(node.op_type, v, node.domain).since_version for v in (version, KNOWN_SINCE)]
        only(since[0] == since[1])
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    values |= {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
    for name in wrt:
        values[name].requires_grad_()
    schema = defs.get_schema(node.op_type, version, node.domain)
    attributes = {
        a.name: helper.get_attribute_value(a.default_value)
        for a in schema.attributes.values()
        if a.default_value.name
    }
    attributes |= {a.name: helper.get_attribute_value(a) for a in node.attribute}
    attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    attributes["outputs"] = len(node.output)
    found = operator(attributes, *(values[n] if n else None for n in node.input))
    outputs = dict(zip(node.output, found if isinstance(found, tuple | list) else (found,), strict=False))
    for name, seed in seeds.items():
        if outputs[name].shape != seed.shape:
            raise AssertionError(f"{name} is of shape {tuple(outputs[name].shape)}, not {seed.shape}")
    score = sum((outputs[name] * torch.from_numpy(seed)).sum() for name, seed in seeds.items())
    assert isinstance(score, Tensor)
    taken = torch.autograd.grad(score, [values[n] for n in wrt], allow_unused=True, materialize_grads=True)
    return {name: grad.numpy() for name, grad in zip(wrt, taken, strict=True)}


def only(condition: bool) -> None:
    """Stop where PyTorch has no word for it."""
    if not condition:
        raise NotImplementedError


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operator without attributes."""
    return lambda a, *inputs: function(*inputs)


def reduced(function: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Callable[..., Tensor]:
    """A reduction over the axes given, by input or by attribute, all where there are none."""

    def reduction(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        given = a.get("axes", ()) if axes is None else axes.tolist()
        if not len(given):
            if a.get("noop_with_empty_axes"):
                return function(x.unsqueeze(0), (0,), False)
            given = range(x.ndim)
        return function(x, tuple(given), bool(a["keepdims"]))

    return reduction


def product_over(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def folded(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def fold(a: Attributes, first: Tensor, *rest: Tensor) -> Tensor:
        for x in rest:
            first = function(first, x)
        return first

    return fold


def axes_of(a: Attributes, axes: Tensor | None) -> list[int]:
    return a.get("axes") or ([] if axes is None else axes.tolist())


def squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze(tuple(axes_of(a, axes))) if axes_of(a, axes) else x.squeeze()


def unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    given = axes_of(a, axes)
    for axis in sorted(axis % (x.ndim + len(given)) for axis in given):
        x = x.unsqueeze(axis)
    return x


def reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    wish = shape.tolist()
    return x.reshape(wish if a["allowzero"] else [d or x.shape[i] for i, d in enumerate(wish)])


def sliced(
    a: Attributes, x: Tensor, starts: Tensor, ends: Tensor,
    axes: Tensor | None = None, steps: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """By index: PyTorch's slices do not run backwards."""
    along = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(along, starts.tolist(), ends.tolist(), strides, strict=True):
        size = x.shape[axis]
        start = min(max(start + size * (start < 0), 0), size - (step < 0))
        end = min(max(end + size * (end < 0), -(step < 0)), size)
        x = x.index_select(
            axis, torch.arange(start, end, step) if (end - start) * step > 0 else torch.arange(0)
        )
    return x


def split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    length, count = x.shape[a["axis"]], a["outputs"]
    return x.split(-(-length // count) if sizes is None else sizes.tolist(), a["axis"])


def gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = a["axis"] % x.ndim
    where = (indices % x.shape[axis]).long()
    return x.index_select(axis, where.flatten()).reshape(*x.shape[:axis], *where.shape, *x.shape[axis + 1 :])


def gather_nd(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    only(a["batch_dims"] == 0)
    return x[tuple(indices.unbind(-1))]


def scatter_elements(a: Attributes, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    where = indices % x.shape[a["axis"]]
    if a.get("reduction", "none") == "none":
        marks = torch.zeros_like(x).scatter_add(a["axis"], where, torch.ones_like(updates))
        only(marks.max() <= 1)  # of two to one place, PyTorch's gradient takes both
        return x.scatter(a["axis"], where, updates)
    name = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[a["reduction"]]
    return x.scatter_reduce(a["axis"], where, updates, name)


def scatter_nd(a: Attributes, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    only(a.get("reduction", "none") in ("none", "add"))
    return x.index_put(tuple(indices.unbind(-1)), updates, a.get("reduction", "none") == "add")


def compress(a: Attributes, x: Tensor, condition: Tensor) -> Tensor:
    x, axis = (x, a["axis"]) if "axis" in a else (x.flatten(), 0)
    return x.index_select(axis, condition.nonzero().flatten())


def depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    size = a["blocksize"]
    if a["mode"] == "CRD":
        return functional.pixel_shuffle(x, size)
    b, c, h, w = x.shape
    x = x.reshape(b, size, size, c // size**2, h, w)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(b, c // size**2, h * size, w * size)


def space_to_depth(a: Attributes, x: Tensor) -> Tensor:
    size = a["blocksize"]
    if a.get("mode") == "CRD":
        return functional.pixel_unshuffle(x, size)
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // size, size, w // size, size)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(b, c * size**2, h // size, w // size)


def pad(
    a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    only(a["mode"] == "constant")
    given, both = pads.tolist(), [[0, 0] for _ in range(x.ndim)]
    for i, axis in enumerate(range(x.ndim) if axes is None else axes.tolist()):
        both[axis] = [given[i], given[i + len(given) // 2]]
    around = [n for pair in reversed(both) for n in pair]
    if value is None:
        return functional.pad(x, around)
    return functional.pad(x, around) + value * (1 - functional.pad(torch.ones_like(x), around))


def top_k(a: Attributes, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    only(bool(a["sorted"]))  # else any order will do
    return x.topk(int(k.item()), a["axis"], bool(a["largest"]), bool(a["sorted"]))


def gemm(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    y = a["alpha"] * ((x.T if a["transA"] else x) @ (w.T if a["transB"] else w))
    return y if b is None else y + a["beta"] * b


def even_pads(a: Attributes, axes: int) -> list[int]:
    """One number an axis, for functions that pad both sides alike."""
    only(a["auto_pad"] in ("NOTSET", "VALID"))
    pads = a.get("pads", [0] * 2 * axes)
    only(pads[:axes] == pads[axes:])
    return pads[:axes]


def padded(a: Attributes, x: Tensor, kernel: Sequence[int]) -> Tensor:
    """x with the zeros around it that a convolution asks for."""
    axes = x.ndim - 2
    strides, dilations = a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
    pads = a.get("pads", [0] * 2 * axes)
    if a["auto_pad"].startswith("SAME"):
        sizes = zip(x.shape[2:], kernel, strides, dilations, strict=True)
        lacking = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in sizes]
        first = [n // 2 if a["auto_pad"] == "SAME_UPPER" else -(-n // 2) for n in lacking]
        pads = first + [n - f for n, f in zip(lacking, first, strict=True)]
    return functional.pad(x, [n for i in reversed(range(axes)) for n in (pads[i], pads[axes + i])])


def conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    axes = x.ndim - 2
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    strides, dilations = a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
    return function(padded(a, x, w.shape[2:]), w, b, strides, 0, dilations, a["group"])


def conv_transpose(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    axes = x.ndim - 2
    only("output_shape" not in a)
    function = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[
        axes - 1
    ]
    strides, dilations = a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
    extra = a.get("output_padding", [0] * axes)
    return function(x, w, b, strides, even_pads(a, axes), extra, a["group"], dilations)


def pool(name: str) -> Callable[..., Any]:
    def pooling(a: Attributes, x: Tensor) -> Any:
        axes = x.ndim - 2
        strides, pads = a.get("strides", [1] * axes), even_pads(a, axes)
        only(all(2 * p <= k for p, k in zip(pads, a["kernel_shape"], strict=True)))
        if name == "max":
            only(a["storage_order"] == 0)
            only(a["outputs"] == 1)
            function = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[axes - 1]
            dilations = a.get("dilations", [1] * axes)
            return function(x, a["kernel_shape"], strides, pads, dilations, bool(a["ceil_mode"]))
        only(set(a.get("dilations", [1])) == {1})
        function = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[axes - 1]
        counting = bool(a["count_include_pad"])
        return function(x, a["kernel_shape"], strides, pads, bool(a["ceil_mode"]), counting)

    return pooling


def spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def lrn(a: Attributes, x: Tensor) -> Tensor:
    size = a["size"]
    around = [0, 0] * (x.ndim - 2) + [(size - 1) // 2, size // 2]
    window = functional.pad(x * x, around).unfold(1, size, 1).sum(-1)
    return x / (a["bias"] + a["alpha"] / size * window) ** a["beta"]


def batch_norm(a: Attributes, x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """In inference. By its formula: PyTorch's own has no gradient in the stored statistics."""
    only(not a.get("training_mode"))
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, var, scale, b = (t.reshape(shape) for t in (mean, var, scale, b))
    return (x - mean) / (var + a["epsilon"]).sqrt() * scale + b


def layer_norm(a: Attributes, x: Tensor, scale: Tensor, b: Tensor | None = None) -> tuple[Tensor, ...]:
    axes = tuple(range(a["axis"] % x.ndim, x.ndim))
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
    only(scale.shape == x.shape[axes[0] :])
    return (
        functional.layer_norm(x, scale.shape, scale, b, a["epsilon"]),
        mean,
        (variance + a["epsilon"]).rsqrt(),
    )


def lp_normalization(a: Attributes, x: Tensor) -> Tensor:
    return functional.normalize(x, a["p"], a["axis"])


def grid_sample(a: Attributes, x: Tensor, grid: Tensor) -> Tensor:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(a["mode"], a["mode"])
    return functional.grid_sample(x, grid, mode, a["padding_mode"], bool(a["align_corners"]))


def cross_entropy(a: Attributes, x: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    only(a["outputs"] == 1)
    only(weight is None or not weight.requires_grad)
    return functional.cross_entropy(
        x, labels.long(), weight, ignore_index=a.get("ignore_index", -100), reduction=a["reduction"]
    )


def negative_log_likelihood(a: Attributes, x: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    only(weight is None or not weight.requires_grad)
    return functional.nll_loss(
        x, labels.long(), weight, ignore_index=a.get("ignore_index", -100), reduction=a["reduction"]
    )


def summed_up(function: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """Running sums and products, from either end, with or without the element itself."""

    def along(a: Attributes, x: Tensor, axis: Tensor) -> Tensor:
        only(not a["exclusive"])
        place = int(axis.item())
        return function(x.flip(place), place).flip(place) if a["reverse"] else function(x, place)

    return along


def recurrent(name: str) -> Callable[..., Any]:
    """RNN and LSTM as PyTorch has them (its GRU resets elsewhere): forwards or both ways, plain functions."""
    order = {"RNN": (0,), "LSTM": (0, 2, 3, 1)}[name]  # its gates among ONNX's
    usual = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[name]

    def sorted_(t: Tensor) -> Tensor:
        return torch.cat([t.chunk(len(order))[i] for i in order])

    def layer(
        a: Attributes, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None,
        lengths: Tensor | None = None, h: Tensor | None = None, c: Tensor | None = None,
        p: Tensor | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        only(lengths is None and p is None and not a["layout"] and a["direction"] != "reverse")
        only("clip" not in a and not a.get("input_forget"))
        only([f.decode() for f in a.get("activations", [])][: len(usual)] in ([], usual))
        hidden, directions = r.shape[-1], len(w)
        none = x.new_zeros(directions, x.shape[1], hidden)
        weights = []
        for d in range(directions):
            both = b[d].chunk(2) if b is not None else (x.new_zeros(len(w[d])),) * 2
            weights += [sorted_(t) for t in (w[d], r[d], *both)]
        how = weights, True, 1, 0.0, False, directions == 2, False
        if name == "RNN":
            y, *ends = torch.rnn_tanh(x, none if h is None else h, *how)
        else:
            y, *ends = torch.lstm(x, [none if h is None else h, none if c is None else c], *how)
        return y.unflatten(-1, (directions, hidden)).transpose(1, 2), *ends

    return layer


PLAIN = [  # of one name in both
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Det", "Erf", "Exp", "Log",
    "Neg", "Reciprocal", "Relu", "Sigmoid", "Sin", "Sinh", "Sqrt", "Tan", "Tanh", "Add", "Sub", "Mul",
    "Div", "Pow", "MatMul",
]  # fmt: skip

OPERATORS: dict[str, Callable[..., Any]] = {
    **{name: plain(getattr(torch, name.lower())) for name in PLAIN},
    "AveragePool": pool("average"),
    "BatchNormalization": batch_norm,
    "Cast": lambda a, x: x.to({1: torch.float32, 11: torch.float64}[a["to"]]),
    "CastLike": lambda a, x, like: x.to(like.dtype),
    "Celu": lambda a, x: functional.celu(x, a["alpha"]),
    "Clip": lambda a, x, low=None, high=None: x if low is None and high is None else x.clip(low, high),
    "Compress": compress,
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "CumProd": summed_up(torch.cumprod),
    "CumSum": summed_up(torch.cumsum),
    "DepthToSpace": depth_to_space,
    "Dropout": lambda a, x, *_: x,
    "Einsum": lambda a, *xs: torch.einsum(a["equation"], *xs),
    "Elu": lambda a, x: functional.elu(x, a["alpha"]),
    "Expand": lambda a, x, shape: x * torch.ones(shape.tolist(), dtype=x.dtype),
    "Flatten": lambda a, x: x.reshape(int(np.prod(x.shape[: a["axis"]])), -1),
    "Gather": gather,
    "GatherElements": lambda a, x, i: x.gather(a["axis"], i.long() % x.shape[a["axis"]]),
    "GatherND": gather_nd,
    "Gelu": lambda a, x: functional.gelu(x, approximate=a["approximate"]),
    "Gemm": gemm,
    "GlobalAveragePool": lambda a, x: x.mean(spatial(x), keepdim=True),
    "GlobalLpPool": lambda a, x: torch.linalg.vector_norm(x, a["p"], spatial(x), keepdim=True),
    "GlobalMaxPool": lambda a, x: x.amax(spatial(x), keepdim=True),
    "GridSample": grid_sample,
    "GroupNormalization": lambda a, x, s, b: functional.group_norm(x, a["num_groups"], s, b, a["epsilon"]),
    "HardSigmoid": lambda a, x: (a["alpha"] * x + a["beta"]).clip(0, 1),
    "HardSwish": plain(functional.hardswish),
    "Identity": plain(torch.clone),
    "InstanceNormalization": lambda a, x, s, b: functional.instance_norm(
        x, None, None, s, b, eps=a["epsilon"]
    ),
    "LayerNormalization": layer_norm,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a["alpha"]),
    "LogSoftmax": lambda a, x: x.log_softmax(a["axis"]),
    "LpNormalization": lp_normalization,
    "LRN": lrn,
    "LSTM": recurrent("LSTM"),
    "Max": folded(torch.maximum),
    "MaxPool": pool("max"),
    "Mean": lambda a, *xs: sum(xs[1:], xs[0]) / len(xs),
    "Min": folded(torch.minimum),
    "Mish": plain(functional.mish),
    "Mod": lambda a, x, y: torch.fmod(x, y) if a["fmod"] else torch.remainder(x, y),
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "Pad": pad,
    "PRelu": lambda a, x, slope: torch.where(x < 0, slope * x, x),
    "ReduceL1": reduced(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": reduced(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceLogSum": reduced(lambda x, axes, keep: x.sum(axes, keep).log()),
    "ReduceLogSumExp": reduced(torch.logsumexp),
    "ReduceMax": reduced(torch.amax),
    "ReduceMean": reduced(torch.mean),
    "ReduceMin": reduced(torch.amin),
    "ReduceProd": reduced(product_over),
    "ReduceSum": reduced(torch.sum),
    "ReduceSumSquare": reduced(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "Reshape": reshape,
    "RMSNormalization": lambda a, x, s: functional.rms_norm(x, s.shape, s, a["epsilon"]),
    "RNN": recurrent("RNN"),
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Selu": lambda a, x: a["gamma"] * functional.elu(x, a["alpha"]),
    "Shrink": lambda a, x: torch.where(x.abs() > a["lambd"], x - a["bias"] * x.sign(), 0 * x),
    "Slice": sliced,
    "Softmax": lambda a, x: x.softmax(a["axis"]),
    "SoftmaxCrossEntropyLoss": cross_entropy,
    "Softplus": plain(functional.softplus),
    "Softsign": plain(functional.softsign),
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Sum": lambda a, *xs: sum(xs[1:], xs[0]),
    "Swish": lambda a, x: x * torch.sigmoid(a["alpha"] * x),
    "ThresholdedRelu": lambda a, x: functional.threshold(x, a["alpha"], 0.0),
    "Tile": lambda a, x, repeats: x.tile(repeats.tolist()),
    "TopK": top_k,
    "Transpose": lambda a, x: x.permute(a.get("perm") or tuple(reversed(range(x.ndim)))),
    "Trilu": lambda a, x, k=None: (torch.triu if a["upper"] else torch.tril)(
        x, 0 if k is None else int(k.item())
    ),
    "Unsqueeze": unsqueeze,
    "Where": plain(torch.where),
}
