"""The order of faces of one person: of frames by the teacher's measures, of renders by their labels.

``finetune.relative`` compares faces of one clip by a measure. A rendered person gets a clip of its own, and
the labelled intensities are the measures, so the same person at rest and in action meet in a batch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from maeface import config, facts, files

LABELS, MEASURES = "ordered_labels.parquet", "ordered_measures.parquet"


def compare_renders(
    labels: Path, measures: Path, renders: Sequence[str], settings: config.Finetune, out: Path
) -> tuple[Path, Path, config.Finetune]:
    """Return tables of labels and measures, and settings, by which renders of one person are compared, too.

    The new columns of the measures are in the guide, so the network learns them as well.

    Args:
        labels: see ``write_order``.
        measures: see ``write_order``.
        renders: ids of the renders.
        settings: with the teacher's measures by which frames are compared (``relative.measures``).
        out: folder of the two new tables.
    """
    relative, aus = settings.relative, settings.model.aus
    labels, measures, columns = write_order(labels, measures, renders, aus, relative.measures, out)
    changed = relative.model_copy(update={"measures": columns})
    return labels, measures, settings.model_copy(update={"relative": changed})


def write_order(
    labels: Path,
    measures: Path,
    renders: Sequence[str],
    aus: Sequence[int],
    shapes: Mapping[int, str],
    out: Path,
) -> tuple[Path, Path, dict[int, str]]:
    """Write both tables anew, so that renders of one person are compared, too.

    Args:
        labels: table with ``id``, ``subject``, ``clip`` and intensities (``AU12_i``).
        measures: table with ``id`` and the teacher's measures of real and rendered faces.
        renders: ids of the renders.
        aus: to compare.
        shapes: AU -> the teacher's measure, by which real faces are compared; none for the other AUs.
        out: folder of the two new tables.

    Returns:
        The tables of labels and of measures, and for each AU the column by which all faces are compared,
        in standard deviations of the shape (real faces) or of the intensity (renders).
    """
    labelled, measured = pd.read_parquet(labels), pd.read_parquet(measures)
    is_render = labelled["id"].isin(renders)
    labelled.loc[is_render, "clip"] = labelled.loc[is_render, "subject"]
    known = labelled[is_render].set_index("id")
    measured = measured.merge(labelled.loc[is_render, ["id"]], how="outer")
    rendered = measured["id"].isin(known.index)
    columns = {au: f"order{au:02d}" for au in aus}
    for au, column in columns.items():
        intensities = measured["id"].map(known[f"{facts.au_name(au)}_i"])
        values = intensities / intensities.std()
        if au in shapes:
            shape = measured[shapes[au]].where(~rendered)
            values = values.where(rendered, shape / shape.std())
        measured[column] = values
    paths = out / LABELS, out / MEASURES
    for path, table in zip(paths, (labelled, measured), strict=True):
        with files.atomic(path) as temporary:
            table.to_parquet(temporary, index=False)
    return *paths, columns
