"""Networks that move what they compute with: windows, rolls, flips, tokens and folds between convolutions.

`networks()` is a hypothesis strategy of graphs whose value `map` is a layer in one of many layouts. Between
two moves every value is (N, C, h, w). Rectifiers and maxima are left out, so that the gradient of an element
is not zero at exactly the pixels that it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.graph.graph import Graph, Tensor, op

Rng = np.random.Generator
SMALLEST, LARGEST = 3, 24  # sides of a map; what a move makes smaller or larger is dropped
END = 2**31 - 1


class Moved(NamedTuple):
    """How a graph was made, the axis of channels of its value `map`, and a generator for what is fed."""

    moves: list[str]
    graph: Graph
    channels: int
    rng: Rng


@st.composite
def networks(draw: st.DrawFn, without: Sequence[str] = ()) -> Moved:
    """An image, one to seven moves, some of them left out, and the layout in which the last value is left."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graph = Graph({"": 20})
    x = graph.input("image", np.float32, [1, 3, *draw(st.tuples(*[st.integers(8, 16)] * 2))])
    names = draw(st.lists(st.sampled_from(sorted(MOVES.keys() - without)), min_size=1, max_size=7))
    for name in names:
        moved = MOVES[name](x, rng)
        if moved is not None and _of_a_size(moved):
            x = op.Sigmoid(mixed(moved, rng)) if rng.random() < 0.3 else moved
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    left, channels = LAYOUTS[layout](mixed(x, rng, 2))
    graph.output(op.Mul(left, 1.5), "map")
    return Moved([*names, layout], canonical(graph.to_model()), channels, rng)


def _of_a_size(x: Tensor) -> bool:
    n, c, h, w = x.shape
    return n <= 4 and 2 <= c <= 12 and min(h, w) >= SMALLEST and max(h, w) <= LARGEST


def weight(rng: Rng, *shape: int) -> np.ndarray:
    """None near zero, and so small that nothing saturates."""
    size = rng.uniform(0.5, 1.5, shape) / np.sqrt(np.prod(shape[1:]))
    return (size * rng.choice([-1, 1], shape)).astype(np.float32)


def mixed(x: Tensor, rng: Rng, channels: int = 4) -> Tensor:
    """All channels of each position with each other."""
    return op.Conv(x, weight(rng, channels, x.shape[1], 1, 1))


# -- windows of pixels ---------------------------------------------------------------------------------------


def convolved(x: Tensor, rng: Rng) -> Tensor:
    kernel = rng.integers(1, 5, 2).tolist()
    pads = [int(rng.integers(0, k)) for k in kernel * 2]
    strides, dilations = rng.integers(1, 3, 2).tolist(), rng.integers(1, 3, 2).tolist()
    w = weight(rng, 4, x.shape[1], *kernel)
    return op.Conv(x, w, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations)


def convolved_same(x: Tensor, rng: Rng) -> Tensor:
    auto = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    return op.Conv(x, weight(rng, 4, x.shape[1], 3, 2), auto_pad=auto, strides=rng.integers(1, 3, 2).tolist())


def transposed_convolution(x: Tensor, rng: Rng) -> Tensor:
    w = weight(rng, x.shape[1], 4, 3, 2)
    return op.ConvTranspose(
        x, w, kernel_shape=[3, 2], strides=rng.integers(1, 3, 2).tolist(), pads=[1, 0, 0, 1]
    )


def pooled(x: Tensor, rng: Rng) -> Tensor:
    inside = int(rng.integers(2))
    return op.AveragePool(x, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], count_include_pad=inside)


def pooled_beyond(x: Tensor, rng: Rng) -> Tensor:
    return op.AveragePool(x, kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1)


def resized(x: Tensor, rng: Rng) -> Tensor:
    mode = str(rng.choice(["linear", "nearest", "cubic"]))
    how = str(rng.choice(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]))
    scales = np.float32([1, 1, *rng.choice([0.5, 0.6, 1.5, 2.0], 2)])
    return op.Resize(x, None, scales, mode=mode, coordinate_transformation_mode=how)


# -- movements along rows and columns ------------------------------------------------------------------------


def padded(x: Tensor, rng: Rng) -> Tensor:
    mode = str(rng.choice(["constant", "reflect", "edge", "wrap"]))
    return op.Pad(
        x, [0, 0, *rng.integers(0, 3, 2).tolist(), 0, 0, *rng.integers(0, 3, 2).tolist()], mode=mode
    )


def cropped(x: Tensor, rng: Rng) -> Tensor:
    return op.Slice(x, rng.integers(0, 3, 2).tolist(), [END, -1], [2, 3], [1, int(rng.integers(1, 3))])


def flipped(x: Tensor, rng: Rng) -> Tensor:
    return op.Slice(x, [-1], [-END], [_side(rng)], [-1])


def turned(x: Tensor, rng: Rng) -> Tensor:
    return op.Transpose(x, perm=[0, 1, 3, 2])


