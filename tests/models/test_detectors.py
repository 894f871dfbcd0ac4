"""Boxes as the producers' own post-processing gives them: transformers, and where they are, Ultralytics and
torchvision.
"""

import ast
import warnings

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.readouts.boxes import find
from onnxlens.engine.anatomy.readouts.thing import Hints
from onnxlens.engine.runtime.network import Network

pytestmark = pytest.mark.reference
HEIGHT, WIDTH, QUERIES, CLASSES = 96, 160, 30, 7


def same(things, boxes, scores, labels, within=0.5):
    """The same boxes x0, y0, x1, y1 to half a pixel, best first, with scores and classes."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    assert len(things) == len(order)
    assert len(order) > 3
    np.testing.assert_allclose([t.score for t in things], np.asarray(scores)[order], atol=1e-4)
    ours = np.array([t.box for t in things])[:, [1, 0, 3, 2]]
    np.testing.assert_allclose(ours, np.asarray(boxes)[order], atol=within)
    assert [t.label for t in things] == list(np.asarray(labels)[order])


# -- transformers ---------------------------------------------------------------------------------------

PROCESSORS = {
    "detr": "Detr",
    "yolos": "Yolos",
    "conditional_detr": "ConditionalDetr",
    "deformable_detr": "DeformableDetr",
    "rt_detr": "RTDetr",
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_queries_are_read_as_transformers_reads_them(kind):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, QUERIES, CLASSES)).astype(np.float32) * 4 - 6
    boxes = rng.random((1, QUERIES, 4)).astype(np.float32)
    model = parsed(
        """(float[1, 3, 96, 160] x) => (float logits, float pred_boxes) {
        m = GlobalAveragePool (x)
        r = Reshape (m, s)
        l = MatMul (r, w)
        logits = Reshape (l, sl)
        b = MatMul (r, v)
        t = Reshape (b, sb)
        pred_boxes = Sigmoid (t) }""",
        s=np.array([1, 3]),
        w=rng.normal(size=(3, QUERIES * CLASSES)),
        v=rng.normal(size=(3, QUERIES * 4)),
        sl=np.array([1, QUERIES, CLASSES]),
        sb=np.array([1, QUERIES, 4]),
    )
    found = find(Network(model, provider="cpu").graph, Hints((HEIGHT, WIDTH), facts={"model_type": kind}))
    things = found.things({"logits": logits, "pred_boxes": boxes}, (HEIGHT, WIDTH))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = getattr(transformers, f"{PROCESSORS[kind]}ImageProcessorPil")()
    answer = type("Answer", (), {"logits": torch.from_numpy(logits), "pred_boxes": torch.from_numpy(boxes)})
    (theirs,) = processor.post_process_object_detection(answer, 0.5, [(HEIGHT, WIDTH)])
    same(things, *(theirs[k].numpy() for k in ("boxes", "scores", "labels")), within=1e-3)


# -- Ultralytics ----------------------------------------------------------------------------------------

EXPORTED = [
    ("yolov8n", {}),
    ("yolov8n-seg", {}),
    ("yolov8n-pose", {}),
    ("yolov8n-obb", {}),
    ("yolov5n", {}),
    ("yolov10n", {"end2end": True}),
    ("yolo11n", {"dynamic": True}),
    ("yolo12n", {}),
    ("yolo26n", {"end2end": True}),
    ("yolo26n-seg", {"end2end": True}),
    ("yolo26n-pose", {"end2end": True}),
    ("yolo26n-obb", {"end2end": True}),
]


def random_yolo(name, torch, ultralytics):
    """A model of this architecture whose random weights are sure of something."""
    torch.manual_seed(0)
    model = ultralytics.YOLO(f"{name}.yaml")
    head = model.model.model[-1]
    for branch in (*head.cv3, *(getattr(head, "one2one_cv3", None) or ())):
        branch[-1].bias.data.normal_(-2 if len(branch[-1].bias) > 1 else 0, 1)
        branch[-1].weight.data.mul_(30)
    return model


@pytest.mark.parametrize(("name", "options"), EXPORTED, ids=lambda v: v if isinstance(v, str) else "".join(v))
@pytest.mark.parametrize("words", [True, False], ids=["words", "graph"])
def test_boxes_are_those_of_ultralytics(name, options, words, tmp_path, monkeypatch):
    torch, ultralytics = pytest.importorskip("torch"), pytest.importorskip("ultralytics")
    from ultralytics.utils import ops
    from ultralytics.utils.nms import non_max_suppression

    monkeypatch.chdir(tmp_path)
    made = random_yolo(name, torch, ultralytics)
    file = made.export(format="onnx", imgsz=(HEIGHT, WIDTH), simplify=False, **options)
    network = Network(file, provider="cpu", shapes={"images": [1, 3, HEIGHT, WIDTH]})
    facts = dict(network.graph.metadata) if words else {}
    labels = list(ast.literal_eval(network.graph.metadata["names"]).values())
    task = network.graph.metadata["task"]
    found = find(network.graph, Hints((HEIGHT, WIDTH), labels if words else (), facts))
    if task == "obb" and not words:
        return  # that these are angles is told by words alone
    rng = np.random.default_rng(0)
    image = rng.random((1, 3, HEIGHT, WIDTH)).astype(np.float32)
    values = network.run({"images": image}, list(dict.fromkeys([*found.outputs, *found.parts])))
    answer = values["output0"]
    if found.layout == "yolov8":  # no two scores alike, whose order would be anybody's
        answer[:, 4 : 4 + len(labels)] += rng.random((1, len(labels), answer.shape[2])) * 1e-3
    things = found.things(values, (HEIGHT, WIDTH))
    (theirs,) = non_max_suppression(
        torch.from_numpy(answer), 0.25, 0.7, nc=len(labels), rotated=task == "obb",
        end2end=bool(options.get("end2end")),
    )  # fmt: skip
    boxes = ops.xywh2xyxy(theirs[:, :4]) if task == "obb" else theirs[:, :4]
    same(things, boxes.numpy(), theirs[:, 4].numpy(), theirs[:, 5].numpy(), within=1e-3)
    if task == "obb":
        np.testing.assert_allclose([t.angle for t in things], theirs[:, -1], atol=1e-5)
    if task == "pose":
        points = theirs[:, 6:].reshape(len(things), -1, 3).numpy()
        np.testing.assert_allclose([t.points for t in things], points[..., [1, 0, 2]], atol=1e-3)
    if task == "segment":
        coefficients, protos = theirs[:, 6:], torch.from_numpy(values["output1"])[0]
        masks = ops.process_mask(protos, coefficients, theirs[:, :4], (HEIGHT, WIDTH)).numpy()
        assert np.mean(np.array([t.mask > 0.5 for t in things]) != masks) < 0.03  # the rims of the boxes


# -- torchvision ----------------------------------------------------------------------------------------


def made_of(kind, detection, **more):
    backbone = detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5
    )
    if kind == "SSD":
        anchors = detection.anchor_utils.DefaultBoxGenerator([[2]] * 5)
        head = detection.ssd.SSDHead([256] * 5, anchors.num_anchors_per_location(), 6)
        return detection.ssd.SSD(backbone, anchors, (HEIGHT, WIDTH), head=head, **more)
    return getattr(detection, kind)(backbone, min_size=HEIGHT, max_size=WIDTH, **more)


@pytest.mark.parametrize("kind", ["FasterRCNN", "RetinaNet", "FCOS", "SSD", "MaskRCNN", "KeypointRCNN"])
def test_boxes_are_those_of_torchvision(kind, tmp_path):
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchvision.models.detection")
    torch.manual_seed(0)
    more = {"num_classes": 2, "num_keypoints": 5} if kind == "KeypointRCNN" else {"num_classes": 6}
    model = made_of(kind, detection, **more).eval()
    for name, weights in model.named_parameters():
        if "cls" in name:  # a bias says that hardly anything is there
            weights.data.mul_(3 if weights.ndim > 1 else 0)
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (theirs,) = model(list(image))
        torch.onnx.export(model, (image,), tmp_path / "m.onnx", dynamo=False, opset_version=16)
    network = Network(tmp_path / "m.onnx", provider="cpu")
    found = find(network.graph, Hints((HEIGHT, WIDTH)))
    feeds = {network.graph.inputs[0]: image.numpy()}
    values = network.run(feeds, list(dict.fromkeys([*found.outputs, *found.parts])))
    things = found.things(values, (HEIGHT, WIDTH), 0)
    same(things, *(theirs[k].numpy() for k in ("boxes", "scores", "labels")))
    for thing in things:
        on = [values[n].ravel()[w.indices] for n, w in thing.seed.of.items()]
        assert np.concatenate(on) == pytest.approx(thing.score, abs=1e-6)
    if kind == "MaskRCNN":
        np.testing.assert_allclose([t.mask for t in things], theirs["masks"][:, 0], atol=0.01)
    if kind == "KeypointRCNN":
        points = theirs["keypoints"].numpy()
        np.testing.assert_allclose([t.points[:, :2] for t in things], points[..., [1, 0]], atol=0.5)
