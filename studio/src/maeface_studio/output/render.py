"""``maeface-studio render``: faces rendered from a 3D head, with the action units of their expressions.

Writes a prepared folder, as ``maeface prepare`` does, and a table of labels beside it; on request also the
whole frames, and the clips in the layout of another dataset.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from maeface import checks, console, files
from maeface.data import manifest
from maeface.data.ingest.cores import count_cores
from maeface.data.shards import FOLDER
from maeface.errors import ConfigError, DataError
from maeface_studio.camera import opengl
from maeface_studio.head import blending, rig
from maeface_studio.output.settings import Settings
from maeface_studio.output.shards import LABELS, PARTS, remove_temporary_files, render_shards, write_tables

DEFAULTS = Settings()
SETTINGS = "synth.json"
LOOK = 2
"""Grows when the same settings give other pixels or labels. A record without it is of look 1."""


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
    settings: Settings = DEFAULTS,
    workers: int | None = None,
    shapes_file: Path | None = None,
) -> Summary:
    """Render a labelled dataset.

    An interrupted run is continued when it is called again with the same settings and rig.

    Args:
        rig_file: ``ict_facekit.npz``, with ``vertex_indices.json`` in the same folder.
        out: folder to write.
        settings: what to render.
        workers: number of processes; None for one per core.
        shapes_file: ``makehuman_shapes.npz``, a second set of shapes that each subject blends with the
            rig's in another way; None for the rig's alone.

    Raises:
        ConfigError: a setting out of range, or ``out`` contains another dataset, other settings or
            another rig.
        DataError: the rig is missing or damaged, or a file of an earlier run is damaged.
        ResourceError: no OpenGL, disk full, ``out`` in use, or a process died.
    """
    settings.check()
    checks.require_writable_folders(out)
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if not settings.clips and (
        note := checks.describe_unused(settings.clip_options(), "no clip is rendered")
    ):
        console.note(note)
    head = rig.load(rig_file)  # errors are reported before any process starts
    if shapes_file is not None:
        blending.load(shapes_file, head)
    opengl.check_opengl()
    with files.lock(out):
        _record_settings(out, settings, rig_file, shapes_file)
        remove_temporary_files(out)
        if not (out / manifest.FILE).is_file():
            render_shards(rig_file, shapes_file, out, settings, workers or count_cores())
            write_tables(out, settings)
        shutil.rmtree(out / PARTS, ignore_errors=True)
        subjects = pq.read_table(out / manifest.FILE, columns=["subject"])["subject"]
    return Summary(len(subjects), len(subjects.unique()), out / manifest.FILE, out / LABELS)


def _record_settings(out: Path, settings: Settings, rig_file: Path, shapes_file: Path | None) -> None:
    """Write the settings of a new run, or compare them with those of an earlier run.

    Raises:
        ConfigError: they differ.
        DataError: the record of the earlier run is damaged.
    """
    path = out / SETTINGS
    record = asdict(settings) | {"look": LOOK, "rig_sha256": files.sha256(rig_file)}
    record["shapes_sha256"] = None if shapes_file is None else files.sha256(shapes_file)
    if not path.is_file():
        # an unfinished preparation has no manifest yet, but shards or a list of inputs
        if (out / FOLDER).exists() or any(out.glob("*.parquet")):
            raise ConfigError(f"{out} contains another dataset (no {SETTINGS}); choose another folder")
        files.write_json(path, record)
        return
    try:
        # a record of an older version lacks newer settings, which had their defaults then
        earlier = asdict(DEFAULTS) | {"look": 1} | dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged; delete {out} and run again") from error
    if earlier["look"] != LOOK:
        raise ConfigError(
            f"{out} was begun by a renderer whose pictures differ (look {earlier['look']}, now {LOOK}); "
            "give another folder"
        )
    for name, value in record.items():
        if earlier.get(name) != value:
            raise ConfigError(
                f"{out} was begun with {name} = {earlier.get(name)!r}, now it is {value!r}; "
                "give the same settings and rig to continue, or another folder"
            )
