"""Numbers of people: synthetic boxes and descriptors, and colours of drawn faces."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from maeface.errors import ConfigError
from maeface.faces.geometry import Face
from maeface.faces.tracking import DESCRIPTOR_SIZE, SAME, Tracker, assign, describe

SHARED = Path(__file__).parents[1].parent / "shared"


def look(seed, near=None, distance=0.0):
    """A descriptor: random, or at a distance from another one. Random ones are more than 0.6 apart."""
    rng = np.random.default_rng(seed)
    histograms = rng.dirichlet(np.full(DESCRIPTOR_SIZE // 4, 0.3), 2)
    view = np.sqrt(np.tile(histograms, (2, 1))).ravel()
    if near is None:
        return view
    step = rng.normal(size=DESCRIPTOR_SIZE)
    return near + step * (distance / np.linalg.norm(step))


def box(x, y=100.0, side=60.0):
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])


def number(tracker, time_s, *faces):
    """Number faces, each (x, descriptor) or (box, descriptor)."""
    boxes = np.array([box(place) if np.isscalar(place) else place for place, _ in faces])
    views = np.array([view for _, view in faces], np.float16)
    return tracker.update(time_s, boxes, views).tolist()


A, B, C = look(1), look(2), look(3)


def noisy(view, k):
    return look(1000 + k, view, 0.08)


def test_numbers_begin_at_0_from_left_to_right():
    tracker = Tracker()
    assert number(tracker, 0.0) == []
    assert number(tracker, 0.1, (400, A), (100, B)) == [1, 0]
    assert number(tracker, 0.2, (100, B), (700, C), (400, A)) == [0, 2, 1]


@pytest.mark.parametrize("fps", [30, 10, 2, 1])
@pytest.mark.parametrize("hidden_s", [0.3, 2.0])
def test_people_who_cross_keep_their_numbers(fps, hidden_s):
    """A passes in front of B, who is not found meanwhile."""
    tracker, seen = Tracker(), set()
    for k in range(8 * fps):
        t = k / fps
        x = 100 + 80 * t
        faces = [(x, noisy(A, k))]
        if abs(t - 4) > hidden_s / 2:
            faces.append((740 - x, noisy(B, k + 500)))
        numbers = number(tracker, t, *faces)
        seen |= set(zip("AB", numbers, strict=False))
    assert seen == {("A", 0), ("B", 1)}


@pytest.mark.parametrize("away_s", [0.5, 5.0, 600.0])
def test_a_person_who_leaves_and_returns_keeps_the_number(away_s):
    tracker = Tracker()
    for k in range(10):
        assert number(tracker, k / 10, (100, noisy(A, k)), (500, noisy(B, k + 50))) == [0, 1]
    assert number(tracker, 1 + away_s / 2, (500, B)) == [1]
    assert number(tracker, 1 + away_s, (900, noisy(A, 99)), (500, B)) == [0, 1]


def test_people_who_swap_sides_while_away_keep_their_numbers():
    tracker = Tracker()
    assert number(tracker, 0.0, (100, A), (500, B)) == [0, 1]
    for k in range(10):
        assert number(tracker, 0.1 + k / 10) == []
    assert number(tracker, 1.1, (100, noisy(B, 1)), (500, noisy(A, 2))) == [1, 0]


def test_another_person_at_the_same_place_after_a_cut_has_a_new_number():
    tracker = Tracker()
    for k in range(30):
        view = (A, B)[k // 5 % 2]
        assert number(tracker, k / 30, (300, noisy(view, k))) == [k // 5 % 2]


@pytest.mark.parametrize("fps", [30, 10, 2])
def test_look_alikes_are_kept_apart_by_place(fps):
    twin = look(7, A, 0.02)
    tracker = Tracker()
    for k in range(4 * fps):
        sway = 20 * np.sin(k / fps)
        faces = [(100 + sway, noisy(A, k)), (300 - sway, noisy(twin, k + 500))]
        assert number(tracker, k / fps, *faces) == [0, 1]


def test_a_new_person_does_not_take_a_lost_number():
    tracker = Tracker()
    for k in range(5):
        assert number(tracker, k / 10, (100, A), (500, B)) == [0, 1]
    assert number(tracker, 1.5, (500, B)) == [1]
    assert number(tracker, 2.0, (100, C), (500, B)) == [2, 1]
    assert number(tracker, 3.0, (300, A)) == [0]


def test_a_face_that_looks_like_two_lost_people_is_neither():
    twin = look(7, A, 0.02)
    tracker = Tracker()
    assert number(tracker, 0.0, (100, A), (500, twin)) == [0, 1]
    assert number(tracker, 60.0, (300, look(8, A, 0.02))) == [2]


def test_the_look_may_change_slowly():
    """Until it is another look; a view from before is still known."""
    tracker = Tracker()
    for k in range(60):
        assert number(tracker, k / 10, (100, A + (B - A) * k / 59)) == [0]
    assert np.linalg.norm(A - B) > 2 * SAME
    assert number(tracker, 60.0, (500, B)) == [0]


def test_colours_of_two_people_together_are_not_remembered():
    """While A's face touches B's, both descriptors are mixtures."""
    tracker, mixture = Tracker(), (A + B) / 2
    assert number(tracker, 0.0, (100, A), (300, B)) == [0, 1]
    assert number(tracker, 0.4, (170, A * 0.9 + B * 0.1), (230, B)) == [0, 1]
    number(tracker, 0.5, (175, mixture), (225, mixture))
    assert number(tracker, 10.0, (400, B), (100, A)) == [1, 0]


@pytest.mark.parametrize("visible", [slice(0, 32), slice(32, 64)])
def test_a_person_half_hidden_keeps_the_number(visible):
    """As one who comes out from behind another person; one who shows neither side is not known."""
    tracker, mixed, hidden = Tracker(), C.copy(), C.copy()
    mixed[visible] = A[visible]
    assert number(tracker, 0.0, (100, A), (500, B)) == [0, 1]
    assert number(tracker, 0.5, (500, B)) == [1]
    assert number(tracker, 1.0, (110, mixed), (500, B)) == [0, 1]
    assert number(tracker, 1.5, (500, B), (110, hidden)) == [1, 2]


def test_two_films_share_no_state():
    first = Tracker()
    number(first, 5.0, (100, A), (300, B))
    assert number(Tracker(), 0.0, (300, B), (500, C)) == [0, 1]
    assert number(first, 6.0, (900, C)) == [2]


def film(seed=0, people=5, frames=40):
    """Random walks of people who are at times not found."""
    rng = np.random.default_rng(seed)
    looks, xs = [look(100 + p) for p in range(people)], rng.uniform(0, 1000, people)
    for k in range(frames):
        xs += rng.normal(0, 15, people)
        here = np.flatnonzero(rng.random(people) < 0.7)
        yield k / 10, [(box(xs[p], 100 + 90 * p), noisy(looks[p], 50 * k + p)) for p in here]


def test_the_order_of_the_faces_does_not_matter():
    forward, backward = Tracker(), Tracker()
    for time_s, faces in film():
        assert number(forward, time_s, *faces) == number(backward, time_s, *faces[::-1])[::-1]
    for order in permutations(range(4)):
        faces = [(100.0, A), (100.0, B), (300.0, A), (300.0, C)]  # also where places or looks are equal
        assert number(Tracker(), 0.0, *[faces[i] for i in order]) == [
            number(Tracker(), 0.0, *faces)[i] for i in order
        ]


def test_storing_as_float16_does_not_matter():
    exact, stored = Tracker(), Tracker()
    for time_s, faces in film(seed=1):
        boxes, views = np.array([b for b, _ in faces]), np.array([v for _, v in faces])
        first = exact.update(time_s, boxes, views)
        assert first.tolist() == stored.update(time_s, boxes, views.astype(np.float16)).tolist()
        assert len(set(first.tolist())) == len(faces)


def test_a_crowd_has_as_many_numbers_as_people():
    rng = np.random.default_rng(3)
    looks = [look(200 + p) for p in range(50)]
    tracker = Tracker()
    for k in range(20):
        order = rng.permutation(50)
        faces = [(box(80 * (p % 10) + 3 * k, 80 * (p // 10)), noisy(looks[p], 100 * k + p)) for p in order]
        numbers = number(tracker, k / 5, *faces)
        if k == 0:
            expected = dict(zip(order.tolist(), numbers, strict=True))
        assert [expected[p] for p in order.tolist()] == numbers
    assert sorted(expected.values()) == list(range(50))


def test_frames_out_of_order_and_wrong_shapes_are_errors():
    tracker = Tracker()
    number(tracker, 1.0, (100, A))
    with pytest.raises(ConfigError, match="in order"):
        number(tracker, 0.9, (100, A))
    with pytest.raises(ConfigError, match=r"expected \(F, 4\)"):
        tracker.update(2.0, np.zeros((2, 4)), np.zeros((1, 64)))
    with pytest.raises(ConfigError, match="of 64 values"):
        tracker.update(2.0, np.zeros((1, 4)), np.zeros((1, 32)))


def test_assignment_is_the_best_one():
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows, columns = rng.integers(1, 5), rng.integers(0, 6)
        scores = np.maximum(rng.normal(size=(rows, columns)), 0)
        pairs = assign(scores)
        assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
        padded = np.concatenate([scores, np.zeros((rows, rows))], axis=1)
        best = max(
            padded[range(rows), chosen].sum()
            for chosen in map(list, permutations(range(int(columns + rows)), int(rows)))
        )
        assert sum(scores[pair] for pair in pairs) == pytest.approx(best)


def drawn(skin, hair, shirt, x=160, turned=0, gain=1.0, scale=1.0):
    """A picture of 320 x 240 with a simple face, and the face."""
    ys, xs = np.mgrid[:240, :320] + 0.5
    u, v = (xs - x) / scale, (ys - 100) / scale
    image = np.full((240, 320, 3), 90.0)
    image[(abs(u) < 70) & (v > 50)] = shirt
    image[(u / 42) ** 2 + ((v + 10) / 56) ** 2 < 1] = hair
    image[((u - turned) / 33) ** 2 + ((v - 6) / 44) ** 2 < 1] = skin
    image[(abs(u) < 15) & (v > 45) & (v < 60)] = skin
    points = np.array([[-15, -8], [15, -8], [0, 8], [-12, 24], [12, 24]]) + np.array([turned, 0])
    face = Face(
        (np.array([-33, -38, 33, 50]) * scale + [x, 100, x, 100]).astype(np.float32),
        (points * scale + [x, 100]).astype(np.float32),
        1.0,
    )
    return np.clip(image * gain, 0, 255).astype(np.uint8), face


ANN = {"skin": (200, 150, 130), "hair": (60, 40, 30), "shirt": (40, 60, 140)}


def distance(a, b):
    return float(np.linalg.norm(describe(*a).astype(float) - describe(*b).astype(float)))


@pytest.mark.parametrize("change", [{"x": 60}, {"turned": 8}, {"gain": 0.7}, {"gain": 1.2}, {"scale": 0.4}])
def test_a_descriptor_changes_little_with(change):
    assert distance(drawn(**ANN), drawn(**{**ANN, **change})) < 0.75 * SAME


@pytest.mark.parametrize(
    "change", [{"hair": (190, 170, 120)}, {"shirt": (180, 40, 40)}, {"skin": (110, 70, 50)}]
)
def test_a_descriptor_changes_with_the_person(change):
    assert distance(drawn(**ANN), drawn(**{**ANN, **change})) > 1.2 * SAME


def test_a_descriptor_of_a_face_at_the_border_or_without_landmarks():
    image, face = drawn(**ANN)
    view = describe(image, face)
    assert view.shape == (DESCRIPTOR_SIZE,) and view.dtype == np.float16 and DESCRIPTOR_SIZE <= 64
    assert np.linalg.norm(view.astype(float)) == pytest.approx(2, abs=0.01)
    only_box = Face(face.box, np.full((5, 2), np.nan, np.float32), 1.0)
    assert distance((image, face), (image, only_box)) < SAME
    for x in (-500.0, 0.0, 320.0, 5000.0):
        moved = Face(face.box + np.float32(x), face.landmarks + np.float32(x), 1.0)
        assert np.isfinite(describe(image, moved)).all()
    assert np.isfinite(describe(np.zeros_like(image), face)).all()


def test_two_people_of_a_clip_have_two_numbers():
    from maeface.faces import media
    from maeface.faces.detector import Detector
    from maeface.faces.detector_weights import EMBEDDED
    from maeface.faces.finder import find_crops

    path = SHARED / "videos" / "intel_head-pose-face-detection-female-and-male.mp4"
    if not path.is_file():
        pytest.skip("needs ../shared/videos")
    detector, tracker, seen = Detector(EMBEDDED), Tracker(), set()
    for frame in media.read_frames(path, every=9):
        faces = [one.face for one in find_crops(detector, [frame.rgb], 32, "all")[0]]
        boxes = np.array([face.box for face in faces])
        views = np.array([describe(frame.rgb, face) for face in faces])
        numbers = tracker.update(frame.time_s, boxes, views).tolist()
        seen |= {("left" if b[0] < 200 else "right", k) for b, k in zip(boxes, numbers, strict=True)}
    assert seen == {("left", 0), ("right", 1)}
