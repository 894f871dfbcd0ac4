"""How quickly the report of a run is made, opens and answers, in headless Chromium.

python tests/bench/report.py [--images N] [--method NAMES] [--run DIR] [--output FILE.html]

Scenes are drawn and a run is made of them, unless one is given. Times of the browser are its own: from the
start of the navigation until the images stand there, and from a change of a filter until the next frame.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import cv2

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles.browser import browser, opened

from onnxlens.models.embedded.scenes import CLASSES, TEST_SEEDS, scene
from onnxlens.models.report.report import report

# What a person does, one after the other; each is timed until the frame that shows it.
STEPS = {
    "a class": "fields.label.value = fields.label.options[3].value",
    "wrong ones": "fields.label.value = ''; fields.state.value = 'wrong'",
    "a word": "fields.state.value = ''; fields.text.value = '7'",
    "two letters": "fields.text.value = 'sc'",
    "all, by name": "fields.text.value = ''; fields.sort.value = 'path'",
    "a range": "fields.low.value = '0.5'; fields.high.value = '0.95'",
    "shakiest": "fields.low.value = fields.high.value = ''; fields.sort.value = 'shaky'",
}
TIMED = """
const done = arguments[0];
const before = performance.now();
%s;
fields.text.dispatchEvent(new Event("input", { bubbles: true }));
requestAnimationFrame(() => setTimeout(() => done(performance.now() - before)));
"""
OPENED = """
const [page] = performance.getEntriesByType("navigation");
const [paint] = performance.getEntriesByName("first-contentful-paint");
return Math.max(page.loadEventEnd, paint ? paint.startTime : 0);
"""


@click.command()
@click.option("--images", default=2000)
@click.option("--method", default="gradcam")
@click.option("--run", type=click.Path(path_type=Path, exists=True), help="A run that is there already.")
@click.option("--output", type=click.Path(path_type=Path), help="Keep the page.")
@click.option("--repeats", default=5)
def main(images: int, method: str, run: Path | None, output: Path | None, repeats: int) -> None:
    """Print the size of the page, and medians of the times."""
    with tempfile.TemporaryDirectory() as place:
        run = run or made(Path(place), images, method)
        start = time.perf_counter()
        found = report(run)
        html = found.html().encode()
        seconds = time.perf_counter() - start
        print(f"{found.data['totals']['images']} images, {found.data['totals']['maps']} maps")
        print(f"made in {seconds:.1f} s, {len(html) / 1e6:.1f} MB")
        path = output or Path(place, "report.html")
        path.write_bytes(html)
        measure(path, repeats)


def made(place: Path, count: int, method: str) -> Path:
    """A run over drawn scenes, in folders called after their classes."""
    for seed in TEST_SEEDS[:count]:
        drawn = scene(seed, size=224)
        folder = place / "photos" / CLASSES[drawn.label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"scene-{seed}.jpg"), drawn.image[..., ::-1])
    words = "run", "scenes", str(place / "photos"), "--method", method, "-o", str(place / "run"), "-q"
    subprocess.run([sys.executable, "-m", "onnxlens", *words], check=True)
    return place / "run"


def measure(path: Path, repeats: int) -> None:
    """Print how long the page takes to open and to answer."""
    openings, answers = [], {name: [] for name in STEPS}
    with browser() as driver:
        for _ in range(repeats):
            opened(driver, path)
            openings.append(driver.execute_script(OPENED))
            for name, step in STEPS.items():
                answers[name].append(driver.execute_async_script(TIMED % step))
    for name, times in {"opening": openings, **answers}.items():
        print(f"{name}: {statistics.median(times):.0f} ms, at most {max(times):.0f}")


if __name__ == "__main__":
    main()
