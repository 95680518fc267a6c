import io
import json
import socket
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from maeface.errors import ConfigError, ResourceError, WeightsError
from maeface.faces import detector_weights
from maeface.faces.detector import NMS_OVERLAP, Detector, _to_faces, non_maximum_suppression
from maeface.faces.geometry import Face
from maeface.faces.retinaface import RetinaFace, decode, fuse_batch_norms, make_anchors, parameter_shapes
from maeface.faces.torch_detector import load_weights


@pytest.fixture(scope="module")
def detector(shared):
    return Detector(shared / "weights" / "retinaface_mobilenet0.25_Final.pth")


@pytest.fixture(scope="module")
def reference(shared):
    text = (shared / "weights" / "retinaface_reference_detections.json").read_text()
    return json.loads(text)["images"]


def test_boxes_points_and_scores_are_those_of_the_public_code(detector, reference, shared):
    for name, expected in reference.items():
        image = np.array(Image.open(shared / name).convert("RGB"))
        found = detector.find([image])[0]
        limit = [*image.shape[1::-1]] * 2
        assert len(found) == len(expected["boxes_xyxy_score"]), name
        (points,) = (value for key, value in expected.items() if key not in ("size_wh", "boxes_xyxy_score"))
        for row, five in zip(expected["boxes_xyxy_score"], points, strict=True):
            box = np.clip(row[:4], 0, limit)
            face = min(found, key=lambda face: np.abs(face.box - box).max())
            assert np.abs(face.box - box).max() < 1, name
            assert np.abs(face.landmarks - np.reshape(five, (5, 2))).max() < 1, name
            assert abs(face.score - row[4]) < 0.01, name


def test_all_twelve_faces_of_the_montage(detector, shared):
    image = np.array(Image.open(shared / "photos" / "group" / "congress_montage_12.jpg").convert("RGB"))
    found = detector.find([image])[0]
    assert len(found) == 12
    assert [face.score for face in found] == sorted((face.score for face in found), reverse=True)
    for face in found:
        left, right, nose, mouth_left, mouth_right = face.landmarks
        assert left[0] < right[0] and mouth_left[0] < mouth_right[0] and left[1] < nose[1] < mouth_left[1]


def boxes_of(kind, generator):
    """(N, 4) float32 boxes and their scores: crowded, in a grid with many ties, or of extreme sizes."""
    count = int(generator.integers(0, 120))
    if kind == "crowded":
        first = generator.uniform(0, 60, (count, 2))
        sides, scores = generator.uniform(0, 50, (count, 2)), generator.uniform(0, 1, count)
    elif kind == "grid":  # overlaps of exactly 2/5, duplicates, boxes without an area, equal scores
        first = generator.integers(0, 8, (count, 2))
        sides, scores = generator.integers(0, 8, (count, 2)), generator.integers(0, 4, count) / 4
    else:
        first = generator.normal(0, 1, (count, 2)) * 10.0 ** generator.integers(-30, 30, (count, 1))
        sides = 10.0 ** generator.uniform(-30, 30, (count, 2))
        scores = np.round(generator.uniform(0, 1, count), 1)
    return np.concatenate([first, first + sides], axis=1).astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("kind", ["crowded", "grid", "extreme"])
def test_suppress_keeps_what_torchvision_keeps(kind):
    for seed in range(300):
        boxes, scores = boxes_of(kind, np.random.default_rng(seed))
        for limit in (NMS_OVERLAP, 0.0, 0.2, 1 / 3, 0.5, 1.0):
            expected = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), limit)
            assert non_maximum_suppression(boxes, scores, limit).tolist() == expected.tolist(), (seed, limit)


def test_an_overlap_of_two_fifths_is_too_much_in_float32():
    boxes = np.array([[0, 0, 7, 1], [3, 0, 10, 1]], np.float32)  # 4 / 10, which float32 rounds up
    scores = np.array([0.5, 0.9], np.float32)
    assert torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.4).tolist() == [1]
    assert non_maximum_suppression(boxes, scores, 0.4).tolist() == [1]
    assert non_maximum_suppression(boxes, scores, 0.41).tolist() == [1, 0]


