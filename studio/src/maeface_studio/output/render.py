"""``maeface-studio render``: faces rendered from a 3D head, with the action units of their expressions.

Writes a prepared folder, as ``maeface prepare`` does, and a table of labels beside it; on request also the
whole frames, and the clips in the layout of another dataset.
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
from maeface.data.ingest.workers import Job, Notify, cores, work
from maeface.data.shards import FOLDER, INDEX, ShardWriter
from maeface.errors import ConfigError, DataError
from maeface_studio.camera import opengl, scene
from maeface_studio.cast import actions
from maeface_studio.head import rig
from maeface_studio.output import samples
from maeface_studio.output.layouts import recording, roles

SUBJECTS_PER_SHARD = 2
FRAME_PER_CROP = 1.5
"""Side of the frame divided by the side of the crop: the crop has about the resolution of the frame."""

LABELS = "labels.parquet"
RECORD = "prepare.json"
_PARTS = "parts"
_FRAMES = "frames"
_SETTINGS = "synth.json"


@dataclass(frozen=True)
class Settings:
    """What is rendered; the same settings give the same bytes, with any number of processes.

    Attributes:
        subjects: number of people.
        images: stills of each subject.
        clips: clips of each of the first ``clip_subjects`` subjects.
        clip_subjects: number of subjects with clips; None for all.
        clip_frames: frames of a clip.
        fps: frames per second of a clip; with a lower rate a clip of as many frames is longer.
        size: side of a crop in px.
        seed: of all random draws; another seed gives other people.
        quality: of the JPEG crops, 1 to 95.
        frames: also write the whole frames, as PNG in ``frames/``.
        layout: also write the frames of the clips as this dataset does, in a folder of its name.
    """

    subjects: int = 40
    images: int = 20
    clips: int = 0
    clip_subjects: int | None = None
    clip_frames: int = 48
    fps: float = actions.FPS
    size: int = 224
    seed: int = 0
    quality: int = 90
    frames: bool = False
    layout: roles.Layout | None = None

    def check(self) -> None:
        """Check the ranges of the settings.

        Raises:
            ConfigError: a count or size out of its range.
        """
        minima = {
            "subjects": 1,
            "images": 0,
            "clips": 0,
            "clip_subjects": 0,
            "clip_frames": 1,
            "size": 16,
            "seed": 0,
        }
        for name, minimum in minima.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ConfigError(f"{name} must be at least {minimum}, got {value}")
        if not 1 <= self.quality <= 95:
            raise ConfigError(f"quality must be 1 to 95, got {self.quality}")
        if not 0.1 <= self.fps <= 240:
            raise ConfigError(f"fps must be 0.1 to 240, got {self.fps}")
        if self.layout is not None and self.layout not in roles.RECORDINGS:
            raise ConfigError(f"layout must be one of {', '.join(roles.RECORDINGS)}, got {self.layout}")
        if _count_images(self, 0) == 0:  # the first subjects have the clips
            raise ConfigError("nothing to render: neither images nor clips; give --images or --clips")

    def clip_options(self) -> dict[str, bool]:
        """Return the options that only clips use, and whether each differs from its default."""
        names = ("clip_subjects", "clip_frames", "fps", "layout")
        return {name: getattr(self, name) != getattr(Settings, name) for name in names}


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
        images: number of stills and frames of clips.
        subjects: number of people.
        manifest: path of the manifest.
        labels: path of the table of labels.
    """

    images: int
    subjects: int
    manifest: Path
    labels: Path

    def __str__(self) -> str:
        """Return one line that says what was written."""
        folder = self.manifest.parent
        return f"{folder}: {self.images} images of {self.subjects} subjects; labels: {self.labels}"


