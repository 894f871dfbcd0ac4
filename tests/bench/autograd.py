"""How far our gradients of whole networks lie from those of PyTorch's autograd.

python tests/bench/autograd.py [NAME]...

The largest relative distance, in norm, over the image and the weights looked at. In float32 on ONNX Runtime,
once with each unit on the same side of its kink (files only) and once raw; in float64 both, ours on ONNX's
reference evaluator, whose MaxPool pads the inceptions wrongly, so that their float64 says nothing.
Without names, all networks of the tests, one after the other; vgg19 takes some GB.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles import autograd
from oracles.architectures import ARCHITECTURES, made, picture
from oracles.networks import randomised

from onnxlens.models import embedded

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
FILES = [f.stem.removeprefix("light_") for f in sorted(LIGHT.glob("light_*.onnx"))] + ["embedded"]
EXPORTERS = "torchscript", "dynamo"


def of_file(name: str) -> list[str]:
    """The row of a network that comes as a file: with shared sides, raw, in float64."""
    rng = np.random.default_rng(2)
    if name == "embedded":
        model, image = onnx.load(embedded.path()), rng.standard_normal((2, 3, 96, 96))
    else:
        model = randomised(onnx.load(LIGHT / f"light_{name}.onnx"))
        image = rng.standard_normal((1, 3, 224, 224))
    image = image.astype(np.float32)
    return [
        measured(lambda: autograd.of_file(model, image)),
        measured(lambda: autograd.of_file(model, image, shared=False)),
        measured(lambda: autograd.of_file(model, image, shared=False, double=True)),
    ]


def of_module(name: str, exporter: str) -> list[str]:
    """The row of an exported module; PyTorch runs its code, so no side can be told."""

    def of_type(dtype: torch.dtype) -> autograd.Distances:
        module, x = made(name).to(dtype), picture().to(dtype)
        return autograd.of_module(module, autograd.exported(module, x, exporter, "static"), x)

    return ["", measured(lambda: of_type(torch.float32)), measured(lambda: of_type(torch.float64))]


def measured(call: Callable[[], autograd.Distances]) -> str:
    """The largest distance, or the error: exporters and ONNX's evaluator do not know all in float64."""
    try:
        return f"{max(call().values()):.0e}"
    except Exception as error:
        return f" {type(error).__name__}"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*FILES, *ARCHITECTURES]))
def main(names: tuple[str, ...]) -> None:
    """Print a row for each network."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(f"{'':32} same sides         raw     float64")
    for name in names or [*FILES, *ARCHITECTURES]:
        for exporter in EXPORTERS if name in ARCHITECTURES else [""]:
            row = of_module(name, exporter) if exporter else of_file(name)
            print(f"{name + ' ' + exporter:32}" + "".join(f"{value:>12}" for value in row), flush=True)


if __name__ == "__main__":
    main()
