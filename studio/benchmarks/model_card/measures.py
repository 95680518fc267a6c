"""What is measured for the model card; each table is kept as CSV."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maeface import facts, files
from maeface.model import weights
from maeface.prediction.predictor import Predictor
from maeface_studio.weights import blendshapes, check, recipe
from maeface_studio.weights.bench import clips, command
from maeface_studio.weights.bench.scores import Result
from maeface_studio.weights.bench.tool_tables import read_tables

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import zero_shot

BEFORE, PEER = "maeface-nano-motion", command.MEDIAPIPE
PEOPLE = Path(__file__).parents[1] / "clip_people.csv"
GROUP = "group/situation_room.jpg"
AUS = facts.dataset("portraits").aus_occurrence
AT_REST = ("zoom-cc0", "lisa-cc0")
PROXY = next(iter(zero_shot.PROXIES))
"""MediaPipe with its best proxies of AU25 and AU6."""


@dataclass(frozen=True)
class Given:
    """What is measured, and with what."""

    name: str
    data: Path
    renders: Path
    teacher: Path
    out: Path

    @property
    def photos(self) -> Path:
        """The folder of photographs."""
        return self.data / "photos"

    @property
    def held_out(self) -> list[str]:
        """The clips that the last training left out."""
        return list(recipe.load(self.name).prepare.held_out_videos)


def keep(path: Path, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table in a CSV file; measure and write it if it is not there."""
    if not path.is_file():
        files.write_text(path, measure().to_csv(index=False, float_format="%.6f"))
    return pd.read_csv(path)


def measure_scores(given: Given) -> pd.DataFrame:
    """Return the scores of ``bench``, those of the held-out clips as the set "held out"."""
    folder = given.out / "tables"
    result = command.run(
        [given.name, BEFORE, PEER],
        photos=given.photos / "congress",
        renders=given.renders,
        videos=[given.data / "videos"],
        people=PEOPLE,
        teacher=given.teacher,
        tables=folder,
    )
    reference = pd.read_parquet(folder / f"{PEER}-clips.parquet")
    held_out = reference[reference["source"].isin(given.held_out)]
    tools = {name: read_tables(folder / f"{name}-clips.parquet") for name in (given.name, BEFORE)}
    scores, _ = clips.score(held_out, tools, command.read_people(PEOPLE))
    return pd.concat([result.table(), Result(tuple(scores), {}).table().assign(set="held out")])


def measure_checks(given: Given, diagram: Path) -> pd.DataFrame:
    """Return a row for each AU with what ``check`` finds."""
    rows = []
    for one in check.run(given.name, given.photos / "congress", given.renders, diagram=diagram):
        row = {"au": one.au, "threshold": one.threshold, "without": ", ".join(map(str, one.negatives))}
        row |= one.check.model_dump(include={"on", "auc", "low", "high", "present"}) if one.check else {}
        row |= {"fitted": f"{one.calibration.on}, {one.calibration.present}"} if one.calibration else {}
        for place, faces in enumerate(("real", "renders")):
            pairs = {"before": one.errors[0], "after": one.errors[1]}
            pairs |= {"false": one.false_alarms, "found": one.found, "f1": one.f1}
            row |= {f"{name} {faces}": pair[place] for name, pair in pairs.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def measure_pictures(given: Given) -> pd.DataFrame:
    """Return the AUCs of the weights on all portraits, on groups of them, and on worse pictures."""
    return _score_pictures(given, [zero_shot.load_weights(weights.find(given.name), AUS)])


def measure_peer(given: Given) -> pd.DataFrame:
    """Return the same of MediaPipe."""
    with blendshapes.FaceLandmarker(given.teacher) as landmarker:
        return _score_pictures(given, zero_shot.load_mediapipe(landmarker, AUS))


def _score_pictures(given: Given, scorers: list[zero_shot.Scorer]) -> pd.DataFrame:
    portraits = zero_shot.read_portraits(given.photos / "congress", AUS)
    table = zero_shot.measure(portraits, scorers, resamples=2000)
    return table.assign(au=[AUS[column] for column in table["au"]])


def measure_others(given: Given) -> pd.DataFrame:
    """Return the predictions of the photographs of people at rest, and of those of a group."""
    at_rest = [path for name in AT_REST for path in sorted((given.photos / name).glob("*.jpg"))]
    with Predictor(given.name, "cpu", precision="fp32", detector="embedded") as predictor:
        parts = {"at rest": predictor(at_rest), "group": predictor([given.photos / GROUP])}
    return pd.concat([table.assign(set=name) for name, table in parts.items()])
