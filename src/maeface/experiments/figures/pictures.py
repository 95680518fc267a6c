"""The paper's figures of faces, classes and clips, from prepared folders, weights and finished parts.

Every figure leaves ``OUT/<name>.png`` and ``OUT/<name>.html``, which says what is seen and of what it is
made; where the figure has numbers, also ``OUT/<name>.csv``.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from maeface import console, facts, files
from maeface.data import manifest
from maeface.data.loading import batches
from maeface.data.loading.batches import FaceDataset
from maeface.errors import ConfigError, DataError, WeightsError
from maeface.experiments.reporting.comparison import title
from maeface.experiments.reporting.results import Part
from maeface.experiments.running.ready import LABELS
from maeface.experiments.settings import Figure
from maeface.model import preprocessing, weights
from maeface.model.mae import MAE
from maeface.report import charts, figures
from maeface.report.page import Picture, Section, Table, page

TILE = 112
"""Faces are drawn at this side at least, px."""


def draw(
    recipe: Figure,
    data: Mapping[str, Path],
    models: Mapping[str, Path],
    out: Path,
    parts: Sequence[Part] = (),
) -> Path:
    """Draw a figure of the paper.

    Args:
        recipe: what is drawn.
        data: prepared folders by the name of their dataset; for ``classes`` each with its table of labels.
        models: masked autoencoders by the names that ``recipe.weights`` has, for ``reconstructions``.
        out: folder for what is written.
        parts: finished parts of the experiment ``recipe.of``, for ``clip``.

    Returns:
        The picture, ``out/<name>.png``.

    Raises:
        ConfigError: a dataset or weights that the recipe names are not given, or an unknown table.
        DataError: no labels, no such subject or clip, damaged data.
        WeightsError: not a masked autoencoder, or one without its decoder.
        ResourceError: the folder cannot be written.
    """
    if recipe.figure == "reconstructions":
        picture, table = reconstructions(recipe, data, models), None
    elif recipe.figure == "clip":
        picture, table = clip(recipe, parts)
    else:
        picture, table = classes(recipe, data)
    path = out / f"{recipe.name}.png"
    files.write_bytes(path, figures.png(picture.image))
    tables = []
    if table is not None:
        files.write_text(
            out / f"{recipe.name}.csv", table.data.to_csv(index=table.data.index.name is not None)
        )
        tables = [table]
    section = Section("Numbers", tables=tables)
    sections = [Section("Figure", pictures=[picture]), *([section] if tables else [])]
    files.write_text(path.with_suffix(".html"), page(recipe.title or recipe.name, sections))
    console.say(f"{path}: {picture.caption}")
    return path


def reconstructions(recipe: Figure, data: Mapping[str, Path], models: Mapping[str, Path]) -> Picture:
    """Masked faces, what each model makes of them, and the faces: Figs. 1, 5 and 8.

    Models with grids of one size see the same patches. Where a model normalises patches, what it paints
    gets back the mean and deviation of the true patch (``MAE.reconstruct``), as in the paper's pictures.
    """
    lacking = [name for name in recipe.weights if name not in models]
    if lacking:
        raise ConfigError(
            f"{recipe.name} needs weights called {', '.join(lacking)}: --weights {lacking[0]}=FILE"
        )
    loaded = {name: load(models[name]) for name in recipe.weights}
    folders = [_given(data, name) for name in recipe.datasets]
    rows = _some_faces(batches.gather(folders), recipe.faces, recipe.seed)
    columns: list[tuple[str, NDArray[np.uint8]]] = []
    true: NDArray[np.uint8] | None = None
    for ratio in recipe.mask_ratios:
        grid = 0
        for name, model in loaded.items():
            masked, painted, true = _painted(model, folders, rows, ratio, recipe.seed)
            if model.encoder.grid != grid:
                grid = model.encoder.grid
                columns.append((f"{ratio:.0%} masked", masked))
            columns.append((name if len(loaded) > 1 else "reconstructed", painted))
    assert true is not None, "a recipe has a mask ratio and weights"
    columns.append(("original", true))
    side = max(TILE, *(len(faces[0]) for _, faces in columns))
    image = figures.columns([(label, _resized(faces, side)) for label, faces in columns])
    made = ", ".join(f"{name}: {_described(model)}" for name, model in loaded.items())
    known = [title(name) for name in recipe.datasets if name in facts.datasets()]
    where = f" of {', '.join(known)}" if known else ""
    return Picture(image, f"{len(rows)} faces{where}, drawn with seed {recipe.seed}. {made}.")


def load(path: Path) -> MAE:
    """A masked autoencoder with its decoder, in evaluation mode: maeface's own, or a public checkpoint.

    Raises:
        WeightsError: damaged, not a masked autoencoder, or without a decoder.
    """
    path = weights.find(str(path)) if not path.is_file() else path
    try:
        return weights.load_mae(path)[0]
    except WeightsError as own:
        try:
            model = MAE(weights.load_encoder(path)[0])
            report = weights.load_encoder_into(model, path)
        except WeightsError:
            raise own from None
        if report.missing:
            raise WeightsError(
                f"{path} has no decoder that fits ({len(report.missing)} tensors are missing), so it cannot "
                "paint faces; give a file of `maeface pretrain`, or the full pre-training checkpoint"
            ) from own
        return model.eval()


def _described(model: MAE) -> str:
    norm = "with" if model.normalize_patches else "without"
    return f"{model.loss_kind.upper()} loss, {norm} normalised patches, {model.encoder.image_size} px"


def _given(data: Mapping[str, Path], name: str) -> Path:
    if name not in data:
        raise ConfigError(f"the figure needs the dataset {name}; there are: {', '.join(data) or 'none'}")
    return data[name]


def _some_faces(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """One face of each of ``count`` people, several of one where there are fewer; by a seeded hash."""
    keys = [hashlib.sha256(f"{seed}:{face}".encode()).hexdigest() for face in rows["id"]]
    drawn = rows.assign(_key=keys, _who=manifest.subjects(rows)).sort_values("_key", kind="stable")
    nth = drawn.groupby("_who", sort=False).cumcount()
    chosen = drawn.assign(_nth=nth).sort_values(["_nth", "_key"], kind="stable").head(count)
    return chosen.drop(columns=["_key", "_who", "_nth"]).reset_index(drop=True)


@torch.inference_mode()
def _painted(
    model: MAE, folders: Sequence[Path], rows: pd.DataFrame, ratio: float, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Masked, painted and true faces, (N, S, S, 3) each."""
    size = model.encoder.image_size
    faces = FaceDataset(folders, rows, size, seed, patches=model.encoder.grid**2, training=False)
    batch = next(iter(batches.in_order(faces, len(rows))))
    images = preprocessing.to_input(batch["image"], size)
    shown = model.reconstruct(images, batch["noise"], ratio)
    masked, painted, true = (
        preprocessing.denormalize(stage).permute(0, 2, 3, 1).numpy()
        for stage in (shown.masked, shown.reconstructed, images)
    )
    return masked, painted, true


