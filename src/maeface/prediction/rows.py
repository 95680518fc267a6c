"""Predictions of images, and the rows that they make."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from maeface.data.ingest.images import SourceImage, UnreadableInput
from maeface.faces.boxes import clip
from maeface.faces.finder import FaceCrop
from maeface.faces.quality import is_low_quality, measure_quality
from maeface.faces.tracking import DESCRIPTOR_SIZE
from maeface.prediction.columns import FACE, is_occurrence
from maeface.prediction.results import Progress
from maeface.prediction.table_writer import WHERE

FOLLOWED, DESCRIPTOR = "_followed", "_descriptor"
HIDDEN = {FOLLOWED: pa.int32(), DESCRIPTOR: pa.binary(2 * DESCRIPTOR_SIZE)}
"""Columns of parts that are not in tables; ``tracks.number_tracks`` makes ``track`` of them."""
OK, LOW_QUALITY, NO_FACE = "ok", "low_quality", "no_face"
"""The ``status`` of a row with a face, with a face that is hard to see, and of an image without one."""
WITH_FACE = (OK, LOW_QUALITY)


def count_faces(statuses: Mapping[str, int]) -> int:
    """Return how many rows have a face, of rows counted by status."""
    return sum(statuses.get(status, 0) for status in WITH_FACE)


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction of one image.

    Attributes:
        image: the photo or frame, or the entry of an input that cannot be read.
        crops: its F faces, best score first; none if the input cannot be read.
        values: (F, K) float32: the AU columns of the table (``columns.au_columns``), or the features.
        measures: (F, 8) float32, the columns ``columns.QUALITY``; None: measured when ``quality`` is read.
    """

    image: SourceImage | UnreadableInput
    crops: list[FaceCrop]
    values: NDArray[np.float32]
    measures: NDArray[np.float32] | None = None

    @cached_property
    def quality(self) -> NDArray[np.float32]:
        """(F, 8), the columns ``columns.QUALITY``."""
        if self.measures is not None:
            return self.measures
        if not isinstance(self.image, SourceImage):
            return measure_quality([], [])
        return measure_quality(self.crops, [self.image.frame.rgb.shape] * len(self.crops))

    @property
    def statuses(self) -> list[str]:
        """The ``status`` of each row."""
        if self.crops:
            # a ready crop, which has no landmarks, was not searched for
            found = [np.isfinite(crop.face.landmarks).all() for crop in self.crops]
            low = is_low_quality(self.quality)
            return [LOW_QUALITY if bad and seen else OK for bad, seen in zip(low, found, strict=True)]
        return [self.image.reason if isinstance(self.image, UnreadableInput) else NO_FACE]


def crops_by_batch(
    batches: Sequence[Sequence[SourceImage | UnreadableInput]], crops: Sequence[list[FaceCrop]]
) -> list[list[list[FaceCrop]]]:
    """Return the faces of each image of each batch, from those of all images that could be read."""
    found = iter(crops)
    return [[next(found) if isinstance(image, SourceImage) else [] for image in batch] for batch in batches]


def shapes_of(
    batches: Sequence[Sequence[SourceImage | UnreadableInput]], crops: Sequence[Sequence[list[FaceCrop]]]
) -> list[tuple[int, ...]]:
    """Return the shape of the image of each face of each batch."""
    return [
        image.frame.rgb.shape
        for batch, of_batch in zip(batches, crops, strict=True)
        for image, faces in zip(batch, of_batch, strict=True)
        if isinstance(image, SourceImage)
        for _ in faces
    ]


def join_predictions(
    batches: Sequence[Sequence[SourceImage | UnreadableInput]],
    crops: Sequence[Sequence[list[FaceCrop]]],
    values: NDArray[np.float32],
    measures: NDArray[np.float32],
) -> Iterator[list[ImagePrediction]]:
    """Yield the predictions of batches of images.

    Args:
        batches: the images, and entries for what is missing.
        crops: the faces of each image of each batch.
        values: (F, K) of all faces, in their order.
        measures: (F, 8) of all faces, the columns ``columns.QUALITY``.
    """
    start = 0
    for batch, of_batch in zip(batches, crops, strict=True):
        predictions = []
        for image, faces in zip(batch, of_batch, strict=True):
            own = slice(start, start + len(faces))
            predictions.append(ImagePrediction(image, faces, values[own], measures[own]))
            start = own.stop
        yield predictions


