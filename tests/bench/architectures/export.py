"""The architectures of placement.toml, made with random weights and exported.

pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 transformers==5.24.0 onnx onnxscript
python tests/bench/architectures/export.py FOLDER [NAME]...

In an environment of its own, since onnxlens needs none of it. A file that is there is left alone.

Random weights as packages set them leave much of a network dead: residual branches and layer scales start at
zero or near it. So these start at 0.3, heads and biases at small numbers, and the statistics of each
BatchNormalization are those of a batch of noise: every layer answers to what the photo shows.
"""

from __future__ import annotations

import sys
import time
import tomllib
import types
import warnings
from pathlib import Path
from typing import Any

import torch
from own_networks import LAST, OWN
from torch import Tensor, nn
from torch.nn import functional

LIST = Path(__file__).parents[1] / "placement.toml"
SEED = 0


def built(name: str, entry: dict[str, Any]) -> nn.Module:
    """The network of an entry, ready to be exported."""
    torch.manual_seed(SEED)
    model = BUILDERS[entry["package"]](entry.get("model", name), entry.get("options", {})).eval()
    revived(model)
    answering(model, entry.get("outputs", "").split())
    settle(model, torch.cat([photo(name, entry) for _ in range(4)]))
    return model


def photo(name: str, entry: dict[str, Any]) -> Tensor:
    """Noise of all scales, as a photo has them, of the size that the network takes."""
    size = entry.get("size", 224)
    size = size if isinstance(size, list) else [size, size]
    octaves = [torch.randn(1, 3, *(max(1, side // step) for side in size)) for step in (1, 4, 16, 64)]
    x = torch.stack([functional.interpolate(o, size, mode="bilinear") for o in octaves]).mean(0)
    return x.permute(0, 2, 3, 1) if name in LAST else x


def _timm(model: str, options: dict[str, Any]) -> nn.Module:
    import timm

    return timm.create_model(model, num_classes=10, **options)


def _torchvision(model: str, options: dict[str, Any]) -> nn.Module:
    import torchvision

    nothing = (
        {"weights_backbone": None}
        if any(k in model for k in ("ssd", "fpn", "deeplab", "fcn", "lraspp"))
        else {}
    )
    made = torchvision.models.get_model(model, weights=None, **nothing, **options)
    return Detector(made) if hasattr(made, "anchor_generator") or hasattr(made, "rpn") else made


def _transformers(model: str, options: dict[str, Any]) -> nn.Module:
    import transformers

    def nested(value: Any) -> Any:
        is_one = isinstance(value, dict) and "model_type" in value
        return transformers.AutoConfig.for_model(**value) if is_one else value

    kind = getattr(transformers, model)
    return kind(kind.config_class(**{key: nested(value) for key, value in options.items()}))


BUILDERS = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
    "here": lambda model, options: OWN[model](**options),
}


class Detector(nn.Module):
    """Backbone and heads of torchvision's detectors, without what resizes and what sorts boxes."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.backbone = model.backbone
        if hasattr(model, "rpn"):
            self.rpn = model.rpn
        else:
            self.head = model.head

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = list(self.backbone(x).values())
        if hasattr(self, "rpn"):
            scores, boxes = self.rpn.head(levels)
            return [*scores, *boxes]
        return list(self.head(levels).values())


def revived(model: nn.Module) -> None:
    """No weight at zero, no scale near it, no kernel so small that its answers are lost beside an epsilon."""
    for kernel in (w for w in model.parameters() if w.ndim == 4):
        if kernel.std() < 0.25 * kernel[0].numel() ** -0.5:
            nn.init.kaiming_normal_(kernel)
    for name, weight in model.named_parameters():
        spread = weight.std().item() if weight.numel() > 1 else abs(weight.item())
        if weight.ndim == 1 and name.endswith("weight") and 1e-3 < weight.abs().mean() < 0.1:
            weight.data.fill_(1)  # gains that start as noise around zero: each layer would take a share away
        if spread > 1e-3 or weight.numel() == 0:
            continue
        with torch.no_grad():
            if weight.ndim == 2 and min(weight.shape) > 1:  # a head
                nn.init.normal_(weight, std=0.02)
            elif name.endswith("bias") or weight.ndim > 2:
                weight.add_(0.02 * torch.randn_like(weight))
            elif weight.abs().mean() < 0.5:  # a gain, or the scale of a layer
                weight.fill_(0.3)


def answering(model: nn.Module, outputs: list[str]) -> None:
    """Hand on the named parts of the answer, or its first."""
    forward = model.forward

    def parts(self: nn.Module, x: Tensor) -> Any:
        answer = forward(x)
        if isinstance(answer, Tensor | list):
            return answer
        if outputs:
            return tuple(answer[name] for name in outputs)
        return next(iter(answer.values())) if hasattr(answer, "values") else answer[0]

    model.forward = types.MethodType(parts, model)


def settle(model: nn.Module, x: Tensor) -> None:
    """Give each BatchNormalization, also frozen ones, the statistics of what passes."""

    def learn(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        values = args[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(values.mean(1))
        norm.running_var.copy_(values.var(1).clamp(min=1e-6))

    norms = [m for m in model.modules() if getattr(m, "running_var", None) is not None]
    hooks = [norm.register_forward_pre_hook(learn) for norm in norms]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()


def export(name: str, entry: dict[str, Any], path: Path) -> str:
    """Write the file; by which of PyTorch's exporters: `trace`, the older one, or `dynamo`.

    Both say the modules of each node; the newer takes minutes where there are many. Where one fails the other
    is tried.
    """
    model, x = built(name, entry), photo(name, entry)
    first = entry.get("exporter", "trace")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            return EXPORTERS[first](model, x, path)
        except Exception:
            (other,) = EXPORTERS.keys() - {first}
            return EXPORTERS[other](model, x, path)


def _dynamo(model: nn.Module, x: Tensor, path: Path) -> str:
    torch.onnx.export(model, (x,), path, dynamo=True, opset_version=20, external_data=False, verbose=False)
    return "dynamo"


def _trace(model: nn.Module, x: Tensor, path: Path) -> str:
    torch.onnx.export(model, (x,), str(path), dynamo=False, opset_version=17)
    return "trace"


EXPORTERS = {"trace": _trace, "dynamo": _dynamo}


def main(folder: Path, names: list[str]) -> None:
    """Export what is not there yet, and say how."""
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # an operator that the older exporter does not know
    folder.mkdir(parents=True, exist_ok=True)
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))
    for name in names or entries:
        path = folder / f"{name}.onnx"
        if path.exists():
            continue
        start, part = time.monotonic(), path.with_suffix(".part")
        try:
            said = export(name, entries[name], part)
            part.rename(path)
        except Exception as error:
            said = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        print(f"{name}: {said}, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
