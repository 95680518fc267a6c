"""The scores of a benchmark, and how they are written: Markdown to read, CSV to use."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts, files

UNITS = {"renders": ("faces", "present"), "portraits": ("faces", "present"), "clips": ("people", "frames")}
"""What is counted in each set."""
TITLES = {"renders": "Renders of unseen people", "portraits": "Held-out portraits", "clips": "Within clips"}
CAPTIONS = {
    "AUC": "AUC",
    "F1": "F1",
    "ICC": "ICC(3,1) of the intensity",
    "ICC left": "ICC(3,1) of the person's left",
    "ICC right": "ICC(3,1) of the person's right",
    "r of left - right": "r of left minus right: correlation of predicted with true asymmetry",
    "stronger side": "Stronger side: how often it is right, where the sides differ by 1 or more",
    "false alarms": "False alarms: the fraction called present of the faces without the AU",
    "r": "r: correlation of the score with MediaPipe's blendshape",
    "r of intensity": "r of intensity: correlation of the intensity with MediaPipe's blendshape",
}
MEAN = 0
"""In the place of an action unit: the mean over those for which every tool with the measure has a value."""
OF_FOLDS = "mean"
"""In the place of a fold: the mean over all folds."""
LEAST_PEOPLE = 5
"""Fewest people that give an interval. Of three, its ends would be the lowest and the highest person."""


@dataclass(frozen=True)
class Score:
    """One score of one tool.

    Attributes:
        set: "renders", "portraits" or "clips".
        au: the action unit, or ``MEAN``.
        measure: "AUC", "F1", "ICC", "false alarms", one of ``stills.SIDES``, or "r" and "r of intensity".
        tool: its name.
        value: NaN where undefined.
        low: lower end of the 95 % interval over people; NaN where there is none.
        high: upper end.
        n: labelled faces; of clips, people in whom the action unit moves; of ``MEAN``, action units.
        present: faces with it; of clips, frames of these people; of ``MEAN``, 0.
        used: those of ``n`` for which the tool has values.
        people: on whom the interval rests. Of AUC and F1, those who show the action unit or those who do
            not, whichever are fewer; of false alarms, those who do not; of ``MEAN``, the fewest.
        fold: of SynthAU, or ``OF_FOLDS``; "" where the people are not in folds.
    """

    set: str
    au: int
    measure: str
    tool: str
    value: float
    low: float
    high: float
    n: int
    present: int
    used: int
    people: int
    fold: str = ""


@dataclass(frozen=True)
class Result:
    """The scores of all tools, and remarks on each set, such as how many faces a tool found."""

    scores: tuple[Score, ...]
    remarks: dict[str, tuple[str, ...]]

    def table(self) -> pd.DataFrame:
        """Return a row for each score, with the names of its attributes as columns."""
        names = [field.name for field in dataclasses.fields(Score)]
        return pd.DataFrame([dataclasses.astuple(score) for score in self.scores], columns=names)


def common(values: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Return which action units a mean is over: those that every tool with any value has.

    Args:
        values: (..., A) of each tool; NaN where it has none.

    Returns:
        (..., A); all False where no tool has a value.
    """
    known = ~np.isnan(np.stack(values))
    some = known.any(axis=-1, keepdims=True)
    return np.logical_and((known | ~some).all(axis=0), some.any(axis=0))


def interval(low: float, high: float, people: int) -> tuple[float, float]:
    """Return the ends of a bootstrap interval; NaN for few people, or if no resample had another value."""
    return (low, high) if people >= LEAST_PEOPLE and high > low else (np.nan, np.nan)


def write(result: Result, path: Path) -> None:
    """Write the scores as CSV."""
    files.write_text(path, result.table().to_csv(index=False, float_format="%.4f"))


