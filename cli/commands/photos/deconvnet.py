"""`onnxlens deconvnet`: from a unit back to the pixels, as Zeiler & Fergus do."""

from __future__ import annotations

from typing import Any

from ... import options
from . import projections


@options.command("deconvnet")
@projections.shared("deconvnet", "signed", "none, but the layer's strongest channels")
def command(**given: Any) -> int:
    """Project units back to the pixels: the deconvnet of Zeiler & Fergus.

    From the strongest channels of the last feature map, of any other one with --layer, or from a class with
    --target. All but the unit is set to zero, and what is left runs back through transposed filters, the
    switches of the max-pooling, and a ReLU wherever the network has one. Each photo and unit gives a picture
    (.png) and the signal on the model's input (.npy); several channels also give a sheet of what each sees.

    \b
    onnxlens deconvnet model.onnx cat.jpg --preset imagenet
    onnxlens deconvnet model.onnx cat.jpg --layer conv5 --top 4
    onnxlens deconvnet model.onnx cat.jpg --layer conv5 --channels 12 --position 6,4
    """
    return projections.run("deconvnet", "deconvnet", of_channels=True, **given)
