"""``maeface demo``: all steps in minutes, on the rendered faces that come with the package.

Some subjects are held out. A small masked autoencoder is pre-trained on the others; then one network is
fine-tuned from it and one from scratch, with the same settings. Both predict the held-out faces, and so do
the weights that come with the package. A report shows predictions and scores.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rich.table import Table as RichTable

from maeface import checks, config, console, evaluate, facts, files, finetune, pretrain, process
from maeface.data import manifest
from maeface.data.shards import FOLDER, INDEX, Shards
from maeface.errors import ConfigError
from maeface.faces import media
from maeface.model import preprocessing, weights, zoo
from maeface.paths import StrPath
from maeface.prediction.predictor import Predictor
from maeface.report import charts, figures, html
from maeface.report.document import Document, Picture, Section, Table
from maeface.train.stopwatch import Stopwatch

HELD_OUT_SUBJECTS = 10
"""Number of subjects held out, including all those with clips."""

LABELS = "labels.parquet"
RECORD = "demo.json"
"""The file that marks a folder as a demo's, with its seed."""
SECONDS = "seconds.json"
MAE, SCRATCH = "from MAE", "from scratch"
PACKAGED = zoo.DEFAULT
"""The weights that come with the package, trained on other subjects than the sample's; used if available."""
RATIOS = (0.5, 0.75, 0.9)
FACES_SHOWN = 4
CURVES_SHOWN = 2


@dataclass(frozen=True)
class Summary:
    """The result of the demo.

    Attributes:
        report: path of the HTML page.
        scores: mean scores on the held-out stills: one row per model, columns ``f1 auc icc mse mae``.
        seconds: wall time, including that of interrupted runs.
    """

    report: Path
    scores: pd.DataFrame
    seconds: float


def sample_folder() -> Path:
    """Return the prepared folder of rendered faces that comes with the package."""
    return Path(str(resources.files("maeface") / "sample"))


def run(out: StrPath, seed: int = 0, overrides: Sequence[str] = ()) -> Summary:
    """Pre-train, fine-tune twice, evaluate, predict, and write ``out/report.html``.

    The same call resumes an interrupted demo.

    Args:
        out: folder for the runs and the report.
        seed: of the split, the initial weights and the order of the samples.
        overrides: ``--set`` settings for all three trainings.

    Raises:
        ConfigError: ``out`` holds other files, or a demo with other settings, or ``torchrun`` has started
            several processes.
        ResourceError: the disk is full, or ``out`` is in use.
    """
    out = Path(out)
    process.require_one("demo", "")
    _check_folder(out, seed)
    with files.lock(out), Stopwatch(out / SECONDS) as watch:
        files.write_json(out / RECORD, {"by": "maeface demo", "seed": seed})
        return _run(out, seed, overrides, watch)


def _check_folder(out: Path, seed: int) -> None:
    """Check that a folder is empty or that of a demo with this seed, before anything is written.

    Raises:
        ConfigError: it is not.
        ResourceError: the folder cannot be written.
    """
    checks.require_writable_folders(out)
    if not out.is_dir() or not [file for file in out.iterdir() if not file.name.startswith(".")]:
        return
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        demo_seed = record["seed"] if record["by"] == "maeface demo" else None
    except (OSError, ValueError, KeyError, TypeError):
        demo_seed = None
    if demo_seed is None:
        raise ConfigError(f"{out} is not empty and holds no demo (no {RECORD}); choose another --out")
    if demo_seed != seed:
        raise ConfigError(f"{out} holds a demo with seed {demo_seed}, not {seed}; choose another --out")


def _run(out: Path, seed: int, overrides: Sequence[str], watch: Stopwatch) -> Summary:
    sample = sample_folder()
    training, held_out = split(manifest.load(sample), seed)
    faces = _write_subset(sample, training, out / f"faces-{seed}")
    changes = [f"run.seed={seed}", *overrides]

    console.note("1/4 pre-train a masked autoencoder on faces without labels")
    encoder = pretrain.run(config.load(config.Pretrain, "demo-pretrain", changes), [faces], out / "mae")
    recipe = config.load(config.Finetune, "demo-finetune", changes)
    console.note("2/4 fine-tune from it on labelled faces")
    models = {MAE: finetune.run(recipe, [faces], sample / LABELS, str(encoder), out / "from-mae")}
    console.note("3/4 fine-tune from scratch, with the same settings")
    models[SCRATCH] = finetune.run(recipe, [faces], sample / LABELS, "random", out / "from-scratch")

    console.note("4/4 predict and evaluate held-out faces")
    crops = _read_crops(sample, held_out)
    truth = pd.read_parquet(sample / LABELS).set_index("id").loc[held_out["id"]].reset_index()
    predictions = {name: _predict(path, held_out, crops) for name, path in models.items()}
    face_sections = [_faces_section(truth, predictions[MAE], crops, MAE)]
    if PACKAGED in zoo.names():
        packaged = _predict(weights.find(PACKAGED), held_out, crops)
        face_sections.append(_faces_section(truth, packaged, crops, PACKAGED))
        # only the AUs that the other networks predict too
        predictions[PACKAGED] = packaged[[name for name in predictions[MAE] if name in packaged]]
    scores = {name: _evaluate(out, name, truth, table) for name, table in predictions.items()}

    sections = [
        _data_section(training, held_out),
        _reconstructions_section(encoder, [crops[i] for i in _spread(held_out, 6)]),
        _scores_section(scores),
        *face_sections,
        _clips_section(truth, held_out, predictions),
    ]
    report = out / "report.html"
    seconds = watch.seconds
    footer = f"maeface {version('maeface')}, torch {torch.__version__}, seed {seed}, {seconds:.0f} s"
    files.write_text(report, html.render(Document("maeface demo", sections, footer=footer)))
    means = pd.DataFrame({name: dict(score.means) for name, score in scores.items()}).T
    return Summary(report, means, seconds)


