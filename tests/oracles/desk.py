"""A folder that holds all that the pages talk of: a model, photos, runs, lists, settings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
from bench.tasks.scenes import TEST_SEEDS, line, several
from onnx import helper

from onnxlens.models.photos.preprocess import Preprocess

from . import answers
from .companions import pairs, texts
from .toys import blob, build, metadata_of

TASKS = Path(__file__).parents[1] / "bench" / "tasks" / "models"
CHANNELS, SIDE = 16, 64
PHOTOS = 18  # two batches, so that there are two parts
LABELS = ["tabby", "banana", "sea", "cloud", "flower"]


def model() -> onnx.ModelProto:
    """A classifier with the names of layers, weights, outputs and classes that the pages use.

    Maps of 16 channels, 32 x 32 at first and 16 x 16 at last; a second output of boxes.
    """
    rng = np.random.default_rng(19)  # with which something speaks for each of the three best classes
    nodes, weights = [], {}

    def conv(name: str, source: str, channels: int = CHANNELS, size: int = 3, **attributes: object) -> str:
        width = 3 if source == "input" else CHANNELS
        spread = (2 / (width * size * size)) ** 0.5
        weights[f"{name}.weight"] = rng.normal(0, spread, (channels, width, size, size)).astype(np.float32)
        pads = [size // 2] * 4
        nodes.append(
            helper.make_node("Conv", [source, f"{name}.weight"], [name], name, pads=pads, **attributes)
        )
        return name

    def relu(source: str) -> str:
        nodes.append(helper.make_node("Relu", [source], [f"{source}/relu"]))
        return f"{source}/relu"

    x = relu(conv("conv1", "input", strides=[2, 2]))
    x = relu(conv("layer1", x))
    halves = [relu(conv(f"fire2/expand{size}", x, CHANNELS // 2, size)) for size in (1, 3)]
    nodes.append(helper.make_node("Concat", halves, ["fire2/concat"], axis=1))
    x = relu(conv("conv3", "fire2/concat"))
    x = relu(conv("conv4", x, strides=[2, 2]))
    x = relu(conv("conv5", x))
    conv("boxes", x, 4, 1)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pool"]))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "head.weight"], ["logits"], "logits"))
    weights["head.weight"] = rng.normal(0, 1, (CHANNELS, len(LABELS))).astype(np.float32)
    outputs = {"logits": ("N", len(LABELS)), "boxes": ("N", 4, SIDE // 4, SIDE // 4)}
    made = build(nodes, {"input": ("N", 3, SIDE, SIDE)}, outputs, weights)
    preprocess = Preprocess(size=(SIDE, SIDE), fit="stretch", scale=1 / 255)
    helper.set_model_props(made, metadata_of(preprocess, LABELS))
    return made


def lay(folder: Path, run: Callable[[str], object]) -> None:
    """Put all of it into an empty folder; `run` runs a command line there."""
    onnx.save(model(), folder / "model.onnx")
    onnx.save(texts(), folder / "clip.onnx")
    answers.save(folder)
    onnx.save(pairs(), folder / "siamese.onnx")
    for name, called in {
        "detector": "yolo",
        "unet": "unet",
        "crnn": "crnn",
        "embedder": "vectors",
        "vit": "vit",
    }.items():
        shutil.copyfile(TASKS / f"{name}.onnx", folder / f"{called}.onnx")
    cv2.imwrite(str(folder / "scene.png"), several(TEST_SEEDS[0]).image[..., ::-1])
    cv2.imwrite(str(folder / "line.png"), line(TEST_SEEDS[0]).image[..., ::-1])
    for i, name in enumerate(("cat.jpg", "cat.png", "dog.jpg", "clouds.jpg", "sea.jpg", "flowers.jpg")):
        cv2.imwrite(str(folder / name), blob(at=(20 + 3 * i, 30 + 5 * i), colour=i % 3)[..., ::-1])
    for place in ("photos", "masks"):
        (folder / place / "more").mkdir(parents=True)
    for i in range(PHOTOS):
        name, photo = f"{'more/' if i % 2 else ''}{i:02}", blob(at=(30 + i, 20 + 3 * i), colour=i % 3)
        cv2.imwrite(str(folder / "photos" / f"{name}.jpg"), photo[..., ::-1])
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), np.where(np.ptp(photo, 2) > 60, 255, 0))
    (folder / "night.toml").write_text("[run]\nbatch = 4\n")
    (folder / "worth-a-look.txt").write_text("photos/00.jpg\n")
    (folder / "home" / ".config" / "fish" / "completions").mkdir(parents=True)
    for name in ("run", "maps"):
        run(f"onnxlens run model.onnx photos -q -o {name}")
    for i, name in enumerate(("part-1", "part-2", "a", "b", "parts/1", "parts/2")):
        run(f"onnxlens run model.onnx photos -q --part {i % 2 + 1}/2 -o {name}")
    for part in "12":
        run(f"onnxlens top model.onnx photos -q --part {part}/2 -o top-{part}")
        shutil.copy(folder / f"top-{part}" / "top.npz", folder / "parts" / part)
