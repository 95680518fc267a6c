"""Run one part of an experiment: fine-tune, predict the test and validation faces, write the record."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maeface import console, facts, files, finetune
from maeface.data.loading.dataset import gather_manifests
from maeface.data.loading.several import read_faces
from maeface.data.loading.split import Split, split_faces
from maeface.data.shards import fingerprint
from maeface.experiments.reporting import results
from maeface.experiments.running import plan
from maeface.experiments.running.datasets import PreparedDataset
from maeface.experiments.running.plan import PlannedPart
from maeface.model.weights import read_metadata
from maeface.prediction.crops import predict_crops
from maeface.train import checkpoint, journal
from maeface.train.run import WEIGHTS, describe_inputs
from maeface.train.scores import compute_scores

RUN = "au"
VIT_BASE = (768, 12, 16)
"""Width, depth and patch size (px) of the paper's encoder (section 3.2.1)."""
KEYS = ("id", "subject", "clip", "source", "frame")
"""Columns of ``faces.parquet`` that say which face a row is."""


def finish_part(
    part: PlannedPart, out: Path, prepared: Mapping[str, PreparedDataset], init: str, notes: Sequence[str]
) -> bool:
    """Train a part and predict its faces, unless it is finished with the same settings.

    Args:
        part: from ``plan.plan_parts``.
        out: folder of the experiment.
        prepared: datasets by name.
        init: file or packaged name of the weights to start from, or "random".
        notes: remarks on the data, for the report.

    Returns:
        Whether the part was trained now.

    Raises:
        ConfigError: the part was begun with other settings; they are named.
        DataError: labels that do not fit, or a loss that is not finite.
        WeightsError: ``init`` cannot be used.
        ResourceError: disk, memory, device.
    """
    folder, data = out / part.folder, [prepared[name] for name in part.benchmark.trained_on]
    tested = prepared[part.benchmark.tested] if part.benchmark.tested else None
    inputs = {
        **{key: value for key, value in describe_inputs(init, []).items() if key.startswith("init")},
        "labels_sha256": " ".join(files.sha256(one.labels) for one in data),
        "tested_sha256": files.sha256(tested.labels) if tested else "",
        "crops": [_fingerprint(dataset) for dataset in (*data, tested) if dataset],
    }
    settings_hash = plan.hash_settings(part.settings, inputs)
    if _is_finished(folder, settings_hash):
        console.note("already finished")
        notes = [*notes, *_encoder_notes(part, init, folder / RUN / WEIGHTS)]
        _update_record(folder / results.RECORD, {**_identity(part), "note": notes})
        return False
    uninterrupted = not (folder / RUN).exists()
    began = time.monotonic()
    folders, tables = [one.folder for one in data], [one.labels for one in data]
    weights = finetune.run(part.settings, folders, tables, init, folder / RUN)
    seconds = time.monotonic() - began
    splits = _splits(part, data, tested)
    table, means = _predict(part, splits, data, tested, weights)
    with files.atomic(folder / results.FACES) as temporary:
        table.to_parquet(temporary, index=False)
    record = {
        **_identity(part),
        **{f"faces_{name}": len(splits[name].rows) for name in ("train", "validation", "test")},
        "subjects_test": sorted({str(name) for name in splits["test"].rows["subject"]}),
        "epoch_best": _best_epoch(folder / RUN),
        "seconds": round(seconds, 1) if uninterrupted else None,
        "weights": {"name": part.row.init, "path": init, "sha256": inputs.get("init_sha256", "")},
        "settings_sha256": settings_hash,
        "note": [*notes, *_encoder_notes(part, init, weights)],
        "test": means,
    }
    files.write_json(folder / results.RECORD, record)
    # Checkpoints take gigabytes and are needed only to continue the training.
    shutil.rmtree(folder / RUN / checkpoint.FOLDER, ignore_errors=True)
    scores = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
    console.note(f"done in {seconds:.0f} s: {scores or 'no score'} on {record['faces_test']} test faces")
    return True


def _fingerprint(dataset: PreparedDataset) -> str:
    return fingerprint([dataset.folder], gather_manifests([dataset.folder]))


