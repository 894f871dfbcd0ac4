"""What a run does with photos, as one value that can be sent and one callable that does it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from threading import Semaphore
from typing import Any, NamedTuple

import numpy as np

from ...engine.attribution.methods import METHODS, method_named
from ...engine.errors import BadImage, BadRequest, OnnxlensError
from ...engine.picture import encode_jpeg, encode_png, shrunk
from ...engine.runtime.ahead import ahead
from ...host import cv2
from ..attribution.attribute import Attributor
from ..maps.attribution import Attribution
from ..maps.placement import Placement
from ..maps.row import Row, failed, row_of
from ..network.digest import sha256
from ..network.labels import label_by_name
from ..network.vision_model import VisionModel
from ..photos.photo import decode
from ..photos.preprocess import Box
from ..storage.album import safe, text
from .options import of_method, written

PICTURES = {"png": (".png", encode_png), "jpeg": (".jpg", encode_jpeg)}
Read = Callable[[str], bytes]  # the file of a photo's name; raises BadImage where there is none
Write = Callable[[str, bytes], object]  # a file of the run, whole or not at all


@dataclass(frozen=True, kw_only=True)
class Spec:
    """All that decides the rows and files of a run. It can be pickled; a Job is made of it where it runs.

    `settings` are those of a Lens but for `provider` and `threads`; `sha256` is the model file's. `methods`
    are some of METHODS, `targets` as in Lens.explain, `options` the methods' own (options.py).
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
    options: dict[str, Any] = field(default_factory=dict)
    pictures: str = "jpeg"
    maps: bool = True
    side: int = 1024
    colour: str = "turbo"
    alpha: float = 0.7
    folder: str = ""


class Shot(NamedTuple):
    """One photo on its way: `size` and `box` in pixels of the file's, `within` in those of `photo`."""

    name: str
    sha256: str
    size: tuple[int, int]
    box: Box
    photo: np.ndarray  # made small enough for a picture
    within: Box


