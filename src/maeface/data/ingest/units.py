"""One unit of the preparation: its photos or its video to one shard and one part of the manifest.

Both files are written whole or not at all, the part last, so a part on disk says that the unit is
finished. The same input gives the same bytes, whoever works and in whatever order.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from maeface import config, files
from maeface.data import shards
from maeface.data.ingest import inputs
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.ingest.records import read_image_bytes
from maeface.data.manifest import SCHEMA
from maeface.data.shards import ShardWriter
from maeface.faces import media
from maeface.faces.finder import FaceCrop, crop_from_landmarks

PARTS = "parts"
FACT_KEY = b"maeface.unit"
# Images that are looked for faces together: enough for a GPU, and bounded in memory where they are large.
TOGETHER = 32
TOGETHER_PIXELS = 50_000_000
ROWS_TOGETHER = 4096

Find = Callable[[Sequence[NDArray[np.uint8]]], list[list[FaceCrop]]]


class Settings(config.Settings):
    """How images are prepared; all but ``workers`` and ``max_bad`` change what comes out."""

    every: Annotated[int, Field(ge=1)] = 1
    """Of a video, take every n-th frame."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """Of a video, take at most so many frames a second instead."""
    size: Annotated[int, Field(ge=16, le=4096)] = 256
    """Side of a crop in px."""
    faces: Literal["largest", "central", "all"] = "largest"
    aligned: bool = False
    """The images are ready crops: no face is looked for, the middle square is resized."""
    min_side: Annotated[int, Field(ge=1)] = 32
    """Photos with a side below this are dropped."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Least score of a face."""
    backbone: Literal["mobilenet0.25", "resnet50"] = "mobilenet0.25"
    detector: Literal["auto", "public", "embedded"] = "auto"
    """Its weights: the public ones, the package's own, or (auto) the public ones where they are at hand."""
    device: config.Device = "auto"
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """With colour at full resolution (4:4:4): lips are where action units show."""
    per_shard: Annotated[int, Field(ge=1)] | None = None
    """Photos a unit; None: by their number (``inputs.cut``). A video is a unit by itself."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes; None: as many as there are cores."""
    max_bad: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the input files that may give no face."""

    @model_validator(mode="after")
    def _one_choice_of_frames(self) -> "Settings":
        if self.every != 1 and self.fps is not None:
            raise ValueError("give every or fps, not both")
        return self

    def say_unused(self, found: Sequence[Input]) -> None:
        """Say which of the settings do nothing for these inputs."""
        names = ("faces", "threshold", "backbone", "detector") if self.aligned else ()
        defaults = type(self).model_fields
        given = {name: getattr(self, name) != defaults[name].default for name in names}
        inputs.say_unused(found, self.every, self.fps, given)


@dataclass(frozen=True)
class Fact:
    """What is known of a finished unit.

    Attributes:
        files: input files.
        files_dropped: those that gave no face.
        images: photos and frames that were looked at.
        statuses: rows by status.
        shard: {sha256, bytes, count} of its shard; None if it has no face.
    """

    files: int
    files_dropped: int
    images: int
    statuses: dict[str, int]
    shard: dict[str, Any] | None


def do(unit: Unit, out: Path, settings: Settings, find: Find, notify: Callable[[int], None]) -> Fact:
    """Prepare one unit.

    Args:
        unit: what to do.
        out: the prepared folder.
        settings: how.
        find: images to crops.
        notify: called with the number of new faces now and then.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    shard = out / shards.FOLDER / f"{unit.name}.tar"
    statuses: Counter[str] = Counter()
    whole: set[str] = set()
    images = 0
    tables: list[pa.Table] = []
    rows: list[dict[str, Any]] = []
    with files.atomic(shard) as temporary, ShardWriter(temporary, unit.name) as writer:
        for looked, new in _rows(unit, settings, find, writer):
            images += looked
            rows += new
            statuses.update(row["status"] for row in new)
            whole.update(row["source"] for row in new if row["status"] == "ok")
            notify(sum(row["status"] == "ok" for row in new))
            if len(rows) >= ROWS_TOGETHER:
                tables.append(pa.Table.from_pylist(rows, SCHEMA))
                rows = []
    tables.append(pa.Table.from_pylist(rows, SCHEMA))
    entry = None
    if writer.count:
        entry = {"sha256": files.sha256(shard), "bytes": shard.stat().st_size, "count": writer.count}
    else:
        shard.unlink()
    count = len(unit.inputs)
    fact = Fact(count, count - len(whole), images, dict(sorted(statuses.items())), entry)
    table = pa.concat_tables(tables).replace_schema_metadata({FACT_KEY: json.dumps(asdict(fact))})
    with files.atomic(_part(out, unit)) as temporary:
        pq.write_table(table, temporary)
    return fact