def _is_finished(folder: Path, settings_hash: str) -> bool:
    try:
        record = json.loads((folder / results.RECORD).read_text(encoding="utf-8"))
        return bool(record["settings_sha256"] == settings_hash) and (folder / results.FACES).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _update_record(path: Path, values: Mapping[str, Any]) -> None:
    """Write changed values, such as threshold and notes, which need no new training."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if record | values != record:
        files.write_json(path, record | values)


def _encoder_notes(part: PlannedPart, init: str, weights: Path) -> Iterator[str]:
    """Yield how the encoder differs from the paper's."""
    if init == "random" and part.row.init != "random":
        yield f"row {part.row.name} started from random weights, not from pre-trained ones"
    encoder = read_metadata(weights).encoder
    shape = encoder.width, encoder.depth, encoder.patch_size
    if shape != VIT_BASE:
        words = "{} wide and {} deep with patches of {} px"
        yield f"the encoder is {words.format(*shape)}; the paper's is {words.format(*VIT_BASE)}"


def _identity(part: PlannedPart) -> dict[str, Any]:
    """Return the fields of ``part.json`` that are fixed before the training."""
    benchmark = part.benchmark
    return {
        "experiment": benchmark.name,
        "row": part.row.name,
        "fold": part.fold.name,
        "seed": part.seed,
        "dataset": benchmark.tested or benchmark.dataset,
        "trained_on": results.AND.join(benchmark.trained_on),
        "protocol": benchmark.protocol,
        "task": benchmark.task,
        "aus": list(part.settings.model.aus),
        "selection": part.settings.selection,
        "threshold": benchmark.threshold,
    }


def _splits(
    part: PlannedPart, data: Sequence[PreparedDataset], tested: PreparedDataset | None
) -> dict[str, Split]:
    """Return ``train``, ``validation`` and ``test`` as in the training; all of ``tested`` as the test."""
    splits = split_faces(_labelled_faces(part, data), part.settings)
    return splits | ({"test": _labelled_faces(part, [tested])} if tested else {})


def _labelled_faces(part: PlannedPart, data: Sequence[PreparedDataset]) -> Split:
    folders, tables = [one.folder for one in data], [one.labels for one in data]
    return read_faces(folders, tables, part.settings.model)[1]


def _predict(
    part: PlannedPart,
    splits: Mapping[str, Split],
    data: Sequence[PreparedDataset],
    tested: PreparedDataset | None,
    weights: Path,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the table of ``faces.parquet``, and the mean scores of the test faces at threshold 0.5."""
    run, detection = part.settings.run, part.settings.model.task == "detection"
    label_letter, prediction_letter = results.COLUMNS["occurrence" if detection else "intensity"]
    aus = [facts.au_name(au) for au in part.settings.model.aus]
    tables, means = [], {}
    for name, source in (("test", [tested] if tested else data), ("validation", data)):
        faces = splits[name]
        if not len(faces.rows):
            continue
        rows = faces.rows.reset_index(drop=True)
        folders = [one.folder for one in source]
        predictions = predict_crops(folders, rows, weights, run.device, run.precision, run.workers)
        values = predictions[[f"{au}_{'p' if detection else 'i'}" for au in aus]].to_numpy()
        labels = np.where(faces.mask, faces.labels, np.nan)
        columns = {f"{au}_{label_letter}": labels[:, k] for k, au in enumerate(aus)}
        columns |= {f"{au}_{prediction_letter}": values[:, k] for k, au in enumerate(aus)}
        table = pd.DataFrame(columns).astype(np.float32)
        tables.append(pd.concat([rows[[*KEYS]].assign(part=name), table], axis=1))
        if name == "test":
            arrays = {
                "labels": faces.labels,
                "mask": faces.mask,
                "occurrence" if detection else "intensity": values,
            }
            scores = compute_scores(part.settings.model.aus, arrays)
            means = {key: value for key, value in scores.items() if key.endswith("_mean")}
    return pd.concat(tables, ignore_index=True), means


def _best_epoch(folder: Path) -> int | None:
    """Return the epoch whose weights were kept; None without a validation loss."""
    rows = [row for row in journal.lines(folder) if row.get("validation_loss") is not None]
    return round(min(rows, key=lambda row: row["validation_loss"])["epoch"]) if rows else None
