"""onnxlens: what is your deployed vision model looking at?

    import onnxlens

    lens = onnxlens.Lens("model.onnx", preset="imagenet")
    photo = onnxlens.read_photo("cat.jpg")
    heat = lens.gradcam(photo)
    heat.target, heat.map, heat.at_photo(), heat.overlay()

Names are imported when they are first used, so that `import onnxlens` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.errors import OnnxlensError
    from .engine.explainer import Explainer, Explanation
    from .engine.gradient import gradient
    from .engine.network import Network
    from .models.heatmap import HeatMap, Prediction
    from .models.lens import Lens
    from .models.photo import read_photo
    from .models.preprocess import Preprocess

_HOMES = {
    "Explainer": "engine.explainer",
    "Explanation": "engine.explainer",
    "HeatMap": "models.heatmap",
    "Lens": "models.lens",
    "Network": "engine.network",
    "OnnxlensError": "engine.errors",
    "Prediction": "models.heatmap",
    "Preprocess": "models.preprocess",
    "gradient": "engine.gradient",
    "read_photo": "models.photo",
}

__all__ = [
    "Explainer",
    "Explanation",
    "HeatMap",
    "Lens",
    "Network",
    "OnnxlensError",
    "Prediction",
    "Preprocess",
    "gradient",
    "read_photo",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("onnxlens")
    if name not in _HOMES:
        raise AttributeError(f"module 'onnxlens' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
