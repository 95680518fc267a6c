"""The table of predictions in other shapes: a row for each action unit, and a JSON object for each row."""

import numpy as np
import pandas as pd

from maeface.analysis.timeline import numbers
from maeface.interchange import native

WHERE = ("input", "frame", "time_s", "face", "track", "status")
"""Columns of the long form that say which face a row is of; those that the table has."""


def to_long(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each face and action unit, as R and statistics programs want it.

    Columns: those of ``WHERE``, ``au`` (such as "AU12"), ``occurrence``, ``probability``, ``intensity``, and
    ``difference`` if the table has the differences from a neutral face. A frame without a face has a row for
    each action unit too, without values.

    Args:
        table: M rows of the native table, with A action units.

    Returns:
        M x A rows, in the order of the table, then of the action units.
    """
    table = native.as_frame(table)
    by_kind = {kind: native.action_units(table.columns, kind) for kind in native.SUFFIXES}
    aus = sorted({au for known in by_kind.values() for au in known})
    where = table[[name for name in WHERE if name in table]]
    long = where.loc[where.index.repeat(len(aus))].reset_index(drop=True)
    long["au"] = np.tile(np.array([f"AU{au:02d}" for au in aus], dtype=object), len(table))
    for kind, known in by_kind.items():
        if kind == "difference" and not known:
            continue
        values = [numbers(table, native.column(au, kind)) for au in aus]
        stacked = np.stack(values, axis=1).ravel() if aus else np.zeros(0)
        long[kind] = pd.Series(stacked).astype("Int8") if kind == "occurrence" else stacked
    return long


def to_json_lines(table: pd.DataFrame) -> str:
    """Return a JSON object for each row, a line each, with null for a missing value."""
    table = table.copy()
    for name in table.columns[table.dtypes == np.float32]:
        table[name] = numbers(table, name)
    text = table.to_json(orient="records", lines=True, force_ascii=False, double_precision=15) or ""
    return text.replace("\\/", "/")  # pandas escapes each slash, which JSON allows and nobody expects
