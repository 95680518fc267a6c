"""Scores of tools on labelled stills: renders of people, and portraits.

Every interval is a bootstrap over people, with the same resamples for each tool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import console, metrics
from maeface.data.tables import matching
from maeface.data.tables.labels import Labels
from maeface.errors import DataError
from maeface_studio.weights.bench.scores import LEAST_PEOPLE, MEAN, OF_FOLDS, Score, common, interval
from maeface_studio.weights.bench.tool_tables import Files, Floats, ToolTable
from maeface_studio.weights.calibration import LEAST_OF_EACH

RENDERS = ("AUC", "F1", "ICC")
ASYMMETRY, STRONGER = "r of left - right", "stronger side"
SIDES = ("ICC left", "ICC right", ASYMMETRY, STRONGER)
"""Of labels with the sides of the face: ``ASYMMETRY`` is the correlation of predicted with true asymmetry;
``STRONGER`` is how often the stronger side is right, where they differ by ``LEAST_ASYMMETRY`` or more."""
LEAST_ASYMMETRY = 1.0
"""Difference of the two sides from which one is called the stronger."""
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
        if name in (ASYMMETRY, STRONGER):
            truth, values = (self.rated_left - self.rated_right)[rows], (self.left - self.right)[rows]
            if name == STRONGER:
                right = np.where(np.isnan(values), np.nan, np.sign(values) == np.sign(truth))
                return np.asarray(pd.DataFrame(right).where(np.abs(truth) >= LEAST_ASYMMETRY).mean())
            return np.asarray(pd.DataFrame(values).corrwith(pd.DataFrame(truth)), np.float64)
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
    folds: NDArray[np.str_] | None = None,
) -> tuple[list[Score], list[str]]:
    """Score tools on labelled faces.

    AUC and F1 need ``LEAST_OF_EACH`` labelled faces with the action unit and as many without it, and the rate
    of false alarms as many without it; fewer give NaN. With folds they are needed in each, and the score of
    all faces is the mean over the folds.

    Args:
        name: of the set.
        labels: with ``subject``; a face without one is a person of its own.
        tools: the tables of each tool.
        measures: "AUC", "F1", "ICC", "false alarms", or one of ``SIDES``.
        resamples: of the bootstrap.
        folds: the fold of each face, (N,); None: there are none.

    Returns:
        The scores, and a remark on the faces that each tool has.

    Raises:
        DataError: it is not clear which row of a table is of which face.
    """
    aus = sorted(labels.occurrence.keys() | labels.intensity.keys() | labels.left.keys())
    subjects = labels.rows["subject"].to_numpy(object)
    own = np.array([f"face {row}" for row in range(len(subjects))], object)
    people = np.where(labels.rows["subject"].isna(), own, subjects).astype(str)
    kinds = (labels.occurrence, labels.intensity, labels.left, labels.right)
    present, *rated = (_label_columns(kind, aus, people) for kind in kinds)
    faces = {tool: _align(tool, name, given, labels, aus, present, rated) for tool, given in tools.items()}
    folds = np.full(len(people), "") if folds is None else folds
    groups = {str(fold): folds == fold for fold in np.unique(folds)}
    if "" not in groups:
        groups = {OF_FOLDS: np.ones(len(people), bool), **groups}
    counts = {
        fold: _Counts.of(present[rows], rated[0][rows], rated[1][rows], people[rows])
        for fold, rows in groups.items()
    }
    defined = {
        fold: np.stack([count.are_enough(measure) for measure in measures]) for fold, count in counts.items()
    }
    statistics = {tool: _Statistic(one, tuple(measures), folds, defined) for tool, one in faces.items()}
    kept = common([one(np.arange(len(people)))[0] for one in statistics.values()])
    scores: list[Score] = []
    for tool, statistic in statistics.items():
        drawn = metrics.bootstrap(replace(statistic, kept=kept), people, resamples)
        for number, (fold, rows) in enumerate(groups.items()):
            for k, measure in enumerate(measures):
                of_sides = measure in SIDES
                values, columns = (faces[tool].left, labels.left) if of_sides else (faces[tool].scores, aus)
                used = (~np.isnan(values) & ~np.isnan(rated[1] if of_sides else present))[rows].sum(axis=0)
                where = name, measure, tool, fold
                ends = np.stack([drawn.value[number, k], drawn.low[number, k], drawn.high[number, k]])
                listed = _list_scores(where, aus, counts[fold], used, kept[k], ends)
                scores += [score for score in listed if score.au == MEAN or score.au in columns]
    found = {tool: int((~np.isnan(one.scores)).any(axis=1).sum()) for tool, one in faces.items()}
    return scores, [f"{tool}: {count} of {len(people)} faces." for tool, count in found.items()]


def _list_scores(
    where: tuple[str, str, str, str],
    aus: Sequence[int],
    counts: "_Counts",
    used: NDArray[np.intp],
    kept: NDArray[np.bool_],
    drawn: Floats,
) -> list[Score]:
    """Return the scores of one measure: of each action unit, and their mean.

    Args:
        where: set, measure, tool, fold.
        aus: the action units.
        counts: of the labels.
        used: faces with a label and a value of the tool, (A,).
        kept: which action units the mean is over, (A,).
        drawn: value, low, high, (3, A + 1); the mean is last.
    """
    name, measure, tool, fold = where
    scores = []
    people = counts.people(measure)
    for column, au in enumerate(aus):
        value, low, high = map(float, drawn[:, column])
        number = int(people[column])
        low, high = interval(low, high, number)
        if measure == "false alarms" and number >= LEAST_PEOPLE:
            low, high = _never_or_always(value, number, (low, high))
        of_au = int(counts.faces[column]), int(counts.present[column]), int(used[column]), number
        scores.append(Score(name, au, measure, tool, value, low, high, *of_au, fold))
    if kept.any():
        fewest = int(people[kept].min())
        value, low, high = map(float, drawn[:, -1])
        low, high = interval(low, high, fewest)
        number = int(kept.sum())
        scores.append(Score(name, MEAN, measure, tool, value, low, high, number, 0, number, fewest, fold))
    return scores


def _never_or_always(value: float, people: int, drawn: tuple[float, float]) -> tuple[float, float]:
    """Return the exact interval (Clopper and Pearson) of a rate of 0 or 1, of which a bootstrap has none."""
    if value in (0.0, 1.0):
        farthest = 1 - 0.025 ** (1 / people)
        return (0.0, farthest) if value == 0 else (1 - farthest, 1.0)
    return drawn


@dataclass(frozen=True)
class _Counts:
    """How many faces and people are labelled, by action unit, (A,) each.

    Attributes:
        faces: with a label of occurrence.
        present: of these, with the action unit.
        showing: people with such a face.
        without: people with a face without it.
        rated: people with a label of intensity.
        sided: people with a label of each side.
    """

    faces: NDArray[np.intp]
    present: NDArray[np.intp]
    showing: NDArray[np.intp]
    without: NDArray[np.intp]
    rated: NDArray[np.intp]
    sided: NDArray[np.intp]

    @classmethod
    def of(cls, present: Floats, rated: Floats, left: Floats, people: NDArray[np.str_]) -> "_Counts":
        """Count the labels (N, A) of N faces."""

        def count(faces: NDArray[np.bool_]) -> NDArray[np.intp]:
            return np.array([len(np.unique(people[column])) for column in faces.T], np.intp)

        known, shown = ~np.isnan(present), present > 0
        of_people = count(shown), count(present == 0), count(~np.isnan(rated)), count(~np.isnan(left))
        return cls(known.sum(axis=0), shown.sum(axis=0), *of_people)

    def people(self, measure: str) -> NDArray[np.intp]:
        """Return on how many people a measure rests."""
        of_calls = np.minimum(self.showing, self.without)
        of_measure = {"AUC": of_calls, "F1": of_calls, "false alarms": self.without}
        return of_measure.get(measure, self.sided if measure in SIDES else self.rated)

    def are_enough(self, measure: str) -> NDArray[np.bool_]:
        """Return whether there are enough faces for a measure."""
        absent = self.faces - self.present
        of_calls = np.minimum(self.present, absent)
        least = {"AUC": of_calls, "F1": of_calls, "false alarms": absent}
        enough: NDArray[np.bool_] = least.get(measure, np.full(len(absent), LEAST_OF_EACH)) >= LEAST_OF_EACH
        return enough


@dataclass(frozen=True)
class _Statistic:
    """All measures of some rows, (groups, measures, A), and the mean over action units as one column more.

    Attributes:
        faces: of one tool.
        measures: their names.
        folds: of each face.
        defined: by group which measures have enough faces, (measures, A); with folds, the first group is
            the mean over the others.
        kept: (measures, A), the action units of the mean; None: no such column.
    """

    faces: _Faces
    measures: tuple[str, ...]
    folds: NDArray[np.str_]
    defined: Mapping[str, NDArray[np.bool_]]
    kept: NDArray[np.bool_] | None = None

    def __call__(self, rows: NDArray[np.intp]) -> Floats:
        values = np.stack(
            [
                np.where(defined, self._measure(rows[self.folds[rows] == fold]), np.nan)
                for fold, defined in self.defined.items()
                if fold != OF_FOLDS
            ]
        )
        if OF_FOLDS in self.defined:
            values = np.concatenate([values.mean(axis=0, keepdims=True), values])
        if self.kept is None:
            return values
        of_kept = np.where(self.kept, values, 0.0).sum(axis=-1)
        count = self.kept.sum(axis=-1)
        means = np.divide(of_kept, count, out=np.full(of_kept.shape, np.nan), where=count > 0)
        return np.concatenate([values, means[..., None]], axis=-1)

    def _measure(self, rows: NDArray[np.intp]) -> Floats:
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
    owners = np.full(len(present), -1)
    reasons: list[str] = []
    files = Files(labels.rows["source"])
    tables = [table.with_sources(files) for table in tables]
    for number, table in enumerate(tables):
        try:
            match = matching.match_predictions(labels, table.predictions)
        except matching.NoMatchError as error:  # a table of another set
            reasons.append(str(error))
            continue
        if match.notes:
            raise DataError(f"{table.predictions.path}: {match.notes[0]}")
        if (again := match.label_rows[owners[match.label_rows] >= 0]).size:
            first = tables[owners[again[0]]].predictions.path
            raise DataError(
                f"{first} and {table.predictions.path} both have {labels.rows['source'][again[0]]}; "
                f"give one of them for {tool}"
            )
        owners[match.label_rows] = number
        kinds = (table.scores, table.calls, table.intensity, table.left, table.right)
        for kind, of_kind in enumerate(kinds):
            for column, au in enumerate(aus):
                if au in of_kind:
                    values[kind, match.label_rows, column] = of_kind[au][match.prediction_rows]
    if len(reasons) == len(tables):
        console.note(f"{tool} has no face of the {name}: {reasons[0] if reasons else 'no table'}")
    return _Faces(present, rated[0], *values, *rated[1:])
