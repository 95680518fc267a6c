"""``maeface demo``: the whole way in minutes, on the rendered faces that come with the package.

Some subjects are set aside. On the others a small masked autoencoder is pre-trained; then one network is
fine-tuned from it and one from scratch, with the same settings. Both predict the faces that were set
aside, and so do the weights that come with the package; a report shows what came out.
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

from maeface import checks, config, console, evaluate, facts, files, finetune, pretrain
from maeface.data import manifest
from maeface.data.shards import FOLDER, INDEX, Shards
from maeface.errors import ConfigError
from maeface.faces import media
from maeface.model import preprocessing, weights, zoo
from maeface.prediction.predictor import Predictor
from maeface.report import charts, figures, html
from maeface.report.document import Document, Picture, Section, Table
from maeface.train.stopwatch import Stopwatch

UNSEEN_SUBJECTS = 10
"""Subjects set aside, those with clips among them."""

LABELS = "labels.parquet"
RECORD = "demo.json"
"""What says that a folder is a demo's, and with which seed."""
SECONDS = "seconds.json"
MAE, SCRATCH = "from MAE", "from scratch"
SHIPPED = zoo.DEFAULT
"""The weights of the package, trained on other people than the sample's; predicted with if they are there."""
RATIOS = (0.5, 0.75, 0.9)
BARS_SHOWN = 4
CURVES_SHOWN = 2


@dataclass(frozen=True)
class Summary:
    """What came out.

    Attributes:
        report: the HTML page.
        scores: mean scores on the unseen stills: one row a model, columns ``f1 auc icc mse mae``.
        seconds: wall time, of all calls where the demo was stopped and went on.
    """

    report: Path
    scores: pd.DataFrame
    seconds: float


def sample_folder() -> Path:
    """The prepared folder of rendered faces that comes with the package."""
    return Path(str(resources.files("maeface") / "sample"))


def run(out: Path, seed: int = 0, overrides: Sequence[str] = ()) -> Summary:
    """Pre-train, fine-tune twice, evaluate, predict, and write ``out/report.html``.

    Goes on where an interrupted demo in the same folder stopped.

    Args:
        out: folder for everything.
        seed: of the split, the initial weights and the order; another seed, another draw.
        overrides: ``--set`` settings for all three trainings, for those that want it smaller.

    Raises:
        ConfigError: ``out`` holds something else, or a demo with other settings.
        ResourceError: the disk is full, or ``out`` is in use.
    """
    _refuse_others(out, seed)
    with files.exclusive(out), Stopwatch(out / SECONDS) as watch:
        files.write_json(out / RECORD, {"by": "maeface demo", "seed": seed})
        return _run(out, seed, overrides, watch)


def _refuse_others(out: Path, seed: int) -> None:
    """Refuse, before anything is written, a folder of something else or of a demo with another seed.

    Raises:
        ConfigError: it is one.
        ResourceError: the folder cannot be written.
    """
    checks.output_folders(out)
    if not out.is_dir() or not [file for file in out.iterdir() if not file.name.startswith(".")]:
        return
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        begun = record["seed"] if record["by"] == "maeface demo" else None
    except (OSError, ValueError, KeyError, TypeError):
        begun = None
    if begun is None:
        raise ConfigError(f"{out} is not empty and holds no demo (no {RECORD}); choose another --out")
    if begun != seed:
        raise ConfigError(f"{out} holds a demo with seed {begun}, now it is {seed}; choose another --out")


