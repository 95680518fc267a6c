import numpy as np
import pytest
import torch
from PIL import Image

from maeface.errors import ConfigError
from maeface.faces import finder, media, search
from maeface.faces.detector import Detector
from maeface.faces.finder import centre_crop, find_crops
from maeface.faces.geometry import Face, Square, eye_angle, to_crop, to_image


class Eyes:
    """Stands in for the detector: sees bright red and bright blue dots as the eyes of a face of 100 px."""

    def __init__(self, again=True, score=0.99):
        self.again, self.score, self.shapes = again, score, []

    def find(self, images):
        self.shapes.append([image.shape[:2] for image in images])
        return [self._face(image) if len(self.shapes) == 1 or self.again else [] for image in images]

    def _face(self, image):
        eyes = []
        for channel in (0, 2):
            dot = (image[..., channel] > 128) & (image[..., 1] < 60) & (image[..., 2 - channel] < 60)
            if not dot.any():
                return []
            rows, columns = np.nonzero(dot)
            eyes.append([columns.mean() + 0.5, rows.mean() + 0.5])
        left, right = np.array(eyes)
        across = right - left
        down = np.array([-across[1], across[0]])
        middle = (left + right) / 2 + down / 2
        half = np.hypot(*across)
        mouth = (left + down, right + down)
        box = np.concatenate([middle - half, middle + half]).astype(np.float32)
        return [Face(box, np.array([left, right, middle, *mouth], np.float32), self.score)]


def drawn(angle=0.0):
    """A face of 100 px in the middle, eyes at (125, 125) and (175, 125), turned clockwise."""
    image = np.full((300, 300, 3), 90, np.uint8)
    eyes = to_image(np.array([[125.0, 125], [175, 125]]), Square(150, 150, 300, angle), 300)
    rows, columns = np.indices((300, 300)) + 0.5
    for (x, y), colour in zip(eyes, ([255, 0, 0], [0, 0, 255]), strict=True):
        image[(columns - x) ** 2 + (rows - y) ** 2 < 36] = colour
    return image


@pytest.mark.parametrize("angle", [0, 25, -70, 90, 180])
def test_eyes_lie_level_in_the_crop_whatever_the_angle(angle):
    (crops,) = find_crops(Eyes(), [drawn(angle)], size=110)
    (found,) = crops
    upright = find_crops(Eyes(), [drawn()], size=110)[0][0]
    assert found.confirmed
    assert (found.square.angle_deg - angle) % 360 == pytest.approx(0, abs=1) or (
        found.square.angle_deg - angle
    ) % 360 == pytest.approx(360, abs=1)
    assert (found.square.cx, found.square.cy) == pytest.approx((150, 150), abs=1.5)
    assert found.square.side == pytest.approx(110, abs=2)
    (face,) = Eyes().find([found.pixels])[0]
    assert eye_angle(face.landmarks) == pytest.approx(0, abs=2)
    assert face.landmarks == pytest.approx(Eyes().find([upright.pixels])[0][0].landmarks, abs=2)


def test_the_second_look_costs_the_same_for_every_face():
    eyes = Eyes()
    large = np.array(Image.fromarray(drawn()).resize((600, 600)))
    find_crops(eyes, [drawn(), large, drawn(30)])
    assert eyes.shapes[-1] == [(search.WINDOW_PX, search.WINDOW_PX)] * 3


def test_a_face_not_seen_again_keeps_its_first_box_and_says_so():
    (crops,) = find_crops(Eyes(again=False), [drawn(20)])
    assert not crops[0].confirmed
    assert crops[0].square.angle_deg == 20
    assert crops[0].square.side == pytest.approx(110, abs=2)
    assert find_crops(Eyes(again=False, score=0.6), [drawn(20)]) == [[]]


def test_no_face_is_an_empty_list_and_a_wrong_choice_is_refused():
    assert find_crops(Eyes(), [np.zeros((100, 100, 3), np.uint8), drawn()])[0] == []
    assert find_crops(Eyes(), []) == []
    with pytest.raises(ConfigError, match="largest, central, all, or a number"):
        find_crops(Eyes(), [drawn()], faces="some")