def test_faces_are_bit_for_bit_those_of_torchvisions_suppression(detector, shared, monkeypatch):
    photos = sorted((shared / "photos").rglob("*.jpg"))
    images = [
        np.array(Image.open(path).convert("RGB")) for path in (*photos[:: len(photos) // 12], *photos[-1:])
    ]
    images.append(
        np.array(Image.open(shared / "photos" / "group" / "congress_montage_12.jpg").convert("RGB"))
    )

    def numbers():
        found = detector.find(images)
        return [[(*face.box, *face.landmarks.ravel(), face.score) for face in faces] for faces in found]

    ours = numbers()
    monkeypatch.setattr(
        "maeface.faces.detector.non_maximum_suppression",
        lambda boxes, scores, limit: torchvision.ops.nms(
            torch.from_numpy(boxes), torch.from_numpy(scores), limit
        ).numpy(),
    )
    assert ours == numbers()
    assert sum(map(len, ours)) > 12


def test_faces_do_not_depend_on_the_images_beside_them(detector, shared):
    photos = sorted((shared / "photos" / "congress").glob("*.jpg"))[:5]
    images = [np.array(Image.open(path).convert("RGB")) for path in photos]
    images.insert(2, np.zeros((64, 100, 3), np.uint8))
    together = detector.find(images)
    assert together[2] == []
    for image, faces in zip(images, together, strict=True):
        for face, alone in zip(faces, detector.find([image])[0], strict=True):
            assert np.array_equal(face.box, alone.box) and np.array_equal(face.landmarks, alone.landmarks)
    assert detector.find([]) == []


def test_a_large_image_is_shrunk_and_mapped_back(detector, shared, monkeypatch):
    path = min((shared / "photos" / "congress").glob("*.jpg"))
    image = np.array(Image.open(path).convert("RGB"))
    double = np.array(Image.open(path).convert("RGB").resize((image.shape[1] * 2, image.shape[0] * 2)))
    face = detector.find([image])[0][0]
    monkeypatch.setattr("maeface.faces.detector.MAX_SIDE", max(image.shape))
    shrunk = detector.find([double])[0][0]
    assert np.abs(shrunk.box / 2 - face.box).max() < 3
    assert np.abs(shrunk.landmarks / 2 - face.landmarks).max() < 3


@pytest.mark.parametrize(
    ("backbone", "parameters", "least_names"),
    [
        ("mobilenet0.25", 0.43, {"body.stage1.0.0.weight", "fpn.merge1.0.weight", "ssh3.conv7x7_3.0.weight"}),
        (
            "resnet50",
            27.3,
            {"body.conv1.weight", "body.layer4.2.bn3.running_var", "LandmarkHead.2.conv1x1.bias"},
        ),
    ],
)
def test_the_network_has_the_published_names_and_shapes(backbone, parameters, least_names):
    torch.manual_seed(0)
    network = RetinaFace(backbone).eval()
    assert least_names <= dict(parameter_shapes(network)).keys()
    assert not any("fc." in name for name, _ in parameter_shapes(network))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(parameters, abs=0.1)
    images = torch.randn(2, 3, 75, 101)
    with torch.inference_mode():
        before = network(images)
        cells = len(make_anchors(75, 101))
        assert [x.shape for x in before] == [(2, cells, 2), (2, cells, 4), (2, cells, 10)]
        after = fuse_batch_norms(network)(images)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    for x, y in zip(before, after, strict=True):
        assert torch.allclose(x, y, atol=1e-3)


def test_anchors_and_offsets():
    place = make_anchors(16, 33)
    assert len(place) == 2 * (2 * 5 + 1 * 3 + 1 * 2)
    assert place[:4].tolist() == [[4, 4, 16], [4, 4, 32], [12, 4, 16], [12, 4, 32]]
    offsets = torch.tensor([[1.0, -1.0, 5 * np.log(2), 0.0]])
    boxes, points = decode(place[1:2], offsets, torch.ones(1, 10))
    assert boxes[0].tolist() == pytest.approx([4 + 3.2 - 32, 4 - 3.2 - 16, 4 + 3.2 + 32, 4 - 3.2 + 16])
    assert points[0].flatten().tolist() == pytest.approx([7.2] * 10)


def test_boxes_are_cut_at_the_border_and_empty_ones_dropped():
    row = np.arange(15, dtype=np.float32)
    inside, cut, outside = row.copy(), row.copy(), row.copy()
    inside[:4], cut[:4], outside[:4] = (5, 5, 20, 20), (-9, -9, 500, 20), (-50, -50, -10, -10)
    faces = _to_faces(np.stack([inside, cut, outside]), (50, 60), (100, 120))
    assert [face.box.tolist() for face in faces] == [[10, 10, 40, 40], [0, 0, 120, 40]]


def test_numbers_that_are_none_are_no_faces(detector, monkeypatch):
    def broken(images):
        cells = len(make_anchors(*images.shape[-2:]))
        nothing = torch.full((len(images), cells, 10), torch.nan)
        return torch.tensor([0.0, 9.0]).expand(len(images), cells, 2), nothing[..., :4], nothing

    monkeypatch.setattr(detector.networks, "network", broken)
    assert detector.find([np.zeros((64, 64, 3), np.uint8)]) == [[]]


def test_wrong_weights_are_one_clear_line(tmp_path):
    path = tmp_path / "weights.pth"
    network = RetinaFace()
    with pytest.raises(WeightsError, match="no face detector weights"):
        load_weights(network, path)
    for damaged in (b"not a checkpoint", b"", b"a", b"tR", b"\x80\x02(t."):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match="is not a RetinaFace checkpoint"):
            load_weights(network, path)
    torch.save({"module.body.conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="does not fit this backbone"):
        load_weights(network, path)
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="dictionary of tensors"):
        load_weights(network, path)
    torch.save({f"module.{k}": v for k, v in RetinaFace().state_dict().items()}, path)
    load_weights(network, path)


def test_a_device_that_is_not_there_is_one_clear_line(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(RetinaFace().state_dict(), path)
    for device in ("cuda:99", "nonsense"):
        with pytest.raises(ResourceError, match="cannot use device"):
            Detector(path, device=device)


def test_bfloat16_is_near(detector, shared):
    image = np.array(Image.open(min((shared / "photos" / "congress").glob("*.jpg"))).convert("RGB"))
    rough = Detector(shared / "weights" / "retinaface_mobilenet0.25_Final.pth", precision="bfloat16")
    assert np.abs(rough.find([image])[0][0].box - detector.find([image])[0][0].box).max() < 5


def test_wrong_settings_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"choose one of mobilenet0.25, resnet50"):
        Detector(tmp_path, backbone="vgg")
    with pytest.raises(ConfigError, match="precision"):
        Detector(tmp_path, precision="int3")


@pytest.fixture
def empty_places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    return tmp_path


def answer(monkeypatch, outcome):
    def urlopen(address, timeout):
        assert address.startswith("https://") and timeout
        if isinstance(outcome, Exception):
            raise outcome
        return io.BytesIO(outcome)

    monkeypatch.setattr(detector_weights.urllib.request, "urlopen", urlopen)


@pytest.mark.parametrize(
    "error", [urllib.error.URLError(socket.gaierror(-2, "no name")), TimeoutError("timed out")]
)
def test_offline_says_which_file_to_put_where(empty_places, monkeypatch, error):
    answer(monkeypatch, error)
    with pytest.raises(ResourceError) as caught:
        detector_weights.locate_detector_weights("mobilenet0.25", "public")
    for part in ("retinaface_mobilenet0.25_Final.pth", "2979b33ffafda5d7", "MAEFACE_WEIGHTS", "\n"):
        assert (part in str(caught.value)) == (part != "\n")


def test_a_download_of_other_bytes_is_refused_and_not_kept(empty_places, monkeypatch):
    answer(monkeypatch, b"<html>")
    with pytest.raises(WeightsError, match="sha256"):
        detector_weights.locate_detector_weights("mobilenet0.25", "public")
    assert not list((empty_places / "cache").rglob("*.pth"))


def test_one_download_then_the_cache(empty_places, monkeypatch):
    data = b"weights"
    published = detector_weights.PublicCheckpoint(
        "tiny.pth", "https://example.org/tiny.pth", detector_weights.hashlib.sha256(data).hexdigest()
    )
    monkeypatch.setitem(detector_weights.PUBLIC_CHECKPOINTS, "mobilenet0.25", published)
    answer(monkeypatch, data)
    assert (
        detector_weights.locate_detector_weights("mobilenet0.25") == detector_weights.EMBEDDED
    )  # nothing comes unasked
    path = detector_weights.locate_detector_weights("mobilenet0.25", "public")
    assert path.read_bytes() == data and path.parent == empty_places / "cache" / "maeface"
    answer(monkeypatch, AssertionError("downloaded twice"))
    assert detector_weights.locate_detector_weights("mobilenet0.25") == path
    mine = empty_places / "mine" / "tiny.pth"
    mine.write_bytes(data)
    assert detector_weights.locate_detector_weights("mobilenet0.25") == mine
    mine.write_bytes(b"other")
    with pytest.raises(WeightsError, match="expected"):
        detector_weights.locate_detector_weights("mobilenet0.25")
    assert detector_weights.locate_detector_weights("mobilenet0.25", "embedded") == detector_weights.EMBEDDED


def test_without_the_public_weights_the_embedded_ones_are_taken_without_a_word(
    empty_places, monkeypatch, capsys
):
    answer(monkeypatch, AssertionError("downloaded without being asked"))
    assert detector_weights.locate_detector_weights("mobilenet0.25") == detector_weights.EMBEDDED
    assert capsys.readouterr().err == ""
    assert detector_weights.source_of(detector_weights.EMBEDDED) == "embedded"
    with pytest.raises(ConfigError, match="resnet50"):
        detector_weights.locate_detector_weights("resnet50", "embedded")
    with pytest.raises(ConfigError, match="auto, public, embedded"):
        detector_weights.locate_detector_weights("mobilenet0.25", "mine")


def test_the_embedded_weights_are_small_and_damaged_ones_are_refused(tmp_path):
    data = detector_weights.EMBEDDED.read_bytes()
    assert len(data) <= 2 * 2**20
    load_weights(RetinaFace(), detector_weights.EMBEDDED)
    path = tmp_path / "weights.safetensors"
    for damaged in (b"", data[:1000], data[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match="not a RetinaFace checkpoint"):
            load_weights(RetinaFace(), path)


def test_the_embedded_detector_finds_the_faces_of_the_public_one(shared, detector):
    embedded = Detector(detector_weights.EMBEDDED)
    photos = sorted((shared / "photos" / "congress").glob("*.jpg"))[::60]
    images = [np.array(Image.open(path).convert("RGB")) for path in photos]
    for one, other in zip(detector.find(images), embedded.find(images), strict=True):
        eyes = np.hypot(*(one[0].landmarks[1] - one[0].landmarks[0]))
        assert np.hypot(*(one[0].landmarks - other[0].landmarks).T).mean() < 0.08 * eyes
    for name, least in (("congress_montage_12", 12), ("situation_room", 10)):
        image = np.array(Image.open(shared / "photos" / "group" / f"{name}.jpg").convert("RGB"))
        seen = np.stack([face.box for face in embedded.find([image])[0]])
        truth = np.stack([face.box for face in detector.find([image])[0]])
        overlaps = torchvision.ops.box_iou(torch.from_numpy(truth), torch.from_numpy(seen))
        assert (overlaps.amax(dim=1) > 0.5).sum() >= least, name


def test_where_the_points_do_not_settle_there_is_no_face(monkeypatch):
    embedded = Detector(detector_weights.EMBEDDED)
    faces = [
        Face(np.array([0, 0, 20, 20], np.float32), np.full((5, 2), k, np.float32), 0.9) for k in (1, 2, 3)
    ]

    def refined(network, images, points):
        return [(one + 10, settled) for one, settled in zip(points, (True, False, True), strict=True)]

    monkeypatch.setattr("maeface.faces.detector.refine_landmarks", refined)
    (seen,) = embedded._refine([np.zeros((20, 20, 3), np.uint8)], [faces])
    assert [face.landmarks[0, 0] for face in seen] == [11, 13]
    embedded.landmark_net = None
    assert embedded._refine([np.zeros((20, 20, 3), np.uint8)], [faces]) == [faces]


def test_resnet50_is_asked_for(empty_places):
    with pytest.raises(ResourceError, match=r"Resnet50_Final\.pth.*MAEFACE_WEIGHTS"):
        detector_weights.locate_detector_weights("resnet50")
    (empty_places / "mine" / "Resnet50_Final.pth").write_bytes(b"x")
    assert detector_weights.locate_detector_weights("resnet50").name == "Resnet50_Final.pth"
