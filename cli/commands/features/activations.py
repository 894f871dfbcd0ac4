"""`onnxlens activations`: what each layer answers to a photo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ....engine.errors import NoMap
from ....models.maps.numbers import finite
from ....models.storage.folder import Folder
from ... import options
from ...console import note, say, table
from ...results import Record, finish, records, seen
from ...sources import photos_too

if TYPE_CHECKING:
    import numpy as np

    from ....models.features.responses import Response
    from ....models.lens import Lens
    from ....models.maps.prediction import Prediction

LAID_OVER = 8  # channels over the photo


@options.command("activations")
@options.model
@options.images
@options.layers("Name or glob of feature maps; may be said several times.  [default: the network's stages]")
@options.channels("Channels to show: 0,3,7-12.  [default: all]")
@options.drawn("channels", "strength")
@options.convention
@options.out("Folder for pictures, values and manifest.json.")
@photos_too
@options.photos
@options.printing
def command(
    model: str,
    images: tuple[str, ...],
    layers: tuple[str, ...],
    channels: list[int] | None,
    sort: str,
    top: int,
    convention: str,
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Draw what each layer answers to photos: its feature maps.

    Each image gives the network from photo to scores in one picture (-network.png), and each layer its
    channels side by side (.png), the strongest over the photo (-photo.png) and all values (.npy).

    \b
    onnxlens activations model.onnx cat.jpg --preset imagenet
    onnxlens activations model.onnx cat.jpg --layer "fire?/concat*" --top 16
    onnxlens activations model.onnx cat.jpg --layer conv1 --channels 0,3,7-12 --sort index
    """
    from ....models.features.responses import check_channels, chosen, responses

    folder = Folder(out, overwrite)
    lens = options.open_lens(model, quiet, **settings)
    names = chosen(lens, layers)
    check_channels(lens, names, channels)
    show = Drawn(channels, sort, top)

    def tell(result: Record) -> None:
        say(f"{result['image']} -> {folder.path / result['files']['network']}")
        table(HEADS, [_cells(row) for row in result["layers"]])

    look = lambda photo: (responses(lens, photo, names, convention), _predictions(lens, photo))
    made = records(images, seen(look), lambda stem, found: [_written(folder, stem, *found, show)])
    arguments = {"layers": list(layers), "channels": channels, "sort": sort, "top": top}
    arguments["convention"] = convention
    return finish(folder, lens, "activations", arguments, list(chain(*made)), tell, as_json)


class Drawn(NamedTuple):
    """Which channels a picture shows, in which order, and how many of them."""

    channels: list[int] | None
    sort: str
    top: int


def _predictions(lens: Lens, photo: np.ndarray) -> list[Prediction]:
    """What the model sees; nothing where it has no classes, or no number, which its layers may explain."""
    try:
        return lens.predict(photo) if lens.has_classes else []
    except NoMap as error:
        note(f"onnxlens: {error}")
        return []


def _written(
    folder: Folder, stem: str, found: Iterable[Response], predictions: list[Prediction], show: Drawn
) -> dict[str, Any]:
    """Write the pictures and values of one photo, layer by layer; the record of them."""
    from ....engine.picture import encode_png
    from ....models.features.responses import strip

    layers = []

    def each() -> Iterator[Response]:
        for response in found:
            layers.append(_layer(folder, stem, response, show))
            yield response

    whole = encode_png(strip(each(), predictions))
    name = folder.unique(stem, "-network")
    return {
        "predictions": [p.record() for p in predictions],
        "layers": layers,
        "files": {"network": folder.write(f"{name}.png", whole)},
    }


def _layer(folder: Folder, stem: str, response: Response, show: Drawn) -> dict[str, Any]:
    from ....engine.picture import encode_png

    shown = response.order(show.channels, show.sort)[: show.top]
    strongest = response.order(show.channels)[:LAID_OVER]
    name = folder.unique(f"{stem}-{response.layer}")
    return {
        "layer": response.layer,
        **response.place.record(),
        "statistics": response.statistics.to_dict(),
        "strongest": [{"channel": c, "strength": finite(response.strength[c])} for c in strongest],
        "files": {
            "grid": folder.write(f"{name}.png", encode_png(response.grid(shown))),
            "photo": folder.write(f"{name}-photo.png", encode_png(response.overlays(strongest))),
            "values": folder.write_array(f"{name}.npy", response.maps),
        },
    }


HEADS = "layer", "channels", "size", "mean", "std", "max", "zeros", "dead", "strongest"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    s = row["statistics"]
    numbers = ("?" if s[k] is None else f"{s[k]:.4g}" for k in ("mean", "std", "most"))
    shares = ("?" if s[k] is None else f"{s[k]:.0%}" for k in ("sparsity", "dead"))
    strongest = ", ".join(str(c["channel"]) for c in row["strongest"][:3])
    return row["layer"], str(s["channels"]), f"{s['height']}x{s['width']}", *numbers, *shares, strongest
