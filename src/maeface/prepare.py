"""``maeface prepare``: photos and videos in, aligned face crops out: clean, detect, turn, crop, store.

The sorted list of inputs is cut into units (``data.units``); each unit becomes one shard and one part of
the table, so a run that was stopped goes on where it was, and ends with the same bytes as one that was
not. The list and the settings are written first, which is how the same command is known again.
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from maeface import checks, console, files
from maeface.data import manifest, shards
from maeface.data.ingest import inputs, units, workers
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.ingest.units import Fact, Find, Settings
from maeface.data.readers import stored_labels
from maeface.data.readers.raw_dataset import RawDataset, read_all
from maeface.errors import ConfigError, DataError

__all__ = ["Settings", "Summary", "run"]

LIST = "inputs.parquet"
RESULT = "prepare.json"
SETTINGS_KEY = b"maeface.prepare"
NOT_IN_RESULT = {"workers", "max_bad"}
LIBRARIES = ("maeface", "numpy", "pillow", "av", "torch", "torchvision", "pyarrow")

LIST_SCHEMA = pa.schema([("source", pa.string()), ("bytes", pa.int64()), ("video", pa.bool_())])


Setup = Callable[[], Callable[[Unit, workers.Notify], Fact]]


class MakeFind(Protocol):
    """Makes, in a worker process, what finds the crops in images."""

    def __call__(self, settings: Settings, weights: Path | None) -> Find: ...


@dataclass(frozen=True)
class Summary:
    """What came out of a preparation.

    Attributes:
        out: the prepared folder.
        counts: rows of the manifest by status; "ok" are the faces.
        files: input files.
        files_dropped: those that gave no face.
        images: photos and frames looked at in this run (not those of an earlier, interrupted one).
        seconds: wall time of this run.
        too_many_bad: more files were dropped than ``max_bad`` allows.
    """

    out: Path
    counts: dict[str, int]
    files: int
    files_dropped: int
    images: int
    seconds: float
    too_many_bad: bool

    @property
    def faces(self) -> int:
        """How many crops the folder holds."""
        return self.counts.get("ok", 0)

    @property
    def images_per_s(self) -> float:
        """Photos and frames a second, start of the processes included."""
        return self.images / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        """One line for people, and a second if too much was dropped."""
        reasons = ", ".join(f"{count} {status}" for status, count in self.counts.items() if status != "ok")
        line = f"{self.out}: {self.faces} faces of {self.files} files; dropped: {reasons or 'none'}"
        if self.images:
            line += f"; {self.images} images in {self.seconds:.1f} s, {self.images_per_s:.1f}/s"
        if self.too_many_bad:
            line += (
                f"\n{self.files_dropped} of {self.files} files gave no face, more than allowed (--max-bad)"
            )
        return line


def run(
    sources: Sequence[Path],
    out: Path,
    settings: Settings | None = None,
    make_find: MakeFind | None = None,
    dataset: str | None = None,
    options: Sequence[str] = (),
) -> Summary:
    """Prepare files and folders, or datasets as they are handed out.

    The same call goes on with an interrupted preparation, and does nothing where it was finished.

    Args:
        sources: photos, videos, and folders of them, entered recursively; of a dataset, its folder.
        out: folder for the result; made if it is not there.
        settings: how; None for the defaults.
        make_find: another finder of faces, a module's function; None for RetinaFace and the paper's steps.
        dataset: a reader's name, or several with commas between and a source for each (``data.readers``);
            its labels are written beside the crops.
        options: of the reader, ``key=value`` each.

    Raises:
        ConfigError: a source does not exist, or ``out`` holds a preparation of other inputs or settings.
        DataError: nothing to prepare, a dataset that is laid out or labelled otherwise, or no face.
        WeightsError: the face detector's weights are wrong.
        ResourceError: the disk is full, ``out`` is in use, a process was killed, no weights and no network.
    """
    settings = settings or Settings()
    started = time.monotonic()
    checks.output_folders(out)
    raw = _read(sources, out, dataset, options)
    found = raw.inputs
    settings.say_unused(found)
    with files.exclusive(out):
        _clean(out)
        weights = None
        if make_find is None and not settings.aligned and not (out / RESULT).is_file():
            from maeface.faces.download import retinaface_weights

            weights = retinaface_weights(settings.backbone, settings.detector)  # before the processes start
        header = _header(settings, weights) | stored_labels.record(raw, dataset, options)
        _keep_list(out, found, header)
        if raw.labels is not None and not (out / stored_labels.FILE).is_file():
            stored_labels.write(out, raw.labels)
        del raw  # what follows takes hours, and the labels are a file now
        images = 0
        if not (out / RESULT).is_file():
            todo = inputs.cut(found, settings.per_shard)
            images = _do_units(todo, out, settings, partial(_make_job, out, settings, make_find, weights))
            _join(out, todo, header)
        shutil.rmtree(out / units.PARTS, ignore_errors=True)
        return _summary(out, settings, images, time.monotonic() - started)


def _read(sources: Sequence[Path], out: Path, dataset: str | None, options: Sequence[str]) -> RawDataset:
    """What is to be prepared; files of an output folder that lies in a source are left out."""
    if dataset is None:
        if options:
            raise ConfigError(f"--set {options[0]} is for a reader; say which: --dataset NAME")
        return RawDataset(tuple(inputs.find(sources, [out])), None)
    raw = read_all(dataset, sources, options)
    for note in raw.notes:
        console.say(f"{dataset}: {note}")
    output = os.path.join(os.path.abspath(out), "")  # noqa: PTH100, PTH118 - resolve() would follow links
    found = tuple(item for item in raw.inputs if not os.path.abspath(item.path).startswith(output))  # noqa: PTH100
    if not found:
        raise DataError(f"no file of {dataset} in {', '.join(map(str, sources))}")
    return replace(raw, inputs=found)


def _make_find(settings: Settings, weights: Path | None) -> Find:
    """The paper's three steps, or the identity for ready crops; runs in a worker process."""
    from maeface.faces import finder

    if settings.aligned:
        return lambda images: [[finder.aligned(image, settings.size)] for image in images]

    import torch

    from maeface.faces.detector import Detector
    from maeface.model.device import choose_device

    torch.set_num_threads(1)
    detector = Detector(
        weights, settings.backbone, choose_device(settings.device), threshold=settings.threshold
    )
    return lambda images: finder.find_crops(detector, images, size=settings.size, faces=settings.faces)


