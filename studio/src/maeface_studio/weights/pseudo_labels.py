"""Labels of real faces from another model: its confident predictions of chosen action units."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from maeface import facts, files
from maeface.data.tables import labels, predictions
from maeface.errors import ConfigError, DataError


def select_pseudo_labels(
    table: Path,
    aus: Mapping[int, tuple[float, float]],
    out: Path,
    intensities: Mapping[int, Sequence[float]] | None = None,
) -> Path:
    """Convert confident predictions to labels; a table of labels is returned as it is.

    Args:
        table: labels (``AU12_o``, ``AU12_i``), or predictions (``AU12_p``).
        aus: for predictions, the action units to take, each with the highest probability that means absent
            and the lowest that means present; in between the label is unknown.
        out: file for the labels that are made from predictions.
        intensities: the predictions at the intensities 0 to 5 of some of these action units, in ascending
            order; the others get no intensities.

    Returns:
        ``table`` or ``out``.

    Raises:
        ConfigError: no such file, or predictions and no action units to take.
        DataError: the table cannot be read, or has no column of an action unit to take.
    """
    if not table.is_file():
        raise ConfigError(f"no such file: {table}; --teacher takes a table of labels or predictions")
    try:
        is_parquet = table.suffix == ".parquet"
        names = pq.read_schema(table).names if is_parquet else list(pd.read_csv(table, nrows=0))
    except (OSError, ValueError) as error:
        raise DataError(f"{table} is no readable table: {error}") from error
    columns = [facts.au_column(str(name)) for name in names]
    if not any(column is not None and column[1] == "probability" for column in columns):
        labels.read_labels(table)  # errors are reported before hours of work
        return table
    if not aus:
        raise ConfigError(
            f"{table} has probabilities; choose the action units to take, such as "
            "--set pseudo_labels.aus.12=[0.1,0.5] (absent up to the first, present from the second)"
        )
    predicted = predictions.read_predictions(table)
    if missing := [facts.au_name(au) for au in aus if au not in predicted.detection]:
        raise DataError(f"{table} has no {', '.join(missing)}, which pseudo_labels.aus names")
    columns_of_labels = {}
    for au, (absent, present) in aus.items():
        values = predicted.detection[au]
        label = np.where(values >= present, 1.0, np.where(values <= absent, 0.0, np.nan))
        columns_of_labels[f"{facts.au_name(au)}_o"] = label
    for au, levels in (intensities or {}).items():
        values = np.interp(predicted.detection[au], levels, np.arange(len(levels)))
        columns_of_labels[f"{facts.au_name(au)}_i"] = values
    keys = ["id"] if "id" in predicted.columns else ["source", "frame", "face"]
    rows = pd.concat([predicted.rows[keys], pd.DataFrame(columns_of_labels)], axis=1)
    with files.atomic(out) as temporary:
        rows[predicted.rows["found"]].to_parquet(temporary, index=False)
    return out


def agree_with_occurrence(table: pd.DataFrame, aus: Collection[int]) -> pd.DataFrame:
    """Return labels whose intensities agree with their occurrence, which annotators may have corrected.

    Args:
        table: with ``AU12_o`` and ``AU12_i`` of each action unit.
        aus: the action units.

    Returns:
        A copy: intensities are 0 where an action unit is absent, at least 1 where it is present, and
        unchanged where its occurrence is unknown.
    """
    table = table.copy()
    for name in map(facts.au_name, aus):
        occurs, intensity = table[f"{name}_o"], table[f"{name}_i"]
        table[f"{name}_i"] = intensity.mask(occurs == 0, 0.0).mask((occurs == 1) & (intensity < 1), 1.0)
    return table
