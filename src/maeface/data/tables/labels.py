"""Labels: read from a CSV or Parquet table, and joined with the faces of a manifest as arrays and masks.

A missing label is masked, never a number: empty, NaN, 9 and -1 all mean "missing" in the AU datasets.
Occurrence is read from ``AU12_o`` and intensity from ``AU12_i``, that of the subject's left and right from
``AU12_L`` and ``AU12_R``; none is derived from another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import facts
from maeface.data.tables import label_table
from maeface.data.tables.label_table import KEYS, SUBJECT_COLUMNS
from maeface.errors import DataError


@dataclass(frozen=True)
class Labels:
    """A table of labels as read and checked, before it is joined with a manifest.

    Attributes:
        path: the file.
        keys: the key columns that it has, of ``KEYS``.
        rows: (M) table of the key columns, ``subject`` and ``clip`` (str or null), and ``row`` (str: place
            in the file, for messages).
        occurrence: {AU: (M,) float64, 0 or 1, NaN where missing}.
        intensity: {AU: (M,) float64, 0 to 5, NaN where missing}.
        ignored: columns that are not used.
        left, right: as ``intensity``, of the sides of the face; both have the same AUs, and are missing in
            the same rows.
    """

    path: Path
    keys: tuple[str, ...]
    rows: pd.DataFrame
    occurrence: dict[int, np.ndarray]
    intensity: dict[int, np.ndarray]
    ignored: tuple[str, ...]
    left: dict[int, np.ndarray] = field(default_factory=dict)
    right: dict[int, np.ndarray] = field(default_factory=dict)

    def columns(self) -> dict[str, np.ndarray]:
        """Return all values by the name of their column, such as ``AU12_o``."""
        kinds = (("o", self.occurrence), ("i", self.intensity), ("L", self.left), ("R", self.right))
        return {f"{facts.au_name(au)}_{end}": values for end, kind in kinds for au, values in kind.items()}


@dataclass(frozen=True)
class LabelledFaces:
    """The faces that have labels, and their labels (N faces; A, B and K action units).

    Attributes:
        rows: N rows of the manifest, in its order, index 0 to N - 1; ``subject`` and ``clip`` are those of
            the labels where these have them.
        aus_occurrence: numbers of the A action units, ascending.
        occurrence: (N, A) float32, 0 or 1; 0 where missing.
        occurrence_mask: (N, A) bool, True where the label is there (not missing).
        aus_intensity: numbers of the B action units, ascending.
        intensity: (N, B) float32, 0 to 5; 0 where missing.
        intensity_mask: (N, B) bool, True where the label is there (not missing).
        aus_sides: numbers of the K action units with a label of each side of the face, ascending.
        sides: (N, 2K) float32, 0 to 5: of the subject's left, then of the right; 0 where missing.
        sides_mask: (N, 2K) bool, True where the label is there (not missing).
        unlabelled: faces of the manifest without a label.
        unmatched: label rows without a face.
        ignored: columns of the labels that were not used.
        notes: what may be wrong, a line each.
    """

    rows: pd.DataFrame
    aus_occurrence: tuple[int, ...]
    occurrence: np.ndarray
    occurrence_mask: np.ndarray
    aus_intensity: tuple[int, ...]
    intensity: np.ndarray
    intensity_mask: np.ndarray
    aus_sides: tuple[int, ...]
    sides: np.ndarray
    sides_mask: np.ndarray
    unlabelled: int
    unmatched: int
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """Return a table of ``id``, ``subject``, ``clip``, and AU columns with NaN where missing."""
        columns: dict[str, np.ndarray] = {}
        for letters, aus, values, mask in (
            ("o", self.aus_occurrence, self.occurrence, self.occurrence_mask),
            ("i", self.aus_intensity, self.intensity, self.intensity_mask),
            ("LR", self.aus_sides, self.sides, self.sides_mask),
        ):
            names = [f"{facts.au_name(au)}_{letter}" for letter in letters for au in aus]
            columns |= dict(zip(names, np.where(mask, values, np.float32(np.nan)).T, strict=True))
        return pd.concat([self.rows[["id", "subject", "clip"]], pd.DataFrame(columns)], axis=1)

    def summary(self) -> str:
        """Return a line about what was matched and what was not."""
        line = f"{len(self.rows)} labelled faces"
        if self.unlabelled:
            line += f"; {self.unlabelled} faces without a label, left out"
        if self.unmatched:
            line += f"; {self.unmatched} labels without a face, left out"
        if self.ignored:
            line += f"; columns not used: {', '.join(self.ignored)}"
        return "; ".join([line, *self.notes])


def join_labels(manifest: pd.DataFrame, labels: Labels | Path) -> LabelledFaces:
    """Join the faces of a manifest with their labels.

    Rows are matched by ``id`` where the labels have it, else by ``source`` and whichever of ``frame`` and
    ``face`` the labels have; a path of Windows matches with its slashes turned. A label row that matches
    several frames or faces is an error.

    Args:
        manifest: from ``manifest.load``.
        labels: from ``read_labels``, or a file.

    Raises:
        ConfigError: no such file.
        DataError: anything wrong in the labels (see ``read_labels``), nothing matches, or one label row
            would match several faces.
    """
    if isinstance(labels, Path):
        labels = read_labels(labels)
    faces = manifest[manifest["status"] == "ok"]
    keys = list(labels.keys)
    keys_of_labels = labels.rows[keys].copy()
    for key in {"id", "source"} & set(keys):
        keys_of_labels[key] = unify_slashes(keys_of_labels[key], faces[key])
    label_keys = pd.MultiIndex.from_frame(keys_of_labels)
    face_keys = pd.MultiIndex.from_frame(faces[keys].astype(labels.rows[keys].dtypes.to_dict()))
    label_rows = label_keys.get_indexer(face_keys)  # (faces,) row of the labels, -1 for none
    labelled = label_rows >= 0
    if not labelled.any():
        raise DataError(
            f"{labels.path}: no label matches a face; the labels have {_example(labels.rows, keys)}, "
            f"the faces have {_example(faces, keys)}"
        )
    label_rows = label_rows[labelled]
    _refuse_several_faces(labels, keys, label_rows, faces[labelled])
    rows = faces[labelled].reset_index(drop=True)
    for name in SUBJECT_COLUMNS:
        values = labels.rows[name].iloc[label_rows].reset_index(drop=True)
        rows[name] = values.where(values.notna(), rows[name])
    occurrence, occurrence_mask = _arrays(labels.occurrence, label_rows)
    intensity, intensity_mask = _arrays(labels.intensity, label_rows)
    sides = [_arrays(side, label_rows) for side in (labels.left, labels.right)]
    return LabelledFaces(
        rows=rows,
        aus_occurrence=tuple(sorted(labels.occurrence)),
        occurrence=occurrence,
        occurrence_mask=occurrence_mask,
        aus_intensity=tuple(sorted(labels.intensity)),
        intensity=intensity,
        intensity_mask=intensity_mask,
        aus_sides=tuple(sorted(labels.left)),
        sides=np.concatenate([values for values, _ in sides], axis=1),
        sides_mask=np.concatenate([mask for _, mask in sides], axis=1),
        unlabelled=int((~labelled).sum()),
        unmatched=len(labels.rows) - len(np.unique(label_rows)),
        ignored=labels.ignored,
        notes=frame_offset_notes(keys_of_labels, manifest, "faces") if "frame" in keys else (),
    )


def read_labels(path: Path) -> Labels:
    """Read and check a table of labels.

    Columns: ``id``, or ``source`` and optionally ``frame``, ``face``; optionally ``subject``, ``clip``; and
    AU columns ``AU12_o`` (occurrence, 0 or 1) and ``AU12_i`` (intensity, 0 to 5), or the names that other
    tools give them (``facts.au_column``); and ``AU12_L`` with ``AU12_R`` (intensity of the subject's left and
    right, 0 to 5, known of both sides or of none). Other columns are ignored and listed. CSV may be separated
    by comma, semicolon or tab, with or without a byte order mark.

    Raises:
        ConfigError: no such file.
        DataError: not a table of labels, an AU that does not exist, a value out of its range (the row is
            named), one side without the other, or two rows that contradict each other.
    """
    table = label_table.read(path)
    keys = ("id",) if "id" in table.texts else tuple(key for key in KEYS if key in table.texts)
    rows = pd.DataFrame({key: _key_column(path, key, table.texts[key], table.rows) for key in keys})
    for name in SUBJECT_COLUMNS:
        values = table.texts.get(name) or [""] * len(table.rows)
        rows[name] = pd.Series([value or None for value in values], dtype="object")
    rows["row"] = table.rows
    kinds: dict[str, dict[int, np.ndarray]] = {kind: {} for kind in label_table.KINDS}
    for column, (au, kind) in table.aus.items():
        kinds[kind][au] = table.numbers[column]
    return _drop_repeats(Labels(path, keys, rows, ignored=table.ignored, **kinds))


def unify_slashes(names: "pd.Series[str]", names_of_files: "pd.Series[str]") -> "pd.Series[str]":
    """Return names with slashes for the backslashes of Windows, except names that files have as they are."""
    files = set(names_of_files)
    unified = {
        name: name.replace("\\", "/")
        for name in names.dropna().unique()
        if "\\" in str(name) and name not in files
    }
    return names.map(lambda name: unified.get(name, name)) if unified else names


def frame_offset_notes(label_rows: pd.DataFrame, other_rows: pd.DataFrame, other: str) -> tuple[str, ...]:
    """Return a note if frames of videos seem to count from 0 in one table and from 1 in the other.

    Args:
        label_rows: with ``source`` and ``frame``.
        other_rows: with ``source`` and ``frame``.
        other: what the other rows are, for the note.
    """
    labelled = other_rows[other_rows["source"].isin(set(label_rows["source"]))]
    if labelled.empty or label_rows["frame"].nunique() < 3:
        return ()
    first_label, first_other = int(label_rows["frame"].min()), int(labelled["frame"].min())
    if {first_label, first_other} != {0, 1}:
        return ()
    return (
        f"frames of the labels begin at {first_label}, of the {other} at {first_other}: are they one off?",
    )


def _key_column(path: Path, key: str, values: list[str], rows: Sequence[str]) -> pd.Series:
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


def _drop_repeats(labels: Labels) -> Labels:
    """Return the labels without repeated rows; DataError for rows that contradict each other."""
    keys = list(labels.keys)
    repeated = labels.rows.duplicated(keys, keep=False)
    if not repeated.any():
        return labels
    values = labels.columns()
    table = pd.concat([labels.rows, pd.DataFrame(values)], axis=1)[repeated]
    distinct = table.drop_duplicates([*keys, *SUBJECT_COLUMNS, *values])
    if (conflict := distinct.duplicated(keys, keep=False)).any():
        first = distinct[conflict].iloc[0]
        same = distinct[(distinct[keys] == first[keys]).all(axis=1)]
        raise DataError(
            f"{labels.path}: {same['row'].iloc[0]} and {same['row'].iloc[1]} give different labels to "
            f"{_example(same, keys)}"
        )
    kept = np.flatnonzero(~labels.rows.duplicated(keys))
    return replace(
        labels,
        rows=labels.rows.iloc[kept].reset_index(drop=True),
        occurrence={au: column[kept] for au, column in labels.occurrence.items()},
        intensity={au: column[kept] for au, column in labels.intensity.items()},
        left={au: column[kept] for au, column in labels.left.items()},
        right={au: column[kept] for au, column in labels.right.items()},
    )


def _refuse_several_faces(
    labels: Labels, keys: list[str], label_rows: np.ndarray, faces: pd.DataFrame
) -> None:
    counts = np.bincount(label_rows)
    if counts.max() <= 1:
        return
    row = int(np.argmax(counts))
    several = faces[label_rows == row]
    column = "frame" if several["frame"].nunique() > 1 else "face"
    raise DataError(
        f"{labels.path}, {labels.rows['row'].iloc[row]}: {_example(several, keys)} is {counts[row]} faces in "
        f"the manifest; give the labels a column `{column}`"
    )


def _example(rows: pd.DataFrame, keys: list[str]) -> str:
    return ", ".join(f"{key} {rows[key].iloc[0]!r}" for key in keys)


def _arrays(columns: dict[int, np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, A) values, 0 where missing, and the mask (N, A), False where missing."""
    values = (
        np.stack([columns[au][rows] for au in sorted(columns)], axis=1)
        if columns
        else np.zeros((len(rows), 0))
    )
    mask = ~np.isnan(values)
    return np.where(mask, values, 0).astype(np.float32), mask
