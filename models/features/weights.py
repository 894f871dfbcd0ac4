"""The weights of a model as pictures: kernels in the colours of the photo, slices, patterns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from ...engine import picture
from ...engine.anatomy.layers import globbed
from ...engine.anatomy.scopes import members
from ...engine.errors import BadRequest
from ...engine.features import redundancy as odd
from ...engine.features import weights as engine
from ...engine.features.patterns import patterns
from ...engine.features.weights import Kernels
from ...engine.runtime.network import Network
from ..maps.shown import Shown
from ..photos.preprocess import CHANNELS, Preprocess

TILE = 112  # pixels of a kernel or pattern in a grid
CELL = 22  # pixels of a slice, which is also the height of a line of text
WIDE = 1056  # pixels of a row of slices
MAX_KERNELS = 64  # kernels that a notebook shows
DRAWN = 4  # layers that are drawn where none is named


@dataclass(frozen=True, repr=False)
class Weights(Shown):
    """The weights of one layer, what is odd about them, and how they look.

    `faint` and `off` (K,) bool: kernels next to nothing, and outputs that a rectifier always holds at
    zero; both are dead. `doubles`: pairs (i, j, cosine) of nearly equal or opposite kernels.
    `preprocess` tells the order and scale of the colours; None is RGB on one scale.
    """

    kernels: Kernels
    norms: np.ndarray
    faint: np.ndarray
    off: np.ndarray
    doubles: list[tuple[int, int, float]]
    preprocess: Preprocess | None

    @property
    def layer(self) -> str:
        """The value that the layer computes."""
        return self.kernels.layer

    @property
    def dead(self) -> list[int]:
        """The outputs that say nothing, whatever the photo."""
        return np.flatnonzero(self.faint | self.off).tolist()

    def order(self, sort: str = "norm") -> list[int]:
        """The outputs by "norm", largest first, or by "index"."""
        by_norm = np.argsort(-self.norms, kind="stable").tolist()
        return by_norm if sort == "norm" else sorted(by_norm)

    @property
    def in_colour(self) -> bool:
        """True for kernels that read the channels of the image."""
        k = self.kernels
        return k.first and k.groups == 1 and k.values.shape[1] in CHANNELS.values() and not k.dense

    def picture(self, outputs: Sequence[int]) -> np.ndarray:
        """The kernels of these outputs, (H, W, 3) uint8: as the image's colours where they read the image,
        else as slices. Mid-grey is zero.
        """
        if not self.in_colour:
            return self.slices(outputs)
        return self.tiles(outputs, self.kernels.values[list(outputs)])

    def shown(self) -> np.ndarray:
        """The largest kernels, for notebooks."""
        return self.picture(self.order()[:MAX_KERNELS])

    def tiles(
        self, outputs: Sequence[int], kernels: Iterable[np.ndarray], what: str = "kernels"
    ) -> np.ndarray:
        """Kernels or patterns (C, h, w) over the image's channels in its colours, each on its own scale.

        Below each stand its output and the norm of its weights. One that is nothing is crossed out.
        """
        tiles, size = [], (0, 0)
        for k, kernel in zip(outputs, kernels, strict=True):
            size = kernel.shape[1:]
            tiles.append(
                picture.blank(TILE, TILE) if self.faint[k] else picture.fitted(self._coloured(kernel), TILE)
            )
        dead = set(self.dead)
        captions = [f"{k}: dead" if k in dead else f"{k}: {self.norms[k]:.3g}" for k in outputs]
        title = self._title(f"{what} of {size[0]} x {size[1]}", len(outputs))
        return picture.titled(picture.grid(tiles, 8, captions=captions), title)

    def slices(self, outputs: Sequence[int]) -> np.ndarray:
        """A row for each output, in it a grey tile for each input channel; each row on its own scale.

        One picture (H, W, 3) uint8. Where they do not fit, the input channels of the largest weights are
        shown, in their order.
        """
        values = self.kernels.values[list(outputs)]
        _, count, h, w = values.shape
        gap = int(w > 1)
        down, across = max(1, CELL // h), max(1, CELL // w if gap else min(CELL, WIDE // count))
        fit = max(1, WIDE // (w * across + gap))
        shown = np.sort(np.argsort(-np.square(values).sum((0, 2, 3)), kind="stable")[:fit])
        lines = []
        for kernel in values[:, shown]:
            limit = float(np.quantile(np.abs(kernel), 0.995))
            grey = picture.coloured(kernel.reshape(-1, w), limit, "grey").reshape(len(shown), h, w, 3)
            cells = grey.repeat(down, 1).repeat(across, 2)
            cells = np.pad(cells, ((0, 0), (0, 1), (0, gap), (0, 0)), constant_values=255)
            lines.append(np.concatenate(list(cells), 1))
        dead = set(self.dead)
        captions = [f"{k} dead" if k in dead else str(k) for k in outputs]
        columns = max(1, WIDE // (lines[0].shape[1] + 2 * CELL))
        some = f"{len(shown)} of {count}" if len(shown) < count else str(count)
        title = self._title(f"kernels of {h} x {w} over {some} input channels", len(outputs))
        return picture.titled(picture.rows(lines, captions, columns), title)

    def _coloured(self, kernel: np.ndarray) -> np.ndarray:
        """A kernel (C, h, w) over the image's channels as a picture, mid-grey where it is zero."""
        kernel, p = np.nan_to_num(kernel), self.preprocess
        if p is not None and len(kernel) == p.count:  # what a pixel of the photo is weighed with
            kernel = kernel * (np.sign(p.scale) / np.asarray(p.std, np.float32)).reshape(-1, 1, 1)
            kernel = kernel[::-1] if p.channels == "bgr" else kernel
        if p is not None and isinstance(p.channels, int) and len(kernel) not in (1, 3):
            kernel = kernel[np.square(kernel).sum((1, 2)).argmax()][None]  # no colours: what counts most
        kernel = kernel[:3]
        limit = np.abs(kernel).max()
        share = np.broadcast_to(kernel / limit if limit > 0 else kernel, (3, *kernel.shape[1:]))
        return np.rint(127.5 + 127.5 * share.transpose(1, 2, 0)).astype(np.uint8)

    def _title(self, what: str, shown: int) -> list[str]:
        count = len(self.norms)
        some = "all" if shown == count else f"{shown} of {count}"
        return [
            f"{self.layer}   {self.kernels.operator}, {some} outputs",
            f"{what}; {len(self.dead)} dead, {len(self.doubles)} near-duplicate pairs",
        ]


