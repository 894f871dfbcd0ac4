"""Tables of the strongest photos as files: what several machines found is merged into what one would find."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...engine.errors import BadRequest
from ...engine.features.peaks import Peaks
from ...engine.features.strongest import NOBODY, Strongest, merged
from ..network.vision_model import VisionModel
from ..photos.preprocess import Preprocess
from .stream import MAX_NAMED, Tally
from .top import Top

Identity = dict[str, Any]
PARTS = {
    "scores": np.float32,
    "owners": np.int64,
    "places": np.int64,
    "total": np.float64,
    "squares": np.float64,
}


def encoded(found: Top, identity: Identity) -> bytes:
    """The bytes of an .npz with all that was found; `identity` is what tables to be merged have in common."""
    table = found.table
    about = {
        **identity,
        "paths": table.paths,
        "boxes": table.boxes,
        "count": table.count,
        "failed": found.failed,
        "errors": found.errors,
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=text, **{name: getattr(table, name) for name in PARTS})
    return buffer.getvalue()


def identified(
    model: str, inputs: Mapping[str, Any], preprocess: Preprocess, rows: Sequence[tuple[str, int]], k: int
) -> Identity:
    """What two tables must have in common to be merged; `model` is the SHA-256 of the model.

    `inputs`: the digests of what it is given beside the picture.
    """
    about = {"model": model, "preprocess": preprocess.to_dict(), "k": k, "rows": list(rows)}
    about |= {"inputs": inputs} if inputs else {}
    return json.loads(json.dumps(about))


def joined(
    tally: Tally, files: Mapping[str, bytes], identity: Callable[[Preprocess, Sequence[Any], int], Identity]
) -> Tally:
    """A tally that adds to what it finds in photos what stands in files of tables, by the files' names.

    It raises BadRequest, before it looks at a photo, for a file that is none or of another identity.
    """

    def both(
        lens: VisionModel, peaks: Peaks, paths: Iterable[str], k: int, *more: Any
    ) -> tuple[Strongest, list[str], int]:
        ours = identity(lens.preprocess, peaks.rows, k)
        parts = [_decoded(name, data, ours) for name, data in files.items()]
        table, errors, failed = tally(lens, peaks, paths, k, *more)
        for part, bad, lost in parts:
            table, failed = merged(table, part), failed + lost
            errors = errors + bad
        return table, sorted(errors)[:MAX_NAMED], failed

    return both


def _decoded(name: str, data: bytes, identity: Identity) -> tuple[Strongest, list[str], int]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            arrays = {part: held[part] for part in PARTS}
            about = json.loads(held["about"].tobytes())
        theirs = {key: about.get(key) for key in identity}
        paths, boxes = list(about["paths"]), [tuple(map(float, box)) for box in about["boxes"]]
        counts = int(about["count"]), int(about["failed"])
        errors = [str(error) for error in about["errors"]]
    except Exception:  # a stranger's file may be wrong in any way
        raise BadRequest(f"{name} is no whole table of `onnxlens top`") from None
    for key in identity:
        if theirs[key] != identity[key]:
            one, other = (json.dumps(x[key])[:100] for x in (theirs, identity))
            raise BadRequest(
                f"{name} was made with {key} {one}, and now it is {other}: they cannot be merged"
            )
    if not _fits(arrays, paths, boxes, len(identity["rows"]), identity["k"]):
        raise BadRequest(f"{name} is no whole table of `onnxlens top`")
    return Strongest(**arrays, paths=paths, boxes=boxes, count=counts[0]), errors, counts[1]  # type: ignore[arg-type]


def _fits(
    arrays: Mapping[str, np.ndarray], paths: Sequence[Any], boxes: Sequence[Any], rows: int, k: int
) -> bool:
    """Whether arrays are of a table of so many rows, and name photos that are there."""
    shapes = {**dict.fromkeys(PARTS, (rows, k)), "total": (rows,), "squares": (rows,)}
    if any(arrays[n].shape != shapes[n] or arrays[n].dtype != kind for n, kind in PARTS.items()):
        return False
    owners = arrays["owners"][arrays["owners"] != NOBODY]
    sound = owners.size == 0 or (owners.min() >= 0 and owners.max() < len(paths))
    texts = all(isinstance(path, str) for path in paths) and all(len(box) == 4 for box in boxes)
    return bool(sound and texts and len(boxes) == len(paths) and list(paths) == sorted(set(paths)))
