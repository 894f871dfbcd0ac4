import os
import subprocess
import sys

import numba.core.caching
import numpy as np

from onnxlens.kernels.jit import compiled, view

SCRIPT = """
import numpy as np
from onnxlens.kernels import normalise, overlay, upsample
from numba.core.dispatcher import Dispatcher
maps = normalise.normalise(upsample.upsample(np.eye(3, dtype=np.float32)[None], 6, 7))
overlay.overlay(np.zeros((1, 6, 7, 3), np.uint8), maps, np.zeros((256, 3), np.uint8))
modules = normalise, overlay, upsample
kernels = [v for module in modules for v in vars(module).values() if isinstance(v, Dispatcher)]
hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels)
print(len(kernels), sum(len(kernel.signatures) for kernel in kernels), hits)
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
    assert start(NUMBA_CACHE_DIR=str(tmp_path)) == [3, 3, 0]
    assert start(NUMBA_CACHE_DIR=str(tmp_path)) == [3, 3, 3]


def test_kernels_work_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    @compiled(view(numba.float32, 1), numba.float32[::1])
    def double(x, out):
        for i in range(x.size):
            out[i] = 2 * x[i]

    out = np.empty(3, np.float32)
    double(np.arange(3, dtype=np.float32), out)
    np.testing.assert_array_equal(out, [0, 2, 4])
