"""``maeface prepare``: detect, align, crop and store the faces of photos and videos.

The sorted list of inputs is split into units (``data.ingest.units``). Each unit becomes one shard and one
part of the manifest, so an interrupted run resumes with the missing units and ends with the same bytes. The
list and the settings are written first, and a later run compares its own with them.
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
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maeface import checks, console, files
from maeface.data import manifest, shards
from maeface.data.ingest import units, workers
from maeface.data.ingest.inputs import Input, Unit, find_inputs, split_into_units
from maeface.data.ingest.units import FaceFinder, Settings, UnitSummary
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

Setup = Callable[[], Callable[[Unit, workers.Notify], UnitSummary]]
MakeFind = Callable[[Settings, Path | None], FaceFinder]
"""Makes a face finder from settings and the detector's weights; it is called in each worker process."""


@dataclass(frozen=True)
class Summary:
    """The result of a preparation.

    Attributes:
        out: the prepared folder.
        counts: number of rows of the manifest by status; "ok" are the faces.
        files: number of input files.
        files_dropped: number of input files without a face.
        images: number of photos and frames searched in this run (not in an earlier, interrupted one).
        seconds: wall time of this run.
        too_many_bad: whether more files were dropped than ``max_bad`` allows.
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
        """Number of crops in the folder."""
        return self.counts.get("ok", 0)

    @property
    def images_per_s(self) -> float:
        """Photos and frames per second, including the start of the processes."""
        return self.images / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        """One line, and a second one if too many files were dropped."""
        reasons = ", ".join(f"{count} {status}" for status, count in self.counts.items() if status != "ok")
        line = f"{self.out}: {self.faces} faces of {self.files} files; dropped: {reasons or 'none'}"
        if self.images:
            line += f"; {self.images} images in {self.seconds:.1f} s, {self.images_per_s:.1f}/s"
        if self.too_many_bad:
            count = f"{self.files_dropped} of {self.files} files"
            line += f"\n{count} gave no face, more than allowed (--max-bad)"
        return line


def run(
    sources: Sequence[Path],
    out: Path,
    settings: Settings | None = None,
    make_find: MakeFind | None = None,
    dataset: str | None = None,
    options: Sequence[str] = (),
) -> Summary:
    """Prepare photos and videos, or datasets in the layout of their distribution.

    The same call resumes an interrupted preparation, and does nothing if it is finished.

    Args:
        sources: photos, videos, and folders of them, which are searched recursively; the folders of datasets.
        out: folder for the result; created if necessary.
        settings: None for the defaults.
        make_find: makes another face finder, a function of a module; None for RetinaFace and the paper's
            steps.
        dataset: name of a reader (``data.readers``), or several separated by commas, with a source for each;
            the labels are written beside the crops.
        options: of the reader, ``key=value`` each.

    Raises:
        ConfigError: a source does not exist, or ``out`` holds a preparation of other inputs or settings.
        DataError: nothing to prepare, a dataset whose layout or labels are not as expected, or no face.
        WeightsError: wrong weights of the face detector.
        ResourceError: the disk is full, ``out`` is in use, a process was killed, or weights cannot be
            obtained.
    """
    settings = settings or Settings()
    started = time.monotonic()
    checks.output_folders(out)
    raw = _read(sources, out, dataset, options)
    listing = raw.inputs
    settings.note_unused(listing)
    with files.lock(out):
        _clean(out)
        weights = None
        if make_find is None and not settings.aligned and not (out / RESULT).is_file():
            from maeface.faces.detector_weights import locate_detector_weights

            weights = locate_detector_weights(
                settings.backbone, settings.detector
            )  # before the processes start
        header = _header(settings, weights) | stored_labels.record(raw, dataset, options)
        _write_or_compare_list(out, listing, header)
        if raw.labels is not None and not (out / stored_labels.FILE).is_file():
            stored_labels.write(out, raw.labels)
        del raw  # frees the labels, which are in a file now
        images = 0
        if not (out / RESULT).is_file():
            planned = split_into_units(listing, settings.per_shard)
            images = _do_units(planned, out, settings, partial(_make_job, out, settings, make_find, weights))
            _join(out, planned, header)
        shutil.rmtree(out / units.PARTS, ignore_errors=True)
        return _summary(out, settings, images, time.monotonic() - started)


def _read(sources: Sequence[Path], out: Path, dataset: str | None, options: Sequence[str]) -> RawDataset:
    """List the inputs, with labels if they are of a dataset; files in ``out`` are left out."""
    if dataset is None:
        if options:
            raise ConfigError(f"--set {options[0]} is an option of a dataset; give --dataset NAME too")
        return RawDataset(tuple(find_inputs(sources, [out])), None)
    raw = read_all(dataset, sources, options)
    for note in raw.notes:
        console.note(f"{dataset}: {note}")
    output = os.path.join(os.path.abspath(out), "")  # noqa: PTH100, PTH118 - resolve() would follow links
    listing = tuple(item for item in raw.inputs if not os.path.abspath(item.path).startswith(output))  # noqa: PTH100
    if not listing:
        raise DataError(f"no file of {dataset} in {', '.join(map(str, sources))}")
    return replace(raw, inputs=listing)


def _make_find(settings: Settings, weights: Path | None) -> FaceFinder:
    """Return a finder of the paper's steps, or one that resizes ready crops; runs in a worker process."""
    from maeface.faces import finder

    if settings.aligned:
        return lambda images: [[finder.centre_crop(image, settings.size)] for image in images]

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
) -> Callable[[Unit, workers.Notify], UnitSummary]:
    find = (make_find or _make_find)(settings, weights)
    return lambda unit, notify: units.prepare_unit(unit, out, settings, find, notify)