def test_ready_crops_are_taken_as_they_are():
    image = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    assert np.array_equal(centre_crop(image, 64).pixels, image)
    wide = centre_crop(np.dstack([np.tile(np.arange(100, dtype=np.uint8), (60, 1))] * 3), 60)
    assert wide.pixels[0, 0, 0] == 20 and wide.pixels[-1, -1, 0] == 79
    assert wide.face.box.tolist() == [20, 0, 80, 60] and np.isnan(wide.face.landmarks).all()


@pytest.mark.parametrize(
    ("longest", "factors"),
    [(225, [1]), (640, [1]), (641, [2, 1]), (1536, [4, 2, 1]), (4000, [8, 4, 2]), (9000, [16, 8])],
)
def test_scales_of_the_first_pass(longest, factors):
    assert search.scale_factors(longest) == factors


def test_a_larger_smallest_face_leaves_out_the_finest_scales():
    assert search.scale_factors(1920, 32) == [4, 2]
    assert search.scale_factors(1920, 31) == [4, 2, 1]
    assert search.scale_factors(1920, 1000) == [4]
    assert search.scale_factors(500, 1000) == [1]


class UprightEyes(Eyes):
    """Stands in for a detector that has learned upright faces only; others have low scores."""

    def __init__(self, other_score=0.0):
        super().__init__()
        self.other_score = other_score

    def find(self, images):
        faces = super().find(images)
        upright = [[face for face in one if abs(eye_angle(face.landmarks)) < 45] for one in faces]
        return [
            kept
            or ([Face(one[0].box, one[0].landmarks, self.other_score)] if one and self.other_score else [])
            for one, kept in zip(faces, upright, strict=True)
        ]


@pytest.mark.parametrize("other_score", [0.0, 0.9])
@pytest.mark.parametrize("angle", [0, 90, 180, -90, 130])
def test_faces_on_the_side_and_upside_down_are_found_turned_and_cropped_upright(angle, other_score):
    image = np.vstack([drawn(angle), np.full((40, 300, 3), 90, np.uint8)])
    (crops,) = find_crops(UprightEyes(other_score), [image], size=110)
    (expected,) = find_crops(Eyes(), [image], size=110)
    assert crops[0].square == expected[0].square and crops[0].face.score == 0.99
    assert crops[0].face.box == pytest.approx(expected[0].face.box, abs=1)
    assert crops[0].face.landmarks == pytest.approx(expected[0].face.landmarks, abs=1)


class MistakenEyes(Eyes):
    """Stands in for a detector that takes faces upside down for upright ones, with a score of 0.98."""

    def __init__(self, score=0.99):
        super().__init__(score=score)
        self.mistaken = 0.98

    def find(self, images):
        return [[self._upright(face) for face in faces] for faces in super().find(images)]

    def _upright(self, face):
        if abs(eye_angle(face.landmarks)) < 90:
            return face
        middle = (face.box[:2] + face.box[2:]) / 2
        return Face(face.box, 2 * middle - face.landmarks, self.mistaken)


@pytest.mark.parametrize("angle", [180, 160, -150])
def test_a_face_taken_for_upright_with_a_high_score_is_looked_at_upside_down(angle):
    detector = MistakenEyes()
    (crops,) = find_crops(detector, [drawn(angle)], size=110)
    (expected,) = find_crops(Eyes(), [drawn(angle)], size=110)
    assert crops[0].square == expected[0].square and crops[0].face.score == 0.99
    assert crops[0].face.landmarks == pytest.approx(expected[0].face.landmarks, abs=1)
    assert detector.shapes[1] == [(search.WINDOW_PX, search.WINDOW_PX)]


@pytest.mark.parametrize(("score", "looks"), [(0.999, 2), (0.99, 3)])
def test_an_upright_face_is_not_searched_for_in_other_orientations(score, looks):
    detector = MistakenEyes(score)
    (found,) = find_crops(detector, [drawn()])[0]
    assert found.square.angle_deg == 0 and found.face.score == score
    assert len(detector.shapes) == looks  # the image, the second pass, and the window upside down
    finder.find_faces(detector, [drawn()], turn_up_to=0.0)  # as in films
    assert len(detector.shapes) == looks + 2


@pytest.mark.parametrize(("score", "angle"), [(0.9, 0), (0.975, 180)])
def test_a_face_stays_upright_unless_its_score_is_high_in_another_orientation(score, angle):
    detector = MistakenEyes(score)  # upright
    detector.mistaken = 0.8
    (crops,) = find_crops(detector, [drawn(180)])
    assert abs(crops[0].square.angle_deg) == angle
    detector = UprightEyes()
    detector.score = 0.7  # but where there is no face upright, any will do
    (crops,) = find_crops(detector, [drawn(180)])
    assert abs(crops[0].square.angle_deg) == 180 and crops[0].face.score == 0.7


