"""What comes with the package, made again from nothing.

Each stage is a call of another verb in a folder of its own below ``out``, and these verbs go on where they
were stopped and leave alone what they finished; so does this one. The recipe names every setting.

    out/synth       rendered faces with exact labels             synth
    out/portraits   crops of photographs, without the held-out   prepare
    out/frames      crops of video frames                        prepare
    out/labels.parquet   renders, and what readers and a teacher say of real faces
    out/mae         masked autoencoder of all of them            pretrain
    out/au          action units                                 finetune
    out/NAME.safetensors   the same, rounded and small enough to ship
    out/scores      renders of unseen subjects, held-out real portraits: predictions and scores
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from maeface import config, console, evaluate, facts, files, finetune, predict, prepare, pretrain
from maeface.data import manifest
from maeface.data.loading import batches
from maeface.errors import ConfigError
from maeface.model import weights
from maeface.model.file_format.encoding import Dtype
from maeface.prediction.crops import predict_crops
from maeface_studio.output import render
from maeface_studio.weights import blendshapes, measures, readings
from maeface_studio.weights.teacher import believed

RIG = "rig/ict_facekit.npz"
RECIPES = Path(str(resources.files("maeface_studio.weights"))) / "recipes"
RECORD = "reproduce.json"
TAUGHT = "teacher.parquet"
OF = "weights.json"


class Cast(config.Settings):
    """Who is rendered; see ``render.Settings``."""

    subjects: Annotated[int, Field(ge=1)] = 40
    images: Annotated[int, Field(ge=0)] = 20
    clips: Annotated[int, Field(ge=0)] = 0
    clip_subjects: Annotated[int, Field(ge=0)] | None = None
    clip_frames: Annotated[int, Field(ge=1)] = 48
    size: Annotated[int, Field(ge=16)] = 224
    seed: Annotated[int, Field(ge=0)] = 1
    """Not 0, which drew the people of the demo's sample."""
    quality: Annotated[int, Field(ge=1, le=95)] = 90


class Real(config.Settings):
    """Real faces, without labels; folders below the data folder."""

    photos: tuple[str, ...] = ("photos/congress",)
    """The held-out portraits among them are left out by name (``facts.held_out_portraits``)."""
    videos: tuple[str, ...] = ("videos",)
    size: Annotated[int, Field(ge=16)] = 256
    """Side of a crop, px."""
    fps: Annotated[float, Field(gt=0)] = 4.0
    """Frames a second of a video, at most."""


class Teacher(config.Settings):
    """What is believed of a teacher's table."""

    aus: dict[int, tuple[float, float]] = Field(default_factory=dict)
    """Of a table of probabilities (``AU12_p``), the action units to take, and of each the probabilities up to
    which it is absent and from which it is present; in between it is unknown. Its intensities are not taken.
    A table of labels (``AU12_o``, ``AU12_i``) is taken as it is."""


class Readings(config.Settings):
    """What is taken of what readers saw in the real faces (``datasets/readings.csv``)."""

    aus: tuple[int, ...] = ()
    """The action units; where its two readers agree they are believed, before any teacher."""


class Pack(config.Settings):
    """How the weights are stored."""

    dtype: Dtype = "bf16"
    part_mib: Annotated[float, Field(gt=0)] = 16.0
    """No file larger than this, in MiB."""
    mirror: bool = True
    """Predict from the mean over the face and its mirror image."""


class Settings(config.Settings):
    """A recipe of ``maeface reproduce`` of kind "weights", which is what a recipe is that names no kind."""

    verb: Literal["reproduce"] = "reproduce"
    kind: Literal["weights"] = "weights"
    title: str = ""
    cost: str = ""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "weights"
    """What the weights are called."""
    scratch: bool = False
    """Also fine-tune from random weights, which shows what pre-training gives."""
    synth: Cast = Cast()
    prepare: Real = Real()
    teacher: Teacher = Teacher()
    readings: Readings = Readings()
    pretrain: config.Pretrain = config.Pretrain()
    finetune: config.Finetune = config.Finetune()
    pack: Pack = Pack()


@dataclass(frozen=True)
class Summary:
    """What came out.

    Attributes:
        weights: the packed files.
        scores: by what was predicted, and "from scratch" after it for the network without pre-training.
    """

    weights: tuple[Path, ...]
    scores: dict[str, evaluate.Scores]

    def __str__(self) -> str:
        """One line for people."""
        sizes = ", ".join(f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in self.weights)
        return f"weights: {sizes}"


