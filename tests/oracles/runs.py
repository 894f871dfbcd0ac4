"""Folders of runs, as `onnxlens run` leaves them, written without a model."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from onnxlens.models.maps.row import FIELDS


def row(path: str, **known: Any) -> dict[str, Any]:
    """A row with every field: what is not said is None, for a photo of 32 x 24 pixels and the class cat."""
    usual = {"method": "gradcam", "layer": "relu5", "target": 3, "target_label": "cat", "score": 5.5}
    usual |= {
        "target_probability": 0.75,
        "label": "cat",
        "probability": 0.75,
        "prediction": 3,
        "seconds": 0.01,
    }
    usual |= {"width": 32, "height": 24, "map_entropy": 3.0, "map_peak_y": 3, "map_peak_x": 4}
    return {**dict.fromkeys(FIELDS), "path": path, **({} if "error" in known else usual), **known}


def written(folder: Path, rows: Iterable[dict[str, Any]], **manifest: Any) -> Path:
    """A run of these rows in `folder`/run, over photos that are drawn in `folder`/photos where they may be.

    Each photo is a plain colour of its own; a row with a picture gets the opposite one, and one with a map
    gets one that rises from left to right.
    """
    run, photos = folder / "run", folder / "photos"
    (run / "rows").mkdir(parents=True)
    photos.mkdir(exist_ok=True)
    lines = []
    for i, line in enumerate(rows):
        colour = np.full((24, 32, 3), (i * 37 % 256, 128, 255 - i * 37 % 256), np.uint8)
        if line["error"] is None and line["sha256"] is None:
            line["sha256"] = _drawn(photos / line["path"], colour)
        if line["picture"]:
            _drawn(run / line["picture"], 255 - colour)
        if line["map"]:
            path = run / line["map"]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.tile(np.arange(4, dtype=np.float32), (3, 1)))
        lines.append(json.dumps(line) + "\n")
    (run / "rows/part-00000.jsonl").write_text("".join(lines))
    usual = {"state": "done", "root": str(photos), "arguments": {"methods": ["gradcam"]}}
    usual["preprocess"] = {"size": [24, 32]}
    usual["model"] = {"path": "model.onnx", "sha256": "0123456789abcdef", "opset": 17}
    (run / "manifest.json").write_text(json.dumps({**usual, **manifest}))
    return run


def _drawn(path: Path, picture: np.ndarray) -> str | None:
    """Write a picture once; its SHA-256, or None where there can be no such file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return None


def bomb(side: int) -> bytes:
    """A PNG file of about 1 kB that says it is a square of so many pixels on a side, and begins like one."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(900_000))
    parts = chunk(b"IHDR", head), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def rows(folder):
    """The rows of a run in JSON Lines, in their order."""
    return [
        json.loads(line)
        for p in sorted(Path(folder, "rows").iterdir())
        for line in p.read_text().splitlines()
    ]


def table(folder):
    """The rows without what a clock says, sorted."""
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder)]
    return sorted(kept, key=lambda r: (r["path"], r["method"] or "", r["target"] or 0))


def tree(folder):
    """Every file of a run but the rows and what a clock and a command line are in."""
    folder = Path(folder)
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {
        n: p.read_bytes()
        for n, p in files.items()
        if n.split("/")[0] not in ("rows", "manifest.json", ".lock")
    }


def manifest(folder):
    """What a run says of itself."""
    return json.loads(Path(folder, "manifest.json").read_text())
