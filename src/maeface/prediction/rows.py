"""Predictions of images, and the rows that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from maeface.data.ingest.images import SourceImage, UnreadableInput
from maeface.faces.boxes import clip
from maeface.faces.finder import FaceCrop
from maeface.faces.tracking import DESCRIPTOR_SIZE
from maeface.prediction.table_writer import WHERE

BOX = ("x1", "y1", "x2", "y2")
FOLLOWED, DESCRIPTOR = "_followed", "_descriptor"
HIDDEN = {FOLLOWED: pa.int32(), DESCRIPTOR: pa.binary(2 * DESCRIPTOR_SIZE)}
"""Columns of parts that are not in tables; ``tracks.number_tracks`` makes ``track`` of them."""
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
    """Return the schema of a table: the types of ``WHERE`` and ``HIDDEN``, float32 for all other columns."""
    types = {**WHERE, **HIDDEN}
    return pa.schema([(column, types.get(column, pa.float32())) for column in columns])


def rows_of(predictions: Sequence[ImagePrediction], columns: Sequence[str]) -> pa.Table:
    """Return the rows of images: one for each face, one with face -1 for an image without a face.

    Args:
        predictions: the images.
        columns: ``WHERE``, the box, the score, and the columns of ``ImagePrediction.values``.

    Returns:
        A table of ``schema_of([*columns, *HIDDEN])``. Numbers that are missing are null, and so is ``track``.
    """
    where: list[tuple[str, int, float, int, str]] = []
    numbers: list[NDArray[np.float32]] = []
    hidden: list[tuple[int | None, bytes | None]] = []
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
            box = crop.face.box
            if isinstance(one.image, SourceImage):  # a face that is followed may be partly outside
                box = clip(box, one.image.frame.rgb.shape)
            values = np.array([*box, score, *one.values[k]], dtype=np.float32)
            numbers.append(values[: len(empty)])
            looks = crop.descriptor
            hidden.append((crop.followed, None if looks is None else looks.astype("<f2").tobytes()))
        if not one.crops:
            where.append((name, frame, time_s, -1, status))
            numbers.append(empty)
            hidden.append((None, None))
    names, frames, times, faces, statuses = zip(*where, strict=True) if where else ((),) * 5
    matrix = np.stack(numbers) if numbers else np.zeros((0, len(empty)), np.float32)
    no_track = np.zeros(len(where), np.int32)
    arrays = [
        _texts(names),
        number_array(np.array(frames, np.int64)),
        number_array(np.array(times, np.float64)),
        number_array(np.array(faces, np.int16)),
        number_array(no_track, no_track),
        _texts(statuses),
        *(number_array(values) for values in matrix.T),
        number_array(
            np.array([one or 0 for one, _ in hidden], np.int32), [one is not None for one, _ in hidden]
        ),
        _bytes([looks for _, looks in hidden], HIDDEN[DESCRIPTOR]),
    ]
    return pa.Table.from_arrays(arrays, schema=schema_of([*columns, *HIDDEN]))


# ``pyarrow.array`` would import pandas, which takes a second in each process.


def _texts(values: Sequence[str]) -> pa.Array:
    """Return texts as an array."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def number_array(values: NDArray[Any], present: ArrayLike | None = None) -> pa.Array:
    """Return numbers as an array, with null where they are not present; None: where they are NaN."""
    mask = np.packbits(
        ~np.isnan(values) if present is None else np.asarray(present, np.bool_), bitorder="little"
    )
    buffers = [pa.py_buffer(mask), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)


def array_numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return the numbers of a column; any number where one is null. PyArrow's own way imports pandas."""
    parts = [
        np.frombuffer(chunk.buffers()[1], chunk.type.to_pandas_dtype())[chunk.offset :][: len(chunk)]
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _bytes(values: Sequence[bytes | None], kind: pa.FixedSizeBinaryType) -> pa.Array:
    """Return byte strings of one length as an array."""
    mask = np.packbits(np.array([value is not None for value in values], np.bool_), bitorder="little")
    data = b"".join(bytes(kind.byte_width) if value is None else value for value in values)
    return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(mask), pa.py_buffer(data)])
