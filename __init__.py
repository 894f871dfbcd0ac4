"""onnxlens: what is your deployed vision model looking at?

    import onnxlens

    lens = onnxlens.Lens("model.onnx", preset="imagenet")
    photo = onnxlens.read_photo("cat.jpg")
    heat = lens.gradcam(photo)
    heat.target, heat.map, heat.at_photo(), heat.overlay()
    onnxlens.occlusion(lens, photo).heat().overlay()

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
    from .models.ascent import Ascent
    from .models.dream import dream, film
    from .models.heatmap import HeatMap, Prediction
    from .models.imagine import imagine
    from .models.lens import Lens
    from .models.occlusion import occlusion
    from .models.photo import read_photo
    from .models.preprocess import Preprocess
    from .models.projection import project, project_layer
    from .models.report import report
    from .models.responses import responses
    from .models.top import top
    from .models.weights import weights

_HOMES = {
    "Ascent": "models.ascent",
    "Explainer": "engine.explainer",
    "Explanation": "engine.explainer",
    "HeatMap": "models.heatmap",
    "Lens": "models.lens",
    "Network": "engine.network",
    "OnnxlensError": "engine.errors",
    "Prediction": "models.heatmap",
    "Preprocess": "models.preprocess",
    "dream": "models.dream",
    "film": "models.dream",
    "gradient": "engine.gradient",
    "imagine": "models.imagine",
    "occlusion": "models.occlusion",
    "project": "models.projection",
    "project_layer": "models.projection",
    "read_photo": "models.photo",
    "report": "models.report",
    "responses": "models.responses",
    "top": "models.top",
    "weights": "models.weights",
}

__all__ = [
    "Ascent",
    "Explainer",
    "Explanation",
    "HeatMap",
    "Lens",
    "Network",
    "OnnxlensError",
    "Prediction",
    "Preprocess",
    "dream",
    "film",
    "gradient",
    "imagine",
    "occlusion",
    "project",
    "project_layer",
    "read_photo",
    "report",
    "responses",
    "top",
    "weights",
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
