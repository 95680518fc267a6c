"""The door for labels: a CSV or Parquet table in, plain arrays beside the manifest out.

A label that is not known is masked, never a number: empty, NaN, 9 and -1 all mean "not known" in the AU
datasets. Nothing is derived from anything else: occurrence comes from ``AU12_o``, intensity from ``AU12_i``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import facts
from maeface.data.tables import label_file
from maeface.data.tables.label_file import KEYS, WHO
from maeface.errors import DataError


@dataclass(frozen=True)
class Labels:
    """A labels table as read and checked, before it meets a manifest.

    Attributes:
        path: the file.
        keys: the key columns that it has, of ``KEYS``.
        rows: (M) table of the key columns, ``subject`` and ``clip`` (str or null), and ``row`` (str: where in
            the file, for messages).
        occurrence: {AU: (M,) float64, 0 or 1, NaN where not known}.
        intensity: {AU: (M,) float64, 0 to 5, NaN where not known}.
        ignored: columns that are not used.
    """

    path: Path
    keys: tuple[str, ...]
    rows: pd.DataFrame
    occurrence: dict[int, np.ndarray]
    intensity: dict[int, np.ndarray]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Labelled:
    """The faces that have labels, and their labels (N faces; A and B action units).

    Attributes:
        rows: N rows of the manifest, in its order, index 0 to N - 1; ``subject`` and ``clip`` are those of
            the labels where these have them.
        aus_occurrence: numbers of the A action units, ascending.
        occurrence: (N, A) float32, 0 or 1; 0 where missing.
        occurrence_mask: (N, A) bool, True where the label is there (not missing).
        aus_intensity: numbers of the B action units, ascending.
        intensity: (N, B) float32, 0 to 5; 0 where missing.
        intensity_mask: (N, B) bool, True where the label is there (not missing).
        unlabelled: faces of the manifest without a label.
        unmatched: label rows without a face.
        ignored: columns of the labels that were not used.
    """

    rows: pd.DataFrame
    aus_occurrence: tuple[int, ...]
    occurrence: np.ndarray
    occurrence_mask: np.ndarray
    aus_intensity: tuple[int, ...]
    intensity: np.ndarray
    intensity_mask: np.ndarray
    unlabelled: int
    unmatched: int
    ignored: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """As a labels table: ``id``, ``subject``, ``clip``, and AU columns with NaN where not known."""
        columns: dict[str, np.ndarray] = {}
        for letter, aus, values, mask in (
            ("o", self.aus_occurrence, self.occurrence, self.occurrence_mask),
            ("i", self.aus_intensity, self.intensity, self.intensity_mask),
        ):
            values_or_nan = np.where(mask, values, np.float32(np.nan))
            columns |= {f"{facts.au_name(au)}_{letter}": values_or_nan[:, k] for k, au in enumerate(aus)}
        return pd.concat([self.rows[["id", "subject", "clip"]], pd.DataFrame(columns)], axis=1)

    def summary(self) -> str:
        """One line: how much matched, and what did not."""
        line = f"{len(self.rows)} labelled faces"
        if self.unlabelled:
            line += f"; {self.unlabelled} faces without a label, left out"
        if self.unmatched:
            line += f"; {self.unmatched} labels without a face, left out"
        if self.ignored:
            line += f"; columns not used: {', '.join(self.ignored)}"
        return line


def join_labels(manifest: pd.DataFrame, labels: Labels | Path) -> Labelled:
    """Give the faces of a manifest their labels.

    Rows meet by ``id`` where the labels have it, else by ``source`` and whichever of ``frame`` and ``face``
    the labels have. Where the labels lack one of these, it must not be needed: one label row never spreads
    over several frames or faces.

    Args:
        manifest: from ``manifest.load``.
        labels: from ``read``, or a file.

    Raises:
        ConfigError: no such file.
        DataError: anything wrong in the labels (see ``read``), nothing matches, or one label row would match
            several faces.
    """
    if isinstance(labels, Path):
        labels = read(labels)
    faces = manifest[manifest["status"] == "ok"]
    keys = list(labels.keys)
    wanted = pd.MultiIndex.from_frame(labels.rows[keys])
    have = pd.MultiIndex.from_frame(faces[keys].astype(labels.rows[keys].dtypes.to_dict()))
    found = wanted.get_indexer(have)  # (faces,) row of the labels, -1 for none
    labelled = found >= 0
    if not labelled.any():
        raise DataError(
            f"{labels.path}: no label matches a face; the labels have {_example(labels.rows, keys)}, "
            f"the faces have {_example(faces, keys)}"
        )
    _refuse_spread(labels, keys, found[labelled], faces[labelled])
    at = found[labelled]
    rows = faces[labelled].reset_index(drop=True)
    for name in WHO:
        given = labels.rows[name].iloc[at].reset_index(drop=True)
        rows[name] = given.where(given.notna(), rows[name])
    occurrence, occurrence_mask = _arrays(labels.occurrence, at)
    intensity, intensity_mask = _arrays(labels.intensity, at)
    return Labelled(
        rows=rows,
        aus_occurrence=tuple(sorted(labels.occurrence)),
        occurrence=occurrence,
        occurrence_mask=occurrence_mask,
        aus_intensity=tuple(sorted(labels.intensity)),
        intensity=intensity,
        intensity_mask=intensity_mask,
        unlabelled=int((~labelled).sum()),
        unmatched=len(labels.rows) - len(np.unique(at)),
        ignored=labels.ignored,
    )


def read(path: Path) -> Labels:
    """Read and check a labels table.

    Columns: ``id``, or ``source`` and optionally ``frame``, ``face``; optionally ``subject``, ``clip``; and
    AU columns ``AU12_o`` (occurrence, 0 or 1) and ``AU12_i`` (intensity, 0 to 5), or the names that other
    tools give them (``facts.au_column``). Other columns are ignored and listed. CSV may be separated by
    comma, semicolon or tab, with or without a byte order mark.

    Raises:
        ConfigError: no such file.
        DataError: not a table of labels, an AU that does not exist, a value out of its range (the row is
            named), or two rows that contradict each other.
    """
    table = label_file.read(path)
    keys = ("id",) if "id" in table.texts else tuple(key for key in KEYS if key in table.texts)
    rows = pd.DataFrame({key: _key(path, key, table.texts[key], table.rows) for key in keys})
    for name in WHO:
        values = table.texts.get(name) or [""] * len(table.rows)
        rows[name] = pd.Series([value or None for value in values], dtype="object")
    rows["row"] = table.rows
    kinds: dict[str, dict[int, np.ndarray]] = {"occurrence": {}, "intensity": {}}
    for column, (au, kind) in table.aus.items():
        kinds[kind][au] = table.numbers[column]
    return _without_repeats(Labels(path, keys, rows, kinds["occurrence"], kinds["intensity"], table.ignored))


def _key(path: Path, key: str, values: list[str], rows: Sequence[str]) -> pd.Series:
    if empty := next((row for row, value in zip(rows, values, strict=True) if not value), None):
        raise DataError(f"{path}, {empty}: {key} is empty")
    if key in ("id", "source"):
        return pd.Series(values, dtype="object")
    numbers = pd.to_numeric(pd.Series(values, dtype="object"), errors="coerce")
    wrong = numbers.isna() | (numbers % 1 != 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(f"{path}, {rows[at]}: {key} is {values[at]!r}; expected a whole number")
    return numbers.astype(np.int64)


def _without_repeats(labels: Labels) -> Labels:
    """Drop rows that say the same again; refuse rows that contradict each other."""
    keys = list(labels.keys)
    repeated = labels.rows.duplicated(keys, keep=False)
    if not repeated.any():
        return labels
    values = {f"o{au}": column for au, column in labels.occurrence.items()}
    values |= {f"i{au}": column for au, column in labels.intensity.items()}
    whole = pd.concat([labels.rows, pd.DataFrame(values)], axis=1)[repeated]
    distinct = whole.drop_duplicates([*keys, *WHO, *values])
    if (conflict := distinct.duplicated(keys, keep=False)).any():
        first = distinct[conflict].iloc[0]
        same = distinct[(distinct[keys] == first[keys]).all(axis=1)]
        raise DataError(
            f"{labels.path}: {same['row'].iloc[0]} and {same['row'].iloc[1]} give different labels to "
            f"{_example(same, keys)}"
        )
    keep = ~labels.rows.duplicated(keys)
    at = np.flatnonzero(keep)
    return Labels(
        labels.path,
        labels.keys,
        labels.rows[keep].reset_index(drop=True),
        {au: column[at] for au, column in labels.occurrence.items()},
        {au: column[at] for au, column in labels.intensity.items()},
        labels.ignored,
    )


def _refuse_spread(labels: Labels, keys: list[str], at: np.ndarray, faces: pd.DataFrame) -> None:
    counts = np.bincount(at)
    if counts.max() <= 1:
        return
    row = int(np.argmax(counts))
    several = faces[at == row]
    lacking = "frame" if several["frame"].nunique() > 1 else "face"
    raise DataError(
        f"{labels.path}, {labels.rows['row'].iloc[row]}: {_example(several, keys)} is {counts[row]} faces in "
        f"the manifest; give the labels a column `{lacking}`"
    )


def _example(rows: pd.DataFrame, keys: list[str]) -> str:
    return ", ".join(f"{key} {rows[key].iloc[0]!r}" for key in keys)


def _arrays(columns: dict[int, np.ndarray], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns by AU -> (N, A) values, 0 where missing, and the mask (N, A), True where a label is there."""
    values = (
        np.stack([columns[au][at] for au in sorted(columns)], axis=1) if columns else np.zeros((len(at), 0))
    )
    mask = ~np.isnan(values)
    return np.where(mask, values, 0).astype(np.float32), mask
