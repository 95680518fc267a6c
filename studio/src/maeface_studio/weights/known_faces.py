"""Faces with known AUs, on which ``check`` tries weights: official portraits, and renders.

Faces are found and cropped once, and can then be predicted with several weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts
from maeface.data.ingest.images import load_images
from maeface.data.loading.dataset import gather_manifests
from maeface.data.tables.labels import join_labels
from maeface.errors import ConfigError
from maeface.faces.imaging import Image
from maeface.model.weights import read_metadata
from maeface.prediction.crops import predict_crops
from maeface.prediction.predictor import Predictor
from maeface_studio.output.shards import LABELS
from maeface_studio.weights import annotations
from maeface_studio.weights.calibration import Faces

HELD_OUT, RENDERS, ANNOTATED = "held-out portraits", "renders of other people", "annotated portraits"

Source = Literal["auto", "public", "embedded"]


@dataclass(frozen=True)
class Portraits:
    """Portraits, each of one person, who is its subject.

    Attributes:
        name: of all of them, for readers.
        labels: a row for each portrait, by file name; columns ``AU12_o``: 1, 0, NaN.
        crops: the largest face by file name, (S, S, 3) uint8; a portrait without a face is missing.
    """

    name: str
    labels: pd.DataFrame
    crops: dict[str, Image]

    def predict(self, weights: Path) -> Faces:
        """Return the portraits with the probabilities of weights, as ``maeface predict`` gives them."""
        predictor = Predictor(weights, "cpu", aligned=True, precision="fp32")
        aus, names = predictor.metadata.aus, self.labels.index
        values = predictor.predict_crops(list(self.crops.values()))[:, : len(aus)]
        scores = pd.DataFrame(values, index=list(self.crops)).reindex(names).to_numpy(np.float64)
        present = _columns(self.labels, aus, "o")
        return Faces("real", self.name, np.array(names, dtype=np.str_), scores, present, present == 0)


@dataclass(frozen=True)
class KnownFaces:
    """The faces to check weights on.

    Attributes:
        held_out: portraits that are in no training.
        annotated: portraits that the packaged weights learned from.
        renders: folder that ``maeface-studio render`` wrote, of people who are in no training.
    """

    held_out: Portraits
    annotated: Portraits
    renders: Path

    def predict(self, weights: Path) -> tuple[Faces, Faces, Faces]:
        """Return held-out portraits, renders and annotated portraits with the probabilities of weights."""
        renders = _predict_renders(weights, self.renders, read_metadata(weights).aus)
        return self.held_out.predict(weights), renders, self.annotated.predict(weights)


def find(weights: Path, photos: Path, renders: Path, detector: Source) -> KnownFaces:
    """Find the faces to check weights on.

    Args:
        weights: of an AU model; crops have the side of its input.
        photos: folder of the official portraits.
        renders: folder that ``maeface-studio render`` wrote.
        detector: weights of the face detector for the portraits.

    Raises:
        ConfigError: a portrait is missing, or there are no renders.
    """
    labels = held_out_labels(), annotated_labels()
    _require_portraits(photos, [name for table in labels for name in table.index])
    if not (renders / LABELS).is_file():
        raise ConfigError(f"{renders} has no {LABELS}; give a folder that `maeface-studio render` wrote")
    finder = Predictor(weights, "cpu", faces="largest", precision="fp32", detector=detector)
    held_out, annotated = (
        Portraits(name, table, _find_crops(finder, [photos / file for file in table.index]))
        for name, table in zip((HELD_OUT, ANNOTATED), labels, strict=True)
    )
    return KnownFaces(held_out, annotated, renders)


def held_out_labels() -> pd.DataFrame:
    """Return the labels of the held-out portraits by file name."""
    with resources.as_file(resources.files("maeface") / "datasets" / "portraits.csv") as path:
        return pd.read_csv(path, index_col="source").drop(columns="settled")


def annotated_labels() -> pd.DataFrame:
    """Return the labels of the annotated portraits by file name, where both annotators agree."""
    table = annotations.load_annotations()
    suffix = ".jpg#0.0"
    table = table[table.index.str.endswith(suffix) & ~table.index.str.startswith(annotations.PLATES)]
    table = table.set_axis(table.index.str.removesuffix("#0.0"))
    return table[~table.index.isin(facts.held_out_portraits())]


def _require_portraits(folder: Path, names: Sequence[str]) -> None:
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ConfigError(
            f"{folder} lacks {len(missing)} portraits, such as {missing[0]}; studio/docs/weights.md says "
            "where to get them"
        )


def _find_crops(finder: Predictor, files: Sequence[Path]) -> dict[str, Image]:
    """Return the largest face of each photo that has one, by file name."""
    return {
        one.image.name: one.crops[0].pixels
        for batch in finder.stream(load_images(files))
        for one in batch
        if one.crops
    }


def _predict_renders(weights: Path, folder: Path, aus: Sequence[int]) -> Faces:
    """Predict renders. Present is intensity 2 (B) or more; absent, for thresholds, is intensity 0."""
    rows = gather_manifests([folder])
    labels = join_labels(rows, folder / LABELS).table().set_index("id")
    rows = rows[rows["id"].isin(labels.index)]
    table = predict_crops([folder], rows, weights, "cpu", "fp32").set_index("id")
    labels = labels.loc[table.index]
    return Faces(
        "renders",
        RENDERS,
        labels["subject"].to_numpy(np.str_),
        _columns(table, aus, "p"),
        _columns(labels, aus, "o"),
        _columns(labels, aus, "i") == 0,
    )


def _columns(table: pd.DataFrame, aus: Sequence[int], kind: str) -> NDArray[np.float64]:
    """Return (N, A) values of a table; NaN for columns that it lacks."""
    names = [f"{facts.au_name(au)}_{kind}" for au in aus]
    values: NDArray[np.float64] = table.reindex(columns=names).to_numpy(np.float64)
    return values
