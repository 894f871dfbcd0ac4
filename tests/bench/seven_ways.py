"""The seven ways on 100 architectures with random weights, no option given: what works, what is answered.

python tests/bench/architectures/export.py FOLDER       in an environment of its own: see there
python tests/bench/seven_ways.py FOLDER [--only NAME]... [--part I/N]

What is expected was written down before (seven_ways.toml). A way works where its command ends well, all its
numbers are finite and a map is not the same everywhere; the kind of answer must be the one that is expected.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from onnxlens.cli import main
from onnxlens.models.embedded.scenes import scene
from onnxlens.models.lens import Lens

LIST = Path(__file__).with_suffix(".toml")
ARCHITECTURES = Path(__file__).with_name("placement.toml")
WAYS = {
    "activations": "activations {model} {photo} -o {out}",
    "weights": "weights {model} -o {out}",
    "top": "top {model} {photos} -o {out}",
    "occlusion": "occlusion {model} {photo} -o {out}",
    "deconvnet": "deconvnet {model} {photo} -o {out}",
    "dream": "dream {model} {photo} --iterations 1 --octaves 1 --side 128 -o {out}",
    "gradcam": "gradcam {model} {photo} -o {out}",
}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# What transformers writes as the type of each model.
TYPES = {
    "hf-detr": "detr",
    "hf-conditional-detr": "conditional_detr",
    "hf-deformable-detr": "deformable_detr",
    "hf-d-fine": "d_fine",
    "hf-yolos": "yolos",
    "hf-segformer": "segformer",
    "hf-beit-segmentation": "beit",
    "hf-mobilevit-segmentation": "mobilevit",
    "hf-mobilenet-v2-segmentation": "mobilenet_v2",
    "hf-upernet-convnext": "upernet",
    "hf-dpt": "dpt",
    "hf-depth-anything": "depth_anything",
    "hf-glpn": "glpn",
    "hf-vitpose": "vitpose",
    "hf-swin2sr": "swin2sr",
}


def words(name: str, entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The files of its producer that stand beside a model, by their names."""
    side = entry.get("size", 224)
    height, width = side if isinstance(side, list) else (side, side)
    if entry["package"] != "transformers":
        cfg = {
            "input_size": [3, height, width],
            "mean": MEAN,
            "std": STD,
            "crop_pct": 1.0,
            "crop_mode": "squash",
        }
        return {"config.json": {"architecture": name, "pretrained_cfg": cfg}}
    size = {"height": height, "width": width}
    processor = {"do_resize": True, "size": size, "do_rescale": True, "rescale_factor": 1 / 255}
    processor |= {"do_normalize": True, "image_mean": MEAN, "image_std": STD}
    processor |= {"image_processor_type": "ViTImageProcessor", "resample": 2}
    architecture = entry.get("model", name)
    config = {"model_type": TYPES.get(name, "vit"), "architectures": [architecture]}
    return {"config.json": config, "preprocessor_config.json": processor}


def tried(line: str) -> tuple[int, str]:
    """How a command line ends: its exit code, and the last that it says."""
    said = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(said):
        try:
            main(line.split())
        except SystemExit as end:
            return int(end.code or 0), " ".join(said.getvalue().split())[-300:]
    return 0, ""


def problems(way: str, out: Path) -> Iterator[str]:
    """What is wrong with what a way has written."""
    files = [path for path in out.rglob("*") if path.is_file()]
    if not any(path.suffix == ".png" for path in files):
        yield "draws nothing"
    for path in files:
        if path.suffix != ".npy" or (array := np.load(path)).dtype.kind != "f":
            continue
        if np.isinf(array).any() or not np.isfinite(array).any():
            yield f"{path.name} is not finite"
        elif way not in ("gradcam", "occlusion") or path.stem.endswith("-probability"):
            continue  # the probability of random weights may be 1 everywhere
        elif np.nanmax(array) == np.nanmin(array):
            yield f"{path.name} is the same everywhere"


def row(name: str, model: Path, entry: dict[str, Any], kind: str, room: Path) -> dict[str, str]:
    """Each way of one architecture: "works", or what happened."""
    shutil.copyfile(model, room / "model.onnx")
    for file, said in words(name, entry).items():
        (room / file).write_text(json.dumps(said))
    photos = room / "photos"
    photos.mkdir()
    for seed in (3, 5):
        cv2.imwrite(str(photos / f"{seed}.png"), scene(seed, size=256).image[..., ::-1])
    given = {"model": room / "model.onnx", "photo": photos / "3.png", "photos": photos}
    lens = Lens(room / "model.onnx", provider="cpu")
    read = lens.reading.kind
    found = {"answer": "works" if read == kind else f"is read as {read}, not {kind}"}
    for way, line in WAYS.items():
        out = room / way
        code, said = tried(line.format(**given, out=out))
        problem = said or f"exit code {code}" if code else next(problems(way, out), "")
        found[way] = problem or "works"
    return found


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", multiple=True)
@click.option("--part", default="1/1", help="Which part of the list, of how many.")
def command(folder: Path, only: tuple[str, ...], part: str) -> None:
    expected, entries = tomllib.loads(LIST.read_text()), tomllib.loads(ARCHITECTURES.read_text())
    kinds = dict.fromkeys(expected["classes"].split(), "classes") | expected["others"]
    without = expected["without"]
    index, count = map(int, part.split("/"))
    names = [n for n in kinds if not only or n in only][index - 1 :: count]
    totals: Counter[str] = Counter()
    for name in names:
        with tempfile.TemporaryDirectory() as room:
            try:
                found = row(name, folder / f"{name}.onnx", entries[name], kinds[name], Path(room))
            except Exception as error:  # counted as a miss of all, and shown
                found = dict.fromkeys(["answer", *WAYS], f"{type(error).__name__}: {error}")
        for way, said in found.items():
            if name in without.get(way, {}):
                continue
            totals["expected"] += 1
            totals["works"] += said == "works"
            if said != "works":
                print(f"{name:40} {way:12} {said}", flush=True)
    print(f"{totals['works']} of {totals['expected']} that were expected work")


if __name__ == "__main__":
    command()
