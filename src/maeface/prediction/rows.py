"""Predictions of images, and the rows that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from maeface.data.ingest.images import SourceImage, UnreadableInput
from maeface.faces.finder import FaceCrop
from maeface.prediction.table_writer import WHERE

if TYPE_CHECKING:
    import pandas as pd

BOX = ("x1", "y1", "x2", "y2")
OK, NO_FACE = "ok", "no_face"
"""The ``status`` of a row with a face, and of an image without one, as in a manifest."""


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction of one image.

    Attributes:
        image: the photo or frame, or the entry of an input that cannot be read.
        crops: its F faces, best score first; none if the input cannot be read.
        values: (F, K) float32: the AU columns of the table, or the features.
    """

    image: SourceImage | UnreadableInput
    crops: list[FaceCrop]
    values: NDArray[np.float32]


def schema_of(columns: Sequence[str]) -> pa.Schema:
    """Return the schema of a table: the types of ``WHERE``, and float32 for all other columns."""
    return pa.schema([(column, WHERE.get(column, pa.float32())) for column in columns])


def rows_of(predictions: Sequence[ImagePrediction], columns: Sequence[str]) -> pa.Table:
    """Return the rows of images: one for each face, one with face -1 for an image without a face.

    Args:
        predictions: the images.
        columns: ``WHERE``, the box, the score, and the columns of ``ImagePrediction.values``.

    Returns:
        A table of ``schema_of(columns)``. Numbers that are missing are null.
    """
    where: list[tuple[str, int, float, int, str]] = []
    numbers: list[NDArray[np.float32]] = []
    empty = np.full(len(columns) - len(WHERE), np.nan, dtype=np.float32)
    for one in predictions:
        if isinstance(one.image, UnreadableInput):
            (name, frame, time_s), status = one.image[:3], one.image.reason
        else:
            name, status = one.image.name, NO_FACE
            frame, time_s = one.image.frame.index, one.image.frame.time_s
        for k, crop in enumerate(one.crops):
            score = np.nan if np.isnan(crop.face.landmarks).all() else crop.face.score  # NaN: a ready crop
            where.append((name, frame, time_s, k, OK))
            values = np.array([*crop.face.box, score, *one.values[k]], dtype=np.float32)
            numbers.append(values[: len(empty)])
        if not one.crops:
            where.append((name, frame, time_s, -1, status))
            numbers.append(empty)
    names, frames, times, faces, statuses = zip(*where, strict=True) if where else ((),) * 5
    matrix = np.stack(numbers) if numbers else np.zeros((0, len(empty)), np.float32)
    arrays = [
        _texts(names),
        _numbers(np.array(frames, np.int64)),
        _numbers(np.array(times, np.float64)),
        _numbers(np.array(faces, np.int16)),
        _texts(statuses),
        *(_numbers(values) for values in matrix.T),
    ]
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


def _texts(values: Sequence[str]) -> pa.Array:
    """Return texts as an array (``pyarrow.array`` would import pandas, which takes a second)."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def _numbers(values: NDArray[Any]) -> pa.Array:
    """Return numbers as an array, with null for NaN."""
    present = np.packbits(~np.isnan(values), bitorder="little")
    buffers = [pa.py_buffer(present), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)


def table(predictions: Sequence[ImagePrediction], columns: Sequence[str]) -> "pd.DataFrame":
    """Return the rows of images as a pandas table; numbers that are missing are NaN. See ``rows_of``."""
    frame: pd.DataFrame = rows_of(predictions, columns).to_pandas()
    return frame
