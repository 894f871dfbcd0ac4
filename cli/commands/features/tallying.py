"""The strongest photos of each channel, looked for on the machines of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....host import opencv_threads
from ....models.runs.cluster import TOGETHER, Words, connected, found, names_in, needs_of

if TYPE_CHECKING:
    from ....engine.features.peaks import Peaks
    from ....engine.features.strongest import Strongest
    from ....models.lens import Lens


class Looker:
    """What looks for the strongest photos of each channel, in a process of the cluster."""

    def __init__(self, lens: Mapping[str, Any], peaks: Mapping[str, Any], k: int, batch: int, folder: str):
        from ....engine.features.peaks import Peaks
        from ....models.lens import Lens

        with suppress(OSError):  # relative names are below the folder of who asks
            os.chdir(folder)
        self.lens, self.k, self.batch = Lens(**lens), k, batch
        self.peaks = Peaks(self.lens.network, **peaks, threads=1)

    def __call__(self, batches: Words) -> dict[str, Any]:
        """A table of the strongest of each lot of photos, with the errors and the count of those not read."""
        import numpy as np

        from ....models.features.stream import tallied

        tables = np.empty(len(batches["names"]), object)
        with opencv_threads(1):
            for i, names in enumerate(batches["names"]):
                tables[i] = tallied(self.lens, self.peaks, names_in(names), self.k, self.batch)
        return {"found": tables}


def tally_of(model: str, settings: Mapping[str, Any], workers: int | None) -> Callable[..., Any]:
    """What stands for `tallied` of models/features/stream.py, with a cluster; `settings`: of the Lens.

    The tables are merged as they come: the order changes none of their scores, places and owners.
    """
    from ....models.features.stream import MAX_NAMED, groups
    from ....models.network.inputs import elsewhere, value_elsewhere

    path = str(Path(model).absolute()) if Path(model).is_file() else model
    labels = settings["labels"] and str(settings["labels"].absolute())
    inputs, second = elsewhere(settings["inputs"]), settings["second"] and value_elsewhere(settings["second"])
    about = {"model": path, **settings, "labels": labels, "inputs": inputs, "second": second, "threads": 1}

    def tally(
        lens: Lens,
        peaks: Peaks,
        paths: Iterable[str],
        k: int,
        batch: int,
        progress: Callable[[int], object] | None,
    ) -> tuple[Strongest, list[str], int]:
        from ....engine.features.strongest import Strongest, merged

        needs = needs_of(lens.network.provider, 1)
        count = workers or int(connected().cluster_resources().get("CPU", 1))
        looked = {"layers": peaks.layers, "channels": peaks.channels}
        told = about, looked, k, batch, str(Path.cwd())
        table, errors, failed = Strongest.empty(len(peaks.rows), k), [], 0
        for part, bad, lost in found(Looker, told, groups(paths, TOGETHER * batch), needs, count, 1):
            table, failed = merged(table, part), failed + lost
            errors += bad[: MAX_NAMED - len(errors)]
            if progress:
                progress(table.count + failed)
        return table, sorted(errors), failed

    return tally
