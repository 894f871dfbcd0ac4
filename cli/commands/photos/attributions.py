"""What attributions of photos named one by one leave in a folder, and the lines that say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ....engine.attribution.methods import METHODS
from ....engine.errors import NoMap
from ...manifest import said
from ...results import Record

if TYPE_CHECKING:
    from ....models.maps.attribution import Attribution
    from ....models.network.vision_model import VisionModel
    from ....models.storage.folder import Folder


class Drawing(NamedTuple):
    """How maps are drawn: in a `style`, "overlay" in a `colour` map of opacity `alpha`; whether one block
    for each place (`exact`); whether their names say the `layers`, and those of a class come in a row; and
    whether they are drawn times `guided` backpropagation too, which was found beside them.
    """

    style: str
    colour: str
    alpha: float
    exact: bool = False
    layers: bool = False
    guided: bool = False

    def arguments(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {"style": self.style, "colour": self.colour, "alpha": self.alpha}

    def of(self, found: Attribution) -> Any:
        """The picture, (H, W, 3) uint8."""
        return (
            found.overlay(self.colour, self.alpha) if self.style == "overlay" else found.picture(self.style)
        )


def write(
    folder: Folder, lens: VisionModel, drawing: Drawing, stem: str, found: Sequence[Attribution]
) -> list[Record]:
    """Write what was found in one photo, and one picture of those that are shown beside each other.

    Gives the record of each, with its `files`; one with a problem has none.
    """
    beside = [f for f in found if f.method == "guided"] if drawing.guided else []
    found = found[: len(found) - len(beside)]
    made = [f.record() for f in found]
    if found and "hidden" in found[0].extras:
        _write_occlusions(folder, lens, stem, found, made, drawing)
        return made
    for f, record in zip(found, made, strict=True):
        if not f.problem:
            record["files"] = _write_one(folder, stem, f, drawing)
    _write_units(folder, stem, found, made, drawing)
    if drawing.layers:
        _write_layers(folder, stem, found, made, drawing)
    if beside:
        _write_guided(folder, found, made, {f.channel: f for f in beside})
    return made


def name_of(folder: Folder, stem: str, found: Attribution, drawing: Drawing) -> str:
    """The beginning of the names of an attribution's files."""
    stem = f"{stem}-{found.layer}" if found.unit or drawing.layers else stem
    return folder.unique(stem, f"-{found.channel}-{found.method}")


def _write_one(folder: Folder, stem: str, found: Attribution, drawing: Drawing) -> dict[str, str]:
    from ....engine.picture import encode_png

    name = name_of(folder, stem, found, drawing)
    drawn = folder.write(f"{name}.png", encode_png(drawing.of(found)))
    if found.is_signal:
        return {"picture": drawn, "signal": folder.write_array(f"{name}.npy", found.values)}
    files = {
        "overlay": drawn,
        "photo_map": folder.write_array(f"{name}.npy", found.at_photo()),
        "layer_map": folder.write_array(f"{name}-map.npy", found.values),
    }
    other = found.extras.get("other")
    if other is not None and not other.problem:
        from ....models.attribution.pair import pair

        both = pair(found, other, drawing.colour, drawing.alpha)
        files["pair"] = folder.write(f"{name}-pair.png", encode_png(both))
    return files


def _write_units(
    folder: Folder, stem: str, found: Sequence[Attribution], made: Sequence[Record], drawing: Drawing
) -> None:
    """Write one sheet of several units of a layer, and enter it into what was `made`."""
    from ....engine.picture import encode_png
    from ....models.maps.sheets import sheet

    shown = [f for f in found if f.unit and not f.problem]
    if len(shown) > 1:
        name = folder.unique(f"{stem}-{shown[0].layer}", f"-{shown[0].method}")
        drawn = sheet(shown, "signed" if drawing.style == "overlay" else drawing.style)
        _enter(made, "sheet", folder.write(f"{name}.png", encode_png(drawn)))


def _write_layers(
    folder: Folder, stem: str, found: Sequence[Attribution], made: Sequence[Record], drawing: Drawing
) -> None:
    """Write one picture for each class, of its maps of all layers, and enter it into what was `made`."""
    from ....engine.picture import encode_png
    from ....models.maps.sheets import side_by_side

    for index in dict.fromkeys(f.channel for f in found):
        of_class = [(f, r) for f, r in zip(found, made, strict=True) if f.channel == index and "files" in r]
        if of_class:
            shown, records = zip(*of_class, strict=True)
            name = folder.unique(stem, f"-{index}-{shown[0].method}-layers")
            drawn = side_by_side(shown, drawing.colour, drawing.alpha)
            _enter(records, "layers", folder.write(f"{name}.png", encode_png(drawn)))


def _enter(made: Sequence[Record], key: str, file: str) -> None:
    for record in made:
        if "files" in record:
            record["files"][key] = file


