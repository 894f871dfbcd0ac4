"""What a model answered to one photo: as lines, as JSON and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ....engine.errors import BadRequest
from ...console import say, table
from ...results import Record, each, seen

if TYPE_CHECKING:
    import numpy as np

    from ....models.lens import Lens
    from ....models.maps.found import Found
    from ....models.maps.prediction import Prediction
    from ....models.storage.folder import Folder

CLASSES = 5  # that are shown where nobody says how many, and photos of a gallery
HALF = 0.5  # of a pixel that counts as covered
_NUMBERS = 8  # of a vector


class Near(NamedTuple):
    """A photo of a gallery, and the cosine of its vector with another."""

    image: str
    cosine: float


@dataclass(frozen=True)
class Answer:
    """What a model answered to a `photo`: `predictions` of classes, or else `things`; of an embedder the
    `vector` too, and the photos of a gallery that are `near`.
    """

    photo: np.ndarray
    readout: str
    predictions: Sequence[Prediction] = ()
    things: Sequence[Found] = ()
    vector: np.ndarray | None = None
    near: Sequence[Near] = ()
    shares: dict[int, float] = field(default_factory=dict)


class Gallery:
    """Photos that others are compared with, by the vectors that a model answers.

    Raises BadRequest for a model that answers none, and where there is no photo. A photo that cannot be read
    is said and left out.
    """

    def __init__(self, lens: Lens, place: str):
        import numpy as np

        from ....models.storage.album import photos

        if not getattr(lens.reading, "unit", False):
            raise BadRequest(f"--gallery is for models that answer a vector; this one answers {_kind(lens)}")
        found = [
            (image, v) for image, v, _ in each(list(photos([place])), seen(lens.vector)) if v is not None
        ]
        self._images = [image for image, _ in found]
        self._units = np.stack([_unit(v) for _, v in found]) if found else np.zeros((0, 0), np.float32)

    def near(self, vector: np.ndarray, top: int) -> list[Near]:
        """The photos whose vectors point most where one does, the nearest first."""
        import numpy as np

        cosines = self._units @ _unit(vector) if self._images else np.zeros(0)
        return [Near(self._images[i], float(cosines[i])) for i in np.argsort(-cosines, kind="stable")[:top]]


def _unit(vector: np.ndarray) -> np.ndarray:
    import numpy as np

    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def answer(lens: Lens, photo: np.ndarray, top: int | None, gallery: Gallery | None) -> Answer:
    """What a model answers to a photo, the `top` classes, things or photos of a gallery."""
    if _kind(lens) == "classes":
        return Answer(photo, "classes", predictions=lens.predict(photo, top or CLASSES))
    things = lens.things(photo)[:top]
    sizes = {t.index: t.mask(photo.shape[:2]) for t in things if t.kind == "region"}  # pyright: ignore[reportArgumentType]
    shares = {index: float((mask >= HALF).mean()) for index, mask in sizes.items() if mask is not None}
    vector = lens.vector(photo) if getattr(lens.reading, "unit", False) else None
    near = [] if gallery is None or vector is None else gallery.near(vector, top or CLASSES)
    return Answer(photo, _kind(lens), things=things, vector=vector, near=near, shares=shares)


def _kind(lens: Lens) -> str:
    """The kind of answers, of which all that are one number for each class are one."""
    from ....engine.anatomy.readouts.classes import KINDS

    return "classes" if lens.reading.kind in KINDS else lens.reading.kind


def record(found: Answer) -> Record:
    """An answer as JSON; numbers of a vector are all there."""
    from ....models.maps.numbers import finite

    if found.readout == "classes":
        return {"predictions": [p.record() for p in found.predictions]}
    things = [
        {**t.record(), **({"share": found.shares[t.index]} if t.index in found.shares else {})}
        for t in found.things
    ]
    vector = {} if found.vector is None else {"vector": [finite(float(v)) for v in found.vector]}
    near = (
        {"gallery": [{"image": n.image, "cosine": finite(n.cosine)} for n in found.near]}
        if found.near
        else {}
    )
    return {"readout": found.readout, "things": things, **vector, **near}


def show(image: str, found: Answer) -> None:
    """Say an answer, a line for each thing."""
    if found.readout == "classes":
        say(image)
        table((), [(f"  {p.said}", str(p.index), p.label) for p in found.predictions])
        return
    say(f"{image}: {_summary(found)}")
    if found.vector is None:
        rows = [(f"  {t.label}", t.said, _place(found, t)) for t in found.things]
    else:
        rows = [(f"  {n.image}", f"{n.cosine:.4f}") for n in found.near]
    if rows:
        table((), rows)


def _summary(found: Answer) -> str:
    import numpy as np

    if not found.things:
        return "nothing found"
    if found.vector is not None:
        first = " ".join(f"{v:.4g}" for v in found.vector[:_NUMBERS])
        more = " ..." if found.vector.size > _NUMBERS else ""
        return f"{found.vector.size} numbers, length {float(np.linalg.norm(found.vector)):.4g}: {first}{more}"
    return found.readout


def _place(found: Answer, thing: Found) -> str:
    """Where a thing is in the photo, in rows and columns, as targets say it; of a region how much of it."""
    if thing.index in found.shares:
        return f"{found.shares[thing.index]:.1%} of the photo"
    if thing.kind == "value" and thing.points is not None:
        (y, x, _) = thing.points[0]
        return f"row {int(y)}, column {int(x)}"
    if thing.box is None:
        return ""
    height, width = found.photo.shape[:2]
    edges = zip(thing.box, (height, width, height, width), strict=True)
    y0, x0, y1, x1 = (round(min(max(edge, 0), most)) for edge, most in edges)
    turned = f", turned by {thing.thing.angle * 57.29578:.0f} degrees" if thing.thing.angle else ""
    return f"rows {y0}:{y1}, columns {x0}:{x1}{turned}"


def write(folder: Folder, stem: str, found: Answer) -> Record:
    """Write the pictures of an answer that has a place in the photo: its `files`, by what they are."""
    from ....engine.picture import encode_png
    from ....models.maps.drawn import drawn, matte

    if not any(t.thing.box or t.points is not None or t.thing.mask is not None for t in found.things):
        return {}
    what = "masks" if found.readout in ("regions", "picture") else "boxes"
    name = folder.unique(stem, f"-{what}")
    files = {what: folder.write(f"{name}.png", encode_png(drawn(found.photo, found.things)))}
    alone = found.things[0]
    if found.readout == "regions" and alone.thing.label is None:
        shade = matte(found.photo, alone)
        assert shade is not None
        files["matte"] = folder.write(f"{folder.unique(stem, '-matte')}.png", encode_png(shade))
    return {"files": files}
