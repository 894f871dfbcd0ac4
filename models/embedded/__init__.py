"""The model that comes with the package, and the drawn scenes that it was trained on."""

from pathlib import Path


def path() -> Path:
    """Where the embedded model lies: a classifier of drawn scenes, 96x96 RGB, twelve classes."""
    return Path(__file__).with_name("scenes.onnx")
