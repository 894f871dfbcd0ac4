"""Trains the embedded model on drawn scenes: `python -m onnxlens.models.embedded.train --out FILE`.

The only module that needs PyTorch, the extra `reference`. The ONNX file is written from the weights, node by
node: readable names, BatchNormalization folded into its convolution, nothing of the framework left in it.
"""
# Only who trains has torch; the linter runs before that is installed.
# pyright: reportMissingImports=false

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from . import path
from .scenes import CLASSES, TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, scene

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
except ImportError as error:
    raise SystemExit("Training needs PyTorch: pip install 'onnxlens[reference]'") from error

SIZE = 96
MEAN, STD = 0.5, 0.25
STRIDE = 8  # pixels from one of the last features, 12 x 12, to the next
# Kernel size, output channels, and whether height and width are halved.
LAYERS = [(7, 16, True), (3, 32, True), (3, 64, True), (3, 96, False), (3, 128, False)]


class Classifier(nn.Module):
    """Conv, BatchNorm, ReLU and pool by LAYERS; then the mean over space and one linear layer, `head`.

    `strided`: the convolutions halve the size and no pool does, as in most networks. Then a value of the last
    features looks at what is around pixel 8 i, and not around the middle of pixels 8 i to 8 i + 7.
    """

    def __init__(self, strided: bool = False) -> None:
        super().__init__()
        self.strided = strided
        convs, norms, channels = [], [], 3
        for kernel, width, halved in LAYERS:
            stride = 2 if halved and strided else 1
            convs.append(nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False))
            norms.append(nn.BatchNorm2d(width))
            channels = width
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)
        self.head = nn.Linear(channels, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 96, 96) to class activation maps (n, classes, 12, 12), whose means are the scores.

        The head is linear, so that it may as well come before the mean: then its values are what Grad-CAM
        makes of the last features (Zhou et al. 2016; Selvaraju et al. 2017, section 3.1), but for a constant.
        """
        for conv, norm, (_, _, halved) in zip(self.convs, self.norms, LAYERS, strict=True):
            x = norm(conv(x)).relu()
            x = functional.max_pool2d(x, 2) if halved and not self.strided else x
        # Whole channels go: no class may hang on a single one, and maps cover more of the object.
        x = functional.dropout2d(x, 0.2, self.training)
        return functional.conv2d(x, self.head.weight[:, :, None, None], self.head.bias)

    def covered(self, masks: Tensor) -> Tensor:
        """Of the pixels around the middle of each cell, the share on the object, by `masks` (n, 96, 96)."""
        if self.strided:
            return functional.avg_pool2d(masks, STRIDE - 1, STRIDE, STRIDE // 2 - 1)
        return functional.avg_pool2d(masks, STRIDE)

    def on_pixels(self, maps: Tensor) -> Tensor:
        """Maps (n, 12, 12) as (n, 96, 96), bilinearly between the middles of their cells."""
        if not self.strided:
            return functional.interpolate(maps[:, None], (SIZE, SIZE), mode="bilinear")[:, 0]
        last = SIZE - STRIDE + 1
        within = functional.interpolate(maps[:, None], (last, last), mode="bilinear", align_corners=True)
        return functional.pad(within, (0, STRIDE - 1, 0, STRIDE - 1), mode="replicate")[:, 0]


def _draw(seeds: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, masks, labels = zip(*(scene(seed, size=SIZE) for seed in seeds), strict=True)
    return np.stack(images), np.stack(masks), np.array(labels)


def draw(seeds: range, workers: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 96, 96, 3) uint8, masks (n, 96, 96) bool and labels (n,) int64 of a run of seeds."""
    with ProcessPoolExecutor(workers) as pool:
        chunks = list(pool.map(_draw, (seeds[i : i + 250] for i in range(0, len(seeds), 250))))
    images, masks, labels = (torch.from_numpy(np.concatenate(part)) for part in zip(*chunks, strict=True))
    return images, masks, labels


