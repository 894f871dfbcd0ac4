"""Where each operator puts what its inputs hold: a rule from a node to the positions of its outputs.

A rule gives None where places are lost: they are chosen by what the picture shows, or something is not known.
Which operators share a rule is asked of the table of traits.
"""

from __future__ import annotations

from collections.abc import Callable

from ..traits import having
from .at import At, Found
from .inside import branched, looped, scanned
from .meeting import (
    attention,
    chosen,
    einsum,
    gemm,
    kept,
    meeting,
    over_map,
    product,
    ranked,
    recurrent,
    reduced,
    skipped,
)
from .merging import together
from .moving import (
    center_crop_pad,
    concat,
    depth_to_space,
    expand,
    flatten,
    gather,
    pad,
    reshape,
    selected,
    slice_,
    space_to_depth,
    split,
    squeeze,
    tile,
    transpose,
    unsqueeze,
)
from .windows import col2im, conv, grid_sample, pool, resize, unpool

RULES: dict[str, Callable[[At], Found]] = {
    **dict.fromkeys(having(lambda t: t.elementwise == "alone" or t.quantises), kept),
    **dict.fromkeys(having(lambda t: t.elementwise == "together"), meeting),
    **dict.fromkeys(having(lambda t: t.normalises == "input"), kept),
    **dict.fromkeys(
        having(lambda t: t.normalises == "sum"), lambda at: together([at[0], at[1]], at.shape(0))
    ),
    **dict.fromkeys(having(lambda t: t.mixes in ("axis", "channels") and not t.normalises), kept),
    **dict.fromkeys(having(lambda t: t.mixes == "reduced"), reduced),
    **dict.fromkeys(having(lambda t: t.mixes == "map" and t.pools), over_map),
    **dict.fromkeys(having(lambda t: t.window == "window" and t.pools), pool),
    **dict.fromkeys(having(lambda t: t.window in ("window", "transposed") and t.weights), conv),
    **dict.fromkeys(having(lambda t: t.mixes == "last" and t.weights), product),
    **dict.fromkeys(having(lambda t: t.attends and not t.mixes), attention),
    **dict.fromkeys(having(lambda t: t.moves == "selects"), selected),
    "DeformConv": conv,
    "Where": chosen,
    "com.microsoft:QLinearWhere": lambda at: chosen(at, (1, 4)),
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    **dict.fromkeys(("Unsqueeze", "com.microsoft:ExpandDims"), unsqueeze),
    "Transpose": transpose,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Concat": concat,
    "com.microsoft:QLinearConcat": lambda at: concat(at, 2, 3),
    "Expand": expand,
    "Tile": tile,
    **dict.fromkeys(("Pad", "com.microsoft:Pad"), pad),
    "CenterCropPad": center_crop_pad,
    "SpaceToDepth": space_to_depth,
    "DepthToSpace": depth_to_space,
    **dict.fromkeys(("ScatterND", "ScatterElements"), selected),
    "Resize": resize,
    "Col2Im": col2im,
    "MaxUnpool": unpool,
    **dict.fromkeys(("GridSample", "com.microsoft:GridSample"), grid_sample),
    "Gemm": gemm,
    "com.microsoft:FusedGemm": gemm,
    "com.microsoft:QGemm": gemm,
    "Einsum": einsum,
    "LSTM": recurrent,
    "com.microsoft:DynamicQuantizeLSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "If": branched,
    "Loop": looped,
    "Scan": scanned,
    "TopK": ranked,
    **dict.fromkeys(("Trilu", "com.microsoft:Trilu"), kept),
    # Numbers of a token turn into each other where it stands.
    **dict.fromkeys(("RotaryEmbedding", "com.microsoft:RotaryEmbedding"), kept),
    "com.microsoft:SkipGroupNorm": skipped,
}
