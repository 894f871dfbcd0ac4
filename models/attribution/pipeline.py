"""From photos to what methods find in them, whether two are named or a run has a million."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Semaphore
from typing import NamedTuple

import numpy as np

from ...engine.attribution.compiled import Progress
from ...engine.errors import BadImage, OnnxlensError
from ...engine.picture import shrunk
from ...engine.runtime.ahead import ahead
from ...host import cv2
from ..maps.attribution import Attribution
from ..maps.placement import Placement
from ..network.vision_model import VisionModel
from ..photos.photo import decode
from ..photos.preprocess import Box
from .attribute import Attributor

Read = Callable[[str], bytes]  # the file of a photo's name; raises BadImage where there is none
# What becomes of a map of the attributor of that number, with what is known of its photo, and the input.
Judging = Callable[[int, "Result", np.ndarray, Attribution], Attribution]


class Result(NamedTuple):
    """What each method found in a photo, one after the other, or the `error`, with the name, for which there
    is nothing.

    `size` (h, w) and `box`, the part of it that the model sees, are in pixels of the file's; what was found
    lies on the photo as the pipeline keeps it.
    """

    name: str
    found: Sequence[Attribution] = ()
    error: Exception | None = None
    sha256: str = ""
    size: tuple[int, int] = (0, 0)
    box: Box = (0.0, 0.0, 0.0, 0.0)


class _Shot(NamedTuple):
    """One photo on its way: as it is kept, and the part of that which the model sees."""

    result: Result
    photo: np.ndarray
    within: Box


class Pipeline:
    """Names of photos to what methods find in them, batch by batch.

    Several threads may call it at once, unless a method is serial: `at_once` of them compute, the others read
    meanwhile. Of a batch `reading` photos are asked for at once: a store takes long for one, and no longer
    for several. With `side`, photos are kept at most so many pixels long. With `judging`, that is what
    becomes of each map.
    """

    def __init__(
        self,
        lens: VisionModel,
        attributors: Sequence[Attributor],
        read: Read,
        side: int | None = None,
        at_once: int = 1,
        reading: int = 1,
        judging: Judging | None = None,
    ):
        self.lens, self.attributors, self.read, self._judging = lens, attributors, read, judging
        self._side, self._reading = side, reading
        self._computing = Semaphore(at_once)
        self._rooms: deque[np.ndarray] = deque()

    def __call__(self, names: Sequence[str], progress: Progress | None = None) -> list[Result]:
        """The results of photos, in their order. What goes wrong with one is in its result alone."""
        results: dict[int, Result] = {}
        shots: list[_Shot] = []
        with self._room(len(names)) as room:
            for i, data in enumerate(ahead(self._file, names, self._reading)):
                try:
                    shots.append(self._shot(names[i], data, room[len(shots) :][:1]))
                except (OnnxlensError, MemoryError, cv2.error) as error:
                    results[i] = Result(names[i], error=error)
            with self._computing:
                found = iter(self._explained(shots, room[: len(shots)], progress) if shots else [])
        return [results[i] if i in results else next(found) for i in range(len(names))]

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

    def _shot(self, name: str, data: bytes | BadImage, out: np.ndarray) -> _Shot:
        """A photo, made the model's input in `out`."""
        if isinstance(data, BadImage):
            raise data
        photo = decode(data, name)
        try:
            _, box = self.lens.preprocess(photo, out)
        except OnnxlensError as error:
            raise _named(error, name) from error
        size = photo.shape[0], photo.shape[1]
        result = Result(name, (), None, hashlib.sha256(data).hexdigest(), size, box)
        if self._side is None:
            return _Shot(result, photo, box)
        small = shrunk(photo, self._side)
        within = Placement(box).scaled(size, (small.shape[0], small.shape[1])).box
        return _Shot(result, small, within)

    def _explained(self, shots: Sequence[_Shot], x: np.ndarray, progress: Progress | None) -> list[Result]:
        """What the methods find in each photo; where a batch fails, each photo has its own chance."""
        try:
            photos, boxes = [s.photo for s in shots], [s.within for s in shots]
            parts = [
                [self._judged(k, shots[i].result, x[i], of_photo) for i, of_photo in enumerate(found)]
                for k, find in enumerate(self.attributors)
                for found in (find(photos, x, boxes, progress),)
            ]
        except OnnxlensError as error:
            if len(shots) == 1:
                result = shots[0].result
                return [result._replace(error=_named(error, result.name))]
            return [r for i, s in enumerate(shots) for r in self._explained([s], x[i : i + 1], progress)]
        every = ([found for part in parts for found in part[i]] for i in range(len(shots)))
        return [shot.result._replace(found=found) for shot, found in zip(shots, every, strict=True)]

    def _judged(
        self, attributor: int, result: Result, image: np.ndarray, found: list[Attribution]
    ) -> list[Attribution]:
        judging = self._judging
        return found if judging is None else [judging(attributor, result, image, one) for one in found]


def _named(error: OnnxlensError, name: str) -> OnnxlensError:
    """An error that says of which photo it is, as those of reading do."""
    named = type(error)(f"{name}: {error}")
    named.__cause__ = error
    return named
