"""The action units of a row of a table of predictions, as bars."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from maeface import facts


class Bar(NamedTuple):
    """The value of an action unit.

    Attributes:
        label: its name, such as "AU12".
        fraction: length of the bar, 0..1; NaN if there is no value.
        threshold: where on the bar the action unit begins to count as present, 0..1.
        present: whether it counts as present.
        text: the value as text.
    """

    label: str
    fraction: float
    threshold: float
    present: bool
    text: str


def trusted_aus(trust: Mapping[str, Mapping[str, Any]] | None, columns: Iterable[str]) -> list[int]:
    """Return the action units of a table that may be used, in ascending order.

    Args:
        trust: the entry ``trust`` of the table's record; None: nothing is known, and all are returned.
        columns: of the table.
    """
    numbers = sorted({column[0] for name in columns if (column := facts.au_column(name))})
    if trust is None:
        return numbers
    return [au for au in numbers if trust.get(facts.au_name(au), {}).get("use")]


def bars_of(
    row: Mapping[str, Any],
    aus: Sequence[int],
    thresholds: Mapping[int, float] | None = None,
    titles: bool = False,
) -> list[Bar]:
    """Return the bars of a face: of intensities (0 to 5) where the row has them, otherwise of probabilities.

    Args:
        row: of the table that ``maeface predict`` writes, {column: value}.
        aus: the action units to show.
        thresholds: action unit -> probability from which it counts as present; 0.5 for others. In a table
            with a column of occurrence, such as "AU12", that decides which are present.
        titles: whether to write "AU12 Lip corner puller" and not only "AU12".
    """
    return [
        _bar(row, au, (thresholds or {}).get(au, 0.5), facts.au_title(au) if titles else facts.au_name(au))
        for au in aus
    ]


def _bar(row: Mapping[str, Any], au: int, threshold: float, label: str) -> Bar:
    name = facts.au_name(au)
    occurrence, probability, intensity = (_number(row.get(key)) for key in (name, f"{name}_p", f"{name}_i"))
    if name in row:
        present = occurrence > 0
    else:
        present = intensity >= 1 if np.isnan(probability) else probability >= threshold
    if f"{name}_i" in row:
        text = "-" if np.isnan(intensity) else f"{intensity:.1f}"
        return Bar(label, intensity / facts.INTENSITY_MAX, 1 / facts.INTENSITY_MAX, present, text)
    text = "-" if np.isnan(probability) else f"{probability:.2f}"
    return Bar(label, probability, threshold, present, text)


def _number(value: Any) -> float:  # noqa: ANN401 - whatever a table has
    """Return a value of a table; NaN if it is missing."""
    try:
        return float(value)
    except (TypeError, ValueError):  # None and pandas' NA
        return float("nan")
