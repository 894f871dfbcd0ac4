"""Kernels beside the plainest way to move the same bytes: python tests/bench/kernels.py [--repeats N]

Tiling beside a plain copy of as many bytes, to be at 80 % of its speed or more; upsampling to the size of a
photo beside cv2.resize, not to be slower on one map and to be faster on a batch. One thread each, medians, in
turns.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import click
import cv2
import numpy as np

from onnxlens.kernels.photos.upsample import upsample
from onnxlens.kernels.tile import tile

SIDE, PATCH = 224, 16
PHOTOS = (480, 640), (1080, 1920)
MAP = 7, 13, 28


def interleaved(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """The median seconds of each call, taken in turns so that all meet the same noise."""
    seconds: list[list[float]] = [[] for _ in calls]
    for i in range(repeats + 5):
        for call, kept in zip(calls, seconds, strict=True):
            start = perf_counter()
            call()
            if i >= 5:
                kept.append(perf_counter() - start)
    return [float(np.median(s)) for s in seconds]


def tiling(batch: int, repeats: int) -> str:
    """Copies of an image with patches, beside copies of as many bytes from a stack of such images."""
    rng = np.random.default_rng(0)
    image, filler = rng.standard_normal((2, 3, SIDE, SIDE)).astype(np.float32)
    corners = rng.integers(0, SIDE - PATCH, (batch, 2))
    stack, out = np.repeat(image[None], batch, 0), np.empty((batch, *image.shape), np.float32)
    copied = np.empty_like(stack)
    ours, plain = interleaved(
        [lambda: tile(image, filler, corners, (PATCH, PATCH), out), lambda: np.copyto(copied, stack)], repeats
    )
    took = f"{ours * 1e3:7.3f} ms, copy {plain * 1e3:7.3f} ms"
    return f"tile, {batch:2} images: {took}: {plain / ours:.0%} of its speed"


def upsampling(batch: int, side: int, size: tuple[int, int], repeats: int) -> str:
    """Maps to the size of a photo, beside cv2.resize on one map after the other."""
    maps = np.random.default_rng(0).standard_normal((batch, side, side)).astype(np.float32)
    height, width = size

    def theirs() -> np.ndarray:
        out = np.empty((batch, height, width), np.float32)
        for one, to in zip(maps, out, strict=True):
            cv2.resize(one, (width, height), dst=to, interpolation=cv2.INTER_LINEAR)
        return out

    np.testing.assert_allclose(upsample(maps, height, width), theirs(), atol=1e-4)
    ours, other = interleaved([lambda: upsample(maps, height, width), theirs], repeats)
    what = f"upsample, {batch:2} of {side}x{side} to {height}x{width}"
    return f"{what}: {ours * 1e3:7.3f} ms, cv2 {other * 1e3:7.3f} ms: {other / ours:.2f} times as fast"


@click.command()
@click.option("--repeats", default=50, show_default=True)
def main(repeats: int) -> None:
    """Print a line for each."""
    cv2.setNumThreads(1)
    for batch in (1, 4, 16, 64):
        print(tiling(batch, repeats))
    for batch in (1, 16):
        for size in PHOTOS:
            for side in MAP:
                print(upsampling(batch, side, size, repeats))


if __name__ == "__main__":
    main()
