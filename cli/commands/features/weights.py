"""`onnxlens weights`: the kernels that a model has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....engine.errors import OnnxlensError
from ....models.maps.numbers import finite
from ....models.storage.folder import Folder
from ... import options
from ...console import download, emit, note, say, table

if TYPE_CHECKING:
    from ....engine.runtime.network import Network
    from ....models.features.weights import Weights

PAIRS = 20  # near-duplicates of a layer that are listed


@options.command("weights")
@options.model
@options.layers(
    "Name or glob of layers, by what they compute, by their weights or by the module that they are in.  "
    "[default: draw the first four]"
)
@options.drawn("kernels", "norm")
@options.out("Folder for pictures, values and manifest.json.")
@options.pictures
@options.runtime
@options.printing
def command(
    model: str,
    layers: tuple[str, ...],
    sort: str,
    top: int,
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Draw what a model's layers have learnt: their kernels.

    Kernels that read the image are drawn in its colours, deeper ones as a grey tile for each input channel
    (.png) and as the pattern in the image that they answer to (-patterns.png); -.npy holds the values.
    Norms, dead kernels and near-duplicates of every layer are listed. Needs no photo.

    \b
    onnxlens weights scenes
    onnxlens weights model.onnx --layer conv1 --preset imagenet
    onnxlens weights model.onnx --layer "layer1*" --sort index --json
    """
    from ....models.features.weights import DRAWN, chosen, weights
    from ....models.network.opened import open_network
    from ...manifest import manifest

    folder = Folder(out, overwrite)
    with download(model) as progress:
        opened = open_network(model, progress=progress, **settings)
    network = opened.network
    names = chosen(network, layers or None)
    drawn = names if layers else names[:DRAWN]
    if not quiet:
        note(f"{opened.path.name}: {network.why}; {opened.source}")
    results = []
    for found in weights(network, names, opened.preprocess):
        record = _record(found)
        if found.layer in drawn:
            record |= _written(folder, opened.path.stem, network, found, found.order(sort)[:top])
        results.append(record)
        if as_json:
            emit(record)
    arguments = {"layers": list(layers), "sort": sort, "top": top}
    folder.write_manifest(manifest(opened, "weights", arguments, results))
    if not as_json:
        table(HEADS, [_cells(record) for record in results])
        for record in results:
            for kind, name in record.get("files", {}).items():
                if kind != "values":
                    say(f"{record['layer']}: {kind} -> {folder.path / name}")


def _record(found: Weights) -> dict[str, Any]:
    """A layer in numbers."""
    norms = [finite(n) for n in found.norms]
    return {
        "layer": found.layer,
        "weight": found.kernels.weight,
        "operator": found.kernels.operator,
        "shape": list(found.kernels.values.shape),
        "norms": norms,
        "dead": found.dead,
        "near_duplicates": len(found.doubles),
        "nearest": [{"outputs": [i, j], "cosine": finite(cosine)} for i, j, cosine in found.doubles[:PAIRS]],
    }


def _written(
    folder: Folder, stem: str, network: Network, found: Weights, outputs: list[int]
) -> dict[str, Any]:
    from ....engine.picture import encode_png
    from ....models.features.weights import pattern_tiles

    name = folder.unique(f"{stem}-{found.layer}")
    files = {"kernels": folder.write(f"{name}.png", encode_png(found.picture(outputs)))}
    problem = {}
    if not found.in_colour:
        try:
            tiles = pattern_tiles(network, found, outputs)
        except OnnxlensError as error:  # one layer without them does not cost those of the others
            problem = {"no_patterns": str(error)}
            note(f"{found.layer}: no patterns: {error}")
        else:
            files["patterns"] = folder.write(f"{name}-patterns.png", encode_png(tiles))
    files["values"] = folder.write_array(f"{name}.npy", found.kernels.values)
    return {**problem, "files": files}


HEADS = "layer", "operator", "kernels", "norm: least", "mean", "most", "dead", "near-duplicates"


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    norms = [n for n in record["norms"] if n is not None]
    numbers = (min(norms), sum(norms) / len(norms), max(norms)) if norms else ()
    dead = record["dead"]
    pairs = [_pair(p) for p in record["nearest"][:3]]
    return (
        record["layer"],
        record["operator"],
        "x".join(map(str, record["shape"])),
        *(f"{n:.3g}" for n in numbers),
        *("?" for _ in range(3 - len(numbers))),
        _some(len(dead), [str(k) for k in dead[:3]]),
        _some(record["near_duplicates"], pairs),
    )


def _pair(near: dict[str, Any]) -> str:
    """3~7 for kernels that are alike, 3~-7 for opposite ones."""
    i, j = near["outputs"]
    return f"{i}~{'-' if near['cosine'] < 0 else ''}{j}"


def _some(count: int, first: list[str]) -> str:
    """How many, and the first of them: 5: 1, 2, 3, ..."""
    return f"{count}: {', '.join(first)}{', ...' if count > len(first) else ''}" if count else "0"
