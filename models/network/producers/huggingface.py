"""Hugging Face's preprocessor_config.json and config.json, as transformers reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ....engine.anatomy.readouts.embedding import is_headless
from ..labels import to_labels
from . import timm
from .processors import SPECIAL, Config, Facts, plain, table


def facts(config: Any, model: Any = None) -> Facts:
    """The preprocessing that a preprocessor_config.json describes.

    `model` is the config.json beside it, whose `model_type` tells the class where the file does not. Raises
    ValueError where that is no class of ours, or does not end in one fixed size: detection's longest edges,
    patches, margins that depend on the photo.
    """
    if not isinstance(config, Mapping):
        raise ValueError("it is no object")
    name = _class(config, model)
    if name is None:
        return _unnamed(config)
    if name == "TimmWrapper" and (found := timm.facts(config) or timm.facts(model)):
        return found
    if name not in table()["classes"]:
        raise ValueError(f"onnxlens does not know how {name:.80}ImageProcessor makes pictures")
    said = {key: value for key, value in config.items() if value is not None}
    return SPECIAL.get(name, plain)(table()["classes"][name] | said)


def nested_facts(config: Any, model: Any = None) -> Facts | None:
    """The same of a processor_config.json, in which newer files have it; None where it has none."""
    nested = config.get("image_processor") if isinstance(config, Mapping) else None
    return facts(nested, model) if isinstance(nested, Mapping) else None


def labels(config: Any) -> list[str] | None:
    """The labels in a config.json; None where it has none, or only LABEL_0, LABEL_1, ..."""
    names = config.get("id2label") if isinstance(config, Mapping) else None
    if not names:
        return None
    found = to_labels(names)
    return None if all(re.fullmatch(r"LABEL_\d+", label) for label in found) else found


def readout(config: Any) -> str | None:
    """What a config.json says of the answers, one of readouts.KINDS; None where it says nothing.

    That is its problem_type, or a regression where there is one label only, as transformers takes it; and
    values where the architecture ends without a head.
    """
    if not isinstance(config, Mapping):
        return None
    names = config.get("id2label")
    alone = "regression" if isinstance(names, Mapping) and len(names) == 1 else None
    kinds = {"single_label": "classes", "multi_label": "labels", "regression": "values"}
    said = str(config.get("problem_type") or alone).removesuffix("_classification")
    return kinds.get(said) or ("values" if is_headless(words(config)) else None)


def words(config: Any) -> dict[str, str]:
    """What a config.json says in one word or number, and the first of its architectures."""
    if not isinstance(config, Mapping):
        return {}
    named = config.get("architectures")
    first = {"architectures": named[0]} if isinstance(named, list) and named else {}
    plain = {**config, **first}
    return {key: str(value) for key, value in plain.items() if isinstance(value, str | int | float)}


def _class(config: Config, model: Any) -> str | None:
    """The name of the class without its endings, old or new; None where nothing tells it."""
    kind = config.get("image_processor_type") or config.get("feature_extractor_type")
    if isinstance(kind, str):
        return re.sub(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", kind)
    kind = model.get("model_type") if isinstance(model, Mapping) else None
    return table()["models"].get(kind) if isinstance(kind, str) else None


def _unnamed(config: Config) -> Facts:
    """What a file without a class says, as all that know no more than these keys would read it."""
    special = ("include_top", "rescale_offset", "do_flip_channel_order", "resize_short", "do_thumbnail")
    special += ("crop_pct", "do_pad", "do_align_long_axis", "keep_aspect_ratio", "background_color")
    for key in special:
        if config.get(key):
            raise ValueError(f"it does not say its image_processor_type, which decides what {key} means")
    usual = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "resample": 2}
    usual |= {"do_normalize": "image_mean" in config, "is_square": not config.get("do_center_crop")}
    return plain(usual | dict(config))
