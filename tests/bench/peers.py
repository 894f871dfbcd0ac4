"""What people use today, on the same PyTorch modules: autograd, Captum, and pytorch-grad-cam's computation.

pytorch-grad-cam itself imports torchvision, which has no build for PyTorch's CPU packages everywhere; what it
computes is written down here: hooks on the layer, `loss.backward()` with every weight's gradient, as the
library runs it, the mean of the gradients, the weighted sum, ReLU.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def forward(module: nn.Module, x: Tensor) -> np.ndarray:
    """The scores (N, C)."""
    with torch.inference_mode():
        return module(x).numpy()


def gradient(module: nn.Module, x: Tensor, classes: Tensor) -> np.ndarray:
    """Eager autograd, of the input alone: no weight asks for a gradient."""
    x = x.clone().requires_grad_()
    score = module(x).gather(1, classes[:, None]).sum()
    return torch.autograd.grad(score, x)[0].numpy()


def attribution(method: str, module: nn.Module, **settings: Any) -> Callable[[Tensor, Tensor], np.ndarray]:
    """A method of Captum; gives signed attributions of the shape of x."""
    import captum.attr

    attribute = getattr(captum.attr, method)(module).attribute

    def call(x: Tensor, classes: Tensor) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return attribute(x, target=classes, **settings).detach().numpy()

    return call


def gradcam(module: nn.Module, features: str, to_layer: bool) -> Callable[[Tensor, Tensor], np.ndarray]:
    """Grad-CAM of the module called `features`, as pytorch-grad-cam computes it; maps (N, h, w).

    `to_layer`: the way back ends at the layer, which the library's does not.
    """
    module = copy.deepcopy(module).requires_grad_(not to_layer)
    seen: dict[str, Tensor] = {}

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        seen["activation"] = output = output.requires_grad_() if to_layer else output
        output.register_hook(lambda g: seen.update(gradient=g))
        return output

    module.get_submodule(features).register_forward_hook(keep)

    def call(x: Tensor, classes: Tensor) -> np.ndarray:
        module.zero_grad()
        score = module(x).gather(1, classes[:, None]).sum()
        if to_layer:
            torch.autograd.grad(score, seen["activation"])
        else:
            score.backward()
        a, g = (_as_maps(seen[name].detach()) for name in ("activation", "gradient"))
        return torch.relu((g.mean((2, 3), keepdim=True) * a).sum(1)).numpy()

    return call


def _as_maps(values: Tensor) -> Tensor:
    """(N, C, h, w); tokens (N, 1 + h·w, C) without the class token."""
    if values.ndim == 4:
        return values
    side = int((values.shape[1] - 1) ** 0.5)
    return values[:, 1:].reshape(len(values), side, side, -1).permute(0, 3, 1, 2)


def best_batch(call: Callable[[Tensor], object], x: Tensor, sizes: Sequence[int] = (1, 2, 4, 8, 16)) -> int:
    """The batch at which an image takes the least time, each tried three times; x (1, ...) is repeated."""
    taken = {}
    for n in sizes:
        batch, runs = x.repeat(n, 1, 1, 1), []
        for _ in range(3):
            start = time.perf_counter()
            call(batch)
            runs.append(time.perf_counter() - start)
        taken[n] = min(runs) / n
    return min(taken, key=lambda n: taken[n])
