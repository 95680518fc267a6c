"""Predictions of face crops that are stored in prepared folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import checks, config, console
from maeface.data.loading.dataset import FaceDataset
from maeface.data.loading.loader import load_in_order
from maeface.errors import ConfigError
from maeface.faces.finder import FaceCrop
from maeface.faces.geometry import Face, Square, square_around
from maeface.prediction.chimeras import predict_sides, sided_aus
from maeface.prediction.columns import au_columns
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
        sides: as in ``Predictor``, by the landmarks in ``rows``.

    Returns:
        N rows in the order of ``rows``: ``id``, and the AU columns of the model (``AU12_p``, 0..1;
        ``AU12_i``, 0..5; with sides also ``AU12_L`` and ``AU12_R``, 0..5).

    Raises:
        ConfigError: sides of weights without such intensities, or of folders without landmarks.
        DataError: a crop is damaged.
        WeightsError: the file is not an AU model.
        ResourceError: there is no such device.
    """
    predictor = Predictor(weights, device, aligned=True, precision=precision)
    metadata, predict = predictor.metadata, predictor.predict_crops
    columns = au_columns(metadata.aus, metadata.task, sided_aus(metadata, sides))[len(metadata.aus) :]
    places = _places(rows) if sides else []
    tables: list[pd.DataFrame] = []
    done = 0
    for ids, crops in read_crops(folders, rows, metadata.preprocessing.image_size, workers):
        values = predict(crops)  # as the network gives them
        if sides:
            own = places[done : done + len(ids)]
            faces = [FaceCrop(*place, crop) for place, crop in zip(own, crops, strict=True)]
            values = np.hstack([values, predict_sides(predict, metadata, faces)])
        tables.append(pd.DataFrame(values, columns=columns).assign(id=ids))
        done += len(ids)
    predictions = pd.concat(tables, ignore_index=True)
    return predictions[["id", *(name for name in predictions if name != "id")]]


def _places(rows: pd.DataFrame) -> list[tuple[Face, Square]]:
    """Return the face of each row of a manifest, and about the square that was cropped.

    The manifest has the box of the first pass. The crop is around that of the second, so landmarks may be a
    few per cent of the side away.

    Raises:
        ConfigError: no row has landmarks.
    """
    points = rows[[f"p{k}{axis}" for k in range(5) for axis in "xy"]].to_numpy(np.float32).reshape(-1, 5, 2)
    if not np.isfinite(points).all(axis=(1, 2)).any():
        raise ConfigError(
            f"{checks.name_of('sides')} needs the places of eyes, nose and mouth, which are not known of "
            "these crops; give folders in which `maeface prepare` found the faces"
        )
    boxes = rows[["x1", "y1", "x2", "y2"]].fillna(0).to_numpy(np.float32)  # a ready crop has none
    faces = [Face(box, own, 1.0) for box, own in zip(boxes, points, strict=True)]
    angles = rows["angle"].fillna(0).astype(float)
    return [(face, square_around(face, angle_deg=angle)) for face, angle in zip(faces, angles, strict=True)]


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
