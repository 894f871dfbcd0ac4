"""Any method on photos: from a lens and a method's name to what it finds in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from ...engine.anatomy.layers import asks_patches, earlier_features
from ...engine.anatomy.readouts.classes import KINDS
from ...engine.attribution.compile import compiled
from ...engine.attribution.compiled import Compiled, Explanation, Intake, Progress, are_several
from ...engine.attribution.methods import METHODS, Method, method_named, options_given, options_of
from ...engine.attribution.projector import CHANNELS, Projector
from ...engine.errors import BadRequest, NoRule
from ...engine.operators.traits import traits_of
from ...engine.targets.targets import are_alike, check_classes, elements, is_sum
from ..maps.attribution import Attribution, Unit
from ..maps.convention import CELLS, FIELDS, check_convention
from ..maps.found import Found
from ..maps.levels import FUSIONS, fused
from ..maps.prediction import Prediction, prediction, ranked
from ..network.vision_model import Target, VisionModel
from ..photos.fill import fill_named, filler
from ..photos.preprocess import Box, Preprocess, coloured

if TYPE_CHECKING:
    from .aimed import Aimed, Explained

PREDICTIONS = 5  # of the most probable classes, with each map
_T = TypeVar("_T")
KEPT = 8  # compiled methods of a lens; each holds its own copy of the prepared weights


def attribute(
    lens: VisionModel,
    photo: np.ndarray,
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
    """What a method finds in a photo (H, W, 3) uint8 RGB, for each target and each layer.

    All but the photo and `progress`, which is called with how much is done and of how much, is as in
    Attributor, and so is what it raises.
    """
    units = {"channels": channels, "position": position, "top": top}
    made = Attributor(
        lens, method, targets, layer=layer, convention=convention, fuse=fuse, **units, **options
    )
    return made.of_photo(photo, progress)


def default_method(lens: VisionModel) -> str:
    """Grad-CAM for what is said of the whole photo; LayerCAM for what lies at a place of it, and where a
    class token has asked the patches; HiResCAM for text behind recurrent layers.

    Grad-CAM weighs each feature map as a whole, so that its map of one box shows all that looks like what is
    in it. LayerCAM keeps the gradient where it is, in fine layers as in coarse ones (Jiang et al. 2021).
    Through recurrent layers each character has a gradient at every step; of those at the ends, where the
    states begin, what speaks for it and what speaks against it are large and cancel out, and LayerCAM would
    count the one without the other. HiResCAM counts both.
    """
    read, graph = lens.reading, lens.network.graph
    if read.kind == "sequence":
        recurs = any(traits_of(n).recurs for n in graph.ancestors(list(read.parts)))
        return "hirescam" if recurs else "layercam"
    is_whole = read.kind in (*KINDS, "embedding") and not asks_patches(graph, read.parts[0])
    return "gradcam" if is_whole else "layercam"


class Attributor:
    """A method for a lens, compiled once for many photos.

    `method`: a name of METHODS, one that is compiled already, or None for `default_method`. `targets`: class
    indices, labels, None for the predicted class, "top3" for the three most probable ones, and of whatever a
    model answers the texts of engine/targets. `layer`: what Method.layer says; several where the
    map lies on one. With a `layer`, a method that can begin at a unit begins at each of `channels`,
    or at the `top` ones of the greatest values in the photo; at `position` (row, column), or where the
    channel is strongest. `convention` is one of CONVENTIONS: how the map of a layer lies on a photo.
    With `fuse`, one of FUSIONS, the maps of several layers are one, on the grid of the finest, each scaled to
    its greatest value before. `options` are the method's own (methods.options_of); `options` of the made one
    hold all of them. With each map come the most probable `predictions`. With `absent`, a box or region that
    is not in a photo is a map with that problem, and no error.

    Raises BadRequest for all of these that cannot be, with the nearest names, before there is a photo.
    """

    def __init__(
        self,
        lens: VisionModel,
        method: str | Compiled | None = None,
        targets: Sequence[Target] = (None,),
        *,
        layer: str | Sequence[str] | None = None,
        channels: Sequence[int] = (),
        position: tuple[int, int] | None = None,
        top: int | None = None,
        convention: str = FIELDS,
        predictions: int = PREDICTIONS,
        absent: bool = False,
        fuse: str | None = None,
        **options: Any,
    ):
        check_convention(convention)
        method = default_method(lens) if method is None else method
        self.lens, self.convention, self._predictions = lens, convention, predictions
        self._channels, self._position, self._top = channels, position, top
        self.method = method_named(method) if isinstance(method, str) else METHODS[method.method]
        self._of_units = self.method.units and layer is not None
        self._chooses = layer is None and self.method.family == "cam" and isinstance(method, str)
        self._aimed: Aimed | None = None
        self._absent, self._fuse = absent, fuse
        aimed_at = isinstance(method, str) and not self._of_units and aims(lens, targets)
        self._wishes = [] if self._of_units or aimed_at else [lens.wish(t) for t in targets]
        if isinstance(method, str):
            _check_fills(self.method, options)
            given = options_given(self.method, options)
            self.options = given._asdict()
            if aimed_at:
                from .aimed import Aimed  # brings the readouts, which classifiers do without

                parts = tuple(elements(targets, lens.reading))
                unit = are_alike(targets, lens.reading)
                aimed = lambda layer: Aimed(lens, self.method, parts, unit, layer, given, intake(lens))
                self._aimed = _kept(lens, (self.method.name, parts, unit), layer, given, aimed)
                self.compiled = self._aimed.compiled
                self.convention = CELLS if self._aimed.of_cells else convention
            else:
                several = are_several(self._wishes or channels or [-(top or CHANNELS)])
                made = lambda layer: compiled(lens.network, self.method, layer, given, intake(lens), several)
                self.compiled = _kept(lens, self.method.name, layer, given, made)
        else:
            self.compiled, self.options = method, {}
        if self._of_units and any(target is not None for target in targets):
            raise BadRequest("a unit is a class or a channel of a layer: say targets or a layer, not both")
        if not self._of_units and (channels or position or top):
            raise BadRequest("channels, position and top are of a layer: say which one")
        if self._of_units:
            assert isinstance(self.compiled, Projector)
            self.compiled.check(channels, position)
        self.targets = targets
        if fuse is not None:
            _check_fusion(fuse, self.layers if self.method.of_layers else [])

    @property
    def layers(self) -> list[str]:
        """The layers that it looks at."""
        return [layer for layer in self.compiled.layers if layer is not None]

    @property
    def of_things(self) -> bool:
        """Whether its targets are things that the model finds in a photo, and not classes alone."""
        return self._aimed is not None

    @property
    def at(self) -> str:
        """The value of the network that its maps lie on; of several layers the first."""
        return self.layers[0] if self.method.on_layer else self.lens.input

    def of_photo(self, photo: np.ndarray, progress: Progress | None = None) -> list[Attribution]:
        """What it finds in one photo (H, W, 3) uint8 RGB."""
        x, box = self.lens.preprocess(photo)
        return self([photo], x, [box], progress)[0]

    def __call__(
        self,
        photos: Sequence[np.ndarray],
        inputs: np.ndarray,
        boxes: Sequence[Box],
        progress: Progress | None = None,
    ) -> list[list[Attribution]]:
        """What it finds in photos; `inputs` (N, ...) were made of them, and cover the `boxes` of them.

        Raises NoMap where the answer of the model is not a number, if the method needs one.
        """
        if self._aimed is not None:
            found = partial(self._aimed, self.lens, self.targets)
            return [
                self._of_things(photo, box, *found(x[None], box, self.convention, progress, self._absent))
                for photo, box, x in zip(photos, boxes, inputs, strict=True)
            ]
        if isinstance(self.compiled, Projector) and self._of_units:
            top = self._top or CHANNELS
            found = [self.compiled.of_units(x[None], self._channels, self._position, top) for x in inputs]
        else:
            found = self.compiled.explained(inputs, self._wishes, progress)
        return [
            [self._with_evidence(x, self._laid(photo, box, e)) for e in self._together(of_photo)]
            for photo, x, box, of_photo in zip(photos, inputs, boxes, found, strict=True)
        ]

    def _with_evidence(self, x: np.ndarray, found: Attribution) -> Attribution:
        """What was found; where nothing in the default layer speaks for a class, the map of the nearest layer
        before it in which something does, with a note.
        """
        if not (self._chooses and found.problem and np.isfinite(found.values).all()):
            return found
        about = {"convention": self.convention, "predictions": self._predictions, **self.options}
        for layer in self._earlier:
            target = [found.target and found.target.index]
            try:
                made = Attributor(self.lens, self.method.name, target, layer=layer, **about)
            except (NoRule, BadRequest):  # nor can those before it be looked at
                break
            ((other,),) = made([found.photo], x[None], [found.box])
            if not other.problem:
                return replace(other, note=f"of {layer!r}, as {found.problem.split(';')[0]}")
        return found

    @cached_property
    def _earlier(self) -> list[str]:
        """The layers that stand in for the default one."""
        return earlier_features(self.lens.network.graph, self.layers[0])

    def _of_things(
        self, photo: np.ndarray, box: Box, explained: Sequence[Explained], every: Sequence[Found]
    ) -> list[Attribution]:
        """What was found of the targets of a photo, on the photo."""
        best = list(every[: self._predictions])
        return [
            self._on(photo, box, e, thing, best) for thing, found in explained for e in self._together(found)
        ]

    def _together(self, found: list[Explanation]) -> list[Explanation]:
        """The explanations; of each target those of all layers as one, where they are to be fused."""
        if self._fuse is None:
            return found
        count = len(self.layers)
        return [self._fused(found[i : i + count], self._fuse) for i in range(0, len(found), count)]

    def _fused(self, found: list[Explanation], how: str) -> Explanation:
        """One explanation of several of a target, on the grid of the finest of those that show something."""
        shown = sorted((e for e in found if not e.problem), key=lambda e: -e.values.size)
        if not shown:
            return found[0]
        places = [self.lens.placement(e.at, None, self.convention) for e in shown]
        values = fused([e.values for e in shown], places, self.lens.preprocess.size, how)
        extras = {"fused": {"how": how, "layers": [e.layer for e in found if not e.problem]}}
        return replace(shown[0], values=values, extras=extras)

    def _laid(self, photo: np.ndarray, box: Box, found: Explanation) -> Attribution:
        """What was found in a photo, on the photo."""
        lens, output = self.lens, found.output
        best, target = [], None
        if output is not None:
            best = ranked(lens.readout, output, lens.labels, self._predictions)
        if output is not None and not self._of_units:
            answers = lens.readout.answers(np.ravel(output))
            target = prediction(lens.readout, lens.labels, answers, found.target)
        return self._on(photo, box, found, target, best)

    def _on(
        self,
        photo: np.ndarray,
        box: Box,
        found: Explanation,
        target: Prediction | Found | None,
        best: Sequence[Prediction | Found],
    ) -> Attribution:
        """An explanation on its photo."""
        lens, in_input = self.lens, self.method.style != "overlay"
        return Attribution(
            photo=photo,
            values=in_colours(found.values, lens.preprocess) if in_input else found.values,
            at=found.at,
            place=lens.placement(found.at, box, self.convention),
            method=self.method.name,
            target=target,
            score=found.score,
            predictions=list(best),
            layer=found.layer,
            unit=Unit(found.target, found.position or (0, 0)) if self._of_units else None,
            problem=found.problem,
            note=self.compiled.note,
            extras=found.extras,
        )


def aims(lens: VisionModel, targets: Sequence[Target]) -> bool:
    """Whether more is asked for than classes of a classifier, by their names, numbers or ranks.

    Raises BadRequest for a target that no photo can have.
    """
    if lens.reading.kind in KINDS and _are_classes(lens, targets):
        return False
    check_classes(targets, lens.reading, lens.class_of)
    return True


def _are_classes(lens: VisionModel, targets: Sequence[Target]) -> bool:
    def is_class(target: Target) -> bool:
        try:
            return lens.wish(target) is not None
        except BadRequest:
            if str(target).strip() == "every" or is_sum(str(target)):
                return False
            raise

    return all(map(is_class, targets))


_MADE: WeakKeyDictionary[VisionModel, dict[Any, Any]] = WeakKeyDictionary()


def _kept(
    lens: VisionModel,
    what: Any,
    layer: str | Sequence[str] | None,
    given: Any,
    make: Callable[[str | Sequence[str] | None], _T],
) -> _T:
    """What is made for a lens and a layer with the options that are `given`; the last few are kept."""
    if not (layer is None or isinstance(layer, str)):
        if not (isinstance(layer, Sequence) and all(isinstance(name, str) for name in layer)):
            raise BadRequest(f"layer is the name of one, or several names, not {layer!r:.40}")
        layer = tuple(layer)
    if any(isinstance(value, np.ndarray | list) for value in given):
        return make(layer)
    made, key = _MADE.setdefault(lens, {}), (what, layer, given)
    made[key] = found = made.pop(key, None) or make(layer)
    while len(made) > KEPT:
        del made[next(iter(made))]
    return found


def intake(lens: VisionModel) -> Intake:
    """What methods have to know of how photos go into a model."""
    preprocess = lens.preprocess  # and not the lens, for which the compiled method is kept
    fill = lambda image, name: filler(image, preprocess, name)
    return Intake(preprocess.size, preprocess.layout == "nhwc", fill, lens.labels)


def _check_fills(method: Method, options: Mapping[str, Any]) -> None:
    """Raise BadRequest for an option that names a fill which is none."""
    for name, field in options_of(method).items():
        if field.option.fill and isinstance(said := options.get(name), str):
            for fill in said.split(","):
                fill_named(fill.strip())


def _check_fusion(how: str, layers: Sequence[str]) -> None:
    """Raise BadRequest for a way to put maps together that is none, and where there are not several."""
    if how not in FUSIONS:
        raise BadRequest(f"maps are fused by their {' or '.join(FUSIONS)}, not {how!r:.40}")
    if len(layers) < 2:
        raise BadRequest("fuse puts the maps of several layers together: name them, for a method of layers")


def in_colours(array: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """What has the shape of the model's input, (C, h, w) or (h, w, C), as (h, w, C) with red first."""
    array = np.moveaxis(array, 0, -1) if preprocess.layout == "nchw" else array
    return np.ascontiguousarray(coloured(array, preprocess.channels))
