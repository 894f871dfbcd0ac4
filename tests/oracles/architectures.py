"""The families of vision networks, small, in plain PyTorch: one of each kind of layer that makes them hard.

`ARCHITECTURES` maps a name to a function that makes the module; `made(name)` gives it with seeded weights
and plausible stored statistics, for inference, and `picture(name)` an input for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """x + f(x), with a projection where the shape changes, and an activation behind the sum."""

    def __init__(self, inner: nn.Module, skip: nn.Module | None = None, after: nn.Module | None = None):
        super().__init__()
        self.inner, self.skip, self.after = inner, skip or nn.Identity(), after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.skip(x) + self.inner(x))


def conv_norm(a: int, b: int, k: int, stride: int = 1, groups: int = 1, act: type | None = None) -> nn.Module:
    layers = [nn.Conv2d(a, b, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(b)]
    return nn.Sequential(*layers, *([act()] if act else []))


def head(channels: int, classes: int = 7) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def resnet() -> nn.Module:
    """A stem with a max pool, a basic block and a bottleneck with stride."""
    basic = nn.Sequential(conv_norm(8, 8, 3, act=nn.ReLU), conv_norm(8, 8, 3))
    narrow = [conv_norm(8, 4, 1, act=nn.ReLU), conv_norm(4, 4, 3, 2, act=nn.ReLU), conv_norm(4, 16, 1)]
    return nn.Sequential(
        conv_norm(3, 8, 7, 2, act=nn.ReLU),
        nn.MaxPool2d(3, 2, 1),
        Residual(basic, after=nn.ReLU()),
        Residual(nn.Sequential(*narrow), conv_norm(8, 16, 1, 2), nn.ReLU()),
        *head(16),
    )


class SqueezeExcite(nn.Module):
    """Channels weighed by what the whole map says."""

    def __init__(self, channels: int, act: type, gate: type):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        scale = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.up(self.act(self.down(scale))))


def inverted(a: int, b: int, stride: int, k: int, act: type, excite: nn.Module) -> nn.Module:
    wide = 3 * a
    body = nn.Sequential(
        conv_norm(a, wide, 1, act=act),
        conv_norm(wide, wide, k, stride, groups=wide, act=act),
        excite,
        conv_norm(wide, b, 1),
    )
    return Residual(body) if stride == 1 and a == b else body


def mobilenet_v3() -> nn.Module:
    """Hard swish, squeeze and excitation with a hard sigmoid, depthwise convolutions of two sizes."""
    return nn.Sequential(
        conv_norm(3, 8, 3, 2, act=nn.Hardswish),
        inverted(8, 8, 1, 3, nn.ReLU, SqueezeExcite(24, nn.ReLU, nn.Hardsigmoid)),
        inverted(8, 12, 2, 5, nn.Hardswish, SqueezeExcite(24, nn.ReLU, nn.Hardsigmoid)),
        nn.Conv2d(12, 20, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(20, 16),
        nn.Hardswish(),
        nn.Dropout(0.2),
        nn.Linear(16, 7),
    )


def efficientnet() -> nn.Module:
    """SiLU all through, squeeze and excitation with a sigmoid, depthwise convolutions."""
    return nn.Sequential(
        conv_norm(3, 8, 3, 2, act=nn.SiLU),
        inverted(8, 8, 1, 3, nn.SiLU, SqueezeExcite(24, nn.SiLU, nn.Sigmoid)),
        inverted(8, 12, 2, 5, nn.SiLU, SqueezeExcite(24, nn.SiLU, nn.Sigmoid)),
        conv_norm(12, 16, 1, act=nn.SiLU),
        *head(16),
    )


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, then the channels last: LayerNorm, two linear layers with GELU, a learnt scale."""

    def __init__(self, channels: int, approximate: str):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(approximate), nn.Linear(2 * channels, channels)
        )
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + (self.scale * y).permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    """A patch stem, both kinds of GELU, a downsampling layer with its norm before it."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4),
        ChannelNorm(8),
        ConvNextBlock(8, "none"),
        ChannelNorm(8),
        nn.Conv2d(8, 12, 2, 2),
        ConvNextBlock(12, "tanh"),
        *head(12),
    )


class Attention(nn.Module):
    """Self-attention in heads, from one matrix for query, key and value."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).reshape(b, n, c))


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


def before(width: int, layer: nn.Module) -> nn.Module:
    return Residual(nn.Sequential(nn.LayerNorm(width), layer))


