"""Lines of text: which outputs are read so, which axis is time, and what they say."""

import numpy as np
import onnxruntime
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.maps import coordinates
from onnxlens.engine.anatomy.readouts import sequence
from onnxlens.engine.anatomy.readouts.thing import Hints
from onnxlens.engine.canonical.canonical import canonical

RNG = np.random.default_rng(0)
SIZE, STEPS, COUNT = (8, 40), 10, 7
BODY = "c = Conv<strides=[4, 4]>(x, w) q = Squeeze(c, two) t = Transpose<perm=[0, 2, 1]>(q)"
DENSE = "m = MatMul(t, D) z = Add(m, b)"
ALPHABET = {"facts": {"character": "a\nb\nc\nd\ne"}}


def network(body, outputs, batch="1"):
    weights = {
        "w": RNG.normal(size=(6, 3, 8, 4)),
        "two": np.int64([2]),
        "D": RNG.normal(size=(6, COUNT)),
        "b": RNG.normal(size=COUNT),
        "none": np.int64([1]),
    }
    return parsed(f"(float[{batch}, 3, 8, 40] x) => ({outputs}) {{ {BODY} {DENSE} {body} }}", **weights)


def read(proto, **hints):
    graph = canonical(proto)
    return sequence.find(graph, Hints(coordinates(graph).size, **hints))


def scored(text, alphabet, blank=0, low=-3.0):
    """Scores (T, C) of the characters of a text, one at each step; "." is the blank."""
    scores = np.full((len(text), COUNT), low, np.float32)
    for step, letter in enumerate(text):
        scores[step, blank if letter == "." else alphabet.index(letter)] = 5
    return scores


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("body", "outputs", "axes"),
    [
        ("y = Softmax(z)", "float[1, 10, 7] y", (0, 1, 2)),
        ("y = LogSoftmax(z)", "float[1, 10, 7] y", (0, 1, 2)),
        ("y = Identity(z)", "float[1, 10, 7] y", (0, 1, 2)),
        ("s = Softmax(z) y = Transpose<perm=[1, 0, 2]>(s)", "float[10, 1, 7] y", (1, 0, 2)),
        ("s = Transpose<perm=[1, 0, 2]>(z) y = LogSoftmax<axis=2>(s)", "float[10, 1, 7] y", (1, 0, 2)),
        ("y = Transpose<perm=[1, 0, 2]>(z)", "float[10, 1, 7] y", (1, 0, 2)),
        ("s = Transpose<perm=[0, 2, 1]>(z) y = Softmax<axis=1>(s)", "float[1, 7, 10] y", (0, 2, 1)),
        ("s = Softmax(z) o = Constant<value_ints=[0]>() y = Squeeze(s, o)", "float[10, 7] y", (None, 0, 1)),
    ],
)
def test_which_axis_is_time(body, outputs, axes):
    found = read(network(body, outputs))
    assert (found.answer.batch, found.answer.steps, found.answer.classes) == axes


def test_of_many_images_the_batch_is_told_from_time():
    body, outputs = "s = Transpose<perm=[1, 0, 2]>(z) y = Softmax(s)", "float[10, N, 7] y"
    found = read(network(body, outputs, batch="N"))
    assert (found.answer.batch, found.answer.steps, found.answer.classes) == (1, 0, 2)
    values = {name: np.stack([scored("ab", "xabcdef"), scored("cd", "xabcdef")], 1) for name in ("y", "s")}
    assert [t.words for t in found.things(values, SIZE)] == ["1 2", "1", "2"]


def test_time_and_characters_of_one_size_are_told_apart():
    weights = {"w": RNG.normal(size=(6, 3, 8, 4)), "two": np.int64([2]), "D": RNG.normal(size=(6, 10))}
    for body, steps in (
        ("y = Softmax(z)", 1),
        ("s = Transpose<perm=[0, 2, 1]>(z) y = Softmax<axis=1>(s)", 2),
    ):
        text = f"(float[1, 3, 8, 40] x) => (float[1, 10, 10] y) {{ {BODY} z = MatMul(t, D) {body} }}"
        assert read(parsed(text, **weights)).answer.steps == steps
    text = (
        f"(float[1, 3, 8, 40] x) => (float[1, 10, 10] y) {{ {BODY} z = MatMul(t, D) y = Softmax<axis=1>(z) }}"
    )
    assert read(parsed(text, **weights), **ALPHABET) is None  # a Softmax over time makes no characters


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("y = Relu(t)", "float[1, 10, 6] y"),  # features
        ("y = Identity(c)", "float[1, 6, 1, 10] y"),
        ("embedding = Identity(z)", "float[1, 10, 7] embedding"),
        ("n = ReduceMean<keepdims=0>(z, none) y = Softmax(n)", "float[1, 7] y"),  # a classifier
        ("y = Sigmoid(z)", "float[1, 10, 7] y"),
    ],
)
def test_what_has_no_characters_is_no_text(body, outputs):
    assert read(network(body, outputs)) is None


