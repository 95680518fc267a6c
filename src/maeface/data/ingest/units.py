"""One unit of the preparation: its photos or its video to one shard and one part of the manifest.

Both files are written atomically, the part last, so a part on disk means that the unit is finished. The same
input gives the same bytes, in any process and in any order.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from maeface import config, files
from maeface.data.ingest.gaps import Edges
from maeface.data.ingest.images import SourceImage, UnreadableInput, batch_images, read_inputs
from maeface.data.ingest.inputs import Input, Unit, note_unused_options
from maeface.data.ingest.unit_part import UnitSummary, shard_path, write_part
from maeface.data.manifest import SCHEMA
from maeface.data.shards import ShardWriter
from maeface.faces import media
from maeface.faces.boxes import clip
from maeface.faces.finder import FaceCrop, crop_from_landmarks
from maeface.faces.following import MIN_FACE
from maeface.faces.video_index import VideoIndex
from maeface.runtime.backends import Backend

FaceFinder = Callable[[Sequence[NDArray[np.uint8]], bool], list[list[FaceCrop]]]
"""A function from images to the crops of their faces; True: they are frames of one block of a film."""


class Settings(config.Settings):
    """How images are prepared.

    All but ``backend``, ``workers``, ``ray``, ``max_bad`` and ``file_timeout`` change what comes out.
    """

    every: Annotated[int, Field(ge=1)] = 1
    """Of a video, use every n-th frame."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """Of a video, use at most so many frames a second instead."""
    size: Annotated[int, Field(ge=16, le=4096)] = 256
    """Side of a crop in px."""
    faces: Literal["largest", "central", "all"] | Annotated[int, Field(ge=1)] = "largest"
    """Which faces of an image; a number: so many of the largest."""
    min_face: Annotated[float, Field(ge=0)] = MIN_FACE
    """Side of the smallest face that is searched for in videos, px; 0: as in photos."""
    aligned: bool = False
    """The images are ready crops: no face is detected, the central square is resized."""
    min_side: Annotated[int, Field(ge=1)] = 32
    """Photos with a side below this are dropped."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Lowest score of a face."""
    backbone: Literal["mobilenet0.25", "resnet50"] = "mobilenet0.25"
    detector: Literal["auto", "public", "embedded"] = "auto"
    """Its weights: the public ones, the package's own, or (auto) the public ones if this machine has them."""
    device: config.Device = "auto"
    backend: Backend = "auto"
    """What runs the detector's network: see ``runtime.choice``."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """With colour at full resolution (4:4:4), for the edges of the lips."""
    per_shard: Annotated[int, Field(ge=1)] | None = None
    """Photos in a unit; None: by their number (``inputs.split_into_units``). A video is a unit by itself."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes; None: as many as there are cores."""
    max_bad: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Fraction of the input files that may give no face."""
    ray: str | None = None
    """Address of a Ray cluster to work on, or "local"; None: this machine's processes."""
    file_timeout: Annotated[float, Field(gt=0)] = 1800.0
    """A file from which no further image comes for so many seconds is given up, and its process stopped."""

    @model_validator(mode="after")
    def _one_choice_of_frames(self) -> "Settings":
        if self.every != 1 and self.fps is not None:
            raise ValueError("give every or fps, not both")
        return self

    def note_unused(self, inputs: Sequence[Input]) -> None:
        """Show which settings have no effect on these inputs."""
        names = ("faces", "threshold", "backbone", "detector", "backend") if self.aligned else ()
        defaults = type(self).model_fields
        changed = {name: getattr(self, name) != defaults[name].default for name in names}
        note_unused_options(inputs, self.every, self.fps, changed)


