"""Predictions of face crops that are stored in prepared folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import config, console
from maeface.data.loading.dataset import FaceDataset
from maeface.data.loading.loader import load_in_order
from maeface.prediction.predictor import Predictor

CROPS_TOGETHER = 64


def predict_crops(
    folders: Sequence[Path],
    rows: pd.DataFrame,
    weights: Path | str,
    device: config.Device = "auto",
    precision: config.Precision = "auto",
    workers: int | None = 0,
    sides: bool = False,
) -> pd.DataFrame:
    """Predict stored face crops as ``maeface predict --aligned`` does.

    Args:
        folders: prepared folders, or plain folders of crops.
        rows: N rows of ``gather_manifests(folders)``.
        weights: a file of an AU model, or the name of packaged weights.
        device: device of the model.
        precision: precision of the model.
        workers: processes that read the crops; 0 reads in this one.
        sides: as in ``Predictor``.

    Returns:
        N rows in the order of ``rows``: ``id``, and the AU columns of the model (``AU12_p``, 0..1;
        ``AU12_i``, 0..5; with sides also ``AU12_L`` and ``AU12_R``, 0..5).

    Raises:
        ConfigError: sides that the weights do not have.
        DataError: a crop is damaged.
        WeightsError: the file is not an AU model.
        ResourceError: there is no such device.
    """
    predictor = Predictor(weights, device, aligned=True, precision=precision, sides=sides)
    size = predictor.metadata.preprocessing.image_size
    columns = predictor.au_columns[len(predictor.metadata.aus) :]  # as the network gives them
    tables = []
    for ids, crops in read_crops(folders, rows, size, workers):
        tables.append(pd.DataFrame(predictor.predict_crops(crops), columns=columns).assign(id=ids))
    predictions = pd.concat(tables, ignore_index=True)
    return predictions[["id", *(name for name in predictions if name != "id")]]


def read_crops(
    folders: Sequence[Path], rows: pd.DataFrame, image_size: int, workers: int | None = 0
) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
    """Yield stored face crops in the order of ``rows``, batch by batch: their ids, and (B, S, S, 3) uint8.

    Args:
        folders: as for ``predict_crops``.
        rows: as for ``predict_crops``.
        image_size: side that the model takes; crops are read at their own size, up to four times this.
        workers: processes that read the crops; 0 reads in this one.

    Raises:
        DataError: a crop is damaged.
    """
    crops = FaceDataset(folders, rows, image_size, seed=0, training=False)
    with console.progress("predict", len(crops), "faces") as advance:
        for batch in load_in_order(crops, CROPS_TOGETHER, workers):
            yield batch["id"], batch["image"].permute(0, 2, 3, 1).contiguous().numpy()
            advance(len(batch["id"]))
