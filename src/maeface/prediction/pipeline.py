"""The units of a prediction in worker processes, and the folder of their parts, from which a run goes on."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from maeface import console, files, portable
from maeface.data.ingest import workers
from maeface.data.ingest.images import describe_damage
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.ingest.runner import Queue, Resources, Runner
from maeface.errors import ConfigError, ResourceError
from maeface.faces.numbering import DAMAGED, LOST, TRUNCATED
from maeface.prediction import parts
from maeface.prediction.parts import Key, Place, count_rows, key_of
from maeface.prediction.plan import index_files, leave_out_finished, make_unit, plan_units
from maeface.prediction.record import find_differences
from maeface.prediction.units import OneFile, UnitResult, lose_input

HEADER = "_run.json"
"""Of a folder of parts. Readers of Parquet ignore names that begin with ``_``."""

Setup = Callable[[], workers.Job[Unit | OneFile, UnitResult]]
Complete = Callable[[str, Sequence[Place]], None]


@contextmanager
def parts_folder(
    folder: Path, header: Mapping[str, Any], names: Container[str] | None = None
) -> Iterator[None]:
    """Lock a folder of parts, and check that they are of the same settings.

    When the block ends without an exception, the parts are removed. A folder without parts is removed, as the
    last thing: then another process may lock it.

    Args:
        folder: of the parts; created if necessary.
        header: of this run, without what was used.
        names: of the inputs of this run, if other runs have parts in the folder. Then only the parts of these
            are removed. Without parts, the header of an unfinished run of the same settings is kept, because
            parts that were used have been removed: the next run uses what this one has used.

    Raises:
        ConfigError: the parts are of a run with other settings.
        ResourceError: another process uses the folder, or it cannot be written.
    """
    with files.lock(folder):
        files.remove_temporary(folder)
        if not (folder / HEADER).is_file():
            remove_parts(folder, keep_lock=True)
        elif find_differences(read_header(folder), header):
            if parts.has_predicted(folder):
                _require_same(folder, read_header(folder), header)
            remove_parts(folder, keep_lock=True)
        elif names is None and not parts.has_parts(folder):
            remove_parts(folder, keep_lock=True)
        finished = False
        try:
            yield
            finished = True
        finally:
            files.remove_temporary(folder)
            if finished and names is not None:
                parts.remove_used(folder, parts.read_entries(folder), names)
            unfinished = not finished and names is not None and (folder / HEADER).is_file()
            if (finished and names is None) or not (unfinished or parts.has_parts(folder)):
                remove_parts(folder)


def remove_left_parts(folder: Path, header: Mapping[str, Any], names: Container[str] | None = None) -> None:
    """Remove the parts of tables that are all there, which a killed run has left.

    Parts of a run with other settings are left, and all if another process uses them.

    Args:
        folder: of the parts.
        header: of this run, without what was used.
        names: see ``parts_folder``.
    """
    if folder.is_dir():
        with suppress(ConfigError, ResourceError), parts_folder(folder, header, names):
            pass


def read_header(folder: Path) -> dict[str, Any]:
    """Return the header of a run, with what was used."""
    header: dict[str, Any] = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    return header


@contextmanager
def settled_header(folder: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the header with what was used; None in the first process, which writes it in the block.

    The other processes wait for the first one.
    """
    with FileLock(folder / ".first"):
        if not (folder / HEADER).is_file():
            yield None
            return
    yield read_header(folder)


def write_or_compare_header(folder: Path, header: Mapping[str, Any]) -> None:
    """Write the header of a run with what was used; to be called in each worker process.

    Raises:
        ConfigError: the folder has the header of a run with other settings.
    """
    if (folder / HEADER).is_file():
        _require_same(folder, read_header(folder), header)
    else:
        files.write_json(folder / HEADER, dict(header))


def remove_parts(folder: Path, keep_lock: bool = False) -> None:
    """Remove what this module writes to a folder of parts, and the folder if it is empty then."""
    paths = [folder / HEADER, *parts.part_files(folder), *index_files(folder)]
    if not keep_lock:
        files.remove_temporary(folder)
        paths += [folder / ".first", folder / files.LOCK]
    for path in paths:
        # Windows keeps the lock, which is open; `files.lock` removes it
        with suppress(*(() if path.name != files.LOCK or portable.MOVES_OPEN_FILES else (PermissionError,))):
            path.unlink(missing_ok=True)
    if not keep_lock:
        with suppress(OSError):  # it has files of the user, or is not there
            folder.rmdir()


