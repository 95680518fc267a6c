"""``maeface synth``: faces rendered from a 3D head, with the action units they were posed with.

Writes a prepared folder (crops through the project's one crop, at the head's true points and box), a
labels table beside it, and on request the full frames, and the clips as another dataset lays them out.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maeface import checks, console, files
from maeface.data import manifest
from maeface.data.shards import FOLDER, INDEX, ShardWriter
from maeface.data.workers import Job, Notify, cores, work
from maeface.errors import ConfigError, DataError
from maeface.studio import cast, context, rig, scene, store
from maeface.studio.layouts import casting, recording

SUBJECTS_PER_SHARD = 2
FRAME_PER_CROP = 1.5
"""Side of the rendered frame over that of the crop: at this the crop is cut about pixel for pixel."""

LABELS = "labels.parquet"
RECORD = "prepare.json"
_PARTS = "parts"
_FRAMES = "frames"
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
    fps: float = cast.FPS
    """Frames a second of a clip: fewer, and head and eyes get farther in as many frames."""
    size: int = 224
    """Side of a crop in px."""
    seed: int = 0
    quality: int = 90
    """Of the JPEG crops."""
    frames: bool = False
    """Also write the full frames, as PNG under ``frames/``."""
    layout: casting.Name | None = None
    """Also write the full frames of the clips as this dataset has them, in a folder of its name."""

    def check(self) -> None:
        """Refuse what cannot be made.

        Raises:
            ConfigError: a count or size out of its range.
        """
        least = {
            "subjects": 1,
            "images": 0,
            "clips": 0,
            "clip_subjects": 0,
            "clip_frames": 1,
            "size": 16,
            "seed": 0,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
        if not 1 <= self.quality <= 95:
            raise ConfigError(f"quality must be 1 to 95, got {self.quality}")
        if not 0.1 <= self.fps <= 240:
            raise ConfigError(f"fps must be 0.1 to 240, got {self.fps}")
        if self.layout is not None and self.layout not in casting.RECORDINGS:
            known = ", ".join(casting.RECORDINGS)
            raise ConfigError(f"layout must be one of {known}, got {self.layout}")
        if _total(self, 0) == 0:  # the first subjects have the clips
            raise ConfigError("nothing to make: no images, and no clips of anybody")

    def of_clips(self) -> dict[str, bool]:
        """Return, by name, whether a choice was made that counts for clips alone."""
        names = ("clip_subjects", "clip_frames", "fps", "layout")
        return {name: getattr(self, name) != getattr(Settings, name) for name in names}


@dataclass(frozen=True)
class Summary:
    """What was made, and where."""

    images: int
    """Stills and frames of clips."""
    subjects: int
    manifest: Path
    labels: Path

    def __str__(self) -> str:
        """One line for people."""
        folder = self.manifest.parent
        return f"{folder}: {self.images} images of {self.subjects} subjects; labels: {self.labels}"


def run(
    rig_file: Path,
    out: Path,
    settings: Settings = Settings(),
    workers: int | None = None,
) -> Summary:
    """Render a labelled dataset.

    Goes on where an interrupted run with the same settings and rig stopped (by shard).

    Args:
        rig_file: ``ict_facekit.npz``, with ``vertex_indices.json`` beside it.
        out: folder to write.
        settings: what to make.
        workers: processes; None for one a core.

    Raises:
        ConfigError: a setting out of range, ``out`` holds something else, or was begun with other settings
            or another rig.
        DataError: the rig is missing or not a rig, or what an earlier run left is damaged.
        ResourceError: no OpenGL is to be had, the disk is full, ``out`` is in use, or a process died.
    """
    settings.check()
    checks.output_folders(out)
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if not settings.clips and (said := checks.unused(settings.of_clips(), "no clip is made")):
        console.say(said)
    rig.load(rig_file)  # fail early, in this process
    context.check()
    with files.exclusive(out):
        _begin(out, settings, rig_file)
        _clean(out)
        if not (out / manifest.FILE).is_file():
            _render(rig_file, out, settings, workers or cores())
            _finish(out, settings)
        shutil.rmtree(out / _PARTS, ignore_errors=True)
        who = pq.read_table(out / manifest.FILE, columns=["subject"])["subject"]
    return Summary(len(who), len(who.unique()), out / manifest.FILE, out / LABELS)


def shots(settings: Settings, part: casting.Part) -> Iterator[cast.Shot]:
    """The shots of a person, in the order they are stored."""
    yield from cast.stills(settings.seed, part.subject, settings.images)
    for clip in part.clips:
        yield from cast.clip(settings.seed, part.subject, clip, settings.clip_frames, settings.fps)


def parts(settings: Settings) -> tuple[casting.Part, ...]:
    """Who is shown, and in which clips.

    Raises:
        ConfigError: the dataset of the layout has fewer subjects or tasks.
    """
    return casting.parts(
        settings.seed, settings.subjects, settings.clips, settings.clip_subjects, settings.layout
    )


def _shot_in(settings: Settings, number: int) -> tuple[casting.Part, ...]:
    """The people of a shard."""
    first = number * SUBJECTS_PER_SHARD
    return parts(settings)[first : first + SUBJECTS_PER_SHARD]


def _total(settings: Settings, number: int) -> int:
    shown = _shot_in(settings, number)
    return sum(settings.images + len(part.clips) * settings.clip_frames for part in shown)


def _numbers(settings: Settings) -> list[int]:
    """The shards there are; subjects of whom nothing is made have none."""
    every = range(-(-settings.subjects // SUBJECTS_PER_SHARD))
    return [number for number in every if _total(settings, number)]


def _begin(out: Path, settings: Settings, rig_file: Path) -> None:
    """Write down what is to be made, or compare with what an earlier run wrote down.

    Raises:
        ConfigError: it is something else.
        DataError: the earlier record is not readable.
    """
    record = out / _SETTINGS
    wanted = asdict(settings) | {"rig_sha256": files.sha256(rig_file)}
    if not record.is_file():
        # an unfinished preparation has no manifest yet, but its shards or its list of inputs
        if (out / FOLDER).exists() or any(out.glob("*.parquet")):
            raise ConfigError(f"{out} holds another dataset (without {_SETTINGS}); choose another folder")
        files.write_json(record, wanted)
        return
    try:
        # a setting that there was not yet is as if it had been left alone
        begun = asdict(Settings()) | dict(json.loads(record.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{record} is damaged; delete {out} and run again") from error
    other = [name for name in wanted if begun.get(name) != wanted[name]]
    if other:
        raise ConfigError(
            f"{out} was begun with {other[0]} = {begun.get(other[0])!r}, now it is {wanted[other[0]]!r}; "
            "give the same settings and rig to go on, or another folder"
        )


def _clean(out: Path) -> None:
    """Remove what a killed run was about to write; the lock is ours, so nobody is writing now."""
    files.clean(out, out / FOLDER, out / _PARTS, *(out / _FRAMES).glob("**/"))
    for name in casting.RECORDINGS:
        files.clean(*(out / name).glob("**/"))


def _render(rig_file: Path, out: Path, settings: Settings, workers: int) -> None:
    """Make the shards that are not there yet, each in one process."""
    numbers = _numbers(settings)
    left = [
        number for number in numbers if not (_part(out, number).is_file() and _tar(out, number).is_file())
    ]
    total, todo = (sum(_total(settings, number) for number in some) for some in (numbers, left))
    if not left:
        return
    setup = partial(_make_job, rig_file, out, settings)
    try:
        with (
            console.progress("render", total, "images", total - todo) as advance,
            closing(work(setup, left, workers, advance)) as finished,
        ):
            for _ in finished:
                pass
    finally:
        _clean(out)  # what a stopped process was about to write


def _make_job(rig_file: Path, out: Path, settings: Settings) -> Job[int, None]:
    """Runs in a worker process: one rig and one renderer for all its shards."""
    studio = scene.Studio(rig.load(rig_file), round(settings.size * FRAME_PER_CROP))
    return lambda number, notify: _shard(studio, out, settings, number, notify)


def _shard(studio: scene.Studio, out: Path, settings: Settings, number: int, notify: Notify) -> None:
    """Render, crop and store one shard; its rows come last, so their file says that it is done."""
    name = f"{number:05d}"
    frames = out / _FRAMES if settings.frames else None
    form = recording.Format(settings.fps, settings.clip_frames, settings.quality)
    with ExitStack() as stack:
        temporary = stack.enter_context(files.atomic(_tar(out, number)))
        writer = stack.enter_context(ShardWriter(temporary, name))
        rows = []
        for part in _shot_in(settings, number):
            clips: recording.Recording | None = None
            if settings.layout and part.name:
                folder = out / settings.layout
                clips = stack.enter_context(casting.RECORDINGS[settings.layout](folder, part.name, form))
            for shot in shots(settings, part):
                picture = studio.take(shot, settings.seed)
                stored = store.crop_into(writer, picture, settings.size, settings.quality)
                rows.append(store.row(shot, picture) | stored | {"shard": f"{name}.tar"})
                if frames:
                    store.write_frame(frames, shot, picture)
                if clips and shot.clip:
                    clips.add(shot.frame, picture.pixels, store.levels(picture))
                notify(1)
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    with files.atomic(_part(out, number)) as temporary:
        pq.write_table(table, temporary)


def _tar(out: Path, number: int) -> Path:
    return out / FOLDER / f"{number:05d}.tar"


def _part(out: Path, number: int) -> Path:
    return out / _PARTS / f"{number:05d}.parquet"


def _finish(out: Path, settings: Settings) -> None:
    """Join the shards' rows; the manifest comes last, so that it says that all is done."""
    numbers = _numbers(settings)
    try:
        rows = pd.concat([pd.read_parquet(_part(out, number)) for number in numbers], ignore_index=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{out / _PARTS} is damaged ({error}); delete {out} and run again") from error
    index = {}
    for number in numbers:
        path = _tar(out, number)
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
    if settings.layout:
        about["subjects"] = {part.subject.name: part.name for part in parts(settings) if part.name}
    files.write_json(out / RECORD, about)
    table = pa.table(
        {field.name: pa.array(rows[field.name], field.type, from_pandas=True) for field in manifest.SCHEMA},
        schema=manifest.SCHEMA,
    )
    manifest.write(out / manifest.FILE, [table])