def test_tokens_of_an_embedder_are_no_text():
    text = """(float[1, 3, 16, 24] x) => (float[1, 24, 7] y) {
        c = Conv<strides=[4, 4]>(x, w) f = Reshape(c, flat)
        t = Transpose<perm=[0, 2, 1]>(f) y = MatMul(t, D) }"""
    weights = {"w": RNG.normal(size=(6, 3, 4, 4)), "flat": np.int64([1, 6, 24]), "D": RNG.normal(size=(6, 7))}
    assert read(parsed(text, **weights)) is None
    assert read(parsed(text, **weights), kind="sequence") is None


@pytest.mark.parametrize(
    ("hints", "blank", "alphabet", "steps", "expected"),
    [
        ({"facts": {"character": "a\nb\nc\nd\ne"}}, 0, ".abcde ", "aa.abb.e e", "aabe e"),
        ({"facts": {"character": "a\nb\nc\nd\ne\nf"}}, 0, ".abcdef", ".aab.bf", "abbf"),
        ({"facts": {"character": "a\nb\nc\nd\ne\nf\n"}}, 0, ".abcdef", ".aab.bf", "abbf"),
        ({"labels": list("abcdef"), "kind": "sequence:last"}, 6, "abcdef.", "aa.abf", "aabf"),
        ({"labels": ["blank", *"abcde", "space"]}, 0, ".abcde ", "ab..b c", "abb c"),
        ({"labels": [*"abcdef", "[blank]"]}, 6, "abcdef.", "ab..b.c", "abbc"),
        ({"labels": [*"-abcdef"]}, 0, "-abcdef", "ab-bbc", "abbc"),
        ({"labels": [*"abcdefg"], "kind": "sequence:steps"}, None, "abcdefg", "aabbg", "aabbg"),
        ({"labels": ["[s]", *"abcdef"], "kind": "sequence:steps"}, None, ".abcdef", "aab.ff", "aab"),
        ({"facts": {"character": "\u3000\n<\n[\nd\ne"}}, 0, ".\u3000<[de ", "\u3000<[.[ d", "\u3000<[[ d"),
        ({"facts": {"character": "\x1b\nb\r\nc\nd\ne"}}, 0, ".\ufffdbcde ", "\ufffd.b", "\ufffdb"),
        ({}, 0, ".123456", "1.223", "1 2 3"),
        ({"facts": {"character": "a\nb\nc"}}, 0, ".123456", "1.223", "1 2 3"),  # as many as fit nothing
        ({"facts": {"character": "<html>\n" * 40}}, 0, ".123456", "4.4", "4 4"),
    ],
)
def test_what_is_read(hints, blank, alphabet, steps, expected):
    found = read(network("y = Softmax(z)", "float[1, 10, 7] y"), **hints)
    scores = scored(steps, alphabet, blank or 0)[None]
    text, *characters = found.things({"y": softmax(scores), "z": scores}, SIZE)
    assert (text.kind, text.words) == ("text", expected)
    assert (" " if " 2" in expected or " 4" in expected else "").join(c.words for c in characters) == expected
    assert found.blank == blank


def test_a_character_is_the_mean_of_its_scores_over_its_steps():
    found = read(network("y = Softmax(z)", "float[1, 10, 7] y"), **ALPHABET)
    scores = RNG.normal(size=(1, 10, 7)).astype(np.float32)
    scores[0, [1, 5], 3] = -20
    scores[0, 2:5, 3] += 20  # a "c" of three steps
    text, *characters = found.things({"y": softmax(scores), "z": scores}, SIZE)
    c = next(t for t in characters if t.words == "c")
    (weights,) = c.seed.of.values()
    assert c.seed.of.keys() == {"z"}
    assert scores.ravel()[weights.indices] @ weights.weights == pytest.approx(scores[0, 2:5, 3].mean())
    assert c.score == pytest.approx(softmax(scores)[0, 2, 3])
    assert c.box == (0, 8, 8, 20)  # three steps of four columns
    total = sum(scores.ravel()[t.seed.of["z"].indices] @ t.seed.of["z"].weights for t in characters)
    assert scores.ravel()[text.seed.of["z"].indices] @ text.seed.of["z"].weights == pytest.approx(total)
    assert text.score == pytest.approx(np.mean([t.score for t in characters]))