def _require_same(folder: Path, before: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    if differences := find_differences(before, header):
        raise ConfigError(
            f"{folder} holds an unfinished run with other settings: {'; '.join(differences)}; give the same "
            "settings to go on, choose another --out, or delete that folder to begin again"
        )


@dataclass
class Pipeline:
    """Predicts what is missing of some inputs.

    Attributes:
        folder: of the parts.
        inputs: the files, in order.
        setup: makes the job of a worker process, which takes units and returns ``UnitResult``.
        resources: where the work is done.
        complete: called with the name of an input and its places in order of time, when all its units are
            finished.
        finished: the places of what earlier runs have finished, by input and frames.
        progress: called with the number of photos and frames that have rows.
        pictures: number of pictures that were written.
    """

    folder: Path
    inputs: Sequence[Input]
    setup: Setup
    resources: Resources
    complete: Complete
    finished: dict[Key, Place]
    progress: Callable[[int], None] = lambda images: None
    pictures: int = 0
    _places: defaultdict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    _pending: Counter[str] = field(default_factory=Counter)
    _skipped: console.FewNotes = field(default_factory=lambda: console.FewNotes("skipped inputs"))
    _damaged: console.FewNotes = field(default_factory=lambda: console.FewNotes("damaged films"))
    _earlier: int = 0
    _images: int = 0
    _advance: Callable[..., None] = lambda *amount: None

    def run(self) -> None:
        """Do what is missing.

        Raises:
            MaefaceError: as raised by a worker process; what is finished is kept.
        """
        if self.finished:
            done = len({name for name, _ in self.finished})
            console.note(f"predict: {done} of {len(self.inputs)} inputs have rows already, of an earlier run")
            self._earlier = sum(place.entry.images for place in self.finished.values())
            self.progress(self._earlier)
        runner: Runner[OneFile, UnitResult] = Runner("predict", self.setup, self.resources, self._notify)
        suspects: list[Unit] = []
        with console.progress("predict", len(self.inputs), "inputs") as self._advance:
            units = Queue(self._missing())
            with closing(runner.do_units(units, suspects)) as results:
                for unit, result in results:
                    units.more += self._expect(map(make_unit, zip(result.segments)))
                    self._add(unit, result)
            alone = [OneFile(make_unit([item])) for unit in suspects for item in unit.inputs]
            if alone:  # a cluster on this machine would be started for nothing
                with closing(runner.do_files(alone, self._lose)) as retried:
                    for work, result in retried:
                        self._add(work.unit, result)

    def _missing(self) -> Iterator[Unit]:
        for unit in plan_units(self.inputs):
            left = self._expect([unit])
            for name in dict.fromkeys(item.source for item in unit.inputs):
                self._complete_if_finished(name)
            yield from left

    def _expect(self, units: Iterable[Unit]) -> list[Unit]:
        """Return what is missing of units, whose results will come, and take the rest from earlier runs."""
        missing = []
        for unit in units:
            for item in unit.inputs:
                if place := self.finished.get(key_of(item)):
                    self._places[item.source].append(place)
            missing += leave_out_finished(unit, self.finished)
        self._pending.update(item.source for unit in missing for item in unit.inputs)
        return missing

    def _notify(self, images: int) -> None:
        self._images += images
        self._advance(0, f"{self._images} images")
        self.progress(self._earlier + self._images)

    def _add(self, unit: Unit, result: UnitResult) -> None:
        self.pictures += result.pictures
        for message in result.messages:
            self._skipped.add(f"skipped {message}")
        for entry in result.entries:
            self._places[entry.name].append(Place(unit.name, entry))
        for item in unit.inputs:
            self._pending[item.source] -= 1
            self._complete_if_finished(item.source)

    def _lose(self, work: OneFile, status: str, detail: str) -> None:
        if not (self.folder / HEADER).is_file():  # on Ray, where a task does both
            raise ResourceError(f"a worker process ended before it had loaded the networks ({detail})")
        header = read_header(self.folder)
        options = header["options"]
        lost = (work.inputs[0], self.folder, header["columns"], options["every"], options["fps"], status)
        self._add(work.unit, lose_input(*lost))

    def _complete_if_finished(self, name: str) -> None:
        if self._pending[name]:
            return
        del self._pending[name]
        self._advance(1)
        places = sorted(self._places.pop(name), key=lambda place: place.entry.frames)
        counts = count_rows([place.entry for place in places])
        if damage := {what: counts[what] for what in (DAMAGED, LOST, TRUNCATED) if counts[what]}:
            self._damaged.add(describe_damage(name, "rows", damage))
        self.complete(name, places)


@contextmanager
def told_when_stopped(folder: Path, tables: Collection[str] = ()) -> Iterator[None]:
    """Show what is finished, and how to go on, if the block ends before its end.

    Args:
        folder: of the parts.
        tables: inputs whose tables are finished, in the folder above.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, ResourceError):
        entries = [entry for of_part in parts.read_entries(folder).values() for entry in of_part]
        if tables:
            console.note(
                f"predict: {len(tables)} tables are finished in {folder.parent}; the same command goes on"
            )
        if entries:
            rows, inputs = sum(entry.rows for entry in entries), len({entry.name for entry in entries})
            console.note(
                f"predict: {rows} rows of {inputs} inputs are finished in {folder}; "
                f'pandas.read_parquet("{folder}") reads them, and the same command goes on'
            )
        raise
