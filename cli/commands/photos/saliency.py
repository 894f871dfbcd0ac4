"""`onnxlens saliency`: what the gradient says of every pixel."""

from __future__ import annotations

from typing import Any

import click

from ... import options
from . import projections


@options.command("saliency")
@projections.shared("saliency", "absolute", "top1")
@click.option(
    "--method",
    default="saliency",
    show_default=True,
    type=click.Choice(["saliency", "input-x-gradient", "lrp", "integrated", "smoothgrad"]),
    help="The gradient itself, times the input, relevance by layer-wise propagation (LRP), or averages of "
    "the gradient: on the way from the mean image (integrated gradients), or with noise on the photo.",
)
@click.option(
    "--steps", type=click.IntRange(1, 10_000), help="How many gradients an average is over.  [default: 50]"
)
def command(method: str, **given: Any) -> int:
    """Show how much each pixel changes a class or a unit.

    The gradient at the pixels, its largest absolute value over the colours (Simonyan et al. 2014). With
    --layer it is the gradient of a channel instead of that of a class.

    \b
    onnxlens saliency model.onnx cat.jpg --preset imagenet
    onnxlens saliency model.onnx cat.jpg --target top3 --style overlay
    onnxlens saliency model.onnx cat.jpg --method lrp --style diverging
    onnxlens saliency model.onnx cat.jpg --method integrated --steps 100
    """
    return projections.run("saliency", method, **given)