@dataclass(frozen=True)
class Sources:
    """What a recipe needs from the data folder, all of it there."""

    rig: Path
    photos: tuple[Path, ...]
    held_out: tuple[Path, ...]
    videos: tuple[Path, ...]


def load(recipe: str, overrides: Sequence[str] = ()) -> Settings:
    """Read a recipe of the studio, or a TOML file, as settings.

    Raises:
        ConfigError: no such recipe, an unknown key, or a value out of range.
    """
    file = RECIPES / f"{recipe}.toml"
    if not file.is_file() and not Path(recipe).is_file():
        names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
        raise ConfigError(f"no recipe {recipe!r}; give a TOML file or one of: {names}")
    return config.load(Settings, str(file) if file.is_file() else recipe, overrides)


def run(settings: Settings, data: Path, out: Path, teacher: Path | None = None) -> Summary:
    """Render, prepare, pre-train, fine-tune, pack and score.

    The same call goes on where it was stopped, and repeats nothing that is finished.

    Args:
        settings: ``config.load(Settings, recipe)``.
        data: folder with ``rig/ict_facekit.npz`` and the folders that ``settings.prepare`` names.
        out: folder for everything.
        teacher: MediaPipe's ``face_landmarker.task``, which measures every face: a guide (``data.guide``),
            and labels of the real faces where ``settings.teacher`` believes it. Or a table of labels or
            predictions of the real faces; what it does not say stays unknown. None: only renders have labels.

    Raises:
        ConfigError: ``data`` lacks something, or ``out`` holds a run with other settings.
        DataError: a teacher's table that is none, or fits no face; damaged data.
        WeightsError: values that cannot be packed so.
        ResourceError: disk, memory, device, no renderer, or ``out`` is in use.
    """
    found = sources(settings.prepare, data)
    with files.exclusive(out):
        how = settings.model_dump(mode="json")
        files.write_json(out / RECORD, {"settings": how, "maeface": version("maeface")})
        measuring = teacher is not None and teacher.suffix == ".task"
        taught = None
        read = settings.readings.aus
        readings.columns(read)  # what is wrong with these is said now, not after hours
        if teacher is not None:
            if measuring:
                blendshapes.Reader(teacher).close()
            else:
                taught = believed(teacher, settings.teacher.aus, out / TAUGHT)
        console.say("1/6 render faces")
        rendered = render.run(found.rig, out / "synth", render.Settings(**settings.synth.model_dump()))
        console.say(str(rendered))
        console.say("2/6 prepare photographs and videos")
        real = _prepare(settings.prepare, found, out)
        faces = [out / "synth", *real]
        guide = measures.write(faces, teacher, out / "measures.parquet") if teacher and measuring else None
        if guide is not None:
            taught = believed(guide, settings.teacher.aus, out / TAUGHT)
        labelled = faces if taught or read else faces[:1]
        labels = _labels(out, rendered.labels, real, taught, read)
        console.say("3/6 pre-train")
        encoder = pretrain.run(settings.pretrain, faces, out / "mae")
        console.say("4/6 fine-tune")
        models = {"": finetune.run(settings.finetune, labelled, labels, str(encoder), out / "au", guide)}
        if settings.scratch:
            console.say("4/6 fine-tune from random weights, for comparison")
            scratch = finetune.run(settings.finetune, labelled, labels, "random", out / "scratch", guide)
            models[" from scratch"] = scratch
        console.say("5/6 pack")
        packed = {name: _pack(settings, path, name) for name, path in models.items()}
        console.say("6/6 score")
        scores: dict[str, evaluate.Scores] = {}
        for name, paths in packed.items():
            folder = out / f"scores{name.replace(' ', '-')}"
            split = models[name].parent / finetune.SPLIT
            scores |= {what + name: score for what, score in _score(folder, paths, out, split, found)}
        return Summary(packed[""], scores)


def shown(summary: Summary) -> Iterator[Any]:
    """The scores and the files, each for ``console.show``."""
    for what, scores in summary.scores.items():
        yield f"{what}: {scores.summary()}"
        yield evaluate.render(scores)
    yield str(summary)


