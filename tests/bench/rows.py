"""What the suite measures: for each row the contestants, and what their times must be to each other.

To add a row, write a function from a Field to its contestants and add a line to ROWS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import networks
import numpy as np
import onnxruntime
import peers
import torch

from onnxlens.engine.attribution.averaged import Averaged
from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.perturbation.occlusion import Hiding, answers
from onnxlens.engine.attribution.perturbation.places import Places, places
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.dreams.dream import Climb, Priors, gradient_graph
from onnxlens.engine.dreams.objective import objective
from onnxlens.engine.runtime.ahead import BATCH
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.sums import quoted
from onnxlens.kernels.tile import tile
from onnxlens.models.attribution.occlusion import occlusion as occlude
from onnxlens.models.dreams.ascent import Ascent, entered
from onnxlens.models.dreams.dream import default_layer
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens

SIDE, PATCH, STRIDE = 224, 16, 8
COARSE = 16  # the stride at which what takes the same time at every position is measured, and scaled up
STEPS = 50


class Contestant(NamedTuple):
    """A call and how many times its seconds count.

    `answer`: "same" as that of the first, "near" to it, which is measured, or one that is not "compared".
    """

    call: Callable[[], np.ndarray]
    scale: float = 1.0
    answer: str = "same"


Contestants = dict[str, Contestant]


class Field:
    """One network for all contestants of a row: as a PyTorch module, as a file, and the same inputs."""

    def __init__(self, name: str, path: Path, module: torch.nn.Module, threads: int, batch: int):
        self.name, self.path, self.module, self.threads = name, path, module, threads
        self.x = networks.picture(batch)
        self.image = self.x.numpy()
        self.feeds = {"image": self.image}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.bare = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        scores = peers.forward(module, self.x)
        self.targets = torch.from_numpy(scores.argmax(1))
        self.classes = scores.argmax(1).tolist()
        close(f"{name}: scores", self.forward(), scores, 1e-3)

    def forward(self) -> np.ndarray:
        """ONNX Runtime alone, with its default options."""
        return np.asarray(self.bare.run(None, self.feeds)[0])

    @cached_property
    def network(self) -> Network:
        """Ours, with as many threads."""
        return Network(self.path, provider="cpu", threads=self.threads)

    @property
    def bare_forward(self) -> Contestant:
        """What everything is held against."""
        return Contestant(self.forward, answer="not compared")


def gradient(f: Field) -> Contestants:
    """The gradient of each image's class in the image."""
    projector, captum = Projector(f.network, "saliency"), peers.attribution("Saliency", f.module, abs=False)
    return {
        "forward": f.bare_forward,
        "onnxlens": Contestant(lambda: np.stack([s.values for s in projector(f.feeds, f.classes)])),
        "PyTorch": Contestant(lambda: peers.gradient(f.module, f.x, f.targets)),
        "Captum": Contestant(lambda: captum(f.x, f.targets)),
        "PyTorch forward": Contestant(lambda: peers.forward(f.module, f.x), answer="not compared"),
    }


def guided(f: Field) -> Contestants:
    """Guided backpropagation, of networks whose only rectifiers are ReLUs: Captum knows no others."""
    projector, captum = Projector(f.network, "guided"), peers.attribution("GuidedBackprop", f.module)
    return {
        "forward": f.bare_forward,
        "onnxlens": Contestant(lambda: np.stack([s.values for s in projector(f.feeds, f.classes)])),
        "Captum": Contestant(lambda: captum(f.x, f.targets)),
    }


def gradcam(f: Field) -> Contestants:
    """Maps of each image's class, in the resolution of the last features."""
    explainer, features = Explainer(f.network), networks.NETWORKS[f.name].features
    whole, short = (peers.gradcam(f.module, features, to_layer) for to_layer in (False, True))
    return {
        "forward": f.bare_forward,
        "onnxlens": Contestant(lambda: np.stack([e.map for e in explainer(f.feeds, f.classes)])),
        "pytorch-grad-cam": Contestant(lambda: whole(f.x, f.targets)),
        "PyTorch to the layer": Contestant(lambda: short(f.x, f.targets)),
    }


