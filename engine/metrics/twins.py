"""Models that know nothing: the same graph with the weights of its layers shuffled."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, numpy_helper

from ..graph.graph import Graph, Tensor
from ..operators.traits import traits_of
from ..runtime.network import Network

STAGES = (0.0, 0.5, 1.0)  # the share of the layers that are random, from the answer on; at least the last one
SEED = 0


def randomised(network: Network, share: float) -> Network:
    """A network of which the last layers have random weights, a `share` of all and at least one.

    Adebayo et al. 2018, section 3.1, cascading randomisation. The numbers of a kernel are shuffled, so that
    each keeps its type and its spread; biases and norms stay.
    """
    graph = network.graph.copy()
    kernels = list(dict.fromkeys(k for node in graph.nodes if (k := _kernel(graph, node)) is not None))
    rng = np.random.default_rng(SEED)
    for name in kernels[::-1][: max(1, round(share * len(kernels)))]:
        array = Tensor(graph, name).array
        assert array is not None
        graph.constants[name] = numpy_helper.from_array(
            rng.permutation(array.ravel()).reshape(array.shape), name
        )
    return network.over(graph)


def _kernel(graph: Graph, node: NodeProto) -> str | None:
    """The constant that a layer's kernel is, or is made of; None where there is none."""
    slots = traits_of(node).weights
    name = node.input[slots.kernel] if slots is not None and len(node.input) > slots.kernel else ""
    while name and name not in graph.constants:
        maker = graph.producer(name)  # of its scale and zero point, or turned around: never of a value
        alone = maker is not None and maker.input and all(i in graph.constants for i in maker.input[1:] if i)
        name = maker.input[0] if maker is not None and alone else ""
    known = Tensor(graph, name).array if name else None
    return name if known is not None and known.ndim > 1 else None