class Job:
    """Names of photos to rows, with the files that the rows name written before.

    It holds one VisionModel, which several threads may use at once unless a method looks at places in turn
    (see `serial`). `at_once` of them compute at a time; the others read, draw and write meanwhile. Of a batch
    `reading` photos are asked for at once: a store takes long for one, and no longer for several. Raises what
    that does, and BadRequest for methods, layers and targets that are not there and for a model that is not
    the one of the spec any more.
    """

    def __init__(self, spec: Spec, read: Read, write: Write, at_once: int = 1, reading: int = 1):
        self.spec, self.read, self.write, self._reading = spec, read, write, reading
        self._computing = Semaphore(at_once)
        self.lens = VisionModel(spec.model, provider=spec.provider, threads=spec.threads, **spec.settings)
        if sha256(self.lens.path) != spec.sha256:
            raise BadRequest(f"{spec.model} is not the model that this run was begun with")
        self._attributors = [self._attributor(name) for name in dict.fromkeys(spec.methods)]
        self._truths = label_by_name(self.lens.labels)
        self._rooms: deque[np.ndarray] = deque()

    @property
    def serial(self) -> bool:
        """True where a call must end before the next begins."""
        return any(METHODS[name].serial for name in self.spec.methods)

    @property
    def overlaps(self) -> bool:
        """True where a batch may be read and written while others compute: all methods take batches."""
        return all(made.compiled.together for made in self._attributors)

    def _attributor(self, name: str) -> Attributor:
        """One of the methods, with those of the options that it has."""
        method, spec = method_named(name), self.spec
        if spec.layer is not None and method.units:
            raise BadRequest(f"a run of {name} looks back from classes: leave --layer out")
        own = of_method(method, spec.options)
        return Attributor(self.lens, name, spec.targets, layer=spec.layer, predictions=1, **own)

    def identity(self) -> dict[str, Any]:
        """What two runs must have in common for the rows of one to stand for those of the other."""
        given = asdict(self.spec)
        given |= written(given.pop("options"))
        for name in ("model", "settings", "provider", "threads", "folder"):
            del given[name]
        labels = hashlib.sha256(json.dumps(self.lens.labels).encode()).hexdigest()
        read = self.lens.readout
        shared = {
            "model": given.pop("sha256"),
            "preprocess": self.lens.preprocess.to_dict(),
            "readout": [read.output, read.kind, read.form],
        }
        return json.loads(json.dumps({**shared, "labels": labels, **given}))

    def __call__(self, names: Sequence[str]) -> list[Row]:
        """The rows of photos, in their order: one for each method and target, or one with the error.

        Raises what `write` does.
        """
        start = time.perf_counter()
        rows: dict[str, list[Row]] = {}
        shots: list[Shot] = []
        with self._room(len(names)) as room:
            for name, data in zip(names, ahead(self._file, names, self._reading), strict=True):
                try:
                    shots.append(self._shot(name, data, room[len(shots) :][:1]))
                except (OnnxlensError, MemoryError, cv2.error) as error:
                    rows[name] = [failed(text(name), _reason(error, name))]
            with self._computing:
                found = self._explained(shots, room[: len(shots)]) if shots else []
        for shot, result in zip(shots, found, strict=True):
            if isinstance(result, OnnxlensError):
                rows[shot.name] = [failed(text(shot.name), _reason(result, shot.name))]
            else:
                rows[shot.name] = [self._written(shot, f) for f in result]
        seconds = round((time.perf_counter() - start) / max(len(names), 1), 6)
        return [row if row["error"] else {**row, "seconds": seconds} for n in names for row in rows[n]]

    @contextmanager
    def _room(self, count: int) -> Iterator[np.ndarray]:
        """Memory for so many inputs, which is used again: it takes long to get from the system."""
        try:
            room = self._rooms.pop()
        except IndexError:  # asked first, another thread could take the last one in between
            room = np.empty((0,))
        room = room if len(room) >= count else self.lens.preprocess.room(count)
        try:
            yield room
        finally:
            self._rooms.append(room)

    def _file(self, name: str) -> bytes | BadImage:
        try:
            return self.read(name)
        except BadImage as error:
            return error

    def _shot(self, name: str, data: bytes | BadImage, out: np.ndarray) -> Shot:
        """A photo, made the model's input in `out`."""
        if isinstance(data, BadImage):
            raise data
        photo = decode(data, name)
        _, box = self.lens.preprocess(photo, out)
        small, size = shrunk(photo, self.spec.side), (photo.shape[0], photo.shape[1])
        within = Placement(box).scaled(size, (small.shape[0], small.shape[1])).box
        return Shot(name, hashlib.sha256(data).hexdigest(), size, box, small, within)

    def _explained(self, shots: Sequence[Shot], x: np.ndarray) -> list[list[Attribution] | OnnxlensError]:
        """What the methods find in each photo; where a batch fails, each photo has its own chance."""
        try:
            photos, boxes = [s.photo for s in shots], [s.within for s in shots]
            parts = [find(photos, x, boxes) for find in self._attributors]
        except OnnxlensError as error:
            if len(shots) == 1:
                return [error]
            return [r for i, s in enumerate(shots) for r in self._explained([s], x[i : i + 1])]
        return [[found for part in parts for found in part[i]] for i in range(len(shots))]

    def _written(self, shot: Shot, found: Attribution) -> Row:
        """Write what there is to see of one map, and say all in a row."""
        index = "none" if found.target is None else found.target.index
        name = f"{safe(shot.name)}-{index}-{found.method}"
        files = {}
        if self.spec.pictures and not found.problem:
            ending, encode = PICTURES[self.spec.pictures]
            files["picture"] = f"pictures/{name}{ending}"
            self.write(files["picture"], encode(found.overlay(self.spec.colour, self.spec.alpha)))
        if self.spec.maps and not found.problem:
            files["map"] = f"maps/{name}.npy"
            self.write(files["map"], _npy(found.map))
        folder = PurePosixPath(shot.name).parent.name or self.spec.folder
        truth = self._truths.get(folder.lower())
        known = {"path": text(shot.name), "sha256": shot.sha256, "truth": truth, **files}
        return row_of(found, shot.box, shot.size, **known)


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
