"""The strongest photos of a folder: against brute force, and the crops against what they claim to hold."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from oracles.toys import UNIT, blob, colours

from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.errors import BadRequest
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.features.mosaic import mosaics, window_of
from onnxlens.models.features.top import top
from onnxlens.models.lens import Lens
from onnxlens.models.photos.crop import crop_of, uncut
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.storage.album import photos

LAYERS = ["relu2", "conv4", "relu5"]


@pytest.fixture(scope="module")
def lens():
    return Lens("scenes", provider="cpu", threads=2)


def drawn(folder, count, sizes=(96,)):
    folder.mkdir()
    for i in range(count):
        image = scene(TEST_SEEDS[i], size=sizes[i % len(sizes)]).image[..., ::-1]
        cv2.imwrite(str(folder / f"{i:04}.{('png', 'jpg')[i % 2]}"), image)
    return folder


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("scenes") / "album", 200)


def brute(lens, paths, layers, k):
    """Every map of every photo, sorted: the (score, path, position) of the best k of each channel."""
    peaks: dict[str, list] = {layer: [] for layer in layers}
    for path in paths:
        maps = lens.network.run(lens.feeds(read_photo(path))[0], layers)
        for layer in layers:
            flat = maps[layer][0].reshape(maps[layer].shape[1], -1)
            peaks[layer].append((flat.max(1), flat.argmax(1), maps[layer].shape[3]))
    best = {}
    for layer, seen in peaks.items():
        for c in range(len(seen[0][0])):
            order = sorted(range(len(paths)), key=lambda n: (-seen[n][0][c], paths[n]))[:k]
            best[layer, c] = [
                (float(seen[n][0][c]), paths[n], divmod(int(seen[n][1][c]), seen[n][2])) for n in order
            ]
    return best


def agree(found, expected):
    assert set(found.rows) == set(expected)
    for (layer, channel), hits in expected.items():
        got = [(h.score, h.path, h.position) for h in found.hits(layer, channel)]
        assert got == hits, (layer, channel)


def test_equals_brute_force(lens, album):
    paths = list(photos([album]))
    agree(top(lens, paths, LAYERS), brute(lens, paths, LAYERS, 9))


@pytest.mark.slow
def test_equals_brute_force_on_two_thousand(lens, tmp_path):
    paths = list(photos([drawn(tmp_path / "album", 2000)]))
    agree(top(lens, paths, LAYERS), brute(lens, paths, LAYERS, 9))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_order_and_batches_do_not_matter(lens, album, batch):
    paths = list(photos([album]))[:60]
    expected = list(top(lens, paths, ["relu5"], k=4))
    np.random.default_rng(batch).shuffle(paths)
    assert list(top(lens, paths, ["relu5"], k=4, batch=batch)) == expected


def test_some_channels_of_layers_that_a_pattern_names(lens, album):
    paths = list(photos([album]))[:30]
    some = top(lens, paths, ["relu[45]"], [3, 0], k=2)
    every = top(lens, paths, ["relu4", "relu5"], k=2)
    assert list(some.rows) == [("relu4", 3), ("relu4", 0), ("relu5", 3), ("relu5", 0)]
    for layer, channel in some.rows:
        assert some.hits(layer, channel) == every.hits(layer, channel)
    with pytest.raises(BadRequest, match="not looked at"):
        some.hits("relu4", 1)


@pytest.mark.parametrize("sizes", [(96,), (288, 64, 150)], ids=["as large", "shrunk and enlarged"])
@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("interpolation", ["linear", "cubic", "box"])
def test_all_that_matters_lies_in_the_crop(lens, tmp_path, sizes, fit, interpolation):
    """Random colours outside the crop leave the response as it is."""
    folder = drawn(tmp_path / "album", 12, sizes)
    for path in sorted(folder.iterdir())[::2]:  # not all are square
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path))[: -11 or None])
    looking = Lens(
        lens.path, preset=replace(lens.preprocess, fit=fit, interpolation=interpolation), threads=1
    )
    rng = np.random.default_rng(0)
    found = top(looking, photos([folder]), ["pool3", "relu5"], list(range(0, 48, 6)), k=3)
    hits = list(found)
    assert len(hits) == 2 * 8 * 3
    for hit in hits:
        photo = read_photo(hit.path)
        other = rng.integers(0, 256, photo.shape, np.uint8)
        y0, x0, y1, x1 = (max(edge, 0) for edge in hit.crop)
        other[y0:y1, x0:x1] = photo[y0:y1, x0:x1]
        map_ = looking.network.run(looking.feeds(other)[0], [hit.layer])[hit.layer]
        assert abs(map_[0, hit.channel][hit.position] - hit.score) <= 1e-4, hit


def test_a_crop_that_is_one_row_smaller_misses_something(lens, album):
    """So the crops are no larger than they need to be: their edges matter to some channel."""
    photo = read_photo(next(photos([album])))
    field = top(lens, [str(next(photos([album])))], ["relu3"]).fields["relu3"][12, 12]
    before = lens.network.run(lens.feeds(photo)[0], ["conv3"])["conv3"][0, :, 12, 12]
    y0, x0, y1, x1 = field
    for row, column in (
        (y0, slice(x0, x1)),
        (y1 - 1, slice(x0, x1)),
        (slice(y0, y1), x0),
        (slice(y0, y1), x1 - 1),
    ):
        other = photo.copy()
        other[row, column] = 255 - other[row, column]
        after = lens.network.run(lens.feeds(other)[0], ["conv3"])["conv3"][0, :, 12, 12]
        assert (before != after).any()


def test_a_cut_field_reaches_over_the_edge():
    fields = np.array(
        [[[0, 0, 3, 5], [0, 1, 3, 6], [0, 3, 3, 8]], [[0, 0, 5, 5], [0, 1, 5, 6], [0, 3, 5, 8]]]
    )
    whole = uncut(fields, (9, 8))
    assert whole[0].tolist() == [[-2, 0, 3, 5], [-2, 1, 3, 6], [-2, 3, 3, 8]]
    assert (uncut(np.array([[[0, 0, 8, 8]]]), (8, 8)) == [0, 0, 8, 8]).all()
    assert whole[1].tolist() == fields[1].tolist()


def test_crops_are_whole_pixels_of_the_photo():
    pre = replace(UNIT, size=(32, 32))
    assert crop_of((4, 8, 12, 16), (0, 0, 64, 96), pre) == (7, 23, 25, 49)  # shrunk with a triangle
    assert crop_of((4, 8, 12, 16), (0, 0, 64, 96), replace(pre, interpolation="box")) == (8, 24, 24, 48)
    assert crop_of((4, 8, 12, 16), (0, 0, 32, 32), pre) == (4, 8, 12, 16)  # as it is
    assert crop_of((-4, 8, 12, 16), (0, 0, 33, 32), pre) == (-5, 8, 13, 16)
    assert crop_of((0, 0, 8, 32), (0, 0, 16, 16), pre) == (-1, -1, 5, 17)  # enlarged: the neighbours too


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_every_kind_of_input(tmp_path, layout, batch):
    pre = replace(UNIT, layout=layout)
    onnx.save(colours(batch=batch, layout=layout, preprocess=pre), tmp_path / "model.onnx")
    toy = Lens(tmp_path / "model.onnx", provider="cpu")
    for i, colour in enumerate([0, 0, 1, 2, 2, 2, 1]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), blob(at=(20 + 8 * i, 30), colour=colour)[..., ::-1])
    found = top(toy, photos([tmp_path]), ["pool"], k=2, batch=4)
    assert {Path(h.path).stem for h in found.hits("pool", 0)} == {"0", "1"}
    assert {Path(h.path).stem for h in found.hits("pool", 1)} == {"2", "6"}
    agree(found, brute(toy, list(photos([tmp_path])), ["pool"], 2))


def test_what_cannot_be_read_is_counted_and_named(lens, album, tmp_path):
    good = list(photos([album]))[:5]
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    paths = [*good[:2], *photos([tmp_path]), *good[2:], str(tmp_path / "vanished.png")]
    found = top(lens, paths, batch=2)
    assert (found.table.count, found.failed) == (5, 4)
    for name in ("text.png", "empty.jpg", "gone.png", "vanished.png"):
        assert any(name in error for error in found.errors)
    assert list(found) == list(top(lens, good))


def test_fewer_photos_than_asked_for(lens, album):
    found = top(lens, list(photos([album]))[:3], k=9)
    assert len(found.hits("relu5", 0)) == 3
    assert len(found.best("relu5")) == 16


def test_what_cannot_be_done(lens, album, tmp_path):
    one = [str(next(photos([album])))]
    for options, words in (
        ({"channels": [128]}, "no channel 128: it has 0 to 127"),
        ({"layers": ["relu55"]}, "relu5"),
        ({"layers": ["probabilities"]}, "no feature map"),
        ({"k": 0}, "1 or more"),
    ):
        with pytest.raises(BadRequest, match=words):
            top(lens, one, **options)
    (tmp_path / "a.png").touch()
    with pytest.raises(BadRequest, match=r"no photo could be read; the first: .*a\.png: the file is empty"):
        top(lens, photos([tmp_path]))
    with pytest.raises(BadRequest, match="there is no photo"):
        top(lens, [])


def test_the_pass_stops_its_threads_when_it_is_left(lens, album):
    before = threading.active_count()

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        top(lens, photos([album]), batch=4, progress=stop)
    assert threading.active_count() == before


def test_it_reads_no_further_ahead_than_it_must(lens, album):
    """However many photos there are: a bounded number has been asked for when the first are done."""
    asked, done = [], []

    def paths():
        for path in photos([album]):
            asked.append(path)
            yield path

    top(lens, paths(), batch=4, progress=lambda count: done.append((count, len(asked))))
    assert done[-1] == (len(asked), len(asked))
    assert all(ahead - count <= 4 * (2 * 2 + 1) for count, ahead in done)


# -- folders ---------------------------------------------------------------------------------------------


def test_photos_of_a_tree_in_the_order_of_their_names(tmp_path):
    names = [
        "b.PNG",
        "a/z.jpg",
        "a/b/c.webp",
        "<script>'\" \n.gif",
        "é.tiff",
        "notes.txt",
        ".hidden.png",
        ".git/x.png",
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "b.PNG")
    found = [os.path.relpath(p, tmp_path) for p in photos([tmp_path, tmp_path / "notes.txt"])]
    assert found == [
        "<script>'\" \n.gif", "a/b/c.webp", "a/z.jpg", "b.PNG", "link.png", "é.tiff", "notes.txt",
    ]  # fmt: skip


def test_folders_without_photos_and_places_that_are_not_there(tmp_path):
    with pytest.raises(BadRequest, match="no photo in"):
        photos([tmp_path])
    with pytest.raises(BadRequest, match="no such file or folder"):
        photos([tmp_path / "nowhere"])


# -- pictures --------------------------------------------------------------------------------------------


def test_mosaics_have_a_tile_for_each_photo(lens, album):
    found = top(lens, list(photos([album]))[:40])
    channels = found.best("relu5", 2)
    plain = mosaics(lens, found, "relu5", channels, side=24)
    both = mosaics(lens, found, "relu5", channels, Projector(lens.network, "deconvnet", "relu5"), side=24)
    side = 3 * 24 + 4 * 2 + 4
    assert list(plain) == list(both) == channels
    assert all(p.shape == (side, side, 3) for p in plain.values())
    assert all(p.shape == (side, 2 * side - 2, 3) for p in both.values())
    np.testing.assert_array_equal(both[channels[0]][:, side - 2 :], plain[channels[0]])


def test_where_every_photo_is_named_the_channels_that_answer_most_are_best(lens, tmp_path):
    found = top(lens, photos([drawn(tmp_path / "album", 3)]), k=9)
    scores = [found.hits("relu5", channel)[0].score for channel in found.best("relu5", 8)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == max(hit.score for hit in found)


def test_a_photo_that_is_gone_by_then_leaves_a_crossed_tile(lens, tmp_path):
    folder = drawn(tmp_path / "album", 3)
    found = top(lens, photos([folder]), channels=[0])
    for path in folder.iterdir():
        path.unlink()
    assert mosaics(lens, found, "relu5", [0])[0].ndim == 3


def test_a_window_beyond_the_edges_is_empty_there():
    signal = np.arange(12, dtype=float).reshape(3, 4, 1)
    window = window_of(signal, (-1, 2, 2, 6))[..., 0]
    assert window.tolist() == [[0, 0, 0, 0], [2, 3, 0, 0], [6, 7, 0, 0]]
