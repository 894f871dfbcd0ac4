"""`onnxlens guided`: guided backpropagation."""

from __future__ import annotations

from typing import Any

from ... import options
from . import projections


@options.command("guided")
@projections.shared("guided", "signed", "top1")
def command(**given: Any) -> int:
    """Project a unit back to the pixels: guided backpropagation.

    As `saliency`, but a ReLU lets nothing back that is negative, nor through units that were not active
    (Springenberg et al. 2015). The sharpest of the three; what it shows depends little on the class.

    \b
    onnxlens guided model.onnx cat.jpg --preset imagenet
    onnxlens guided model.onnx cat.jpg --target tabby --style overlay
    onnxlens guided model.onnx cat.jpg --layer conv5 --channels 12
    """
    return projections.run("guided", "guided", **given)