def _make_job(
    out: Path, settings: Settings, make_find: MakeFind | None, weights: Path | None
) -> Callable[[Unit, workers.Notify], Fact]:
    find = (make_find or _make_find)(settings, weights)
    return lambda unit, notify: units.do(unit, out, settings, find, notify)


def _do_units(todo: Sequence[Unit], out: Path, settings: Settings, setup: Setup) -> int:
    """Do the units that are not finished; returns the number of images looked at."""
    left = [unit for unit in todo if units.finished(unit, out) is None]
    total = sum(len(unit.inputs) for unit in todo)
    done = total - sum(len(unit.inputs) for unit in left)
    if done:
        console.say(f"prepare: going on with {out}, {done} of {total} files are done")
    if not left:
        return 0
    images = faces = 0

    def notify(new: int) -> None:
        nonlocal faces
        faces += new
        advance(0, f"{faces} faces")

    try:
        with (
            console.progress("prepare", total, "files", done) as advance,
            closing(workers.work(setup, left, settings.workers or workers.cores(), notify)) as results,
        ):
            for unit, fact in results:
                images += fact.images
                advance(len(unit.inputs))
    finally:
        _clean(out)  # what a stopped worker was about to write
    return images


def _join(out: Path, todo: Sequence[Unit], header: dict[str, Any]) -> None:
    """Parts to one manifest, one index and one account; the account last, because it says "finished"."""
    facts = [units.finished(unit, out) for unit in todo]
    counts: Counter[str] = Counter()
    index = {}
    dropped = 0
    for unit, fact in zip(todo, facts, strict=True):
        assert fact is not None, unit.name
        counts.update(fact.statuses)
        dropped += fact.files_dropped
        if fact.shard is not None:
            index[f"{unit.name}.tar"] = fact.shard
    manifest.write(
        out / manifest.FILE, stored_labels.fill_subjects(out, (units.table(unit, out) for unit in todo))
    )
    files.write_json(out / shards.INDEX, index)
    account = {
        **header,
        "counts": dict(sorted(counts.items())),
        "files": sum(len(unit.inputs) for unit in todo),
        "files_dropped": dropped,
    }
    files.write_json(out / RESULT, account)


