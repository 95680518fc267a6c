"""Scores of packaged weights on faces that they were not trained on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import pandas as pd

from maeface import evaluate, files, predict
from maeface.data.loading.dataset import gather_manifests
from maeface.prediction.crops import predict_crops
from maeface_studio.output.shards import LABELS

RECORD = "weights.json"
"""File that names the weights whose predictions are in the folder."""


def score(
    folder: Path, weights: Sequence[Path], renders: Path, split: Path, portraits: Sequence[Path]
) -> Iterator[tuple[str, evaluate.Scores]]:
    """Predict and score renders of unseen people and held-out portraits.

    Predictions of an earlier call with the same weights are used again.

    Args:
        folder: for predictions and scores.
        weights: the files of the weights.
        renders: prepared folder of the renders, with their labels.
        split: the ``split.json`` of the fine-tuning, which names the subjects of the test.
        portraits: held-out photographs.

    Yields:
        "renders" or "portraits", and the scores.
    """
    record = {"weights": [files.sha256(path) for path in weights]}
    path = folder / RECORD
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != record:
        path.unlink(missing_ok=True)
        _predict_renders(folder, weights[0], renders, split)
        if portraits:
            predict.run(portraits, weights[0], folder / "portraits.parquet", faces="largest")
        files.write_json(path, record)
    predictions = folder / "renders.parquet"
    if predictions.is_file():
        yield "renders", evaluate.run(renders / LABELS, predictions, out=folder / "renders.csv")
    if portraits:
        yield from _score_portraits(folder)


def _score_portraits(folder: Path) -> Iterator[tuple[str, evaluate.Scores]]:
    """Score the portraits against their labels, if there are any."""
    resource = resources.files("maeface") / "datasets" / "portraits.csv"
    with resources.as_file(resource) as path:
        labels = pd.read_csv(path).filter(regex=r"^AU\d\d_[oi]$")
        if labels.notna().any(axis=None):
            predictions = folder / "portraits.parquet"
            yield "portraits", evaluate.run(path, predictions, out=folder / "portraits.csv")


def _predict_renders(folder: Path, weights: Path, renders: Path, split: Path) -> None:
    """Predict the rendered subjects of the test, if there are any."""
    subjects: Mapping[str, list[str]] = json.loads(split.read_text(encoding="utf-8"))
    rows = gather_manifests([renders])
    rows = rows[rows["subject"].isin(set(subjects["test"]))]
    if rows.empty:
        return
    table = predict_crops([renders], rows, weights)
    with files.atomic(folder / "renders.parquet") as temporary:
        table.to_parquet(temporary, index=False)
