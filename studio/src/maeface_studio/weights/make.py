"""``maeface-studio weights``: the packaged weights, made from rendered and real faces.

Every stage writes to a folder of its own in ``out``, continues where it was stopped, and is skipped when it
is finished::

    out/synth                  rendered faces with exact labels            maeface-studio render
    out/synth-2                more of them, with other settings          maeface-studio render
    out/portraits              crops of photographs, not the held-out      maeface prepare
    out/frames                 crops of video frames                       maeface prepare
    out/plates                 crops of pictures with several faces        maeface prepare
    out/measures.parquet       MediaPipe's measurements of every face
    out/pseudo_labels.parquet  labels of real faces from a teacher
    out/labels.parquet         labels of all faces: exact, from annotators, from the teacher
    out/ordered_*.parquet      labels and measures by which renders of one person are compared, too
    out/mae                    masked autoencoder of all faces             maeface pretrain
    out/au                     action units                                maeface finetune
    out/NAME.safetensors       the weights, stored with fewer bits
    out/scores                 predictions and scores of renders of unseen people and of held-out portraits
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from maeface import checks, config, console, evaluate, facts, files, finetune, prepare, pretrain
from maeface.data import manifest
from maeface.data.loading.dataset import gather_manifests
from maeface.data.tables.labels import join_labels
from maeface.errors import ConfigError
from maeface.model import licences, weights
from maeface_studio.output import render
from maeface_studio.output import settings as render_settings
from maeface_studio.output.shards import LABELS
from maeface_studio.weights import annotations, measurements, order, scoring, unlike
from maeface_studio.weights.blendshapes import FaceLandmarker
from maeface_studio.weights.pseudo_labels import agree_with_occurrence, select_pseudo_labels
from maeface_studio.weights.recipe import RENDER_SEEDS, Prepare, Recipe, Render

RIG = "rig/ict_facekit.npz"
SHAPES = "rig/makehuman_shapes.npz"
RECORD = "recipe.json"
RENDERS, MORE_RENDERS = "synth", "synth-2"
PSEUDO_LABELS = "pseudo_labels.parquet"


@dataclass(frozen=True)
class Summary:
    """The result of a recipe.

    Attributes:
        weights: the files of the weights.
        scores: by what was predicted; with " from scratch" for the network without pre-training.
    """

    weights: tuple[Path, ...]
    scores: dict[str, evaluate.Scores]

    def __str__(self) -> str:
        """Return one line that names the files."""
        sizes = ", ".join(f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in self.weights)
        return f"weights: {sizes}"


@dataclass(frozen=True)
class Sources:
    """The files of the data folder that a recipe uses.

    Attributes:
        rig: the 3D head.
        shapes: a second set of shapes; None if the recipe uses none.
        photos: photographs to learn from.
        held_out: photographs to score on.
        videos: videos to learn from.
        plates: folders of pictures with several faces.
    """

    rig: Path
    shapes: Path | None
    photos: tuple[Path, ...]
    held_out: tuple[Path, ...]
    videos: tuple[Path, ...]
    plates: tuple[Path, ...]


def run(recipe: Recipe, data: Path, out: Path, teacher: Path | None = None) -> Summary:
    """Render, prepare, pre-train, fine-tune, pack and score.

    The same call continues an interrupted run and repeats no finished stage.

    Args:
        recipe: from ``recipe.load``.
        data: folder with ``rig/ict_facekit.npz`` and the folders that ``recipe.prepare`` names.
        out: folder for all results.
        teacher: MediaPipe's ``face_landmarker.task``: it measures every face; the measurements are a guide
            (``maeface.data.tables.guide``), and pseudo-labels of the real faces as ``recipe.pseudo_labels``
            says. Or a table of labels or predictions of the real faces. None: only renders have labels, and
            the real faces that were annotated.

    Raises:
        ConfigError: files are missing in ``data``, or ``out`` contains a run with other settings.
        DataError: the teacher's table cannot be read or has none of the faces, or data are damaged.
        WeightsError: the weights cannot be stored in the chosen type.
        ResourceError: disk, memory, device, no OpenGL, or ``out`` cannot be written or is in use.
    """
    checks.require_writable_folders(out)
    sources = list_sources(recipe, data)
    with files.lock(out):
        record = {"settings": recipe.model_dump(mode="json"), "maeface": version("maeface")}
        files.write_json(out / RECORD, record)
        annotations.label_columns(recipe.annotations.aus)  # errors are reported before hours of work
        pseudo_labels = _check_teacher(recipe, teacher, out)
        _check_licence(recipe)
        console.note("1/6 render faces")
        parts = ((recipe.render, RENDERS), (recipe.more_renders, MORE_RENDERS))
        renders = [_render(part, sources, out / name) for part, name in parts if part is not None]
        console.note("2/6 prepare photographs and videos")
        real = _prepare_real_faces(recipe.prepare, sources, out)
        faces = [*renders, *real]
        guide = None
        if teacher is not None and _is_mediapipe(teacher):
            guide = measurements.write_measurements(faces, teacher, out / "measures.parquet")
            pseudo_labels = _select_pseudo_labels(recipe, guide, out)
        labelled = faces if pseudo_labels or recipe.annotations.aus else renders
        labels = _write_labels(out, renders, real, pseudo_labels, recipe)
        learned = recipe.finetune
        if recipe.order_renders and guide is not None:
            ids = [*gather_manifests(renders)["id"]]
            labels, guide, learned = order.compare_renders(labels, guide, ids, learned, out)
        console.note(f"3/6 go on from {recipe.init}" if recipe.init else "3/6 pre-train")
        init = recipe.init or str(pretrain.run(recipe.pretrain, faces, out / "mae"))
        console.note("4/6 fine-tune")
        models = {"": finetune.run(learned, labelled, labels, init, out / "au", guide)}
        if recipe.scratch:
            console.note("4/6 fine-tune from random weights, for comparison")
            fresh = _without_head(learned)
            models[" from scratch"] = finetune.run(fresh, labelled, labels, "random", out / "scratch", guide)
        console.note("5/6 pack")
        packed = {suffix: _pack(recipe, path, suffix) for suffix, path in models.items()}
        if real:
            for paths in packed.values():
                console.note(str(unlike.run(paths[0], real, renders)))
        console.note("6/6 score")
        scores: dict[str, evaluate.Scores] = {}
        for suffix, paths in packed.items():
            folder = out / f"scores{suffix.replace(' ', '-')}"
            split = models[suffix].parent / finetune.SPLIT
            results = scoring.score(folder, paths, out / RENDERS, split, sources.held_out)
            scores |= {name + suffix: result for name, result in results}
        return Summary(packed[""], scores)


def _without_head(settings: config.Finetune) -> config.Finetune:
    """Return settings for random weights, which have no head to keep."""
    return settings.model_copy(update={"model": settings.model.model_copy(update={"keep_head": False})})


def list_results(summary: Summary) -> Iterator[Any]:
    """Yield the scores and the files, each for ``console.print_result``."""
    for name, scores in summary.scores.items():
        yield f"{name}: {scores.summary()}"
        yield evaluate.render(scores)
    yield str(summary)


def list_sources(recipe: Recipe, data: Path) -> Sources:
    """Return the files of the data folder.

    Raises:
        ConfigError: files or folders are missing; the message names all of them.
    """
    settings = recipe.prepare
    folders = [*settings.photos, *settings.videos, *settings.plates]
    missing = [name for name in folders if not (data / name).is_dir()]
    second = any(part is not None and part.second_shapes for part in (recipe.render, recipe.more_renders))
    rig_files = [RIG, SHAPES] if second else [RIG]
    missing += [name for name in rig_files if not (data / name).is_file()]
    if missing:
        raise ConfigError(f"{data} lacks {', '.join(missing)}; studio/docs/weights.md says where to get them")
    held_out = facts.held_out_portraits()
    photos = [path for name in settings.photos for path in _list_images(data / name)]
    training = tuple(path for path in photos if path.name not in held_out)
    if settings.photos and not training:
        raise ConfigError(f"{data} has no photograph to learn from in {', '.join(settings.photos)}")
    return Sources(
        data / RIG,
        data / SHAPES if second else None,
        training,
        tuple(path for path in photos if path.name in held_out),
        tuple(_list_videos([data / name for name in settings.videos], settings.held_out_videos)),
        tuple(data / name for name in settings.plates),
    )


def _list_images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() in manifest.IMAGE_SUFFIXES)


def _list_videos(folders: Sequence[Path], held_out: Sequence[str]) -> list[Path]:
    """Return the folders, or the videos in them except those held out."""
    if not held_out:
        return [*folders]
    files = [path for folder in folders for path in sorted(folder.rglob("[!.]*")) if path.is_file()]
    return [path for path in files if path.name not in held_out]


def _is_mediapipe(teacher: Path) -> bool:
    return teacher.suffix == ".task"


def _check_teacher(recipe: Recipe, teacher: Path | None, out: Path) -> Path | None:
    """Check the teacher before hours of work; return its pseudo-labels if it is a table."""
    compared = recipe.order_renders or recipe.finetune.relative.measures
    if compared and not (teacher and _is_mediapipe(teacher)):
        raise ConfigError(
            "the recipe learns the order of faces (finetune.relative, order_renders) from MediaPipe's "
            "measures; give --teacher face_landmarker.task"
        )
    if teacher is None:
        return None
    if _is_mediapipe(teacher):
        FaceLandmarker(teacher).close()
        return None
    return _select_pseudo_labels(recipe, teacher, out)


def _select_pseudo_labels(recipe: Recipe, table: Path, out: Path) -> Path:
    """Return the labels of real faces from a teacher's table."""
    settings = recipe.pseudo_labels
    return select_pseudo_labels(table, settings.aus, out / PSEUDO_LABELS, settings.intensities)


