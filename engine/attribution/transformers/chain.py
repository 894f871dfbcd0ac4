"""Which attentions of a network a method goes through, and why it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...anatomy.attention import Attention, attentions
from ...anatomy.maps import coordinates
from ...errors import BadRequest
from ...graph.graph import Graph


def placed(graph: Graph, score: str, method: str) -> tuple[list[Attention], Attention]:
    """The attentions of a network, in order, and the last one whose keys lie in the picture.

    Raises BadRequest where there is none.
    """
    found = attentions(graph, score)
    if not found:
        raise BadRequest(
            f"{method} is of transformers, and this model has no attention, no softmax between two products "
            "of what it sees; take gradcam, layercam or saliency"
        )
    last = next((a for a in reversed(found) if a.seen), None)
    if last is None:
        why = (
            "the size of the input is open: say --size HEIGHTxWIDTH"
            if coordinates(graph).is_open
            else "its tokens form no grid of the picture, or their heads are mixed; take layercam or saliency"
        )
        raise BadRequest(f"{method} cannot place what attention {found[-1].weights!r} asks: {why}")
    return found, last


def block(found: Sequence[Attention], last: Attention, options: Any) -> Attention:
    """The attention that `block` and `head` mean. Raises BadRequest where it is not there or lies nowhere."""
    seen = [a for a in found if a.seen]
    if options.block >= len(seen):
        raise BadRequest(
            f"there is no block {options.block}: the model has attentions to the picture 0 to {len(seen) - 1}"
        )
    chosen = last if options.block < 0 else seen[options.block]
    if options.head >= chosen.heads:
        raise BadRequest(f"there is no head {options.head}: the attention has heads 0 to {chosen.heads - 1}")
    return chosen


def chain(found: Sequence[Attention], last: Attention, method: str) -> tuple[list[Attention], str]:
    """The attentions of the same tokens, in order, up to the `last`, and what is to be known of them.

    Raises BadRequest where these are not of all tokens of a picture, or where others come between.
    """
    assert last.keys is not None
    if last.keys.windows > 1:
        raise BadRequest(
            f"{method} follows tokens that all attend to each other, and these do so within "
            f"{last.keys.windows} windows; take attention, which places those"
        )
    layers = [last]
    before = list(found[: found.index(last)])
    while before and before[-1].own and before[-1].keys == last.keys:
        layers.insert(0, before.pop())
    if found[-1] is not last or (not last.own and before and len(layers) == 1):
        between = found[-1] if found[-1] is not last else before[-1]
        raise BadRequest(
            f"{method} follows the same tokens from layer to layer, and at {between.weights!r} others come "
            "between; take attention, which looks at one layer"
        )
    some = f"of the last {len(layers)} of {len(found)} attentions: the tokens of those before are others"
    return layers, some if before else ""