def schema_of(columns: Sequence[str]) -> pa.Schema:
    """Return the schema of a table: known types of ``WHERE``, ``HIDDEN`` and occurrences, else float32."""
    types = {**WHERE, **HIDDEN, **dict.fromkeys(filter(is_occurrence, columns), pa.int8())}
    return pa.schema([(column, types.get(column, pa.float32())) for column in columns])


def rows_of(predictions: Sequence[ImagePrediction], columns: Sequence[str]) -> pa.Table:
    """Return the rows of images: one for each face, one with face -1 for an image without a face.

    Args:
        predictions: the images.
        columns: ``WHERE``, ``columns.face_columns``, and the columns of ``ImagePrediction.values``.

    Returns:
        A table of ``schema_of([*columns, *HIDDEN])``. Numbers that are missing are null, and so is ``track``.
    """
    where: list[tuple[str, int, float, int, str]] = []
    numbers: list[NDArray[np.float32]] = []
    kept = np.array([name in columns for name in FACE])
    hidden: list[tuple[int | None, bytes | None]] = []
    empty = np.full(len(columns) - len(WHERE), np.nan, dtype=np.float32)
    for one in predictions:
        name = one.image.name
        if isinstance(one.image, UnreadableInput):
            frame, time_s = one.image.frame, one.image.time_s
        else:
            frame, time_s = one.image.frame.index, one.image.frame.time_s
        for k, status in enumerate(one.statuses):
            where.append((name, frame, time_s, k if one.crops else -1, status))
            numbers.append(_numbers_of(one, k, kept)[: len(empty)] if one.crops else empty)
            looks = one.crops[k].descriptor if one.crops else None
            followed = one.crops[k].followed if one.crops else None
            hidden.append((followed, None if looks is None else looks.astype("<f2").tobytes()))
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
        *(_column(name, values) for name, values in zip(columns[len(WHERE) :], matrix.T, strict=True)),
        number_array(
            np.array([one or 0 for one, _ in hidden], np.int32), [one is not None for one, _ in hidden]
        ),
        _bytes([looks for _, looks in hidden], HIDDEN[DESCRIPTOR]),
    ]
    return pa.Table.from_arrays(arrays, schema=schema_of([*columns, *HIDDEN]))


def count_rows(
    batches: Iterable[Sequence[ImagePrediction]],
    columns: Sequence[str],
    progress: Progress | None,
    total: int | None,
) -> Iterator[pa.Table]:
    """Yield the rows of each batch, after ``progress`` was told the images so far, and ``total``."""
    done = 0
    for batch in batches:
        rows = rows_of(batch, columns)
        done += len(batch)
        if progress is not None:
            progress(done, total)
        yield rows


def _numbers_of(one: ImagePrediction, k: int, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the numbers of a face's row: those of ``columns.FACE`` that are kept, and its values."""
    face = one.crops[k].face
    score = np.nan if np.isnan(face.landmarks).all() else face.score  # NaN: a ready crop
    box = face.box
    if isinstance(one.image, SourceImage):  # a face that is followed may be partly outside
        box = clip(box, one.image.frame.rgb.shape)
    of_face = np.concatenate([box, [score], one.quality[k], face.landmarks.ravel()], dtype=np.float32)
    return np.concatenate([of_face[kept], one.values[k]], dtype=np.float32)


def _column(name: str, values: NDArray[np.float32]) -> pa.Array:
    """Return a column of numbers; those of occurrence are whole."""
    if not is_occurrence(name):
        return number_array(values)
    present = ~np.isnan(values)
    return number_array(np.where(present, values, 0).astype(np.int8), present)


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
