"""Tables of predictions, by way of parts: one table of all inputs, or one of each."""

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maeface import checks, console, files
from maeface.data.ingest.inputs import Input
from maeface.data.ingest.runner import Resources
from maeface.data.manifest import IMAGE_SUFFIXES
from maeface.errors import ConfigError, DataError
from maeface.faces import media
from maeface.prediction import parts
from maeface.prediction.explaining import explanation_path
from maeface.prediction.join import write_table
from maeface.prediction.parts import PartReader, Place
from maeface.prediction.pipeline import (
    Complete,
    Pipeline,
    Setup,
    parts_folder,
    read_header,
    remove_left_parts,
    told_when_stopped,
)
from maeface.prediction.plan import index_path
from maeface.prediction.record import (
    CHANGE_TABLE,
    describe_changes,
    find_differences,
    is_up_to_date,
    read_record,
)
from maeface.prediction.reuse import keep_unchanged_films
from maeface.prediction.rows import NO_FACE, WITH_FACE, count_faces
from maeface.prediction.tracks import ABSENT
from maeface.prediction.units import picture_path

READ = (*WITH_FACE, NO_FACE, ABSENT)
"""The ``status`` of rows of images that were read."""


@dataclass
class Totals:
    """What tables hold.

    Attributes:
        inputs: number of files.
        there: number of files whose table was there already.
        images: number of photos and frames that were read.
        statuses: rows by status.
        shares_missing: for each input of which images could not be read: their fraction, 0 to 1; 1 if none
            could be read.
        pictures: number of pictures that were written.
        without_track: why tables of a folder were not made: they would not have the person to keep.
    """

    inputs: int = 0
    there: int = 0
    images: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    shares_missing: list[float] = field(default_factory=list)
    pictures: int = 0
    without_track: list[str] = field(default_factory=list)

    def add_others(self, count: int) -> None:
        """Add files that are neither photos nor videos."""
        self.inputs += count
        self.statuses.update(["not_an_image"] * count)  # no entry for none
        self.shares_missing += [1.0] * count

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the inputs of a record."""
        self.statuses.update(record["statuses"])
        for item in record["inputs"]:
            self.inputs += 1
            self.images += item["images"]
            if item["missing"]:
                self.shares_missing.append(item["missing"] / (item["missing"] + item["images"]))

    @property
    def faces(self) -> int:
        """Rows with a face."""
        return count_faces(self.statuses)

    @property
    def reasons(self) -> dict[str, int]:
        """Rows of images that could not be read, by reason, the most frequent first."""
        reasons = [(name, count) for name, count in self.statuses.most_common() if name not in READ]
        return dict(reasons)

    def count_bad(self, max_bad: float) -> int:
        """Return the number of inputs without an image, or of which more than a fraction is missing."""
        return sum(share == 1 or share > max_bad for share in self.shares_missing)

    def require_images(self) -> None:
        """Raise DataError if no input could be read."""
        if not self.images:
            raise DataError(describe_unreadable(self.inputs, self.reasons))

    def require_track(self) -> None:
        """Raise ConfigError if a table was not made because it would not have the person to keep."""
        if self.without_track:
            more = len(self.without_track) - 1
            others = f" The same holds for {more} other inputs." if more else ""
            raise ConfigError(f"{self.without_track[0]}.{others} The other tables are made")


def leave_others(listing: Sequence[Input]) -> tuple[list[Input], int]:
    """Return the photos and videos, and how many files are neither, so that these have no table of their own.

    A damaged photo or video is one by the suffix of its name. Lines name the first others.

    Raises:
        DataError: there is nothing else.
    """
    kept, others = [], console.FewNotes("files that are neither photos nor videos")
    for item in listing:
        path = Path(item.path)
        known = item.video or path.suffix.lower() in IMAGE_SUFFIXES
        if known or not path.is_file() or media.detect_kind(path) is not None:
            kept.append(item)
        else:
            others.add(f"{item.source} is neither a photo nor a video; it has no table")
    if not kept:
        raise DataError(describe_unreadable(len(listing), {"not_an_image": others.count}))
    return kept, others.count


def describe_unreadable(inputs: int, reasons: Mapping[str, int]) -> str:
    """Return the message for inputs none of which could be read."""
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"none of {inputs} inputs could be read: {listed}"


@dataclass(frozen=True)
class Task:
    """Inputs to predict, and how.

    Attributes:
        out: the table, or the folder of tables.
        folder: of the parts.
        inputs: the files, in the order of the table.
        header: of the record, without what was used.
        setup: makes the job of a worker process.
        resources: where the work is done.
        pictures: the folder of pictures; None for none.
        started: time of the beginning.
        explain: action units that are explained beside each picture.
        progress: called with the number of photos and frames that have rows.
        gpu: whether a GPU is used.
    """

    out: Path
    folder: Path
    inputs: Sequence[Input]
    header: Mapping[str, Any]
    setup: Setup
    resources: Resources
    pictures: Path | None
    started: str
    explain: Sequence[int] = ()
    progress: Callable[[int], None] = lambda images: None
    gpu: bool = False

    @property
    def tables(self) -> dict[Path, list[str]]:
        """{table: names of its inputs}."""
        if not checks.is_folder_of_tables(self.out):
            return {self.out: [item.source for item in self.inputs]}
        return {table_path(self.out, item.source): [item.source] for item in self.inputs}

    def has_pictures(self, name: str, images: int, faces: int) -> bool:
        """Return whether the pictures of a photo are there, or none is asked for."""
        if self.pictures is None or not images:
            return True
        paths = [picture_path(self.pictures, name)]
        paths += [explanation_path(self.pictures, name, au) for au in (self.explain if faces else ())]
        return all(path.is_file() for path in paths)


def write_one_table(task: Task) -> Totals:
    """Write one table of all inputs; nothing is done if it is there.

    Raises:
        MaefaceError: as for ``predict.run``.
    """
    totals = Totals()
    if there := _find_record(task, task.out, task.inputs):
        remove_left_parts(task.folder, task.header)
        totals.add(there)
        totals.there = totals.inputs
        totals.require_images()
        return totals
    places: dict[str, Sequence[Place]] = {}
    with parts_folder(task.folder, task.header), told_when_stopped(task.folder):
        _note_other_settings(task, [task.out])
        kept = keep_unchanged_films(task.out, task.folder, task.inputs, task.header, task.gpu)
        totals.pictures = _do_missing(task, task.inputs, places.__setitem__)
        entries = [place.entry for of_input in places.values() for place in of_input]
        if any(entry.images for entry in entries):
            header, keep = read_header(task.folder), task.header["options"]["track"]
            in_order = {item.source: places.pop(item.source) for item in task.inputs}
            with closing(PartReader(task.folder)) as reader:
                made = (task.out, header["columns"], in_order, reader, header, task.started, keep)
                totals.add(write_table(*made))
        else:
            totals.inputs = len(places)
            totals.statuses = sum((entry.statuses for entry in entries), Counter[str]())
    totals.there = kept
    totals.require_images()
    return totals


def write_table_each(task: Task) -> Totals:
    """Write a table of each input as soon as its units are finished; those that are there are left.

    Raises:
        MaefaceError: as for ``predict.run``.
    """
    totals = Totals()
    names = {item.source for item in task.inputs}
    missing = []
    for item in task.inputs:
        if there := _find_record(task, table_path(task.out, item.source), [item]):
            totals.add(there)
        else:
            missing.append(item)
    totals.there = totals.inputs
    if not missing:
        remove_left_parts(task.folder, task.header, names)
        totals.require_images()
        return totals
    header: dict[str, Any] = {}
    needed = {item.source: item for item in missing}
    done = names - needed.keys()
    with parts_folder(task.folder, task.header, names), told_when_stopped(task.folder, done):
        _note_other_settings(task, [table_path(task.out, item.source) for item in missing])
        with closing(PartReader(task.folder)) as reader:

            def complete(name: str, places: Sequence[Place]) -> None:
                header.update({} if header else read_header(task.folder))
                made = (table_path(task.out, name), header["columns"], {name: places}, reader, header)
                try:
                    totals.add(write_table(*made, task.started, task.header["options"]["track"]))
                except ConfigError as error:
                    totals.without_track.append(str(error))
                    names.remove(name)  # its parts are left: with another --track it is not predicted again
                    return
                finally:
                    reader.close()
                item = needed.pop(name)  # its table is there with its record, and will not be made again
                done.add(name)
                parts.remove_used(task.folder, {place.part for place in places}, done)
                index_path(task.folder, item).unlink(missing_ok=True)

            totals.pictures = _do_missing(task, missing, complete, names)
    if not totals.without_track:
        totals.require_images()
    return totals


def table_path(folder: Path, name: str) -> Path:
    """Return the table of an input in a folder of tables: ``film.mp4.csv``."""
    return folder / f"{files.fit_name(name)}.csv"


def _find_record(task: Task, table: Path, inputs: Sequence[Input]) -> dict[str, Any] | None:
    """Return the record of a table that is there with its pictures, else None."""
    record = is_up_to_date(table, task.header, inputs)
    if record is None:
        return record
    drawn = (
        item.video or task.has_pictures(item.source, of_item["images"], of_item["faces"])
        for item, of_item in zip(inputs, record["inputs"], strict=True)
    )
    return record if all(drawn) else None


def _note_other_settings(task: Task, tables: Sequence[Path]) -> None:
    """Show that tables which are there will be replaced because they were made with other settings."""
    replaced, what = 0, ""
    for table in tables:
        if (before := read_record(table)) is None:
            continue
        differences = find_differences(before, task.header)
        options, given = before.get("options") or {}, task.header["options"]
        differences += describe_changes(CHANGE_TABLE, options, given)
        if differences:
            replaced += 1
            what = what or f"{table} was made with other settings: {'; '.join(differences)}"
    if replaced:
        more = f", and so are {replaced - 1} other tables" if replaced > 1 else ""
        console.note(f"{what}; it will be made anew{more}")


def _do_missing(
    task: Task, inputs: Sequence[Input], complete: Complete, names: Container[str] | None = None
) -> int:
    """Do what is missing in the parts; return the number of pictures that were written."""
    finished = parts.find_finished(task.folder, inputs, names)
    videos = {item.source for item in inputs if item.video}
    if task.header["options"]["track"] is not None:  # copies of rows have no frames without this person
        finished = {key: place for key, place in finished.items() if not place.entry.copied}
    finished = {
        key: place
        for key, place in finished.items()
        if key[0] in videos
        or task.has_pictures(key[0], place.entry.images, count_faces(place.entry.statuses))
    }
    work = (task.folder, inputs, task.setup, task.resources)
    pipeline = Pipeline(*work, complete, finished, task.progress)
    pipeline.run()
    return pipeline.pictures