def _resized(faces: NDArray[np.uint8], side: int) -> list[Image.Image]:
    """Enlarged without smoothing where a whole factor fits, so that patches keep their edges."""
    own = faces.shape[1]
    how = Image.Resampling.NEAREST if side % own == 0 else Image.Resampling.BICUBIC
    return [Image.fromarray(np.ascontiguousarray(face)).resize((side, side), how) for face in faces]


def classes(recipe: Figure, data: Mapping[str, Path]) -> tuple[Picture, Table]:
    """How often each action unit is present in each dataset (Fig. 4), and the F1 of methods (Fig. 3)."""
    shares, counts = {}, []
    for name in recipe.datasets:
        known = facts.dataset(name)
        labels = _labels(_given(data, name), known.aus_occurrence)
        shares[title(name)] = labels.mean() * 100  # NaN, not known, is left out
        count = f"{title(name)}: {len(labels):,} labelled frames"
        if known.frames is not None and abs(len(labels) - known.frames) > 0.01 * known.frames:
            count += f", NOT the {known.frames:,} that the dataset has"
        counts.append(count)
    frame = pd.DataFrame(shares)
    frame = frame.sort_index()
    scores = _published(recipe, frame.index) if recipe.figure == "scores_and_classes" else None
    what = "Share of the labelled frames in which each action unit is present"
    if scores is not None:
        what += ", and the F1 that the paper's tables print"
    caption = f"{what}. {'; '.join(counts)}."
    numbers = frame.copy()
    for name, methods in (scores or {}).items():
        for method in methods:
            numbers[f"{name}, F1 of {method}"] = methods[method]
    numbers.index.name = "action unit"
    return Picture(charts.class_distribution(frame, scores), caption), Table(numbers, "Per cent.", 1)


