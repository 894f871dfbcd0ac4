"""One network that can be followed with a pencil, from the pixels to the scores and back by every method.

    x 4x4  --conv 2x2-->  a 2x3x3  --max pool 2x2, stride 1-->  p 2x2x2  --ReLU-->  r  --dense-->  two scores

            x = 3 0 4 4     filter 0 = -1 -1    filter 1 =  0  0     bias = 0, -1
                2 1 5 0                 1  0               -1  1
                5 4 2 4
                5 5 4 4

    a0 = x below - x here - x right     a1 = x diagonal - x below - 1

      -1 -3 -3                            -2  3 -6
       2 -2 -3                            -2 -3  1
      -4 -1 -2                            -1 -2 -1

Each window of the pool hands its maximum on and keeps its place, the switch. In channel 0 the windows (0,0)
and (1,0) share theirs, in channel 1 the windows (0,0) and (0,1):

    p0 =  2 -2   from (1,0) (1,1)       p1 =  3  3   from (0,1) (0,1)
          2 -1        (1,0) (2,1)            -1  1        (2,0) (1,2)

    r0 =  2  0                          r1 =  3  3
          2  0                                0  1

    weights of class 0:  2  1 |  1  2          of class 1:  2  3 | -2 -1
                        -3 -2 |  2 -3                      -2 -2 | -2 -2

    score 0 = 4 - 6 + 3 + 6 - 3 = 4            score 1 = 4 - 4 - 6 - 3 - 2 = -11
"""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.perturbation import occlusion
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.runtime.network import Network

IMAGE = [[3, 0, 4, 4], [2, 1, 5, 0], [5, 4, 2, 4], [5, 5, 4, 4]]
CONV = [[[-1, -3, -3], [2, -2, -3], [-4, -1, -2]], [[-2, 3, -6], [-2, -3, 1], [-1, -2, -1]]]
POOL = [[[2, -2], [2, -1]], [[3, 3], [-1, 1]]]
RELU = [[[2, 0], [2, 0]], [[3, 3], [0, 1]]]
SCORES = [4, -11]
WEIGHTS = [[2, 1, -3, -2, 1, 2, 2, -3], [2, 3, -2, -2, -2, -1, -2, -2]]


@pytest.fixture(scope="module")
def network():
    model = parsed(
        """(float[N,1,4,4] x) => (float[N,2] s) {
            a = Conv (x, w, b)
            p = MaxPool <kernel_shape = [2,2]> (a)
            r = Relu (p)
            f = Flatten (r)
            s = MatMul (f, h)
        }""",
        w=np.array([[[[-1, -1], [1, 0]]], [[[0, 0], [-1, 1]]]], np.float32),
        b=np.array([0, -1], np.float32),
        h=np.array(WEIGHTS, np.float32).T,
    )
    return Network(model, provider="cpu", threads=1)


def feeds(*images):
    return {"x": np.array([[image] for image in images or (IMAGE,)], np.float32)}


def test_the_way_up(network):
    values = network.run(feeds(), ["a", "p", "r", "s"])
    for name, expected in (("a", CONV), ("p", POOL), ("r", RELU), ("s", SCORES)):
        np.testing.assert_array_equal(values[name][0], expected)


# The signal at r is the weights of the class; what of it a ReLU hands down to p is where the methods differ:
#
#                    gradient           guided             deconvnet
#                    where p > 0        both               where the signal > 0
#     class 0         2  0 |  1  2       2  0 |  1  2       2  1 |  1  2
#                    -3  0 |  0 -3       0  0 |  0  0       0  0 |  2  0
#
# The pool puts it on the switches of a, where signals of windows that share one are added:
#
#     gradient    a0(1,0) 2 - 3 = -1                 a1(0,1) 1 + 2 = 3   a1(1,2) -3
#     guided      a0(1,0) 2                          a1(0,1) 1 + 2 = 3
#     deconvnet   a0(1,0) 2      a0(1,1) 1           a1(0,1) 1 + 2 = 3   a1(2,0)  2
#
# Each lays its filter, times the signal, onto the image. Filter 0 at (1,0) is -1 at x(1,0) and x(1,1), and 1
# at x(2,0); filter 1 at (0,1) is -1 at x(1,1) and 1 at x(1,2); and so on. x(1,1) gets
#
#     gradient 1 - 3 = -2      guided -2 - 3 = -5      deconvnet -2 - 1 - 3 = -6
#
# The deconvnet starts from the score, 4, where the others start from 1.
CLASS_0 = {
    "saliency": [[0, 0, 0, 0], [1, -2, 3, 0], [-1, 0, 3, -3], [0, 0, 0, 0]],
    "guided": [[0, 0, 0, 0], [-2, -5, 3, 0], [2, 0, 0, 0], [0, 0, 0, 0]],
    "deconvnet": [[0, 0, 0, 0], [-8, -24, 8, 0], [8, 4, 0, 0], [-8, 8, 0, 0]],
    # gradient times image: 1·2, -2·1, 3·5; -1·5, 3·2, -3·4
    "input-x-gradient": [[0, 0, 0, 0], [2, -2, 15, 0], [-5, 0, 6, -12], [0, 0, 0, 0]],
}
# Class 1: at p the gradient is 2 0 | -2 -1 over -2 0 | 0 -2; the guided 2 0 over 0 0, the deconvnet's 2 3
# over 0 0, and nothing in channel 1. On the switches: a0(1,0) 2 - 2 = 0, a1(0,1) -3, a1(1,2) -2; guided
# a0(1,0) 2; deconvnet a0(1,0) 2 and a0(1,1) 3, times 11, the size of the score.
CLASS_1 = {
    "saliency": [[0, 0, 0, 0], [0, 3, -3, 0], [0, 0, 2, -2], [0, 0, 0, 0]],
    "guided": [[0, 0, 0, 0], [-2, -2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]],
    "deconvnet": [[0, 0, 0, 0], [-22, -55, -33, 0], [22, 33, 0, 0], [0, 0, 0, 0]],
}