def occlusion(f: Field) -> Contestants:
    """The drop of the class's score at every position; compared where all have one, (14, 14)."""
    spots, coarse = (places((SIDE, SIDE), (PATCH, PATCH), (s, s)) for s in (STRIDE, COARSE))
    session, scale = f.network.session(["scores"]), len(spots) / len(coarse)
    whole, (c,) = float(f.forward()[0, f.classes[0]]), f.classes
    under, buffer = np.zeros_like(f.image[0]), np.repeat(f.image, BATCH, 0)
    batch = peers.best_batch(lambda x: peers.forward(f.module, x), f.x)
    size = {"sliding_window_shapes": (3, PATCH, PATCH), "strides": (3, COARSE, COARSE)}
    captum = peers.attribution("Occlusion", f.module, **size, perturbations_per_eval=batch)

    def plain() -> np.ndarray:
        scores = []
        for start in range(0, len(coarse), BATCH):
            corners = coarse.corners(np.arange(start, min(start + BATCH, len(coarse))))
            part = buffer[: len(corners)]
            tile(f.image[0], under, corners, coarse.patch, part)
            scores.append(session({"image": part})["scores"][:, c])
        return whole - np.concatenate(scores).reshape(coarse.shape)

    return {
        "onnxlens": Contestant(
            lambda: whole - scores_at(f, spots, under)[:: COARSE // STRIDE, :: COARSE // STRIDE]
        ),
        "plain batches": Contestant(plain, scale),
        "Captum": Contestant(lambda: captum(f.x, f.targets)[0, 0, ::COARSE, ::COARSE], scale),
        "forward": Contestant(f.forward, len(spots), answer="not compared"),
    }


def scores_at(f: Field, spots: Places, under: np.ndarray) -> np.ndarray:
    """What `onnxlens occlusion` runs: the class's score at each place."""
    found = answers(f.network, None, Hiding(f.image[0], under, spots))
    return np.concatenate([a.scores[:, f.classes[0]] for a in found]).reshape(spots.shape)


def approximate(f: Field) -> Contestants:
    """The scores of a drawn scene with the patch at every position, exact and with a known deviation."""
    photo = scene(TEST_SEEDS[0], size=SIDE).image

    def look(answer: str, **how: Any) -> Contestant:
        # A network of its own for each: only the last few plans of one are kept.
        lens = Lens(f.path, preset="imagenet", provider="cpu", threads=f.threads)
        return Contestant(lambda: occlude(lens, photo, None, PATCH, STRIDE, **how).scores, answer=answer)

    return {
        "exact": look("same"),
        "coarse": look("near", coarse=True),
        "narrow 0.7": look("near", narrow=0.7),
        "narrow 0.5": look("near", narrow=0.5),
        "both": look("near", coarse=True, narrow=0.7),
    }


def integrated(f: Field) -> Contestants:
    """Integrated gradients from zero, over 50 steps by Gauss and Legendre, as in Captum."""
    averaged = Averaged(f.network, steps=STEPS)
    target = f.targets[:1]
    batch = peers.best_batch(lambda x: peers.gradient(f.module, x, target.repeat(len(x))), f.x[:1])
    captum = peers.attribution("IntegratedGradients", f.module, n_steps=STEPS, internal_batch_size=batch)
    return {
        "onnxlens": Contestant(lambda: averaged(f.feeds, f.classes)[0].values),
        "Captum": Contestant(lambda: captum(f.x, f.targets)[0]),
        "forward": Contestant(f.forward, STEPS, answer="not compared"),
    }


def dream(f: Field) -> Contestants:
    """A step of a dream on its default layer at 224x224, and the value and gradient in it."""
    lens = Lens(f.path, preset="imagenet", provider="cpu", threads=f.threads)
    text, shape = f"layer({quoted(default_layer(lens))})", (1, 3, SIDE, SIDE)
    step = Ascent(lens, text, priors=Priors()).pixel_step(shape, 1.5)
    slope = lens.network.compile(
        gradient_graph(
            lens.network.graph,
            Climb(
                lens.input,
                entry=lambda pixels: entered(pixels, lens.preprocess),
                aim=lambda graph: objective(graph, text, lens.wish, {}),
            ),
            shape,
        )
    )
    pixels = 128 + 40 * f.image
    offset = np.array([11, -7])
    return {
        "step": Contestant(lambda: step(pixels, offset)[0], answer="not compared"),
        "forward and backward": Contestant(
            lambda: slope({"pixels": pixels})["gradient"], answer="not compared"
        ),
    }


# -- the table ----------------------------------------------------------------------------------------------


CONVOLUTIONAL = ("squeezenet", "resnet50", "vgg16", "mobilenet_v2")  # attention leaves nothing to cut


@dataclass(frozen=True)
class Claim:
    """The seconds of `over` by those of `under` are at most, or at least, a bound for each network.

    "" is any other network; one without a bound has its ratio shown.
    """

    over: str
    under: str
    most: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)

    def bound(self, network: str) -> tuple[str, float] | None:
        """("at most" or "at least", the bound)."""
        for word, bounds in (("at most", self.most), ("at least", self.least)):
            if network in bounds or "" in bounds:
                return word, bounds.get(network, bounds.get("", 0.0))
        return None