def render(summary: Summary) -> RichTable:
    """Return a table of the mean scores for the terminal."""
    titles = {"f1": "F1", "auc": "AUC", "icc": "ICC(3,1)", "mse": "MSE", "mae": "MAE"}
    table = RichTable(title="held-out subjects, mean over action units")
    table.add_column("network")
    for title in titles.values():
        table.add_column(title, justify="right")
    for name, row in summary.scores.iterrows():
        table.add_row(str(name), *(f"{row[key]:.3f}" for key in titles))
    return table


def split(rows: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the rows of a manifest by subject, into training and held-out rows.

    All subjects with clips are held out, and others that are drawn at random.
    """
    subjects = sorted(rows["subject"].unique())
    held_out = set(rows.loc[rows["clip"].notna(), "subject"])
    others = [subject for subject in subjects if subject not in held_out]
    drawn = np.random.default_rng(seed).permutation(len(others))[: HELD_OUT_SUBJECTS - len(held_out)]
    held_out |= {others[i] for i in drawn}
    mask = rows["subject"].isin(held_out)
    return rows[~mask].reset_index(drop=True), rows[mask].reset_index(drop=True)


def _write_subset(sample: Path, rows: pd.DataFrame, folder: Path) -> Path:
    """Write a prepared folder of some rows of the sample; its shards are complete copies."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for shard in sorted(rows["shard"].unique()):
        shutil.copyfile(sample / FOLDER / shard, folder / FOLDER / shard)
    shutil.copyfile(sample / INDEX, folder / INDEX)
    table = pa.Table.from_pandas(rows, schema=manifest.SCHEMA, preserve_index=False)
    manifest.write(folder / manifest.FILE, [table])
    return folder


def _read_crops(sample: Path, rows: pd.DataFrame) -> list[NDArray[np.uint8]]:
    shards = Shards(sample)
    ranges = zip(rows["shard"], rows["offset"], rows["size"], strict=True)
    return [media.decode_image(shards.read_range(*one), "jpeg") for one in ranges]


def _predict(model: Path, rows: pd.DataFrame, crops: list[NDArray[np.uint8]]) -> pd.DataFrame:
    table = Predictor(model, aligned=True)(crops)
    table.insert(0, "id", rows["id"])
    return table


def _evaluate(out: Path, name: str, truth: pd.DataFrame, predicted: pd.DataFrame) -> evaluate.Scores:
    """Write and score the predictions of the stills; the frames of a clip are too similar to be scored."""
    folder = out / name.replace(" ", "-").lower()
    stills = truth["clip"].isna()
    files.write_text(folder / "labels.csv", truth[stills].to_csv(index=False))
    files.write_text(folder / "predictions.csv", predicted[stills].to_csv(index=False))
    return evaluate.run(folder / "labels.csv", folder / "predictions.csv")


def _spread(rows: pd.DataFrame, count: int) -> list[int]:
    """Return positions of stills of ``count`` different subjects."""
    stills = rows[rows["clip"].isna()]
    firsts = stills.groupby("subject", sort=True).head(1).index
    return [int(i) for i in firsts[:count]]


def _data_section(training: pd.DataFrame, held_out: pd.DataFrame) -> Section:
    stills = held_out["clip"].isna()
    return Section(
        "What was done",
        [
            f"Training: {len(training)} rendered faces of {training['subject'].nunique()} subjects. "
            f"Evaluation: {int(stills.sum())} stills and {int((~stills).sum())} frames of clips of "
            f"{held_out['subject'].nunique()} other subjects.",
            "The faces are renders of a 3D head, whose action units are known exactly. The demo shows that "
            "all steps work together, and what pre-training adds. It says nothing about real people.",
        ],
    )


def _reconstructions_section(encoder: Path, crops: list[NDArray[np.uint8]]) -> Section:
    """Show held-out faces with masked patches, and their reconstructions (the paper's Figs. 1 and 5)."""
    model, metadata = weights.load_mae(encoder)
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)  # (B, 3, S, S)
    images = preprocessing.to_input(batch, metadata.preprocessing.image_size)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(len(images), model.encoder.patches, generator=generator)
    pictures = []
    for ratio in RATIOS:
        result = model.eval().reconstruct(images, noise, ratio)
        grid = figures.reconstructions(_uint8(result.masked), _uint8(result.reconstructed), _uint8(images))
        pictures.append(Picture(grid, f"{ratio:.0%} of the patches removed: masked, reconstructed, original"))
    return Section(
        "Pre-training: reconstructions of held-out faces",
        ["The network sees the patches in the left image of each three, and reconstructs the others."],
        pictures=pictures,
    )


