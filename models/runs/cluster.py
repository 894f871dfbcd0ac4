"""Work on the machines of a Ray cluster, which share the folders of the photos and of the results.

Each worker is an actor with a model of its own. Of a run it reads photos, writes pictures and maps, and sends
back rows; only the process that began the run writes rows and the manifest, so locks, shards and --resume are
as they are on one machine. The photos come in the same batches too, which is why the rows do not differ.
Where a machine is lost, Ray gives what it had to others.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import OnnxlensError, Unavailable
from ...host import opencv_threads, variable

if TYPE_CHECKING:
    from ..maps.row import Row
    from .job import Job, Spec

_started = False  # whether Ray's connection is ours to end
TOGETHER = 8  # batches whose results are sent at once: what is lost with a machine and done again
Words = Mapping[str, Sequence[bytes]]  # of a table of Ray: under "names", names with NULs between them


class Worker:
    """A Job in a process of the cluster: batches of names of photos to rows."""

    def __init__(self, spec: Spec, root: str, output: str):
        from ..storage.files import files_at
        from ..storage.store import reader, reading
        from .job import Job

        self.files = files_at(output, writing=True)
        self.job: Job = Job(spec, reader(root), self.files.write, reading=reading(root))

    def __call__(self, batches: Words) -> dict[str, list[str]]:
        """Rows as JSON: their nulls and numbers come through any table as they are."""
        with opencv_threads(1):
            rows = [self.job(names_in(names)) for names in batches["names"]]
        self.files.settle()  # the files of a row are there before the row is
        return {"found": [json.dumps(r, allow_nan=False) for r in rows]}


def room(spec: Spec) -> int:
    """How many workers of a run the cluster has room for."""
    held, needs = connected().cluster_resources(), needs_of(spec.provider, spec.threads)
    return max(1, min(int(held.get(kind, 0) // need) for kind, need in needs.items()))


def rows_of(
    spec: Spec, root: str, output: Path | str, batches: Iterable[Sequence[str]], workers: int
) -> Iterator[list[Row]]:
    """The rows of batches of photos below `root`, batch by batch as they are done, in no order.

    Raises Unavailable where the cluster does not do its work, and what a Job raises.
    """
    about = spec, root, str(output.absolute()) if isinstance(output, Path) else output
    needs = needs_of(spec.provider, spec.threads)
    for rows in found(Worker, about, batches, needs, workers, TOGETHER):
        yield json.loads(rows)


def found(
    worker: type,
    about: Sequence[Any],
    lots: Iterable[Sequence[str]],
    needs: dict[str, int],
    workers: int,
    together: int,
) -> Iterator[Any]:
    """What workers find in lots of names, `together` of them at a time, as they are done, in no order."""
    ray = connected()
    items = [{"names": b"\0".join(map(os.fsencode, names))} for names in lots]
    try:
        if items:
            data = ray.data.from_items(items, override_num_blocks=-(-len(items) // together)).map_batches(
                worker,
                fn_constructor_args=about,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
                num_cpus=needs["CPU"],
                num_gpus=needs.get("GPU"),
            )
            yield from (row["found"] for row in data.iter_rows())
    except ray.exceptions.RayError as error:
        raise _reason(error) from error
    finally:
        if _started:
            ray.shutdown()


def names_in(joined: bytes) -> list[str]:
    """The names of one lot."""
    return [os.fsdecode(name) for name in joined.split(b"\0")]


def needs_of(provider: str, threads: int | None) -> dict[str, int]:
    """What each worker takes of its machine; Ray's GPUs are NVIDIA's."""
    on_gpu = provider.partition(":")[0] in ("cuda", "tensorrt", "nv-tensorrt-rtx")
    return {"CPU": threads or 1, **({"GPU": 1} if on_gpu else {})}


def connected() -> Any:
    """Ray, connected to the cluster of RAY_ADDRESS or of this machine, or else with one of its own.

    What the program has connected itself stays as it is.
    """
    with variable("RAY_USAGE_STATS_ENABLED", "0"), variable("RAY_BACKEND_LOG_LEVEL", "fatal"):
        try:
            import ray  # pyright: ignore[reportMissingImports]
            import ray.data  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise Unavailable("--engine ray needs Ray: pip install 'onnxlens[scale]'") from None
        if not ray.is_initialized():
            _connect(ray)
    return ray


def _connect(ray: Any) -> None:
    """Connect Ray, which then prints nothing: what matters is raised too. Raises Unavailable."""
    global _started
    _check(os.environ.get("RAY_ADDRESS", ""))
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        ray.init(log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Unavailable(f"no Ray cluster: {' '.join(str(error).split())[:300]}") from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    _started = True


def _check(address: str) -> None:
    """Raise Unavailable where nobody answers at HOST:PORT, which Ray finds out only after minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), 10).close()
        except (OSError, OverflowError) as error:
            raise Unavailable(f"no Ray cluster at {address}, as RAY_ADDRESS says: {error}") from None


def _reason(error: Exception) -> OnnxlensError:
    """What a worker raised, where that is a line for people; else the end of what Ray says."""
    ours = re.findall(r"^onnxlens\.engine\.errors\.\w+: (.+)$", str(error), re.MULTILINE)
    if ours:
        return Unavailable(ours[-1])
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return Unavailable(f"the cluster gave up: {lines[-1][:300]}")
