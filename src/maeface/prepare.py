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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maeface import checks, console, files
from maeface.data import manifest, shards
from maeface.data.ingest import face_finder, input_list, unit_part, workers
from maeface.data.ingest.cores import count_cores
from maeface.data.ingest.inputs import Input, Unit, find_inputs, split_into_units
from maeface.data.ingest.pieces import Piece
from maeface.data.ingest.preparation import Job, Preparation, Result, do_item
from maeface.data.ingest.runner import Resources
from maeface.data.ingest.units import FaceFinder, Settings
from maeface.data.readers import stored_labels
from maeface.data.readers.raw_dataset import RawDataset, read_all
from maeface.errors import ConfigError, DataError
from maeface.paths import StrPath, to_paths

__all__ = ["Settings", "Summary", "run"]

RESULT = "prepare.json"
NOT_IN_RESULT = {"workers", "max_bad", "file_timeout", "backend", "ray"}
LIBRARIES = ("maeface", "numpy", "pillow", "av", "torch", "torchvision", "pyarrow")

Setup = Callable[[], Job]
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
    sources: StrPath | Sequence[StrPath],
    out: StrPath,
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
    sources, out, settings = to_paths(sources), Path(out), settings or Settings()
    started = time.monotonic()
    checks.require_writable_folders(out)
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
            settings, used = _choose_backend(settings, weights)
            images = _do_units(
                planned, out, settings, partial(_make_job, out.absolute(), settings, make_find, weights)
            )
            _join(out, planned, header | used)
        shutil.rmtree(out / unit_part.PARTS, ignore_errors=True)
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


def _choose_backend(settings: Settings, weights: Path | None) -> tuple[Settings, dict[str, Any]]:
    """Return the settings with the back end of the detector and its device, and their record."""
    if weights is None:
        return settings, {"detector_sha256": None}
    from maeface.faces.detector import choose_detector_backend

    backend, device = choose_detector_backend(settings.backend, settings.device, settings.backbone, weights)
    used = {"detector_sha256": files.sha256(weights), "backend": f"{backend} {version(backend)}"}
    return settings.model_copy(update={"backend": backend, "device": device}), used


def _make_job(out: Path, settings: Settings, make_find: MakeFind | None, weights: Path | None) -> Job:
    find = (make_find or face_finder.make_find)(settings, weights)
    device = None if weights is None else settings.device.partition(":")[0]

    def job(item: Unit | Piece, notify: workers.Notify) -> Result:
        return do_item(item, out, settings, find, notify, device)

    return job


def _do_units(planned: Sequence[Unit], out: Path, settings: Settings, setup: Setup) -> int:
    """Prepare the units that are not finished; return the number of images searched."""
    missing = [unit for unit in planned if unit_part.read_finished(unit, out) is None]
    total = sum(len(unit.inputs) for unit in planned)
    finished = total - sum(len(unit.inputs) for unit in missing)
    if finished:
        console.note(f"prepare: resuming {out}, {finished} of {total} files are finished")
    if not missing:
        return 0
    resources = Resources(
        settings.workers or count_cores(),
        settings.file_timeout,
        settings.ray,
        gpus=settings.device.startswith("cuda"),
    )
    preparation = Preparation(out.absolute(), setup, resources)
    try:
        preparation.run(missing, total, finished)
    finally:
        _clean(out)  # temporary files of a stopped worker
    return preparation.images


def _join(out: Path, planned: Sequence[Unit], header: dict[str, Any]) -> None:
    """Join the parts to one manifest and one index; ``RESULT`` comes last: it marks the end."""
    counts: Counter[str] = Counter()
    index = {}
    devices: set[str | None] = set()
    dropped = 0
    for unit in planned:
        summary = unit_part.read_finished(unit, out)
        assert summary is not None, unit.name
        counts.update(summary.statuses)
        dropped += summary.files_dropped
        devices.add(summary.device)
        if summary.shard is not None:
            index[f"{unit.name}.tar"] = summary.shard
    tables = (rows for unit in planned for rows in unit_part.read_rows(unit, out))
    manifest.write(out / manifest.FILE, stored_labels.fill_subjects(out, tables))
    files.write_json(out / shards.INDEX, index)
    result = {
        **header,
        "devices": sorted(filter(None, devices)),
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
        ConfigError: they differ, or ``out`` holds something else.
    """
    listed = (out / input_list.FILE).is_file()
    finished = (out / RESULT).is_file()
    if not listed and ((out / manifest.FILE).exists() or (out / shards.FOLDER).exists()):
        raise ConfigError(f"{out} holds another dataset (without {input_list.FILE}); choose another --out")
    if listed and (finished or any((out / unit_part.PARTS).rglob("*.parquet"))):
        before = input_list.compare(out, listing, header)
        if before["versions"] != header["versions"] and not finished:
            console.note(
                "prepare: library versions have changed since this preparation began; bytes may differ"
            )
        return
    if listed:  # after a run that failed before its first unit, settings and labels may change
        (out / stored_labels.FILE).unlink(missing_ok=True)
        shutil.rmtree(out / unit_part.PARTS, ignore_errors=True)
    input_list.write(out, listing, header)


def _clean(out: Path) -> None:
    """Remove temporary files of a killed run. This run holds the lock, so nothing else is being written."""
    files.remove_temporary(out, out / shards.FOLDER, out / unit_part.PARTS)
