"""The shards of a rendered dataset, and the tables that are made of their rows."""

from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maeface import console, files
from maeface.data import manifest
from maeface.data.ingest.workers import Job, Notify, work
from maeface.data.shards import FOLDER, INDEX, ShardWriter
from maeface.errors import DataError
from maeface_studio.camera import scene
from maeface_studio.head import blending, rig
from maeface_studio.output import samples
from maeface_studio.output.layouts import recording, roles
from maeface_studio.output.settings import (
    Settings,
    assign_roles,
    count_images,
    list_shards,
    list_shots,
    roles_of_shard,
)

FRAME_PER_CROP = 1.5
"""Side of the frame divided by the side of the crop: the crop has about the resolution of the frame."""

LABELS = "labels.parquet"
RECORD = "prepare.json"
PARTS = "parts"
_FRAMES = "frames"


def remove_temporary_files(out: Path) -> None:
    """Remove unfinished files of a killed run; the folder is locked, so no other process writes them."""
    files.remove_temporary(out, out / FOLDER, out / PARTS, *(out / _FRAMES).glob("**/"))
    for name in roles.RECORDINGS:
        files.remove_temporary(*(out / name).glob("**/"))


def render_shards(
    rig_file: Path, shapes_file: Path | None, out: Path, settings: Settings, workers: int
) -> None:
    """Render the missing shards, each in one process."""
    numbers = list_shards(settings)
    missing = [
        number
        for number in numbers
        if not (rows_path(out, number).is_file() and shard_path(out, number).is_file())
    ]
    if not missing:
        return
    total = sum(count_images(settings, number) for number in numbers)
    finished = total - sum(count_images(settings, number) for number in missing)
    setup = partial(_make_job, rig_file, shapes_file, out, settings)
    try:
        with (
            console.progress("render", total, "images", finished) as advance,
            closing(work(setup, missing, workers, advance)) as results,
        ):
            for _ in results:
                pass
    finally:
        remove_temporary_files(out)  # of processes that were stopped


def _make_job(rig_file: Path, shapes_file: Path | None, out: Path, settings: Settings) -> Job[int, None]:
    """Return the job of a worker process, which uses one renderer for all its shards."""
    head = rig.load(rig_file)
    second = None if shapes_file is None else blending.load(shapes_file, head)
    studio = scene.Studio(head, round(settings.size * FRAME_PER_CROP), second, settings.resting)
    return lambda number, notify: render_shard(studio, out, settings, number, notify)


def render_shard(studio: scene.Studio, out: Path, settings: Settings, number: int, notify: Notify) -> None:
    """Render, crop and store one shard; the file of its rows is written last and marks it as finished."""
    name = f"{number:05d}"
    frames = out / _FRAMES if settings.frames else None
    form = recording.Format(settings.fps, settings.clip_frames, settings.quality)
    with ExitStack() as stack:
        temporary = stack.enter_context(files.atomic(shard_path(out, number)))
        writer = stack.enter_context(ShardWriter(temporary, name))
        rows = []
        for role in roles_of_shard(settings, number):
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
    with files.atomic(rows_path(out, number)) as temporary:
        pq.write_table(table, temporary)


def shard_path(out: Path, number: int) -> Path:
    """Return the path of a shard."""
    return out / FOLDER / f"{number:05d}.tar"


def rows_path(out: Path, number: int) -> Path:
    """Return the path of the rows of a shard."""
    return out / PARTS / f"{number:05d}.parquet"


def write_tables(out: Path, settings: Settings) -> None:
    """Join the rows of the shards; the manifest is written last and marks the dataset as finished."""
    numbers = list_shards(settings)
    try:
        rows = pd.concat([pd.read_parquet(rows_path(out, number)) for number in numbers], ignore_index=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{out / PARTS} is damaged ({error}); delete {out} and run again") from error
    index = {}
    for number in numbers:
        path = shard_path(out, number)
        count = int((rows["shard"] == path.name).sum())
        index[path.name] = {"sha256": files.sha256(path), "bytes": path.stat().st_size, "count": count}
    files.write_json(out / INDEX, index)
    keys = ["id", "source", "subject", "clip", "frame"]
    aus = [str(name) for name in rows if str(name).startswith("AU")]
    labels = rows[keys + aus].astype(
        {au: "float32" if au[-1] in "LR" else "int8" for au in aus} | {"frame": "int32"}
    )
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
