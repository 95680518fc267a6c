from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from maeface.errors import ConfigError, DataError, WeightsError
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from maeface.faces.geometry import Face
from maeface.faces.landmark_net import LandmarkNet
from maeface.faces.landmarks import MEAN_SHAPE
from maeface.faces.retinaface import RetinaFace, decode, make_anchors
from maeface_studio.detector import detection, landmarks, targets, training
from maeface_studio.detector.augmentation import degrade
from maeface_studio.detector.composition import Composition, PlacedFace, compose, paste
from maeface_studio.detector.cutouts import Cutout, Material, collect
from maeface_studio.detector.detection import Settings, detection_loss
from maeface_studio.detector.targets import Targets, make_targets, mirror_targets, to_network_input
from maeface_studio.detector.training_state import TrainingState

POINTS = np.array([[40, 40], [60, 40], [50, 52], [42, 62], [58, 62]], np.float32)
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))


def cutout():
    """A grey face with a dot of another colour at each of its points."""
    pixels = np.full((100, 100, 3), 128, np.uint8)
    for (x, y), colour in zip(POINTS.astype(int), COLOURS, strict=True):
        pixels[y - 2 : y + 2, x - 2 : x + 2] = colour
    picture = Image.fromarray(pixels)
    return Cutout((picture, picture.reduce(2)), np.array([30, 25, 70, 75], np.float32), POINTS)


def material():
    plain = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    return Material(((cutout(),),), (plain,), (plain,))


