"""Networks with `if`, `for` and `while` in PyTorch, written as ONNX, beside what its autograd says."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop


class Base(nn.Module):
    """Features of an image (N, 3, h, w), and two layers for who reads them."""

    def __init__(self):
        super().__init__()
        self.conv, self.one, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4), nn.Linear(4, 4)

    def mean(self, x: Tensor) -> Tensor:
        """(N, 4)."""
        return torch.tanh(self.conv(x)).mean((2, 3))

    def columns(self, x: Tensor) -> Tensor:
        """(N, 4, w)."""
        return torch.tanh(self.conv(x)).mean(2)


class Cond(Base):
    def forward(self, x: Tensor) -> Tensor:
        p = self.mean(x)
        return torch.cond(
            p.sum() > 0, lambda p: torch.tanh(self.one(p)), lambda p: torch.sin(self.other(p)) * 2, (p,)
        )


class While(Base):
    def forward(self, x: Tensor) -> Tensor:
        start = torch.tensor(0), self.mean(x)
        return while_loop(lambda i, p: i < 4, lambda i, p: (i + 1, torch.tanh(self.one(p))), start)[1]


class Scanned(Base):
    def forward(self, x: Tensor) -> Tensor:
        def step(h: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
            h = torch.tanh(self.one(h) + e)
            return h, h * 2

        start = torch.zeros(x.shape[0], 4)
        return scan(step, start, self.columns(x).permute(2, 0, 1), dim=0)[1].permute(1, 0, 2)


class If(Base):
    def forward(self, x: Tensor) -> Tensor:
        p = self.mean(x)
        if bool(p.sum() > 0):  # noqa: SIM108 - not the same to TorchScript
            made = torch.tanh(self.one(p))
        else:
            made = torch.sin(self.other(p)) * 2
        return made


class For(Base):
    def forward(self, x: Tensor) -> Tensor:
        p, h = self.columns(x), torch.zeros(x.shape[0], 4)
        for t in range(x.size(3)):
            h = torch.tanh(self.one(h) + p[:, :, t])
        return h


class Listed(Base):
    def forward(self, x: Tensor) -> Tensor:
        p, h = self.columns(x), torch.zeros(x.shape[0], 4)
        found: list[Tensor] = []
        for t in range(x.size(3)):
            h = torch.tanh(self.one(h) + p[:, :, t])
            found.append(h)
        return torch.stack(found, 1)


class Nested(Base):
    def forward(self, x: Tensor) -> Tensor:
        p, h = self.columns(x), torch.zeros(x.shape[0], 4)
        if bool(p.sum() > -1e3):
            for t in range(x.size(3)):
                if t % 2 == 0:
                    h = torch.tanh(self.one(h) + p[:, :, t])
                else:
                    h = h + torch.sin(self.other(p[:, :, t]))
        return h


class Squeezed(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.mean(x).squeeze(0))


class Until(Base):
    def forward(self, x: Tensor) -> Tensor:
        p, n = self.mean(x), 0
        while bool(p.abs().max() < 5.0) and n < 10:
            p = p * 1.5 + torch.sin(p)
            n += 1
        return self.one(p)


class Decoder(Base):
    """One that looks back at all it has made, which grows."""

    def forward(self, x: Tensor) -> Tensor:
        p = self.mean(x)
        made = p.unsqueeze(1)
        for _ in range(x.size(3) // 4):
            a = torch.softmax((made * p.unsqueeze(1)).sum(2), 1)
            p = torch.tanh(self.one((made * a.unsqueeze(2)).sum(1)))
            made = torch.cat([made, p.unsqueeze(1)], 1)
        return made


class Written(Base):
    def forward(self, x: Tensor) -> Tensor:
        p = self.columns(x)
        made = torch.zeros_like(p)
        for t in range(x.size(3)):
            made[:, :, t] = torch.sin(p[:, :, t] * (t + 1))
        return made


# torch.export knows the first, TorchScript the others.
EXPORTED = {"cond": Cond, "while_loop": While, "scan": Scanned}
SCRIPTED = {
    "if": If, "for": For, "list": Listed, "nested": Nested, "squeeze": Squeezed, "while": Until,
    "decoder": Decoder, "written": Written,
}  # fmt: skip


def written(name: str, path: Path, size: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Write a network; x, u, the answer y and the gradient g of ⟨u, y⟩ by x, for N images of h by w."""
    rng = np.random.default_rng(1)
    module = {**EXPORTED, **SCRIPTED}[name]().eval()
    for weight in module.parameters():
        weight.data = torch.from_numpy((rng.standard_normal(weight.shape) * 0.4).astype(np.float32))
    n, h, w = size
    x = torch.from_numpy(rng.standard_normal((n, 3, h, w)).astype(np.float32)).requires_grad_()
    names, quiet = {"input_names": ["image"], "output_names": ["y"]}, io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in EXPORTED:
            torch.onnx.export(
                module, (x.detach(),), path, dynamo=True, external_data=False, verbose=False, **names
            )
        else:
            module, free = torch.jit.script(module), {"image": {0: "n", 2: "h", 3: "w"}}
            torch.onnx.export(
                module, (x.detach(),), path, dynamo=False, opset_version=18, dynamic_axes=free, **names
            )
    y = module(x)
    u = torch.from_numpy(rng.standard_normal(y.shape).astype(np.float32))
    (g,) = torch.autograd.grad((y * u).sum(), x)
    return {"x": x.detach().numpy(), "u": u.numpy(), "y": y.detach().numpy(), "g": g.numpy()}
