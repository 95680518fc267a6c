"""One unit of a prediction, in a worker process: its inputs to a part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maeface import console, files
from maeface.data.ingest.gaps import Edges
from maeface.data.ingest.images import SkippedInputs, SourceImage, UnreadableInput, read_inputs
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.ingest.segments import cut_film
from maeface.faces import media
from maeface.faces.timestamps import Sampler
from maeface.faces.video_index import read_index
from maeface.prediction import parts
from maeface.prediction.parts import Entry
from maeface.prediction.plan import index_path
from maeface.prediction.rows import HIDDEN, ImagePrediction, rows_of, schema_of

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor

Draw = Callable[[Sequence[ImagePrediction]], int]


class OneFile(NamedTuple):
    """A unit of one file, to be done by itself because its former unit crashed or hung a process."""

    unit: Unit

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The file."""
        return self.unit.inputs


class UnitResult(NamedTuple):
    """What a worker process returns of a unit.

    Attributes:
        entries: of its part.
        messages: why the first inputs that could not be read could not, ``name: reason``.
        pictures: number of pictures that were written.
        segments: of a long film, which is not predicted as one unit; each is to be a unit.
    """

    entries: list[Entry]
    messages: list[str]
    pictures: int
    segments: Sequence[Input] = ()


@dataclass
class _Skipped(SkippedInputs):
    """Keeps the messages, for the process that shows them."""

    messages: list[str] = field(default_factory=list)

    def add(self, name: str, error: media.MediaError) -> None:
        self.reasons[error.reason] += 1
        if len(self.messages) <= console.MESSAGES:  # one more, which says that there are more
            self.messages.append(f"{name}: {error}")

    def add_film(self, name: str, missing: Mapping[str, int], is_known: bool = True) -> None:
        """Say nothing: the film may have other units."""


def picture_path(folder: Path, name: str) -> Path:
    """Return the path of the picture of a photo: ``photo.jpg.png``."""
    return folder / f"{files.fit_name(name)}.png"


def predict_unit(
    work: Unit | OneFile,
    folder: Path,
    predictor: "Predictor",
    every: int,
    fps: float | None,
    notify: Callable[[int], None],
    draw: Draw | None = None,
) -> UnitResult:
    """Predict the images of a unit and write its part, or return the segments of a long film.

    Args:
        work: the inputs. A film by itself (``OneFile``) is not cut.
        folder: of the parts.
        predictor: the networks.
        every: read every n-th frame of a video.
        fps: read at most this many frames per second of a video, instead of ``every``.
        notify: called with 1 after each image that was read, and with 0 to show that there is progress.
        draw: draws the pictures of a batch and returns their number; None for none.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    alone = isinstance(work, OneFile)
    unit = work.unit if isinstance(work, OneFile) else work
    film = unit.inputs[0]
    if film.video and not film.frames and not alone:
        notify(0)
        if segments := cut_film(film, index_path(folder, film), partial(notify, 0)):
            return UnitResult([], [], 0, segments)
    entries = {item.source: _new_entry(item, alone) for item in unit.inputs}
    listed = list(entries.values())
    skipped = _Skipped()
    pictures = 0
    with parts.write_part(folder, unit, schema_of([*predictor.columns, *HIDDEN]), listed) as write:
        for batch in predictor.stream(_read(unit.inputs, folder, entries, every, fps, skipped, notify)):
            _count(batch, entries)
            write(rows_of(batch, predictor.columns))
            notify(0)
            pictures += draw(batch) if draw else 0
        _number_rows(listed)
    return UnitResult(listed, skipped.messages, pictures)


def lose_input(
    item: Input, folder: Path, columns: Sequence[str], every: int, fps: float | None, status: str
) -> UnitResult:
    """Write the part of an input, or of a segment of a film, that crashes or hangs its process.

    It has one row with the status: at the first frame, for all of them.
    """
    unit = Unit(parts.part_name([item]), (item,))
    entry = _new_entry(item, alone=True)
    start, stop = (item.frames[0][0], item.frames[-1][1]) if item.frames else (0, 0)
    index = read_index(index_path(folder, item)) if item.frames else None
    time_s, chosen = 0.0, None
    if index is not None:
        time_s = float(index.times_s[start])
        sampler = Sampler(every, fps, item.frames, float(np.median(np.diff(index.times_s))))
        chosen = sum(sampler.chooses(*one) for one in enumerate(index.times_s.tolist()))
    where = UnreadableInput(item.source, start, time_s, status, count=stop - start, chosen=chosen)
    lost = [ImagePrediction(where, [], np.zeros((0, 0), np.float32))]
    with parts.write_part(folder, unit, schema_of([*columns, *HIDDEN]), [entry]) as write:
        _count(lost, {item.source: entry})
        write(rows_of(lost, columns))
    return UnitResult([entry], [], 0)


def _new_entry(item: Input, alone: bool) -> Entry:
    return Entry(item.source, item.frames, parts.look_at(Path(item.path)), alone=alone)


def _read(
    inputs: Sequence[Input],
    folder: Path,
    entries: dict[str, Entry],
    every: int,
    fps: float | None,
    skipped: SkippedInputs,
    notify: Callable[[int], None],
) -> Iterator[SourceImage | UnreadableInput]:
    for item in inputs:
        notify(0)
        index = read_index(index_path(folder, item)) if item.frames else None
        indexes = {} if index is None else {item.path: index}
        edges = Edges(item.frames)
        progress = partial(notify, 0)
        for image in read_inputs([item], every, fps, skipped, indexes=indexes, indexing=progress):
            notify(isinstance(image, SourceImage))
            if isinstance(image, UnreadableInput):
                edges.add(image)
            yield image
        entry = entries[item.source]
        entry.first_gap, entry.last_gap = edges.first, edges.last
        if not item.frames or item.frames[0][0] == 0:  # now, while the file is in memory
            digest = parts.hash_of(Path(item.path), progress)
            entry.content = entry.content._replace(sha256=digest)


def _count(batch: Sequence[ImagePrediction], entries: dict[str, Entry]) -> None:
    for one in batch:
        entry = entries[one.image.name]
        entry.rows += max(1, len(one.crops))
        entry.statuses.update(one.statuses)
        if isinstance(one.image, SourceImage):
            entry.images += 1
        else:
            entry.missing += one.image.images


def _number_rows(entries: Sequence[Entry]) -> None:
    first = 0
    for entry in entries:
        entry.first = first
        first += entry.rows
