"""Answers: rows of a table as JSON, as CSV and as the schemas of the documentation."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from maeface.data.ingest.images import UnreadableInput
from maeface.model.trust import Advice
from maeface.prediction.results import FaceResult, frames_of
from maeface.prediction.rows import ImagePrediction, rows_of
from maeface.prediction.table_writer import to_csv

ROWS_TOGETHER = 2048
State = Literal["queued", "running", "done", "failed"]
Phase = Literal["waiting", "starting", "predicting", "writing results"]


class Problem(BaseModel):
    """Why a request was refused, in one line."""

    detail: str = Field(examples=["the body is too large; expected at most 64 MB"])


class AU(BaseModel):
    """An action unit of a face; null: not measured."""

    present: bool = Field(description="whether it occurs, by the threshold of the weights", examples=[True])
    probability: float | None = Field(None, description="0 to 1", examples=[0.98])
    intensity: float | None = Field(None, description="0 to 5", examples=[4.2])
    left: float | None = Field(None, description="intensity of the subject's left, 0 to 5", examples=[None])
    right: float | None = Field(None, description="of the right", examples=[None])


class Face(BaseModel):
    """A face; positions in pixels."""

    status: str = Field(description="ok or low_quality", examples=["ok"])
    track: int | None = Field(None, description="number of the person in a film", examples=[None])
    box: tuple[float, float, float, float] = Field(
        description="left, top, right, bottom", examples=[[173.0, 55.5, 271.0, 190.0]]
    )
    score: float | None = Field(description="of the detector, 0 to 1", examples=[0.99])
    landmarks: list[tuple[float | None, float | None]] = Field(
        description="eyes, nose, corners of the mouth; left is left in the picture",
        examples=[[[201.0, 110.0], [243.0, 108.0], [224.0, 131.0], [207.0, 155.0], [242.0, 153.0]]],
    )
    quality: dict[str, float | None] = Field(examples=[{"yaw": -3.5, "sharpness": 41.0}])
    aus: dict[str, AU] = Field(
        examples=[{"AU12": {"present": True, "probability": 0.98, "intensity": 4.2}}],
    )


class Photo(BaseModel):
    """A photo of a request."""

    image: int = Field(description="its place in the form, from 0 on", examples=[0])
    status: str = Field(
        description="ok, no_face, or the reason why it cannot be read", examples=["ok", "truncated"]
    )
    detail: str = Field("", description="what is wrong with it", examples=[""])
    faces: list[Face]


class Photos(BaseModel):
    """The photos of a request, in order."""

    images: list[Photo]


class Frame(BaseModel):
    """A frame of a film."""

    frame: int = Field(description="its number, from 0 on", examples=[75])
    time_s: float = Field(description="its time in the film, seconds", examples=[3.0])
    status: str = Field(description="ok, no_face, or the reason why it has no picture", examples=["ok"])
    faces: list[Face]


class Frames(BaseModel):
    """The frames of a film, in order of time."""

    frames: list[Frame]


class Job(BaseModel):
    """A film that is predicted, or was, or will be."""

    id: str = Field(examples=["s3TzIo1BqLsRzl0uJ2Yx0w"])
    state: State = Field(examples=["running"])
    phase: Phase | None = Field(
        None,
        description="what happens now: it waits for other films, its process starts and loads the networks, "
        "frames are predicted, or tables and report are written; null when the job has ended",
        examples=["predicting"],
    )
    frames: int = Field(description="frames that have rows", examples=[310])
    frames_total: int = Field(
        description="frames that will be read, as the film's header says", examples=[1500]
    )
    progress: float = Field(description="part of the frames that have rows, 0 to 1", examples=[0.207])
    seconds: float = Field(description="length of the film", examples=[60.0])
    waiting: int = Field(
        description="films that wait before this one; the one that is predicted does not count", examples=[0]
    )
    error: str | None = Field(None, description="why it failed", examples=[None])
    created: str = Field(description="time in UTC", examples=["2026-11-28T12:00:00+00:00"])
    expires: str | None = Field(
        None,
        description="when it will be deleted, in UTC; null before its end",
        examples=["2026-11-29T12:03:10+00:00"],
    )


class AUTrust(BaseModel):
    """What an action unit is, and whether to rely on it for real people."""

    title: str = Field(description="number and name in FACS", examples=["AU12 Lip corner puller"])
    use: bool = Field(description="whether its checks on real people recommend it", examples=[True])
    advice: Advice | None = Field(
        description="yes, with care or no; null: the weights say nothing about it", examples=["yes"]
    )
    checked: str = Field(
        description="what the checks say", examples=["AUC 0.97 [0.94, 0.99] on 300 real faces, 276 with it"]
    )
    threshold: float | None = Field(
        description="probability from which it is present; null: the weights give no probability",
        examples=[0.78],
    )


class Health(BaseModel):
    """Whether the service is alive, or ready."""

    status: Literal["ok"] = "ok"


def photo_of(number: int, rows: pa.Table) -> Photo:
    """Return a photo of its rows."""
    (frame,) = frames_of([rows])
    return Photo(image=number, status=frame.status, detail="", faces=[_face_of(face) for face in frame.faces])


def _face_of(face: FaceResult) -> Face:
    left, top, right, bottom = map(_shorten, face.box)
    return Face(
        status=face.status,
        track=face.track,
        box=(left, top, right, bottom),
        score=_number(face.score),
        landmarks=[(_number(x), _number(y)) for x, y in face.landmarks.tolist()],
        quality={name: _number(value) for name, value in face.quality.items()},
        aus={
            name: AU(
                present=one.present,
                probability=_number(one.probability),
                intensity=_number(one.intensity),
                left=_number(one.left),
                right=_number(one.right),
            )
            for name, one in face.aus.items()
        },
    )


def _number(value: float | None) -> float | None:
    """Return a number, None for NaN: JSON has no such number."""
    return _shorten(value) if value is not None and value == value else None


def _shorten(value: float) -> float:
    """Return a number without digits that only the conversion from 32 bits has made."""
    return float(f"{value:.7g}")


def csv_of(tables: Iterable[pa.Table]) -> Iterator[bytes]:
    """Yield tables of the same columns as CSV, piece by piece."""
    for number, table in enumerate(tables):
        if not number:
            yield (",".join(table.column_names) + "\n").encode()
        yield to_csv(table)


def without_values(columns: Sequence[str], name: str, status: str) -> pa.Table:
    """Return the row of a photo that cannot be read, as tables of ``maeface predict`` have it."""
    photo = UnreadableInput(name, 0, 0.0, status)
    return rows_of([ImagePrediction(photo, [], np.zeros((0, 0), np.float32))], columns).select(columns)


def read_table(path: Path) -> Iterator[pa.Table]:
    """Yield a Parquet table in pieces of whole frames."""
    held: pa.Table | None = None
    with pq.ParquetFile(path, pre_buffer=False) as file:  # a buffer would hold all of it
        if not file.metadata.num_rows:
            yield file.read()
        for batch in file.iter_batches(ROWS_TOGETHER):
            table = pa.Table.from_batches([batch])
            table = table if held is None else pa.concat_tables([held, table])
            last = pc.equal(table["frame"], table["frame"][len(table) - 1])
            held = table.filter(last)
            if len(held) < len(table):
                yield table.filter(pc.invert(last))
    if held is not None:
        yield held


def json_of(path: Path) -> Iterator[bytes]:
    """Yield the frames of a film's table as one JSON object, piece by piece."""
    yield b'{"frames":['
    first = True
    for table in read_table(path):
        texts = []
        for frame in frames_of([table]):
            where: dict[str, Any] = {"frame": frame.frame, "time_s": frame.time_s, "status": frame.status}
            faces = [_face_of(face).model_dump() for face in frame.faces]
            texts.append(json.dumps({**where, "faces": faces}, allow_nan=False, separators=(",", ":")))
        if texts:
            yield ("" if first else ",").encode() + ",".join(texts).encode()
            first = False
    yield b"]}"