def test_with_time_first_the_seed_lies_on_the_same_numbers():
    body = "p = Softmax(z) y = Transpose<perm=[1, 0, 2]>(p)"
    proto = network(body, "float[10, 1, 7] y")
    found = read(proto, **ALPHABET)
    assert found.parts == ("z",)
    proto.graph.output.add(name="z")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    y, z = session.run(["y", "z"], {"x": RNG.normal(size=(1, 3, *SIZE)).astype(np.float32)})
    for thing in found.things({"y": y, "z": z}, SIZE)[1:]:
        (weights,) = thing.seed.of.values()
        best = z[0].argmax(1)
        for i in weights.indices:
            assert best[i // 7] == i % 7


def test_where_nothing_is_read_there_is_nothing():
    found = read(network("y = Softmax(z)", "float[1, 10, 7] y"), **ALPHABET)
    scores = scored("......", ".abcde ")[None]
    assert found.things({"y": softmax(scores), "z": scores}, SIZE) == []


def test_indices_of_characters_are_read_where_the_alphabet_is_known():
    proto = network("y = ArgMax<axis=2, keepdims=0>(z)", "int64[1, 10] y")
    assert read(proto) is None
    found = read(proto, **ALPHABET)
    assert (found.outputs, found.parts) == (("y",), ("z",))


def test_outputs_that_are_numbered_are_a_text():
    nodes = " ".join(f"s{i} = MatMul(n, D{i}) digit_{i} = Softmax(s{i})" for i in range(4))
    outputs = ", ".join(f"float[1, 10] digit_{i}" for i in range(4))
    text = (
        f"(float[1, 3, 8, 40] x) => ({outputs}) {{ c = Conv<strides=[4, 4]>(x, w) n = Flatten(c) {nodes} }}"
    )
    weights = {f"D{i}": RNG.normal(size=(60, 10)) for i in range(4)} | {"w": RNG.normal(size=(6, 3, 8, 4))}
    found = read(parsed(text, **weights))
    assert found.outputs == tuple(f"digit_{i}" for i in range(4))
    values = {f"digit_{i}": np.eye(10, dtype=np.float32)[[d]] for i, d in enumerate((7, 0, 0, 2))}
    values |= {f"s{i}": values[f"digit_{i}"] for i in range(4)}
    text, *digits = found.things(values, SIZE)
    assert text.words == "7002"
    assert [d.words for d in digits] == ["7", "0", "0", "2"]
    assert digits[1].seed.of["s1"].indices.tolist() == [0]


def test_heads_of_several_things_are_no_text():
    names = ("age", "mood", "hat")
    nodes = " ".join(f"s{n} = MatMul(f, D{n}) {n} = Softmax(s{n})" for n in names)
    outputs = ", ".join(f"float[1, 10] {n}" for n in names)
    text = (
        f"(float[1, 3, 8, 40] x) => ({outputs}) {{ c = Conv<strides=[4, 4]>(x, w) f = Flatten(c) {nodes} }}"
    )
    weights = {f"D{n}": RNG.normal(size=(60, 10)) for n in names} | {"w": RNG.normal(size=(6, 3, 8, 4))}
    assert read(parsed(text, **weights)) is None


@pytest.mark.reference
def test_texts_are_those_of_paddleocrs_own_decoder():
    """Random scores, as RapidOCR decodes them: pip install rapidocr-onnxruntime."""
    decoders = pytest.importorskip("rapidocr_onnxruntime.ch_ppocr_rec.utils")
    decode = decoders.CTCLabelDecode(character=list("abcde"))  # a blank in front, a space behind
    found = read(network("y = Softmax(z)", "float[1, 10, 7] y"), **ALPHABET)
    rng = np.random.default_rng(0)
    for _ in range(500):
        scores = rng.normal(size=(1, 10, 7)).astype(np.float32)
        scores[..., 0] += rng.uniform(-1, 2)
        ((expected, score),) = decode(softmax(scores))
        things = found.things({"y": softmax(scores), "z": scores}, SIZE)
        assert (things[0].words if things else "") == expected
        assert not things or things[0].score == pytest.approx(score, rel=1e-5)