def run(
    rig_file: Path,
    out: Path,
    settings: Settings = Settings(),
    workers: int | None = None,
) -> Summary:
    """Render a labelled dataset.

    An interrupted run is continued when it is called again with the same settings and rig.

    Args:
        rig_file: ``ict_facekit.npz``, with ``vertex_indices.json`` in the same folder.
        out: folder to write.
        settings: what to render.
        workers: number of processes; None for one per core.

    Raises:
        ConfigError: a setting out of range, or ``out`` contains another dataset, other settings or
            another rig.
        DataError: the rig is missing or damaged, or a file of an earlier run is damaged.
        ResourceError: no OpenGL, disk full, ``out`` in use, or a process died.
    """
    settings.check()
    checks.output_folders(out)
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if not settings.clips and (note := checks.unused(settings.clip_options(), "no clip is rendered")):
        console.note(note)
    rig.load(rig_file)  # errors are reported before any process starts
    opengl.check_opengl()
    with files.lock(out):
        _record_settings(out, settings, rig_file)
        _remove_temporary_files(out)
        if not (out / manifest.FILE).is_file():
            _render_shards(rig_file, out, settings, workers or cores())
            _write_tables(out, settings)
        shutil.rmtree(out / _PARTS, ignore_errors=True)
        subjects = pq.read_table(out / manifest.FILE, columns=["subject"])["subject"]
    return Summary(len(subjects), len(subjects.unique()), out / manifest.FILE, out / LABELS)


def list_shots(settings: Settings, role: roles.Role) -> Iterator[actions.PlannedImage]:
    """Yield the shots of a person in the order in which they are stored."""
    yield from actions.plan_stills(settings.seed, role.subject, settings.images)
    for clip in role.clips:
        yield from actions.plan_clip(settings.seed, role.subject, clip, settings.clip_frames, settings.fps)


def assign_roles(settings: Settings) -> tuple[roles.Role, ...]:
    """Return the people that are rendered, with their clips.

    Raises:
        ConfigError: the dataset of the layout has fewer subjects or tasks.
    """
    return roles.assign_roles(
        settings.seed, settings.subjects, settings.clips, settings.clip_subjects, settings.layout
    )


def _roles_of_shard(settings: Settings, number: int) -> tuple[roles.Role, ...]:
    first = number * SUBJECTS_PER_SHARD
    return assign_roles(settings)[first : first + SUBJECTS_PER_SHARD]


def _count_images(settings: Settings, number: int) -> int:
    """Return the number of images in a shard."""
    cast_of_shard = _roles_of_shard(settings, number)
    return sum(settings.images + len(role.clips) * settings.clip_frames for role in cast_of_shard)


