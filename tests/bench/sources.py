"""Our gradients beside those of PyTorch's autograd and of ONNX Runtime's training wheel.

python tests/bench/sources.py [--wheel PYTHON]

PYTHON is the interpreter of a virtual environment that has the wheel:

    python3.11 -m venv wheel && wheel/bin/pip install onnxruntime-training==1.19.2 'numpy<2' 'onnx<1.17'

On the single-node cases of ONNX's suite and of ours, in float32, and on whole networks with random weights,
each source gives the gradient of a random combination of the outputs. Writes tests/oracles/sources.json and,
from it, docs/sources.md; without --wheel, what the record says of the wheel stays. Takes two minutes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper, version_converter

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles import sources_page, torch_interpreter
from oracles.architectures import ARCHITECTURES, made, picture
from oracles.autograd import exported, first_weights
from oracles.cases import at_most
from oracles.networks import randomised
from oracles.sources import AGREE, Arrays, Case, by_torch, by_us, case, cases, distance

from onnxlens.engine.graph.dataflow import IR_VERSION
from onnxlens.models import embedded

OPSETS = 21, 17, 13  # the newest that the wheel knows, and older ones that some of its rules are written for
LAYERS = {
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "LayerNormalization",
    "InstanceNormalization",
    "LSTM",
    "GRU",
}
OUTPUTS = {
    "LayerNormalization": 3,
    "SimplifiedLayerNormalization": 2,
    "SoftmaxCrossEntropyLoss": 2,
    "Dropout": 2,
}
LOSS = "whole/loss"
WHEEL = Path(__file__).with_name("training_wheel.py")
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def with_loss(one: Case) -> ModelProto:
    """The model with the scalar LOSS, its outputs times inputs `<output>/seed`; weights of `wrt` as inputs.

    And with all outputs of the operators whose rules in the wheel read them.
    """
    whole = ModelProto()
    whole.CopyFrom(one.model)
    graph = whole.graph
    for node in graph.node:
        for i in range(len(node.output), OUTPUTS.get(node.op_type, 0)):
            node.output.append(f"{node.output[0]}/{i}")
    given = {i.name for i in graph.input}
    for tensor in [t for t in graph.initializer if t.name in one.wrt]:
        if tensor.name not in given:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        graph.initializer.remove(tensor)
    total = ""
    for name, u in one.seeds.items():
        elem = helper.np_dtype_to_tensor_dtype(u.dtype)
        graph.input.append(helper.make_tensor_value_info(f"{name}/seed", elem, u.shape))
        product, term = f"{name}/product", f"{name}/term"
        graph.node.append(helper.make_node("Mul", [name, f"{name}/seed"], [product]))
        graph.node.append(helper.make_node("ReduceSum", [product], [term], keepdims=0))
        if elem != TensorProto.FLOAT:
            graph.node.append(helper.make_node("Cast", [term], [term := f"{term}/32"], to=TensorProto.FLOAT))
        if total:
            graph.node.append(helper.make_node("Add", [total, term], [term := f"{name}/total"]))
        total = term
    graph.node.append(helper.make_node("Identity", [total], [LOSS]))
    graph.output.append(helper.make_tensor_value_info(LOSS, TensorProto.FLOAT, ()))
    return whole


def by_wheel(python: str, asked: Mapping[str, Case]) -> tuple[dict[str, Arrays], dict[str, str]]:
    """By the wheel, in its own interpreter: the gradients it has, and what it says of the others."""
    index = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for i, one in enumerate(asked.values()):
            files = []
            for opset in OPSETS:
                copy = ModelProto()
                copy.CopyFrom(one.model)
                copy = at_most(copy, opset)
                version = next(o.version for o in copy.opset_import if not o.domain)
                file = f"{i}.{version}.onnx"
                if version <= OPSETS[0] and file not in files:
                    onnx.save(with_loss(Case(copy, one.feeds, one.wrt, one.seeds)), folder / file)
                    files.append(file)
            index[str(i)] = (files, LOSS, one.wrt)
            stored = {t.name: numpy_helper.to_array(t) for t in one.model.graph.initializer}
            feeds = one.feeds | {name: stored[name] for name in one.wrt if name in stored}
            feeds |= {f"{name}/seed": u for name, u in one.seeds.items()}
            np.savez(folder / f"{i}.npz", allow_pickle=False, **feeds)
        (folder / "index.json").write_text(json.dumps(index))
        subprocess.run([python, str(WHEEL), str(folder)], check=True)
        said = dict(zip(asked, json.loads((folder / "said.json").read_text()).values(), strict=True))
        paths = [folder / f"{i}.found.npz" for i in index]
        found = [
            {key.removeprefix("grad/"): value for key, value in np.load(path).items()}
            if path.exists()
            else {}
            for path in paths
        ]
        return dict(zip(asked, found, strict=True)), said


def networks() -> Iterator[tuple[str, Case, Arrays]]:
    """Whole networks, with autograd's gradients in the image and in the first weight or in all."""
    embedded_model = onnx.load(embedded.path())
    images = {"embedded": (embedded_model, (2, 3, 96, 96))}
    file = LIGHT / "light_squeezenet.onnx"
    images["SqueezeNet 1.0"] = (randomised(onnx.load(file)), (1, 3, 224, 224))
    for name, (model, shape) in images.items():
        (x,) = {i.name for i in model.graph.input} - {t.name for t in model.graph.initializer}
        model.ir_version = IR_VERSION  # before 4, weights had to be inputs
        feeds = {x: np.random.default_rng(3).standard_normal(shape).astype(np.float32)}
        newer = version_converter.convert_version(model, OPSETS[1])
        for node in newer.graph.node:
            if node.op_type == "Dropout":  # in inference; the wheel scales its gradient all the same
                node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output[:1]))
        one = case(newer, feeds, [x, *weights(model)])
        leaves = {x: torch.from_numpy(feeds[x])} | {
            t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
            for t in model.graph.initializer
            if t.name in one.wrt
        }
        for leaf in leaves.values():
            leaf.requires_grad_()
        (y,) = one.seeds
        score = torch_interpreter.run(model, leaves, [y], {})[y]
        (score * torch.from_numpy(one.seeds[y])).sum().backward()
        yield name, one, {n: leaf.grad.numpy() for n, leaf in leaves.items() if leaf.grad is not None}
    for name in ARCHITECTURES:
        module, x = made(name), picture()
        model = exported(module, x, "torchscript", "static")
        one = case(model, {"image": x.numpy()}, ["image", *weights(model)])
        weight, stored, factor = first_weights(module, model)
        score = (module(x.requires_grad_()) * torch.from_numpy(one.seeds["answer"])).sum()
        taken = torch.autograd.grad(score, [x, weight])
        yield name, one, {"image": taken[0].numpy(), stored: taken[1].numpy() / factor}


