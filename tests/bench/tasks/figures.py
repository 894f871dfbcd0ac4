"""How good what a network answers is, on scenes: shares of what is right, from the outputs of its file."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from arrays import Scenes
from scenes import CLASSES


def top1(outputs: Sequence[np.ndarray], scenes: Scenes) -> dict[str, float]:
    """The share of scenes whose class has the greatest score."""
    return {"top-1": float((outputs[0].argmax(1) == scenes.labels[:, 0]).mean())}


def each(outputs: Sequence[np.ndarray], scenes: Scenes) -> dict[str, float]:
    """Of classes that are there, the share that is found, and of those found the share that is there."""
    there = (scenes.labels[:, :, None] == np.arange(len(CLASSES))).any(1)
    found = outputs[0] > 0.5
    return {"recall": float(found[there].mean()), "precision": float(there[found].mean())}


def iou(outputs: Sequence[np.ndarray], scenes: Scenes) -> dict[str, float]:
    """Pixels of a class in truth and answer, by those in either: the mean over the classes."""
    classes = np.concatenate([np.zeros((len(scenes.labels), 1), int), scenes.labels + 1], 1)
    right = np.take_along_axis(classes, scenes.owners.reshape(len(classes), -1).astype(int), 1)
    said = outputs[0].argmax(1).reshape(right.shape)
    shares = [((right == c) & (said == c)).sum() / ((right == c) | (said == c)).sum() for c in range(1, 7)]
    return {"IoU": float(np.mean(shares))}


def characters(outputs: Sequence[np.ndarray], scenes: Scenes) -> dict[str, float]:
    """The share of characters that are right, and of whole lines."""
    wrong, lines = 0, []
    for steps, labels in zip(outputs[0].argmax(2), scenes.labels, strict=True):
        kept = np.flatnonzero(np.diff(steps, prepend=0))
        said = [c - 1 for c in steps[kept] if c]
        right = [c for c in labels if c >= 0]
        wrong += _edits(said, right)
        lines.append(said == right)
    return {"characters": 1 - wrong / (scenes.labels >= 0).sum(), "lines": float(np.mean(lines))}


def _edits(a: Sequence[int], b: Sequence[int]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        last, row[0] = i, i + 1
        for j, y in enumerate(b):
            last, row[j + 1] = row[j + 1], min(row[j + 1] + 1, row[j] + 1, last + (x != y))
    return row[-1]


def raw_boxes(outputs: Sequence[np.ndarray], scenes: Scenes) -> dict[str, float]:
    """Of (n, 4 + classes, anchors): boxes x, y, w, h, with the double ones left out."""
    found = []
    for answer in outputs[0]:
        sure, label = answer[4:].max(0), answer[4:].argmax(0)
        corner = np.concatenate([answer[:2] - answer[2:4] / 2, answer[2:4]]).T
        kept = cv2.dnn.NMSBoxesBatched(corner.tolist(), sure.tolist(), label.tolist(), 0.25, 0.5)
        boxes = [np.array([y, x, y + h, x + w]) for x, y, w, h in corner[list(kept)]]
        found.append(list(zip(boxes, label[list(kept)], strict=True)))
    return _matched(found, scenes)


def queries(outputs: Sequence[np.ndarray], scenes: Scenes) -> dict[str, float]:
    """Of logits (n, queries, classes + 1) and boxes cx, cy, w, h of 0 to 1: those surer than half."""
    found = []
    for logits, boxes in zip(*outputs, strict=True):
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        centre, half = boxes[:, [1, 0]], boxes[:, [3, 2]] / 2
        sides = np.concatenate([centre - half, centre + half], 1) * scenes.images.shape[1]
        sure = shares[:, :-1].max(1) > 0.5
        found.append(list(zip(sides[sure], shares[sure, :-1].argmax(1), strict=True)))
    return _matched(found, scenes)


def _matched(found: list[list[tuple[np.ndarray, int]]], scenes: Scenes) -> dict[str, float]:
    """Of what is there the share that is found (IoU above half), and of what is found the share that is."""
    hits = there = said = 0
    for answer, labels, boxes in zip(found, scenes.labels, scenes.boxes, strict=True):
        said, there = said + len(answer), there + (labels >= 0).sum()
        free = list(answer)
        for label, box in zip(labels[labels >= 0], boxes, strict=False):
            if near := [i for i, (b, c) in enumerate(free) if c == label and overlap(b, box) > 0.5]:
                free.pop(near[0])
                hits += 1
    return {"found": float(hits / there), "right": hits / max(said, 1)}


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The IoU of two boxes y0, x0, y1, x1."""
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def retrieved(outputs: Sequence[np.ndarray], scenes: Scenes) -> dict[str, float]:
    """How often a scene's pair is nearer than others, nine at most, that have no class in common with it."""
    vectors, labels = outputs[0], scenes.labels[:, :3]
    first, second = vectors[::2], vectors[1::2]
    hits = []
    for i, vector in enumerate(first):
        others = [j for j in range(len(second)) if not np.isin(labels[2 * i], labels[2 * j + 1]).any()][:9]
        if others:
            hits.append((second[others] @ vector).max() < second[i] @ vector)
    return {"retrieved": float(np.mean(hits))}