def gathered(x: Tensor, rng: Rng) -> Tensor:
    """Rows or columns in any order, some of them twice."""
    axis = _side(rng)
    return op.Gather(x, rng.integers(-x.shape[axis], x.shape[axis], x.shape[axis]), axis=axis)


def rolled(x: Tensor, rng: Rng) -> Tensor:
    axis, by = _side(rng), int(rng.integers(1, 3))
    return op.Concat(op.Slice(x, [by], [END], [axis]), op.Slice(x, [0], [by], [axis]), axis=axis)


def swapped(x: Tensor, rng: Rng) -> Tensor:
    axis = _side(rng)
    first = int(rng.integers(1, x.shape[axis]))
    a, b = op.Split(x, [first, x.shape[axis] - first], axis=axis, outputs=2)
    return op.Concat(b, a, axis=axis)


def tiled(x: Tensor, rng: Rng) -> Tensor:
    return op.Tile(x, [1, 1, *rng.permutation([1, 2]).tolist()])


def overwritten(x: Tensor, rng: Rng) -> Tensor:
    """Two rows that show nothing of the image, or another two."""
    n, c, h, w = x.shape
    rows = rng.choice(h, 2, replace=False)
    others = (
        op.Gather(x, rng.integers(h, size=2), axis=2)
        if rng.random() < 0.5
        else np.ones((n, c, 2, w), np.float32)
    )
    where = np.broadcast_to(rows[:, None], (n, c, 2, w))
    return op.ScatterElements(x, where, others, axis=2, reduction=str(rng.choice(["none", "add"])))


def scattered(x: Tensor, rng: Rng) -> Tensor:
    """Every pixel to the place of another, over what was there or added to it, of the first image alone."""
    _, c, h, w = x.shape
    rows, columns = np.divmod(rng.permutation(h * w), w)
    where = np.stack(
        [np.zeros((c, h * w), int), *np.broadcast_arrays(np.arange(c)[:, None], rows, columns)], -1
    )
    pixels = op.Reshape(op.Slice(x, [0], [1], [0]), [c, h * w])
    return op.ScatterND(x, where, pixels, reduction=str(rng.choice(["none", "add"])))


def unfolded(x: Tensor, rng: Rng) -> Tensor:
    """Overlapping windows of three rows by a table of indices, summed up with a weight for each."""
    table = np.arange(x.shape[2] - 2)[:, None] + np.arange(3)
    windows = op.Gather(x, table, axis=2)
    return op.ReduceSum(windows * weight(rng, 3, 1)[None, None, None], [3], keepdims=0)


def folded_back(x: Tensor, rng: Rng) -> Tensor:
    """Windows of 2 x 3 as columns, and summed where they lie over each other: one apart, or with strides."""
    n, c, h, w = x.shape
    if rng.random() < 0.3:
        tall, wide = 2 * h, 2 * w + 1  # a column for each pixel of x
        columns = op.Reshape(mixed(x, rng, 12), [n, 12, h * w])
        return op.Col2Im(columns, [tall, wide], [2, 3], strides=[2, 2])
    rows, columns = (np.arange(s - k + 1)[:, None] + np.arange(k) for s, k in ((h, 2), (w, 3)))
    cut = op.Gather(op.Gather(x, rows, axis=2), columns, axis=4)  # (n, c, h - 1, 2, w - 2, 3)
    cut = op.Reshape(op.Transpose(cut, perm=[0, 1, 3, 5, 2, 4]), [n, c * 6, (h - 1) * (w - 2)])
    return op.Col2Im(cut * 0.5, [h, w], [2, 3])


def sampled(x: Tensor, rng: Rng) -> Tensor:
    """At places that are known, inside the map."""
    grid = rng.uniform(-0.6, 0.6, (x.shape[0], 5, 6, 2)).astype(np.float32)
    return op.GridSample(
        x, grid, mode=str(rng.choice(["linear", "nearest"])), align_corners=int(rng.integers(2))
    )


def _side(rng: Rng) -> int:
    return int(rng.integers(2, 4))


# -- movements between axes ----------------------------------------------------------------------------------