def _summary(out: Path, settings: Settings, images: int, seconds: float) -> Summary:
    account = json.loads((out / RESULT).read_text(encoding="utf-8"))
    counts, total, dropped = account["counts"], account["files"], account["files_dropped"]
    if not counts.get("ok"):
        reasons = ", ".join(f"{count} {status}" for status, count in counts.items())
        raise DataError(
            f"no face in any of {total} files ({reasons}); {out / manifest.FILE} has the reason of each"
        )
    return Summary(out, counts, total, dropped, images, seconds, dropped > settings.max_bad * total)


def _header(settings: Settings, weights: Path | None) -> dict[str, Any]:
    from maeface.faces import download

    return {
        "format_version": manifest.FORMAT_VERSION,
        "settings": settings.model_dump(mode="json", exclude=NOT_IN_RESULT),
        "detector": None if weights is None else download.kind(weights),  # what "auto" came to
        "versions": {name: version(name) for name in LIBRARIES},
    }


def _keep_list(out: Path, found: Sequence[Input], header: dict[str, Any]) -> None:
    """Write down what is to be done, or compare with what was written down by an earlier run.

    Raises:
        ConfigError: it is something else.
    """
    listed_before = (out / LIST).is_file()
    begun = (out / RESULT).is_file() or any((out / units.PARTS).glob("*.parquet"))
    if not listed_before and ((out / manifest.FILE).exists() or (out / shards.FOLDER).exists()):
        raise ConfigError(f"{out} holds another dataset (without {LIST}); choose another --out")
    if not (listed_before and begun):  # a run that failed before its first unit binds nobody
        if listed_before:
            (out / stored_labels.FILE).unlink(missing_ok=True)  # that run's labels are not this one's
        names, sizes, videos = ([item[i] for item in found] for i in (0, 2, 3))
        table = pa.table([names, sizes, videos], schema=LIST_SCHEMA)
        with files.atomic(out / LIST) as temporary:
            pq.write_table(table.replace_schema_metadata({SETTINGS_KEY: json.dumps(header)}), temporary)
        return
    try:
        table = pq.read_table(out / LIST)
        before = json.loads(table.schema.metadata[SETTINGS_KEY])
        listed = dict(zip(table["source"].to_pylist(), table["bytes"].to_pylist(), strict=True))
        differences = [*_other_settings(before, header), *_other_inputs(listed, found)]
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out / LIST} is damaged; delete {out} and prepare again") from error
    if differences:
        raise ConfigError(
            f"{out} was prepared otherwise: {'; '.join(differences)}; "
            "choose another --out or delete that folder"
        )
    if before["versions"] != header["versions"] and not (out / RESULT).is_file():
        console.say("prepare: library versions have changed since this preparation began; bytes may differ")


def _other_settings(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    if before["format_version"] != now["format_version"]:
        yield f"format version {before['format_version']}, now {now['format_version']}"
    old, new = before["settings"], now["settings"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} was {old.get(name)}, now {new.get(name)}"
    for name in ("dataset", "options"):
        if (before.get(name) or None) != (now[name] or None):
            yield f"{name} was {before.get(name) or 'none'}, now {now[name] or 'none'}"
    if before.get("labels_sha256") != now["labels_sha256"]:
        yield "its labels were others"
    if now["detector"] not in (None, before.get("detector", "public")):  # None: nothing is left to do
        yield f"the face detector's weights were {before.get('detector', 'public')}, now {now['detector']}"


def _other_inputs(listed: dict[str, int], found: Sequence[Input]) -> Iterator[str]:
    sizes = {item.source: item.size for item in found}
    added = [name for name in sizes if name not in listed]
    gone = [name for name in listed if name not in sizes]
    changed = [name for name, size in sizes.items() if listed.get(name, size) != size]
    for what, names in (("new", added), ("gone", gone), ("changed", changed)):
        if names:
            files_ = "file is" if len(names) == 1 else "files are"
            yield f"{len(names)} input {files_} {what} (such as {names[0]})"


def _clean(out: Path) -> None:
    """Remove what a killed run was about to write; the lock is ours, so nobody is writing now."""
    files.clean(out, out / shards.FOLDER, out / units.PARTS)
