"""The one table of methods: reading the families fills it. Loads nothing that is heavy."""

from . import backward, cam, path
from .method import METHODS, Method, method_named, options_given, options_of
from .perturbation import methods as perturbation
from .perturbation.sampled import methods as sampled
from .scored import methods as scored
from .transformers import methods as transformers

__all__ = [
    "METHODS",
    "Method",
    "backward",
    "cam",
    "method_named",
    "options_given",
    "options_of",
    "path",
    "perturbation",
    "sampled",
    "scored",
    "transformers",
]