def _list_shards(settings: Settings) -> list[int]:
    """Return the numbers of the shards that contain an image."""
    numbers = range(-(-settings.subjects // SUBJECTS_PER_SHARD))
    return [number for number in numbers if _count_images(settings, number)]


def _record_settings(out: Path, settings: Settings, rig_file: Path) -> None:
    """Write the settings of a new run, or compare them with those of an earlier run.

    Raises:
        ConfigError: they differ.
        DataError: the record of the earlier run is damaged.
    """
    path = out / _SETTINGS
    record = asdict(settings) | {"rig_sha256": files.sha256(rig_file)}
    if not path.is_file():
        # an unfinished preparation has no manifest yet, but shards or a list of inputs
        if (out / FOLDER).exists() or any(out.glob("*.parquet")):
            raise ConfigError(f"{out} contains another dataset (no {_SETTINGS}); choose another folder")
        files.write_json(path, record)
        return
    try:
        # a record of an older version lacks newer settings, which had their defaults then
        earlier = asdict(Settings()) | dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged; delete {out} and run again") from error
    for name, value in record.items():
        if earlier.get(name) != value:
            raise ConfigError(
                f"{out} was begun with {name} = {earlier.get(name)!r}, now it is {value!r}; "
                "give the same settings and rig to continue, or another folder"
            )


def _remove_temporary_files(out: Path) -> None:
    """Remove unfinished files of a killed run; the folder is locked, so no other process writes them."""
    files.remove_temporary(out, out / FOLDER, out / _PARTS, *(out / _FRAMES).glob("**/"))
    for name in roles.RECORDINGS:
        files.remove_temporary(*(out / name).glob("**/"))


def _render_shards(rig_file: Path, out: Path, settings: Settings, workers: int) -> None:
    """Render the missing shards, each in one process."""
    numbers = _list_shards(settings)
    missing = [
        number
        for number in numbers
        if not (_rows_path(out, number).is_file() and _shard_path(out, number).is_file())
    ]
    if not missing:
        return
    total = sum(_count_images(settings, number) for number in numbers)
    finished = total - sum(_count_images(settings, number) for number in missing)
    setup = partial(_make_job, rig_file, out, settings)
    try:
        with (
            console.progress("render", total, "images", finished) as advance,
            closing(work(setup, missing, workers, advance)) as results,
        ):
            for _ in results:
                pass
    finally:
        _remove_temporary_files(out)  # of processes that were stopped


def _make_job(rig_file: Path, out: Path, settings: Settings) -> Job[int, None]:
    """Return the job of a worker process, which uses one renderer for all its shards."""
    studio = scene.Studio(rig.load(rig_file), round(settings.size * FRAME_PER_CROP))
    return lambda number, notify: _render_shard(studio, out, settings, number, notify)


def _render_shard(studio: scene.Studio, out: Path, settings: Settings, number: int, notify: Notify) -> None:
    """Render, crop and store one shard; the file of its rows is written last and marks it as finished."""
    name = f"{number:05d}"
    frames = out / _FRAMES if settings.frames else None
    form = recording.Format(settings.fps, settings.clip_frames, settings.quality)
    with ExitStack() as stack:
        temporary = stack.enter_context(files.atomic(_shard_path(out, number)))
        writer = stack.enter_context(ShardWriter(temporary, name))
        rows = []
        for role in _roles_of_shard(settings, number):
            clips: recording.Recording | None = None
            if settings.layout and role.name:
                folder = out / settings.layout
                clips = stack.enter_context(roles.RECORDINGS[settings.layout](folder, role.name, form))
            for shot in list_shots(settings, role):
                picture = studio.render_shot(shot, settings.seed)
                crop = samples.add_crop(writer, picture, settings.size, settings.quality)
                rows.append(samples.manifest_row(shot, picture) | crop | {"shard": f"{name}.tar"})
                if frames:
                    samples.write_frame(frames, shot, picture)
                if clips and shot.clip:
                    clips.add(shot.frame, picture.pixels, samples.code_intensities(picture))
                notify(1)
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    with files.atomic(_rows_path(out, number)) as temporary:
        pq.write_table(table, temporary)


def _shard_path(out: Path, number: int) -> Path:
    return out / FOLDER / f"{number:05d}.tar"


def _rows_path(out: Path, number: int) -> Path:
    return out / _PARTS / f"{number:05d}.parquet"


def _write_tables(out: Path, settings: Settings) -> None:
    """Join the rows of the shards; the manifest is written last and marks the dataset as finished."""
    numbers = _list_shards(settings)
    try:
        rows = pd.concat([pd.read_parquet(_rows_path(out, number)) for number in numbers], ignore_index=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{out / _PARTS} is damaged ({error}); delete {out} and run again") from error
    index = {}
    for number in numbers:
        path = _shard_path(out, number)
        count = int((rows["shard"] == path.name).sum())
        index[path.name] = {"sha256": files.sha256(path), "bytes": path.stat().st_size, "count": count}
    files.write_json(out / INDEX, index)
    keys = ["id", "source", "subject", "clip", "frame"]
    aus = [name for name in rows if str(name).startswith("AU")]
    labels = rows[keys + aus].astype(dict.fromkeys(aus, "int8") | {"frame": "int32"})
    with files.atomic(out / LABELS) as temporary:
        pq.write_table(pa.Table.from_pandas(labels, preserve_index=False), temporary)
    record = {
        "by": "maeface-studio render",
        "maeface": version("maeface"),
        "settings": asdict(settings),
        "counts": {"ok": len(rows)},
    }
    if settings.layout:
        record["subjects"] = {role.subject.name: role.name for role in assign_roles(settings) if role.name}
    files.write_json(out / RECORD, record)
    table = pa.table(
        {field.name: pa.array(rows[field.name], field.type, from_pandas=True) for field in manifest.SCHEMA},
        schema=manifest.SCHEMA,
    )
    manifest.write(out / manifest.FILE, [table])
