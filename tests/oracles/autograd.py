"""How far our gradients of whole networks lie from those of PyTorch's autograd, on the same weights.

Of networks that come as files PyTorch runs the nodes (torch_interpreter.py), of modules their own code.
In float32 ours run on ONNX Runtime, in float64 on ONNX's reference evaluator, which has kernels for that.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from oracles import torch_interpreter
from oracles.differences import in_double
from oracles.networks import run
from oracles.reference import TWINS

from onnxlens.engine.autodiff.gradient import gradient

Distances = dict[str, float]


def distances(found: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> Distances:
    """|found - right| / |right| of each gradient of `right`, by the name of the value."""
    return {
        name: float(np.linalg.norm(found[f"grad/{name}"] - expected) / np.linalg.norm(expected))
        for name, expected in right.items()
    }


def evaluated(model: ModelProto, feeds: Mapping[str, np.ndarray], double: bool) -> dict[str, np.ndarray]:
    """All outputs by name."""
    if not double:
        return run(model, feeds)
    values = ReferenceEvaluator(model, new_ops=TWINS).run(None, dict(feeds))
    return dict(zip([o.name for o in model.graph.output], values, strict=True))


def weights_at_both_ends(model: ModelProto) -> list[str]:
    """The weight of the first and of the last convolution or matrix product."""
    stored = {t.name for t in model.graph.initializer}
    found = [n.input[1] for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.input[1] in stored]
    return [found[0], found[-1]]


def of_file(model: ModelProto, image: np.ndarray, shared: bool = True, double: bool = False) -> Distances:
    """Of the default score, for a random vector, in the image and in an early and a late weight.

    With `shared`, PyTorch is told on which side of its kink each unit lies for us. Raises AssertionError
    where the gradient graph answers otherwise than the model, or PyTorch has no gradient.
    """
    if double:
        model, image = in_double(model), image.astype(np.float64)
    stored = {t.name: t for t in model.graph.initializer}
    (x,) = [i.name for i in model.graph.input if i.name not in stored]
    wrt = [x, *dict.fromkeys(weights_at_both_ends(model))]
    result = gradient(model, wrt=wrt)
    seed = result.graph.input[1]
    wide = np.float64 if double else np.float32
    shape = [d.dim_value or len(image) for d in seed.type.tensor_type.shape.dim]
    u = np.random.default_rng(1).standard_normal(shape).astype(np.float32).astype(wide)
    feeds = {x: image, seed.name: u}
    found = evaluated(result, feeds, double)
    if not double:
        for name, answer in run(model, {x: image}).items():
            np.testing.assert_array_equal(found[name], answer)
    sides = {}
    if shared:
        kinks = torch_interpreter.kinks(model)
        result.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in kinks)
        seen = evaluated(result, feeds, double)
        sides = {name: torch.from_numpy(seen[name].astype(wide)) for name in kinks}
        del seen
    del result

    score = seed.name.removeprefix("seed/")
    leaves = {x: torch.from_numpy(image.astype(wide))} | {
        w: torch.from_numpy(numpy_helper.to_array(stored[w]).astype(wide)) for w in wrt[1:]
    }
    for leaf in leaves.values():
        leaf.requires_grad_()
    value = torch_interpreter.run(model, leaves, [score], sides)[score]
    (value * torch.from_numpy(u)).sum().backward()
    right = {name: leaf.grad.numpy() for name, leaf in leaves.items() if leaf.grad is not None}
    assert len(right) == len(wrt)
    for expected in right.values():
        assert np.isfinite(expected).all()
        assert np.linalg.norm(expected) > 0
    return distances(found, right)


def exported(
    module: torch.nn.Module, x: torch.Tensor, exporter: str, batch: str, path: Path | None = None
) -> ModelProto:
    """The module by either exporter; on disk with external data where a path is given.

    Raises ImportError where the exporter `dynamo` lacks onnxscript.
    """
    quiet = io.StringIO()
    names = {"input_names": ["image"], "output_names": ["answer"]}
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        if exporter == "torchscript":
            axes = {"image": {0: "batch"}, "answer": {0: "batch"}} if batch == "dynamic" else None
            file = io.BytesIO()
            torch.onnx.export(module, (x,), file, dynamo=False, dynamic_axes=axes, **names)
            return onnx.load_from_string(file.getvalue())
        shapes = ({0: torch.export.Dim("batch")},) if batch == "dynamic" else None
        program = torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
        assert program is not None
        if path is not None:
            program.save(path, external_data=True)
        return program.model_proto


def first_weights(module: torch.nn.Module, model: ModelProto) -> tuple[torch.nn.Parameter, str, np.ndarray]:
    """The weight of the first convolution: parameter, name in the file, and the factor between them.

    The exporters fold a BatchNormalization behind it into it, by a factor for each output channel.
    """
    weight = next(m.weight for m in module.modules() if isinstance(m, torch.nn.Conv2d))
    name = next(n.input[1] for n in model.graph.node if n.op_type == "Conv")
    stored = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)
    factor = (stored / weight.detach().numpy()).reshape(len(stored), -1)
    np.testing.assert_allclose(factor, np.repeat(factor[:, :1], factor.shape[1], 1), rtol=1e-3)
    return weight, name, np.median(factor, axis=1).reshape(-1, 1, 1, 1)


def by_module(
    module: torch.nn.Module, model: ModelProto, x: torch.Tensor, u: torch.Tensor
) -> dict[str, np.ndarray]:
    """Autograd's gradient of the sum of the answer times u, in the image and in the first weight."""
    weight, name, factor = first_weights(module, model)
    x = x.detach().requires_grad_()
    image, kernel = torch.autograd.grad((module(x) * u).sum(), [x, weight])
    return {"image": image.numpy(), name: kernel.numpy() / factor}


def of_module(module: torch.nn.Module, model: ModelProto, x: torch.Tensor) -> Distances:
    """Of the answer of an exported module, in its type, in the image and in the first weight."""
    u = seed_of(module, x)
    right = by_module(module, model, x, u)
    result = gradient(model, of="answer", wrt=list(right))
    feeds = {"image": x.numpy(), "seed/answer": u.numpy()}
    return distances(evaluated(result, feeds, x.dtype == torch.float64), right)


def seed_of(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A factor for each number of the answer, in its type; the same ones each time."""
    answer = module(x).detach()
    return torch.randn(answer.shape, generator=torch.Generator().manual_seed(3)).to(answer.dtype)
