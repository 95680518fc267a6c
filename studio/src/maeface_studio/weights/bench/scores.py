"""The scores of a benchmark, and how they are written: Markdown to read, CSV to use."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import files, metrics

UNITS = {"renders": ("faces", "present"), "portraits": ("faces", "present"), "clips": ("people", "frames")}
"""What is counted in each set."""
TITLES = {
    "renders": "Renders of unseen people",
    "portraits": "Held-out portraits",
    "clips": "Within clips: correlation with MediaPipe's blendshape",
}


@dataclass(frozen=True)
class Score:
    """One score of one tool.

    Attributes:
        set: "renders", "portraits" or "clips".
        au: the action unit.
        measure: "AUC", "F1", "ICC", "false alarms", one of ``stills.SIDES``, or "r" and "r of intensity".
        tool: its name.
        value: NaN where undefined.
        low: lower end of the 95 % interval; NaN where there is none.
        high: upper end.
        n: labelled faces; of clips, people in whom the action unit moves.
        present: faces with it; of clips, frames of these people.
        used: those of ``n`` for which the tool has values.
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


@dataclass(frozen=True)
class Result:
    """The scores of all tools, and remarks on each set, such as how many faces a tool found."""

    scores: tuple[Score, ...]
    remarks: dict[str, tuple[str, ...]]

    def table(self) -> pd.DataFrame:
        """Return a row for each score, with the names of its attributes as columns."""
        names = [field.name for field in dataclasses.fields(Score)]
        return pd.DataFrame([dataclasses.astuple(score) for score in self.scores], columns=names)


def write(result: Result, path: Path) -> None:
    """Write the scores as CSV."""
    files.write_text(path, result.table().to_csv(index=False, float_format="%.4f"))


def render(result: Result) -> str:
    """Return a table for each set in Markdown."""
    return "\n\n".join(
        "\n".join(_render(name, [score for score in result.scores if score.set == name], remarks))
        for name, remarks in result.remarks.items()
    )


def _render(name: str, scores: Sequence[Score], remarks: Sequence[str]) -> Iterator[str]:
    measures = list(dict.fromkeys(score.measure for score in scores))
    known = dict.fromkeys(_column(score) for score in scores if not np.isnan(score.value))
    columns = sorted(known, key=lambda column: measures.index(column[0]))
    cells = {(score.au, *_column(score)): score for score in scores}
    yield f"### {TITLES[name]}"
    yield ""
    heads = ["AU", *UNITS[name], *(f"{measure}, {tool}" for measure, tool in columns)]
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join(['---:'] * 3 + ['---'] * len(columns))} |"
    for au in sorted({score.au for score in scores}):
        of_au = [cells.get((au, *column)) for column in columns]
        first = next(score for score in scores if score.au == au)
        row = [str(au), str(first.n), str(first.present), *map(_cell, of_au)]
        yield f"| {' | '.join(row)} |"
    means = [_mean(scores, column, columns) for column in columns]
    yield f"| mean | | | {' | '.join(means)} |"
    for remark in remarks:
        yield ""
        yield remark


def _column(score: Score) -> tuple[str, str]:
    return score.measure, score.tool


def _cell(score: Score | None) -> str:
    if score is None or np.isnan(score.value):
        return "–"
    if np.isnan(score.low):
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _mean(scores: Sequence[Score], column: tuple[str, str], columns: Sequence[tuple[str, str]]) -> str:
    """Return the mean over the action units for which each tool with this measure has a value."""
    tools = {tool for measure, tool in columns if measure == column[0]}
    values = {
        (score.au, score.tool): score.value
        for score in scores
        if score.measure == column[0] and not np.isnan(score.value)
    }
    common = [au for au in {au for au, _ in values} if all((au, tool) in values for tool in tools)]
    return (
        f"{metrics.mean([values[au, column[1]] for au in common]):.3f} ({len(common)} AUs)" if common else "–"
    )