@dataclass(frozen=True)
class Row:
    """A measurement: `allowed` is how far answers may lie apart, relative to their norm.

    Gradients of networks with random weights differ by some 1e-3 where two runtimes round to different
    sides of a kink.
    """

    title: str
    contestants: Callable[[Field], Contestants]
    claims: tuple[Claim, ...]
    batches: tuple[int, ...] = (1, 8)
    networks: tuple[str, ...] = tuple(networks.NETWORKS)
    allowed: float = 2e-2
    patience: float = 1.0  # how many times the seconds of other rows


OFF = 0.01  # of the range: an approximation that is further off counts for nothing

ROWS: dict[str, Row] = {
    "gradient": Row(
        "Input gradient",
        gradient,
        (
            Claim("onnxlens", "forward", most={"resnet50": 2.5, "vgg16": 2.3, "squeezenet": 4}),
            Claim("PyTorch", "onnxlens", least={"squeezenet": 2, "resnet50": 1.4, "vgg16": 1.15, "": 1}),
            Claim("Captum", "onnxlens"),
            Claim("PyTorch forward", "forward"),
        ),
    ),
    "guided": Row(
        "Guided backpropagation",
        guided,
        (Claim("onnxlens", "forward"), Claim("Captum", "onnxlens")),
        networks=("squeezenet", "resnet50", "vgg16"),
    ),
    "gradcam": Row(
        "Grad-CAM",
        gradcam,
        (
            Claim("onnxlens", "forward", most={"": 1.15}),
            Claim("pytorch-grad-cam", "onnxlens", least={"squeezenet": 4, "resnet50": 2, "vgg16": 1.5}),
            Claim("PyTorch to the layer", "onnxlens"),
        ),
        allowed=2e-3,
    ),
    "integrated": Row(
        f"Integrated gradients, {STEPS} steps",
        integrated,
        (
            Claim("Captum", "onnxlens", least={"squeezenet": 1.5, "resnet50": 1.3}),
            Claim("onnxlens", "forward"),
        ),
        batches=(1,),
        patience=2,
    ),
    "dream": Row(
        "A dream's iteration at one octave",
        dream,
        (Claim("step", "forward and backward", most={"": 1.1}),),
        batches=(1,),
    ),
    "occlusion": Row(
        f"Occlusion, exact, {SIDE}x{SIDE}, patch {PATCH}, stride {STRIDE}",
        occlusion,
        (
            Claim("Captum", "onnxlens", least={"squeezenet": 8, "vgg16": 4, "resnet50": 2.5}),
            Claim("plain batches", "onnxlens", least={"vgg16": 3, "squeezenet": 1.5, "resnet50": 1.5}),
            Claim("onnxlens", "forward"),
        ),
        batches=(1,),
        networks=CONVOLUTIONAL,
        allowed=1e-3,
        patience=8,
    ),
    "approximate": Row(
        "The same, approximate, off by 1 % of the map's range at most",
        approximate,
        tuple(Claim("exact", how, least={"": 3}) for how in ("coarse", "narrow 0.7", "narrow 0.5", "both")),
        batches=(1,),
        networks=CONVOLUTIONAL,
        patience=4,
    ),
}


def close(what: str, found: np.ndarray, expected: np.ndarray, allowed: float) -> None:
    """Raise SystemExit where answers differ: their times would mean nothing."""
    apart = float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))
    if found.shape != expected.shape or not apart <= allowed:
        raise SystemExit(f"{what}: {found.shape} and {expected.shape} are {apart:.1e} apart")
