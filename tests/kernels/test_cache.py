import os
import subprocess
import sys

import numba.core.caching
import numpy as np

from onnxlens.kernels.jit import compiled, view

SCRIPT = """
import importlib, pkgutil
import onnxlens.kernels
from numba.core.dispatcher import Dispatcher
names = [m.name for m in pkgutil.iter_modules(onnxlens.kernels.__path__, "onnxlens.kernels.")]
values = [v for name in names for v in vars(importlib.import_module(name)).values()]
found = {v for v in values if isinstance(v, Dispatcher)}
hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in found)
print(len(names), len(found), sum(len(kernel.signatures) for kernel in found), hits)
"""


def start(**environment):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(n) for n in done.stdout.split()]


def test_a_second_start_compiles_nothing(tmp_path):
    modules, kernels, signatures, hits = start(NUMBA_CACHE_DIR=str(tmp_path))
    assert kernels == signatures >= modules - 1  # all but jit.py hold one, of one signature
    assert hits == 0
    assert start(NUMBA_CACHE_DIR=str(tmp_path)) == [modules, kernels, kernels, kernels]


def test_kernels_work_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    @compiled(view(numba.float32, 1), numba.float32[::1])
    def double(x, out):
        for i in range(x.size):
            out[i] = 2 * x[i]

    out = np.empty(3, np.float32)
    double(np.arange(3, dtype=np.float32), out)
    np.testing.assert_array_equal(out, [0, 2, 4])
