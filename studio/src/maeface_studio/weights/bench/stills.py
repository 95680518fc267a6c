"""Scores of tools on labelled stills: renders of people, and portraits.

Every interval is a bootstrap over people, with the same resamples for each tool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import console, metrics
from maeface.data.tables import matching
from maeface.data.tables.labels import Labels
from maeface.errors import DataError
from maeface_studio.weights.bench.scores import Score
from maeface_studio.weights.bench.tool_tables import Floats, ToolTable
from maeface_studio.weights.calibration import LEAST_OF_EACH

RENDERS = ("AUC", "F1", "ICC")
SIDES = ("ICC left", "ICC right", "r of left - right")
"""Of labels with the sides of the face; the last is the correlation of predicted with true asymmetry."""
PORTRAITS = ("AUC", "false alarms")
RESAMPLES = 2000


@dataclass(frozen=True)
class _Faces:
    """Labels of N faces and one tool's values for them, (N, A) each; NaN where there is none."""

    present: Floats
    rated: Floats
    scores: Floats
    calls: Floats
    intensity: Floats
    left: Floats
    right: Floats
    rated_left: Floats
    rated_right: Floats

    def measure(self, name: str, rows: NDArray[np.intp]) -> Floats:
        """Return a measure of some of the faces, (A,)."""
        truth, calls = self.present[rows], self.calls[rows]
        known = ~np.isnan(truth) & ~np.isnan(calls)
        if name == "AUC":
            scores = self.scores[rows]
            return metrics.auc(truth, scores, ~np.isnan(truth) & ~np.isnan(scores))
        if name == "F1":
            return metrics.f1(truth, calls, known)
        if name == SIDES[-1]:
            truth, values = self.rated_left - self.rated_right, self.left - self.right
            r = pd.DataFrame(values[rows]).corrwith(pd.DataFrame(truth[rows]))
            return np.asarray(r, np.float64)
        if name.startswith("ICC"):
            rated, intensity = {
                "ICC": (self.rated[rows], self.intensity[rows]),
                "ICC left": (self.rated_left[rows], self.left[rows]),
                "ICC right": (self.rated_right[rows], self.right[rows]),
            }[name]
            return metrics.icc31(rated, intensity, ~np.isnan(rated) & ~np.isnan(intensity))
        absent = known & (truth == 0)
        count = absent.sum(axis=0)
        alarms = (absent & (calls > 0)).sum(axis=0)
        rate: Floats = np.divide(alarms, count, out=np.full(truth.shape[1], np.nan), where=count > 0)
        return rate


def score(
    name: str,
    labels: Labels,
    tools: Mapping[str, Sequence[ToolTable]],
    measures: Sequence[str],
    resamples: int = RESAMPLES,
) -> tuple[list[Score], list[str]]:
    """Score tools on labelled faces.

    AUC and F1 need ``LEAST_OF_EACH`` labelled faces with the action unit and as many without it, and the rate
    of false alarms as many without it; fewer give NaN.

    Args:
        name: of the set.
        labels: with ``subject``; a face without one is a person of its own.
        tools: the tables of each tool.
        measures: "AUC", "F1", "ICC", "false alarms", or one of ``SIDES``.
        resamples: of the bootstrap.

    Returns:
        The scores, and a remark on the faces that each tool has.
    """
    aus = sorted(labels.occurrence.keys() | labels.intensity.keys() | labels.left.keys())
    subjects = labels.rows["subject"].to_numpy(object)
    own = np.array([f"face {row}" for row in range(len(subjects))], object)
    people = np.where(labels.rows["subject"].isna(), own, subjects).astype(str)
    kinds = (labels.occurrence, labels.intensity, labels.left, labels.right)
    present, *rated = (_label_columns(kind, aus, people) for kind in kinds)
    with_au, without = (present > 0).sum(axis=0), (present == 0).sum(axis=0)
    enough = np.minimum(with_au, without) >= LEAST_OF_EACH
    defined = {"AUC": enough, "F1": enough, "false alarms": without >= LEAST_OF_EACH}
    scores: list[Score] = []
    remarks: list[str] = []
    for tool, tables in tools.items():
        faces = _align(tool, name, tables, labels, aus, present, rated)
        found = int((~np.isnan(faces.scores)).any(axis=1).sum())
        remarks.append(f"{tool}: {found} of {len(people)} faces.")
        interval = metrics.bootstrap(_Statistic(faces, tuple(measures)), people, resamples)
        for k, measure in enumerate(measures):
            for column, au in enumerate(aus):
                good = measure not in defined or defined[measure][column]
                value, low, high = (
                    float(one[k, column]) if good else np.nan
                    for one in (interval.value, interval.low, interval.high)
                )
                used = int((~np.isnan(faces.scores[:, column]) & ~np.isnan(present[:, column])).sum())
                counts = int(with_au[column] + without[column]), int(with_au[column])
                scores.append(Score(name, au, measure, tool, value, low, high, *counts, used))
    return scores, remarks


@dataclass(frozen=True)
class _Statistic:
    """All measures of some rows, (measures, A)."""

    faces: _Faces
    measures: tuple[str, ...]

    def __call__(self, rows: NDArray[np.intp]) -> Floats:
        return np.stack([self.faces.measure(name, rows) for name in self.measures])


def _label_columns(values: Mapping[int, Floats], aus: Sequence[int], rows: NDArray[np.str_]) -> Floats:
    missing = np.full(len(rows), np.nan)
    return np.stack([values.get(au, missing) for au in aus], axis=1)


def _align(
    tool: str,
    name: str,
    tables: Sequence[ToolTable],
    labels: Labels,
    aus: Sequence[int],
    present: Floats,
    rated: Sequence[Floats],
) -> _Faces:
    """Return the values that the tables of a tool have for the labelled faces."""
    values = np.full((5, *present.shape), np.nan)
    reasons: list[str] = []
    sources = labels.rows["source"] if "source" in labels.rows else ()
    for table in (table.with_sources(sources) for table in tables):
        try:
            match = matching.match_predictions(labels, table.predictions)
        except DataError as error:  # a table of another set
            reasons.append(str(error))
            continue
        kinds = (table.scores, table.calls, table.intensity, table.left, table.right)
        for kind, of_kind in enumerate(kinds):
            for column, au in enumerate(aus):
                if au in of_kind:
                    values[kind, match.label_rows, column] = of_kind[au][match.prediction_rows]
    if len(reasons) == len(tables):
        console.note(f"{tool} has no face of the {name}: {reasons[0] if reasons else 'no table'}")
    return _Faces(present, rated[0], *values, *rated[1:])