class VisionTransformer(nn.Module):
    """Patches, a class token, learnt positions; the score is read from the class token."""

    def __init__(self, width: int = 16, patch: int = 8, side: int = 32):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.5 * torch.randn(1, (side // patch) ** 2 + 1, width))
        blocks = [before(width, layer) for _ in range(2) for layer in (Attention(width, 4), mlp(width))]
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(width))
        self.head = nn.Linear(width, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.blocks(x)[:, 0])


class WindowAttention(nn.Module):
    """Attention within windows, shifted by a roll and masked where the roll joins what lies apart."""

    def __init__(self, width: int, side: int, window: int, shift: int):
        super().__init__()
        self.attention, self.window, self.shift = Attention(width, 2), window, shift
        where = torch.zeros(side, side)
        cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None)) if shift else ()
        for i, rows in enumerate(cuts):
            for j, columns in enumerate(cuts):
                where[rows, columns] = 3 * i + j
        count = side // window
        where = where.reshape(count, window, count, window).transpose(1, 2).reshape(count * count, -1)
        apart = where[:, None] != where[:, :, None]
        self.register_buffer("mask", (-100.0 * apart)[:, None])  # (windows, 1, pixels, pixels)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        k = self.window
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2)) if self.shift else x
        x = x.reshape(b, h // k, k, w // k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, k * k, c)
        x = self.attention(x, self.mask.repeat(b, 1, 1, 1))
        x = x.reshape(b, h // k, w // k, k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


class PatchMerging(nn.Module):
    """Four neighbours become one pixel of four times the channels."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduce(self.norm(torch.cat(corners, -1)))


class Swin(nn.Module):
    """Plain and shifted windows, then patch merging."""

    def __init__(self, width: int = 12):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(
            before(width, WindowAttention(width, 8, 4, 0)),
            before(width, mlp(width)),
            before(width, WindowAttention(width, 8, 4, 2)),
            before(width, mlp(width)),
            PatchMerging(width),
            nn.LayerNorm(width),
        )
        self.head = nn.Linear(width, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patches(x).permute(0, 2, 3, 1))
        return self.head(x.mean((1, 2)))


class UNet(nn.Module):
    """Down twice, up by a transposed convolution, by bilinear and by nearest resizing; skips joined."""

    def __init__(self):
        super().__init__()
        self.down1 = conv_norm(3, 6, 3, act=nn.LeakyReLU)
        self.down2 = conv_norm(6, 10, 3, 2, act=nn.LeakyReLU)
        self.middle = conv_norm(10, 12, 3, 2, act=nn.ELU)
        self.up = nn.ConvTranspose2d(12, 8, 4, 2, 1)
        self.join1 = conv_norm(18, 8, 3, act=nn.Mish)
        self.join2 = nn.Conv2d(14, 4, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(functional.avg_pool2d(a, 3, 1, 1))
        c = self.up(self.middle(b))
        c = self.join1(torch.cat([c, b], 1))
        c = functional.interpolate(c, scale_factor=2, mode="bilinear", align_corners=False)
        d = self.join2(torch.cat([c, a], 1))
        return functional.interpolate(d, size=(48, 48), mode="nearest")


class DetrDecoder(nn.Module):
    """Learnt queries that look at each other and at the map; classes and boxes."""

    def __init__(self, width: int = 16, queries: int = 5):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.ReLU(), nn.Conv2d(width, width, 2, 2))
        self.queries = nn.Embedding(queries, width)
        self.positions = nn.Parameter(torch.randn(16, width))
        self.own = nn.MultiheadAttention(width, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.mlp = mlp(width)
        self.classes, self.boxes = nn.Linear(width, 4), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        memory = self.backbone(x).flatten(2).transpose(1, 2)
        q = self.queries.weight.unsqueeze(0).expand(x.shape[0], -1, -1)
        y = self.norms[0](q + self.own(q, q, q, need_weights=False)[0])
        seen = self.cross(y + q, memory + self.positions, memory, need_weights=False)[0]
        y = self.norms[1](y + seen)
        y = self.norms[2](y + self.mlp(y))
        return torch.cat([self.classes(y), self.boxes(y).sigmoid()], -1)


class Crnn(nn.Module):
    """A text reader: convolutions, the columns as a sequence, a recurrent layer both ways."""

    def __init__(self, recurrent: type[nn.LSTM] | type[nn.GRU]):
        super().__init__()
        self.features = nn.Sequential(
            conv_norm(3, 6, 3, 2, act=nn.ReLU), conv_norm(6, 8, 3, 2, act=nn.Softplus)
        )
        self.recurrent = recurrent(8 * 8, 6, bidirectional=True, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.permute(0, 3, 1, 2).flatten(2)
        return functional.log_softmax(self.head(self.recurrent(x)[0]), -1)


def super_resolution() -> nn.Module:
    """PReLU, and channels turned into pixels and back."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2),
        nn.PReLU(8),
        nn.PixelUnshuffle(2),
        nn.Conv2d(32, 12, 3, padding=1),
        nn.Tanh(),
        nn.PixelShuffle(2),
        nn.ReplicationPad2d(1),
        nn.Conv2d(3, 12, 3),
        nn.PixelShuffle(2),
    )


def group_norms() -> nn.Module:
    """Normalised by group and by instance."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.GroupNorm(4, 8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, 2, 1, groups=2),
        nn.InstanceNorm2d(8, affine=True),
        nn.ReLU6(),
        nn.Conv2d(8, 6, 3),
        nn.GroupNorm(1, 6),
        *head(6),
    )


ARCHITECTURES = {
    "resnet": resnet,
    "mobilenet_v3": mobilenet_v3,
    "efficientnet": efficientnet,
    "convnext": convnext,
    "vit": VisionTransformer,
    "swin": Swin,
    "unet": UNet,
    "detr": DetrDecoder,
    "crnn_lstm": lambda: Crnn(nn.LSTM),
    "crnn_gru": lambda: Crnn(nn.GRU),
    "super_resolution": super_resolution,
    "group_norms": group_norms,
}


def made(name: str, seed: int = 0) -> nn.Module:
    """An architecture with seeded weights, statistics that are not trivial, in inference mode."""
    torch.manual_seed(seed)
    module = ARCHITECTURES[name]().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.data.uniform_(0.8, 1.6)
            part.bias.data.normal_(0, 0.2)
    return module


def picture(seed: int = 1, batch: int = 2) -> Tensor:
    """A batch of inputs (N, 3, 32, 32)."""
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
