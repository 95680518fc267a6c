"""Predictions as lines for people: a line a face, with the action units that are there."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from maeface import facts

TRACE = 1.0
"""Intensity from which an AU is named where there are no probabilities."""


def lines(rows: pd.DataFrame, thresholds: Mapping[int, float]) -> Iterator[str]:
    """``photo.jpg, face 0: AU06 Cheek raiser 0.91 (3.2); AU12 Lip corner puller 0.99 (4.1)``.

    First the probability that an AU is present, then in brackets its intensity, 0 to 5; with intensities
    alone, these.

    Args:
        rows: of the table that ``maeface predict`` writes. Those of inputs that cannot be read give no line.
        thresholds: by AU, the probability from which it counts as present.
    """
    kinds = {name: facts.au_column(name) for name in map(str, rows.columns)}
    known = {found[0] for found in kinds.values() if found}
    for row in rows.to_dict("records"):
        if row.get("status", "ok") not in ("ok", "no_face"):
            continue
        where = str(row["input"])
        if row["frame"] or row["time_s"]:
            where += f", frame {row['frame']} ({row['time_s']:.2f} s)"
        if row["face"] < 0:
            yield f"{where}: no face"
            continue
        there = [text for au in sorted(known) if (text := _present(row, au, thresholds.get(au, 0.5)))]
        yield f"{where}, face {row['face']}: {'; '.join(there) or f'none of {len(known)} action units'}"


def _present(row: Mapping[Hashable, Any], au: int, threshold: float) -> str:
    """An AU's part of the line; empty where it is not there."""
    name = facts.au_name(au)
    probability, intensity = row.get(f"{name}_p"), row.get(f"{name}_i")
    strength = "" if intensity is None else f"{intensity:.1f}"
    if probability is None:
        return f"{facts.au_title(au)} {strength}" if intensity is not None and intensity >= TRACE else ""
    if probability < threshold:
        return ""
    return f"{facts.au_title(au)} {probability:.2f}" + (f" ({strength})" if strength else "")
