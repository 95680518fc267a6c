"""Labels of real faces from another model: its confident predictions of chosen action units."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from maeface import facts, files
from maeface.data.tables import labels, predictions
from maeface.errors import ConfigError, DataError


def select_pseudo_labels(table: Path, aus: Mapping[int, tuple[float, float]], out: Path) -> Path:
    """Convert confident predictions to labels of occurrence; a table of labels is returned as it is.

    Args:
        table: labels (``AU12_o``, ``AU12_i``), or predictions (``AU12_p``).
        aus: for predictions, the action units to take, each with the highest probability that means absent
            and the lowest that means present; in between the label is unknown.
        out: file for the labels that are made from predictions.

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
    occurrence = {}
    for au, (absent, present) in aus.items():
        values = predicted.detection[au]
        label = np.where(values >= present, 1.0, np.where(values <= absent, 0.0, np.nan))
        occurrence[f"{facts.au_name(au)}_o"] = label
    keys = ["id"] if "id" in predicted.columns else ["source", "frame", "face"]
    rows = pd.concat([predicted.rows[keys], pd.DataFrame(occurrence)], axis=1)
    with files.atomic(out) as temporary:
        rows[predicted.rows["found"]].to_parquet(temporary, index=False)
    return out
