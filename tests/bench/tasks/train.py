"""Trains a small network on drawn scenes and writes its file: python tests/bench/tasks/train.py NAME

The files lie in the folder models beside this script. Most networks begin with the first layers of the
U-Net, which learns fastest as it is told of each pixel.
"""

# Only who trains has torch; the linter runs before that is installed.
# pyright: reportMissingImports=false

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import click
import figures
import losses
import networks
import numpy as np
import onnx
import torch
from arrays import FOLDER, Scenes, scenes
from export import MODELS, write
from onnx import numpy_helper
from scenes import TRAIN_SEEDS, VALIDATION_SEEDS
from torch import Tensor, nn

BATCH = 32
_BORROWED = "unet"  # whose first layers others begin with


class Task(NamedTuple):
    """A network, the kind of scenes that it sees, how often how many, and the kind that judges it."""

    network: Callable[[], nn.Module]
    kind: str
    loss: Callable[..., Tensor]
    figures: Callable[..., dict[str, float]]
    epochs: int
    scenes: int
    rate: float = 3e-3
    judge: str = ""


TASKS = {
    "unet": Task(networks.UNet, "several", losses.pixels, figures.iou, 3, 12000),
    "detector": Task(networks.Detector, "several", losses.boxes, figures.raw_boxes, 2, 12000),
    "crnn": Task(networks.Crnn, "line", losses.characters, figures.characters, 4, 12000),
    "vit": Task(networks.Vit, "among", losses.classes, figures.top1, 10, 12000, 2e-3),
    "swin": Task(networks.Swin, "among", losses.classes, figures.top1, 10, 12000, 2e-3),
    "embedder": Task(
        networks.Embedder, "several", losses.likeness, figures.retrieved, 3, 12000, judge="pair"
    ),
    "labels": Task(networks.Labeller, "several", losses.labels, figures.each, 2, 12000),
    "detr": Task(networks.Detr, "several", losses.sets, figures.queries, 8, 12000, 1e-3),
}


def photos(images: np.ndarray) -> Tensor:
    """(n, h, w, 3) bytes as (n, 3, h, w) of 0 to 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def augmented(batch: Scenes, mirror: bool) -> tuple[Tensor, Scenes]:
    """The channels of all exchanged alike, each one's light changed, and half of them mirrored."""
    images, labels, boxes, owners = (part.copy() for part in batch)
    if mirror:
        width = images.shape[2]
        images[::2], owners[::2] = images[::2, :, ::-1], owners[::2, :, ::-1]
        boxes[::2] = np.stack([boxes[::2, :, i] for i in range(4)], -1)
        boxes[::2, :, [1, 3]] = width - boxes[::2, :, [3, 1]]
    gain, offset = torch.empty(2, len(images), 1, 1, 1).uniform_(-1, 1)
    x = photos(images[..., np.random.permutation(3)]) * (1 + 0.25 * gain) + 0.1 * offset
    return x.clamp(0, 1).contiguous(memory_format=torch.channels_last), Scenes(images, labels, boxes, owners)


def train(model: nn.Module, task: Task, seen: Scenes, unseen: Scenes) -> None:
    """Fit the network; its figures are printed after each epoch."""
    steps = len(seen.images) // BATCH
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    total = task.epochs * steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, task.rate, total_steps=total, pct_start=0.15)
    for epoch in range(task.epochs):
        model.train()
        start, sums = time.perf_counter(), 0.0
        for picked in _batches(len(seen.images)):
            x, batch = augmented(Scenes(*(part[picked] for part in seen)), task.kind != "line")
            with torch.autocast("cpu", torch.bfloat16):
                loss = task.loss(model, x, batch)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            sums += loss.item()
        took = time.perf_counter() - start
        print(
            f"epoch {epoch + 1}: loss {sums / steps:.4f}, {took:.0f} s, {judged(model, task, unseen)}",
            flush=True,
        )


@torch.no_grad()
def borrow(backbone: nn.Module, x: Tensor) -> None:
    """Begin with the layers of the U-Net's file, in which each normalisation went into its convolution.

    Here it stands behind it again, and gives back what it takes away of photos x.
    """
    graph = onnx.load(MODELS / f"{_BORROWED}.onnx").graph
    arrays = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    folded = (node for node in graph.node if node.op_type == "Conv")
    for block in (m for m in backbone.modules() if isinstance(m, nn.Sequential)):
        if not isinstance(block[0], nn.Conv2d):
            continue
        layer, norm, _ = block
        _, weight, bias = next(folded).input
        layer.weight.copy_(arrays[weight])
        y = layer(x)
        variance, mean = torch.var_mean(y, (0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean + arrays[bias])
        x = torch.relu(y + arrays[bias][:, None, None])


def _batches(count: int) -> np.ndarray:
    """The numbers of the scenes of each batch."""
    return np.random.permutation(count)[: count // BATCH * BATCH].reshape(-1, BATCH)


@torch.no_grad()
def judged(model: nn.Module, task: Task, unseen: Scenes) -> str:
    """The figures on unseen scenes, in words."""
    model.eval()
    answers = [model(photos(images)) for images in np.array_split(unseen.images, 6)]
    answers = [a if isinstance(a, tuple) else (a,) for a in answers]
    outputs = [torch.cat(part).numpy() for part in zip(*answers, strict=True)]
    return ", ".join(f"{name} {share:.1%}" for name, share in task.figures(outputs, unseen).items())


@click.command()
@click.argument("name", type=click.Choice(list(TASKS)))
@click.option("--again", is_flag=True, help="Go on from what was trained before.")
@click.option("--epochs", type=click.IntRange(1), help="In place of the number that the task has.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
def main(name: str, again: bool, epochs: int | None, threads: int, seed: int) -> None:
    """Draw scenes, train the network of a task, and write its file."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    torch.set_num_threads(threads)
    task = TASKS[name]._replace(epochs=epochs or TASKS[name].epochs)
    seen = scenes(task.kind, TRAIN_SEEDS[: task.scenes], threads)
    unseen = scenes(task.judge or task.kind, VALIDATION_SEEDS[: 200 if task.judge else 600], threads)
    model = task.network().to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    kept = FOLDER / f"{name}-whole.pt"
    if again:
        model.load_state_dict(torch.load(kept, weights_only=True))
    elif name != _BORROWED and hasattr(model, "backbone"):
        borrow(model.get_submodule("backbone"), photos(seen.images[:256]))
    train(model, task, seen, unseen)
    torch.save(model.state_dict(), kept)
    write(name, model.to(memory_format=torch.contiguous_format), judged(model, task, unseen))


if __name__ == "__main__":
    main()
