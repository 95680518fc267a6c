"""Measure the errors of head poses, and what a turned head does to action units, on rendered faces.

uv run python studio/benchmarks/pose.py ict_facekit.npz errors [subjects] [pictures of each]
uv run python studio/benchmarks/pose.py ict_facekit.npz turned [subjects]
uv run python studio/benchmarks/pose.py ict_facekit.npz fit

``errors`` compares ``faces.pose`` with the poses of the renders, from true and from detected landmarks.
``turned`` renders the same head, expression and light frontal and turned, and prints the mean change of AU
probabilities. ``fit`` prints the 3D points of ``faces.pose``; it draws nothing.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

import maeface
from maeface.faces import finder, pose
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from maeface_studio.camera.projection import face_points, project_points
from maeface_studio.camera.scene import Studio
from maeface_studio.cast import views
from maeface_studio.cast.actions import plan_stills
from maeface_studio.cast.random_draws import keyed_generator
from maeface_studio.cast.subjects import draw_subject
from maeface_studio.cast.views import Occluder, View
from maeface_studio.head import rig as rigs
from maeface_studio.head.mesh import rotation_matrix

SEED, SEED_OF_FIT, FRAME = 11, 100, 448
YAW, PITCH, ROLL = 60, 30, 20
"""Largest angles, degrees."""
TURNED = [
    (0, 0),
    *((yaw, 0) for yaw in (10, 20, 30, 40, 50, 60)),
    *((0, p) for p in (-30, -20, -10, 10, 20, 30)),
]
Floats = NDArray[np.float64]


def draw_view(rng: np.random.Generator) -> View:
    """Draw a view with angles spread evenly over their ranges, and nothing in front of the face."""
    yaw, pitch, roll = (float(rng.uniform(-limit, limit)) for limit in (YAW, PITCH, ROLL))
    return replace(views.draw_view(rng), yaw=yaw, pitch=pitch, roll=roll, occluder=Occluder.NONE)


def print_errors(name: str, found: Floats, true: Floats) -> None:
    """Print medians and 95th percentiles of the absolute errors, and the mean errors, of (N, 3) angles."""
    error = found - true
    absolute = np.abs(error)
    print(f"{name}, n = {len(true)}")
    for axis, of_axis, signed in zip(("yaw", "pitch", "roll"), absolute.T, error.T, strict=True):
        median, high = np.percentile(of_axis, [50, 95])
        print(f"  {axis:5s}  median {median:5.2f}  95 % below {high:5.2f}  mean error {signed.mean():+5.2f}")


def measure_errors(rig_file: Path, subjects: int = 60, pictures: int = 10) -> None:
    """Print the errors of poses from true and from detected landmarks."""
    studio, detector = Studio(rigs.load(rig_file), FRAME), Detector(EMBEDDED)
    true, marks, seen = [], [], []
    for number in range(subjects):
        subject = draw_subject(SEED, number)
        for shot in plan_stills(SEED, subject, pictures):
            view = draw_view(keyed_generator(SEED, 20, number, shot.frame))
            picture = studio.render_shot(replace(shot, view=view), SEED)
            found = finder.find_faces(detector, [picture.pixels], "largest")[0]
            true.append((view.yaw, view.pitch, view.roll))
            marks.append(picture.points)
            seen.append(found[0].face.landmarks if found else np.full((5, 2), np.nan))
    angles, of_true, of_seen = (
        np.array(true),
        pose.measure_pose(np.array(marks)),
        pose.measure_pose(np.array(seen)),
    )
    found = np.isfinite(of_seen).all(axis=1)
    frontal = (np.abs(angles[:, 0]) <= 30) & (np.abs(angles[:, 1]) <= 15)
    print(f"found in {found.mean():.1%} of the pictures")
    print_errors("true landmarks", of_true, angles)
    print_errors("detected landmarks", of_seen[found], angles[found])
    near, far = found & frontal, found & ~frontal
    print_errors("detected landmarks, yaw up to 30 and pitch up to 15", of_seen[near], angles[near])
    print_errors("detected landmarks, beyond", of_seen[far], angles[far])


def measure_turned(rig_file: Path, subjects: int = 60) -> None:
    """Print the mean absolute change of AU probabilities from frontal to turned, and where none is found."""
    studio = Studio(rigs.load(rig_file), FRAME)
    predictor = maeface.Predictor(detector="embedded", faces="largest")
    changes: dict[tuple[int, int], list[float]] = {angles: [] for angles in TURNED}
    for number in range(subjects):
        subject = draw_subject(SEED, number)
        shot = next(iter(plan_stills(SEED, subject, 1)))
        still = replace(shot.view, occluder=Occluder.NONE, roll=0.0)
        side = 1 if number % 2 else -1
        pictures = [
            studio.render_shot(replace(shot, view=replace(still, yaw=side * yaw, pitch=pitch)), SEED).pixels
            for yaw, pitch in TURNED
        ]
        table = predictor(pictures)
        values = table.filter(regex=r"^AU\d+_p$").to_numpy()
        for angles, row in zip(TURNED, values, strict=True):
            changes[angles].append(float(np.abs(row - values[0]).mean()))
    for (yaw, pitch), of_angles in changes.items():
        mean, missing = np.nanmean(of_angles), np.isnan(of_angles).sum()
        print(
            f"yaw {yaw:3d}  pitch {pitch:+3d}  mean change {mean:.3f}  n {len(of_angles)}, not found {missing}"
        )


def draw_points(rig: rigs.Rig, seed: int, subjects: int = 300, pictures: int = 3) -> tuple[Floats, Floats]:
    """Return landmarks (N, 5, 2) px of heads of the cast, and their poses (N, 3)."""
    points, angles = [], []
    for number in range(subjects):
        subject = draw_subject(seed, number)
        rest = rig.pose(subject.identity, rigs.draw_resting_shapes(keyed_generator(seed, 9, number)))
        for shot in plan_stills(seed, subject, pictures):
            rng = keyed_generator(seed, 20, number, shot.frame)
            distance = float(np.exp(rng.uniform(np.log(40), np.log(200))))
            view = replace(draw_view(rng), distance=distance)
            posed = {au: level for au, level in shot.action.intensities.items() if au != 25}
            parting = rigs.intensity_to_weight(shot.action.intensities.get(25, 0.0))
            weights = rigs.shape_weights(posed, shot.action.asymmetry, parting)
            turn = rotation_matrix(view.yaw, view.pitch, view.roll)
            project = partial(project_points, view=view, turn=turn, frame=336)
            points.append(face_points(rig.deform(rest, weights), rig, project) + rng.normal(0, 1.5, (5, 2)))
            angles.append((view.yaw, view.pitch, view.roll))
    return np.array(points), np.array(angles)


def fit_points(rig_file: Path) -> None:
    """Print the five 3D points whose poses have the least root mean square errors."""
    rig = rigs.load(rig_file)
    points, true = draw_points(rig, SEED_OF_FIT)

    def face(values: Floats) -> Floats:
        eye_y, eye_z, mouth_x, mouth_y, mouth_z = values
        eye_x = pose.FACE_POINTS[1, 0]  # the scale is free
        eye, mouth = np.array([eye_x, eye_y, eye_z]), np.array([mouth_x, mouth_y, mouth_z])
        mirror = np.array([-1, 1, 1])
        return np.stack([eye * mirror, eye, np.zeros(3), mouth * mirror, mouth])

    def loss(values: Floats) -> float:
        return float(np.sqrt(((pose.measure_pose(points, face(values)) - true) ** 2).mean(axis=0)).sum())

    marks = rig.neutral[rig.landmarks]
    eye, nose, mouth = marks[42:48].mean(axis=0), marks[30], marks[54]
    start = np.array([*(eye - nose)[1:], *(mouth - [0, *nose[1:]])])
    best = face(minimize(loss, start, method="Nelder-Mead", options={"maxfev": 400}).x)
    print((best - best.mean(axis=0)).round(2).tolist())
    held_out, angles = draw_points(rig, SEED)
    print_errors("other heads", pose.measure_pose(held_out, best), angles)


if __name__ == "__main__":
    work = {"errors": measure_errors, "turned": measure_turned, "fit": fit_points}[sys.argv[2]]
    work(Path(sys.argv[1]), *(int(value) for value in sys.argv[3:]))
