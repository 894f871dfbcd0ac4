"""Networks that no package has, for placement.toml: layouts of detectors and of exporters."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10


class Conv(nn.Module):
    """Convolution, BatchNormalization, activation."""

    def __init__(self, c: int, k: int, size: int = 3, stride: int = 1, padding: int | None = None):
        super().__init__()
        pad = size // 2 if padding is None else padding
        self.conv, self.norm, self.act = (
            nn.Conv2d(c, k, size, stride, pad, bias=False),
            nn.BatchNorm2d(k),
            nn.SiLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Two convolutions beside what they read."""

    def __init__(self, c: int):
        super().__init__()
        self.body = nn.Sequential(Conv(c, c // 2, 1), Conv(c // 2, c))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


# -- detectors --------------------------------------------------------------------------------------------


class Split(nn.Module):
    """A part passes blocks, each of whose outputs is kept; then all are mixed (C2f of YOLOv8)."""

    def __init__(self, c: int, k: int, count: int = 1):
        super().__init__()
        self.start, self.end = Conv(c, k, 1), Conv((2 + count) * k // 2, k, 1)
        self.blocks = nn.ModuleList(Residual(k // 2) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.start(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.end(torch.cat(parts, 1))


class Pooled(nn.Module):
    """Poolings of 5 by 5 after each other, side by side (SPPF)."""

    def __init__(self, c: int):
        super().__init__()
        self.start, self.pool, self.end = Conv(c, c // 2, 1), nn.MaxPool2d(5, 1, 2), Conv(2 * c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.start(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.end(torch.cat(parts, 1))


class Neck(nn.Module):
    """A pyramid up and down again (PAN)."""

    def __init__(self, c: int):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.up4, self.up3 = Split(6 * c, 2 * c), Split(3 * c, c)
        self.stride3, self.stride4 = Conv(c, c, stride=2), Conv(2 * c, 2 * c, stride=2)
        self.down4, self.down5 = Split(3 * c, 2 * c), Split(6 * c, 4 * c)

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor) -> list[Tensor]:
        p4 = self.up4(torch.cat([self.up(p5), p4], 1))
        p3 = self.up3(torch.cat([self.up(p4), p3], 1))
        p4 = self.down4(torch.cat([self.stride3(p3), p4], 1))
        return [p3, p4, self.down5(torch.cat([self.stride4(p4), p5], 1))]


class Focus(nn.Module):
    """Each second pixel apart, as channels (YOLOv5, YOLOX)."""

    def __init__(self, c: int, k: int):
        super().__init__()
        self.conv = Conv(4 * c, k)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.conv(torch.cat(parts, 1))


class Yolo(nn.Module):
    """Three scales of boxes in one row, as Ultralytics exports them: (N, 4 + classes, boxes)."""

    channels = 4 + CLASSES

    def __init__(self, c: int = 16):
        super().__init__()
        self.stem = Conv(3, c, stride=2)
        steps = ((c, c), (c, c), (c, 2 * c), (2 * c, 4 * c))
        stages = [nn.Sequential(Conv(a, b, stride=2), Split(b, b)) for a, b in steps]
        self.stages, self.sppf, self.neck = nn.ModuleList(stages), Pooled(4 * c), Neck(c)
        self.heads = nn.ModuleList(
            nn.Sequential(Conv(k, c), nn.Conv2d(c, self.channels, 1)) for k in (c, 2 * c, 4 * c)
        )

    channels = 4 + CLASSES

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for stage in self.stages:
            found.append(stage(found[-1]))
        pyramid = self.neck(found[2], found[3], self.sppf(found[4]))
        return self.decoded([head(level) for head, level in zip(self.heads, pyramid, strict=True)])

    def decoded(self, levels: list[Tensor]) -> Tensor:
        """Boxes in pixels and classes."""
        rows, grids = [], []
        for level, stride in zip(levels, (8, 16, 32), strict=True):
            h, w = level.shape[-2:]
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grids.append((torch.stack([x, y]).float().flatten(1) + 0.5) * stride)
            rows.append(level.flatten(2))
        boxes, classes = torch.cat(rows, 2).split([4, CLASSES], 1)
        centres = torch.cat(grids, 1) + boxes[:, :2]
        return torch.cat([centres, boxes[:, 2:].exp(), classes.sigmoid()], 1)


class AnchorYolo(Yolo):
    """Three anchors in each cell: (N, boxes, 5 + classes), as YOLOv5 exports them."""

    channels = 3 * (5 + CLASSES)

    def __init__(self, c: int = 16):
        super().__init__(c)
        self.stem = Focus(3, c)

    def decoded(self, levels: list[Tensor]) -> Tensor:
        """Sigmoids of all that a cell says of its anchors."""
        rows = []
        for level in levels:
            n, _, h, w = level.shape
            anchors = level.view(n, 3, 5 + CLASSES, h, w).permute(0, 1, 3, 4, 2)
            rows.append(anchors.sigmoid().reshape(n, -1, 5 + CLASSES))
        return torch.cat(rows, 1)


# -- pictures out of pictures -----------------------------------------------------------------------------


class Unet(nn.Module):
    """Ronneberger et al. 2015: padded and with transposed convolutions, or neither."""

    def __init__(self, c: int = 8, bilinear: bool = False):
        super().__init__()
        pad, widths = (0 if bilinear else 1), [c, 2 * c, 4 * c]
        double = lambda a, b: nn.Sequential(Conv(a, b, padding=pad), Conv(b, b, padding=pad))
        self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.pool, self.middle = nn.MaxPool2d(2), double(4 * c, 8 * c)
        grow = lambda k: (
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(2 * k, k, 1))
            if bilinear
            else nn.ConvTranspose2d(2 * k, k, 2, 2)
        )
        self.grow = nn.ModuleList(map(grow, widths))
        self.up = nn.ModuleList(double(2 * k, k) for k in widths)
        self.head = nn.Conv2d(c, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for block in self.down:
            kept.append(block(x))
            x = self.pool(kept[-1])
        x = self.middle(x)
        for i in (2, 1, 0):
            x = self.grow[i](x)
            h, w = (have - want for have, want in zip(kept[i].shape[-2:], x.shape[-2:], strict=True))
            beside = kept[i][..., h // 2 : h // 2 + x.shape[-2], w // 2 : w // 2 + x.shape[-1]]
            x = self.up[i](torch.cat([beside, x], 1))
        return self.head(x)


class Crnn(nn.Module):
    """Shi et al. 2015: a line of text, 32 pixels high, becomes columns, which two LSTMs read."""

    def __init__(self, c: int = 16):
        super().__init__()
        pool = nn.MaxPool2d((2, 2), (2, 1), (0, 1))
        self.cnn = nn.Sequential(
            nn.Sequential(Conv(3, c), nn.MaxPool2d(2)),
            nn.Sequential(Conv(c, 2 * c), nn.MaxPool2d(2)),
            nn.Sequential(Conv(2 * c, 4 * c), pool, Conv(4 * c, 4 * c), nn.MaxPool2d((2, 2), (2, 1), (0, 1))),
            Conv(4 * c, 4 * c, 2, padding=0),
        )
        self.columns = Columns()
        self.rnn = nn.LSTM(4 * c, 2 * c, bidirectional=True)
        self.head = nn.Linear(4 * c, CLASSES + 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.columns(self.cnn(x)))[0])


class Columns(nn.Module):
    """(N, C, 1, W) -> (W, N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(2).permute(2, 0, 1)


# -- orders of tokens -------------------------------------------------------------------------------------


class Block(nn.Module):
    """A block of a transformer."""

    def __init__(self, c: int, heads: int = 4):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(c), nn.LayerNorm(c)
        self.qkv, self.proj = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.mlp = nn.Sequential(nn.Linear(c, 2 * c), nn.GELU(), nn.Linear(2 * c, c))

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        read = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c)
        x = x + self.proj(read)
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    """The photo as tokens, row by row or column by column."""

    def __init__(self, c: int, size: int = 16, columns_first: bool = False):
        super().__init__()
        self.conv, self.columns_first = nn.Conv2d(3, c, size, size), columns_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x.permute(0, 3, 2, 1).flatten(1, 2) if self.columns_first else x.flatten(2).transpose(1, 2)


class Tokens(nn.Module):
    """More tokens: in the middle of the patches, or behind them."""

    def __init__(self, c: int, count: int, middle: bool = False):
        super().__init__()
        self.more, self.middle = nn.Parameter(torch.randn(1, count, c)), middle

    def forward(self, x: Tensor) -> Tensor:
        more, half = self.more.expand(len(x), -1, -1), x.shape[1] // 2
        return torch.cat([x[:, :half], more, x[:, half:]] if self.middle else [x, more], 1)


class RegistersBehind(nn.Module):
    """A transformer with four registers and then the class token behind the patches."""

    def __init__(self, c: int = 64, depth: int = 4):
        super().__init__()
        self.patches, self.tokens = Patches(c), Tokens(c, 5)
        self.blocks = nn.Sequential(*(Block(c) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(c), nn.Linear(c, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(self.patches(x))))[:, -1])


class ColumnsFirst(nn.Module):
    """A transformer whose tokens go down each column."""

    def __init__(self, c: int = 64, depth: int = 2):
        super().__init__()
        self.patches = Patches(c, columns_first=True)
        self.blocks = nn.Sequential(*(Block(c) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(c), nn.Linear(c, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.patches(x))).mean(1))


class Scan(nn.Module):
    """Along the tokens: a causal convolution, a state that decays (Gu and Dao 2023, with a constant step)."""

    def __init__(self, c: int):
        super().__init__()
        self.conv, self.decay, self.gain = (
            nn.Conv1d(c, c, 4, padding=3, groups=c),
            nn.Parameter(torch.zeros(c)),
            nn.Linear(c, c),
        )

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        x = functional.silu(self.conv(x.transpose(1, 2))[..., :count]).transpose(1, 2)
        steps = torch.arange(count, dtype=x.dtype)
        ages = (steps[:, None] - steps).clamp(min=0)
        weights = (
            torch.exp(-ages[..., None] * functional.softplus(self.decay))
            * (steps[:, None] >= steps)[..., None]
        )
        return self.gain(torch.einsum("tsc,nsc->ntc", weights, x))


class VimBlock(nn.Module):
    """Tokens read forwards and backwards beside a gate (Zhu et al. 2024, alg. 1)."""

    def __init__(self, c: int):
        super().__init__()
        self.norm, self.start, self.gate, self.end = (
            nn.LayerNorm(c),
            nn.Linear(c, c),
            nn.Linear(c, c),
            nn.Linear(c, c),
        )
        self.forwards, self.backwards = Scan(c), Scan(c)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm(x)
        inner = self.start(seen)
        read = self.forwards(inner) + self.backwards(inner.flip(1)).flip(1)
        return x + self.end(read * functional.silu(self.gate(seen)))


class Vim(nn.Module):
    """Zhu et al. 2024: the class token stands in the middle of the patches."""

    def __init__(self, c: int = 64, depth: int = 4):
        super().__init__()
        self.patches, self.tokens = Patches(c), Tokens(c, 1, middle=True)
        self.blocks = nn.Sequential(*(VimBlock(c) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(c), nn.Linear(c, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.tokens(self.patches(x))))
        return self.head(x[:, x.shape[1] // 2])


# -- layouts ----------------------------------------------------------------------------------------------


class Last(nn.Module):
    """A convolution between channels that stand last, padded by hand, as TensorFlow's converters do."""

    def __init__(self, c: int, k: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(c, k, 3, 2), nn.LayerNorm(k)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x.permute(0, 3, 1, 2), (0, 1, 0, 1))
        return functional.relu(self.norm(self.conv(x).permute(0, 2, 3, 1)))


class Nhwc(nn.Module):
    """Takes (N, H, W, 3) and hands on (N, H, W, C)."""

    def __init__(self, c: int = 16):
        super().__init__()
        self.stages = nn.Sequential(Last(3, c), Last(c, 2 * c), Last(2 * c, 4 * c))
        self.head = nn.Linear(4 * c, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(x).mean((1, 2)))


class NhwcInput(nn.Module):
    """A small residual network behind a Transpose of its input."""

    def __init__(self, c: int = 16):
        super().__init__()
        widths = (3, c, 2 * c, 3 * c, 4 * c)
        for i, (a, b) in enumerate(pairwise(widths), 1):
            self.add_module(f"layer{i}", nn.Sequential(Conv(a, b, stride=2), Residual(b)))
        self.head = nn.Linear(4 * c, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
        return self.head(x.mean((2, 3)))


class PixelUnshuffle(nn.Module):
    """Space to depth in place of strides."""

    def __init__(self, c: int = 16):
        super().__init__()
        deeper = lambda a, b: nn.Sequential(
            OrderedDict(apart=nn.PixelUnshuffle(2), mix=Conv(4 * a, b), block=Residual(b))
        )
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), Conv(48, c))
        self.stages = nn.Sequential(deeper(c, 2 * c), deeper(2 * c, 2 * c), deeper(2 * c, 4 * c))
        self.head = nn.Linear(4 * c, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


OWN = {
    "yolo": Yolo,
    "yolo_anchors": AnchorYolo,
    "unet": Unet,
    "unet_bilinear": lambda: Unet(bilinear=True),
    "crnn": Crnn,
    "vim": Vim,
    "registers_behind": RegistersBehind,
    "nhwc": Nhwc,
    "nhwc_input": NhwcInput,
    "columns_first": ColumnsFirst,
    "pixel_unshuffle": PixelUnshuffle,
}
LAST = {"nhwc", "nhwc_input"}  # take (N, H, W, 3)