def to_channels(x: Tensor, rng: Rng) -> Tensor:
    even = op.Slice(x, [0, 0], [x.shape[2] // 2 * 2, x.shape[3] // 2 * 2], [2, 3])
    return mixed(op.SpaceToDepth(even, blocksize=2), rng)


def from_channels(x: Tensor, rng: Rng) -> Tensor:
    return op.DepthToSpace(mixed(x, rng, 8), blocksize=2, mode=str(rng.choice(["DCR", "CRD"])))


def laid_anew(x: Tensor, rng: Rng) -> Tensor:
    """The same row of pixels, cut into rows of another length."""
    n, c, h, w = x.shape
    return op.Reshape(x, [n, c, w, h])


def windowed(x: Tensor, rng: Rng) -> Tensor | None:
    """Windows of side 2 to 4 as sequences of tokens, each of which is mixed with itself."""
    return _in_windows(x, rng, lambda tokens: op.Tanh(tokens @ weight(rng, *tokens.shape[2:] * 2)))


def attending(x: Tensor, rng: Rng) -> Tensor | None:
    """The same, each with all of its window."""
    return _in_windows(
        x,
        rng,
        lambda t: (
            op.Softmax(t @ op.Transpose(t, perm=[0, 2, 1]), axis=2) @ (t @ weight(rng, *t.shape[2:] * 2))
        ),
    )


def _in_windows(x: Tensor, rng: Rng, layer: Callable[[Tensor], Tensor]) -> Tensor | None:
    n, c, h, w = x.shape
    k = int(rng.integers(2, 5))
    if h % k or w % k:
        return None
    cut = op.Transpose(op.Reshape(x, [n, c, h // k, k, w // k, k]), perm=[0, 2, 4, 3, 5, 1])
    tokens = layer(op.Reshape(cut, [-1, k * k, c]))
    back = op.Transpose(op.Reshape(tokens, [n, h // k, w // k, k, k, c]), perm=[0, 5, 1, 3, 2, 4])
    return op.Reshape(back, [n, c, h, w])


def tokens_and_a_class(x: Tensor, rng: Rng) -> Tensor:
    """Tokens, with others before and behind them for a while, by rows or by columns."""
    n, c, h, w = x.shape
    order = [0, 2, 3, 1] if rng.random() < 0.5 else [0, 3, 2, 1]
    tokens = op.Reshape(op.Transpose(x, perm=order), [n, h * w, c])
    extra = np.ones((n, int(rng.integers(1, 3)), c), np.float32)
    tokens = op.Tanh(op.Concat(extra, tokens, extra, axis=1) @ weight(rng, c, c))
    tokens = op.Slice(tokens, [extra.shape[1]], [-extra.shape[1]], [1])
    sides = [h, w] if order[1] == 2 else [w, h]
    return op.Transpose(
        op.Reshape(tokens, [n, *sides, c]), perm=[0, 3, *((1, 2) if order[1] == 2 else (2, 1))]
    )


def halves_in_the_batch(x: Tensor, rng: Rng) -> Tensor | None:
    """Upper and lower half as two images, through a convolution, and together again."""
    n, c, h, w = x.shape
    if h % 2 or n > 2:
        return None
    halves = op.Reshape(
        op.Transpose(op.Reshape(x, [n, c, 2, h // 2, w]), perm=[0, 2, 1, 3, 4]), [-1, c, h // 2, w]
    )
    halves = op.Conv(halves, weight(rng, c, c, 3, 3), pads=[1, 1, 1, 1])
    back = op.Transpose(op.Reshape(halves, [n, 2, c, h // 2, w]), perm=[0, 2, 1, 3, 4])
    return op.Reshape(back, [n, c, h, w])


def with_its_mirror(x: Tensor, rng: Rng) -> Tensor:
    """The image and its mirror image as two of a batch."""
    return op.Concat(x, flipped(x, rng), axis=0)


def added_to_a_roll(x: Tensor, rng: Rng) -> Tensor:
    return op.Tanh(x) + rolled(x, rng)


MOVES: dict[str, Callable[[Tensor, Rng], Tensor | None]] = {
    move.__name__: move
    for move in (
        convolved, convolved_same, transposed_convolution, pooled, pooled_beyond, resized, padded, cropped,
        flipped, turned, gathered, rolled, swapped, tiled, overwritten, scattered, unfolded, folded_back,
        sampled, to_channels, from_channels, laid_anew, windowed, attending, tokens_and_a_class,
        halves_in_the_batch, with_its_mirror, added_to_a_roll,
    )
}  # fmt: skip


# -- how the last value lies, and its axis of channels -------------------------------------------------------


def _tokens(x: Tensor) -> tuple[Tensor, int]:
    n, c, h, w = x.shape
    tokens = op.Transpose(op.Reshape(x, [n, c, h * w]), perm=[0, 2, 1])
    return op.Concat(np.ones((n, 1, c), np.float32), tokens, axis=1), 2


def _by_columns(x: Tensor) -> tuple[Tensor, int]:
    n, c, h, w = x.shape
    return op.Reshape(op.Transpose(x, perm=[0, 3, 2, 1]), [n, w * h, c]), 2


LAYOUTS: dict[str, Callable[[Tensor], tuple[Tensor, int]]] = {
    "N,C,H,W": lambda x: (x, 1),
    "N,H,W,C": lambda x: (op.Transpose(x, perm=[0, 2, 3, 1]), 3),
    "N,W,C,H": lambda x: (op.Transpose(x, perm=[0, 3, 1, 2]), 2),
    "a class, then tokens": _tokens,
    "tokens by columns": _by_columns,
}
