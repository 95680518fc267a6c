"""``maeface synth``: faces rendered from a 3D head, with the action units they were posed with.

Writes a prepared folder (crops through the project's one crop, at the head's true points and box), a
labels table beside it, and on request the full frames.
"""

import json
import multiprocessing
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maeface import console, files
from maeface.data import manifest
from maeface.data.shards import FOLDER, INDEX, ShardWriter
from maeface.errors import ConfigError, DataError, ResourceError
from maeface.studio import cast, rig, scene, store

SUBJECTS_PER_SHARD = 5
FRAME_PER_CROP = 1.5
"""Side of the rendered frame over that of the crop: at this the crop is cut about pixel for pixel."""

LABELS = "labels.parquet"
RECORD = "prepare.json"
_PARTS = "parts"
_SETTINGS = "synth.json"


@dataclass(frozen=True)
class Settings:
    """What is made; the same settings give the same bytes, on however many processes."""

    subjects: int = 40
    images: int = 20
    """Stills a subject."""
    clips: int = 0
    """Clips a subject, for the first ``clip_subjects`` subjects."""
    clip_subjects: int | None = None
    clip_frames: int = 48
    size: int = 224
    """Side of a crop in px."""
    seed: int = 0
    samples: int = scene.SAMPLES
    """Light paths a pixel."""
    quality: int = 90
    """Of the JPEG crops."""
    frames: bool = False
    """Also write the full frames, as PNG under ``frames/``."""

    def check(self) -> None:
        """Refuse what cannot be made.

        Raises:
            ConfigError: a count or size out of its range.
        """
        least = {
            "subjects": 1,
            "images": 0,
            "clips": 0,
            "clip_frames": 1,
            "size": 16,
            "samples": 1,
            "seed": 0,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not 1 <= self.quality <= 95:
            raise ConfigError(f"quality must be 1 to 95, got {self.quality}")
        if self.images + self.clips == 0:
            raise ConfigError("nothing to make: images and clips are both 0")


@dataclass(frozen=True)
class Summary:
    """What was made, and where."""

    images: int
    subjects: int
    manifest: Path
    labels: Path


def run(
    rig_file: Path,
    out: Path,
    settings: Settings = Settings(),
    workers: int | None = None,
) -> Summary:
    """Render a labelled dataset.

    Goes on where an interrupted run with the same settings stopped (by shard).

    Args:
        rig_file: ``ict_facekit.npz``, with ``vertex_indices.json`` beside it.
        out: folder to write.
        settings: what to make.
        workers: processes; None for one a core.

    Raises:
        ConfigError: a setting out of range, or ``out`` was begun with other settings.
        DataError: the rig is missing or not a rig.
        ResourceError: Mitsuba is not installed, the disk is full, or a process died.
    """
    settings.check()
    rig.load(rig_file)  # fail early, in this process
    scene.mitsuba()
    with files.exclusive(out):
        _begin(out, settings)
        numbers = range(-(-settings.subjects // SUBJECTS_PER_SHARD))
        if not (out / manifest.FILE).is_file():
            left = [number for number in numbers if not _part(out, number).is_file()]
            if left:
                _render(rig_file, out, settings, left, workers or os.cpu_count() or 1)
            _finish(out, settings, numbers)
        rows = pq.read_metadata(out / manifest.FILE).num_rows
    return Summary(rows, settings.subjects, out / manifest.FILE, out / LABELS)


def shots(settings: Settings, number: int) -> Iterator[cast.Shot]:
    """The shots of a shard, in the order they are stored."""
    first = number * SUBJECTS_PER_SHARD
    for who in range(first, min(first + SUBJECTS_PER_SHARD, settings.subjects)):
        subject = cast.subject(settings.seed, who)
        yield from cast.stills(settings.seed, subject, settings.images)
        for clip in range(_clips(settings, who)):
            yield from cast.clip(settings.seed, subject, clip, settings.clip_frames)


def _clips(settings: Settings, subject: int) -> int:
    everyone = settings.clip_subjects is None
    return settings.clips if everyone or subject < (settings.clip_subjects or 0) else 0


def _total(settings: Settings, number: int) -> int:
    first = number * SUBJECTS_PER_SHARD
    who = range(first, min(first + SUBJECTS_PER_SHARD, settings.subjects))
    return sum(settings.images + _clips(settings, subject) * settings.clip_frames for subject in who)


def _begin(out: Path, settings: Settings) -> None:
    record = out / _SETTINGS
    wanted = asdict(settings)
    if record.is_file():
        begun = json.loads(record.read_text(encoding="utf-8"))
        other = [name for name in wanted if begun.get(name) != wanted[name]]
        if other:
            raise ConfigError(
                f"{out} was begun with {other[0]} = {begun.get(other[0])!r}, now it is {wanted[other[0]]!r}; "
                "give the same settings to go on, or another folder"
            )
        return
    if (out / manifest.FILE).is_file():
        raise ConfigError(f"{out} holds another dataset; choose another folder")
    files.write_json(record, wanted)


def _render(rig_file: Path, out: Path, settings: Settings, left: Sequence[int], workers: int) -> None:
    every = range(-(-settings.subjects // SUBJECTS_PER_SHARD))
    total = sum(_total(settings, number) for number in every)
    done = total - sum(_total(settings, number) for number in left)
    context = multiprocessing.get_context("spawn")  # a renderer's threads do not survive a fork
    made: queue.Queue[int] = context.Queue()  # type: ignore[assignment]
    workers = min(workers, len(left))
    threads = max(1, (os.cpu_count() or 1) // workers) if workers == 1 else 1
    pool = ProcessPoolExecutor(workers, context, _enter, (rig_file, settings, threads, made))
    with console.progress("render", total, "images", done) as advance:
        try:
            pending = {pool.submit(_shard, out, settings, number) for number in left}
            while pending:
                finished, pending = wait(pending, timeout=0.5)
                _raise_first(finished)
                while not made.empty():
                    advance(made.get())
        except BrokenProcessPool as error:
            raise ResourceError(
                "a rendering process died (out of memory?); run the same again, with fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        while not made.empty():
            advance(made.get())


def _raise_first(finished: set[Future[None]]) -> None:
    for future in finished:
        future.result()


_studio: scene.Studio | None = None
_advance: Callable[[int], None] = lambda n: None  # noqa: E731


def _enter(rig_file: Path, settings: Settings, threads: int, made: "queue.Queue[int]") -> None:
    """Set a worker process up: one rig, one renderer."""
    global _studio, _advance  # noqa: PLW0603 - the state of a worker process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    scene.mitsuba()
    import drjit

    drjit.set_thread_count(threads)
    _studio = scene.Studio(rig.load(rig_file), round(settings.size * FRAME_PER_CROP), settings.samples)
    _advance = made.put


def _end_with_parent() -> None:
    """A killed run leaves no process behind that renders on, or waits for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _shard(out: Path, settings: Settings, number: int) -> None:
    """Render, crop and store one shard; its rows come last, so their file says that it is done."""
    assert _studio is not None
    name = f"{number:05d}"
    frames = out / "frames" if settings.frames else None
    with files.atomic(out / FOLDER / f"{name}.tar") as temporary, ShardWriter(temporary, name) as writer:
        rows = []
        for shot in shots(settings, number):
            picture = _studio.take(shot, settings.seed)
            stored = store.crop_into(writer, picture, settings.size, settings.quality)
            rows.append(store.row(shot, picture) | stored | {"shard": f"{name}.tar"})
            if frames:
                store.write_frame(frames, shot, picture)
            _advance(1)
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    with files.atomic(_part(out, number)) as temporary:
        pq.write_table(table, temporary)


def _part(out: Path, number: int) -> Path:
    return out / _PARTS / f"{number:05d}.parquet"


def _finish(out: Path, settings: Settings, numbers: Sequence[int]) -> None:
    """Join the shards' rows; the manifest comes last, so that it says that all is done."""
    try:
        rows = pd.concat([pd.read_parquet(_part(out, number)) for number in numbers], ignore_index=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{out / _PARTS} is damaged ({error}); delete {out} and run again") from error
    index = {}
    for number in numbers:
        path = out / FOLDER / f"{number:05d}.tar"
        count = int((rows["shard"] == path.name).sum())
        index[path.name] = {"sha256": files.sha256(path), "bytes": path.stat().st_size, "count": count}
    files.write_json(out / INDEX, index)
    keys = ["id", "source", "subject", "clip", "frame"]
    aus = [name for name in rows if str(name).startswith("AU")]
    labels = rows[keys + aus].astype(dict.fromkeys(aus, "int8") | {"frame": "int32"})
    with files.atomic(out / LABELS) as temporary:
        pq.write_table(pa.Table.from_pandas(labels, preserve_index=False), temporary)
    about = {
        "by": "maeface synth",
        "maeface": version("maeface"),
        "settings": asdict(settings),
        "counts": {"ok": len(rows)},
    }
    files.write_json(out / RECORD, about)
    table = pa.table(
        {field.name: pa.array(rows[field.name], field.type, from_pandas=True) for field in manifest.SCHEMA},
        schema=manifest.SCHEMA,
    )
    manifest.write(out / manifest.FILE, [table])
    shutil.rmtree(out / _PARTS)
