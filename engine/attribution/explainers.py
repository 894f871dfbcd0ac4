"""Explainers as tensor expressions: each appends itself to a graph, and so is an ONNX model too.

An explainer is called with the scores (N, C), the class of each image (N,) and some layers, and returns for
each layer one map per image (N, h, w). To add one, add a line to the table.
"""

from collections.abc import Callable, Sequence

from ..graph.graph import Tensor
from .gradcam import gradcam

EXPLAINERS: dict[str, Callable[[Tensor, Tensor, Sequence[Tensor]], list[Tensor]]] = {"gradcam": gradcam}