def _prepare_real_faces(settings: Prepare, sources: Sources, out: Path) -> list[Path]:
    """Prepare photographs, videos and plates; return the prepared folders."""
    folders = []
    of_one = prepare.Settings(size=settings.size, fps=settings.fps)
    for name, inputs, how in (
        ("portraits", sources.photos, of_one),
        ("frames", sources.videos, of_one),
        ("plates", sources.plates, prepare.Settings(size=settings.size, faces="all")),
    ):
        if inputs:
            summary = prepare.run(inputs, out / name, how)
            console.note(str(summary))
            folders.append(out / name)
    return folders


def _render(settings: Render, sources: Sources, out: Path) -> Path:
    """Render faces, and return their folder."""
    drawn = render_settings.Settings(**settings.model_dump(exclude={"second_shapes"}))
    shapes = sources.shapes if settings.second_shapes else None
    console.note(str(render.run(sources.rig, out, drawn, shapes_file=shapes)))
    return out


def _write_labels(
    out: Path,
    renders: Sequence[Path],
    real: Sequence[Path],
    pseudo_labels: Path | None,
    recipe: Recipe,
) -> Path:
    """Write one table of all labels by ``id``: exact ones, annotations and pseudo-labels.

    Args:
        out: folder of the run.
        renders: folders of renders, with their labels.
        real: prepared folders of real faces.
        pseudo_labels: a table, or None.
        recipe: says what to take from the annotations, and which pseudo-labels are intensities.
    """
    annotated = recipe.annotations
    tables = [join_labels(manifest.load(folder), folder / LABELS).table() for folder in renders]
    real_labels = None
    if pseudo_labels is not None:
        joined = join_labels(gather_manifests(real), pseudo_labels)
        console.note(f"pseudo-labels {pseudo_labels}: {joined.summary()}")
        real_labels = joined.table()
    if annotated.aus and real:
        faces = gather_manifests(real)
        real_labels, count = annotations.merge_annotations(
            faces, annotated.aus, real_labels, annotated.least_share
        )
        console.note(f"annotations: {count} of {len(faces)} faces")
    if real_labels is not None:
        tables.append(agree_with_occurrence(real_labels, recipe.pseudo_labels.intensities))
    path = out / "labels.parquet"
    with files.atomic(path) as temporary:
        pd.concat(tables, ignore_index=True).to_parquet(temporary, index=False)
    return path


