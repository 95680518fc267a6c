"""Predictions in the long form, a row for each face and action unit, turned into columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maeface import facts
from maeface.errors import DataError

KINDS: tuple[facts.Kind, ...] = ("occurrence", "probability", "intensity")
AU = "au"


class Wide(NamedTuple):
    """Predictions with a column for each action unit, M rows.

    Attributes:
        rows: (M,) the first row of each face in the long form.
        aus: {(AU, kind): (M,) float64, NaN where missing}. A kind without any value is left out if another
            kind has values.
    """

    rows: np.ndarray
    aus: dict[tuple[int, facts.Kind], np.ndarray]


def find_kinds(names: Sequence[str]) -> dict[facts.Kind, str]:
    """Return {kind: its column} of a table in the long form; empty for any other table."""
    lower = {name.lower(): name for name in reversed(names)}
    return {kind: lower[kind] for kind in KINDS if kind in lower} if AU in lower else {}


def widen(
    path: Path,
    keys: Sequence[Sequence[object]],
    aus: Sequence[str | None],
    values: Mapping[facts.Kind, np.ndarray],
    places: Sequence[str],
) -> Wide:
    """Turn the long form into columns.

    Args:
        path: the file, for messages.
        keys: sequences of N values that together tell a face of a frame.
        aus: (N,) action units, "AU12" or "12".
        values: {kind: (N,) float64}.
        places: (N,) the place of each row in the file.

    Raises:
        DataError: no action unit in a row, or one twice for a face.
    """
    face_numbers: dict[tuple[object, ...], int] = {}
    faces = np.array(
        [face_numbers.setdefault(key, len(face_numbers)) for key in zip(*keys, strict=True)] or [0] * len(aus)
    )
    parsed = {text: _parse(text) for text in set(aus)}
    numbers = np.array([parsed[text] for text in aus])
    if (wrong := np.flatnonzero(numbers == 0)).size:
        row = int(wrong[0])
        raise DataError(f"{path}, {places[row]}: au is {aus[row]!r}; expected an action unit such as AU12")
    known, codes = np.unique(numbers, return_inverse=True)
    cells = faces * len(known) + codes
    _, first_rows, counts = np.unique(cells, return_index=True, return_counts=True)
    if (counts > 1).any():
        repeated = cells[first_rows[int(np.argmax(counts > 1))]]
        row = int(np.flatnonzero(cells == repeated)[1])
        raise DataError(f"{path}, {places[row]}: {aus[row]} of this face stands in an earlier row, too")
    count = int(faces.max(initial=-1)) + 1
    columns: dict[tuple[int, facts.Kind], np.ndarray] = {}
    used = {kind: of_rows for kind, of_rows in values.items() if not np.isnan(of_rows).all()} or values
    for kind, of_rows in used.items():
        table = np.full(count * len(known), np.nan)
        table[cells] = of_rows
        for code, au in enumerate(known):
            columns[int(au), kind] = table[code :: len(known)]
    return Wide(np.unique(faces, return_index=True)[1], columns)


def _parse(text: str | None) -> int:
    """Return the number of an action unit, 0 if it is none."""
    number = (text or "").strip().lower().removeprefix("au").lstrip("_")
    return int(number) if number.isascii() and number.isdecimal() and len(number) <= 2 else 0
