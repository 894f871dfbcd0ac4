"""`onnxlens demo`: the whole way on the model that comes along."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....models.storage.folder import Folder
from ... import options
from ...console import emit, note, say, table
from .look import line, look
from .ways import Subject

if TYPE_CHECKING:
    from ....models.lens import Lens
    from ....models.maps.attribution import Attribution

SIDE = 288  # pixels of a drawn scene; the model sees 96
SHOWN = 3  # of the scenes, the one that has a page
SEARCHED = 120  # scenes that are searched for those of highest response
UNSEEN = 200  # scenes that the peaks are counted on


@options.command("demo")
@click.option(
    "-o",
    "--out",
    default="onnxlens-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the pictures; those of an earlier demo are replaced.",
)
@options.runtime
@options.printing
def command(out: Path, as_json: bool, quiet: bool, **settings: Any) -> None:
    """See it work, on scenes that it draws itself.

    Draws a scene of each class, says what the model sees in it and where it looks, makes the page of
    `onnxlens look` for one of them, and counts on 200 unseen scenes how often the map's peak lies on the
    object. Needs no network and no files.

    \b
    onnxlens demo -o pictures
    """
    from ....engine.picture import encode_png, grid
    from ....models.embedded.scenes import CLASSES, TEST_SEEDS, scene
    from ...manifest import manifest

    folder = Folder(out, overwrite=True)
    lens = options.open_lens("scenes", quiet, **settings)
    pictures, captions, rows, results = [], [], [], []
    for seed in TEST_SEEDS[: len(CLASSES)]:
        drawn = scene(seed, size=SIDE)
        heat = lens.gradcam(drawn.image)
        label = CLASSES[drawn.label]
        name = folder.unique(f"{label}-{seed}")
        files = {"scene": folder.write(f"{name}.png", encode_png(drawn.image))}
        if not heat.problem:
            files["overlay"] = folder.write(f"{name}-gradcam.png", encode_png(heat.overlay()))
        results.append({"image": f"{name}.png", "truth": label, **heat.record(), "files": files})
        rows.append(
            (
                label,
                heat.predictions[0].label,
                heat.predictions[0].said,
                heat.problem or f"{'on' if on_object(heat, drawn.mask) else 'off'} the object",
            )
        )
        pictures += [drawn.image, drawn.image if heat.problem else heat.overlay()]
        captions += [label, heat.title]
    sheet = folder.write("demo.png", encode_png(grid(pictures, 6, captions=captions)))
    page = look(folder, _subject(lens, folder, results[SHOWN]["files"]["scene"]), "scenes", quiet)["files"][
        "page"
    ]
    hits = peaks_on_object(lens, UNSEEN)
    figures = {"scenes": UNSEEN, "peaks_on_object": hits}
    folder.write_manifest({**manifest(lens, "demo", {}, results), "figures": figures})

    if as_json:
        for record in (*results, figures):
            emit(record)
        return
    table(("scene", "prediction", "probability", "where the peak is"), rows)
    say(f"peak on the object in {hits} of {UNSEEN} unseen scenes ({hits / UNSEEN:.1%})")
    say(f"{folder.path / sheet}: all scenes, each beside where the model looks")
    say(f"{folder.path / page}: everything there is to see of one of them; open it in a browser")
    if not quiet:
        one = folder.path / results[0]["files"]["scene"]
        note(f"try it on one of them: onnxlens gradcam scenes {one} --target top3")


def _subject(lens: Lens, folder: Folder, scene_file: str) -> Subject:
    """One of the drawn scenes, and more of them to search for those of highest response."""
    from ....engine.anatomy.layers import last_features
    from ....engine.anatomy.readouts.classes import score_name
    from ....engine.picture import encode_png
    from ....models.embedded.scenes import TEST_SEEDS, scene
    from ....models.photos.photo import read_photo

    more = Folder(folder.path / "scenes", overwrite=True)
    for seed in TEST_SEEDS[:SEARCHED]:
        more.write(f"{seed}.png", encode_png(scene(seed).image))
    image, graph = folder.path / scene_file, lens.network.graph
    layer = last_features(graph, score_name(graph))
    command = partial(line, "scenes", str(image), {})
    return Subject(lens, read_photo(image), str(image), None, layer, [str(more.path)], command)


def on_object(heat: Attribution, mask: Any) -> bool:
    """Whether the peak of a map lies on the object that decides the class."""
    from ....engine.metrics.truth import pointing

    return not heat.problem and pointing(heat.at_photo(), mask)


def peaks_on_object(lens: Lens, count: int) -> int:
    """On how many of the first `count` unseen scenes the peak for the predicted class is on the object."""
    from ....models.embedded.scenes import TEST_SEEDS, scene

    drawn = (scene(seed) for seed in TEST_SEEDS[:count])
    return sum(on_object(lens.gradcam(d.image), d.mask) for d in drawn)