def _write_guided(
    folder: Folder,
    found: Sequence[Attribution],
    made: Sequence[Record],
    guided: Mapping[int | None, Attribution],
) -> None:
    """Write which pixels of each map matter: the map times the guided backpropagation of its class."""
    from ....engine.picture import encode_png
    from ....models.maps.attribution import guided_gradcam

    for f, record in zip(found, made, strict=True):
        fine = guided_gradcam(guided[f.channel], f)
        if "files" in record and not fine.problem:
            name = record["files"]["overlay"].removesuffix(".png")
            record["files"] |= {
                "guided": folder.write(f"{name}-guided.png", encode_png(fine.picture())),
                "guided_signal": folder.write_array(f"{name}-guided.npy", fine.signal),
            }


def _write_occlusions(
    folder: Folder,
    lens: VisionModel,
    stem: str,
    found: Sequence[Attribution],
    made: Sequence[Record],
    drawing: Drawing,
) -> None:
    """Write of each class one sheet, and for each size of patch its pictures and values.

    Where the score does not depend on the place there is nothing to draw.
    """
    from ....engine.attribution.perturbation.hidden import moves
    from ....engine.picture import encode_png
    from ....models.attribution.occlusion import occluded
    from ....models.attribution.panels import sheet

    for index in dict.fromkeys(f.channel for f in found):
        pairs = [(f, r) for f, r in zip(found, made, strict=True) if f.channel == index]
        shown = [(occluded(lens, f), f, r) for f, r in pairs if moves(f.extras["hidden"].scores)]
        if not shown:
            continue
        name = f"{stem}-{index}-occlusion"
        drawn = encode_png(sheet([o for o, _, _ in shown], drawing.exact))
        sheet_file = folder.write(f"{folder.unique(name, '-sheet')}.png", drawn)
        for o, f, record in shown:
            own = folder.unique(name, "-{}x{}".format(*o.places.patch))
            record["files"] = {
                "sheet": sheet_file,
                "photo_map": folder.write_array(f"{own}.npy", f.at_photo()),
            }
            if not f.problem:
                record["files"]["overlay"] = folder.write(f"{own}.png", encode_png(drawing.of(f)))
            _write_panels(folder, own, o, record, drawing.exact)


def _write_panels(folder: Folder, name: str, occlusion: Any, record: Record, exact: bool) -> None:
    """Write the answers by place, and say in the record what could not be drawn."""
    from ....engine.picture import encode_png
    from ....models.attribution.panels import panel, panels, values

    files, not_drawn = record["files"], {}
    for kind in panels(occlusion):
        files[f"{kind}_values"] = folder.write_array(f"{name}-{kind}.npy", values(occlusion, kind))
        try:
            files[kind] = folder.write(f"{name}-{kind}.png", encode_png(panel(occlusion, kind, exact)))
        except NoMap as error:
            not_drawn[kind] = str(error)
    if not_drawn:
        record["not_drawn"] = not_drawn


def line(result: Record, folder: Path, layers: bool) -> str:
    """What a person reads of one attribution."""
    what = f"{result['image']}: {_of(result)}" + (f", {result['layer']}" if layers else "")
    what += "".join(say(value) for key, say in SAID.items() if (value := result.get(key)))
    files = result.get("files", {})
    shown = next((files[key] for key in ("sheet", "overlay", "picture") if _is_own(key, files, result)), None)
    arrow = f" -> {folder / shown}" if shown else ""
    if "problem" in result:
        nothing = "no map" if METHODS[result["method"]].style == "overlay" else "nothing to show"
        return f"{what}: {nothing}: {result['problem']}{arrow}"
    note = f" ({result['note']})" if "note" in result else ""
    return f"{what}{_cost(result)}{arrow}{note}"


def _of(result: Record) -> str:
    """The class or the unit."""
    if target := result["target"]:
        number = "" if "kind" in target else f"{target['index']} "  # a thing's name has its own
        return f"{number}{target['label']} ({said(target)})"
    y, x = result["position"]
    return f"{result['layer']} {result['channel']} at {y},{x}"


def _is_own(key: str, files: Mapping[str, str], result: Record) -> bool:
    """Whether a line leads to a file: not to the sheet that several units share, which has its own."""
    return key in files and (key != "sheet" or "worst" in result)


def _cost(result: Record) -> str:
    """What hiding the worst place does."""
    if "worst" not in result:
        return ""
    (top, left), worst = result["worst"]["corner"], result["worst"]["score"]
    return f": score {result['score']:.4g}, {worst:.4g} with it at row {top}, column {left}"


def _sampled(said: Mapping[str, Any]) -> str:
    """How sure a map is that was drawn at random."""
    error = said["standard_error"]
    sure = "not known" if error is None else f"{100 * error:.3g}% of the range"
    short = "" if said.get("reached", True) else f", short of the tolerance of {100 * said['tolerance']:.3g}%"
    return f", {said['drawn']} draws, standard error {sure}{short}"


# What only some methods give, by its name in the record.
SAID: dict[str, Callable[[Any], str]] = {
    "patch": lambda patch: ", patch {}x{}".format(*patch),
    "approximation": lambda near: (
        f", off by up to {near['deviation']:.1%} of the range at {near['checked']} places checked"
    ),
    "sampled": _sampled,
    "completeness": lambda done: f", sums to {done['sum']:.4g} of a rise of {done['rise']:.4g}",
}