def _run(out: Path, seed: int, overrides: Sequence[str], watch: Stopwatch) -> Summary:
    sample = sample_folder()
    seen, unseen = split(manifest.load(sample), seed)
    faces = _subset(sample, seen, out / f"faces-{seed}")
    changes = [f"run.seed={seed}", *overrides]

    console.say("1/4 pre-train a masked autoencoder on faces without labels")
    encoder = pretrain.run(config.load(config.Pretrain, "demo-pretrain", changes), [faces], out / "mae")
    recipe = config.load(config.Finetune, "demo-finetune", changes)
    console.say("2/4 fine-tune from it on labelled faces")
    models = {MAE: finetune.run(recipe, [faces], sample / LABELS, str(encoder), out / "from-mae")}
    console.say("3/4 fine-tune from scratch, with the same settings")
    models[SCRATCH] = finetune.run(recipe, [faces], sample / LABELS, "random", out / "from-scratch")

    console.say("4/4 predict and evaluate faces that neither has seen")
    crops = _crops(sample, unseen)
    truth = pd.read_parquet(sample / LABELS).set_index("id").loc[unseen["id"]].reset_index()
    predictions = {name: _predict(path, unseen, crops) for name, path in models.items()}
    shown = [_faces(truth, predictions[MAE], crops, MAE)]
    if SHIPPED in zoo.names():
        whole = _predict(weights.find(SHIPPED), unseen, crops)
        shown.append(_faces(truth, whole, crops, SHIPPED))
        predictions[SHIPPED] = whole[[name for name in predictions[MAE] if name in whole]]  # the same AUs
    scores = {name: _evaluate(out, name, truth, table) for name, table in predictions.items()}

    sections = [
        _about(seen, unseen),
        _reconstructions(encoder, [crops[i] for i in _spread(unseen, 6)]),
        _comparison(scores),
        *shown,
        _curves(truth, unseen, predictions),
    ]
    report = out / "report.html"
    seconds = watch.seconds
    footer = f"maeface {version('maeface')}, torch {torch.__version__}, seed {seed}, {seconds:.0f} s"
    files.write_text(report, html.render(Document("maeface demo", sections, footer=footer)))
    means = pd.DataFrame({name: dict(score.means) for name, score in scores.items()}).T
    return Summary(report, means, seconds)


def render(summary: Summary) -> RichTable:
    """The mean scores, for the terminal."""
    titles = {"f1": "F1", "auc": "AUC", "icc": "ICC(3,1)", "mse": "MSE", "mae": "MAE"}
    table = RichTable(title="unseen subjects, mean over action units")
    table.add_column("network")
    for title in titles.values():
        table.add_column(title, justify="right")
    for name, row in summary.scores.iterrows():
        table.add_row(str(name), *(f"{row[key]:.3f}" for key in titles))
    return table


def split(rows: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows for training (stills of some subjects) and rows to predict (stills and clips of the others)."""
    subjects = sorted(rows["subject"].unique())
    unseen = set(rows.loc[rows["clip"].notna(), "subject"])
    others = [subject for subject in subjects if subject not in unseen]
    drawn = np.random.default_rng(seed).permutation(len(others))[: UNSEEN_SUBJECTS - len(unseen)]
    unseen |= {others[i] for i in drawn}
    apart = rows["subject"].isin(unseen)
    return rows[~apart].reset_index(drop=True), rows[apart].reset_index(drop=True)


def _subset(sample: Path, rows: pd.DataFrame, folder: Path) -> Path:
    """A prepared folder of some rows of the sample; its shards are whole copies."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for shard in sorted(rows["shard"].unique()):
        shutil.copyfile(sample / FOLDER / shard, folder / FOLDER / shard)
    shutil.copyfile(sample / INDEX, folder / INDEX)
    table = pa.Table.from_pandas(rows, schema=manifest.SCHEMA, preserve_index=False)
    manifest.write(folder / manifest.FILE, [table])
    return folder


def _crops(sample: Path, rows: pd.DataFrame) -> list[NDArray[np.uint8]]:
    shards = Shards(sample)
    places = zip(rows["shard"], rows["offset"], rows["size"], strict=True)
    return [media.decode_image(shards.read_range(*place), "jpeg") for place in places]


def _predict(model: Path, rows: pd.DataFrame, crops: list[NDArray[np.uint8]]) -> pd.DataFrame:
    table = Predictor(model, aligned=True)(crops)
    table.insert(0, "id", rows["id"])
    return table


def _evaluate(out: Path, name: str, truth: pd.DataFrame, predicted: pd.DataFrame) -> evaluate.Scores:
    """Scores on the stills; frames of a clip resemble each other too much to count as faces."""
    folder = out / name.replace(" ", "-").lower()
    stills = truth["clip"].isna()
    files.write_text(folder / "labels.csv", truth[stills].to_csv(index=False))
    files.write_text(folder / "predictions.csv", predicted[stills].to_csv(index=False))
    return evaluate.run(folder / "labels.csv", folder / "predictions.csv")


def _spread(rows: pd.DataFrame, count: int) -> list[int]:
    """Positions of stills of ``count`` different subjects."""
    stills = rows[rows["clip"].isna()]
    firsts = stills.groupby("subject", sort=True).head(1).index
    return [int(i) for i in firsts[:count]]


def _about(seen: pd.DataFrame, unseen: pd.DataFrame) -> Section:
    stills = unseen["clip"].isna()
    return Section(
        "What was done",
        [
            f"Learned from {len(seen)} rendered faces of {seen['subject'].nunique()} subjects; looked at "
            f"{int(stills.sum())} stills and {int((~stills).sum())} frames of clips of "
            f"{unseen['subject'].nunique()} others. No subject is in both.",
            "The faces are renders of a 3D head, whose action units are known exactly. What is shown here is "
            "that the chain works and what pre-training gives; it says nothing of accuracy on real people.",
        ],
    )


def _reconstructions(encoder: Path, crops: list[NDArray[np.uint8]]) -> Section:
    """Unseen faces with patches removed, as the network paints them (the paper's Figs. 1 and 5)."""
    model, metadata = weights.load_mae(encoder)
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)  # (B, 3, S, S)
    images = preprocessing.to_input(batch, metadata.preprocessing.image_size)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(len(images), model.encoder.patches, generator=generator)
    pictures = []
    for ratio in RATIOS:
        shown = model.eval().reconstruct(images, noise, ratio)
        grid = figures.reconstructions(_uint8(shown.masked), _uint8(shown.reconstructed), _uint8(images))
        pictures.append(Picture(grid, f"{ratio:.0%} of the patches removed: masked, reconstructed, original"))
    return Section(
        "Pre-training: unseen faces, repainted",
        ["The network saw only the patches on the left of each three, and painted the rest."],
        pictures=pictures,
    )


