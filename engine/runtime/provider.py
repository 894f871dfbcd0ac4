"""Which hardware ONNX Runtime uses, found out quietly and said plainly.

A GPU build on a machine without one lists CUDA all the same, prints C++ errors when asked for it, and then
falls back in silence. So the driver is asked first, then the provider's library, then the session. A plugin
(plugins.py) is found in its package, and used through one of its devices: asked for by its name, the runtime
takes the CPU and says nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from onnx import TensorProto, defs, helper

from ...host import onnxruntime, unprinted
from ..errors import BadRequest, Unavailable, nearest
from . import plugins
from .complaint import one_line

RUNTIME = f"{onnxruntime.__version__} {onnxruntime.get_build_info()}"
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
SEEN = ("cpu", "cuda")  # right wherever tests of ours ran; others are held against the CPU first (proven.py)
_NVIDIA = ("cuda", "tensorrt")


class Device(NamedTuple):
    """What a plugin can run on: "openvino:cpu", the runtime's handle, and who made what."""

    wish: str
    handle: onnxruntime.OrtEpDevice
    plugin: plugins.Plugin
    vendor: str
    name: str

    def __str__(self) -> str:
        named = f" ({self.name})" if self.name else ""
        return f"{self.wish}, by {self.vendor}{named}, {self.plugin.package} {self.plugin.version}"


def choose(wish: str) -> tuple[str, str]:
    """The provider to use for a wish, and in a few words why.

    A wish is "auto", a key of PROVIDERS, or a plugin, of which a device may be named: "openvino:gpu". "auto"
    is CUDA where it works, else the CPU. Raises BadRequest for an unknown name, Unavailable for a wish that
    cannot be met.
    """
    if wish == "auto":
        missing = why_not("cuda")
        return ("cpu", f"CPU ({missing})") if missing else ("cuda", "CUDA")
    name = wish.partition(":")[0]
    if wish not in PROVIDERS and (name in PROVIDERS or name not in names()):
        raise BadRequest(f"there is no provider {wish!r}{nearest(name, ['auto', *names()])}")
    if wish not in PROVIDERS and not why_not(name):
        found = device(wish)
        return found.wish, str(found)
    if missing := why_not(name):
        raise Unavailable(f"provider {wish} cannot be used: {missing}; `--provider auto` takes what there is")
    return wish, wish.upper()


def names() -> list[str]:
    """All providers by name: what ONNX Runtime has built in, plugins that are known, and those installed."""
    return list(dict.fromkeys([*PROVIDERS, *plugins.PLUGINS, *plugins.installed()]))


@lru_cache(maxsize=16)
def devices(name: str) -> tuple[Device, ...]:
    """What an installed plugin can run on, in the runtime's order. Raises Unavailable where it does not load.

    The first of a type is called "openvino:gpu", further ones "openvino:gpu.1" and so on.
    """
    plugin, found = plugins.plugin(name), list[Device]()
    try:
        if all(d.ep_name != plugin.called for d in onnxruntime.get_ep_devices()):
            onnxruntime.register_execution_provider_library(plugin.called, plugin.library)
        handles = [d for d in onnxruntime.get_ep_devices() if d.ep_name == plugin.called]
    except Exception as error:  # the binding raises kinds of its own
        raise Unavailable(f"ONNX Runtime does not load {plugin.package}: {one_line(error)}") from error
    for handle in handles:
        kind = f"{name}:{handle.device.type.name.lower()}"
        same = sum(d.wish.partition(".")[0] == kind for d in found)
        about = {**handle.device.metadata, **handle.ep_metadata}
        model = next((about[key] for key in ("FULL_DEVICE_NAME", "Description", "Model") if key in about), "")
        vendor = handle.device.vendor or f"vendor {handle.device.vendor_id:#06x}"
        found.append(Device(f"{kind}.{same}" if same else kind, handle, plugin, vendor, model))
    return tuple(found)


def installed() -> list[dict[str, Any]]:
    """The plugins that are installed, for the record: package, version, and the devices each can run on."""
    found = []
    for name in plugins.installed():
        package, version = plugins.owner(name)
        usable = () if why_not(name) else devices(name)
        on = [{"device": d.wish, "vendor": d.vendor, "name": d.name} for d in usable]
        found.append({"provider": name, "package": package, "version": version, "devices": on})
    return found


def device(wish: str) -> Device:
    """The device of a plugin that a wish means: the one it names, or else a GPU, or else the first.

    Raises BadRequest for one that is not there, and Unavailable as `devices` does and where there is none.
    """
    name, _, chosen = wish.partition(":")
    found = devices(name)
    if not found:
        raise Unavailable(_no_device(name))
    if not chosen:
        return next((d for d in found if d.wish == f"{name}:gpu"), found[0])
    for one in found:
        if one.wish == wish:
            return one
    raise BadRequest(f"{name} has no device {chosen!r} here; there are: {', '.join(d.wish for d in found)}")


@lru_cache
def newest_opset() -> int:
    """The newest opset of ONNX that this ONNX Runtime runs, found out with a model of one node."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", [value], [])
    graph.output.add(name="y")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for opset in range(defs.onnx_opset_version(), 0, -1):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        with contextlib.suppress(Exception):  # the binding raises kinds of its own
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=[PROVIDERS["cpu"]], enable_fallback=0
            )
            return opset
    return 0


@lru_cache(maxsize=32)
def why_not(provider: str) -> str:
    """Why a provider cannot be used here, in a few words; empty when it can."""
    if provider == "cpu":
        return ""
    if provider not in PROVIDERS:
        return _no_plugin(provider)
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        return f"the installed ONNX Runtime has no {provider} provider{_two_distributions()}"
    if provider in _NVIDIA:
        return _no_driver() or _no_library(provider)
    return ""


def _no_plugin(name: str) -> str:
    """Why a plugin cannot be used; empty when it can."""
    if not plugins.is_installed(name):
        return f"its package is not installed: pip install {plugins.package_of(name)}"
    try:
        return "" if devices(name) else _no_device(name)
    except Unavailable as error:
        return str(error)


def _no_device(name: str) -> str:
    plugin = plugins.plugin(name)
    return f"{plugin.package} {plugin.version} finds no device here that it can run on"


def _no_driver() -> str:
    """Why there is no usable NVIDIA device; empty when there is one."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver on this machine"
    count = ctypes.c_int(0)
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver finds no device"
    return ""


def _no_library(provider: str) -> str:
    """Why the provider's shared library does not load; empty when it does."""
    with unprinted():
        onnxruntime.preload_dlls()
    folder = Path(onnxruntime.__file__).parent / "capi"
    pattern = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    try:
        ctypes.CDLL(str(folder / pattern.format("shared")), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / pattern.format(provider)))
    except OSError as error:
        return f"{error}; pip install 'onnxlens[cuda]'" if provider == "cuda" else str(error)
    return ""


def _two_distributions() -> str:
    """A warning where two installed distributions own the module, of which the later one won."""
    owners = sorted(set(metadata.packages_distributions().get("onnxruntime", ())))
    if len(owners) < 2:
        return ""
    return f" ({' and '.join(owners)} overwrite each other: uninstall both, then reinstall one)"
