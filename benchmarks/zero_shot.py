"""Accuracy of weights on held-out real faces, compared with MediaPipe, also on degraded photos.

``uv run python benchmarks/zero_shot.py PHOTOS --weights W [--weights W2] [--mediapipe face_landmarker.task]``

PHOTOS is the folder of official portraits (``maeface.datasets/portraits.toml`` says where it comes from).
The 300 held-out ones are read, with the labels of ``portraits.csv``. The scores of each action unit are AUC,
F1 at the threshold stored in the weights (0.5 for MediaPipe), and F1 at the threshold that is best for these
labels, which is only an upper bound. Intervals are 95 % bootstrap intervals over portraits, paired for the
differences. The scores are also computed by skin tone and by pose, and on shrunk and blurred photos. Faces
are detected with the packaged face detector. Those that are not detected are counted, and left out of the
scores. ``--neutral`` takes photos of neutral faces and counts how often an action unit is wrongly called
present in them.

Writes ``zero_shot.csv`` (all scores) and ``zero_shot.md`` (tables to read) to ``--out``. MediaPipe needs the
extra ``teacher`` of the studio: ``uv run --all-packages --extra teacher python ...``. Its AU25 is the gap
between its lip landmarks, its best proxy. ``PROXIES`` takes other blendshapes for AU25, and for AU6,
whose own blendshape hardly varies.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import conditions
import tables
from maeface import facts, files
from maeface.data.tables import labels
from maeface.faces import media
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import WeightsSource, locate_detector_weights
from maeface.prediction.predictor import Predictor
from maeface_studio.weights import blendshapes

DETECTOR: WeightsSource = "embedded"
SIZES = (15, 25)
BLURS = (0.04, 0.08)
YAWS = ((5.0, "under 5 degrees"), (10.0, "5 to 10 degrees"), (np.inf, "10 degrees and more"))
PROXIES = {
    "MediaPipe: jawOpen as 25, mouthSmile as 6": {25: 26, 6: 12},
    "MediaPipe: mouthUpperUp as 25, eyeSquint as 6": {25: 10, 6: 7},
}
"""For an action unit, the one whose score is used in its place."""


@dataclass(frozen=True)
class Portraits:
    """N photos of one face each.

    Attributes:
        images: (H, W, 3) RGB uint8 each.
        landmarks: (5, 2) px each.
        labels: (N, A) 0 or 1, NaN if missing.
        agreed: (N, A) bool: both annotators gave the same label.
    """

    images: list[NDArray[np.uint8]]
    landmarks: list[NDArray[np.floating]]
    labels: NDArray[np.float64]
    agreed: NDArray[np.bool_]


@dataclass(frozen=True)
class Scorer:
    """A model that scores the action units of faces.

    Attributes:
        name: in the tables.
        score: a function of N images that returns (N, A) scores 0..1; NaN if there is no face, or if the
            model lacks the action unit.
        thresholds: (A,) scores from which an action unit counts as present.
    """

    name: str
    score: Callable[[list[NDArray[np.uint8]]], NDArray[np.float64]]
    thresholds: NDArray[np.float64]


def read_portraits(folder: Path, aus: Sequence[int]) -> Portraits:
    """Read the held-out portraits and their labels."""
    table = Path(facts.__file__).parent / "datasets" / "portraits.csv"
    truth = labels.read_labels(table)
    settled = pd.read_csv(table, usecols=["settled"]).fillna("")["settled"].str.split()
    agreed = np.array([[facts.au_name(au) not in names for au in aus] for names in settled])
    images = [media.read_image(folder / name) for name in truth.rows["source"]]
    detector = Detector(locate_detector_weights("mobilenet0.25", DETECTOR))
    landmarks = [max(detector.find([image])[0], key=lambda face: face.score).landmarks for image in images]
    return Portraits(images, landmarks, np.stack([truth.occurrence[au] for au in aus], axis=1), agreed)


def load_weights(path: Path, aus: Sequence[int]) -> Scorer:
    """Load maeface weights as a scorer, named after their file."""
    predictor = Predictor(path, "cpu", faces="largest", precision="fp32", detector=DETECTOR)
    own_aus = predictor.metadata.aus
    if predictor.metadata.task == "intensity":
        raise SystemExit(f"{path} rates intensity only; give weights that detect")
    thresholds = dict(zip(own_aus, predictor.metadata.thresholds or [0.5] * len(own_aus), strict=True))

    def score(images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        rows = predictor(images)
        columns = [f"{facts.au_name(au)}_p" for au in aus]
        return rows.reindex(columns=columns).to_numpy(np.float64)

    name = path.stem if path.stem != "weights" else path.parent.name
    return Scorer(name, score, np.array([thresholds.get(au, np.nan) for au in aus]))


def load_mediapipe(landmarker: blendshapes.FaceLandmarker, aus: Sequence[int]) -> list[Scorer]:
    """Return MediaPipe as a scorer, and one for each of ``PROXIES``."""
    cache: list[tuple[list[NDArray[np.uint8]], list[dict[int, float]]]] = []

    def detect_once(images: list[NDArray[np.uint8]]) -> list[dict[int, float]]:
        if not cache or cache[0][0] is not images:
            faces = [landmarker(image) for image in images]
            cache[:] = [(images, [{} if face is None else face.action_units() for face in faces])]
        return cache[0][1]

    def scorer(name: str, sources: Mapping[int, int]) -> Scorer:
        def score(images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
            rows = detect_once(images)
            return np.array([[row.get(sources.get(au, 0), np.nan) for au in aus] for row in rows])

        return Scorer(name, score, np.full(len(aus), 0.5))

    return [scorer("MediaPipe", {au: au for au in aus}), *(scorer(*proxy) for proxy in PROXIES.items())]


def group_rows(portraits: Portraits) -> dict[tuple[str, str], NDArray[np.intp]]:
    """Return the rows of each group of portraits, by criterion and name of the group."""
    photos = list(zip(portraits.images, portraits.landmarks, strict=True))
    angles = [conditions.typology_angle(image, landmarks) for image, landmarks in photos]
    tones = np.array([conditions.MERGED.get(conditions.classify_tone(a), conditions.GREY) for a in angles])
    absolute_yaws = np.abs([conditions.estimate_yaw(landmarks) for landmarks in portraits.landmarks])
    yaws = np.array([next(name for most, name in YAWS if value < most) for value in absolute_yaws])
    groups = {("skin tone", name): np.flatnonzero(tones == name) for name in dict.fromkeys(tones)}
    groups |= {("yaw", name): np.flatnonzero(yaws == name) for _, name in YAWS}
    return dict(sorted(groups.items()))


def degrade(portraits: Portraits) -> dict[tuple[str, str], list[NDArray[np.uint8]]]:
    """Return all photos shrunk, and all photos blurred, by kind and degree."""
    photos = list(zip(portraits.images, portraits.landmarks, strict=True))
    degraded: dict[tuple[str, str], list[NDArray[np.uint8]]] = {}
    for size in SIZES:
        images = []
        for image, landmarks in photos:
            smaller = conditions.shrink(image, landmarks, size)
            images.append(image if smaller is None else smaller)
        degraded["eyes apart", f"{size} px"] = images
    for fraction in BLURS:
        name = f"{fraction:.0%} of the distance of the eyes"
        degraded["blur", name] = [conditions.blur(*photo, fraction) for photo in photos]
    return degraded


def measure(portraits: Portraits, scorers: Sequence[Scorer], resamples: int) -> pd.DataFrame:
    """Return every score of every scorer; one row for each action unit of a group."""
    scores = {scorer.name: scorer.score(portraits.images) for scorer in scorers}
    distances = [conditions.eye_distance(landmarks) for landmarks in portraits.landmarks]
    everything = ("all", f"eyes {np.median(distances):.0f} px apart")
    groups = {everything: np.arange(len(portraits.images))} | group_rows(portraits)
    rows: list[pd.DataFrame] = []
    main_scorers = [scorer for scorer in scorers if scorer.name not in PROXIES]
    for group, indices in groups.items():
        selected = {name: values[indices] for name, values in scores.items()}
        group_scorers = scorers if group[0] == "all" else main_scorers
        rows += _rows(group, selected, portraits.labels[indices], group_scorers, resamples)
    agreed = np.where(portraits.agreed, portraits.labels, np.nan)
    rows += _rows(("label", "both annotators agree"), scores, agreed, scorers, resamples)
    for group, images in degrade(portraits).items():
        degraded = {scorer.name: scorer.score(images) for scorer in main_scorers}
        rows += _rows(group, degraded, portraits.labels, main_scorers, resamples)
    return pd.concat(rows, ignore_index=True)


def _rows(
    group: tuple[str, str],
    scores: Mapping[str, NDArray[np.float64]],
    truth: NDArray[np.float64],
    scorers: Sequence[Scorer],
    resamples: int,
) -> list[pd.DataFrame]:
    """Return the tables of each scorer, and of the difference of each of ours from MediaPipe."""
    parts = [
        tables.compute_scores(truth, scores[scorer.name], scorer.thresholds, resamples).assign(
            scorer=scorer.name
        )
        for scorer in scorers
    ]
    if "MediaPipe" in scores:
        peer = scores["MediaPipe"]
        ours = [scorer.name for scorer in scorers if not scorer.name.startswith("MediaPipe")]
        parts += [
            tables.compute_difference(truth, scores[name], peer, resamples).assign(
                scorer=f"{name} - MediaPipe"
            )
            for name in ours
        ]
    return [table.assign(by=group[0], group=group[1]) for table in parts]


def render_neutral(folders: Sequence[Path], scorers: Sequence[Scorer], aus: Sequence[int]) -> str:
    """Return how often each action unit is called present in photos of neutral faces, as a Markdown table."""
    paths = [
        path for folder in folders for path in sorted(folder.iterdir()) if media.detect_kind(path) == "image"
    ]
    images = [media.read_image(path) for path in paths]
    lines = [f"| called present in {len(paths)} photos at rest | {' | '.join(map(facts.au_name, aus))} |"]
    lines.append("|---" * (len(aus) + 1) + "|")
    for scorer in scorers:
        cells = [
            "–"
            if np.isnan(values).all()
            else f"{int((values >= threshold).sum())} (most {np.nanmax(values):.2f})"
            for values, threshold in zip(scorer.score(images).T, scorer.thresholds, strict=True)
        ]
        lines.append(f"| {scorer.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of the official portraits")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument("--mediapipe", type=Path, help="face_landmarker.task")
    parser.add_argument(
        "--neutral", type=Path, action="append", default=[], help="folder of neutral faces; repeatable"
    )
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    aus = facts.dataset("portraits").aus_occurrence
    with ExitStack() as stack:
        scorers = [load_weights(path, aus) for path in arguments.weights]
        if arguments.mediapipe:
            scorers += load_mediapipe(
                stack.enter_context(blendshapes.FaceLandmarker(arguments.mediapipe)), aus
            )
        if not scorers:
            parser.error("nothing to measure; give --weights or --mediapipe")
        if len({scorer.name for scorer in scorers}) < len(scorers):
            parser.error("two weights have the same file name; rename one of them")
        table = measure(read_portraits(arguments.photos, aus), scorers, arguments.resamples)
        table["au"] = [facts.au_name(aus[column]) for column in table["au"]]
        text = tables.render(table)
        if arguments.neutral:
            text += f"\n## Faces at rest\n\n{render_neutral(arguments.neutral, scorers, aus)}\n"
    files.write_text(arguments.out / "zero_shot.csv", table.to_csv(index=False, float_format="%.4f"))
    files.write_text(arguments.out / "zero_shot.md", text)
    print(text)


if __name__ == "__main__":
    main()
