"""A layer of an image, and what a network answers where it is changed: only what follows it is computed."""

from __future__ import annotations

import numpy as np

from ...anatomy.maps import view_of
from ...errors import BadRequest
from ..perturbation.answerer import answerer_of, in_batches
from ..perturbation.asked import Asked


class Behind:
    """The layer that maps of `asked` are to lie on; `maps` (K, h, w) float32 are its values.

    Raises BadRequest for a layer that cannot be changed, or whose first axis does not count the images.
    """

    def __init__(self, asked: Asked):
        network, layer, images = asked.network, asked.at, asked.network.graph.pictured[0]
        self._asked, self._answerer = asked, answerer_of(network, None, layer)
        copies, view = answerer_of(network, None).fixed or 1, view_of(network.graph, layer)
        value = network.run({images: np.repeat(asked.image[None], copies, 0)}, [layer])[layer]
        if len(value) != copies:
            raise BadRequest(f"the first axis of layer {layer!r} does not count the images: name another one")
        self._value, self.maps = value[0], view.of_array(value[:1])[0]
        self._places = view.of_array(np.arange(self._value.size).reshape(value[:1].shape))[0]
        self._in_order = self._places.shape == self._value.shape and bool(
            (np.diff(self._places.ravel()) == 1).all()
        )
        self._beside = {images: asked.image} if images in self._answerer.graph.inputs else {}

    def __call__(self, factors: np.ndarray, raw: bool = False) -> np.ndarray:
        """What the network says of the classes, (n, T), with the maps times factors (n, K, h, w), of whose
        sizes any but n may be 1.

        What is no part of a map, as a class token, stays as it is. `raw`: the scores before a softmax.
        """

        def write(some: np.ndarray, out: np.ndarray) -> None:
            changed = self.maps * factors[some]
            if self._in_order:
                np.copyto(out, changed)
            else:
                out.reshape(len(out), -1)[:, self._places.ravel()] = changed.reshape(len(out), -1)

        ask = in_batches(self._asked.network, self._answerer, self._value, write, self._beside)
        found = ask(np.arange(len(factors)))
        return np.concatenate([self._asked.of_classes(answer, raw) for answer in found])
