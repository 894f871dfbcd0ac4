"""Rewrites by operator: each takes the new graph and a node, and appends what is faster in its place.

A rewrite returns the tensors that stand for the node's outputs, or None where it does not apply. Each is
here because it pays (`python tests/bench/gradient.py`), and is tested against the graph before it.
"""

import numpy as np

from ..rewritten import Rewrite
from .constants import arithmetic, constant
from .gates import gate
from .linear import convolution, parts, total
from .means import mean, weighed
from .pools import max_pool, pieces
from .spots import row

# What is made of which operator is the rewrites' own business, and no fact about it.
REWRITES: dict[str, Rewrite] = {
    "ConvTranspose": convolution,
    "Where": gate,
    "Sum": total,
    "Split": lambda graph, node: pieces(graph, node) or parts(graph, node),
    "Reshape": lambda graph, node: constant(graph, node) or max_pool(graph, node),
    "Gemm": row,
    "MatMul": row,
    "ReduceMean": mean,
    "ReduceSum": weighed,
    "Add": arithmetic(np.add),
    "Div": arithmetic(np.divide),
    "Mul": arithmetic(np.multiply),
    "Sqrt": arithmetic(np.sqrt),
}
