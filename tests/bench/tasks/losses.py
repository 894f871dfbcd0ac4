"""What each network is to learn: the loss of a batch of scenes."""

# Only who trains has torch; the linter runs before that is installed.
# pyright: reportMissingImports=false

from __future__ import annotations

import numpy as np
import torch
from arrays import Scenes
from networks import BINS, COUNT, Crnn, Detector, Detr, Embedder, Labeller, Swin, UNet, Vit
from torch import Tensor
from torch.nn import functional


def present(labels: np.ndarray, count: int) -> Tensor:
    """Which of `count` classes are among the labels (n, things): (n, count) of 0 and 1."""
    return torch.from_numpy((labels[:, :, None] == np.arange(count)).any(1)).float()


def regions(batch: Scenes) -> Tensor:
    """At each pixel 0 or 1 + the class that is seen there, (n, h, w)."""
    classes = np.concatenate([np.zeros((len(batch.labels), 1), np.int64), batch.labels + 1], 1)
    seen = np.take_along_axis(classes, batch.owners.reshape(len(classes), -1).astype(np.int64), 1)
    return torch.from_numpy(seen.reshape(batch.owners.shape))


def corners(batch: Scenes) -> Tensor:
    """x0, y0, x1, y1 of each thing, (n, things, 4)."""
    return torch.from_numpy(batch.boxes[..., [1, 0, 3, 2]])


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU (Rezatofighi et al. 2019) of boxes x0, y0, x1, y1 (..., 4)."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0).prod(-1)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    union = sum((box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)) - shared
    iou = shared / union.clamp(1e-6)
    return iou, iou - (hull - union) / hull.clamp(1e-6)


