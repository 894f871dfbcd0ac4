"""Embeddings, depths, heat maps of points and numbers of no known kind."""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.maps import coordinates
from onnxlens.engine.anatomy.readouts import embedding, picture
from onnxlens.engine.anatomy.readouts.table import READOUTS, reading
from onnxlens.engine.anatomy.readouts.thing import Hints
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadRequest

RNG = np.random.default_rng(0)
SIZE = (16, 24)
WEIGHTS = {
    "w": RNG.normal(size=(5, 3, 4, 4)),
    "D": RNG.normal(size=(5, 4)),
    "last": np.int64([-1]),
    "tiny": np.float32(1e-12),
    "one": RNG.normal(size=(1, 5, 1, 1)),
}
MAP = "s = Conv<strides=[4, 4]>(x, w)"
POOLED = f"{MAP} r = Relu(s) p = GlobalAveragePool(r) f = Flatten(p)"
NORM = "l = ReduceL2(f, last) m = Max(l, tiny)"


def graph_of(body, outputs, **weights):
    text = f"(float[N, 3, 16, 24] x) => ({outputs}) {{ {body} }}"
    used = {
        name: value
        for name, value in (WEIGHTS | weights).items()
        if name in body.replace("(", " ").replace(",", " ").replace(")", " ").split()
    }
    return canonical(parsed(text, **used))


def found(find, graph, **hints):
    return find(graph, Hints(coordinates(graph).size, **hints))


@pytest.mark.parametrize(
    ("body", "shape", "vector"),
    [
        ("e = Identity(f)", "float[N, 5] e", "e"),
        ("e = Identity(p)", "float[N, 5, 1, 1] e", "e"),
        (f"{NORM} e = Div(f, m)", "float[N, 5] e", "f"),
        (f"{NORM} i = Reciprocal(m) e = Mul(f, i)", "float[N, 5] e", "f"),
        ("e = LpNormalization(f)", "float[N, 5] e", "f"),
        ("image_embeds = MatMul(f, D)", "float[N, 4] image_embeds", "image_embeds"),
    ],
)
def test_what_is_a_vector(body, shape, vector):
    read = found(embedding.find, graph_of(f"{POOLED} {body}", shape))
    assert read.parts == (vector,)
    assert read.outputs == (shape.split()[-1],)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("z = MatMul(f, D) e = Softmax(z)", "float[N, 4] e"),
        ("e = MatMul(f, D)", "float[N, 4] e"),  # classes
        ("boxes = MatMul(f, D)", "float[N, 4] boxes"),
        ("e = Identity(r)", "float[N, 5, 4, 6] e"),
    ],
)
def test_what_is_none(body, shape):
    assert found(embedding.find, graph_of(f"{POOLED} {body}", shape)) is None


def test_a_vector_is_explained_along_its_own_direction():
    read = found(embedding.find, graph_of(f"{POOLED} {NORM} e = Div(f, m)", "float[N, 5] e"))
    vector = RNG.normal(size=(1, 5)).astype(np.float32)
    (thing,) = read.things({"f": vector, "e": vector}, SIZE)
    (weights,) = thing.seed.of.values()
    np.testing.assert_allclose(weights.weights, vector[0] / np.linalg.norm(vector), rtol=1e-6)
    assert vector[0] @ weights.weights == pytest.approx(np.linalg.norm(vector))
    assert thing.kind == "vector"
    assert read.things({"f": 0 * vector}, SIZE) == []
    assert read.things({"f": np.nan * vector}, SIZE) == []


def test_any_numbers_are_a_picture_and_no_more():
    graph = graph_of(f"{MAP} y = Conv(s, one)", "float[N, 1, 4, 6] y")
    read = reading(graph, Hints(coordinates(graph).size))
    assert (read.kind, read.of) == ("picture", "numbers")
    array = RNG.normal(size=(1, 1, 4, 6)).astype(np.float32)
    array[0, 0, 1, 5] = 9
    first, *_ = read.things({"y": array}, SIZE)
    assert array.ravel()[first.seed.of["y"].indices] == [9]
    np.testing.assert_allclose(first.points, [[6, 22, 9]])
    assert first.score is None
    assert first.words == "value"


