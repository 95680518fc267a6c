import numpy as np
import pytest

from maeface.errors import ConfigError
from maeface.faces.following import LOOKS, follow_faces
from maeface.faces.geometry import Face, Square, to_image

FRAME = (400, 600, 3)
LOOK_EVERY = 15 // LOOKS  # frames, of 15 in a block


def frame(*faces, angle=0.0, level=90):
    """A frame with faces of 100 px, given as their centres: two dots each, as in ``Dots``."""
    image = np.full(FRAME, level, np.uint8)
    rows, columns = np.indices(FRAME[:2]) + 0.5
    for number, middle in enumerate(faces):
        eyes = to_image(np.array([[25.0, 25], [75, 25]]), Square(*middle, 100, angle), 100)
        for (x, y), channel in zip(eyes, (0, 2), strict=True):
            dot = (columns - x) ** 2 + (rows - y) ** 2 < 36
            image[dot] = 10 * number
            image[dot, channel] = 255
    return image


class Dots:
    """Stands in for the detector: faces are pairs of a red dot and a blue dot.

    ``detected`` counts the images that the detector sees. The landmarks move to the dots if they are near.
    """

    def __init__(self, score=0.99):
        self.score, self.searched, self.looked = score, 0, 0
        self.landmark_net = self.move_landmarks

    def find(self, images):
        self.searched += sum(image.shape == FRAME for image in images)
        return [self._faces(image) for image in images]

    def detect(self, images):
        self.looked += len(images)
        return [self._faces(image) for image in images]

    def move_landmarks(self, images, landmarks):
        pairs = zip(images, landmarks, strict=True)
        return [self._move(points, self._faces(image)) for image, points in pairs]

    def _move(self, points, faces):
        near = [face for face in faces if np.hypot(*(face.landmarks[2] - points[2])) < 40]
        moved = near[0].landmarks if near else points
        return moved, float(np.linalg.norm(moved - points, axis=1).mean()) / 100

    def _faces(self, image):
        blue = (image[..., 2] > 200) & (image[..., 0] < 100)
        red = (image[..., 0] > 200) & (image[..., 2] < 100)
        faces = []
        for number in range(3):
            eyes = []
            for dots in (red, blue):
                rows, columns = np.nonzero(dots & (abs(image[..., 1].astype(int) - 10 * number) < 4))
                eyes.append([columns.mean() + 0.5, rows.mean() + 0.5] if len(rows) else None)
            if None in eyes:
                continue
            left, right = np.array(eyes)
            across = right - left
            down = np.array([-across[1], across[0]])
            middle = (left + right) / 2 + down / 2
            half = np.hypot(*across)
            landmarks = np.array([left, right, middle, left + down, right + down], np.float32)
            box = np.concatenate([middle - half, middle + half]).astype(np.float32)
            faces.append(Face(box, landmarks, self.score - number / 100))
        return faces


def follow(detector, frames, **options):
    return follow_faces(detector, [list(frames)], **options)[0]


def test_a_moving_face_is_followed_without_a_search():
    detector = Dots()
    middles = [(200 + 4 * k, 200 - 2 * k) for k in range(15)]
    for (one,), middle in zip(follow(detector, map(frame, middles)), middles, strict=True):
        assert (one.square.cx, one.square.cy) == pytest.approx(middle, abs=1.5)
        assert one.square.side == pytest.approx(110, abs=3)
        assert one.face.box == pytest.approx([*np.array(middle) - 50, *np.array(middle) + 50], abs=2)
    assert detector.searched == 1
    assert detector.looked == 14 // LOOK_EVERY


def test_the_square_turns_with_the_face_and_small_turns_add_up():
    frames = [frame((300, 200), angle=0.4 * k) for k in range(15)]
    places = follow(Dots(), frames)
    assert places[LOOK_EVERY - 1][0].square.angle_deg == round(0.4 * (LOOK_EVERY - 1))


def test_a_lost_face_is_searched_for_at_once():
    detector = Dots()
    moved = [frame((200, 200)), *[frame((420, 150))] * 14]
    places = follow(detector, moved)
    assert places[-1][0].square.cx == pytest.approx(420, abs=1.5)
    assert detector.searched == 2


