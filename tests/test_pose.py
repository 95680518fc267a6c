"""Head pose from projected points whose pose is known."""

import numpy as np
import pytest

from maeface.faces.pose import FACE_POINTS, measure_pose


def turn(yaw, pitch, roll):
    """Rotate by yaw, then pitch, then roll; x right, y up, z to the camera."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_x = [[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]]
    about_z = [[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]]
    return np.array(about_z) @ about_x @ about_y


def project(angles, scale=12.0, place=(300.0, 200.0), points=FACE_POINTS):
    """Project points without perspective, (5, 2) px."""
    turned = points @ turn(*angles).T
    return np.stack([place[0] + scale * turned[:, 0], place[1] - scale * turned[:, 1]], axis=-1)


ANGLES = [(y, p, r) for y in (-80, -60, -20, 0, 35, 60) for p in (-30, 0, 30) for r in (-170, -40, 0, 15, 90)]


def test_the_pose_of_exact_projections_is_exact():
    found = measure_pose(np.stack([project(angles) for angles in ANGLES]))
    assert np.abs(found - ANGLES).max() < 1e-3


def test_positive_angles_turn_the_nose_to_the_right_and_up_and_the_head_clockwise():
    rest = project((0, 0, 0))
    yawed, pitched, rolled = (project(angles) for angles in ((20, 0, 0), (0, 20, 0), (0, 0, 20)))
    eyes = lambda points: points[:2].mean(axis=0)  # noqa: E731
    assert (yawed[2] - eyes(yawed))[0] > (rest[2] - eyes(rest))[0]
    assert (pitched[2] - eyes(pitched))[1] < (rest[2] - eyes(rest))[1]
    assert rolled[1, 1] > rolled[0, 1]
    found = measure_pose(np.stack([yawed, pitched, rolled]))
    assert np.allclose(found, 20 * np.eye(3), atol=1e-3)


def test_place_and_size_do_not_matter():
    angles = (25, -10, 5)
    found = measure_pose(np.stack([project(angles, 0.5, (1e4, -300)), project(angles, 4000.0, (0, 0))]))
    assert np.abs(found - angles).max() < 1e-3


def test_the_mirror_image_has_the_opposite_yaw_and_roll():
    face = project((30, 10, -8)) + np.random.default_rng(0).normal(0, 3, (5, 2))
    mirrored = (face * [-1, 1])[[1, 0, 2, 4, 3]]
    (yaw, pitch, roll), other = measure_pose(np.stack([face, mirrored]))
    assert np.allclose(other, [-yaw, pitch, -roll], atol=1e-6)


def test_noise_moves_the_angles_by_some_degrees_only():
    rng = np.random.default_rng(1)
    truth = np.stack(
        [rng.uniform(-60, 60, 500), rng.uniform(-30, 30, 500), rng.uniform(-20, 20, 500)], axis=1
    )
    noisy = np.stack([project(angles) + rng.normal(0, 2, (5, 2)) for angles in truth])
    errors = np.abs(measure_pose(noisy) - truth)
    assert (np.median(errors, axis=0) < 2.5).all()
    assert errors.max() < 25


def test_faces_do_not_depend_on_their_neighbours():
    faces = np.stack([project(angles) for angles in ANGLES[:7]])
    together = measure_pose(np.concatenate([faces, np.full((1, 5, 2), np.nan)]))
    alone = np.concatenate([measure_pose(one[None]) for one in faces])
    assert np.allclose(together[:7], alone, atol=1e-9)
    assert np.isnan(together[7]).all()


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), np.nan),
        np.where(np.arange(10).reshape(5, 2) == 3, np.inf, project((0, 0, 0))),
        np.full((5, 2), 7.0),
        np.stack([np.arange(5.0), np.zeros(5)], axis=1),
        np.stack([np.arange(5.0), 2 * np.arange(5.0)], axis=1),
    ],
    ids=["nan", "infinite", "a point", "a level line", "a slanted line"],
)
def test_landmarks_without_a_pose_give_nan(landmarks):
    assert np.isnan(measure_pose(landmarks[None])).all()


def test_no_face_gives_no_pose():
    assert measure_pose(np.zeros((0, 5, 2))).shape == (0, 3)


def test_a_wrong_shape_is_an_error():
    with pytest.raises(ValueError, match=r"\(N, 5, 2\), got \(5, 2\)"):
        measure_pose(project((0, 0, 0)))
