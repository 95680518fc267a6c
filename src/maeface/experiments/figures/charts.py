"""Charts of label frequencies (Figs. 3 and 4 of the paper) and of intensity over a clip (Fig. 6)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts
from maeface.data import manifest
from maeface.errors import ConfigError, DataError
from maeface.experiments.reporting.comparison import dataset_title
from maeface.experiments.reporting.results import FinishedPart
from maeface.experiments.running.datasets import LABELS
from maeface.experiments.settings import Figure
from maeface.report.charts import class_distribution, intensity_curve
from maeface.report.document import Picture, Table


def draw_classes(figure: Figure, data: Mapping[str, Path]) -> tuple[Picture, Table]:
    """Draw how often each action unit is present in each dataset (Fig. 4), with the F1 of methods (Fig. 3).

    Args:
        figure: its settings.
        data: dataset -> prepared folder with its table of labels.

    Raises:
        ConfigError: a dataset of the recipe is missing, or an unknown table.
        DataError: a folder has no labels.
    """
    columns, counts = {}, []
    for name in figure.datasets:
        if name not in data:
            raise ConfigError(f"the figure needs the dataset {name}; there are: {', '.join(data) or 'none'}")
        dataset = facts.dataset(name)
        labels = _read_labels(data[name], dataset.aus_occurrence)
        columns[dataset_title(name)] = labels.mean() * 100  # without unknown labels, which are NaN
        count = f"{dataset_title(name)}: {len(labels):,} labelled frames"
        if dataset.frames is not None and abs(len(labels) - dataset.frames) > 0.01 * dataset.frames:
            count += f", NOT the {dataset.frames:,} of the dataset"
        counts.append(count)
    prevalence = pd.DataFrame(columns).sort_index()
    scores = _published_f1(figure, prevalence.index) if figure.figure == "scores_and_classes" else None
    content = "Percentage of the labelled frames in which each action unit is present"
    if scores is not None:
        content += ", and the F1 printed in the paper's tables"
    caption = f"{content}. {'; '.join(counts)}."
    numbers = prevalence.copy()
    for title, methods in (scores or {}).items():
        for method in methods:
            numbers[f"{title}, F1 of {method}"] = methods[method]
    numbers.index.name = "action unit"
    return Picture(class_distribution(prevalence, scores), caption), Table(numbers, "Per cent.", 1)


def _read_labels(folder: Path, aus: Sequence[int]) -> pd.DataFrame:
    """Read occurrence: a row a labelled frame, a column "AU12" an action unit; NaN where unknown."""
    path = folder / LABELS
    columns = {f"{facts.au_name(au)}_o": facts.au_name(au) for au in aus}
    try:
        table = pd.read_parquet(path, columns=list(columns))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} has no table with the labels {', '.join(columns)} ({error}); "
            "prepare the dataset with `maeface prepare --dataset`"
        ) from error
    return table.rename(columns=columns).astype(float)


def _published_f1(figure: Figure, aus: pd.Index) -> dict[str, pd.DataFrame]:
    """Return title of the dataset -> F1 in per cent: a row an action unit, a column a method."""
    tables: dict[str, pd.DataFrame] = {}
    for published in figure.published:
        for comparison in facts.published(published).comparisons:
            if comparison.dataset not in figure.datasets or comparison.metric != "f1":
                continue
            methods = figure.methods or tuple(row.method for row in comparison.rows)
            scale = 100 / comparison.factor
            values = {
                method: {facts.au_name(au): value * scale for au, value in comparison.by_au(method).items()}
                for method in methods
                if comparison.row(method) is not None
            }
            tables[dataset_title(comparison.dataset)] = pd.DataFrame(values).reindex(aus)
    return tables


def draw_clip(figure: Figure, parts: Sequence[FinishedPart]) -> tuple[Picture, Table]:
    """Draw the labelled and the predicted intensity of an action unit over a clip (Fig. 6).

    With several seeds or rows, the first part that tested the subject is drawn.

    Args:
        figure: its settings.
        parts: finished parts of the experiment ``figure.of``.

    Raises:
        DataError: no part tested such a subject or clip.
    """
    name = facts.au_name(figure.au)
    tested: set[str] = set()
    for part in parts:
        if "intensity" not in part.kinds or figure.au not in part.aus:
            continue
        faces = part.read_faces()
        faces = faces[faces["part"] == "test"]
        subjects = manifest.subjects(faces)
        tested |= set(map(str, subjects))
        subject = figure.subject or (str(subjects[0]) if len(subjects) else "")
        faces = faces[subjects == subject]
        if figure.clip:
            faces = faces[faces["clip"].isin([figure.clip, f"{subject}/{figure.clip}"])]
        if len(faces):
            return _draw_curve(figure, part, faces, subject)
    wanted = (figure.subject or "any subject") + (f", clip {figure.clip}" if figure.clip else "")
    raise DataError(
        f"{figure.name}: no tested face of {wanted} with an intensity of {name} in the parts of {figure.of}; "
        f"tested are: {', '.join(sorted(tested)) or 'no subjects'}; choose with --set subject=NAME"
    )


def _draw_curve(
    figure: Figure, part: FinishedPart, faces: pd.DataFrame, subject: str
) -> tuple[Picture, Table]:
    name = facts.au_name(figure.au)
    if not figure.clip:
        variation = faces.groupby("clip")[f"{name}_i"].std().fillna(-1.0)
        faces = faces[faces["clip"] == variation.idxmax()]
    table = pd.DataFrame(
        {
            "frame": _frame_numbers(faces),
            "labelled": faces[f"{name}_i"].to_numpy(dtype=float),
            "estimated": faces[f"{name}_e"].to_numpy(dtype=float),
        }
    ).sort_values("frame")
    image = intensity_curve(
        table["frame"], table["labelled"], {part.row: table["estimated"]}, figure.au, along="frame"
    )
    clip, dataset = faces["clip"].iloc[0], dataset_title(part.dataset)
    caption = (
        f"{facts.au_title(figure.au)} of {subject} in the clip {clip} of {dataset}, {len(table)} frames that "
        f"were not trained on (row {part.row}, fold {part.fold}, seed {part.seed})."
    )
    return Picture(image, " ".join([caption, *(f"{note}." for note in part.notes)])), Table(table, "", 3)


def _frame_numbers(faces: pd.DataFrame) -> NDArray[np.int64]:
    """Return the position of each face in its clip: the frame of a video, or the number in the file name."""
    if faces["source"].nunique() == 1:
        return faces["frame"].to_numpy(dtype=np.int64)
    numbers = [re.findall(r"\d+", Path(str(source)).stem) for source in faces["source"]]
    return np.array([int(digits[-1]) if digits else 0 for digits in numbers], dtype=np.int64)
