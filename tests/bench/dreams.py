"""Pictures of classes, made of noise: how sure the model is that each shows its class.

python tests/bench/dreams.py [MODEL] [CLASS...] [--preset NAME] [--pictures FOLDER]

Without MODEL every class of the embedded one, and where ONNXLENS_TEST_DATA says where SqueezeNet lies the
eight of "Inceptionism" (2015).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from onnxlens.engine.dreams.dream import Priors
from onnxlens.engine.picture import encode_png
from onnxlens.models.dreams.ascent import Ascent
from onnxlens.models.dreams.imagine import VARIATION, imagine
from onnxlens.models.lens import Lens

POST = "351", "647", "310", "327", "393", "954", "701", "783"
SQUEEZENET = "models/squeezenet1.1-caffe2-fp16.onnx"


@click.command()
@click.argument("model", required=False)
@click.argument("classes", nargs=-1)
@click.option("--preset")
@click.option("--threads", type=int)
@click.option("--seed", default=0)
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder to write the pictures to.")
def main(
    model: str | None,
    classes: tuple[str, ...],
    preset: str | None,
    threads: int | None,
    seed: int,
    pictures: Path | None,
) -> None:
    """Print a line for each class."""
    runs = [(model, classes, preset)] if model else [("scenes", (), None)]
    squeezenet = Path(os.environ.get("ONNXLENS_TEST_DATA", "")) / SQUEEZENET
    if model is None and squeezenet.is_file():
        runs.append((str(squeezenet), POST, "caffe"))
    for path, wanted, name in runs:
        lens = Lens(path, preset=name, threads=threads)
        print(f"{lens.path.name}, {lens.network.provider}, seed {seed}")
        print(f"{'class':>6}  {'label':24} {'log odds':>16} {'seen as':>24} {'p':>7} {'s':>6}")
        for label in wanted or range(len(lens.labels)):
            index = lens.wish(label)
            start = time.perf_counter()
            made = imagine(Ascent(lens, f"odds({index})", priors=Priors(VARIATION)), seed=seed)
            seconds = time.perf_counter() - start
            best = lens.predict(made.pictures[0], top=1)[0]
            rise = f"{made.octaves[0].before[0]:.1f} -> {made.octaves[0].after[0]:.1f}"
            print(
                f"{index:6}  {lens.labels[index]:24.24} {rise:>16} {best.label:>24.24} "
                f"{best.probability:7.4f} {seconds:6.1f}",
                flush=True,
            )
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
                (pictures / f"{lens.path.stem}-{index}.png").write_bytes(encode_png(made.pictures[0]))


if __name__ == "__main__":
    main()
