"""How well weights do on real faces that nothing was trained on, beside MediaPipe, and where they do worse.

``uv run python benchmarks/zero_shot.py PHOTOS --weights W [--weights W2] [--mediapipe face_landmarker.task]``

PHOTOS is the folder of official portraits (``maeface.datasets/portraits.toml`` says where it comes from); the
300 held-out ones are read, and their labels are those of ``portraits.csv``. For each action unit: AUC, F1 at
the weights' own threshold (0.5 for MediaPipe), and F1 at the best threshold *for these very labels*, which is
an upper bound and no result. Intervals are 95 % bootstrap over portraits, and paired for the differences.
The same by skin tone, by pose, and with the photos shrunk and blurred. A face that is not found is in no
score, and counted. ``--neutral`` is for photos of faces at rest: how often something is seen there.

Writes ``zero_shot.csv`` (everything) and ``zero_shot.md`` (for people) to ``--out``. MediaPipe needs the
extra ``teacher``. Its AU25 is the gap between its lip points, the best it has; ``PROXIES`` are what some
blendshapes make of AU25, and of AU6, whose own blendshape it never moves.
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
from maeface.prediction.predictor import Predictor
from maeface_studio.weights import blendshapes

SIZES = (15, 25, 40)
BLURS = (0.02, 0.04, 0.08)
YAWS = ((5.0, "under 5 degrees"), (10.0, "5 to 10 degrees"), (np.inf, "10 degrees and more"))
PROXIES = {
    "MediaPipe: jawOpen as 25, mouthSmile as 6": {25: 26, 6: 12},
    "MediaPipe: mouthUpperUp as 25, eyeSquint as 6": {25: 10, 6: 7},
}
"""Whose score is taken for an action unit instead of its own."""


@dataclass(frozen=True)
class Portraits:
    """N photos of one face each.

    Attributes:
        images: (H, W, 3) uint8 each.
        points: (5, 2) px each.
        labels: (N, A) 0 or 1, NaN where not known.
        agreed: (N, A) bool: both readers said the same.
    """

    images: list[NDArray[np.uint8]]
    points: list[NDArray[np.floating]]
    labels: NDArray[np.float64]
    agreed: NDArray[np.bool_]


@dataclass(frozen=True)
class Judge:
    """Whoever scores faces.

    Attributes:
        name: in the tables.
        scores: N images to (N, A) scores 0..1; NaN where there is no face, or no such action unit.
        thresholds: (A,).
    """

    name: str
    scores: Callable[[list[NDArray[np.uint8]]], NDArray[np.float64]]
    thresholds: NDArray[np.float64]


def read(folder: Path, aus: Sequence[int]) -> Portraits:
    """The held-out portraits and their labels."""
    table = Path(facts.__file__).parent / "datasets" / "portraits.csv"
    truth = labels.read(table)
    settled = pd.read_csv(table, usecols=["settled"]).fillna("")["settled"].str.split()
    agreed = np.array([[facts.au_name(au) not in names for au in aus] for names in settled])
    images = [media.read_image(folder / name) for name in truth.rows["source"]]
    detector = Detector()
    points = [max(detector.find([image])[0], key=lambda face: face.score).points for image in images]
    return Portraits(images, points, np.stack([truth.occurrence[au] for au in aus], axis=1), agreed)


def ours(path: Path, aus: Sequence[int]) -> Judge:
    """Weights of ours, by the name of their file."""
    predictor = Predictor(path, faces="largest")
    have = predictor.metadata.aus
    if predictor.metadata.task == "intensity":
        raise SystemExit(f"{path} rates intensity only; give weights that detect")
    thresholds = dict(zip(have, predictor.metadata.thresholds or [0.5] * len(have), strict=True))

    def scores(images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        rows = predictor(images)
        columns = [f"{facts.au_name(au)}_p" for au in aus]
        return rows.reindex(columns=columns).to_numpy(np.float64)

    name = path.stem if path.stem != "weights" else path.parent.name
    return Judge(name, scores, np.array([thresholds.get(au, np.nan) for au in aus]))


def mediapipe(reader: blendshapes.FaceLandmarker, aus: Sequence[int]) -> list[Judge]:
    """MediaPipe as it is, and what other shapes of it tell of AU25 and AU6."""
    last: list[tuple[list[NDArray[np.uint8]], list[dict[int, float]]]] = []

    def read_once(images: list[NDArray[np.uint8]]) -> list[dict[int, float]]:
        if not last or last[0][0] is not images:
            faces = [reader(image) for image in images]
            last[:] = [(images, [{} if face is None else face.action_units() for face in faces])]
        return last[0][1]

    def judge(name: str, column: Mapping[int, int]) -> Judge:
        def scores(images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
            known = read_once(images)
            return np.array([[row.get(column.get(au, 0), np.nan) for au in aus] for row in known])

        return Judge(name, scores, np.full(len(aus), 0.5))

    return [judge("MediaPipe", {au: au for au in aus}), *(judge(*proxy) for proxy in PROXIES.items())]


def groups(portraits: Portraits) -> dict[tuple[str, str], NDArray[np.intp]]:
    """The rows of each group of photos as they are, by what is grouped by and the name."""
    angles = [
        conditions.typology_angle(*both) for both in zip(portraits.images, portraits.points, strict=True)
    ]
    tones = np.array([conditions.MERGED.get(conditions.tone(a), conditions.GREY) for a in angles])
    turned = np.abs([conditions.yaw(points) for points in portraits.points])
    yaws = np.array([next(name for most, name in YAWS if value < most) for value in turned])
    found = {("skin tone", name): np.flatnonzero(tones == name) for name in dict.fromkeys(tones)}
    found |= {("yaw", name): np.flatnonzero(yaws == name) for _, name in YAWS}
    return dict(sorted(found.items()))


def worsened(portraits: Portraits) -> dict[tuple[str, str], list[NDArray[np.uint8]]]:
    """All photos, shrunk and blurred."""
    both = list(zip(portraits.images, portraits.points, strict=True))
    made: dict[tuple[str, str], list[NDArray[np.uint8]]] = {}
    for size in SIZES:
        smaller = [conditions.shrink(image, points, size) for image, points in both]
        whole = [image if made is None else made for (image, _), made in zip(both, smaller, strict=True)]
        made["eyes apart", f"{size} px"] = whole
    for part in BLURS:
        name = f"{part:.0%} of the distance of the eyes"
        made["blur", name] = [conditions.blur(image, points, part) for image, points in both]
    return made


def measure(portraits: Portraits, judges: Sequence[Judge], resamples: int) -> pd.DataFrame:
    """Every score of every judge, a row an action unit."""
    count = len(portraits.images)
    plain = {judge.name: judge.scores(portraits.images) for judge in judges}
    apart = [conditions.eye_distance(points) for points in portraits.points]
    parts = {("all", f"eyes {np.median(apart):.0f} px apart"): np.arange(count)} | groups(portraits)
    rows: list[pd.DataFrame] = []
    main = [judge for judge in judges if judge.name not in PROXIES]
    for where, chosen in parts.items():
        held = {name: scores[chosen] for name, scores in plain.items()}
        whom = judges if where[0] == "all" else main
        rows += _rows(where, held, portraits.labels[chosen], whom, resamples)
    clear = np.where(portraits.agreed, portraits.labels, np.nan)
    rows += _rows(("label", "both readers agree"), plain, clear, judges, resamples)
    for where, images in worsened(portraits).items():
        scores = {judge.name: judge.scores(images) for judge in main}
        rows += _rows(where, scores, portraits.labels, main, resamples)
    return pd.concat(rows, ignore_index=True)


def _rows(
    where: tuple[str, str],
    scores: Mapping[str, NDArray[np.float64]],
    truth: NDArray[np.float64],
    judges: Sequence[Judge],
    resamples: int,
) -> list[pd.DataFrame]:
    """Of each judge, and of each of ours against MediaPipe."""
    made = [
        tables.scores(truth, scores[judge.name], judge.thresholds, resamples).assign(judge=judge.name)
        for judge in judges
    ]
    if "MediaPipe" in scores:
        peer = scores["MediaPipe"]
        mine = [judge.name for judge in judges if not judge.name.startswith("MediaPipe")]
        made += [
            tables.difference(truth, scores[name], peer, resamples).assign(judge=f"{name} - MediaPipe")
            for name in mine
        ]
    return [table.assign(by=where[0], group=where[1]) for table in made]


def neutral(folders: Sequence[Path], judges: Sequence[Judge], aus: Sequence[int]) -> str:
    """What is seen in photos of faces at rest, as a Markdown table."""
    paths = [path for folder in folders for path in sorted(folder.iterdir()) if media.kind(path) == "image"]
    images = [media.read_image(path) for path in paths]
    lines = [f"| called present in {len(paths)} photos at rest | {' | '.join(map(facts.au_name, aus))} |"]
    lines.append("|---" * (len(aus) + 1) + "|")
    for judge in judges:
        seen = judge.scores(images)
        called = [
            "–"
            if np.isnan(values).all()
            else f"{int((values >= limit).sum())} (most {np.nanmax(values):.2f})"
            for values, limit in zip(seen.T, judge.thresholds, strict=True)
        ]
        lines.append(f"| {judge.name} | {' | '.join(called)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of the official portraits")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="of ours; several times")
    parser.add_argument("--mediapipe", type=Path, help="face_landmarker.task")
    parser.add_argument("--neutral", type=Path, action="append", default=[], help="folder of faces at rest")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--resamples", type=int, default=2000)
    given = parser.parse_args()
    aus = facts.dataset("portraits").aus_occurrence
    with ExitStack() as stack:
        judges = [ours(path, aus) for path in given.weights]
        if given.mediapipe:
            judges += mediapipe(stack.enter_context(blendshapes.FaceLandmarker(given.mediapipe)), aus)
        if not judges:
            parser.error("nothing to measure; give --weights or --mediapipe")
        if len({judge.name for judge in judges}) < len(judges):
            parser.error("two weights have one name; name their files apart")
        found = measure(read(given.photos, aus), judges, given.resamples)
        found["au"] = [facts.au_name(aus[column]) for column in found["au"]]
        text = tables.markdown(found)
        if given.neutral:
            text += f"\n## Faces at rest\n\n{neutral(given.neutral, judges, aus)}\n"
    files.write_text(given.out / "zero_shot.csv", found.to_csv(index=False, float_format="%.4f"))
    files.write_text(given.out / "zero_shot.md", text)
    print(text)


if __name__ == "__main__":
    main()
