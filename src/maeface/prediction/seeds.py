"""Trainings that differ in the seed: their scores on held-out faces, with mean and spread over the seeds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from maeface import checks, config, console, facts, files, metrics, process
from maeface.data.loading.several import read_faces
from maeface.data.loading.split import Split, split_faces
from maeface.errors import ConfigError
from maeface.model.weights import read_metadata
from maeface.prediction.crops import predict_crops

FILE = "seeds.csv"
AVERAGE = "avg"
"""The value of the column ``au`` for the mean over action units."""
DETECTION: tuple[str, ...] = ("auc", "f1", "precision", "recall", "accuracy")
INTENSITY: tuple[str, ...] = ("icc", "mse", "mae")
CONFIDENCE = 0.95
STEPS = 100_000


def sweep(
    seeds: Sequence[int],
    settings: config.Finetune,
    data: Sequence[Path],
    labels: Path | Sequence[Path],
    out: Path,
    train: Callable[[config.Finetune, Path], Path],
) -> pd.DataFrame:
    """Train and score each seed, in ``out/seed-0`` and so on; see ``finetune.run_seeds``.

    Args:
        seeds: of the trainings.
        settings: of all of them.
        data: prepared folders.
        labels: their table, or tables.
        out: folder of the runs, and of the table, ``seeds.csv``.
        train: trains with settings in a folder; returns the weights file.
    """
    several = "; for one seed, --set run.seed=N --out OUT/seed-N may use torchrun"
    process.require_one("finetune --seeds", several)
    if len(set(seeds)) < 2:
        raise ConfigError(f"{checks.name_of('seeds')} needs two different seeds or more, such as 0,1,2")
    checks.require_writable_folders(out)
    tables = [labels] if isinstance(labels, Path) else labels
    faces, scores = read_faces(data, tables, settings.model)[1], {}
    for number, seed in enumerate(dict.fromkeys(seeds), start=1):
        console.note(f"seed {seed} ({number} of {len(set(seeds))})")
        run = settings.run.model_copy(update={"seed": seed})
        own = settings.model_copy(update={"run": run})
        held_out = select(faces, own)  # before the training: there may be none
        scores[seed] = score(held_out, own, data, train(own, out / f"seed-{seed}"))
    table = pool(scores)
    files.write_text(out / FILE, table.to_csv(index=False))
    return table


def select(faces: Split, settings: config.Finetune) -> tuple[str, Split]:
    """Return the faces to score, and of which part they are: "test", or "validation" if there is no test.

    Raises:
        ConfigError: there is neither.
    """
    splits = split_faces(faces, settings)
    for name in ("test", "validation"):
        if len(splits[name].rows):
            return name, splits[name]
    raise ConfigError(
        "there is no held-out face to score; set data.folds, data.test_subjects or data.validation"
    )


def score(
    found: tuple[str, Split], settings: config.Finetune, data: Sequence[Path], weights: Path
) -> pd.DataFrame:
    """Return the scores of weights, a row each.

    Args:
        found: from ``select``.
        settings: of the training.
        data: its prepared folders.
        weights: that it made; F1, precision, recall and accuracy are at their thresholds.

    Returns:
        ``part metric au value``: ``au`` is "AU12" or "avg", the mean over the action units with a value.
    """
    name, part = found
    run, metadata = settings.run, read_metadata(weights)
    rows = part.rows.reset_index(drop=True)
    predicted = predict_crops(data, rows, weights, run.device, run.precision, run.workers)
    names = [facts.au_name(au) for au in metadata.aus]
    scores: dict[str, NDArray[np.float64]] = {}
    kinds = [kind for kind in ("detection", "intensity") if metadata.task in (kind, "both")]
    columns = np.split(np.arange(part.labels.shape[1]), len(kinds))
    for kind, own in zip(kinds, columns, strict=True):
        labels, mask = part.labels[:, own], part.mask[:, own]
        values = predicted[[f"{au}_{'p' if kind == 'detection' else 'i'}" for au in names]].to_numpy()
        if kind == "detection":
            above = values - np.asarray(metadata.thresholds)
            all_of, chosen = metrics.detection(labels, above, 0.0, mask), DETECTION
        else:
            all_of, chosen = metrics.intensity(labels, values, mask), INTENSITY
        scores |= {metric: all_of[metric] for metric in chosen}
    lines = [
        (name, metric, au, float(value))
        for metric, values in scores.items()
        for au, value in zip([AVERAGE, *names], [metrics.mean(values), *values], strict=True)
    ]
    return pd.DataFrame(lines, columns=["part", "metric", "au", "value"])


def pool(scores: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return mean and spread over seeds.

    Args:
        scores: from ``score``, by seed.

    Returns:
        ``part metric au``; ``mean``; ``sd``, the standard deviation (n - 1); ``low`` and ``high``, the 95 %
        interval of the mean by Student's t; ``seeds``, the number of those with a value; and a column
        ``seed N`` for each. NaN where fewer than one seed, or for the spread two, have a value.
    """
    keys = ["part", "metric", "au"]
    columns = [table.set_index(keys)["value"].rename(f"seed {seed}") for seed, table in scores.items()]
    values = pd.concat(columns, axis=1)
    count, sd = values.count(axis=1), values.std(axis=1, ddof=1)
    t = count.map(lambda n: _t_quantile(n - 1) if n > 1 else float("nan"))
    reach: pd.Series[float] = t * sd / np.sqrt(count)
    mean = values.mean(axis=1)
    pooled = {"mean": mean, "sd": sd, "low": mean - reach, "high": mean + reach, "seeds": count}
    return pd.concat([pd.DataFrame(pooled), values], axis=1).reset_index()


def render(table: pd.DataFrame) -> Table:
    """Return the means over action units as a table for the terminal."""
    rows = table[table["au"] == AVERAGE]
    part, seeds = rows["part"].iloc[0], rows["seeds"].max()
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, caption_justify="left")
    shown.caption = f"{seeds} seeds, {part} faces"
    shown.add_column("mean over AUs")
    for title in ("mean", "sd", "95 % from", "to"):
        shown.add_column(title, justify="right")
    for _, row in rows.iterrows():
        numbers = (row[name] for name in ("mean", "sd", "low", "high"))
        shown.add_row(str(row["metric"]), *("–" if pd.isna(value) else f"{value:.3f}" for value in numbers))
    return shown


def _t_quantile(freedom: int) -> float:
    """Return the t that Student's distribution stays within, on both sides, with ``CONFIDENCE``."""
    # with t = sqrt(freedom) tan(angle) the density is cos(angle) ** (freedom - 1)
    angles = (np.arange(STEPS) + 0.5) * (np.pi / 2 / STEPS)
    within = np.cumsum(np.cos(angles) ** (freedom - 1))
    edge = np.interp(CONFIDENCE * within[-1], within, angles + np.pi / 4 / STEPS)
    return float(np.sqrt(freedom) * np.tan(edge))
