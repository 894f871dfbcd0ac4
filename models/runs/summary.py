"""A run in a few figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..storage.disk import Disk
from ..storage.files import Files
from ..storage.lock import is_held
from ..storage.shards import read_shard, shards
from .manifest import read_manifest


def summary(run: Files) -> dict[str, Any]:
    """How far a run is and what came of it. Whether one in a store still runs cannot be told from here."""
    manifest = read_manifest(run)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for name in shards(run):
        rows = read_shard(run, name)
        counts["images"] += len({row["path"] for row in rows})
        counts["rows"] += len(rows)
        counts["failed"] += sum(bool(row.get("error")) for row in rows)
        reasons.update(
            row.get("error") or row["problem"] for row in rows if row.get("error") or row.get("problem")
        )
    state = manifest.get("state")
    if state != "done":
        held = is_held(run.path) if isinstance(run, Disk) else None
        state = {True: "running", False: "interrupted", None: "running or interrupted"}[held]
    return {
        "run": str(run),
        "state": state,
        "model": manifest["model"].get("path"),
        "photos": manifest.get("root"),
        "methods": manifest["arguments"].get("methods"),
        "provider": manifest["provider"].get("used"),
        "images": counts["images"],
        "of": manifest.get("images"),
        "rows": counts["rows"],
        "failed": counts["failed"],
        "seconds": manifest.get("seconds"),
        "reasons": dict(reasons.most_common()),
    }
