"""`onnxlens doctor`: can a model be differentiated, and what stands in the way; where its layers answer."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.errors import BadRequest, NoMap
from ....models.maps.numbers import finite
from ... import options
from ...console import download, emit, note, say, table
from .outputs import lines, records

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ....engine.autodiff.doctor import Finding
    from ....models.lens import Lens

MAX_THINGS = 5  # that are said of a photo
SAID = {
    "open": "gradients lead from {of} to {wrt}",
    "partial": "gradients lead from {of} to {wrt}, but not on every way",
    "blocked": "no gradient leads from {of} to {wrt}",
    "apart": "{of} does not depend on {wrt}",
    "refused": "{refused}",
}


@options.command("doctor")
@options.model
@click.argument("images", metavar="[IMAGE...]", nargs=-1)
@options.of("before a softmax")
@options.wrt
@click.option("--probe", is_flag=True, help="Plant marks, and look where layers answer to them, instead.")
@options.layers(
    "Name or glob of layers to probe; may be said several times.  "
    "[default: the one of Grad-CAM, and some stages]"
)
@options.photos
@options.as_json
@options.debug
def command(
    model: str,
    images: tuple[str, ...],
    of: tuple[str, ...],
    wrt: tuple[str, ...],
    probe: bool,
    layers: tuple[str, ...],
    as_json: bool,
    **settings: Any,
) -> int:
    """Say whether gradients lead through a model, and if not, what stops them and what to do instead.

    ONNX Runtime loads the model, and the gradients that are said to lead somewhere, at the size that stands
    in or beside the model, at --size, or else at 224 pixels where the model leaves it open. With images it
    also says what the model answers, where a gradient gets lost, which channels are dead for all of them,
    which outputs are saturated and which values are not finite; that needs no classes. Of each output it says
    what it holds, how that is known, and what to say to have it read otherwise. Ends with 0 where gradients
    lead to each --wrt, on all ways or some, else with 1.

    With --probe it says instead whether layers lie where maps of them are drawn: marks are planted in
    pictures of noise, and what changes in a layer must have its middle where the mark is. Ends with 1 where
    that is more than a cell of the layer away, or where no layer can be compared.

    \b
    onnxlens doctor model.onnx
    onnxlens doctor model.onnx --of boxes --json
    onnxlens doctor model.onnx cat.jpg --preset imagenet
    onnxlens doctor model.onnx --probe --layer conv4
    """
    if probe:
        return _probed(model, layers, as_json, beside=(*images, *of, *wrt), **settings)
    if layers:
        raise BadRequest("--layer says what is probed: say --probe too")
    from ....engine.autodiff.doctor import examine, tried
    from ....models.network.answers import read_outputs
    from ....models.network.opened import open_network

    lens = options.open_lens(model, quiet=True, **settings) if images else None
    output, kind, _ = (settings.pop(name) for name in ("output", "readout", "labels"))
    if lens is None:
        with download(model) as progress:
            opened = open_network(model, progress=progress, **settings)
        path, network, labels = opened.path, opened.network, None
    else:
        path, network, labels = lens.path, lens.network, lens.labels
        note(f"{lens.path.name}: {lens.source}")
    _, answers = read_outputs(network.graph, path, labels, output, kind)
    finding = tried(network, examine(network.graph, of, wrt, output))
    commands = _commands(model, finding, wrt)
    looked = _looked(lens, images, finding) if lens is not None and finding.refused is None else None
    if as_json:
        record = {"model": model, "verdict": finding.verdict, **asdict(finding), "commands": commands}
        emit(record | {"answers": records(answers)} | (looked or {}))
    else:
        _show(finding, commands)
        for line in lines(answers):
            say(line)
        if looked:
            _show_looked(looked)
    return 0 if finding.verdict in ("open", "partial") else 1


def _probed(
    model: str, layers: tuple[str, ...], as_json: bool, beside: tuple[str, ...], **settings: Any
) -> int:
    """Plant marks, and say where layers answer to them; `beside` is what does not go with that."""
    from ....models.features.probe import probes
    from ....models.network.opened import open_network
    from .probing import told

    if beside:
        raise BadRequest(
            f"--probe makes its own pictures and asks for no gradients: leave {beside[0]!r} away"
        )
    output = settings.pop("output")
    del settings["labels"], settings["readout"]
    with download(model) as progress:
        opened = open_network(model, progress=progress, **settings)
    note(f"{opened.path.name}: {opened.source}")
    return told(model, list(probes(opened, layers, output)), as_json)


def _commands(model: str, finding: Finding, wrt: tuple[str, ...]) -> list[str]:
    """What can be done instead: Grad-CAM, if nothing stops that, and gradients of what is before a block."""
    look = [f"{shlex.join(['onnxlens', 'gradcam', model])} IMAGE"] if finding.layer else []
    words = ["onnxlens", "grad", model, "-o", f"{Path(model).stem}.grad.onnx"]
    behind = [w for name in wrt for w in ("--wrt", name)]
    instead = [next((b.instead for b in kind if b.instead), None) for kind in finding.kinds]
    found = [shlex.join([*words, "--of", name, *behind]) for name in instead if name]
    return list(dict.fromkeys(look + found))


def _show(finding: Finding, commands: list[str]) -> None:
    missed = [name for name in finding.wrt if name not in finding.open] or finding.wrt
    said = SAID[finding.verdict]
    say(said.format(of=", ".join(finding.of), wrt=", ".join(missed), refused=finding.refused))
    for first, *others in finding.kinds:
        more = f" ({len(others)} more such nodes, the last makes {others[-1].output!r})" if others else ""
        say(f"{first.text}{more}")
    for line in commands:
        say(f"  {line}")
    rows = [
        (how, str(n), operator)
        for how, counts in finding.operators.items()
        for operator, n in sorted(counts.items())
    ]
    if rows:
        table(("how", "nodes", "operator"), rows)


def _looked(lens: Lens, images: tuple[str, ...], finding: Finding) -> dict[str, Any]:
    """What the model does with photos: its answer and its gradient for each, its activations for all."""
    from ....engine.autodiff.doctor import health
    from ....models.storage.store import photo_at

    lost = _losses(lens, finding)
    photos = [photo_at(image) for image in images]
    found = [
        {"image": image, **_answer(lens, photo), **({} if lost is None else {"lost": lost(photo)})}
        for image, photo in zip(images, photos, strict=True)
    ]
    whole = health(lens.network, (lens.feeds(photo)[0] for photo in photos))
    return {"images": found, "health": asdict(whole)}


def _losses(lens: Lens, finding: Finding) -> Callable[[np.ndarray], str] | None:
    """The function of a photo that says where the gradient by it gets lost; None where none leads to it."""
    from ....engine.attribution.diagnose import losses

    if not finding.open:
        return None
    lost = losses(lens.network, finding.of[0], finding.open[0])
    return lambda photo: lost(lens.feeds(photo)[0])


def _answer(lens: Lens, photo: np.ndarray) -> dict[str, Any]:
    """The best classes of a photo; of a model without classes what it finds, and the range of each output."""
    if lens.has_classes:
        try:
            return {"predictions": [p.record() for p in lens.predict(photo)]}
        except NoMap as error:
            return {"error": str(error)}
    outputs = lens.network.run(lens.feeds(photo)[0])
    return {**_things(lens, photo), "outputs": {name: _range(array) for name, array in outputs.items()}}


def _things(lens: Lens, photo: np.ndarray) -> dict[str, Any]:
    try:
        return {"things": [thing.record() for thing in lens.things(photo)[:MAX_THINGS]]}
    except (BadRequest, NoMap):  # the outputs say what there is
        return {}


def _range(array: np.ndarray) -> dict[str, Any]:
    numbers = array.size and array.dtype.kind in "fiub"
    ends = (finite(array.min()), finite(array.max())) if numbers else (None, None)
    return {"shape": list(array.shape), "least": ends[0], "most": ends[1]}


def _show_looked(looked: dict[str, Any]) -> None:
    from ...manifest import said

    for found in looked["images"]:
        best, things = (
            ", ".join(f"{p['label']} {said(p)}" for p in found.get(key, ()))
            for key in ("predictions", "things")
        )
        shown = [
            f"{name} {o['shape']} from {o['least']} to {o['most']}"
            for name, o in found.get("outputs", {}).items()
        ]
        say(f"{found['image']}: {best or ', '.join(shown) or found['error']}")
        if things:
            say(f"{found['image']}: {things}")
        if "lost" in found:
            say(f"{found['image']}: {found['lost'] or 'the gradient arrives'}")
    _show_health(**looked["health"])


def _show_health(dead: dict[str, float], saturated: dict[str, float], not_finite: list[str]) -> None:
    for heads, shares, none in (
        (("rectifier", "dead channels"), dead, "no dead channels"),
        (("output", "saturated"), saturated, "no saturated outputs"),
    ):
        if rows := [(name, f"{share:.0%}") for name, share in shares.items() if share > 0]:
            table(heads, rows)
        else:
            say(none)
    say(f"not finite: {', '.join(not_finite)}" if not_finite else "all values are finite")
