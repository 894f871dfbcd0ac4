"""A model and what can be seen of it: the verbs of the command line, in Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.anatomy.maps import map_names
from ..engine.attribution.explainer import Explanation
from ..engine.dreams.dream import Priors
from ..engine.dreams.objective import quoted
from ..engine.errors import BadRequest
from .attribution.occlusion import occlusion
from .dreams.ascent import Ascent
from .dreams.dream import Dream, default_layer, dream
from .dreams.imagine import VARIATION, imagine
from .features.responses import Response, responses
from .features.top import Top, top
from .features.weights import Weights, weights
from .maps.attribution import Attribution
from .maps.occluded import Occlusion
from .maps.placement import Placement
from .maps.prediction import Prediction, ranked
from .network.vision_model import Target, VisionModel
from .photos.pillow import is_pillow, upright
from .photos.preprocess import Box
from .storage.album import photos as photos_of
from .storage.store import photo_at

# A path, an address, pixels (H, W, 3) uint8 RGB, or an image of Pillow's.
Photo = Any
Place = str | os.PathLike[str]  # a file, a folder with all below it, or a pattern


class Lens(VisionModel):
    """A model that takes photos, and what can be seen of it; each verb is a command of the command line too.

    A photo is a path, an address such as s3://bucket/cat.jpg, pixels (H, W, 3) uint8 RGB, or an image of
    Pillow's. A target is a class: its index, its label, or None for the predicted one.

    Parameters
    ----------
    model
        A path, a name of the zoo, or "scenes", the model of the package.
    preset
        How photos go in, where the file and what lies beside it do not say: a name of PRESETS, fields of a
        Preprocess with such a name under "preset", or a whole Preprocess.
    size
        Height and width of an input that leaves them open.
    layout
        "nchw" or "nhwc".
    labels
        Names of the classes, or a file of them.
    output
        Which output of the model holds the classes; read from the graph by default.
    readout
        Whether one of them is right ("classes"), each by itself ("labels") or none ("values"); read from the
        graph by default.
    provider
        As of a Network.
    threads
        As of a Network.
    progress
        Called with the bytes done and in all, where a model of the zoo has to be brought.

    Raises
    ------
    BadModel
        For a file that takes no photos.
    BadRequest
        With a question, where it cannot be known how photos go in.

    Examples
    --------
    >>> lens = onnxlens.Lens("scenes")
    >>> lens.predict("cat.jpg", top=1)[0].label
    'cat'
    >>> lens.gradcam("cat.jpg").map.shape
    (12, 12)
    """

    def predict(self, photo: Photo, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes of a photo, best first. As VisionModel.predict."""
        return super().predict(pixels(photo), top)

    def explain(
        self,
        photo: Photo,
        targets: Sequence[Target] = (None,),
        method: str = "gradcam",
        layer: str | Sequence[str] | None = None,
    ) -> list[Attribution]:
        """One map of a photo for each target: a class index, a label, None for the predicted class, or
        "top3" for the three most probable ones. For several layers, a map of each layer for each target.

        `photo` is (H, W, 3) uint8 RGB. Raises BadRequest for a class, method or layer that is not there, with
        the nearest names.
        """
        photo = pixels(photo)
        explainer = self.explainer(method, layer)
        feeds, box = self.feeds(photo)
        wished = [self.wish(t) for t in targets]
        count = len(explainer.layers)
        first = explainer(feeds)[:count]
        order = ranked(self.readout, first[0].output, self.labels)
        classes = [c for w in wished for c in ([p.index for p in order[:-w]] if w < 0 else [w])]
        found = {first[0].target: first}
        for index in dict.fromkeys(classes):
            if index not in found:
                found[index] = explainer(feeds, index)[:count]
        by_index = {p.index: p for p in order}
        return [
            self._heat_map(photo, box, explanation, by_index[c], order[:5], method)
            for c in dict.fromkeys(classes)
            for explanation in found[c]
        ]

    def gradcam(self, photo: Photo, target: Target = None, layer: str | None = None) -> Attribution:
        """Grad-CAM of a photo for one class.

        Raises BadRequest for a target that means several, as "top3" does.
        """
        if self.wish(target) < -1:
            raise BadRequest(
                f"gradcam is of one class and {target!r} is several: explain(photo, [{target!r}]) has all"
            )
        return self.explain(photo, [target], layer=layer)[0]

    def occlusion(self, photo: Photo, target: Target = None, **options: Any) -> Occlusion:
        """What hiding one place of a photo after another does to one class. As `onnxlens.occlusion`."""
        return occlusion(self, pixels(photo), target, **options)

    def responses(self, photo: Photo, layers: Sequence[str] | None = None) -> Iterator[Response]:
        """The feature maps of some layers for a photo. As `onnxlens.responses`."""
        return responses(self, pixels(photo), layers)

    activations = responses  # what the command line calls it

    def weights(self, layers: Sequence[str] | None = None) -> Iterator[Weights]:
        """The weights of some layers, in the colours of the photos. As `onnxlens.weights`."""
        return weights(self.network, layers, self.preprocess)

    def top(self, photos: Place | Iterable[Place], **options: Any) -> Top:
        """The photos that each channel answers to most. As `onnxlens.top`.

        `photos` are files, folders and patterns, one or several.
        """
        places = [photos] if isinstance(photos, str | os.PathLike) else photos
        return top(self, photos_of(places), **options)

    def dream(
        self,
        photo: Photo,
        objective: str | None = None,
        *,
        vectors: Mapping[str, np.ndarray] | None = None,
        priors: Priors | None = None,
        **settings: Any,
    ) -> Dream:
        """A photo with more of what an objective says, by default of what a layer sees in it.

        `vectors` and `priors` as of an Ascent, `settings` as of `onnxlens.dream`.
        """
        said = objective or f"layer({quoted(default_layer(self))})"
        return dream(Ascent(self, said, vectors, priors), pixels(photo), **settings)

    def imagine(
        self,
        objective: str,
        photo: Photo = None,
        *,
        vectors: Mapping[str, np.ndarray] | None = None,
        priors: Priors | None = None,
        **settings: Any,
    ) -> Dream:
        """A picture of what an objective says, made of noise or of a photo.

        `vectors` and `priors` as of an Ascent, `settings` as of `onnxlens.imagine`.
        """
        start = None if photo is None else pixels(photo)
        ascent = Ascent(self, objective, vectors, priors or Priors(VARIATION))
        return imagine(ascent, start, **settings)

    def layers(self) -> list[str]:
        """The names of the feature maps, in the order of the network."""
        return map_names(self.network.graph)

    @staticmethod
    def _heat_map(
        photo: np.ndarray,
        box: Box,
        explanation: Explanation,
        target: Prediction,
        predictions: list[Prediction],
        method: str,
    ) -> Attribution:
        return Attribution(
            photo=photo,
            values=explanation.map,
            place=Placement(box),
            at=explanation.layer,
            target=target,
            score=explanation.score,
            predictions=predictions,
            method=method,
            layer=explanation.layer,
            problem=explanation.problem,
        )


def pixels(photo: Photo) -> np.ndarray:
    """A photo as (H, W, 3) uint8 RGB; an array comes as it is."""
    if isinstance(photo, str | os.PathLike):
        return photo_at(os.fspath(photo))
    return upright(photo) if is_pillow(photo) else np.asarray(photo)