def test_a_face_that_the_detector_does_not_see_again_is_gone():
    detector = Dots()
    empty = np.full(FRAME, 90, np.uint8)
    places = follow(detector, [frame((200, 200)), *[empty] * 14])
    assert places[LOOK_EVERY] == places[-1] == []
    assert detector.searched == 1 + 2  # within a block there is no search of turned images


def test_the_detector_looks_at_once_where_landmarks_move_far():
    detector = Dots()
    follow(detector, [frame((200, 200)), *[frame((230, 200))] * 14])
    assert detector.looked == 1 + 14 // LOOK_EVERY


def test_of_two_faces_that_become_one_the_better_is_kept():
    places = follow(Dots(), [frame((200, 200), (227, 227)), *[frame((200, 200))] * 14])
    assert [len(one) for one in places] == [2] + [1] * 14


def test_while_there_is_no_face_frames_are_searched_now_and_then():
    empty = np.full(FRAME, 90, np.uint8)
    frames = [*[empty] * 3, *[frame((200, 200))] * 12]
    assert [len(places) for places in follow(Dots(), frames)] == [0] * LOOK_EVERY + [1] * 10


def test_few_frames_of_a_block_are_looked_at_each():
    """As with --fps 4: half a second has two frames."""
    empty = np.full(FRAME, 90, np.uint8)
    assert [len(places) for places in follow(Dots(), [empty, frame((200, 200))])] == [0, 1]
    assert [len(places) for places in follow(Dots(), [frame((200, 200)), empty])] == [1, 0]


def test_a_cut_between_scenes_is_searched_at_once():
    frames = [frame((200, 200)), np.zeros(FRAME, np.uint8), frame((300, 200))]
    assert [len(places) for places in follow(Dots(), frames)] == [1, 0, 1]


def test_two_faces_that_meet_are_one_until_they_part():
    frames = [frame((150 + 15 * k, 200), (330 - 15 * k, 260)) for k in range(12)]
    counts = [len(places) for places in follow(Dots(), frames)]
    assert counts[0] == 2 and min(counts) >= 1


def test_the_choice_of_faces_does_not_end_the_following_of_others():
    frames = [frame((300 + 20 * k, 200), (180 + 20 * k, 200)) for k in range(5)]
    places = follow(Dots(), frames, faces="central")
    assert places[0][0].square.cx == pytest.approx(300, abs=2)
    assert places[-1][0].square.cx == pytest.approx(260, abs=2)  # the second has become the more central one


@pytest.mark.parametrize("faces", ["all", "largest", "central", 1])
def test_a_face_is_described_where_it_first_appears_among_the_chosen_ones(faces):
    # The second becomes the more central one, and the first is lost and found again.
    frames = [frame((300 + 20 * k, 200), (180 + 20 * k, 200)) for k in range(5)]
    frames += [frame((60, 200), (280, 200))] * 2
    described = set()
    for located in follow(Dots(), frames, faces=faces):
        numbers = {one.followed for one in located}
        has_descriptor = {one.descriptor is not None for one in located}
        assert has_descriptor == {not numbers <= described}
        described = numbers if True in has_descriptor else described


def test_wrong_choices_are_refused():
    with pytest.raises(ConfigError, match="faces is 'both'; expected largest"):
        follow(Dots(), [frame((200, 200))], faces="both")


def test_followed_faces_are_nearly_those_of_the_photo_way(shared):
    """The limits of docs/performance.md, on a real clip."""
    from maeface.faces import finder, media
    from maeface.faces.detector import Detector
    from maeface.faces.detector_weights import EMBEDDED

    detector = Detector(EMBEDDED, backend="openvino")
    clip = shared / "videos" / "pyfeat_single_face.mp4"
    frames = [one.rgb for one in media.read_frames(clip) if isinstance(one, media.Frame)][:45]
    differences = []
    for start in range(0, len(frames), 15):
        block = frames[start : start + 15]
        followed = follow(detector, block, faces="largest")
        for (one,), (other,) in zip(followed, finder.find_faces(detector, block, "largest"), strict=True):
            a, b = one.square, other.square
            moved = np.hypot(a.cx - b.cx, a.cy - b.cy) / b.side
            differences.append([moved, abs(a.side / b.side - 1), abs(a.angle_deg - b.angle_deg)])
    assert np.median(differences, axis=0) == pytest.approx([0, 0, 0], abs=0.03)
    assert (np.percentile(differences, 95, axis=0) < [0.06, 0.1, 2.5]).all()