def test_numbers_without_places_are_told_by_their_index():
    graph = graph_of(
        f"{POOLED} z = MatMul(f, D) o = Unsqueeze(z, last) y = Concat<axis=2>(o, o)", "float[N, 4, 2] y"
    )
    read = reading(graph, Hints(coordinates(graph).size))
    array = np.arange(8, dtype=np.float32).reshape(1, 4, 2)
    things = read.things({"y": array}, SIZE)
    assert [t.words for t in things[:2]] == ["y[3, 1]", "y[3, 0]"]
    with pytest.raises(BadRequest, match=r"no place in the picture: say element"):
        read.pixel({"y": array}, 1, 1)


@pytest.mark.parametrize(
    ("facts", "output", "first", "second"),
    [
        ({}, "depth", "greatest", "least"),
        ({"architectures": "DPTForDepthEstimation", "model_type": "dpt"}, "y", "nearest", "farthest"),
        ({"architectures": "GLPNForDepthEstimation", "model_type": "glpn"}, "y", "nearest", "farthest"),
    ],
)
def test_depths(facts, output, first, second):
    graph = graph_of(
        f"{MAP} c = Conv(s, one) q = Squeeze(c, first) {output} = Relu(q)",
        f"float[N, 4, 6] {output}",
        first=np.int64([1]),
    )
    read = reading(graph, Hints(coordinates(graph).size, facts=facts))
    assert read.of == "depth"
    array = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    near, far = read.things({output: array}, SIZE)
    assert near.words == first
    assert far.words == second
    place = 0 if facts.get("model_type") == "glpn" else 23
    assert near.seed.of[output].indices.tolist() == [place]
    assert (near.mask.min(), near.mask.max()) == (0, 1)


def test_points_are_where_their_planes_are_greatest():
    graph = graph_of(f"{MAP} heatmaps = Identity(s)", "float[N, 5, 4, 6] heatmaps")
    read = reading(graph, Hints(coordinates(graph).size, labels=["nose", *"abcd"]))
    array = RNG.normal(size=(1, 5, 4, 6)).astype(np.float32)
    things = read.things({"heatmaps": array}, SIZE)
    assert len(things) == 5
    for k, thing in enumerate(things):
        y, x = np.unravel_index(array[0, k].argmax(), (4, 6))
        np.testing.assert_allclose(thing.points[0], [4 * y + 2, 4 * x + 2, array[0, k].max()])
    assert things[0].words == "nose"


def test_a_pixel_is_one_number_or_the_mean_of_all_planes():
    graph = graph_of(f"{MAP} y = Identity(s)", "float[N, 5, 4, 6] y")
    read = found(picture.find, graph)
    array = RNG.normal(size=(1, 5, 4, 6)).astype(np.float32)
    one = read.pixel({"y": array}, 9.5, 3.5, 2).seed.of["y"]
    assert array.ravel()[one.indices] @ one.weights == pytest.approx(array[0, 2, 2, 0])
    every = read.pixel({"y": array}, 9.5, 3.5).seed.of["y"]
    assert array.ravel()[every.indices] @ every.weights == pytest.approx(array[0, :, 2, 0].mean(), rel=1e-5)
    with pytest.raises(BadRequest, match="no plane 7: 'y' has planes 0 to 4"):
        read.pixel({"y": array}, 9.5, 3.5, 7)


def test_every_kind_says_what_it_reads_and_why():
    graph = graph_of(f"{MAP} y = Identity(s)", "float[N, 5, 4, 6] y")
    assert list(READOUTS)[-1] == "picture"  # which fits everything
    read = reading(graph, Hints(coordinates(graph).size))
    assert (read.kind, read.outputs, read.parts) == ("picture", ("y",), ("y",))
    assert "no more is known" in read.why


@pytest.mark.parametrize("kind", ["regions:masks", "sequence:ctc", "picture:depths", "embedding:unit"])
def test_a_word_behind_the_colon_that_is_not_there(kind):
    graph = graph_of(f"{MAP} y = Identity(s)", "float[N, 5, 4, 6] y")
    said, word = kind.split(":")
    with pytest.raises(BadRequest, match=f"there is no {said} of the kind '{word}'"):
        reading(graph, Hints(coordinates(graph).size, kind=kind))
