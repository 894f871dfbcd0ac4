"""Providers that come as packages of their own, `onnxruntime-ep-NAME`: a library that ONNX Runtime loads.

A package says where its library lies and what the provider is called in the runtime; it is imported for that.
"""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import NamedTuple

from ...host import variable
from ..errors import Unavailable

PLUGINS = ("openvino", "webgpu", "nv-tensorrt-rtx", "mlx")  # those that there are to install
PREFIX = "onnxruntime_ep_"
_NAME = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")


class Plugin(NamedTuple):
    """An installed package: its name and version, its library's path, and what the runtime calls it."""

    package: str
    version: str
    library: str
    called: str


@lru_cache(maxsize=1)
def installed() -> list[str]:
    """The providers that have a package here, by name."""
    found = [m.name.removeprefix(PREFIX) for m in pkgutil.iter_modules() if m.name.startswith(PREFIX)]
    return sorted({name.replace("_", "-") for name in found})


@lru_cache(maxsize=16)
def is_installed(name: str) -> bool:
    """True where there is a package for a provider."""
    return bool(_NAME.fullmatch(name)) and find_spec(_module(name)) is not None


def package_of(name: str) -> str:
    """What is to be installed for a provider."""
    return f"onnxruntime-ep-{name}"


@lru_cache(maxsize=16)
def plugin(name: str) -> Plugin:
    """The package of a provider that is installed. Raises Unavailable where it does not say its library."""
    try:
        with variable("LD_LIBRARY_PATH", None):  # to which NVIDIA's adds its folder
            module = import_module(_module(name))
            library, called = (_said(module, what) for what in ("library_path", "ep_name"))
    except Exception as error:  # whatever a package does when it is imported
        text = " ".join(str(error).split())[:200]
        raise Unavailable(f"{package_of(name)} does not say where its library is: {text}") from error
    package, version = owner(name)
    return Plugin(package, version, library, called)


def settings(name: str, threads: int | None) -> dict[str, str]:
    """What a provider is to be told: single precision, as the answers are compared in, and how many threads.

    OpenVINO computes in 16 bits where the processor has them, and does so whatever its option "precision"
    says: on such a CPU gradients of ResNet-18 were 0.24 of their norm off.
    """
    if name != "openvino":
        return {}
    exact: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32"}
    cpu = exact | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    return {"load_config": json.dumps({"CPU": cpu, "GPU": exact})}


def _module(name: str) -> str:
    return PREFIX + name.replace("-", "_")


def _said(module: object, what: str) -> str:
    """What a package's `get_WHAT` says; one spells it without the verb."""
    tell: Callable[[], object] = getattr(module, f"get_{what}", None) or getattr(module, what)
    return str(tell())


def owner(name: str) -> tuple[str, str]:
    """The distribution that a provider's package came with, and its version."""
    try:
        return package_of(name), metadata.version(package_of(name))
    except metadata.PackageNotFoundError:  # its name says more, as the CUDA it is built for
        owners = metadata.packages_distributions().get(_module(name))
        return (owners[0], metadata.version(owners[0])) if owners else (package_of(name), "unknown")
