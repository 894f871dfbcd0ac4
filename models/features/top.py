"""The photos of a folder that each channel answers to most, and the part of each that it saw."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...engine.anatomy.layers import checked_layer, matching
from ...engine.anatomy.levels import levels
from ...engine.anatomy.readouts.classes import score_name
from ...engine.errors import BadRequest
from ...engine.features.peaks import Peaks
from ...engine.features.receptive import receptive_fields
from ...engine.features.strongest import NOBODY, Strongest
from ..network.vision_model import VisionModel
from ..photos.crop import Window, crop_of, uncut
from ..photos.preprocess import Preprocess
from .stream import BATCH, Tally, tallied


@dataclass(frozen=True)
class Hit:
    """One of the photos that a channel answers to most.

    `rank` counts from 0, `score` is the response at `position` (row, column) of the layer's map. `field`
    (y0, x0, y1, x1) is what that position sees, in pixels of the model's input; `crop` the same in whole
    pixels of the upright photo. Both reach over the edge where the position sees padding.
    """

    layer: str
    channel: int
    rank: int
    score: float
    path: str
    position: tuple[int, int]
    field: Window
    crop: Window


@dataclass(frozen=True)
class Top:
    """The `k` photos with the strongest response of each channel of some layers.

    `rows` says which row of the `table` each (layer, channel) has that was looked at. `fields` (h, w, 4)
    are what each position of a layer sees, see `uncut`. `failed` photos could not be read; the first of
    them stand in `errors`, as lines for people. Iterating gives every Hit.
    """

    preprocess: Preprocess
    rows: dict[tuple[str, int], int]
    fields: dict[str, np.ndarray]
    table: Strongest
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def k(self) -> int:
        """How many photos each channel names at most."""
        return self.table.scores.shape[1]

    def hits(self, layer: str, channel: int) -> list[Hit]:
        """The photos of one channel, strongest first; of equal ones, by path.

        Raises BadRequest for a channel that was not looked at.
        """
        if (layer, channel) not in self.rows:
            raise BadRequest(f"channel {channel} of layer {layer!r} was not looked at")
        owners = self.table.owners[self.rows[layer, channel]]
        return [self._hit(layer, channel, rank) for rank in range(self.k) if owners[rank] != NOBODY]

    def __iter__(self) -> Iterator[Hit]:
        return (hit for layer, channel in self.rows for hit in self.hits(layer, channel))

    def _hit(self, layer: str, channel: int, rank: int) -> Hit:
        row = self.rows[layer, channel]
        owner = self.table.owners[row, rank]
        y, x = divmod(int(self.table.places[row, rank]), self.fields[layer].shape[1])
        top, left, bottom, right = (int(edge) for edge in self.fields[layer][y, x])
        seen = top, left, bottom, right
        return Hit(
            layer=layer,
            channel=channel,
            rank=rank,
            score=float(self.table.scores[row, rank]),
            path=self.table.paths[owner],
            position=(y, x),
            field=seen,
            crop=crop_of(seen, self.table.boxes[owner], self.preprocess),
        )

    def best(self, layer: str, most: int = 16) -> list[int]:
        """The channels of a layer whose strongest photos stand out most from the others, best first.

        One that mostly names the photos of a better one comes behind all that do not; of those that stand
        out alike, as all do where every photo is named, the one that answers most comes first.
        """
        contrast = self.table.contrast()
        rows = [(c, row) for (name, c), row in self.rows.items() if name == layer]
        order = sorted((-contrast[row], -self.table.scores[row, 0], c, row) for c, row in rows)
        chosen: dict[int, set[int]] = {}
        for *_, channel, row in order:
            named = set(self.table.owners[row].tolist())
            if len(chosen) < most and all(2 * len(named & other) <= self.k for other in chosen.values()):
                chosen[channel] = named
        return [*chosen, *(c for *_, c, _ in order if c not in chosen)][:most]


def top(
    lens: VisionModel,
    paths: Iterable[str | os.PathLike[str]],
    layers: Sequence[str] = (),
    channels: Sequence[int] | None = None,
    k: int = 9,
    batch: int = BATCH,
    progress: Callable[[int], object] | None = None,
    tally: Tally = tallied,
) -> Top:
    """Look through any number of photos once, and keep the `k` strongest responses of every channel.

    Each core takes photos from the file to the maxima of the channels, which is all that comes back; the
    memory that this takes does not depend on the number of photos. A photo that cannot be read is counted.

    Parameters
    ----------
    lens
        The model.
    paths
        Files of photos.
    layers
        Names or globs of feature maps, by default the last one before the head.
    channels
        The ones to look at in each layer, all by default.
    k
        How many photos each channel keeps.
    batch
        So many photos go at a time through a model that leaves that open.
    progress
        Called with the number of photos that are done.
    tally
        What goes through the photos: with the cores of this machine, or as well of others.

    Returns
    -------
    Top
        The photos of each channel, strongest first; iterating gives every Hit.

    Raises
    ------
    BadRequest
        For a layer or channel that is not there, and where there was no photo at all.

    Examples
    --------
    >>> lens = onnxlens.Lens("scenes")
    >>> found = onnxlens.top(lens, ["photos/cat.jpg", "photos/moon.jpg"], channels=[24], k=1)
    >>> [(hit.layer, hit.channel, hit.path) for hit in found]
    [('relu5', 24, 'photos/moon.jpg')]
    """
    if k < 1 or batch < 1:
        raise BadRequest(f"k and batch are 1 or more, not {k} and {batch}")
    names = chosen(lens, layers)
    peaks = Peaks(lens.network, names, channels, threads=1)
    fields = receptive_fields(lens.network.graph, names)
    table, errors, failed = tally(lens, peaks, paths, k, batch, progress)
    if not table.count:
        raise BadRequest(f"no photo could be read; the first: {errors[0]}" if errors else "there is no photo")
    rows = {row: i for i, row in enumerate(peaks.rows)}
    seen = {name: uncut(f, lens.preprocess.size) for name, f in fields.items()}
    return Top(lens.preprocess, rows, seen, table, failed, errors)


def chosen(lens: VisionModel, layers: Sequence[str] = ()) -> list[str]:
    """The feature maps that names and globs mean, the last one before the head where there are none."""
    return matching(lens.network.graph, layers) if layers else [looked_at(lens)]


def looked_at(lens: VisionModel, layer: str | None = None) -> str:
    """The feature map to look at: the named one, or else the last one before the head; of the levels of a
    detector the finest.

    Raises BadRequest where it is not there, or there is none.
    """
    graph = lens.network.graph
    if layer is None and not lens.has_classes and lens.is_read:
        return levels(graph, lens.reading.parts)[0]
    return checked_layer(graph, layer, score_name(graph))
