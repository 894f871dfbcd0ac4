"""A model and what can be seen of it: the verbs of the command line, in Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.anatomy.maps import map_names
from ..engine.attribution.compiled import Compiled, Progress
from ..engine.attribution.methods import METHODS
from ..engine.errors import BadRequest
from .attribution.attribute import Attributor, attribute
from .attribution.occlusion import occlusion
from .features.responses import Response, responses
from .features.weights import Weights, weights
from .maps.attribution import Attribution
from .maps.convention import FIELDS
from .maps.found import Found
from .maps.occluded import Occlusion
from .maps.prediction import Prediction
from .network.vision_model import Target, VisionModel
from .storage.album import photos as photos_of
from .storage.store import Photo, pixels

if TYPE_CHECKING:  # what takes a while to load comes with the verb that needs it
    from ..engine.dreams.dream import Priors
    from .dreams.dream import Dream
    from .features.top import Top

Source = str | os.PathLike[str]  # a file, a folder with all below it, or a pattern


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
    inputs
        What the model takes beside the picture, by the names of its inputs: arrays, numbers, or as text
        numbers such as "1,2,3", a .npy file or a photo.
    second
        A second picture, for the other input of a model that compares two.
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

    def things(self, photo: Photo) -> list[Found]:
        """What the model finds in a photo, best first: boxes, regions, text, a vector, numbers, or classes.

        Parameters
        ----------
        photo
            As said above.

        Returns
        -------
        list of Found
            Each with what it is, its score and its place in the photo.

        Raises
        ------
        NoMap
            Where the answer is not a number.
        BadRequest
            Where several outputs may be meant, or none can be read.

        Examples
        --------
        >>> [found.label for found in onnxlens.Lens("scenes").things("cat.jpg")[:2]]
        ['cat', 'heart']
        """
        return super().things(pixels(photo))

    def draw(self, photo: Photo) -> np.ndarray:
        """A photo with what the model finds in it: boxes with names and scores, regions with a legend.

        Parameters
        ----------
        photo
            As said above.

        Returns
        -------
        ndarray
            (h, w, 3) uint8; a small photo is enlarged, so that the names can be read.

        Raises
        ------
        NoMap
            Where the answer is not a number.
        BadRequest
            As `things`.

        Examples
        --------
        >>> onnxlens.Lens("scenes").draw("cat.jpg").shape  # classes have no place in the photo
        (576, 576, 3)
        """
        from .maps.drawn import drawn

        shown = pixels(photo)
        return drawn(shown, super().things(shown))

    def vector(self, photo: Photo) -> np.ndarray:
        """The vector that an embedder answers to a photo, (D,) float32.

        Parameters
        ----------
        photo
            As said above.

        Returns
        -------
        ndarray
            As the model gives it; of length 1 where the model makes it so.

        Raises
        ------
        NoMap
            Where the answer is not a number.
        BadRequest
            Where the model answers no vector.

        Examples
        --------
        >>> lens = onnxlens.Lens("scenes", readout="embedding")
        >>> lens.vector("cat.jpg").shape
        (12,)
        """
        return super().vector(pixels(photo))

    def attribute(
        self,
        photo: Photo,
        method: str | None = None,
        targets: Sequence[Target] = (None,),
        *,
        layer: str | Sequence[str] | None = None,
        channels: Sequence[int] = (),
        position: tuple[int, int] | None = None,
        top: int | None = None,
        convention: str = FIELDS,
        fuse: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> list[Attribution]:
        """What of a photo an answer goes back to, by any method: an Attribution of each target.

        Parameters
        ----------
        photo
            As said above.
        method
            A name of docs/methods.md; by default gradcam, or of what lies at a place (boxes, regions, text),
            and where a class token asks the patches, layercam; of text behind recurrent layers hirescam.
        targets
            Classes; "top3" is the three most probable ones.
        layer
            What the method looks at, or for a method that goes back to the pixels where it begins: at
            channels of this layer instead of at classes. For maps that lie on layers, one or several.
        channels
            Of the layer, by default the `top` ones of the greatest values in the photo.
        position
            Row and column in the layer, by default where each channel is strongest.
        top
            How many channels, where none are said.
        convention
            How the map of a layer lies on the photo: "fields", each value in the middle of what it sees, or
            "cells", stretched over all that the model sees, as most other tools do.
        fuse
            "mean" or "max" of the maps of several layers, each scaled to its greatest value, as one map on
            the grid of the finest; by default each layer has its own.
        progress
            Called with how much is done, and of how much, by methods that take long.
        **options
            The method's own.

        Returns
        -------
        list of Attribution
            For each target, of each layer, unless they are fused.

        Raises
        ------
        BadRequest
            For a method, class, layer or option that is not there, with the nearest names.

        Examples
        --------
        >>> lens = onnxlens.Lens("scenes")
        >>> [found] = lens.attribute("cat.jpg", "integrated", ["cat"], steps=20)
        >>> found.target.label, found.values.shape
        ('cat', (96, 96, 3))
        """
        said = {"layer": layer, "channels": channels, "position": position, "top": top}
        said |= {"convention": convention, "fuse": fuse, "progress": progress}
        return attribute(self, pixels(photo), method, targets, **said, **options)

    def explain(
        self,
        photo: Photo,
        targets: Sequence[Target] = (None,),
        method: str | None = None,
        layer: str | Sequence[str] | None = None,
        **options: Any,
    ) -> list[Attribution]:
        """`attribute` by its name on the command line, with the targets first."""
        return self.attribute(photo, method, targets, layer=layer, **options)

    def explainer(self, method: str = "gradcam", layer: str | Sequence[str] | None = None) -> Compiled:
        """A method compiled for a layer, or for several; made once.

        Of a model that answers otherwise than with classes, the graph takes `seeds` (1, M, 1) beside the
        picture: what each of the M numbers of the answer counts, as `Found.thing.seed.dense` gives it.
        """
        return Attributor(self, method, layer=layer).compiled

    def gradcam(
        self, photo: Photo, target: Target = None, layer: str | None = None, **options: Any
    ) -> Attribution:
        """Where the feature maps of a layer speak for one class; all else as of `attribute`.

        Examples
        --------
        >>> heat = onnxlens.Lens("scenes").gradcam("cat.jpg", "cat", layer="relu4")
        >>> heat.name, heat.map.shape, heat.overlay().shape
        ('cat', (12, 12), (288, 288, 3))
        """
        return self._one("gradcam", photo, target, layer, options)

    def saliency(
        self, photo: Photo, target: Target = None, layer: str | None = None, **options: Any
    ) -> Attribution:
        """How much each pixel changes one class, or the strongest channel of a layer; as `attribute`.

        Examples
        --------
        >>> onnxlens.Lens("scenes").saliency("cat.jpg").signal.shape
        (96, 96, 3)
        """
        return self._one("saliency", photo, target, layer, options)

    def guided(
        self, photo: Photo, target: Target = None, layer: str | None = None, **options: Any
    ) -> Attribution:
        """Guided backpropagation from one class, or the strongest channel of a layer; as `attribute`."""
        return self._one("guided", photo, target, layer, options)

    def deconvnet(
        self, photo: Photo, target: Target = None, layer: str | None = None, **options: Any
    ) -> Attribution:
        """The deconvnet from one class, or the strongest channel of a layer, by default of the last feature
        map; as `attribute`.
        """
        from .features.top import looked_at

        layer = looked_at(self) if target is None and layer is None else layer
        return self._one("deconvnet", photo, target, layer, options)

    def _one(
        self, method: str, photo: Photo, target: Target, layer: str | None, options: dict[str, Any]
    ) -> Attribution:
        """What a method finds for one class or unit. Raises BadRequest for a target that is several."""
        if target is not None and self.wish(target) < -1:
            raise BadRequest(
                f"{method} is of one class, and {target!r} is several: "
                f"say attribute(photo, {method!r}, [{target!r}])"
            )
        if METHODS[method].units and layer is not None and not options.get("channels"):
            options = {"top": 1, **options}
        return self.attribute(photo, method, [target], layer=layer, **options)[0]

    def occlusion(self, photo: Photo, target: Target = None, **options: Any) -> Occlusion:
        """What hiding one place of a photo after another does to one class. As `onnxlens.occlusion`.

        Examples
        --------
        >>> onnxlens.Lens("scenes").occlusion("cat.jpg", patch=24).scores.shape
        (7, 7)
        """
        return occlusion(self, pixels(photo), target, **options)

    def responses(
        self, photo: Photo, layers: Sequence[str] | None = None, convention: str = FIELDS
    ) -> Iterator[Response]:
        """The feature maps of some layers for a photo. As `onnxlens.responses`.

        Examples
        --------
        >>> [found.layer for found in onnxlens.Lens("scenes").responses("cat.jpg")]
        ['relu1', 'relu2', 'relu3', 'relu4', 'relu5']
        """
        return responses(self, pixels(photo), layers, convention)

    activations = responses  # what the command line calls it

    def weights(self, layers: Sequence[str] | None = None) -> Iterator[Weights]:
        """The weights of some layers, in the colours of the photos. As `onnxlens.weights`.

        Examples
        --------
        >>> next(onnxlens.Lens("scenes").weights()).layer
        'conv1'
        """
        return weights(self.network, layers, self.preprocess)

    def top(self, photos: Source | Iterable[Source], **options: Any) -> Top:
        """The photos that each channel answers to most. As `onnxlens.top`.

        `photos` are files, folders and patterns, one or several.

        Examples
        --------
        >>> found = onnxlens.Lens("scenes").top("photos", channels=[24], k=1)
        >>> [hit.channel for hit in found]
        [24]
        """
        from .features.top import top

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

        Examples
        --------
        >>> made = onnxlens.Lens("scenes").dream("cat.jpg", "channel(relu4, 12)", octaves=1, iterations=1)
        >>> made.objective, made.pictures.shape
        ('channel(relu4, 12)', (1, 288, 288, 3))
        """
        from ..engine.sums import quoted
        from .dreams.ascent import Ascent
        from .dreams.dream import default_layer, dream

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

        Examples
        --------
        >>> onnxlens.Lens("scenes").imagine("odds(cat)", iterations=2).pictures.shape
        (1, 96, 96, 3)
        """
        from ..engine.dreams.dream import Priors
        from .dreams.ascent import Ascent
        from .dreams.imagine import VARIATION, imagine

        start = None if photo is None else pixels(photo)
        ascent = Ascent(self, objective, vectors, priors or Priors(VARIATION))
        return imagine(ascent, start, **settings)

    def layers(self) -> list[str]:
        """The names of the feature maps, in the order of the network.

        Examples
        --------
        >>> onnxlens.Lens("scenes").layers()[:3]
        ['conv1', 'relu1', 'pool1']
        """
        return map_names(self.network.graph)
