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
    from .engine.attribution.explainer import Explainer, Explanation
    from .engine.autodiff.gradient import gradient
    from .engine.errors import OnnxlensError
    from .engine.runtime.network import Network
    from .models.attribution.occlusion import occlusion
    from .models.attribution.projection import project, project_layer
    from .models.dreams.ascent import Ascent
    from .models.dreams.dream import dream, film
    from .models.dreams.imagine import imagine
    from .models.features.responses import responses
    from .models.features.top import top
    from .models.features.weights import weights
    from .models.lens import Lens
    from .models.maps.attribution import Attribution, HeatMap
    from .models.maps.prediction import Prediction
    from .models.photos.photo import read_photo
    from .models.photos.preprocess import Preprocess
    from .models.report.report import report

_HOMES = {
    "Ascent": "models.dreams.ascent",
    "Attribution": "models.maps.attribution",
    "Explainer": "engine.attribution.explainer",
    "Explanation": "engine.attribution.explainer",
    "HeatMap": "models.maps.attribution",
    "Lens": "models.lens",
    "Network": "engine.runtime.network",
    "OnnxlensError": "engine.errors",
    "Prediction": "models.maps.prediction",
    "Preprocess": "models.photos.preprocess",
    "dream": "models.dreams.dream",
    "film": "models.dreams.dream",
    "gradient": "engine.autodiff.gradient",
    "imagine": "models.dreams.imagine",
    "occlusion": "models.attribution.occlusion",
    "project": "models.attribution.projection",
    "project_layer": "models.attribution.projection",
    "read_photo": "models.photos.photo",
    "report": "models.report.report",
    "responses": "models.features.responses",
    "top": "models.features.top",
    "weights": "models.features.weights",
}

__all__ = [
    "Ascent",
    "Attribution",
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