def render(result: Result) -> str:
    """Return tables in Markdown: for each set one of each measure, with a column for each tool."""
    lines: list[str] = []
    for name, remarks in result.remarks.items():
        of_set = [score for score in result.scores if score.set == name]
        scores = [score for score in of_set if not np.isnan(score.value)]
        lines += [f"### {TITLES[name]}", ""]
        for measure in dict.fromkeys(score.measure for score in scores):
            of_measure = [score for score in scores if score.measure == measure]
            whole = [score for score in of_measure if score.fold in ("", OF_FOLDS)]
            folds = " (mean of the folds)" if whole[0].fold else ""
            lines += [
                f"{CAPTIONS[measure]}{folds} [95 % interval over people]",
                "",
                *_render(whole, name),
                "",
            ]
        lines += [*_render_folds(scores)]
        lines += [line for remark in [*remarks, *_missing(of_set), *_few(scores)] for line in (remark, "")]
    return "\n".join(lines).rstrip("\n")


def _render(scores: Sequence[Score], name: str) -> Iterator[str]:
    """Yield the lines of a table: action units, and a column for each tool."""
    tools = list(dict.fromkeys(score.tool for score in scores))
    cells = {(score.au, score.tool): _cell(score) for score in scores}
    first = {score.au: score for score in reversed(scores)}
    yield f"| AU | {' | '.join([*UNITS[name], *tools])} |"
    yield f"| {' | '.join(['---', '---:', '---:', *['---'] * len(tools)])} |"
    for au in sorted(first, key=lambda au: (au == MEAN, au)):
        one = first[au]
        row = [facts.au_title(au), str(one.n), str(one.present)] if au else [f"mean of {one.n} AUs", "", ""]
        yield f"| {' | '.join([*row, *(cells.get((au, tool), '–') for tool in tools)])} |"


def _render_folds(scores: Sequence[Score]) -> Iterator[str]:
    """Yield the lines of a table of the means over action units, with a column for each fold."""
    means = [score for score in scores if score.au == MEAN and score.fold not in ("", OF_FOLDS)]
    if not means:
        return
    folds = list(dict.fromkeys(score.fold for score in means))
    cells = {(score.measure, score.tool, score.fold): _cell(score) for score in means}
    yield "Mean over the same AUs, of each fold"
    yield ""
    yield f"| measure | tool | {' | '.join(f'fold {fold}' for fold in folds)} |"
    yield f"| {' | '.join(['---'] * (2 + len(folds)))} |"
    for measure, tool in dict.fromkeys((score.measure, score.tool) for score in means):
        row = [measure, tool, *(cells.get((measure, tool, fold), "–") for fold in folds)]
        yield f"| {' | '.join(row)} |"
    yield ""


def _missing(scores: Sequence[Score]) -> Iterator[str]:
    """Yield remarks on the action units that nobody moves, or too few faces show or lack, by measure."""
    for measure in dict.fromkeys(score.measure for score in scores):
        whole = [score for score in scores if score.measure == measure and score.fold in ("", OF_FOLDS)]
        known = {score.au for score in whole if not np.isnan(score.value)}
        if not known:
            continue
        still = [score.au for score in whole if score.n == 0 and score.au not in known]
        rare = [score.au for score in whole if score.used and score.au not in known]
        if still:
            yield f"No {measure}, because nobody moves it: {_names(still)}."
        if rare:
            yield f"No {measure}, because too few faces show it or are without it: {_names(rare)}."


def _few(scores: Sequence[Score]) -> Iterator[str]:
    """Yield a remark on the scores that rest on too few people."""
    few = [score.au for score in scores if score.people < LEAST_PEOPLE]
    if few:
        yield f"Without an interval, because it rests on fewer than {LEAST_PEOPLE} people: {_names(few)}."


def _names(aus: Sequence[int]) -> str:
    return ", ".join(
        facts.au_name(au) if au else "the mean" for au in sorted(set(aus), key=lambda au: (not au, au))
    )


def _cell(score: Score) -> str:
    if np.isnan(score.low):
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"