def weights(
    network: Network, layers: Sequence[str] | None = None, preprocess: Preprocess | None = None
) -> Iterator[Weights]:
    """The weights of some layers, in the order of the network, one layer at a time.

    Parameters
    ----------
    network
        The model, without photos: `Lens.network`, or a Network of a file.
    layers
        Names or globs, of the value that a layer computes, of its stored weights or of a module of the
        framework, for all layers inside it; None for all.
    preprocess
        Tells the order and scale of the colours that the first kernels read; None is RGB on one scale.

    Returns
    -------
    Iterator of Weights
        Of each layer its kernels, their norms, what is dead, and pictures of them.

    Raises
    ------
    BadRequest
        For a layer that is not there, with the nearest names.

    Examples
    --------
    >>> network = onnxlens.Network("model.onnx")
    >>> [(w.layer, w.kernels.values.shape) for w in onnxlens.weights(network, ["conv[12]"])]
    [('conv1', (16, 3, 7, 7)), ('conv2', (32, 16, 3, 3))]
    """
    names = chosen(network, layers)
    graph = network.graph
    return (
        Weights(k, k.norms, odd.faint(graph, k), odd.off(graph, k), odd.doubles(k), preprocess)
        for k in engine.kernels(graph, names)
    )


def chosen(network: Network, layers: Sequence[str] | None) -> list[str]:
    """The layers that are meant, in the order of the network. Raises BadRequest as `weights` does."""
    stored = engine.layers(network.graph)
    if not stored:
        raise BadRequest("this model has no layer with weights; `onnxlens layers MODEL` lists what it has")
    if layers is None:
        return list(stored)
    found: set[str] = set()
    inside = ((m, [v for v in values if v in stored]) for m, values in members(network.graph).items())
    modules = {module: values for module, values in inside if values}
    names = [*stored, *stored.values()]
    for pattern in layers:
        exact = pattern in names or pattern in modules
        among = names if any(fnmatchcase(name, pattern) for name in names) else [*names, *modules]
        hits = [pattern] if exact else globbed(pattern, among)
        found.update(layer for layer, weight in stored.items() if layer in hits or weight in hits)
        found.update(layer for hit in hits if hit not in names for layer in modules[hit])
    return [layer for layer in stored if layer in found]


def pattern_tiles(network: Network, found: Weights, outputs: Sequence[int]) -> np.ndarray:
    """The input patterns of some outputs of a layer, as `tiles` shows them (see engine/features/patterns.py).

    Raises BadRequest or NoRule, with the reason, where there are none.
    """
    some = patterns(network, found.layer, outputs)
    return found.tiles(outputs, some, "input patterns (linearised)")
