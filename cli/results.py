"""What a command finds in photos named one by one: looked for, written down, and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine.errors import BadImage, NoMap
from .console import emit, note, say

if TYPE_CHECKING:
    from ..models.lens import Lens
    from ..models.storage.folder import Folder

T = TypeVar("T")
# Of what was found, as JSON: `files` that were written, or else an `error` or `problem`.
Record = dict[str, Any]


def each(
    images: Sequence[str], find: Callable[[str], T], of: int | None = None
) -> Iterator[tuple[str, T | None, str]]:
    """For each image: its name, what `find(image)` gives, and the error if there was one.

    An only image's error is raised; one among several, `of` so many, is said and does not stop the others.
    """
    for image in images:
        try:
            yield image, find(image), ""
        except (BadImage, NoMap) as error:
            if (of or len(images)) == 1:
                raise
            note(f"onnxlens: {error}")
            yield image, None, str(error)


def seen(look: Callable[[Any], T]) -> Callable[[str], T]:
    """What `look` gives for the photo of an image."""

    def find(image: str) -> T:
        from ..models.storage.store import photo_at

        photo = photo_at(image)
        try:
            return look(photo)
        except (BadImage, NoMap) as error:
            raise type(error)(f"{image}: {error}") from error

    return find


def records(
    images: Sequence[str],
    find: Callable[[str], T],
    written: Callable[[str, T], Iterable[Record]],
    of: int | None = None,
) -> Iterator[list[Record]]:
    """For each image the records of what `find(image)` gives, as `written(stem, found)` writes it down.

    `of` as for `each`.
    """
    for image, found, error in each(images, find, of):
        made = [{"error": error}] if found is None else written(Path(image).stem, found)
        yield [{"image": image, **record} for record in made]


def finish(
    folder: Folder,
    lens: Lens,
    command: str,
    arguments: dict[str, Any],
    results: Sequence[Record],
    tell: Callable[[Record], object],
    as_json: bool,
) -> int:
    """Write the manifest, if anything was written, and say each result; the exit code: as of `told`."""
    from .manifest import manifest

    if any("files" in r for r in results):
        folder.write_manifest(manifest(lens, command, arguments, list(results)))
    return told(folder, results, tell, as_json)


def told(folder: Folder, results: Sequence[Record], tell: Callable[[Record], object], as_json: bool) -> int:
    """Say each result; the exit code: 1 where an image failed, or nothing of it could be drawn."""
    for result in results:
        if as_json:
            emit(result)
        elif "error" not in result:
            tell(result)
    if not as_json:
        for image, file in _shared(results):
            say(f"{image}: side by side -> {folder.path / file}")
    drawn = {r["image"] for r in results if "files" in r or not ("error" in r or "problem" in r)}
    return 0 if all(r["image"] in drawn for r in results) else 1


def _shared(results: Sequence[Record]) -> list[tuple[str, str]]:
    """The pictures that hold several results beside each other, each once, with their images."""
    files = [(r["image"], r["files"]) for r in results if "files" in r]
    pictures = Counter(
        (image, file) for image, made in files for file in made.values() if isinstance(file, str)
    )
    return [picture for picture, count in pictures.items() if count > 1]