def classes(model: Vit | Swin, x: Tensor, batch: Scenes) -> Tensor:
    """Of one of several classes; and of each token, whether it is on the object, and of which class it is.

    That is what token labelling does (Jiang et al. 2021): without it a transformer learns little from few
    scenes. And of where the answer is told from, the object: of a mean over tokens, and of a class token,
    which asks tokens that know already what is at their place.
    """
    wanted = torch.from_numpy(batch.labels[:, 0])
    tokens = model.tokens(x)
    scores = model.head(model.pooled(tokens)).float()
    side = model.TOKENS
    seen = functional.adaptive_avg_pool2d(torch.from_numpy(batch.owners)[:, None].float(), side) > 0.3
    each = model.each(tokens.flatten(1, -2)[:, -side * side :]).float()
    right = torch.where(seen.flatten(1), wanted[:, None] + 1, 0)
    dense = functional.cross_entropy(each.flatten(0, 1), right.flatten())
    loss = functional.cross_entropy(scores, wanted, label_smoothing=0.05) + dense
    if isinstance(model, Vit):
        last = model.blocks[-1]
        asked = last.norms[0](model.before(x))
        early = model.each(asked[:, -side * side :]).float()
        loss = loss + functional.cross_entropy(early.flatten(0, 1), right.flatten())
        taken = last.attention.shares(asked[:, :1], asked).mean(1)[:, 0, -side * side :]
        there = seen.flatten(1)
        mass = (taken * there).sum(1)[there.any(1)]
        return loss - 0.3 * mass.clamp(1e-3).log().mean()
    maps = model.head(tokens).permute(0, 3, 1, 2).float()
    return loss + 0.1 * elsewhere(maps, covered(batch, x.shape[3] // side), present(batch.labels, COUNT))


def covered(batch: Scenes, stride: int) -> Tensor:
    """Of the pixels around each place of a grid the share that shows a class, (n, classes, h, w)."""
    seen = functional.one_hot(regions(batch), 1 + COUNT)[..., 1:].permute(0, 3, 1, 2).float()
    return functional.avg_pool2d(seen, stride - 1, stride, stride // 2 - 1)


def elsewhere(maps: Tensor, right: Tensor, wanted: Tensor) -> Tensor:
    """How little of maps (n, m, h, w) is where they are `right`, over those that are `wanted` (n, m).

    Right for the right reasons (Ross et al. 2017), as the embedded model is trained.
    """
    shares = maps.flatten(2).softmax(2)
    mass = (shares * right.flatten(2)).sum(2).clamp(1e-3)
    return -(mass.log() * wanted).sum() / wanted.sum()


def labels(model: Labeller, x: Tensor, batch: Scenes) -> Tensor:
    """Of each class by itself, and of where it is told from."""
    features, there = model.features(x), present(batch.labels, COUNT)
    scores = model.head(features.mean((2, 3))).float()
    where = elsewhere(model.places(features).float(), covered(batch, model.STRIDE), there)
    return functional.binary_cross_entropy_with_logits(scores, there) + 0.1 * where


def pixels(model: UNet, x: Tensor, batch: Scenes) -> Tensor:
    """Of the class at every other pixel; most show nothing, which counts less."""
    weights = torch.tensor([0.3] + [1.0] * COUNT)
    return functional.cross_entropy(model.raw(x).float(), regions(batch)[:, 1::2, 1::2], weights)


def characters(model: Crnn, x: Tensor, batch: Scenes) -> Tensor:
    """Of all ways in which the steps may spell the text (Graves et al. 2006).

    And of the one that has each character at the step in its middle, without which it takes many times as
    long until anything is spelt.
    """
    there = torch.from_numpy(batch.labels >= 0)
    steps = model(x).float()
    spelt, sizes = torch.from_numpy(batch.labels + 1), there.sum(1)
    free = functional.ctc_loss(steps.transpose(0, 1), spelt, torch.full_like(sizes, steps.shape[1]), sizes)
    n, i = torch.nonzero(there, as_tuple=True)
    middle = (corners(batch)[n, i, 0] + corners(batch)[n, i, 2]) / 2 * steps.shape[1] / x.shape[3]
    wanted = torch.zeros(steps.shape[:2], dtype=torch.long)
    wanted[n, middle.long()] = spelt[n, i]
    return free + functional.nll_loss(steps.flatten(0, 1), wanted.flatten())


def likeness(model: Embedder, x: Tensor, batch: Scenes) -> Tensor:
    """The cosine of two vectors is to be that of what there is in the two scenes, and told from that."""
    there = functional.normalize(present(batch.labels, COUNT))
    features = model.features(x)
    vectors = functional.normalize(model.head(features.mean((2, 3))).float())
    other = ~torch.eye(len(x), dtype=torch.bool)
    apart = (vectors @ vectors.T - there @ there.T)[other].square().mean()
    maps = torch.einsum("nchw,mc->nmhw", model.places(features).float(), vectors)
    shown = present(batch.labels, COUNT)
    right = torch.einsum("nchw,mc->nmhw", covered(batch, model.STRIDE), shown)
    shared = other & (shown @ shown.T > 0)
    return 10 * apart + 0.1 * elsewhere(maps, right, shared.float())


def chosen(model: Detector, batch: Scenes, places: Tensor, strides: Tensor) -> Tensor:
    """Which thing each place is to find, (n, anchors), -1 for none.

    Those around the middle of a thing (Tian et al. 2019), of the level for the length of its shorter side.
    """
    boxes = corners(batch)
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).amin(-1)
    level = torch.tensor(model.STRIDES)[torch.bucketize(size, torch.tensor([14.0, 22.0]))]
    near = (places.T[None, :, None] - middle[:, None]).abs().amax(-1) < 0.75 * level[:, None]
    near &= (strides[0][None, :, None] == level[:, None]) & torch.from_numpy(batch.labels >= 0)[:, None]
    return torch.where(near.any(2), near.long().argmax(2), -1)


def boxes(model: Detector, x: Tensor, batch: Scenes) -> Tensor:
    """Of the classes at all places, and of the sides at those that are to find something.

    Sides are learned as their overlap and as shares of two bins (Li et al. 2020).
    """
    sides, scores = (y.float() for y in model.raw(x))
    places, strides = model.anchors(*x.shape[2:])
    thing = chosen(model, batch, places, strides)
    n, p = torch.nonzero(thing >= 0, as_tuple=True)
    right = corners(batch)[n, thing[n, p]]
    low, high = model.corners(sides, places, strides)
    found = torch.cat([low[n, :, p], high[n, :, p]], 1)
    wanted = torch.zeros_like(scores)
    wanted[n, torch.from_numpy(batch.labels)[n, thing[n, p]], p] = 1
    ranked = functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
    ranked = (ranked * (wanted - scores.sigmoid()).abs().detach().sqrt()).sum()
    far = torch.cat([places.T[p] - right[:, :2], right[:, 2:] - places.T[p]], 1) / strides[0, p][:, None]
    far = far.clamp(0, BINS - 1.01)
    bins = sides.view(len(sides), 4, BINS, -1)[n, :, :, p].log_softmax(2)
    below = far.long()
    share = far - below
    spread = bins.gather(2, below[..., None])[..., 0] * (1 - share)
    spread += bins.gather(2, below[..., None] + 1)[..., 0] * share
    return ranked / len(n) + 2 * (1 - overlap(found, right)[1]).mean() - 0.5 * spread.mean()


def assigned(cost: np.ndarray) -> np.ndarray:
    """For each row of costs (r, c), r <= c, its column in the cheapest matching (Kuhn 1955)."""
    rows, columns = cost.shape
    u, v, match = np.zeros(rows + 1), np.zeros(columns + 1), np.zeros(columns + 1, int)
    for row in range(1, rows + 1):
        match[0], here = row, 0
        least, way, used = (
            np.full(columns + 1, np.inf),
            np.zeros(columns + 1, int),
            np.zeros(columns + 1, bool),
        )
        while match[here]:
            used[here] = True
            free = ~used[1:]
            reduced = cost[match[here] - 1] - u[match[here]] - v[1:]
            better = free & (reduced < least[1:])
            least[1:][better], way[1:][better] = reduced[better], here
            step = np.where(free, least[1:], np.inf)
            there = int(step.argmin()) + 1
            u[match[used]] += step[there - 1]
            v[used] -= step[there - 1]
            least[~used] -= step[there - 1]
            here = there
        while here:
            match[here], here = match[way[here]], way[here]
    result = np.zeros(rows, int)
    result[match[match > 0] - 1] = np.flatnonzero(match) - (match[0] > 0)
    return result


def sets(model: Detr, x: Tensor, batch: Scenes) -> Tensor:
    """Of each query, matched with the things so that all together cost the least (Carion et al. 2020).

    And of the class that is seen at each token that they ask, as where queries are chosen among the encoder's
    tokens (Zhu et al. 2021, two-stage).
    """
    tokens = model.memory(x)
    seen, kind = covered(batch, x.shape[3] // model.GRID).flatten(2).max(1)
    wanted = torch.where(seen > 0.3, 1 + kind, 0)
    dense = functional.cross_entropy(model.each(tokens).float().flatten(0, 1), wanted.flatten())
    right = corners(batch) / x.shape[3]
    right = torch.cat([(right[..., :2] + right[..., 2:]) / 2, right[..., 2:] - right[..., :2]], -1)
    return torch.stack([_matched(*answer, right, batch) for answer in model.layers(tokens)]).mean() + dense


def _matched(logits: Tensor, boxes: Tensor, right: Tensor, batch: Scenes) -> Tensor:
    logits, boxes = logits.float(), boxes.float()
    ns, qs, ts = [], [], []
    with torch.no_grad():
        shares = logits.softmax(2)
        for n, row in enumerate(batch.labels):
            count = int((row >= 0).sum())
            cost = (
                5 * torch.cdist(right[n, :count], boxes[n], 1) - shares[n][:, torch.from_numpy(row[:count])].T
            )
            cost -= overlap(_sides(right[n, :count, None]), _sides(boxes[n][None]))[1]
            ns += [n] * count
            qs += assigned(cost.numpy().astype(float)).tolist()
            ts += range(count)
    wanted = torch.full(logits.shape[:2], COUNT)
    wanted[ns, qs] = torch.from_numpy(batch.labels)[ns, ts]
    weights = torch.tensor([1.0] * COUNT + [0.2])
    loss = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weights)
    found, true = boxes[ns, qs], right[ns, ts]
    return (
        loss
        + 5 * (found - true).abs().sum(1).mean()
        + 2 * (1 - overlap(_sides(found), _sides(true))[1]).mean()
    )


def _sides(box: Tensor) -> Tensor:
    return torch.cat([box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2], -1)