def _labels(folder: Path, aus: Sequence[int]) -> pd.DataFrame:
    """Occurrence, a row a labelled frame and a column "AU12" an action unit; NaN where not known."""
    path = folder / LABELS
    columns = {f"{facts.au_name(au)}_o": facts.au_name(au) for au in aus}
    try:
        table = pd.read_parquet(path, columns=list(columns))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} has no table with the labels {', '.join(columns)} ({error}); "
            "prepare the dataset with `maeface prepare --dataset`"
        ) from error
    return table.rename(columns=columns).astype(float)


def _published(recipe: Figure, aus: pd.Index) -> dict[str, pd.DataFrame]:
    """By dataset, the F1 in per cent of the methods that its table has."""
    found: dict[str, pd.DataFrame] = {}
    for table in recipe.published:
        for comparison in facts.published(table).comparisons:
            if comparison.dataset not in recipe.datasets or comparison.metric != "f1":
                continue
            names = recipe.methods or tuple(row.method for row in comparison.rows)
            there = [name for name in names if comparison.row(name) is not None]
            scale = 100 / comparison.factor
            values = {
                name: {facts.au_name(au): value * scale for au, value in comparison.by_au(name).items()}
                for name in there
            }
            found[title(comparison.dataset)] = pd.DataFrame(values).reindex(aus)
    return found


def clip(recipe: Figure, parts: Sequence[Part]) -> tuple[Picture, Table]:
    """One action unit's intensity over a clip, as labelled and as estimated: Fig. 6.

    Of several seeds or rows, the first whose test part shows the subject is drawn.
    """
    name = facts.au_name(recipe.au)
    seen: dict[str, None] = {}
    for part in parts:
        if "intensity" not in part.measures or recipe.au not in part.aus:
            continue
        faces = part.faces()
        faces = faces[faces["part"] == "test"]
        who = manifest.subjects(faces)
        seen |= dict.fromkeys(map(str, who))
        subject = recipe.subject or (str(who[0]) if len(who) else "")
        faces = faces[who == subject]
        if recipe.clip:
            faces = faces[faces["clip"].isin([recipe.clip, f"{subject}/{recipe.clip}"])]
        if len(faces):
            return _curve(recipe, part, faces, subject)
    whom = (recipe.subject or "anybody") + (f", clip {recipe.clip}" if recipe.clip else "")
    raise DataError(
        f"{recipe.name}: no tested face of {whom} with an intensity of {name} in the parts of {recipe.of}; "
        f"tested are: {', '.join(sorted(seen)) or 'nobody'}; choose with --set subject=NAME"
    )


def _curve(recipe: Figure, part: Part, faces: pd.DataFrame, subject: str) -> tuple[Picture, Table]:
    name = facts.au_name(recipe.au)
    if recipe.clip:
        chosen = faces
    else:
        varied = faces.groupby("clip")[f"{name}_i"].std().fillna(-1.0)
        chosen = faces[faces["clip"] == varied.idxmax()]
    table = pd.DataFrame(
        {
            "frame": frame_numbers(chosen),
            "labelled": chosen[f"{name}_i"].to_numpy(dtype=float),
            "estimated": chosen[f"{name}_e"].to_numpy(dtype=float),
        }
    ).sort_values("frame")
    image = charts.intensity_curve(
        table["frame"], table["labelled"], {part.row: table["estimated"]}, recipe.au, along="frame"
    )
    label = str(chosen["clip"].iloc[0])
    caption = (
        f"{facts.au_title(recipe.au)} of {subject} in the clip {label} of {title(part.dataset)}, "
        f"{len(table)} frames, never trained on (row {part.row}, fold {part.fold}, seed {part.seed})."
    )
    return Picture(image, " ".join([caption, *(f"{note}." for note in part.notes)])), Table(table, "", 3)


def frame_numbers(faces: pd.DataFrame) -> NDArray[np.int64]:
    """The place of each face in its clip: a video's frame, or the number in an image file's name."""
    if faces["source"].nunique() == 1:
        return faces["frame"].to_numpy(dtype=np.int64)
    names = [re.findall(r"\d+", Path(str(source)).stem) for source in faces["source"]]
    return np.array([int(found[-1]) if found else 0 for found in names], dtype=np.int64)