def _uint8(images: torch.Tensor) -> NDArray[np.uint8]:
    """Convert normalised images (B, 3, S, S) to uint8 (B, S, S, 3)."""
    array: NDArray[np.uint8] = preprocessing.denormalize(images).permute(0, 2, 3, 1).numpy()
    return array


def _scores_section(scores: dict[str, evaluate.Scores]) -> Section:
    columns = {"f1": "F1", "icc": "ICC(3,1)", "mae": "MAE"}
    tables, pictures = [], []
    merged = pd.DataFrame(
        {
            f"{title}, {name}": score.table[key]
            for key, title in columns.items()
            for name, score in scores.items()
        }
    )
    merged.index = pd.Index([facts.au_title(int(au)) for au in merged.index], name="action unit")
    merged.loc["mean"] = merged.mean()
    tables.append(Table(merged, f"{next(iter(scores.values())).matched} stills of held-out subjects", 3))
    for key in ("f1", "icc"):
        table = pd.DataFrame({name: score.table[key] for name, score in scores.items()})
        pictures.append(
            Picture(charts.comparison_bars(table, columns[key]), f"{columns[key]} for each action unit")
        )
    note = f"{PACKAGED} comes with the package; it was trained on many more faces."
    notes = [note] if PACKAGED in scores else []
    return Section("Fine-tuning: with and without pre-training", notes, tables, pictures)


def _faces_section(
    truth: pd.DataFrame, predicted: pd.DataFrame, crops: list[NDArray[np.uint8]], name: str
) -> Section:
    """Show bars of the predictions for the most active face of some subjects."""
    aus = [int(column[2:4]) for column in predicted.columns if column.endswith("_i")]
    columns = [f"{facts.au_name(au)}_i" for au in aus]
    stills = truth[truth["clip"].isna()]
    most_active = stills[columns].sum(axis=1).groupby(stills["subject"]).idxmax()
    pictures = []
    for i in most_active.iloc[:FACES_SHOWN]:
        side = crops[i].shape[0]
        face = figures.FaceBars(
            box=(0, 0, side, side),
            probabilities=[predicted[f"{facts.au_name(au)}_p"].iloc[i] for au in aus],
            intensities=[predicted[column].iloc[i] for column in columns],
        )
        posed = {au: int(truth[column].iloc[i]) for au, column in zip(aus, columns, strict=True)}
        posed_text = ", ".join(f"AU{au} at {level}" for au, level in posed.items() if level) or "none"
        pictures.append(Picture(figures.au_bars(crops[i], aus, [face]), f"Posed: {posed_text}."))
    return Section(
        f"Held-out faces, {name}",
        [f"Predictions of the network {name} for the most active face of {len(pictures)} subjects."],
        (),
        pictures,
    )


def _clips_section(truth: pd.DataFrame, rows: pd.DataFrame, predictions: dict[str, pd.DataFrame]) -> Section:
    """Plot the action units with the highest labels over the time of each clip (the paper's Fig. 6)."""
    columns = [name for name in truth.columns if name.endswith("_i") and name in predictions[MAE]]
    pictures = []
    for clip in rows["clip"].dropna().unique():
        in_clip = (rows["clip"] == clip).to_numpy()
        strongest = truth.loc[in_clip, columns].mean().nlargest(CURVES_SHOWN)
        for name in map(str, strongest[strongest > 0].index):
            curves = {model: table.loc[in_clip, name].to_numpy() for model, table in predictions.items()}
            time_s, labels = rows.loc[in_clip, "time_s"], truth.loc[in_clip, name]
            curve = charts.intensity_curve(time_s, labels, curves, int(name[2:4]))
            pictures.append(Picture(curve, f"clip {clip}"))
    return Section(
        "Held-out clips",
        [f"The {CURVES_SHOWN} action units with the highest mean label in each clip."],
        (),
        pictures,
    )