def test_an_image_without_a_face_is_searched_turned_but_stays_without():
    detector = UprightEyes()
    assert find_crops(detector, [np.zeros((100, 60, 3), np.uint8)]) == [[]]
    assert detector.shapes[:4] == [[(100, 60)], [(60, 100)], [(100, 60)], [(60, 100)]]


def test_a_number_of_faces_chooses_the_largest():
    small, middle, large = (
        Face(np.array([0, 0, s, s], np.float32), np.zeros((5, 2)), 0.9) for s in (9, 20, 30)
    )
    chosen = finder.choose_faces([middle, small, large], (50, 50), 2)
    assert [face is one for face, one in zip(chosen, [middle, large], strict=True)] == [True, True]
    assert len(finder.choose_faces([small], (50, 50), 3)) == 1
    with pytest.raises(ConfigError, match="a number"):
        find_crops(Eyes(), [drawn()], faces=0)


# With the public weights ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector(shared):
    return Detector(shared / "weights" / "retinaface_mobilenet0.25_Final.pth")


@pytest.fixture(scope="module")
def portraits(shared):
    return [media.read_image(path) for path in sorted((shared / "photos" / "congress").glob("*.jpg"))[:24]]


def test_every_portrait_gives_a_crop_with_level_eyes(detector, portraits):
    for (found,) in find_crops(detector, portraits, size=224):
        points = to_crop(found.face.landmarks, found.square, 224)
        assert found.pixels.shape == (224, 224, 3) and found.confirmed
        assert abs(points[0, 1] - points[1, 1]) < 4
        assert 50 < points[0, 0] < 110 < points[1, 0] < 175
        assert (points[:, 1] > 50).all() and (points[:, 1] < 190).all()


def test_a_crop_does_not_depend_on_the_batch_or_the_threads(detector, portraits):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [find_crops(detector, [image])[0][0] for image in portraits[:8]]
        torch.set_num_threads(2)
        together = find_crops(detector, portraits[:8])
    finally:
        torch.set_num_threads(threads)
    for one, (other,) in zip(alone, together, strict=True):
        assert np.array_equal(one.pixels, other.pixels) and one.square == other.square


def test_all_largest_and_central(detector, shared):
    image = media.read_image(shared / "photos" / "group" / "congress_montage_12.jpg")
    everybody, largest, central = (
        find_crops(detector, [image], 64, which)[0] for which in ("all", "largest", "central")
    )
    assert len(everybody) == 12 and len(largest) == len(central) == 1
    areas = [np.prod(found.face.box[2:] - found.face.box[:2]) for found in everybody]
    assert np.prod(largest[0].face.box[2:] - largest[0].face.box[:2]) == max(areas)
    away = [np.hypot(*((f.face.box[:2] + f.face.box[2:]) / 2 - [450, 412.5])) for f in everybody]
    assert away.index(min(away)) == [f.face.box.tolist() for f in everybody].index(
        central[0].face.box.tolist()
    )


@pytest.mark.parametrize("name", ["15cm", "30cm", "45cm", "60cm"])
def test_a_face_that_fills_a_large_photo_is_one_face(detector, shared, name):
    image = media.read_image(shared / "photos" / "zoom-cc0" / f"{name}.jpg")
    (found,) = find_crops(detector, [image], 224, "all")[0]
    left, right, *_ = points = to_crop(found.face.landmarks, found.square, 224)
    assert abs(left[1] - right[1]) < 5 and (points > 40).all() and (points < 190).all()


UNDO = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: np.rot90(x, 1)[:, ::-1],
    8: lambda x: np.rot90(x, -1),
}


def test_orientation_in_exif_gives_the_same_crop_to_the_pixel(detector, portraits, tmp_path):
    image = portraits[0]
    crops = []
    for orientation, undo in UNDO.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        Image.fromarray(np.ascontiguousarray(undo(image))).save(path, exif=exif)
        crops.append(find_crops(detector, [media.read_image(path)])[0][0].pixels)
    for other in crops[1:]:
        assert np.array_equal(other, crops[0])