def weights(model: ModelProto) -> list[str]:
    """The stored values that layers with weights read."""
    stored = {t.name for t in model.graph.initializer}
    return list(dict.fromkeys(
        name for n in model.graph.node if n.op_type in LAYERS for name in n.input[1:3] if name in stored
    ))  # fmt: skip


def counted(
    asked: Mapping[str, Case], mine: Mapping[str, Arrays], theirs: Mapping[str, Arrays]
) -> dict[str, list[int]]:
    """By operator: in how many cases a source has what we have, and in how many something else."""
    counts: dict[str, list[int]] = {}
    for name, one in asked.items():
        if theirs[name]:
            agrees = distance(theirs[name], mine[name]) < AGREE
            counts.setdefault(one.operator, [0, 0])[not agrees] += 1
    return dict(sorted(counts.items()))


def on_cases(wheel: str | None) -> dict[str, object]:
    """What the page says of the single-node cases."""
    asked = cases()
    mine = {name: by_us(one) for name, one in asked.items()}
    record: dict[str, object] = {
        "cases": len(asked),
        "onnxlens": counted(asked, mine, mine),
        "torch": counted(asked, mine, {name: by_torch(one) for name, one in asked.items()}),
    }
    if wheel:
        found, _ = by_wheel(wheel, asked)
        record["wheel"] = counted(asked, mine, found)
        record["wheel differs"] = {
            name: asked[name].operator for name in asked if distance(found[name], mine[name]) >= AGREE
        }
    return record


def on_networks(wheel: str) -> dict[str, object]:
    """What the page says of whole networks: distances from our gradients, or what the wheel stops at."""
    asked, autograd = {}, {}
    for name, one, found in networks():
        asked[name], autograd[name] = one, found
    theirs, said = by_wheel(wheel, asked)
    rows = {}
    for name, one in asked.items():
        mine = by_us(one)
        whole = len(theirs[name]) == len(one.wrt)
        rows[name] = {
            "weights": len(one.wrt) - 1,
            "torch": f"{distance(autograd[name], mine):.0e}",
            "wheel": f"{distance(theirs[name], mine):.0e}" if whole else reason(said[name]),
        }
    return rows


def reason(text: str) -> str:
    """The operator or the sentence in one of the wheel's long messages."""
    found = re.search(
        r"not been registered: (\w+)|implementation for (\w+)|(Op \(\w+\).*)|optimizer (.*)", text
    )
    return next(g for g in found.groups() if g) if found else text[-100:]


@click.command()
@click.option("--wheel", help="The interpreter of an environment with onnxruntime-training 1.19.2.")
def main(wheel: str | None) -> None:
    """Compare, and write the record and the page."""
    record = sources_page.record()
    record |= on_cases(wheel)
    if wheel:
        record["networks"] = on_networks(wheel)
    sources_page.RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sources_page.PAGE.write_text(sources_page.page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