def prepare_unit(
    unit: Unit,
    out: Path,
    settings: Settings,
    find: FaceFinder,
    notify: Callable[[int], None],
    device: str | None = None,
    index: VideoIndex | None = None,
) -> UnitSummary:
    """Prepare one unit.

    Args:
        unit: its inputs.
        out: the prepared folder.
        settings: of the preparation.
        find: finds the faces of images.
        notify: called with the number of new faces after each batch, and with 0 before each file and after
            each frame, to show that there is progress.
        device: of the face detector; None: no face is detected.
        index: of the film that the unit is a segment of.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    shard = shard_path(unit, out)
    images = 0
    edges = Edges(unit.inputs[0].frames)
    entries = _read_images(unit, settings, notify, index)
    with write_part(unit, out) as part:
        with files.atomic(shard) as temporary, ShardWriter(temporary, unit.name) as writer:
            for read, rows in _prepare_batches(unit, entries, settings, find, writer, edges):
                images += read
                part.add(pa.Table.from_pylist(rows, SCHEMA))
                notify(sum(row["status"] == "ok" for row in rows))
        return part.finish(images, device, edges, partial(notify, 0))


def _prepare_batches(
    unit: Unit,
    entries: Iterator[SourceImage | UnreadableInput],
    settings: Settings,
    find: FaceFinder,
    writer: ShardWriter,
    edges: Edges,
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield the number of images and the rows of each batch, in the order of the inputs."""
    items = {item.source: item for item in unit.inputs}
    for batch in batch_images(entries):
        images = [entry for entry in batch if isinstance(entry, SourceImage)]
        crops = iter(_find_crops(images, items, settings, find))
        rows: list[dict[str, Any]] = []
        for entry in batch:
            item = items[entry.name]
            if isinstance(entry, SourceImage):
                rows += _image_rows(item, entry.frame, next(crops), settings, writer, unit)
            else:
                edges.add(entry)
                rows.append(dropped_row(item, entry.frame, entry.time_s, entry.reason, entry.detail or None))
        yield len(images), rows


def _read_images(
    unit: Unit, settings: Settings, notify: Callable[[int], None], index: VideoIndex | None
) -> Iterator[SourceImage | UnreadableInput]:
    """Yield the images of a unit, and report progress before each file and after each image."""
    notify(0)
    for entry in read_inputs(
        *(unit.inputs, settings.every, settings.fps),
        advance=lambda _: notify(0),
        min_side=settings.min_side,
        indexes={} if index is None else {unit.inputs[0].path: index},
        indexing=partial(notify, 0),
    ):
        yield entry
        notify(0)


def _find_crops(
    images: Sequence[SourceImage], items: Mapping[str, Input], settings: Settings, find: FaceFinder
) -> list[list[FaceCrop]]:
    """Return the crops of each image, by the dataset's own landmarks if there are any, else by detection."""
    undetected = [image.frame.rgb for image in images if not items[image.name].points]
    detected = iter(find(undetected, images[0].video) if undetected else [])
    return [
        [crop_from_landmarks(image.frame.rgb, np.array(items[image.name].points), settings.size)]
        if items[image.name].points
        else next(detected)
        for image in images
    ]


def _image_rows(
    item: Input,
    image: media.Frame,
    crops: list[FaceCrop],
    settings: Settings,
    writer: ShardWriter,
    unit: Unit,
) -> list[dict[str, Any]]:
    if not crops:
        return [dropped_row(item, image.index, image.time_s, "no_face", None)]
    rows = []
    for number, crop in enumerate(crops):
        offset, size = writer.add(_jpeg(np.asarray(crop.pixels), settings.jpeg_quality))
        points = {f"p{i}{axis}": crop.face.landmarks[i, j] for i in range(5) for j, axis in enumerate("xy")}
        row = {
            "id": f"{item.source}#{image.index}.{number}",
            "face": number,
            **dict(zip(("x1", "y1", "x2", "y2"), clip(crop.face.box, image.rgb.shape), strict=True)),
            **points,
            "score": crop.face.score,
            "angle": crop.square.angle_deg,
            "shard": f"{unit.name}.tar",
            "offset": offset,
            "size": size,
            "detail": None if crop.confirmed else "the second look did not find the face again",
        }
        rows.append(_row(item, image.index, image.time_s, "ok") | row)
    return rows


def dropped_row(item: Input, frame: int, time_s: float, reason: str, detail: str | None) -> dict[str, Any]:
    """Return the manifest row of a file or a frame that gives no face."""
    return _row(item, frame, time_s, reason) | {"id": f"{item.source}#{frame}", "face": -1, "detail": detail}


def _row(item: Input, frame: int, time_s: float, status: str) -> dict[str, Any]:
    clip = item.source if item.video else None
    return {"source": item.source, "clip": clip, "frame": frame, "time_s": time_s, "status": status}


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:4:4")
    return file.getvalue()
