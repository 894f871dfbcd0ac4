"""The networks of the suite in plain PyTorch, as torchvision and timm lay them out, with random weights.

Weights are seeded and of a size that neither lets signals die nor grow (He et al. 2015), and the statistics
of BatchNormalization are those of a batch of noise, as after training: timings depend on neither, but zeros,
infinities and denormal numbers would be another matter. ImageNet weights are not needed and not fetched.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 1000


def conv(c: int, k: int, size: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU):
    """Convolution, BatchNormalization, activation."""
    layers = [nn.Conv2d(c, k, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(k)]
    return nn.Sequential(*layers, *([act()] if act else []))


# -- SqueezeNet 1.1 -----------------------------------------------------------------------------------------


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 side by side."""

    def __init__(self, c: int, few: int, each: int):
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(c, few, 1), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(few, each, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(few, each, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


def squeezenet() -> nn.Module:
    """Iandola et al. 2016; version 1.1."""
    pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool()),
        *(Fire(64, 16, 64), Fire(128, 16, 64), pool()),
        *(Fire(128, 32, 128), Fire(256, 32, 128), pool()),
        *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
    )
    head = nn.Sequential(nn.Conv2d(512, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(features, head)


# -- ResNet-50 ----------------------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1, added to the input; a stride is in the 3x3 (version 1.5)."""

    def __init__(self, c: int, k: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(conv(c, k, 1), conv(k, k, 3, stride), conv(k, 4 * k, 1, act=None))
        same = stride == 1 and c == 4 * k
        self.short = nn.Identity() if same else conv(c, 4 * k, 1, stride, act=None)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.short(x))


def resnet50() -> nn.Module:
    """He et al. 2016."""
    blocks, c = [], 64
    for k, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            blocks.append(Bottleneck(c, k, stride if i == 0 else 1))
            c = 4 * k
    features = nn.Sequential(conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, CLASSES))


# -- VGG-16 -------------------------------------------------------------------------------------------------


def vgg16() -> nn.Module:
    """Simonyan & Zisserman 2015, configuration D."""
    layers, c = [], 3
    for k, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(c, k, 3, padding=1), nn.ReLU()]
            c = k
        layers.append(nn.MaxPool2d(2, 2))
    head = [nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, CLASSES)]
    return nn.Sequential(nn.Sequential(*layers[:-1]), layers[-1], nn.Flatten(), *head)


# -- MobileNetV2 --------------------------------------------------------------------------------------------


class Inverted(nn.Module):
    """Wide 1x1, depthwise 3x3, narrow 1x1; added to the input where the size stays."""

    def __init__(self, c: int, k: int, stride: int, wide: int):
        super().__init__()
        middle = c * wide
        self.body = nn.Sequential(
            *([conv(c, middle, 1, act=nn.ReLU6)] if wide > 1 else []),
            conv(middle, middle, 3, stride, middle, nn.ReLU6),
            conv(middle, k, 1, act=None),
        )
        self.added = stride == 1 and c == k

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.added else self.body(x)


def mobilenet_v2() -> nn.Module:
    """Sandler et al. 2018, width 1."""
    plan = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    blocks, c = [], 32
    for wide, k, count, stride in plan:
        for i in range(count):
            blocks.append(Inverted(c, k, stride if i == 0 else 1, wide))
            c = k
    features = nn.Sequential(conv(3, 32, 3, 2, act=nn.ReLU6), *blocks, conv(c, 1280, 1, act=nn.ReLU6))
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, CLASSES))


# -- ViT-S/16 -----------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and added to what goes in."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(b, n, c))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021; Touvron et al. 2021 for the small size."""

    def __init__(self, width: int = 384, depth: int = 12, heads: int = 6):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.5 * torch.randn(1, 197, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


# -- all of them --------------------------------------------------------------------------------------------


class Design(NamedTuple):
    """How a network is built, and which of its modules gives the last features."""

    build: Callable[[], nn.Module]
    features: str
    name: str


NETWORKS = {
    "squeezenet": Design(squeezenet, "0", "SqueezeNet 1.1"),
    "resnet50": Design(resnet50, "0", "ResNet-50"),
    "vgg16": Design(vgg16, "0", "VGG-16"),
    "mobilenet_v2": Design(mobilenet_v2, "0", "MobileNetV2"),
    "vit_s16": Design(VisionTransformer, "blocks.11.norm1", "ViT-S/16"),
}


def made(name: str, seed: int = 0) -> nn.Module:
    """A network with its seeded weights, in inference mode."""
    torch.manual_seed(seed)
    module = NETWORKS[name].build()
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            relu = name != "vit_s16"
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu" if relu else "linear")
            if part.bias is not None:
                nn.init.normal_(part.bias, 0, 0.05)
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
        if isinstance(part, Bottleneck | Inverted):  # the sum grows slowly, as in trained ones
            nn.init.constant_(part.body[-1][1].weight, 0.25)
    with torch.no_grad():
        module(picture(4))  # in training mode: BatchNormalization takes the statistics of this batch
    return module.eval().requires_grad_(False)


def picture(batch: int, seed: int = 1) -> Tensor:
    """Inputs (N, 3, 224, 224): noise of all scales, as photos have it, of about unit variance."""
    noise = torch.Generator().manual_seed(seed)
    x = torch.zeros(batch, 3, 224, 224)
    for size in (7, 28, 112, 224):
        part = torch.randn(batch, 3, size, size, generator=noise)
        x += 0.6 * functional.interpolate(part, (224, 224), mode="bilinear")
    return x


def export(module: nn.Module, path: Path) -> None:
    """Write a network as ONNX with a free batch, as torch.onnx.export folds and names it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (picture(1),),
            str(path),
            dynamo=False,
            opset_version=18,
            input_names=["image"],
            output_names=["scores"],
            dynamic_axes={"image": {0: "N"}, "scores": {0: "N"}},
        )