def sources(settings: Real, data: Path) -> Sources:
    """The files that are used.

    Raises:
        ConfigError: some of it is not there; all that is missing is named.
    """
    folders = [*settings.photos, *settings.videos]
    missing = [name for name in folders if not (data / name).is_dir()]
    missing += [] if (data / RIG).is_file() else [RIG]
    if missing:
        raise ConfigError(f"{data} lacks {', '.join(missing)}; docs/reproduce.md says where to get them")
    held_out = facts.held_out_portraits()
    photos = [file for name in settings.photos for file in _images(data / name)]
    used = tuple(file for file in photos if file.name not in held_out)
    if settings.photos and not used:
        raise ConfigError(f"{data} has no photograph to learn from in {', '.join(settings.photos)}")
    return Sources(
        data / RIG,
        used,
        tuple(file for file in photos if file.name in held_out),
        tuple(data / name for name in settings.videos),
    )


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("[!.]*") if file.suffix.lower() in manifest.IMAGE_SUFFIXES)


def _prepare(settings: Real, found: Sources, out: Path) -> list[Path]:
    """The prepared folders of real faces."""
    folders = []
    for name, inputs in (("portraits", found.photos), ("frames", found.videos)):
        if inputs:
            how = prepare.Settings(size=settings.size, fps=settings.fps)
            console.say(str(prepare.run(inputs, out / name, how)))
            folders.append(out / name)
    return folders


def _labels(
    out: Path, rendered: Path, real: Sequence[Path], teacher: Path | None, read: Collection[int]
) -> Path:
    """One table by ``id``: what was posed, what readers saw, what a teacher says; the rest is empty."""
    tables = [manifest.join_labels(manifest.load(rendered.parent), rendered).table()]
    theirs = None
    if teacher is not None:
        said = manifest.join_labels(batches.gather(real), teacher)
        console.say(f"teacher {teacher}: {said.summary()}")
        theirs = said.table()
    if read and real:
        faces = batches.gather(real)
        theirs, count = readings.over(faces, read, theirs)
        console.say(f"readers: {count} of {len(faces)} faces")
    if theirs is not None:
        tables.append(theirs)
    path = out / "labels.parquet"
    with files.atomic(path) as temporary:
        pd.concat(tables, ignore_index=True).to_parquet(temporary, index=False)
    return path


def _pack(settings: Settings, path: Path, name: str) -> tuple[Path, ...]:
    how = settings.pack
    target = path.parents[1] / f"{settings.name}{name.replace(' ', '-')}.safetensors"
    return weights.repack(path, target, how.dtype, round(how.part_mib * 2**20), how.mirror)


def _score(
    folder: Path, packed: Sequence[Path], out: Path, split: Path, found: Sources
) -> Iterator[tuple[str, evaluate.Scores]]:
    """Predict what was never trained on, unless these weights have, and score it."""
    of = {"weights": [files.sha256(path) for path in packed]}
    if not (folder / OF).is_file() or json.loads((folder / OF).read_text(encoding="utf-8")) != of:
        (folder / OF).unlink(missing_ok=True)
        _predict_renders(folder, packed[0], out, split)
        if found.held_out:
            predict.run(found.held_out, packed[0], folder / "portraits.parquet", faces="largest")
        files.write_json(folder / OF, of)
    if (folder / "renders.parquet").is_file():
        renders = folder / "renders.parquet"
        yield "renders", evaluate.run(out / "synth" / render.LABELS, renders, out=folder / "renders.csv")
    if found.held_out:
        yield from _score_portraits(folder)


def _score_portraits(folder: Path) -> Iterator[tuple[str, evaluate.Scores]]:
    """Real faces against the labels read off them, once there are some."""
    resource = resources.files("maeface") / "datasets" / "portraits.csv"
    with resources.as_file(resource) as labels:
        read = pd.read_csv(labels).filter(regex=r"^AU\d\d_[oi]$")
        if read.notna().any(axis=None):
            predicted = folder / "portraits.parquet"
            yield "portraits", evaluate.run(labels, predicted, out=folder / "portraits.csv")


def _predict_renders(folder: Path, packed: Path, out: Path, split: Path) -> None:
    """Predictions of the rendered subjects that were kept for the test, by ``id``."""
    kept: Mapping[str, list[str]] = json.loads(split.read_text(encoding="utf-8"))
    rows = batches.gather([out / "synth"])
    rows = rows[rows["subject"].isin(set(kept["test"]))]
    if rows.empty:
        return
    table = predict_crops([out / "synth"], rows, packed)
    with files.atomic(folder / "renders.parquet") as temporary:
        table.to_parquet(temporary, index=False)
