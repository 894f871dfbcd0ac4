"""Which hardware ONNX Runtime uses, found out quietly and said plainly.

A GPU build on a machine without one lists CUDA all the same, prints C++ errors when asked for it, and then
falls back in silence. So the driver is asked first, then the provider's library, then the session.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from onnx import TensorProto, defs, helper

from ...host import onnxruntime, unprinted
from ..errors import BadRequest, Unavailable, nearest

RUNTIME = f"{onnxruntime.__version__} {onnxruntime.get_build_info()}"
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_NVIDIA = ("cuda", "tensorrt")


def choose(wish: str) -> tuple[str, str]:
    """The provider to use for a wish ("auto" or a key of PROVIDERS), and in a few words why.

    "auto" is CUDA where it works, else the CPU. Raises BadRequest for an unknown name, Unavailable for a
    wish that cannot be met.
    """
    if wish == "auto":
        missing = why_not("cuda")
        return ("cpu", f"CPU ({missing})") if missing else ("cuda", "CUDA")
    if wish not in PROVIDERS:
        raise BadRequest(f"there is no provider {wish!r}{nearest(wish, ['auto', *PROVIDERS])}")
    if missing := why_not(wish):
        raise Unavailable(f"provider {wish} cannot be used: {missing}; `--provider auto` takes what there is")
    return wish, wish.upper()


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


@lru_cache
def why_not(provider: str) -> str:
    """Why a provider cannot be used here, in a few words; empty when it can."""
    if provider == "cpu":
        return ""
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        return f"the installed ONNX Runtime has no {provider} provider{_two_distributions()}"
    if provider in _NVIDIA:
        return _no_driver() or _no_library(provider)
    return ""


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