def _uint8(images: torch.Tensor) -> NDArray[np.uint8]:
    """Normalised images (B, 3, S, S) to uint8 (B, S, S, 3)."""
    shown: NDArray[np.uint8] = preprocessing.denormalize(images).permute(0, 2, 3, 1).numpy()
    return shown


def _comparison(scores: dict[str, evaluate.Scores]) -> Section:
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
    tables.append(Table(merged, f"{next(iter(scores.values())).matched} stills of unseen subjects", 3))
    for key in ("f1", "icc"):
        table = pd.DataFrame({name: score.table[key] for name, score in scores.items()})
        pictures.append(
            Picture(charts.comparison_bars(table, columns[key]), f"{columns[key]} for each action unit")
        )
    said = (
        [f"{SHIPPED} comes with the package: it learned from other, many more faces."]
        if SHIPPED in scores
        else []
    )
    return Section("Fine-tuning: with and without pre-training", said, tables, pictures)


def _faces(
    truth: pd.DataFrame, predicted: pd.DataFrame, crops: list[NDArray[np.uint8]], name: str
) -> Section:
    """Bars for the face with most action of some subjects."""
    aus = [int(column[2:4]) for column in predicted.columns if column.endswith("_i")]
    columns = [f"{facts.au_name(au)}_i" for au in aus]
    stills = truth[truth["clip"].isna()]
    liveliest = stills[columns].sum(axis=1).groupby(stills["subject"]).idxmax()
    pictures = []
    for i in liveliest.iloc[:BARS_SHOWN]:
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
        f"Unseen faces, {name}",
        [f"From the network {name}: of each of {len(pictures)} subjects, the face with most action."],
        (),
        pictures,
    )


def _curves(truth: pd.DataFrame, rows: pd.DataFrame, predictions: dict[str, pd.DataFrame]) -> Section:
    """The action units that are strongest in the labels, over each clip (the paper's Fig. 6)."""
    columns = [name for name in truth.columns if name.endswith("_i") and name in predictions[MAE]]
    pictures = []
    for clip in rows["clip"].dropna().unique():
        here = (rows["clip"] == clip).to_numpy()
        strongest = truth.loc[here, columns].mean().nlargest(CURVES_SHOWN)
        for name in map(str, strongest[strongest > 0].index):
            curves = {model: table.loc[here, name].to_numpy() for model, table in predictions.items()}
            time_s, labels = rows.loc[here, "time_s"], truth.loc[here, name]
            curve = charts.intensity_curve(time_s, labels, curves, int(name[2:4]))
            pictures.append(Picture(curve, f"clip {clip}"))
    return Section(
        "Unseen clips",
        [f"The {CURVES_SHOWN} strongest action units of each clip, by its labels."],
        (),
        pictures,
    )
