"""The folder of what is brought or made once and used again: models, kernels, graphs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$ONNXLENS_CACHE, or else the cache folder of the platform."""
    if chosen := os.environ.get("ONNXLENS_CACHE"):
        return Path(chosen).absolute()
    import platformdirs

    return platformdirs.user_cache_path("onnxlens", appauthor=False)
