"""Where layers lie on the photo, in architectures of timm, torchvision and transformers with random weights.

python tests/bench/architectures/export.py FOLDER       in an environment of its own: see there
python tests/bench/placement.py FOLDER [--only NAME]... [--page]

The list is placement.toml: of each architecture the modules that a person expects to be placed, and where a
person would look without being asked. It was written before the code that places them.

What a network of random kernels sees is as wide as the photo, and leans to one side in each: so kernels
become bells first (between channels they stay random), and the middle of what a layer sees is known. A mark,
a soft spot of colour, is planted into a photo of noise, and the model is run with and without it, at several
places and on several photos. What changes in a layer, less what changes everywhere (attention and gates mix
all that they see), has a centre of mass on the photo: as the layer's place says where its cells are. It is
compared with the middle of the mark, in cells of the layer, along the axis that is further off. A layer that
has no place is a miss.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

import click
import cv2
import numpy as np
import onnx

from onnxlens.engine.anatomy.anatomy import checked_layer
from onnxlens.engine.anatomy.grids import View
from onnxlens.engine.anatomy.maps import view_of, views
from onnxlens.engine.anatomy.readouts import score_name
from onnxlens.engine.anatomy.scopes import members
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.graph.graph import Graph
from onnxlens.engine.graph.nodes import reads
from onnxlens.engine.graph.types import is_float
from onnxlens.engine.operators.traits import traits_of
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.session import Session

LIST = Path(__file__).with_suffix(".toml")
PLACES = (0.4, 0.41), (0.37, 0.6), (0.63, 0.38), (0.6, 0.62)  # of height and width: off the cells
PHOTOS = 2
NARROWEST = 8  # pixels to each side of a mark
MOVED = {"Transpose", "Reshape", "Identity", "Slice", "Squeeze", "Unsqueeze"}
SHARE = 0.25  # of the greatest change: what changes less does not count

Fed = Callable[[np.ndarray], np.ndarray]
Changes = tuple[tuple[float, float], Mapping[str, Any]]


@dataclass
class Layer:
    """What came of a layer: how far off it is at each mark, in cells, or why it has no place."""

    module: str
    off: list[float] = field(default_factory=list)
    cells: str = ""
    refused: str = ""


@dataclass
class Row:
    """What came of an architecture; milliseconds of `default` alone and of all values."""

    name: str
    layers: list[Layer]
    default: str
    is_expected: bool
    first: float
    every: float


# -- layers -----------------------------------------------------------------------------------------------


def handed_on(graph: Graph, module: str, inside: dict[str, list[str]]) -> str:
    """The last value of a module that is read outside of it, of three axes or more. KeyError: none is."""
    values = inside[module]
    own = {id(graph.producer(v)) for v in values}
    outside = {i for n in graph.nodes if id(n) not in own for i in reads(n)} | {*graph.outputs}
    real = (v for v in values if is_real(graph, v) and len(graph[v].shape or ()) > 2)
    found = [v for v in real if v in outside]
    if not found:
        raise KeyError(module)
    return found[-1]


def is_real(graph: Graph, value: str) -> bool:
    """Whether a value holds real numbers, or what it holds is not known."""
    dtype = graph[value].dtype
    return dtype is None or is_float(dtype)


def is_default(graph: Graph, value: str, patterns: Sequence[str], inside: dict[str, list[str]]) -> bool:
    """Whether a value is what one of the expected modules hands on, or an activation behind that."""
    wanted = [m for m in inside if any(fnmatchcase(m, p) for p in patterns)]
    handed = {_moved(graph, handed_on(graph, m, inside)) for m in wanted if _hands_on(graph, m, inside)}
    while (value := _moved(graph, value)) not in handed:
        node = graph.producer(value)
        if node is None or traits_of(node).elementwise != "alone":
            return False
        value = node.input[0]
    return True


def _moved(graph: Graph, value: str) -> str:
    """What a value holds in another order, or the patches of."""
    while (node := graph.producer(value)) is not None and node.op_type in MOVED:
        value = node.input[0]
    return value


def _hands_on(graph: Graph, module: str, inside: dict[str, list[str]]) -> bool:
    try:
        return bool(handed_on(graph, module, inside))
    except KeyError:
        return False


def centred(path: Path) -> onnx.ModelProto:
    """The model of a file, of whose kernels each becomes a bell with the sum that it had.

    So means, and with them what normalisations had learned, stay as they are.
    """
    model = onnx.load(path)
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in constants:
            continue
        kernel = onnx.numpy_helper.to_array(constants[node.input[1]])
        if kernel.ndim == 4 and kernel.shape[2:] != (1, 1):
            strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1, 1])
            bell = np.outer(*(_bell(k, s) for k, s in zip(kernel.shape[2:], strides, strict=True)))
            even = (kernel.sum((2, 3), keepdims=True) * bell).astype(kernel.dtype)
            constants[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(even, node.input[1]))
    return model


def _bell(length: int, stride: int) -> np.ndarray:
    """Weights that sum up to 1, with a standard deviation of half a stride."""
    weights = np.exp(-0.5 * np.square((np.arange(length) - (length - 1) / 2) / (stride / 2)))
    return weights / weights.sum()


# -- marks ------------------------------------------------------------------------------------------------


def noise(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A photo (H, W, 3) of noise of all scales, float32."""
    scales = [rng.standard_normal((max(1, size[0] // s), max(1, size[1] // s), 3)) for s in (1, 4, 16, 64)]
    sharp = (cv2.resize(x.astype(np.float32), size[::-1]) for x in scales)
    return np.asarray(np.mean(list(sharp), axis=0), np.float32)


def spot(rng: np.random.Generator, size: tuple[int, int], at: tuple[float, float], cell: Any) -> np.ndarray:
    """A soft mark (H, W, 3) around a place in pixels, `cell` pixels (down, across) to each side."""

    def window(length: int, middle: float, reach: float) -> np.ndarray:
        far = np.abs(np.arange(length) + 0.5 - middle) / reach
        return np.where(far < 1, 0.5 + 0.5 * np.cos(np.pi * far), 0)

    soft = np.outer(*(window(*w) for w in zip(size, at, cell, strict=True)))
    return (soft[..., None] * rng.choice([-1, 1], 3) * rng.uniform(1, 3, 3)).astype(np.float32)


def centre(change: np.ndarray, view: View) -> np.ndarray:
    """The centre of mass of what changes on a map (h, w), in pixels of the input."""
    assert view.place is not None
    change = np.maximum(change - np.median(change), 0)
    weights = np.maximum(change / change.max() - SHARE, 0)
    y0, x0, y1, x1 = view.place.cells
    (h, w), mass = change.shape, weights.sum()
    rows, columns = y0 + (np.arange(h) + 0.5) * (y1 - y0) / h, x0 + (np.arange(w) + 0.5) * (x1 - x0) / w
    return np.array([(weights.sum(1) @ rows) / mass, (weights.sum(0) @ columns) / mass])


def cell_of(view: View, shape: Sequence[int]) -> np.ndarray:
    """Height and width of a cell in pixels."""
    assert view.place is not None
    y0, x0, y1, x1 = view.place.cells
    return np.array([(y1 - y0) / shape[0], (x1 - x0) / shape[1]])


def changes(session: Session, image: str, size: tuple[int, int], reach: Any, fed: Fed) -> Iterator[Changes]:
    """For each place, how much the elements of the session's outputs change with a mark: squares, by name."""
    rng = np.random.default_rng(0)
    photos = [noise(rng, size) for _ in range(PHOTOS)]
    plain = [session({image: fed(photo)}) for photo in photos]
    for place in PLACES:
        at, sums = (place[0] * size[0], place[1] * size[1]), dict.fromkeys(session.outputs, 0.0)
        for photo, before in zip(photos, plain, strict=True):
            after = session({image: fed(photo + spot(rng, size, at, reach))})
            for name in sums:
                squares = np.square(after[name].astype(np.float64) - before[name])
                sums[name] = sums[name] + squares / max(squares.max(), np.finfo(float).tiny)
        yield at, sums


def channels_first(photo: np.ndarray) -> np.ndarray:
    """(H, W, 3) as (1, 3, H, W)."""
    return np.ascontiguousarray(photo.transpose(2, 0, 1)[None])


def channels_last(photo: np.ndarray) -> np.ndarray:
    """(H, W, 3) as (1, H, W, 3)."""
    return photo[None]


# -- architectures ----------------------------------------------------------------------------------------


def looked_at(path: Path, entry: dict[str, Any]) -> Row:
    """Everything of one architecture."""
    graph = Network(centred(path)).graph
    start = time.perf_counter()
    default = checked_layer(graph, None, score_name(graph))
    first = time.perf_counter()
    views(graph)
    every = time.perf_counter()
    inside = members(graph)
    layers, values = [Layer(module) for module in entry["layers"].split()], {}
    for layer in layers:
        try:
            values[layer.module] = handed_on(graph, layer.module, inside)
            view_of(graph, values[layer.module])
        except KeyError:
            layer.refused = "no such module in the file"
        except BadRequest as error:
            layer.refused = str(error)
    mark(graph, [x for x in layers if not x.refused], values)
    good = is_default(graph, default, entry["default"].split(), inside)
    return Row(path.stem, layers, default, good, (first - start) * 1e3, (every - first) * 1e3)


def mark(graph: Graph, layers: Sequence[Layer], values: dict[str, str]) -> None:
    """Plant marks as wide as each layer's cells need, and measure."""
    image = graph.inputs[0]
    _, *sides = (d if isinstance(d, int) else 1 for d in graph[image].shape or ())
    fed, size = (channels_last, sides[:2]) if sides[2] == 3 else (channels_first, sides[1:])
    seen = {x.module: view_of(graph, values[x.module]) for x in layers}
    groups: dict[tuple[int, ...], list[Layer]] = {}
    for layer in layers:
        shape = _grid(graph, values[layer.module], seen[layer.module])
        layer.cells = "x".join(map(str, shape))
        groups.setdefault(_reach(cell_of(seen[layer.module], shape), size), []).append(layer)
    for reach, group in groups.items():
        session = Session(graph, list(dict.fromkeys(values[x.module] for x in group)), "cpu")
        for at, found in changes(session, image, (size[0], size[1]), reach, fed):
            for layer in group:
                view = seen[layer.module]
                change = np.sqrt(view.of_array(np.asarray(found[values[layer.module]])).sum((0, 1)))
                far = np.abs(centre(change, view) - at) / cell_of(view, change.shape)
                layer.off.append(
                    max(round(float(d), 3) for d, n in zip(far, change.shape, strict=True) if n > 1)
                )


def _reach(cell: np.ndarray, size: Sequence[int]) -> tuple[int, ...]:
    """Pixels to each side of a mark: a power of two, so that layers share runs, within a quarter."""
    near = (2 ** round(float(np.log2(max(c, NARROWEST)))) for c in cell)
    return tuple(min(n, side // 4) for n, side in zip(near, size, strict=True))


def _grid(graph: Graph, value: str, view: View) -> tuple[int, ...]:
    shape = tuple(d if isinstance(d, int) else 1 for d in graph[value].shape or ())
    return view.of_array(np.broadcast_to(np.float32(0), shape)).shape[2:]


# -- what is said -----------------------------------------------------------------------------------------


def line(row: Row) -> str:
    """A row for the terminal."""
    off = [d for layer in row.layers for d in layer.off]
    placed = sum(not layer.refused for layer in row.layers)
    said = f"median {median(off):.2f}, most {max(off):.2f} cells" if off else "nothing placed"
    right = "right" if row.is_expected else "WRONG"
    return (
        f"{row.name}: {placed} of {len(row.layers)} placed, {said}; default {row.default} {right}; "
        f"{row.first:.0f} and {row.every:.0f} ms"
    )


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """All rows together."""
    layers = [(row.name, layer) for row in rows for layer in row.layers]
    off = [d for _, layer in layers for d in layer.off]
    placed = sum(not layer.refused for _, layer in layers)
    yield f"{len(rows)} architectures, {placed} of {len(layers)} layers placed ({placed / len(layers):.1%})"
    if off:
        beyond = [(n, x) for n, x in layers if x.off and max(x.off) > 1]
        yield f"{len(off)} marks: median {median(off):.2f} cells, most {max(off):.2f}"
        yield f"beyond one cell in {len(beyond)} layers"
        yield from (f"    {name} {x.module} ({x.cells}): {x.off}" for name, x in beyond)
    yield f"default layer right in {sum(r.is_expected for r in rows)} of {len(rows)}"
    yield from (f"    {row.name}: {row.default}" for row in rows if not row.is_expected)
    yield "refused:"
    yield from (f"    {name} {x.module}: {x.refused[:200]}" for name, x in layers if x.refused)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", multiple=True, help="These architectures.")
def main(folder: Path, only: tuple[str, ...]) -> None:
    """Measure the architectures of placement.toml exported to FOLDER, and keep what came of each there."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))
    for name in only or entries:
        if (folder / f"{name}.onnx").exists():
            row = looked_at(folder / f"{name}.onnx", entries[name])
            (folder / f"{name}.json").write_text(json.dumps(asdict(row)), encoding="utf-8")
            click.echo(line(row))
    for text in summary([kept(folder / f"{n}.json") for n in entries if (folder / f"{n}.json").exists()]):
        click.echo(text)


def kept(path: Path) -> Row:
    """A row that was measured before."""
    row = json.loads(path.read_text(encoding="utf-8"))
    return Row(**{**row, "layers": [Layer(**layer) for layer in row["layers"]]})


if __name__ == "__main__":
    main()
