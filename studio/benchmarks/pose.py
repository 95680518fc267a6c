"""Measure the errors of head poses, and what a turned head does to action units, on rendered faces.

uv run python studio/benchmarks/pose.py ict_facekit.npz errors [subjects] [turned pictures of each]
uv run python studio/benchmarks/pose.py ict_facekit.npz fit

``errors`` renders each subject once frontal, then turned at random with the same expression and light. It
compares ``faces.pose`` with the true poses, from true and from detected landmarks, and prints the mean
absolute change of the AU probabilities of the packaged weights from frontal to turned. ``fit`` prints the 3D
points of ``faces.pose``; it renders nothing.
"""

import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

import maeface
from maeface.faces import finder, pose, quality
from maeface_studio.camera.projection import face_points, project_points
from maeface_studio.camera.scene import Picture, Studio
from maeface_studio.cast import views
from maeface_studio.cast.actions import plan_stills
from maeface_studio.cast.random_draws import keyed_generator
from maeface_studio.cast.subjects import draw_subject
from maeface_studio.cast.views import Occluder
from maeface_studio.head import rig as rigs
from maeface_studio.head.mesh import rotation_matrix

SEED, SEED_OF_FIT, FRAME = 11, 100, 448
LIMITS = (60.0, 30.0, 20.0)
"""Largest yaw, pitch and roll, degrees."""
RIG_POINTS = np.array(
    [
        [-3.22, 3.36, -1.23],
        [3.22, 3.36, -1.23],
        [0.0, 0.26, 3.51],
        [-3.11, -3.48, -0.52],
        [3.11, -3.48, -0.52],
    ]
)
"""The result of ``fit``: ``pose.FACE_POINTS`` without the offsets of the detector."""
TRUSTED = ("AU06_p", "AU12_p", "AU25_p")
Floats = NDArray[np.float64]


def draw_angles(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw yaw, pitch and roll, evenly over their ranges."""
    yaw, pitch, roll = (float(rng.uniform(-limit, limit)) for limit in LIMITS)
    return yaw, pitch, roll


def render_turned(studio: Studio, number: int, turned: int) -> tuple[list[Picture], Floats]:
    """Render a subject once frontal and then turned; return the pictures and their angles (N, 3)."""
    subject, rng = draw_subject(SEED, number), keyed_generator(SEED, 20, number)
    shot = next(iter(plan_stills(SEED, subject, 1)))
    angles = [(0.0, 0.0, 0.0), *(draw_angles(rng) for _ in range(turned))]
    pictures = []
    for yaw, pitch, roll in angles:
        view = replace(shot.view, occluder=Occluder.NONE, yaw=yaw, pitch=pitch, roll=roll)
        pictures.append(studio.render_shot(replace(shot, view=view), SEED))
    return pictures, np.array(angles)


def print_errors(name: str, found: Floats, true: Floats) -> None:
    """Print medians and 95th percentiles of the absolute errors, and the mean errors, of (N, 3) angles."""
    error = found - true
    print(f"{name}, n = {len(true)}")
    for axis, of_axis in zip(("yaw", "pitch", "roll"), error.T, strict=True):
        median, high = np.percentile(np.abs(of_axis), [50, 95])
        print(f"  {axis:5s}  median {median:5.2f}  95 % below {high:6.2f}  mean error {of_axis.mean():+6.2f}")


def report(predictor: maeface.Predictor, subjects: list[tuple[list[Picture], Floats]]) -> None:
    """Print the errors of poses, and the changes of AU probabilities."""
    assert predictor.detector is not None
    aus = [column for column in predictor.columns if column.endswith("_p")]
    rows = []
    for pictures, angles in subjects:
        found = finder.find_crops(predictor.detector, [one.pixels for one in pictures])
        frontal: Floats | None = None
        for picture, true, crops in zip(pictures, angles, found, strict=True):
            of_true = pose.measure_pose(picture.points[None], RIG_POINTS)[0]
            measures, change = np.full(len(quality.MEASURES), np.nan), np.full(len(aus), np.nan)
            if crops:
                measures = quality.measure_quality(crops[:1], [picture.pixels.shape])[0]
                values = predictor.predict_crops([crops[0].pixels])[0, : len(aus)]
                frontal = values if frontal is None and not true.any() else frontal
                change = change if frontal is None else np.abs(values - frontal)
            rows.append((true, of_true, measures, change))
    true, of_true, measures, change = (np.array(column) for column in zip(*rows, strict=True))
    print_poses(true, of_true, measures)
    print_changes(true, change, [aus.index(name) for name in TRUSTED])


def print_poses(true: Floats, of_true: Floats, measures: Floats) -> None:
    """Print the errors over turned faces: all, by yaw, and by the rule for low quality."""
    turned = true.any(axis=1)
    found, low = turned & np.isfinite(measures[:, 1]), quality.is_low_quality(measures)
    detected, side = measures[:, 1:4], np.abs(true[:, 0])
    print(f"found {found.sum()} of {turned.sum()}, of low quality {(found & low).sum()}")
    print_errors("true landmarks", of_true[turned], true[turned])
    print_errors("detected landmarks", detected[found], true[found])
    for name, some in (
        ("yaw up to 30", side <= 30),
        ("yaw 30 to 45", (side > 30) & (side <= 45)),
        ("yaw over 45", side > 45),
        ("not of low quality", ~low),
        ("of low quality", low),
    ):
        print_errors(f"detected landmarks, {name}", detected[found & some], true[found & some])


def print_changes(true: Floats, change: Floats, trusted: list[int]) -> None:
    """Print the mean changes of AU probabilities by yaw and by pitch."""
    for axis, other, edges in ((0, 1, (0, 10, 20, 30, 40, 50, 60)), (1, 0, (-30, -20, -10, 0, 10, 20, 30))):
        size = np.abs(true[:, axis]) if axis == 0 else true[:, axis]
        near = np.abs(true[:, other]) <= (15, 30)[other == 0]
        for low, high in pairwise(edges):
            some = true.any(axis=1) & (size >= low) & (size < high) & near & np.isfinite(change[:, 0])
            mean, of_trusted = change[some].mean(), change[some][:, trusted].mean()
            print(f"{'yaw' if axis == 0 else 'pitch'} {low:+3d} to {high:+3d}", end="  ")
            print(
                f"n {some.sum():3d}  change of all AUs {mean:.3f}, of {', '.join(TRUSTED)} {of_trusted:.3f}"
            )


def measure_errors(rig_file: Path, subjects: int = 40, turned: int = 8) -> None:
    """Render faces and print the errors of poses, and the changes of AU probabilities."""
    studio = Studio(rigs.load(rig_file), FRAME)
    report(
        maeface.Predictor(detector="embedded", faces="largest"),
        [render_turned(studio, number, turned) for number in range(subjects)],
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
            yaw, pitch, roll = draw_angles(rng)
            view = replace(views.draw_view(rng), yaw=yaw, pitch=pitch, roll=roll, distance=distance)
            posed = {au: level for au, level in shot.action.intensities.items() if au != 25}
            parting = rigs.intensity_to_weight(25, shot.action.intensities.get(25, 0.0))
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
    work = {"errors": measure_errors, "fit": fit_points}[sys.argv[2]]
    work(Path(sys.argv[1]), *(int(value) for value in sys.argv[3:]))
