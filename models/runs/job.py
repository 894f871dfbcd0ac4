"""What a run does with photos, as one value that can be sent and one callable that does it."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ...engine.attribution.methods import METHODS, method_named
from ...engine.errors import BadRequest
from ...engine.picture import encode_jpeg, encode_png
from ..attribution.attribute import Attributor
from ..attribution.judge import Judge
from ..attribution.pipeline import Pipeline, Read, Result
from ..maps.attribution import Attribution
from ..maps.convention import FIELDS
from ..maps.row import Row, failed, row_of
from ..network.digest import sha256
from ..network.labels import label_by_name
from ..network.provenance import identity
from ..network.vision_model import VisionModel
from ..photos.mask import mask_of, on_input
from ..storage.album import safe, text
from ..storage.store import reader
from .options import of_method, written

PICTURES = {"png": (".png", encode_png), "jpeg": (".jpg", encode_jpeg)}
Write = Callable[[str, bytes], object]  # a file of the run, whole or not at all


@dataclass(frozen=True, kw_only=True)
class Spec:
    """All that decides the rows and files of a run. It can be pickled; a Job is made of it where it runs.

    `settings` are those of a Lens but for `provider` and `threads`; `sha256` is the model file's. `methods`
    are some of METHODS, `targets` as in Lens.explain, `options` the methods' own (options.py), `convention`
    one of CONVENTIONS.
    Of each map a picture is written ("png", "jpeg" or ""), at most `side` pixels long, and with `maps` the
    map as the method gave it, (h, w) float32. `folder` is the name of the folder that holds all photos: what
    lies in a folder called after a class has that for its truth.
    """

    model: str
    sha256: str
    settings: dict[str, Any] = field(default_factory=dict)
    provider: str = "auto"
    threads: int | None = None
    methods: tuple[str, ...] = ("gradcam",)
    targets: tuple[int | str | None, ...] = (None,)
    layer: str | None = None
    convention: str = FIELDS
    options: dict[str, Any] = field(default_factory=dict)
    pictures: str = "jpeg"
    maps: bool = True
    side: int = 1024
    colour: str = "turbo"
    alpha: float = 0.7
    folder: str = ""
    metrics: tuple[str, ...] = ()
    truth: str = ""


class Job:
    """Names of photos to rows, with the files that the rows name written before.

    It holds one VisionModel, which several threads may use at once unless a method looks at places in turn
    (see `serial`). `at_once` of them compute at a time; the others read, draw and write meanwhile. Of a batch
    `reading` photos are asked for at once: a store takes long for one, and no longer for several. Raises what
    that does, and BadRequest for methods, layers and targets that are not there and for a model that is not
    the one of the spec any more. `of_things` says whether rows are of things that the model finds in a photo,
    and not of classes alone.
    """

    def __init__(self, spec: Spec, read: Read, write: Write, at_once: int = 1, reading: int = 1):
        self.spec, self.write = spec, write
        self.lens = VisionModel(spec.model, provider=spec.provider, threads=spec.threads, **spec.settings)
        if sha256(self.lens.path) != spec.sha256:
            raise BadRequest(f"{spec.model} is not the model that this run was begun with")
        made = [self._attributor(name) for name in dict.fromkeys(spec.methods)]
        self.of_things = any(one.of_things for one in made)
        self._judges = [Judge(one, spec.metrics) for one in made] if spec.metrics else []
        judging = self._judged if spec.metrics else None
        self.pipeline = Pipeline(self.lens, made, read, spec.side, at_once, reading, judging)
        self._mask = reader(spec.truth) if spec.truth else None
        self._truths = label_by_name(self.lens.labels if self.lens.has_classes else ())

    @property
    def serial(self) -> bool:
        """True where a call must end before the next begins."""
        return any(METHODS[name].serial for name in self.spec.methods)

    @property
    def overlaps(self) -> bool:
        """True where a batch may be read and written while others compute: all methods take batches."""
        return all(made.compiled.together for made in self.pipeline.attributors)

    def _attributor(self, name: str) -> Attributor:
        """One of the methods, with those of the options that it has."""
        method, spec = method_named(name), self.spec
        if spec.layer is not None and method.units:
            raise BadRequest(f"a run of {name} looks back from classes: leave --layer out")
        how = {"layer": spec.layer, "convention": spec.convention, "predictions": 1, "absent": True}
        return Attributor(self.lens, name, spec.targets, **how, **of_method(method, spec.options))

    def places(self) -> dict[str, Any]:
        """Where the maps of each method lie in the model's input, in its pixels, as manifests say it."""
        return {
            made.method.name: {
                "at": made.at,
                **self.lens.placement(made.at, None, self.spec.convention).record(),
            }
            for made in self.pipeline.attributors
        }

    def identity(self) -> dict[str, Any]:
        """What two runs must have in common for the rows of one to stand for those of the other."""
        given = asdict(self.spec)
        given |= written(given.pop("options"))
        unsaid = [name for name in ("metrics", "truth") if not given[name]]  # as in older versions
        for name in ("model", "sha256", "settings", "provider", "threads", "folder", *unsaid):
            del given[name]
        said = {"said": self.spec.settings["readout"]} if self.of_things else {}
        return json.loads(json.dumps({**identity(self.lens), **given, **said}))

    def __call__(self, names: Sequence[str]) -> list[Row]:
        """The rows of photos, in their order: one for each method and target, or one with the error.

        Raises what `write` does.
        """
        start = time.perf_counter()
        rows = [row for result in self.pipeline(names) for row in self._rows(result)]
        seconds = round((time.perf_counter() - start) / max(len(names), 1), 6)
        return [row if row["error"] else {**row, "seconds": seconds} for row in rows]

    def _rows(self, result: Result) -> list[Row]:
        """The rows of one photo, and what there is to see of it written."""
        if result.error is not None:
            return [
                failed(
                    text(result.name), _reason(result.error, result.name), self.of_things, self.spec.metrics
                )
            ]
        return [self._written(result, found) for found in result.found]

    def _judged(self, attributor: int, result: Result, image: np.ndarray, found: Attribution) -> Attribution:
        """A map with its metrics. Raises BadImage for a mask that cannot be that of the photo."""
        mask = self._mask and mask_of(self._mask, result.name, result.size)
        seen = None if mask is None else on_input(mask, result.box, self.lens.preprocess.size)
        metrics = self._judges[attributor](image, found, seen)
        return replace(found, extras={**found.extras, "metrics": metrics})

    def _written(self, result: Result, found: Attribution) -> Row:
        """Write what there is to see of one map, and say all in a row."""
        index = "none" if found.target is None else found.target.index
        name = f"{safe(result.name)}-{index}-{found.method}"
        files = {}
        if self.spec.pictures and not found.problem:
            ending, encode = PICTURES[self.spec.pictures]
            files["picture"] = f"pictures/{name}{ending}"
            self.write(files["picture"], encode(found.overlay(self.spec.colour, self.spec.alpha)))
        if self.spec.maps and not found.problem:
            files["map"] = f"maps/{name}.npy"
            self.write(files["map"], _npy(found.map))
        folder = PurePosixPath(result.name).parent.name or self.spec.folder
        truth = self._truths.get(folder.lower())
        known = {"path": text(result.name), "sha256": result.sha256, "truth": truth, **files}
        place = self.lens.placement(found.at, result.box, self.spec.convention)
        return row_of(found, place, result.size, **known)


def _npy(map_: np.ndarray) -> bytes:
    """The bytes of a .npy file that holds a map (h, w) float32."""
    return _npy_header(map_.shape) + map_.astype("<f4", copy=False).tobytes()


@lru_cache(64)  # a run has maps of few shapes, and this takes longer than all else about a file
def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(shape, "<f4"), allow_pickle=False)
    return buffer.getvalue()[: buffer.tell() - 4 * math.prod(shape)]


def _reason(error: Exception, name: str) -> str:
    """What is wrong with an image, without its name, which stands beside it."""
    if isinstance(error, MemoryError):
        return "not enough memory for it"
    said = str(error)
    return " ".join(text(said.partition(f"{name}: ")[2] or said).split())[:1000]