def _check_licence(recipe: Recipe) -> None:
    """Raise ConfigError if the weights that the recipe starts from cannot become free ones."""
    if not licences.is_free(recipe.pack.licence):
        raise ConfigError(
            f"pack.licence: expected a free licence ({', '.join(sorted(licences.FREE))}), "
            f"got {recipe.pack.licence!r}"
        )
    for init in {recipe.init or recipe.pretrain.init} - {"random"}:
        if not licences.is_free(licence := licences.licence_of(weights.find(init))):
            raise ConfigError(
                f"weights that start from {init} cannot be packed as {recipe.pack.licence}: "
                f"its licence is {licence or licences.NOT_STATED}; start from other weights"
            )


def _pack(recipe: Recipe, path: Path, suffix: str) -> tuple[Path, ...]:
    """Store weights with fewer bits, in files of limited size."""
    pack = recipe.pack
    target = path.parents[1] / f"{recipe.name}{suffix.replace(' ', '-')}.safetensors"
    weights.repack(path, target, pack.dtype, round(pack.part_mib * 2**20), pack.mirror)
    metadata = weights.read_metadata(target)
    # ``bench`` refuses renders of these people.
    provenance = metadata.provenance | {RENDER_SEEDS: ",".join(map(str, sorted(recipe.seeds())))}
    licence = licences.inherit(recipe.pack.licence, metadata.start)
    return weights.write_metadata(
        target, metadata.model_copy(update={"provenance": provenance, "licence": licence})
    )