@pytest.mark.parametrize("method", CLASS_0)
def test_the_way_back_from_the_first_class(network, method):
    (signal,) = Projector(network, method)(feeds())
    np.testing.assert_array_equal(signal.values, [CLASS_0[method]])
    assert (signal.target, signal.position, signal.score, signal.problem) == (0, (0, 0), 4, "")


@pytest.mark.parametrize("method", CLASS_1)
def test_the_way_back_from_the_second_class(network, method):
    (signal,) = Projector(network, method)(feeds(), 1)
    np.testing.assert_array_equal(signal.values, [CLASS_1[method]])
    assert (signal.target, signal.score) == (1, -11)


# From the map r instead. Of channel 1 the strongest is 3, at (0,0) and at (0,1): the first is taken, alone.
# It came from a1(0,1), so filter 1 lies at (0,1): once for the gradients, three times for the deconvnet.
# At (1,1) the value is 1, from a1(1,2). At (1,0) it is 0, and nothing comes back.
UNITS = [
    (1, None, (0, 0), 3, [[0, 0, 0, 0], [0, -1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
    (1, (1, 1), (1, 1), 1, [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, -1, 1], [0, 0, 0, 0]]),
    (1, (1, 0), (1, 0), 0, np.zeros((4, 4))),
    (0, (1, 0), (1, 0), 2, [[0, 0, 0, 0], [-1, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
]


@pytest.mark.parametrize(("channel", "position", "place", "value", "expected"), UNITS)
@pytest.mark.parametrize("method", ["saliency", "guided", "deconvnet"])
def test_the_way_back_from_one_unit_of_a_map(network, method, channel, position, place, value, expected):
    (signal,) = Projector(network, method, "r")(feeds(), channel, position)
    start = value if method == "deconvnet" else 1
    np.testing.assert_array_equal(signal.values[0], start * np.array(expected))
    assert (signal.target, signal.position, signal.score) == (channel, place, value)
    assert bool(signal.problem) == (value == 0)
    np.testing.assert_array_equal(signal.peaks, [2, 3])


def test_the_strongest_unit_of_a_map(network):
    (signal,) = Projector(network, "guided", "r")(feeds())
    assert (signal.target, signal.position) == (1, (0, 0))


# α0 = (2 + 1 - 3 - 2) / 4 = -1/2, α1 = (1 + 2 + 2 - 3) / 4 = 1/2; the map is
# α0 r0 + α1 r1 = -1 + 3/2, 3/2, -1, 1/2, of which the negative one is cut off.
def test_grad_cam(network):
    (found,) = Explainer(network, layer="r")(feeds(), 0)
    np.testing.assert_array_equal(found.map, [[0.5, 1.5], [0, 0.5]])


# A 2x2 patch of zeros at each corner. Each position's r is found as above; the first, for instance, is
#
#     x = 0 0 4 4     a0 =  0 -4 -3     a1 = -1  4 -6     r = 5 0 | 4 4     score 0 = 10 - 15 + 12 - 3 = 4
#         0 0 5 0           5 -1 -3          -2 -3  1         5 0 | 0 1     score 1 = 10 - 10 - 12 - 2 = -14
#         5 4 2 4          -4 -1 -2          -1 -2 -1
#         5 5 4 4
#
# and the others are 3 3 | 0 1   0 0 | 3 3   2 0 | 3 3
#                    3 3 | 0 1   0 0 | 3 3   2 1 | 0 0
def test_occlusion(network):
    places = occlusion.places((4, 4), (2, 2), (2, 2))
    image = feeds()["x"][0]
    (found,) = occlusion.answers(network, "r", occlusion.Hiding(image, np.zeros_like(image), places))
    np.testing.assert_array_equal(found.scores, [[4, -14], [-7, 0], [6, -21], [5, -11]])
    np.testing.assert_array_equal(found.totals, [[10, 9], [12, 2], [0, 12], [5, 6]])


def test_a_batch_is_as_many_images_alone(network):
    other = np.array(IMAGE)[::-1].tolist()
    projector = Projector(network, "deconvnet", "r")
    together = projector(feeds(IMAGE, other, IMAGE), [1, 0, 1], [(1, 1), (0, 0), (0, 1)])
    alone = [
        projector(feeds(i), k, p)[0]
        for i, k, p in ((IMAGE, 1, (1, 1)), (other, 0, (0, 0)), (IMAGE, 1, (0, 1)))
    ]
    for one, two in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.values, two.values)
        assert (one.target, one.position, one.score) == (two.target, two.position, two.score)
