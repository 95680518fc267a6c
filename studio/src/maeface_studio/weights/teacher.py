"""What another tool says of faces, as labels: where it is sure, of the action units it is trusted with."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from maeface import facts, files
from maeface.data.tables import labels, predictions
from maeface.errors import ConfigError, DataError


def believed(table: Path, aus: Mapping[int, tuple[float, float]], out: Path) -> Path:
    """A labels table: as it is, or of a table of probabilities those that are sure, as occurrence.

    Args:
        table: labels (``AU12_o``, ``AU12_i``), or predictions (``AU12_p``).
        aus: of predictions, the action units to take, and of each the probability up to which it is absent
            and that from which it is present; in between it is unknown.
        out: where the labels are written that come of predictions.

    Returns:
        ``table`` or ``out``.

    Raises:
        ConfigError: no such file, or probabilities and no choice of what is believed.
        DataError: no such table, or it lacks what is chosen.
    """
    if not table.is_file():
        raise ConfigError(f"no such file: {table}; --teacher takes a table of labels or predictions")
    try:
        parquet = table.suffix == ".parquet"
        names = pq.read_schema(table).names if parquet else list(pd.read_csv(table, nrows=0))
    except (OSError, ValueError) as error:
        raise DataError(f"{table} is no readable table: {error}") from error
    if not any(found[1] == "probability" for name in names if (found := facts.au_column(str(name)))):
        labels.read(table)  # what is wrong with it is said now, not after hours
        return table
    if not aus:
        raise ConfigError(
            f"{table} has probabilities: say which to believe, such as --set teacher.aus.12=[0.1,0.5] "
            "(absent up to the first, present from the second)"
        )
    read = predictions.read(table)
    if lacking := [facts.au_name(au) for au in aus if au not in read.detection]:
        raise DataError(f"{table} has no {', '.join(lacking)}, which teacher.aus names")
    columns = {}
    for au, (absent, present) in aus.items():
        values = read.detection[au]
        sure = np.where(values >= present, 1.0, np.where(values <= absent, 0.0, np.nan))
        columns[f"{facts.au_name(au)}_o"] = sure
    keys = ["id"] if "id" in read.given else ["source", "frame", "face"]
    rows = pd.concat([read.rows[keys], pd.DataFrame(columns)], axis=1)
    with files.atomic(out) as temporary:
        rows[read.rows["found"]].to_parquet(temporary, index=False)
    return out
