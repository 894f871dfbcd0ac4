"""Compiled graphs on disk, for the next process: what the rewrites and ONNX Runtime's own made of them.

    CACHE/graphs/KEY/graph.onnx         the rewritten graph, without its weights
                     0.onnx, 0.bin      what ONNX Runtime made of each piece, and its weights in blocks
                     sums.json          length and checksum of each file
    CACHE/providers/KEY                 an empty file: a provider that is right with a graph (proven.py)

The key is a hash of all that the answer depends on: the graph before it was rewritten, the bytes of its
weights, versions and the files of this package, and the processor, for which the blocks are made. An entry is
written in a folder of its own and renamed when it is whole, so any number of processes may do that at once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, helper

from ...host import cache_folder, cache_size
from ..graph.external import is_external, place_of
from ..graph.graph import Graph
from ..graph.nodes import reads
from ..operators.traits import traits_of
from .provider import RUNTIME

SHARE = 4  # of the cache that one entry takes at most, one part in so many
STALE = 3600  # seconds after which what another process left unfinished is removed
CHUNK = 2**22
RIGHT_ONES = 1000  # providers found right with a graph, of which no more are kept
GRAPH, SUMS = "graph.onnx", "sums.json"


def folder() -> Path:
    """Where the entries lie."""
    return cache_folder() / "graphs"


def pays(graph: Graph, outputs: Sequence[str]) -> bool:
    """True where the cache is on, has room for a graph and saves more than it takes to read it.

    An entry holds the weights in blocks for both passes. Those of matrix products are
    packed at every start all the same, so a network that consists of these gains nothing.
    """
    nodes = graph.ancestors(outputs)
    used = {i for n in nodes for i in reads(n)}
    sizes = {name: _length(t) for name, t in graph.constants.items() if name in used}
    kernels = {n.input[1] for n in nodes if traits_of(n).window and traits_of(n).weights and not n.domain}
    held = sum(sizes.values())
    return 2 * held * SHARE <= cache_size() and 2 * sum(sizes.get(k, 0) for k in kernels) >= held


def key_of_graph(graph: Graph, outputs: Sequence[str], varying: Collection[str] = ()) -> str:
    """What an entry for a graph is called; inputs that are `varying` cut it into other pieces."""
    light = graph.to_model(outputs, weights=False)
    found = hashlib.sha256(light.SerializeToString(deterministic=True))
    for tensor in light.graph.initializer:
        if is_external(tensor):
            whole = graph.constants[tensor.name]
            if is_external(whole):
                path, offset, length = place_of(whole)
                stamp = path.stat()
                said = f"{_hash_of(path, stamp.st_size, stamp.st_mtime_ns)} {offset} {length}".encode()
            else:
                said = whole.SerializeToString(deterministic=True)
            found.update(b"%d " % len(said) + said)
    found.update(repr((list(outputs), list(varying), graph.twins, _surroundings())).encode())
    return found.hexdigest()


@functools.lru_cache(maxsize=8)
def _hash_of(path: Path, size: int, time: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _surroundings() -> tuple[object, ...]:
    """What else the answer depends on: versions, this floor's files, the processor."""
    here = Path(__file__).parents[1]
    files = sorted(
        (str(p.relative_to(here)), p.stat().st_size, p.stat().st_mtime_ns) for p in here.rglob("*.py")
    )
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor = sorted({s for s in lines if s.startswith(("flags", "Features", "model name"))})
    except OSError:
        processor = [platform.processor()]
    return platform.platform(), processor, onnx.__version__, RUNTIME, files


def keeps() -> bool:
    """True where the cache is on."""
    return cache_size() > 0


def is_right(key: str) -> bool:
    """True where what has this key was found right before. Nothing is read: there is a file or not."""
    return (cache_folder() / "providers" / key).is_file()


def set_right(key: str) -> None:
    """Keep that what has this key is right; of many the newest. Does nothing where that cannot be kept."""
    place = cache_folder() / "providers"
    with suppress(OSError):
        if key:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            (place / key).touch()
            for old in sorted(place.iterdir(), key=lambda p: p.stat().st_mtime)[:-RIGHT_ONES]:
                with suppress(OSError):
                    old.unlink()


def found(key: str) -> Path | None:
    """The folder of an entry that is whole; one that is damaged is removed."""
    entry = folder() / key
    try:
        sums = json.loads((entry / SUMS).read_text(encoding="utf-8"))
        if sums and all(_sum(entry / name) == said for name, said in sums.items()):
            os.utime(entry)  # the oldest are removed first
            return entry
    except (OSError, ValueError, AttributeError):
        pass
    discard(entry)  # if there is any
    return None


def discard(entry: Path) -> None:
    """Remove an entry, as far as that can be done."""
    shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def made(key: str, graph: Graph, outputs: Sequence[str]) -> Iterator[Path | None]:
    """A folder for what ONNX Runtime makes of a rewritten graph; it becomes the entry if nothing is raised.

    None where there can be no folder.
    """
    place = None
    with suppress(OSError):
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="new-", dir=folder()))
    try:
        yield place
        if place is not None:
            with suppress(OSError):
                (place / GRAPH).write_bytes(_light(graph, outputs).SerializeToString())
                sums = {p.name: _sum(p) for p in sorted(place.iterdir())}
                (place / SUMS).write_text(json.dumps(sums), encoding="utf-8")
                if sum(size for size, _ in sums.values()) * SHARE <= cache_size():
                    place.rename(folder() / key)
                    _bound()
    finally:
        if place is not None:
            discard(place)


def _sum(path: Path) -> list[int]:
    """Length and checksum of a file: 5 GB are read in a second."""
    length = checked = 0
    with path.open("rb", buffering=0) as file:
        while part := file.read(CHUNK):
            length, checked = length + len(part), zlib.crc32(part, checked)
    return [length, checked]


def _bound() -> None:
    """Remove what has not been used for longest, until the rest has room."""
    left, now = cache_size(), time.time()
    entries = sorted(((p.stat().st_mtime, p) for p in folder().iterdir()), reverse=True)
    for used, entry in entries:
        unfinished = entry.name.startswith("new-")
        if not unfinished:
            left -= sum(p.stat().st_size for p in entry.iterdir())
        if left < 0 or (unfinished and now - used > STALE):
            discard(entry)


def _light(graph: Graph, outputs: Sequence[str]) -> ModelProto:
    """A rewritten graph as a model without its weights, with the types of all values."""
    model = graph.to_model(outputs, weights=False)
    names = [o for n in model.graph.node for o in n.output if o in graph.types and o not in outputs]
    model.graph.value_info.extend(helper.make_value_info(o, graph.types[o]) for o in names)
    return model


def rewritten(entry: Path, graph: Graph) -> Graph:
    """What `graph` was rewritten to, without its weights. Raises OSError where the entry is not there."""
    model = ModelProto.FromString((entry / GRAPH).read_bytes())
    new = Graph({o.domain: o.version for o in model.opset_import})
    new.twins, new.metadata, new.given = graph.twins, graph.metadata, graph.given
    for tensor in model.graph.initializer:
        new.add_constant(tensor)
    for value in model.graph.input:
        new.declare_input(value.name, value.type)
    types = {v.name: v.type for v in (*model.graph.value_info, *model.graph.output)}
    for node in model.graph.node:
        new.add(node, types)
    new.outputs = [v.name for v in model.graph.output]
    return new


def _length(tensor: TensorProto) -> int:
    if is_external(tensor):
        return place_of(tensor)[2]
    return tensor.ByteSize()