def _input(images: Tensor) -> Tensor:
    return (images.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def _augment(x: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror every other image, shift all and exchange their channels alike, change each one's light."""
    x = torch.cat([x[:, torch.randperm(3)], masks[:, None]], dim=1)
    x[::2] = x[::2].flip(-1)
    dy, dx = torch.randint(0, 17, (2,)).tolist()
    x = functional.pad(x, (8, 8, 8, 8), mode="reflect")[..., dy : dy + SIZE, dx : dx + SIZE]
    gain, offset = torch.empty(2, len(x), 1, 1, 1).uniform_(-1, 1)
    images = x[:, :3] * (1 + 0.25 * gain) + 0.3 * offset
    return images.contiguous(memory_format=torch.channels_last), x[:, 3]


def _loss(maps: Tensor, covered: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the class, and of the place: the map of the right class is to peak on the object.

    Right for the right reasons (Ross et al. 2017). Without the second term the classes come out as well,
    but a moon's evidence is collected in its hollow and an umbrella's below its cloth.
    """
    classes = functional.cross_entropy(maps.mean((2, 3)), labels, label_smoothing=0.05)
    right = maps[torch.arange(len(maps)), labels].flatten(1).softmax(dim=1)
    return classes - 0.2 * (right * covered.flatten(1)).sum(dim=1).clamp(min=1e-3).log().mean()


def train(
    model: Classifier,
    images: Tensor,
    masks: Tensor,
    labels: Tensor,
    epochs: int,
    check: Callable[[Classifier], str],
) -> None:
    """Fit a classifier; `check(model)` is printed after each epoch."""
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    batch, steps = 64, len(images) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * steps, pct_start=0.2)
    for epoch in range(epochs):
        model.train()
        for chosen in torch.randperm(len(images))[: steps * batch].reshape(steps, batch):
            x, on_object = _augment(_input(images[chosen]), masks[chosen])
            with torch.autocast("cpu", torch.bfloat16):
                maps = model(x)
            loss = _loss(maps.float(), model.covered(on_object), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        model.eval()
        print(f"epoch {epoch + 1}: {check(model)}", flush=True)


@torch.no_grad()
def figures(model: Classifier, images: Tensor, masks: Tensor, labels: Tensor) -> str:
    """Accuracy, and the share of scenes where the predicted class's activation map peaks on the mask."""
    right, on_mask = [], []
    for some, mask, label in zip(images.split(250), masks.split(250), labels.split(250), strict=True):
        maps = model(_input(some))
        guess = maps.mean((2, 3)).argmax(dim=1)
        right.append(guess == label)
        shown = model.on_pixels(maps[torch.arange(len(maps)), guess])
        on_mask.append(mask.flatten(1).gather(1, shown.flatten(1).argmax(dim=1, keepdim=True)))
    accuracy, pointing = (torch.cat(hits).float().mean().item() for hits in (right, on_mask))
    return f"accuracy {accuracy:.4f}, peak on the object {pointing:.4f}"


def to_onnx(model: Classifier, made_by: str) -> onnx.ModelProto:
    """The model as plain ONNX: `image` (batch, 3, 96, 96) float32 to `probabilities` (batch, classes).

    Each node bears the name of its value. How images go in, and the labels, are in the metadata.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def add(kind: str, name: str, layer: Any = None, **attributes: Any) -> None:
        inputs = [nodes[-1].output[0] if nodes else "image"]
        for part, value in layer.named_parameters() if layer else ():
            weights.append(numpy_helper.from_array(value.detach().numpy(), f"{name}.{part}"))
            inputs.append(f"{name}.{part}")
        nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))

    layers: Any = zip(model.convs, model.norms, LAYERS, strict=True)
    for i, (conv, norm, (kernel, _, halved)) in enumerate(layers, start=1):
        folded = nn.utils.fuse_conv_bn_eval(conv, norm)
        sizes = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4, "strides": list(conv.stride)}
        add("Conv", f"conv{i}", folded, **sizes)
        add("Relu", f"relu{i}")
        if halved and not model.strided:
            add("MaxPool", f"pool{i}", kernel_shape=[2, 2], strides=[2, 2])
    add("GlobalAveragePool", "mean")
    add("Flatten", "flat", axis=1)
    add("Gemm", "head", model.head, transB=1)
    add("Softmax", "probabilities", axis=1)
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "scenes",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(CLASSES)])],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="onnxlens",
        doc_string=made_by,
    )
    preprocess = {
        "size": [SIZE, SIZE],
        "fit": "stretch",
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "scale": 1 / 255,
        "channels": "rgb",
        "layout": "nchw",
    }
    metadata = {"onnxlens.preprocess": json.dumps(preprocess), "onnxlens.labels": json.dumps(CLASSES)}
    helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    return proto


@torch.no_grad()
def check_agreement(model: Classifier, proto: onnx.ModelProto, images: Tensor) -> None:
    """AssertionError where the file's probabilities differ from the model's by more than 1e-4."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = _input(images)
    (ours,) = session.run(None, {"image": x.contiguous().numpy()})
    np.testing.assert_allclose(np.asarray(ours), model(x).mean((2, 3)).softmax(dim=1).numpy(), atol=1e-4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, train, measure on unseen scenes, check and write the file."""
    parser = argparse.ArgumentParser(prog="python -m onnxlens.models.embedded.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=path(), help="default: the package's own file")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--scenes", type=int, default=30_000, help="how many scenes to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="another number, slightly other weights")
    parser.add_argument(
        "--strided",
        action="store_true",
        help="with strides in place of the pools: a model to measure maps with",
    )
    options = parser.parse_args(arguments)
    if options.strided and options.out == path():
        parser.error("--strided makes another model than the package's own; say where with --out")

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    scenes = draw(TRAIN_SEEDS[: options.scenes], options.threads)
    validation = draw(VALIDATION_SEEDS[:1200], options.threads)
    model = Classifier(options.strided)
    train(model, *scenes, options.epochs, lambda model: figures(model, *validation))
    unseen = draw(TEST_SEEDS[:6000], options.threads)
    made_by = (
        f"Made by {__package__}.train: {options.scenes} scenes, {options.epochs} epochs, seed {options.seed}"
        f"; on {len(unseen[0])} unseen ones {figures(model, *unseen)}"
    )
    proto = to_onnx(model, made_by)
    check_agreement(model, proto, unseen[0][:100])
    unfinished = options.out.with_suffix(".part")
    unfinished.write_bytes(proto.SerializeToString(deterministic=True))
    unfinished.replace(options.out)
    print(made_by)


if __name__ == "__main__":
    main()
