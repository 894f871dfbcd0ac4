"""Small networks, one for each kind of answer, from photos (n, 3, h, w) of 0 to 1."""

# Only who trains has torch; the linter runs before that is installed.
# pyright: reportMissingImports=false

from __future__ import annotations

import torch
from scenes import ALPHABET, CLASSES
from torch import Tensor, nn
from torch.nn import functional

COUNT = len(CLASSES)
BINS = 8  # of a distance from an anchor to a side, in strides


def conv(inputs: int, outputs: int, stride: int | tuple[int, int] = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Backbone(nn.Module):
    """Feature maps of 1/2, 1/4, 1/8 and 1/16 of the size, or of the first few, of WIDTHS channels."""

    WIDTHS = (16, 32, 64, 64)

    def __init__(self, count: int = 4) -> None:
        super().__init__()
        first, *rest = self.WIDTHS[:count]
        stages = [conv(3, first, 2)]
        for inputs, outputs in zip(self.WIDTHS, rest, strict=False):
            stages.append(nn.Sequential(conv(inputs, outputs, 2), conv(outputs, outputs)))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class UNet(nn.Module):
    """Logits of nothing and of each class at each pixel: (n, 1 + classes, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.up = nn.ModuleList([conv(64 + 64, 48), conv(48 + 32, 32), conv(32 + 16, 16)])
        self.head = nn.Conv2d(16, 1 + COUNT, 1)

    def raw(self, x: Tensor) -> Tensor:
        """The logits of every other pixel."""
        *fine, y = self.backbone(x)
        for layer, skipped in zip(self.up, reversed(fine), strict=True):
            y = layer(torch.cat([_twice(y), skipped], 1))
        return self.head(y)

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.raw(x), scale_factor=2.0, mode="bilinear")


class Detector(nn.Module):
    """Boxes without anchors' shapes on a pyramid of three levels, as YOLOv8's: (n, 4 + classes, anchors).

    Of each place the box x, y, w, h in pixels, and how sure it is of each class, 0 to 1.
    """

    STRIDES = (4, 8, 16)
    WIDTH = 32

    def __init__(self) -> None:
        super().__init__()
        w = self.WIDTH
        self.backbone = Backbone()
        self.lateral = nn.ModuleList(conv(c, w, kernel=1) for c in Backbone.WIDTHS[1:])
        self.down_path = nn.ModuleList(conv(2 * w, w) for _ in range(2))
        self.halve = nn.ModuleList(conv(w, w, 2) for _ in range(2))
        self.up_path = nn.ModuleList(conv(2 * w, w) for _ in range(2))
        self.sides = nn.ModuleList(nn.Sequential(conv(w, w), nn.Conv2d(w, 4 * BINS, 1)) for _ in range(3))
        self.classes = nn.ModuleList(nn.Sequential(conv(w, w), nn.Conv2d(w, COUNT, 1)) for _ in range(3))
        for name, value in self.classes.named_parameters():
            if name.endswith(".1.bias"):
                nn.init.constant_(value, -4.6)
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The maps of the three levels, finest first."""
        fine, middle, coarse = (f(m) for f, m in zip(self.lateral, self.backbone(x)[1:], strict=True))
        middle = self.down_path[0](torch.cat([_twice(coarse), middle], 1))
        fine = self.down_path[1](torch.cat([_twice(middle), fine], 1))
        middle = self.up_path[0](torch.cat([self.halve[0](fine), middle], 1))
        return [fine, middle, self.up_path[1](torch.cat([self.halve[1](middle), coarse], 1))]

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the bins of the four sides, (n, 4 * BINS, anchors), and of the classes."""
        levels = self.pyramid(x)
        sides = [branch(level).flatten(2) for branch, level in zip(self.sides, levels, strict=True)]
        classes = [branch(level).flatten(2) for branch, level in zip(self.classes, levels, strict=True)]
        return torch.cat(sides, 2), torch.cat(classes, 2)

    def anchors(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The places x, y in pixels, (2, anchors), and the stride of each, (1, anchors)."""
        places, strides = [], []
        for stride in self.STRIDES:
            y, x = torch.meshgrid(*(torch.arange(n // stride) + 0.5 for n in (height, width)), indexing="ij")
            places.append(torch.stack([x.flatten(), y.flatten()]) * stride)
            strides.append(torch.full((1, x.numel()), float(stride)))
        return torch.cat(places, 1), torch.cat(strides, 1)

    def corners(self, sides: Tensor, places: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
        """x0, y0 and x1, y1 of each box, both (n, 2, anchors)."""
        shares = sides.view(-1, 4, BINS, sides.shape[2]).transpose(1, 2).softmax(1)
        distances = functional.conv2d(shares, self.bins)[:, 0] * strides
        return places - distances[:, :2], places + distances[:, 2:]

    def forward(self, x: Tensor) -> Tensor:
        sides, classes = self.raw(x)
        low, high = self.corners(sides, *self.anchors(*x.shape[2:]))
        return torch.cat([(low + high) / 2, high - low, classes.sigmoid()], 1)


class Attention(nn.Module):
    """What each of `x` (n, q, d) takes from `of` (n, k, d); a head for every 32 numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads, self.each = width // 32, 32
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[1], self.heads, self.each).transpose(1, 2)

    def shares(self, x: Tensor, of: Tensor) -> Tensor:
        """How much each of x takes from each of `of`, (n, heads, q, k)."""
        q, k = self._split(self.query(x)), self._split(self.key(of))
        return (q @ k.transpose(2, 3) * self.each**-0.5).float().softmax(3)

    def forward(
        self, x: Tensor, of: Tensor, values: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """`values` in place of `of`; `bias` (windows, heads, q, k) is added to one window after the other."""
        asked = self.query(x), self.key(of), self.value(of if values is None else values)
        q, k, v = (self._split(part) for part in asked)
        if bias is not None:
            q, k, v = (part.reshape(-1, bias.shape[0], *part.shape[1:]) for part in (q, k, v))
        taken = functional.scaled_dot_product_attention(q, k, v, bias, scale=self.each**-0.5)
        taken = taken.flatten(0, 1) if bias is not None else taken
        return self.out(taken.transpose(1, 2).reshape(-1, x.shape[1], self.heads * self.each))


def _mlp(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class Block(nn.Module):
    """Attention of tokens to each other, then each by itself; norms come first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention, self.mlp = Attention(width), _mlp(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[0](x)
        x = x + self.attention(y, y)
        return x + self.mlp(self.norms[1](x))


class Detr(nn.Module):
    """A set of boxes from queries: logits (n, QUERIES, classes + 1), boxes cx, cy, w, h of 0 to 1.

    The last class is nothing.
    Each query begins at a place of its own, from which its box is reckoned (as in DAB-DETR, Liu et al. 2022).
    """

    QUERIES, WIDTH, GRID = 16, 64, 16

    def __init__(self) -> None:
        super().__init__()
        w = self.WIDTH
        self.backbone = Backbone()
        self.lift = conv(64 + 64, w, kernel=1)
        self.encoder = nn.ModuleList(Block(w) for _ in range(1))
        self.norm = nn.LayerNorm(w)
        self.decoder = nn.ModuleList(Decoding(w) for _ in range(3))
        axis = torch.linspace(0.125, 0.875, 4)
        self.places = nn.Parameter(torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(1, -1, 2))
        self.queries = nn.Parameter(torch.randn(1, self.QUERIES, w) * 0.02)
        self.of_place = nn.Sequential(nn.Linear(w, w), nn.ReLU(), nn.Linear(w, w))
        self.classes = nn.Linear(w, COUNT + 1)
        self.boxes = nn.Sequential(nn.Linear(w, w), nn.ReLU(), nn.Linear(w, 4))
        axis = (torch.arange(self.GRID) + 0.5) / self.GRID
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(1, -1, 2)
        self.register_buffer("grid", self.waves(grid))
        self.each = nn.Linear(w, 1 + COUNT)  # in training only: what is seen at each token

    def waves(self, places: Tensor) -> Tensor:
        """Sines and cosines of places (1, n, 2), of 0 to 1: (1, n, WIDTH)."""
        turns = 2.0 ** torch.linspace(0, 5, self.WIDTH // 4)
        angles = (places.unsqueeze(-1) * turns * torch.pi).flatten(2)
        return torch.cat([angles.sin(), angles.cos()], -1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(self.memory(x))[-1]

    def memory(self, x: Tensor) -> Tensor:
        """What the encoder makes of the picture, in reading order: (n, GRID * GRID, WIDTH)."""
        maps = self.backbone(x)
        tokens = self.lift(torch.cat([maps[2], _twice(maps[3])], 1)).flatten(2).transpose(1, 2)
        for block in self.encoder:
            tokens = block(tokens + self.grid)
        return self.norm(tokens)

    def layers(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each layer of the decoder would answer; the last is the answer."""
        where = self.of_place(self.waves(self.places))
        asked = self.queries + torch.zeros_like(tokens[:, :1])
        start = torch.logit(self.places.clamp(0.01, 0.99))
        answers = []
        for layer in self.decoder:
            asked = layer(asked, where, tokens, tokens + self.grid)
            box = self.boxes(asked)
            box = torch.cat([box[..., :2] + start, box[..., 2:] - 1.5], -1).sigmoid()
            answers.append((self.classes(asked), box))
        return answers


class Decoding(nn.Module):
    """A layer of the decoder: queries ask each other, then the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own, self.cross, self.mlp = Attention(width), Attention(width), _mlp(width, 2 * width)

    def forward(self, x: Tensor, where: Tensor, tokens: Tensor, keys: Tensor) -> Tensor:
        x = self.norms[0](x + self.own(x + where, x + where, x))
        x = self.norms[1](x + self.cross(x + where, keys, tokens))
        return self.norms[2](x + self.mlp(x))


class Crnn(nn.Module):
    """A character, or 0, the blank, at each of w / 4 steps: logarithms of shares (n, w / 4, 1 + alphabet)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 24, 2), conv(24, 48, 2), conv(48, 48), conv(48, 64, (2, 1)), conv(64, 64)
        )
        self.columns = nn.Linear(64 * 4, 64)
        self.lstm = nn.LSTM(64, 48, bidirectional=True, batch_first=True)
        self.head = nn.Linear(96, 1 + len(ALPHABET))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)  # (n, 64, 4, w / 4)
        columns = self.columns(maps.flatten(1, 2).transpose(1, 2)).relu()
        return self.head(self.lstm(columns)[0]).log_softmax(2)


class Vit(nn.Module):
    """Patches of 8 pixels behind convolutions (Xiao et al. 2021), a class token: logits (n, classes)."""

    WIDTH, TOKENS, DEPTH = 64, 12, 4

    def __init__(self) -> None:
        super().__init__()
        w = self.WIDTH
        self.backbone = Backbone(2)
        self.patches = nn.Conv2d(32, w, 2, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, w))
        self.places = nn.Parameter(torch.randn(1, 1 + self.TOKENS**2, w) * 0.02)
        self.blocks = nn.Sequential(*(Block(w) for _ in range(self.DEPTH)))
        self.norm, self.head = nn.LayerNorm(w), nn.Linear(w, COUNT)
        self.each = nn.Linear(w, 1 + COUNT)  # in training only: what is seen at each token

    def tokens(self, x: Tensor) -> Tensor:
        """What comes out for the class token, and for the patches in reading order."""
        return self.norm(self.blocks[-1](self.before(x)))

    def before(self, x: Tensor) -> Tensor:
        """What goes into the last block."""
        patches = self.patches(self.backbone(x)[-1]).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1) + self.places
        return self.blocks[:-1](tokens)

    def pooled(self, tokens: Tensor) -> Tensor:
        """What the classes are told from."""
        return tokens[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pooled(self.tokens(x)))


class Swin(nn.Module):
    """Windows of 6 x 6 tokens, every other block shifted by 3, in two stages: logits (n, classes).

    The first tokens are of 4 pixels and made by convolutions.
    """

    WIDTHS, TOKENS = (32, 64), 12

    def __init__(self) -> None:
        super().__init__()
        fine, coarse = self.WIDTHS
        self.backbone = Backbone(2)
        self.fine = nn.Sequential(*(Window(fine, 2 * self.TOKENS, shift) for shift in (0, 3)))
        self.merge = nn.Linear(4 * fine, coarse, bias=False)
        self.coarse = nn.Sequential(*(Window(coarse, self.TOKENS, shift) for shift in (0, 3)))
        self.norm, self.head = nn.LayerNorm(coarse), nn.Linear(coarse, COUNT)
        self.each = nn.Linear(coarse, 1 + COUNT)  # in training only: what is seen at each token

    def tokens(self, x: Tensor) -> Tensor:
        """What comes out, a map (n, 12, 12, width)."""
        x = self.fine(self.backbone(x)[-1].permute(0, 2, 3, 1))
        x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], 3)
        return self.norm(self.coarse(self.merge(x)))

    def pooled(self, tokens: Tensor) -> Tensor:
        """What the classes are told from."""
        return tokens.mean((1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pooled(self.tokens(x)))


class Window(nn.Module):
    """A block whose attention stays within windows of SIDE tokens, of a map (n, size, size, width)."""

    SIDE = 6

    def __init__(self, width: int, size: int, shift: int) -> None:
        super().__init__()
        self.size, self.shift, self.width = size, shift, width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention, self.mlp = Attention(width), _mlp(width, 2 * width)
        side = self.SIDE
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        y, x = y.flatten(), x.flatten()
        self.table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, self.attention.heads))
        step = (y[:, None] - y + side - 1) * (2 * side - 1) + x[:, None] - x + side - 1
        self.register_buffer("step", step)
        # What a roll brings together from opposite borders does not see each other.
        at = torch.arange(size)
        part = (at >= size - side).long() + (at >= size - shift).long() if shift else at * 0
        parts = self._windows((part[:, None] * 3 + part)[None, :, :, None])[..., 0]
        apart = (parts[:, :, None] != parts[:, None]).float() * -100
        self.register_buffer("apart", apart[:, None])  # (windows, 1, 36, 36)

    def _windows(self, x: Tensor) -> Tensor:
        """(n, size, size, c) as (n * windows, SIDE * SIDE, c)."""
        n, s, c = self.size // self.SIDE, self.SIDE, x.shape[3]
        return x.reshape(-1, n, s, n, s, c).transpose(2, 3).reshape(-1, s * s, c)

    def forward(self, x: Tensor) -> Tensor:
        n, s = self.size // self.SIDE, self.SIDE
        y = self.norms[0](x)
        y = self._windows(y.roll((-self.shift, -self.shift), (1, 2)) if self.shift else y)
        bias = self.table[self.step].permute(2, 0, 1) + self.apart
        y = self.attention(y, y, bias=bias).reshape(-1, n, n, s, s, self.width).transpose(2, 3)
        y = y.reshape(-1, self.size, self.size, self.width)
        x = x + (y.roll((self.shift, self.shift), (1, 2)) if self.shift else y)
        return x + self.mlp(self.norms[1](x))


class Pooled(nn.Module):
    """Features on a grid of 8 pixels, their mean, and a linear layer."""

    STRIDE = 8

    def __init__(self, count: int) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.last = conv(64 + 64, 96)
        self.head = nn.Linear(96, count)

    def features(self, x: Tensor) -> Tensor:
        """The last ones, (n, 96, h / 8, w / 8)."""
        maps = self.backbone(x)
        return self.last(torch.cat([maps[2], _twice(maps[3])], 1))

    def raw(self, x: Tensor) -> Tensor:
        """What the linear layer gives."""
        return self.head(self.features(x).mean((2, 3)))

    def places(self, features: Tensor) -> Tensor:
        """The same at each place, (n, count, h / 8, w / 8): its mean is the answer, but for a constant."""
        return functional.conv2d(features, self.head.weight[:, :, None, None])


class Embedder(Pooled):
    """A unit vector (n, 32): scenes lie as near to each other as they have classes in common."""

    def __init__(self) -> None:
        super().__init__(32)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.raw(x))


class Labeller(Pooled):
    """Whether a class is somewhere in the picture, each by itself: shares (n, classes)."""

    def __init__(self) -> None:
        super().__init__(COUNT)

    def forward(self, x: Tensor) -> Tensor:
        return self.raw(x).sigmoid()
