"""What is to be seen of one photo, each as a panel of a page. To add one, add a line to WAYS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ....engine.attribution.methods import METHODS
from ....engine.errors import OnnxlensError
from .page import Figure, Panel
from .subject import Subject

if TYPE_CHECKING:
    from ....models.features.top import Top
    from ....models.maps.attribution import Attribution

BEST = "top3"  # what is explained where nobody says what
SHOWN = 12  # channels in a panel
KERNELS = 64
SIDE = 448  # pixels of a dream's longer side


def found(subject: Subject) -> Panel:
    """(0) What the model found."""
    from ....models.maps.drawn import drawn

    things = subject.things
    return Panel(
        "found",
        "What the model found",
        f"{len(things)} in all, best first." if things else "",
        f"Read as {subject.lens.reading.kind}: {subject.lens.reading.why}.",
        subject.command("predict"),
        [Figure(drawn(subject.photo, things), ", ".join(t.label for t in things[:SHOWN]), wide=True)]
        if things
        else [],
        "" if things else "Nothing, in this photo.",
    )


def responses(subject: Subject) -> Panel:
    """(1) Responses of the layers."""
    from ....models.features import responses as way

    found = list(way.responses(subject.lens, subject.photo, None, subject.convention))
    last = next(iter(way.responses(subject.lens, subject.photo, [subject.layer], subject.convention)))
    strongest, title = last.order()[:4], f"The strongest channels of {last.layer}, on the photo"
    on_photo = [Figure(last.overlays(strongest), title, wide=True)]
    return Panel(
        "responses",
        "Responses",
        "What each stage of the network answers to the photo, from the input to the answer: the mean "
        "over all "
        "channels, then the strongest ones. Below it, the strongest channels of the last layer on the photo.",
        "The values of the feature maps as ONNX Runtime computes them. Black is zero; each channel has "
        "its own "
        "scale, and its largest value stands below it.",
        subject.command("activations"),
        [
            Figure(
                way.strip(found, subject.lens.predict(subject.photo) if subject.lens.has_classes else ()),
                "From the photo to the answer",
                wide=True,
                crisp=True,
            ),
            *on_photo,
        ],
    )


def weights(subject: Subject) -> Panel:
    """(2) Weights of the first layer."""
    from ....models.features import weights as way

    first = next(way.weights(subject.lens.network, None, subject.lens.preprocess))
    outputs = first.order()[:KERNELS]
    return Panel(
        "weights",
        "Weights",
        "The kernels of the first layer: the patterns of pixels that the network begins with. Smooth "
        "stripes and "
        "patches of colour are those of a network that learned something; noise, that of one that did not.",
        "Each kernel as a picture in the colours of the photo, on its own scale; grey is zero, the number "
        "below is its norm.",
        subject.command("weights", places=()),
        [Figure(first.picture(outputs), f"Kernels of {first.kernels.layer}", wide=True, crisp=True)],
    )


def highest(subject: Subject) -> Panel:
    """(3) Images of highest response."""
    from ....engine.attribution.projector import Projector
    from ....engine.picture import grid
    from ....models.features import top as way
    from ....models.features.mosaic import mosaics
    from ....models.storage.album import photos

    places = subject.places or [subject.image]
    found = way.top(subject.lens, photos(places), [subject.layer], k=9 if subject.places else 1)
    channels = found.best(subject.layer, SHOWN) if subject.places else _strongest(found, subject.layer)
    projector = Projector(subject.lens.network, "deconvnet", subject.layer)
    pages = mosaics(subject.lens, found, subject.layer, channels, projector)
    sheet = grid(list(pages.values()), 3, captions=[f"channel {c}" for c in channels])
    where = f"{found.table.count} photos" if subject.places else "this photo"
    return Panel(
        "top",
        "Images of highest response",
        f"What single channels of {subject.layer} look for: of {where}, the parts that each answers to most, "
        f"and beside "
        "them the pixels that made it answer.",
        "Crops are the receptive fields of the positions of highest response; beside them is what the "
        "deconvnet "
        "projects back from there (Zeiler & Fergus 2014, figure 2).",
        subject.command("top", "--deconv", "--layer", subject.layer, places=places),
        [Figure(sheet, "What comes back, beside the crops, channel by channel", wide=True, crisp=True)],
        "" if subject.places else "Searched in this photo alone; give a folder with --folder to search many.",
    )


def occlusion(subject: Subject) -> Panel:
    """(4) Occlusion maps."""
    from ....models.attribution.occlusion import occlusion as hide
    from ....models.attribution.panels import sheet

    if subject.of_things:
        return _hidden(subject)
    found = hide(subject.lens, subject.photo, subject.target, layer=subject.layer, **subject.patch)
    heat = found.heat()
    figures = [Figure(sheet([found]), "The answers of the model, by where the patch is", wide=True)]
    if not heat.problem:
        figures.append(Figure(heat.overlay(), f"What hiding a pixel costs {found.target.label}"))
    return Panel(
        "occlusion",
        "Occlusion",
        "What becomes of the answer while a patch hides one place after another. Where the score of "
        f"{found.target.label} drops, the model needs what was hidden.",
        "Functions of the position of the patch (Zeiler & Fergus 2014, figure 7): the total of the strongest "
        "feature map, the score and the probability of the class, and the most probable class. No gradient "
        "is needed. What the model does not see of the photo stays grey.",
        subject.command("occlusion", *_target(subject), "--layer", subject.layer, *_patch(subject)),
        figures,
        heat.problem,
    )


def _hidden(subject: Subject) -> Panel:
    """What hiding a place costs the things that the model found."""
    heats = _maps(subject, "occlusion", subject.target or BEST, **subject.patch)
    return Panel(
        "occlusion",
        "Occlusion",
        "What hiding each place with a patch costs what the model found: where it is hot, the model needs "
        "what was hidden.",
        "The score less that with the patch there, averaged over the patches that cover a pixel (Zeiler & "
        "Fergus 2014). What is explained is the number that said so in the whole photo.",
        subject.command("occlusion", "--target", subject.target or BEST, *_patch(subject)),
        [Figure(h.overlay(), h.title) for h in heats if not h.problem],
        _problems(heats),
    )


def projections(subject: Subject) -> Panel:
    """(5) Back to the pixels: deconvnet, guided backpropagation, the gradient."""
    from ....models.attribution.projection import project, project_layer
    from ....models.maps.attribution import guided_gradcam
    from ....models.maps.sheets import sheet

    titles, name, either = {}, "", ""
    if subject.lens.has_classes or subject.of_things:
        saliency, guided = (
            project(subject.lens, subject.photo, m, [subject.target])[0] for m in ("saliency", "guided")
        )
        heat = _maps(subject, "gradcam", subject.target)[0]
        titles = {
            "Gradient": saliency,
            "Guided backpropagation": guided,
            "Guided Grad-CAM": guided_gradcam(guided, heat),
        }
        name = heat.name
        either = f"{name}, or "
    figures = [Figure(p.picture(), f"{title} of {name}") for title, p in titles.items() if not p.problem]
    units = project_layer(subject.lens, subject.photo, "deconvnet", subject.layer, top=9)
    if drawn := [p for p in units if not p.problem]:
        caption = (
            f"The strongest channels of {subject.layer}: what each sees, and what the deconvnet sends back"
        )
        figures.append(Figure(sheet(drawn), caption, wide=True, crisp=True))
    of_class = subject.command("guided", *_target(subject)) + "\n" if titles else ""
    return Panel(
        "pixels",
        "Back to the pixels",
        f"Which pixels {either}a single channel answers to: traced back through every layer.",
        "Rules for the backward pass through a ReLU: the gradient's own (Simonyan et al. 2013), only what is "
        "positive (deconvnet, Zeiler & Fergus 2014), and both (guided backpropagation, Springenberg et al. "
        "2015); the last one times the map of Grad-CAM (Selvaraju et al. 2017).",
        of_class + subject.command("deconvnet", "--layer", subject.layer),
        figures,
        next((p.problem or f"{title}: {p.note}." for title, p in titles.items() if p.problem or p.note), ""),
    )


def dream(subject: Subject) -> Panel:
    """(6) A dream: the photo, with more of what a layer sees in it."""
    from ....engine.sums import quoted
    from ....models.dreams.ascent import Ascent
    from ....models.dreams.dream import default_layer
    from ....models.dreams.dream import dream as dreamt
    from ....models.dreams.octaves import within

    layer = default_layer(subject.lens)
    found = dreamt(Ascent(subject.lens, f"layer({quoted(layer)})"), within(subject.photo, SIDE))
    rises = ", ".join(f"{o.after[0] / o.before[0]:.1f}" for o in found.octaves if o.before[0])
    return Panel(
        "dream",
        "Dream",
        f"The photo, changed until {layer} answers more strongly to whatever it already saw a little of.",
        "Gradient ascent on the pixels, of half the squared norm of the layer, over octaves from small to "
        "large "
        f"(Mordvintsev et al. 2015, in the settings of their notebook). In the octaves it rose {rises} "
        f"times.",
        subject.command("dream", "--side", str(SIDE)),
        [Figure(found.start, "The photo"), Figure(found.picture(), f"Dream of {layer}")],
    )


def gradcam(subject: Subject) -> Panel:
    """(7) Grad-CAM."""
    heats = _maps(subject, "gradcam", subject.target or BEST)
    shown = [h for h in heats if not h.problem]
    best = "the best of what the model found" if subject.of_things else "the most probable classes"
    which = heats[0].name if subject.target else best
    where = [layer for h in heats for layer in h.extras.get("levels", [h.layer])]
    return Panel(
        "gradcam",
        "Grad-CAM",
        f"Where in the photo the feature maps of one layer speak for {which}.",
        f"The channels of {' and '.join(map(str, dict.fromkeys(where)))}, weighted with the mean gradient of "
        f"the {'number that says so' if subject.of_things else 'class score'}, where the sum is positive "
        "(Selvaraju et al. 2017).",
        subject.command("gradcam", *(_target(subject) or ["--target", BEST]), *_layer(subject)),
        [Figure(h.overlay(), h.title) for h in shown],
        _problems(heats),
    )


WAYS: dict[str, Callable[[Subject], Panel]] = {
    "gradcam": gradcam,
    "occlusion": occlusion,
    "pixels": projections,
    "responses": responses,
    "top": highest,
    "weights": weights,
    "dream": dream,
}
# The commands that make panels alone, where they are called otherwise.
ALONE = {"pixels": "deconvnet", "responses": "activations", "found": "predict"}


def of_method(name: str, subject: Subject) -> Panel:
    """What one method of attribution finds for the class."""
    method = METHODS[name]
    found = _maps(subject, name, subject.target)[0]
    caption = f"{method.title} of {found.name}"
    target = _target(subject) or (["--target", "top1"] if method.target == "units" else [])
    return Panel(
        name,
        method.title,
        f"{method.shows[0].upper()}{method.shows[1:]}.",
        f"{method.paper}.",
        subject.command(name, *target, *(_layer(subject) if method.of_layers else [])),
        [] if found.problem else [Figure(found.picture(method.style), caption)],
        found.problem or found.note,
    )


def panels(subject: Subject, progress: Callable[[int, int], object]) -> list[Panel]:
    """The panel of every way, and of more methods; those that this model does not allow stand last and say
    why.

    `progress` is called with how many are done, of how many.
    """
    usual = WAYS if subject.lens.has_classes or not subject.of_things else {"found": found, **WAYS}
    made, ways = [], {**{name: partial(of_method, name) for name in subject.methods}, **usual}
    for name in [*usual, *(name for name in subject.methods if name not in usual)]:
        progress(len(made), len(ways))
        try:
            made.append(ways[name](subject))
        except OnnxlensError as error:
            title = _title(usual[name]) if name in usual else METHODS[name].title
            alone = subject.command(ALONE.get(name, name), "--debug")
            made.append(Panel(name, title, "", "", alone, note=str(error)))
    return sorted(made, key=lambda panel: not panel.figures)


def _maps(subject: Subject, method: str, target: str | None, **options: Any) -> list[Attribution]:
    """The maps of a method for what one target means."""
    layer = subject.where if METHODS[method].of_layers else None
    about = {"layer": layer, "convention": subject.convention}
    return subject.lens.attribute(subject.photo, method, [target], **about, **options)


def _problems(heats: Sequence[Attribution]) -> str:
    return " ".join(f"{h.name}: {h.problem}." for h in heats if h.problem)


def _patch(subject: Subject) -> list[str]:
    return [word for name, side in subject.patch.items() for word in (f"--{name}", str(side))]


def _layer(subject: Subject) -> list[str]:
    return [] if subject.where is None else ["--layer", subject.where]


def _title(way: Callable[[Subject], Panel]) -> str:
    return (way.__doc__ or "").split(") ", 1)[-1].rstrip(".")


def _strongest(found: Top, layer: str) -> list[int]:
    """The channels of the strongest responses, where there is but one photo to compare them in."""
    scores = {hit.channel: hit.score for hit in found if hit.layer == layer}
    return sorted(scores, key=lambda c: -scores[c])[:SHOWN]


def _target(subject: Subject) -> list[str]:
    return [] if subject.target is None else ["--target", subject.target]