@pytest.mark.parametrize("seed", range(12))
def test_points_lie_where_the_pixels_lie(seed, monkeypatch):
    monkeypatch.setattr("maeface_studio.detector.composition.change_light", lambda picture, random: picture)
    canvas, owner = Image.new("RGB", (300, 300)), Image.new("L", (300, 300))
    placed = paste(canvas, owner, 7, cutout(), 110.0, np.random.default_rng(seed))
    pixels, covered = np.asarray(canvas).astype(int), np.asarray(owner)
    assert (placed.box[2:] - placed.box[:2]).max() == pytest.approx(110)
    upright = (
        np.linalg.det(np.stack([placed.points[1] - placed.points[0], placed.points[3] - placed.points[0]]))
        > 0
    )
    assert upright  # the left eye is on the left whether mirrored or not
    seen = 0
    for x, y in placed.points:
        if 3 < x < 297 and 3 < y < 297 and covered[int(y), int(x)]:
            around = pixels[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
            assert (around.max(axis=2) - around.min(axis=2)).max() > 60  # a coloured dot, and not grey
            seen += 1
    assert seen


def test_a_canvas_is_a_function_of_seed_and_number():
    one, again, other = (compose(material(), 128, 3, index) for index in (5, 5, 6))
    assert np.array_equal(one.pixels, again.pixels) and not np.array_equal(one.pixels, other.pixels)
    assert one.pixels.shape == (128, 128, 3) and one.pixels.dtype == np.uint8
    counts = [len(canvas.faces) for canvas in (compose(material(), 128, 0, i) for i in range(40))]
    assert 0 in counts and max(counts) > 3


def test_targets_of_the_mirrored_canvas():
    size = 64
    place = make_anchors(size, size)
    logits = torch.randn(len(place), 1)
    boxes, points = torch.randn(len(place), 4), torch.randn(len(place), 10)
    box, point = decode(place, boxes, points)
    flipped, turned = decode(place, mirror_targets(boxes, size), mirror_targets(points, size))
    # the anchor at the mirrored place says the mirrored thing
    where = {(float(x), float(y), float(s)): i for i, (x, y, s) in enumerate(place)}
    partner = torch.tensor([where[size - float(x), float(y), float(s)] for x, y, s in place])
    assert torch.equal(mirror_targets(logits, size), logits[partner])
    expected = torch.stack([size - box[:, 2], box[:, 1], size - box[:, 0], box[:, 3]], 1)[partner]
    assert torch.allclose(flipped, expected, atol=1e-4)
    expected = point[:, [1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]) + torch.tensor([size, 0.0])
    assert torch.allclose(turned, expected[partner], atol=1e-4)


@pytest.mark.parametrize("turn", [0, 30, 90, -90, 180])
def test_the_angle_of_a_placed_face(turn):
    radians = np.radians(turn)
    matrix = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    points = (POINTS - 50) @ matrix.T
    assert PlacedFace(np.zeros(4), points).angle == pytest.approx(abs(turn), abs=1e-3)


def test_some_faces_are_turned_all_the_way_around():
    angles = [face.angle for i in range(60) for face in compose(material(), 128, 1, i).faces]
    turned = np.mean([angle > targets.TURNED_ANGLE for angle in angles])
    assert 0.04 < turned < 0.2 and max(angles) > 150


def test_a_face_beside_another_stands_close_to_it():
    canvas, owner = Image.new("RGB", (900, 900)), Image.new("L", (900, 900))
    first = placed(450, 450, 60)
    for seed in range(20):
        other = paste(canvas, owner, 1, cutout(), 60.0, np.random.default_rng(seed), first)
        assert 20 < np.hypot(*(other.middle - first.middle)) <= 0.85 * 120


def test_turned_heads_are_drawn_more_often():
    nose = np.array([[0, 0], [0, 0], [8, 0], [0, 0], [0, 0]], np.float32)
    turned = Cutout(cutout().levels, cutout().box, POINTS + nose)
    assert (cutout().turn, turned.turn) == pytest.approx((0, 0.4))
    few = Material(((cutout(),) * 9 + (turned,),), (), ())
    random = np.random.default_rng(0)
    assert 0.13 < np.mean([few.draw(random) is turned for _ in range(1000)]) < 0.25


class Teacher:
    """Sees one face of 32 px around (48, 48) and nothing else."""

    def __call__(self, images):
        place = make_anchors(*images.shape[2:])
        logits = torch.zeros(1, len(place), 2)
        logits[..., 0] = 5
        there = (place == torch.tensor([44.0, 44.0, 32.0])).all(1)
        logits[0, there, 1] = 10
        return logits, torch.zeros(1, len(place), 4), torch.zeros(1, len(place), 10)


def placed(x, y, side):
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
    return PlacedFace(box, np.array([x, y]) + (POINTS - 50) / 50 * side)


def canvas_of(faces=(), hidden=(), complete=True):
    return Composition(np.zeros((128, 128, 3), np.uint8), tuple(faces), tuple(hidden), complete)


def test_the_geometry_mends_the_teacher():
    place = make_anchors(128, 128)
    sure = {}
    cases = {
        "alone": canvas_of(),
        "unknown": canvas_of(complete=False),
        "right": canvas_of([placed(45, 43, 30)]),
        "missed": canvas_of([placed(45, 43, 30), placed(96, 96, 60)]),
        "small": canvas_of([placed(45, 43, 30), placed(96, 96, 12)]),
        "hidden": canvas_of([], [placed(45, 43, 30), placed(96, 96, 60)]),
    }
    for name, canvas in cases.items():
        image_targets = make_targets(Teacher(), canvas)
        sure[name] = place[torch.from_numpy(image_targets.logits) > 0]
        assert image_targets.logits.dtype == np.float16 and image_targets.points.shape == (len(place), 10)
    assert len(sure["alone"]) == 0
    assert all(len(sure[name]) == 1 for name in ("unknown", "right", "small", "hidden"))
    assert len(sure["missed"]) > 1
    image_targets = make_targets(Teacher(), cases["missed"])
    taught = torch.from_numpy(image_targets.logits) == targets.CORRECTED_LOGIT
    box, points = decode(
        place[taught],
        torch.from_numpy(image_targets.boxes).float()[taught],
        torch.from_numpy(image_targets.points).float()[taught],
    )
    assert torch.allclose(box, torch.tensor([66.0, 66, 126, 126]), atol=0.1)
    assert np.abs(points.numpy() - placed(96, 96, 60).points).max() < 0.1


def test_a_head_upside_down_is_less_a_face_than_an_upright_one_and_has_its_points_where_they_are():
    place = make_anchors(128, 128)
    upright, other = placed(45, 43, 30), placed(96, 96, 60)
    turned = [PlacedFace(face.box, 2 * face.middle - face.points) for face in (upright, other)]
    for faces, sure in (([turned[0]], 0), ([upright, turned[1]], 1), (turned, 0)):
        image_targets = make_targets(Teacher(), canvas_of(faces))
        logits = torch.from_numpy(image_targets.logits)
        assert (logits > targets.TURNED_LOGIT).sum() == sure  # what the teacher said of the upright one
        taught = logits == targets.TURNED_LOGIT
        _, points = decode(
            place[taught],
            torch.from_numpy(image_targets.boxes).float()[taught],
            torch.from_numpy(image_targets.points).float()[taught],
        )
        for face in faces:
            errors = np.abs(points.numpy() - face.points).max(axis=(1, 2))
            assert (errors.min() < 0.1) == (face.angle > 90)


def test_features_are_compared_by_their_variance():
    torch.manual_seed(0)
    known = [torch.randn(2, 64, s, s) * s for s in (8, 4, 2)]
    assert float(detection.hint_loss(known, known)) == 0
    assert float(detection.hint_loss([torch.zeros_like(x) for x in known], known)) == pytest.approx(
        1, abs=0.05
    )
    state = detection.Student().state_dict()
    assert detection.Student().detector_state().keys() == RetinaFace().state_dict().keys() < state.keys()


def test_the_loss_is_least_where_model_and_teacher_agree():
    torch.manual_seed(0)
    logit, box, point = torch.randn(2, 50) * 2, torch.randn(2, 50, 4), torch.randn(2, 50, 10)
    agreed = (torch.stack([torch.zeros_like(logit), logit], -1), box, point)
    least = detection_loss(agreed, (logit, box, point))
    assert [float(value) for value in least] == pytest.approx([0, 0, 0], abs=1e-6)
    for i in range(3):
        other = [value + 0.3 * torch.randn_like(value) if i == j else value for j, value in enumerate(agreed)]
        worse = detection_loss(tuple(other), (logit, box, point))
        assert [w > x for w, x in zip(worse, least, strict=True)] == [i == j for j in range(3)]


def test_disturbing_keeps_the_picture_in_place():
    y, x = np.indices((96, 96))
    pixels = np.repeat((((x - 30) ** 2 + (y - 60) ** 2 < 200) * 200 + 20)[..., None], 3, 2).astype(np.uint8)
    different = 0
    for seed in range(20):
        other = degrade(pixels, np.random.default_rng(seed))
        assert other.shape == pixels.shape and other.dtype == np.uint8
        bright = other.mean(axis=2) > other.mean(axis=2).min() / 2 + other.mean(axis=2).max() / 2
        assert np.argwhere(bright).mean(axis=0) == pytest.approx([60, 30], abs=1.5)
        different += not np.array_equal(other, pixels)
    assert different > 15


class Finder:
    """Finds one face in bright images, in both looks."""

    def find(self, images):
        return [self._of(image) for image in images]

    def _of(self, image):
        if image.mean() < 100:
            return []
        scale = np.array(image.shape[1::-1], np.float32) / 100
        box = np.concatenate([[28, 28] * scale, [72, 72] * scale]).astype(np.float32)
        return [Face(box, POINTS * scale, 0.95)]


def test_what_is_collected(tmp_path):
    for name, level in (("a", 200), ("b", 200), ("test", 200), ("dark", 30)):
        Image.fromarray(np.full((200, 200, 3), level, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    collected = collect([tmp_path], Finder(), exclude=["test.png"])
    assert [len(group) for group in collected.cutouts] == [2]
    assert collected.cutouts[0][0].box.tolist() == [56, 56, 144, 144]
    assert len(collected.plain) == 1 + 2 * 3 and not collected.scenes
    with pytest.raises(DataError, match="no face"):
        collect([tmp_path / "dark.png"], Finder())
    with pytest.raises(ConfigError, match="no file or folder"):
        collect([tmp_path / "nowhere"], Finder())


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """``train`` with a small teacher and stock, from a folder of nothing."""
    torch.manual_seed(1)
    torch.save(RetinaFace().state_dict(), tmp_path / "teacher.pth")
    monkeypatch.setattr(training, "collect", lambda *_: material())

    def train(name, stop=None, keep=None, start=None, steps=4, place_steps=3, seed=0):
        small = {"steps": steps, "coarse": 2, "batch": 2, "sizes": (64, 96), "kept": 4, "fresh": 1}
        settings = training.Settings(Settings(**small), landmarks.Settings(steps=place_steps, batch=2))
        with monkeypatch.context() as patch:
            for part in (detection, landmarks):
                patch.setattr(part, "CHECKPOINT_EVERY_S", 0.0)
            if stop is not None:
                part, last = stop
                original = TrainingState.update

                def update(self, loss, rate, average, step):
                    if step == last and part in self.checkpoint.name:
                        raise KeyboardInterrupt
                    original(self, loss, rate, average, step)

                patch.setattr(TrainingState, "update", update)
            teacher = tmp_path / "teacher.pth"
            return training.run([], tmp_path / name, settings, seed, teacher, keep, start).read_bytes()

    return train


@pytest.mark.parametrize("part", ["finding", "placing"])
def test_a_stopped_training_ends_with_the_same_bytes(trained, tmp_path, part):
    whole = trained("whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        trained("stopped.safetensors", stop=(part, 2))
    assert (tmp_path / f"stopped.{part}.ckpt").is_file()
    for other in ({"steps": 5} if part == "finding" else {"place_steps": 5}, {"seed": 1}):
        with pytest.raises(
            WeightsError, match=f"{part}.ckpt belongs to a training with other settings or faces"
        ):
            trained("stopped.safetensors", **other)
    assert trained("stopped.safetensors") == whole
    assert not list(tmp_path.glob("*.ckpt"))
    assert len(whole) < 2 * 2**20


@pytest.mark.parametrize("part", ["finding", "placing"])
def test_a_damaged_checkpoint_is_refused_before_anything_is_trained(trained, tmp_path, part):
    (tmp_path / f"broken.{part}.ckpt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="delete it"):
        trained("broken.safetensors", stop=("finding", 0))


def test_a_checkpoint_of_other_faces_is_refused(trained, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        trained("stopped.safetensors", stop=("finding", 2))
    other = Material(((cutout(),),), (), ())
    monkeypatch.setattr(training, "collect", lambda *_: other)
    with pytest.raises(WeightsError, match="other settings or faces"):
        trained("stopped.safetensors")


def test_an_earlier_file_can_be_kept_for_finding(trained, tmp_path):
    trained("whole.safetensors")
    path = tmp_path / "whole.safetensors"
    unfinished = tmp_path / "again.finding.ckpt"
    unfinished.write_bytes(b"of another call")
    trained("again.safetensors", keep=path, place_steps=5)
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "again"))
    same = {name for name, value in one.items() if torch.equal(value, other[name])}
    assert {name for name in one if not name.startswith("points.")} <= same
    assert "points.features.0.weight" not in same  # learned anew
    assert unfinished.is_file()
    assert Detector(path).landmark_net is not None
    with pytest.raises(WeightsError, match="no face detector weights"):
        trained("none.safetensors", keep=tmp_path / "none")
    with pytest.raises(WeightsError, match="only a file that it made"):
        trained("theirs.safetensors", keep=tmp_path / "teacher.pth")


def test_a_training_goes_on_from_an_earlier_file(trained, tmp_path, monkeypatch):
    trained("more.safetensors", start=EMBEDDED, steps=1, place_steps=1)
    packaged, more = load_file(EMBEDDED), load_file(tmp_path / "more.safetensors")
    assert packaged.keys() == more.keys()
    kernels = [name for name, value in packaged.items() if value.ndim > 1]
    assert all(torch.allclose(more[name], packaged[name], atol=2e-3) for name in kernels)
    assert any(not torch.equal(more[name], packaged[name]) for name in kernels if "points." not in name)
    bias = "ClassHead.0.conv1x1.bias"
    assert torch.allclose(more[bias], packaged[bias], atol=2e-3)  # the margin is not subtracted twice
    with pytest.raises(WeightsError, match="only a file that it made"):
        trained("theirs.safetensors", start=tmp_path / "teacher.pth")
    with pytest.raises(KeyboardInterrupt):
        trained("stopped.safetensors", stop=("finding", 2))
    with pytest.raises(WeightsError, match="other settings or faces"):
        trained("stopped.safetensors", start=EMBEDDED)


def test_the_packaged_file_can_be_kept(trained, tmp_path):
    trained("again.safetensors", keep=EMBEDDED)
    packaged, again = load_file(EMBEDDED), load_file(tmp_path / "again.safetensors")
    assert packaged.keys() == again.keys()
    assert all(torch.equal(again[name], packaged[name]) for name in again if not name.startswith("points."))


@pytest.mark.parametrize("width", [100, 225, 301])
def test_a_sample_has_its_points_where_its_pixels_have_them(width, monkeypatch):
    """Of a picture whose red and green tell the place, whatever the level that is looked at."""
    for name in ("degrade", "change_light", "_obstruct"):
        monkeypatch.setattr(f"maeface_studio.detector.landmarks.{name}", lambda picture, random: picture)
    scale, rows = width / 100, round(1.1 * width)
    y, x = np.mgrid[:rows, :width] + 0.5
    pixels = np.stack([x / width, y / rows, np.zeros_like(x)], axis=-1) * 255
    picture = Image.fromarray(pixels.round().astype(np.uint8))
    levels = (picture, picture.reduce(2), picture.reduce(2).reduce(2))
    face = Cutout(levels, scale * np.array([30, 25, 70, 75], np.float32), scale * POINTS)
    apart = []
    for seed in range(12):
        seen, points = landmarks.draw_sample(Material(((face,),), (), ()), np.random.default_rng(seed))
        assert seen.shape == (64, 64, 3) and seen.dtype == np.uint8
        assert points[0, 0] < points[1, 0] and points[3, 0] < points[4, 0]  # mirrored or not
        for column, row in (points + 0.5) * 64:
            if not (1 < column < 63 and 1 < row < 63):
                continue
            # whether mirrored or not, some point of the face lies there
            left, top = int(column - 0.5), int(row - 0.5)
            across, down = column - 0.5 - left, row - 0.5 - top
            four = seen[top : top + 2, left : left + 2, :2].astype(float)
            weights = np.outer([1 - down, down], [1 - across, across])[..., None]
            place = (four * weights).sum(axis=(0, 1)) / 255 * [width, rows]
            apart.append(np.abs(place - scale * POINTS).sum(axis=1).min() / (20 * scale))
    assert len(apart) > 40 and np.mean(apart) < 0.02  # shares of the eyes' distance


def test_points_are_learned(tmp_path, monkeypatch):
    monkeypatch.setattr(landmarks, "WARM_UP", 10)
    settings = landmarks.Settings(steps=50, batch=16, average=0.9)
    network = landmarks.train(
        TrainingState(LandmarkNet, settings.decay, 0, tmp_path / "a.ckpt", {}), material(), settings, 0
    )
    random = np.random.default_rng(7)
    pixels, points = map(
        np.stack, zip(*(landmarks.draw_sample(material(), random) for _ in range(64)), strict=True)
    )
    targets = torch.from_numpy(points).float()
    with torch.no_grad():
        predicted = network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    assert landmarks.landmark_error(predicted, targets) < 0.8 * landmarks.landmark_error(
        torch.tensor(MEAN_SHAPE).expand_as(targets), targets
    )


def test_the_two_parts_of_the_schedule():
    settings = Settings()
    first, last = settings.phase(settings.coarse - 1), settings.phase(settings.coarse + 200)
    assert settings.phase(0).rate < 0.02 * settings.rate and first.rate < 0.1 * settings.rate
    assert last.rate > first.rate and last.points > first.points and last.corner < first.corner
    assert settings.phase(settings.steps - 1).rate < 0.01 * settings.fine_rate
    short = settings.with_steps(settings.steps // 10)
    assert short.phase(short.coarse).points == last.points
    assert short.phase(short.coarse - 1).points == first.points
    further = training.Settings().going_on()
    assert further.detection.phase(0).points == last.points and further.detection.steps == settings.steps
    assert further.detection.phase(0).rate < 0.02 * settings.fine_rate < further.detection.phase(200).rate
    assert further.landmarks == landmarks.Settings()


def test_a_step_reduces_the_loss(monkeypatch, tmp_path):
    canvas = canvas_of([placed(45, 43, 30)])
    image_targets = make_targets(Teacher(), canvas)
    pixels = to_network_input(torch.from_numpy(np.stack([canvas.pixels] * 2)))
    assert pixels.shape == (2, 3, 128, 128) and pixels[0, :, 0, 0].tolist() == [-104, -117, -123]
    settings = Settings(steps=1000)
    teacher = RetinaFace().eval()
    state = TrainingState(detection.new_model, settings.decay, 0, tmp_path / "a.ckpt", {})
    rows = [
        torch.from_numpy(x).float()[None].repeat_interleave(2, 0)
        for x in (image_targets.logits, image_targets.boxes, image_targets.points)
    ]
    batch = torch.from_numpy(np.stack([canvas.pixels] * 2)), tuple(rows)
    with torch.no_grad():
        before = sum(map(float, detection_loss(state.model(pixels), tuple(rows))))
    for step in range(12):
        phase = replace(settings.phase(step + 150), hints=0.0)
        detection.train_step(state, phase, step + 150, teacher, *batch)
    with torch.no_grad():
        after = sum(map(float, detection_loss(state.model(pixels), tuple(rows))))
    assert after < 0.9 * before
    assert isinstance(image_targets, Targets)
