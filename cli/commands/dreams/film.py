"""Films: dreams of dreams, and frames to the bytes of a GIF and of an MP4 file by OpenCV's writers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....engine.errors import BadRequest, Unavailable
from ....engine.picture import encode_png
from ....host import cv2
from ....models.storage.folder import Folder
from .dreaming import settings, started

if TYPE_CHECKING:
    from ....models.dreams.ascent import Ascent

MAX_BYTES = 2**31  # of frames in memory

# All 256 colours (8 bits), and the finest of its ditherings: half of the default's error on a photo.
_GIF = [cv2.IMWRITE_GIF_QUALITY, 8, cv2.IMWRITE_GIF_DITHER, 3]


def encode_gif(frames: Sequence[np.ndarray], fps: float) -> bytes:
    """An endless GIF of pictures (H, W, 3) uint8 RGB. Raises Unavailable where OpenCV cannot write it."""
    film = cv2.Animation()
    film.frames = [np.ascontiguousarray(f[..., ::-1]) for f in frames]
    film.durations = [round(1000 / fps)] * len(frames)
    try:
        done, data = cv2.imencodeanimation(".gif", film, _GIF)
    except cv2.error as error:
        raise Unavailable(f"this OpenCV cannot write GIF ({error.err})") from error
    if not done:
        raise Unavailable("this OpenCV cannot write GIF")
    return data.tobytes()


def encode_mp4(frames: Sequence[np.ndarray], fps: float) -> bytes:
    """An MP4 (MPEG-4 part 2) of pictures (H, W, 3) uint8 RGB of one size, cut to even sides.

    Raises Unavailable where OpenCV has no such codec.
    """
    height, width = frames[0].shape[:2]
    size = width - width % 2, height - height % 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"  # OpenCV writes films to files only
        codec = cv2.VideoWriter.fourcc(*"mp4v")  # pyright: ignore[reportArgumentType] (it is static)
        writer = cv2.VideoWriter(str(path), codec, fps, size)
        if not writer.isOpened():
            raise Unavailable("this OpenCV cannot write MP4")
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[: size[1], : size[0], ::-1]))
        writer.release()
        return path.read_bytes()


def filmed(
    folder: Folder,
    climbed: Ascent,
    photo: np.ndarray | None,
    stem: str,
    given: dict[str, Any],
    progress: Callable[..., None],
) -> dict[str, Any]:
    """Dream a film and write it as GIF, as MP4 and its last frame; the record of it.

    Raises BadRequest for more frames than memory is meant for.
    """
    from ....models.dreams.dream import film

    start, count, frames = started(climbed.lens, photo, given), given["zoom"], []
    if start.size * count > MAX_BYTES:
        raise BadRequest(
            f"{count} frames of {start.shape[1]}x{start.shape[0]} are too many; say a smaller --side"
        )
    for made in film(climbed, start, count, seed=given["seed"], **settings(given)):
        frames.append(made.picture())
        progress(len(frames), count, f"{made.octaves[-1].after.mean():.4g}")
    name = folder.unique(stem)
    files = {
        "gif": folder.write(f"{name}.gif", encode_gif(frames, given["fps"])),
        "mp4": folder.write(f"{name}.mp4", encode_mp4(frames, given["fps"])),
        "last": folder.write(f"{name}.png", encode_png(frames[-1])),
    }
    return {"frames": count, "files": files}
