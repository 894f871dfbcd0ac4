"""`onnxlens doctor`: can a model be differentiated, and what stands in the way."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .console import download, emit, note, say, table

if TYPE_CHECKING:
    from ..engine.doctor import Finding, Health

SAID = {
    "open": "gradients lead from {of} to {wrt}",
    "partial": "gradients lead from {of} to {wrt}, but not on every way",
    "blocked": "no gradient leads from {of} to {wrt}",
    "apart": "{of} does not depend on {wrt}",
}


@options.command("doctor")
@options.model
@click.argument("images", metavar="[IMAGE...]", nargs=-1)
@click.option(
    "--of", multiple=True, help="Value to differentiate.  [default: the first output, before a softmax]"
)
@click.option(
    "--wrt", multiple=True, help="Input, weight or value to differentiate by.  [default: the first input]"
)
@options.photos
@options.as_json
@options.debug
def command(
    model: str,
    images: tuple[str, ...],
    of: tuple[str, ...],
    wrt: tuple[str, ...],
    as_json: bool,
    **settings: Any,
) -> int:
    """Say whether gradients lead through a model, and if not, what stops them and what to do instead.

    With images it also says which channels are dead for all of them, which outputs are saturated and
    which values are not finite. Ends with 0 where gradients lead to each --wrt, on all ways or some,
    else with 1.

    \b
    onnxlens doctor model.onnx
    onnxlens doctor model.onnx --of boxes --json
    onnxlens doctor model.onnx cat.jpg --preset imagenet
    """
    from ..engine.doctor import examine
    from ..models.zoo import resolve

    with download(model) as progress:
        path = resolve(model, progress)
    finding = examine(path, of, wrt)
    health = _health(model, images, settings) if images else None
    commands = _commands(model, finding, wrt)
    if as_json:
        record = {"model": model, "verdict": finding.verdict, **asdict(finding), "commands": commands}
        emit(record | ({"health": asdict(health)} if health else {}))
    else:
        _show(finding, commands, health)
    return 0 if finding.verdict in ("open", "partial") else 1


def _commands(model: str, finding: Finding, wrt: tuple[str, ...]) -> list[str]:
    """What can be done instead: Grad-CAM, if nothing stops that, and gradients of what is before a block."""
    look = [f"{shlex.join(['onnxlens', 'gradcam', model])} IMAGE"] if finding.layer else []
    words = ["onnxlens", "grad", model, "-o", f"{Path(model).stem}.grad.onnx"]
    behind = [w for name in wrt for w in ("--wrt", name)]
    found = [shlex.join([*words, "--of", b.instead, *behind]) for b in finding.blocks if b.instead]
    return list(dict.fromkeys(look + found))


def _show(finding: Finding, commands: list[str], health: Health | None) -> None:
    missed = [name for name in finding.wrt if name not in finding.open] or finding.wrt
    say(SAID[finding.verdict].format(of=", ".join(finding.of), wrt=", ".join(missed)))
    for block in finding.blocks:
        say(block.text)
    for line in commands:
        say(f"  {line}")
    rows = [
        (how, str(n), operator)
        for how, counts in finding.operators.items()
        for operator, n in sorted(counts.items())
    ]
    if rows:
        table(("how", "nodes", "operator"), rows)
    if health is None:
        return
    dead = [(n, f"{s:.0%}") for n, s in health.dead.items() if s > 0]
    full = [(n, f"{s:.0%}") for n, s in health.saturated.items() if s > 0]
    for heads, found, none in (
        (("rectifier", "dead channels"), dead, "no dead channels"),
        (("output", "saturated"), full, "no saturated outputs"),
    ):
        if found:
            table(heads, found)
        else:
            say(none)
    say(f"not finite: {', '.join(health.not_finite)}" if health.not_finite else "all values are finite")


def _health(model: str, images: tuple[str, ...], settings: dict[str, Any]) -> Health:
    import numpy as np

    from ..engine.doctor import health
    from ..models.store import photo_at

    lens = options.open_lens(model, quiet=True, **settings)
    note(f"{lens.path.name}: {lens.source}")
    photos = (lens.preprocess(photo_at(image))[0] for image in images)
    return health(lens.network, ({lens.input: np.repeat(x, lens.batch, 0)} for x in photos))
