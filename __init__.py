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

from importlib import import_module

# "from .models.lens import Lens as Lens": the stub says where each name is.
with open(f"{__file__}i", encoding="utf-8") as _stub:  # noqa: PTH123 (pathlib takes longer than all of this)
    _HOMES = {words[3]: words[1] for words in map(str.split, _stub) if words[:1] == ["from"]}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] (which reads the stub)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("onnxlens")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
