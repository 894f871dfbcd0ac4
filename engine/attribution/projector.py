"""A backward pass compiled for one layer of one network: every unit and every image through one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..anatomy.readouts.classes import known
from ..autodiff.blocks import not_real
from ..autodiff.gradient import inside
from ..autodiff.variants.rescale import beside
from ..errors import BadRequest
from ..graph.types import is_float
from ..runtime.network import Network
from .compiled import Explanation, Intake, OneGraph, are_several, filled, image_of
from .methods import method_named, options_given
from .units import chosen, held, note_on, projected, units

STRONGEST = -1  # as a channel or a position: the one of the greatest value
CHANNELS = 9  # of a layer, where none is named


class Projector(OneGraph):
    """A method that goes back to the pixels, from one layer, as one ONNX graph with the unit as an input.

    `layer`: a feature map, or a value (N, K) as a map of one pixel; None for the scores of the classes,
    before a softmax. `threads`: as many as the network has by default. `several`: it is made ready for
    several units of an image, and not for one. `intake` makes the baselines that `options` name, of a method
    that goes against one; then `extras` hold the "completeness", as those of Averaged. `images` is the name
    of the input; `batch` the only size of a batch, or None; `note` what is to be known of the method in this
    network.

    Raises BadRequest for a method or layer that is not there, NoRule where no gradient leads to the image.
    """

    def __init__(
        self,
        network: Network,
        method: str = "deconvnet",
        layer: str | None = None,
        threads: int | None = None,
        several: bool = False,
        intake: Intake | None = None,
        **options: Any,
    ):
        record = method_named(method, ("backward",))
        how, self.intake, self._against = record.compute, intake or Intake(), None
        given = options_given(record, options)._asdict()
        self._baseline = given.get("baseline")
        if isinstance(how.rules, str):
            how = how._replace(rules=how.rules.format(**given))
        graph = network.graph.copy()
        self.network, self.method, self.layer, self.images = network, method, layer, image_of(graph)
        image = inside(graph, self.images)
        if image.dtype is None or not is_float(image.dtype):
            raise BadRequest(not_real(image, self.images))
        values, maps = units(graph, layer)
        count, *self._sizes = maps.shape or (None,) * 4
        self.batch = count if isinstance(count, int) else None
        self._channel = graph.input(graph.unused("channel"), np.int64, [count])
        self._position = graph.input(graph.unused("position"), np.int64, [count])
        peaks, *unit = chosen(maps, self._channel, self._position)
        channel, position, value = unit
        before, against = len(graph.nodes), None
        if how.against:
            baseline = graph.input(graph.unused("baseline"), image.dtype, image.shape)
            against = baseline, beside(graph, {image.name: baseline.name})
            self._against = baseline.name, held(against[1](maps), channel, position).name
        signal = projected(values, maps, image, (channel, position, value), how, against)
        self.note = note_on(how, graph.nodes[before:])
        self.names = [t.name for t in (signal, *unit, peaks)]
        answer = known(graph)
        self._answer = answer and answer.value
        self.names += [self._answer] if self._answer else []
        self.names += [self._against[1]] if self._against else []
        self.graph, self.varying = graph, [self._channel.name, self._position.name]
        self.threads, self.keep = threads, True
        self.session(several)

    def __call__(
        self,
        feeds: Mapping[str, np.ndarray],
        channels: int | Sequence[int] = STRONGEST,
        positions: tuple[int, int] | Sequence[tuple[int, int]] | None = None,
    ) -> list[Explanation]:
        """One explanation for each image of a batch.

        `feeds`: arrays by input name, images along the first axis. `channels`: one for all (of scores: a
        class), or one for each image; STRONGEST for the one of the greatest value. `positions`: (row, column)
        in the layer, one for all or one for each image; None for the greatest value of the channel, the first
        in reading order where several tie.

        Raises BadRequest for a channel or position that the layer does not have.
        """
        return self.once(feeds, channels, positions)

    def fed(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The feeds, and the baseline of each image. Raises BadRequest where several are named."""
        if self._against is None:
            return feeds
        images = np.asarray(feeds[self.images], np.float32)
        each = [filled(self.intake, image, self._baseline) for image in images]
        if any(len(baselines) > 1 for baselines in each):
            raise BadRequest(f"{self.method} compares with one baseline, not with several")
        return {**feeds, self._against[0]: np.stack([baselines[0] for baselines in each])}

    def wished(
        self,
        feeds: Mapping[str, np.ndarray],
        channels: int | Sequence[int] = STRONGEST,
        positions: tuple[int, int] | Sequence[tuple[int, int]] | None = None,
    ) -> dict[str, np.ndarray]:
        """The units as inputs. Raises BadRequest also where the image is missing or has no batch axis."""
        if self.images not in feeds or np.ndim(feeds[self.images]) == 0:
            raise BadRequest(f"the model's input {self.images!r} is missing, or has no batch axis")
        count = len(feeds[self.images])
        wanted = np.broadcast_to(np.asarray(channels, np.int64), count)
        self.check(wanted.tolist())
        flat = self._flat(positions, count)
        return {self._channel.name: wanted, self._position.name: flat}

    def read(self, values: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray]) -> list[Explanation]:
        """One explanation for each image of a batch."""
        count = len(feeds[self.images])
        arrays, found, places, raw, peaks = (values[name] for name in self.names[:5])
        outputs = values[self._answer] if self._answer else [None] * count
        width = self._sizes[2]
        extras: list[dict[str, Any]] = [{} for _ in arrays]
        if self._against:
            rises = raw - values[self._against[1]]
            sums = arrays.reshape(len(arrays), -1).sum(1, np.float64)
            pairs = zip(sums.tolist(), rises.tolist(), strict=True)
            extras = [{"completeness": {"sum": whole, "rise": rise}} for whole, rise in pairs]
        return [
            Explanation(
                arrays[i].astype(np.float32, copy=False),
                self.images,
                self.layer,
                int(found[i]),
                float(raw[i]),
                outputs[i],
                shows_nothing(arrays[i], float(raw[i])),
                divmod(int(places[i]), width) if isinstance(width, int) else (0, int(places[i])),
                peaks[i],
                extras[i],
            )
            for i in range(count)
        ]

    def of_units(
        self, x: np.ndarray, channels: Sequence[int], position: tuple[int, int] | None, top: int = CHANNELS
    ) -> list[Explanation]:
        """One explanation of an input (1, ...) for each of `channels` of the layer.

        Without channels, the `top` ones of the greatest values in this image, strongest first, those that are
        not above 0 left out as far as one stays. `position` (row, column) in the layer, None for where the
        channel is strongest. Raises BadRequest for a channel or position that the layer does not have.
        """
        self.check(channels, position)
        feeds = {self.images: np.repeat(x, self._fixed or 1, 0)}
        ask = self.asking(feeds, are_several(channels or [-top]))
        found: dict[int, Explanation] = {}
        if not channels:
            first = ask()[0]
            assert first.peaks is not None
            order = np.argsort(-first.peaks, kind="stable")[:top].tolist()
            channels = [k for k in order if first.peaks[k] > 0] or order[:1]
            found = {first.target: first} if self.stands and not position else {}
        return [found[k] if k in found else ask(k, position)[0] for k in channels]

    def check(self, channels: Sequence[int], position: tuple[int, int] | None = None) -> None:
        """Raise BadRequest for a channel or a position that the layer does not have."""
        size = self._sizes[0]
        for channel in channels:
            if isinstance(size, int) and not STRONGEST <= channel < size:
                raise BadRequest(
                    f"there is no class {channel}: the model has classes 0 to {size - 1}"
                    if self.layer is None
                    else f"there is no channel {channel}: layer {self.layer!r} has channels 0 to {size - 1}"
                )
        self._flat(position, 1)

    def _flat(self, positions: tuple[int, int] | Sequence[tuple[int, int]] | None, count: int) -> np.ndarray:
        """Positions counted row by row, (count,) int64."""
        if positions is None:
            return np.full(count, STRONGEST)
        _, height, width = self._sizes
        if not (isinstance(height, int) and isinstance(width, int)):
            raise BadRequest(f"the size of layer {self.layer!r} is not known; leave the position out")
        pairs = np.broadcast_to(np.asarray(positions, np.int64), (count, 2))
        for y, x in pairs.tolist():
            if not (0 <= y < height and 0 <= x < width):
                raise BadRequest(
                    f"position {y},{x} is outside layer {self.layer!r}: "
                    f"its rows are 0 to {height - 1}, its columns 0 to {width - 1}"
                )
        return pairs[:, 0] * width + pairs[:, 1]


def shows_nothing(array: np.ndarray, value: float) -> str:
    """Why a signal, an `array` of the input's shape from a unit's `value`, shows nothing; or empty."""
    if not (np.isfinite(array).all() and np.isfinite(value)):
        return "what comes back from it is not finite; `onnxlens doctor MODEL` may say why"
    if array.any():
        return ""
    if value <= 0:
        return f"its value in this photo is {value:.3g}: nothing that it answers to is there"
    return "nothing comes back from it to the pixels: all ways are shut"
