"""What weights say of crops that are prepared already, each by its ``id``."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from maeface import config, console, predict
from maeface.data.loading import batches
from maeface.data.loading.batches import FaceDataset

CROPS_TOGETHER = 64


def predicted(
    folders: Sequence[Path],
    rows: pd.DataFrame,
    weights: Path | str,
    device: config.Device = "auto",
    precision: config.Precision = "auto",
    workers: int = 0,
) -> pd.DataFrame:
    """Predict faces as ``maeface predict`` does, from their stored crops.

    Args:
        folders: prepared folders, or plain folders of crops.
        rows: N rows of ``batches.gather(folders)``.
        weights: of an AU model: a file, or the name of packaged ones.
        device: where the model runs.
        precision: of the model.
        workers: processes that read the crops; 0 reads in this one.

    Returns:
        N rows in the order of ``rows``: ``id``, and the columns of the model, ``AU12_p`` (0..1) and
        ``AU12_i`` (0..5), as far as it has them.

    Raises:
        DataError: a crop is damaged.
        WeightsError: not the weights of an AU model.
        ResourceError: no such device.
    """
    predictor = predict.Predictor(weights, device, aligned=True, precision=precision)
    size = predictor.metadata.preprocessing.image_size
    crops = FaceDataset(folders, rows, size, seed=0, training=False)
    tables = []
    with console.progress("predict", len(crops), "faces") as advance:
        for batch in batches.in_order(crops, CROPS_TOGETHER, workers):
            table = predictor(list(batch["image"].permute(0, 2, 3, 1).contiguous().numpy()))
            tables.append(table.filter(regex=r"^AU\d\d_[pi]$").assign(id=batch["id"]))
            advance(len(table))
    found = pd.concat(tables, ignore_index=True)
    return found[["id", *(name for name in found if name != "id")]]
