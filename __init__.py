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

from typing import Any

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("onnxlens")
    return _public(name)
