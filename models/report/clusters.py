"""Which photos of a run are looked at alike: spectral relevance analysis, to see where a model cheats.

Lapuschkin et al. 2019, "Unmasking Clever Hans predictors": maps are made small, joined to their nearest
neighbours, and the graph that comes of it is cut where it hangs together least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import BadRequest, OnnxlensError, Unavailable, nearest
from ...engine.picture import colour_map, encode_png
from ...host import cv2
from ...kernels.photos.normalise import normalise
from ...kernels.photos.upsample import upsample
from ..runs.record import part, read_map
from ..storage.addresses import is_address
from ..storage.files import Files
from ..storage.shards import Row, encodable
from ..storage.store import Read
from .entry import Drawer
from .pages import address, as_it_stands, rendered

GRID = 16  # cells of a small map, down and across
NEIGHBOURS = 10, 50  # of a map, at least and at most; between, a sixth of all
GROUPS = 10  # at most
LEAST, MOST = 20, 3000  # maps; more are taken evenly
ONE_PLACE = 0.8  # of the likeness of maps to their mean, from which on they look at one place
SEED = 0
SHOWN, CLASSES = 12, 6  # photos and classes of a group on the page
SIDE = 200  # pixels of a picture
COLOUR = "turbo"
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")


@dataclass(frozen=True)
class Group:
    """Maps that are alike: their `rows`, the `mean` of the small maps (GRID, GRID), each of which sums to 1,
    and how `alike` they are to it, the mean of their cosines: 1 where all look at the same place.
    """

    rows: Sequence[Row]
    mean: np.ndarray
    alike: float

    @property
    def where(self) -> str:
        """The place that all look at, in words; empty where they look at several."""
        if self.alike < ONE_PLACE:
            return ""
        y, x = (int(i) * 3 // GRID for i in np.unravel_index(self.mean.argmax(), self.mean.shape))
        return " ".join(filter(None, (ROWS[y], COLUMNS[x]))) or "middle"

    def classes(self) -> list[tuple[str, int]]:
        """What its maps are of, most frequent first."""
        return Counter(str(row["target_label"]) for row in self.rows).most_common()

    def record(self) -> dict[str, Any]:
        """It as JSON."""
        about = {"maps": len(self.rows), "alike": round(self.alike, 4), "where": self.where or None}
        return {**about, "classes": dict(self.classes()), "paths": [row["path"] for row in self.rows]}


def clusters(
    files: Files,
    rows: Sequence[Row],
    method: str | None = None,
    label: str | None = None,
    progress: Callable[[int, int], object] = lambda done, count: None,
) -> list[Group]:
    """The groups of the maps of a run, those first that look at one place most.

    `method` is one of the run's, by default its first; `label` keeps the maps of one class. Raises BadRequest
    for those that are not there and for fewer than LEAST maps, Unavailable without scikit-learn.
    """
    rows = _of(rows, method, label)
    some = [rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(int)] if rows else []
    found = []
    for i, row in enumerate(some):
        small = _read(files, row)
        found += [] if small is None else [(row, small)]
        progress(i + 1, len(some))
    if len(found) < LEAST:
        raise BadRequest(f"{len(found)} maps are too few to group: at least {LEAST} have to be written")
    kept, maps = [row for row, _ in found], np.stack([small for _, small in found])
    groups = [_group(kept, maps, labels) for labels in _labels(maps.reshape(len(maps), -1))]
    return sorted(groups, key=lambda group: -group.alike)


def _of(rows: Sequence[Row], method: str | None, label: str | None) -> list[Row]:
    """The rows that have a map, of a method and a class."""
    maps = [row for row in rows if row["map"] and row["problem"] is None and row["error"] is None]
    methods = list(dict.fromkeys(row["method"] for row in maps))
    if not methods:
        raise BadRequest("no map of this run is written: make it without --no-maps")
    if method is not None and method not in methods:
        raise BadRequest(f"this run has no maps of {method!r}{nearest(method, methods)}")
    maps = [row for row in maps if row["method"] == (method or methods[0])]
    labels = {str(row["target_label"]) for row in maps}
    if label is not None and label not in labels:
        raise BadRequest(f"no map of this run is of {label!r}{nearest(label, sorted(labels))}")
    return [row for row in maps if label is None or row["target_label"] == label]


def _read(files: Files, row: Row) -> np.ndarray | None:
    """What is above zero in a map, small and summing to 1; None where nothing is, or the map is gone."""
    try:
        positive = np.maximum(read_map(files.read(row["map"])), 0)
    except (OnnxlensError, OSError):
        return None
    how = cv2.INTER_AREA if min(positive.shape) > GRID else cv2.INTER_LINEAR
    small = cv2.resize(positive, (GRID, GRID), interpolation=how)
    total = float(small.sum())
    return small / total if np.isfinite(total) and total > 0 else None


def _labels(points: np.ndarray) -> list[np.ndarray]:
    """The members of each cluster of points (n, d), as bools (n,).

    As many as there are eigenvalues of the normalised Laplacian before their widest gap: von Luxburg 2007,
    "A tutorial on spectral clustering", sections 3.2 and 8.3.
    """
    try:
        from sklearn.cluster import SpectralClustering  # pyright: ignore[reportMissingImports]
        from sklearn.neighbors import kneighbors_graph  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Unavailable("onnxlens cluster needs scikit-learn: pip install 'onnxlens[cluster]'") from None
    near = int(np.clip(len(points) // 6, *NEIGHBOURS))
    near = kneighbors_graph(np.sqrt(points), near).toarray()
    weights = (near + near.T) / 2
    scale = 1 / np.sqrt(weights.sum(1))
    values = np.linalg.eigvalsh(np.eye(len(points)) - scale[:, None] * weights * scale)[: GROUPS + 1]
    count = int(np.diff(values)[1:].argmax()) + 2
    model = SpectralClustering(count, affinity="precomputed", assign_labels="cluster_qr", random_state=SEED)
    found = model.fit_predict(weights)
    return [found == k for k in range(count) if (found == k).any()]


def _group(rows: Sequence[Row], maps: np.ndarray, members: np.ndarray) -> Group:
    some = maps[members]
    mean = some.mean(0)
    cosines = (some * mean).sum((1, 2)) / (np.linalg.norm(some, axis=(1, 2)) * np.linalg.norm(mean))
    return Group(
        [row for row, member in zip(rows, members, strict=True) if member], mean, float(cosines.mean())
    )


def page(
    files: Files,
    manifest: Mapping[str, Any],
    groups: Sequence[Group],
    read: Read,
    progress: Callable[[int, int], object] = lambda done, count: None,
) -> str:
    """The groups as one HTML page: of each its mean map, its classes and SHOWN photos with their heat, spread
    over it evenly. `read` gives a photo by its name.
    """
    drawer, shown = Drawer(files, manifest, SIDE, read), []
    for k, group in enumerate(groups):
        some = np.linspace(0, len(group.rows) - 1, min(SHOWN, len(group.rows))).astype(int)
        photos = [_photo(drawer, group.rows[i]) for i in some]
        shown.append(
            {
                "count": len(group.rows),
                "where": group.where,
                "alike": f"{group.alike:.2f}",
                "classes": group.classes()[:CLASSES],
                "more": max(0, len(group.classes()) - CLASSES),
                "mean": address("png", encode_png(_mean(group.mean))),
                "photos": photos,
            }
        )
        progress(k + 1, len(groups))
    model = Path(str(part(manifest, "model").get("path", "The model"))).name
    return rendered(
        "clusters.html",
        version=version("onnxlens"),
        title=f"What {encodable(model)} looks at alike",
        run=str(files) if is_address(str(files)) else Path(str(files)).absolute().name,
        method=groups[0].rows[0]["method"],
        count=sum(len(group.rows) for group in groups),
        groups=shown,
        style=as_it_stands("style.css", "clusters.css"),
    )


def _mean(mean: np.ndarray) -> np.ndarray:
    """A mean map (GRID, GRID) in colours, large enough to be seen."""
    wide = upsample(mean[None].astype(np.float32), SIDE, SIDE)
    return colour_map(COLOUR)[np.rint(255 * normalise(wide)[0]).astype(np.uint8)]


def _photo(drawer: Drawer, row: Row) -> dict[str, Any]:
    """A photo with its heat, as the page has it; without a photo, why."""
    entry = drawer([{**row, "shaky": 0.0}])
    return {
        "path": row["path"],
        "label": row["target_label"],
        "photo": entry["photo"],
        "heat": entry["maps"][0]["heat"],
        "note": entry["note"],
    }
