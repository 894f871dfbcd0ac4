"""Providers: what is there is used, what is not is said."""

import subprocess
import sys

import pytest

from onnxlens.engine.errors import BadRequest, Unavailable
from onnxlens.engine.runtime import provider


def test_the_cpu_is_always_there():
    assert provider.choose("cpu")[0] == "cpu"
    assert provider.why_not("cpu") == ""


def test_auto_takes_the_cpu_where_there_is_no_gpu_and_says_why(monkeypatch):
    monkeypatch.setattr(provider, "why_not", lambda name: "" if name == "cpu" else "no NVIDIA driver")
    assert provider.choose("auto") == ("cpu", "CPU (no NVIDIA driver)")
    with pytest.raises(Unavailable, match="cuda cannot be used: no NVIDIA driver"):
        provider.choose("cuda")


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(BadRequest, match=r"no provider 'cpuu'; nearest: cpu"):
        provider.choose("cpuu")


def test_asking_makes_no_noise():
    code = "from onnxlens.engine.runtime.provider import PROVIDERS, why_not; [why_not(p) for p in PROVIDERS]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