def finished(unit: Unit, out: Path) -> Fact | None:
    """What is known of a unit if it is finished and its shard is there; None: do it (again)."""
    try:
        metadata = pq.read_schema(_part(out, unit)).metadata
        fact = Fact(**json.loads(metadata[FACT_KEY]))
        shard = out / shards.FOLDER / f"{unit.name}.tar"
        return fact if fact.shard is None or shard.stat().st_size == fact.shard["bytes"] else None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return None


def table(unit: Unit, out: Path) -> pa.Table:
    """The rows of a finished unit."""
    return pq.read_table(_part(out, unit), schema=SCHEMA)


def _part(out: Path, unit: Unit) -> Path:
    return out / PARTS / f"{unit.name}.parquet"


@dataclass(frozen=True)
class _Image:
    """An image that was read: a photo or a frame."""

    item: Input
    frame: int
    time_s: float
    pixels: NDArray[np.uint8]


def _rows(
    unit: Unit, settings: Settings, find: Find, writer: ShardWriter
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Number of images and rows, some images at a time, in the order of the inputs."""
    for batch in _batches(unit, settings):
        images = [entry for entry in batch if isinstance(entry, _Image)]
        crops = iter(_crops(images, settings, find))
        rows: list[dict[str, Any]] = []
        for entry in batch:
            rows += (
                _image_rows(entry, next(crops), settings, writer, unit)
                if isinstance(entry, _Image)
                else [entry]
            )
        yield len(images), rows


def _crops(images: Sequence[_Image], settings: Settings, find: Find) -> list[list[FaceCrop]]:
    """The crops of each image: by its dataset's own points where they are known, else as they are found."""
    looked = [image.pixels for image in images if not image.item.points]
    found = iter(find(looked) if looked else [])
    return [
        [crop_from_landmarks(image.pixels, np.array(image.item.points), settings.size)]
        if image.item.points
        else next(found)
        for image in images
    ]


def _batches(unit: Unit, settings: Settings) -> Iterator[list[_Image | dict[str, Any]]]:
    batch: list[_Image | dict[str, Any]] = []
    pixels = 0
    for entry in _entries(unit, settings):
        batch.append(entry)
        pixels += entry.pixels.size // 3 if isinstance(entry, _Image) else 0
        if len(batch) >= TOGETHER or pixels >= TOGETHER_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _entries(unit: Unit, settings: Settings) -> Iterator[_Image | dict[str, Any]]:
    """Every photo or frame, or the row that says why there is none."""
    for item in unit.inputs:
        last, time_s = -1, 0.0
        try:
            if not item.video:
                yield _Image(item, 0, 0.0, _pixels(item, settings.min_side))
                continue
            for frame in media.read_frames(Path(item.path), settings.every, settings.fps, item.frames):
                last, time_s = frame.index, frame.time_s
                yield _Image(item, frame.index, frame.time_s, frame.rgb)
        except media.MediaError as error:
            yield _dropped(item, last + 1, time_s, error.reason, error.detail or None)


def _pixels(item: Input, min_side: int) -> NDArray[np.uint8]:
    if item.offset is None:
        return media.read_image(Path(item.path), min_side)
    try:
        data = read_image_bytes(Path(item.path), item.offset, item.size)
    except OSError as error:
        raise media.MediaError("unreadable", error.strerror or str(error)) from error
    return media.decode_image(data, min_side=min_side)


def _image_rows(
    image: _Image, crops: list[FaceCrop], settings: Settings, writer: ShardWriter, unit: Unit
) -> list[dict[str, Any]]:
    if not crops:
        return [_dropped(image.item, image.frame, image.time_s, "no_face", None)]
    rows = []
    for number, crop in enumerate(crops):
        offset, size = writer.add(_jpeg(crop.pixels, settings.jpeg_quality))
        points = {f"p{i}{axis}": crop.face.landmarks[i, j] for i in range(5) for j, axis in enumerate("xy")}
        row = {
            "id": f"{image.item.source}#{image.frame}.{number}",
            "face": number,
            **dict(zip(("x1", "y1", "x2", "y2"), crop.face.box, strict=True)),
            **points,
            "score": crop.face.score,
            "angle": crop.square.angle_deg,
            "shard": f"{unit.name}.tar",
            "offset": offset,
            "size": size,
            "detail": None if crop.confirmed else "the second look did not find the face again",
        }
        rows.append(_row(image.item, image.frame, image.time_s, "ok") | row)
    return rows


def _dropped(item: Input, frame: int, time_s: float, reason: str, detail: str | None) -> dict[str, Any]:
    return _row(item, frame, time_s, reason) | {"id": f"{item.source}#{frame}", "face": -1, "detail": detail}


def _row(item: Input, frame: int, time_s: float, status: str) -> dict[str, Any]:
    clip = item.source if item.video else None
    return {"source": item.source, "clip": clip, "frame": frame, "time_s": time_s, "status": status}


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:4:4")
    return file.getvalue()
