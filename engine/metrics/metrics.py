"""The one table of metrics: reading its files fills it. Loads nothing that is heavy."""

from . import complexity, faithfulness, sanity, truth
from .metric import METRICS, Metric, metric_named

__all__ = ["METRICS", "Metric", "complexity", "faithfulness", "metric_named", "sanity", "truth"]