def _do_units(planned: Sequence[Unit], out: Path, settings: Settings, setup: Setup) -> int:
    """Prepare the units that are not finished; return the number of images searched."""
    missing = [unit for unit in planned if units.read_finished(unit, out) is None]
    total = sum(len(unit.inputs) for unit in planned)
    finished = total - sum(len(unit.inputs) for unit in missing)
    if finished:
        console.note(f"prepare: resuming {out}, {finished} of {total} files are finished")
    if not missing:
        return 0
    images = faces = 0

    def notify(new: int) -> None:
        nonlocal faces
        faces += new
        advance(0, f"{faces} faces")

    try:
        with (
            console.progress("prepare", total, "files", finished) as advance,
            closing(workers.work(setup, missing, settings.workers or workers.count_cores(), notify)) as results,
        ):
            for unit, fact in results:
                images += fact.images
                advance(len(unit.inputs))
    finally:
        _clean(out)  # temporary files of a stopped worker
    return images


def _join(out: Path, planned: Sequence[Unit], header: dict[str, Any]) -> None:
    """Join the parts to one manifest and one index; ``RESULT`` comes last: it marks the end."""
    facts = [units.read_finished(unit, out) for unit in planned]
    counts: Counter[str] = Counter()
    index = {}
    dropped = 0
    for unit, fact in zip(planned, facts, strict=True):
        assert fact is not None, unit.name
        counts.update(fact.statuses)
        dropped += fact.files_dropped
        if fact.shard is not None:
            index[f"{unit.name}.tar"] = fact.shard
    tables = (units.read_table(unit, out) for unit in planned)
    manifest.write(out / manifest.FILE, stored_labels.fill_subjects(out, tables))
    files.write_json(out / shards.INDEX, index)
    result = {
        **header,
        "counts": dict(sorted(counts.items())),
        "files": sum(len(unit.inputs) for unit in planned),
        "files_dropped": dropped,
    }
    files.write_json(out / RESULT, result)


def _summary(out: Path, settings: Settings, images: int, seconds: float) -> Summary:
    result = json.loads((out / RESULT).read_text(encoding="utf-8"))
    counts, total, dropped = result["counts"], result["files"], result["files_dropped"]
    if not counts.get("ok"):
        reasons = ", ".join(f"{count} {status}" for status, count in counts.items())
        raise DataError(
            f"no face in any of {total} files ({reasons}); {out / manifest.FILE} has the reason of each"
        )
    return Summary(out, counts, total, dropped, images, seconds, dropped > settings.max_bad * total)


def _header(settings: Settings, weights: Path | None) -> dict[str, Any]:
    from maeface.faces import detector_weights

    return {
        "format_version": manifest.FORMAT_VERSION,
        "settings": settings.model_dump(mode="json", exclude=NOT_IN_RESULT),
        "detector": None if weights is None else detector_weights.source_of(weights),  # never "auto"
        "versions": {name: version(name) for name in LIBRARIES},
    }


def _write_or_compare_list(out: Path, listing: Sequence[Input], header: dict[str, Any]) -> None:
    """Write the list of inputs and the settings, or compare them with those of an earlier run.

    Raises:
        ConfigError: they differ.
    """
    listed_before = (out / LIST).is_file()
    begun = (out / RESULT).is_file() or any((out / units.PARTS).glob("*.parquet"))
    if not listed_before and ((out / manifest.FILE).exists() or (out / shards.FOLDER).exists()):
        raise ConfigError(f"{out} holds another dataset (without {LIST}); choose another --out")
    if not (listed_before and begun):  # after a run that failed before its first unit, settings may change
        if listed_before:
            (out / stored_labels.FILE).unlink(missing_ok=True)  # labels of that run
        names, sizes, videos = ([item[i] for item in listing] for i in (0, 2, 3))
        table = pa.table([names, sizes, videos], schema=LIST_SCHEMA)
        with files.atomic(out / LIST) as temporary:
            pq.write_table(table.replace_schema_metadata({SETTINGS_KEY: json.dumps(header)}), temporary)
        return
    try:
        table = pq.read_table(out / LIST)
        before = json.loads(table.schema.metadata[SETTINGS_KEY])
        sizes_before = dict(zip(table["source"].to_pylist(), table["bytes"].to_pylist(), strict=True))
        differences = [*_other_settings(before, header), *_other_inputs(sizes_before, listing)]
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out / LIST} is damaged; delete {out} and prepare again") from error
    if differences:
        raise ConfigError(
            f"{out} was prepared with other settings or inputs: {'; '.join(differences)}; "
            "choose another --out or delete that folder"
        )
    if before["versions"] != header["versions"] and not (out / RESULT).is_file():
        console.note("prepare: library versions have changed since this preparation began; bytes may differ")


def _other_settings(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Describe each setting that differs."""
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
        yield "the labels have changed"
    if now["detector"] not in (None, before.get("detector", "public")):  # None: not used
        yield f"the face detector's weights were {before.get('detector', 'public')}, now {now['detector']}"


def _other_inputs(before: dict[str, int], listing: Sequence[Input]) -> Iterator[str]:
    """Describe the input files that are new, missing or changed since an earlier run, by their sizes."""
    sizes = {item.source: item.size for item in listing}
    added = [name for name in sizes if name not in before]
    missing = [name for name in before if name not in sizes]
    changed = [name for name, size in sizes.items() if before.get(name, size) != size]
    for change, names in (("new", added), ("gone", missing), ("changed", changed)):
        if names:
            yield f"{len(names)} input file{'s are' if names[1:] else ' is'} {change} (such as {names[0]})"


def _clean(out: Path) -> None:
    """Remove temporary files of a killed run. This run holds the lock, so nothing else is being written."""
    files.remove_temporary(out, out / shards.FOLDER, out / units.PARTS)
