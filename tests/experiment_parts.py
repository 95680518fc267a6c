"""Finished parts of an experiment without any training: labels and answers of a seeded generator."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import facts


def write(
    out: Path,
    row: str,
    fold: str,
    subjects: Sequence[str],
    *,
    seed: int = 0,
    dataset: str = "bp4d",
    protocol: str = "threefold",
    task: str = "detection",
    aus: Sequence[int] = (6, 12),
    skill: float = 1.0,
    frames: int = 40,
    validation: Sequence[str] = ("F100", "F101"),
    table: pd.DataFrame | None = None,
    **record: object,
) -> Path:
    """One part with ``frames`` faces of each subject; ``skill`` 0 answers at random, 3 nearly right."""
    folder = out / "parts" / row / f"{fold}-s{seed}"
    folder.mkdir(parents=True)
    if table is None:
        chance = np.random.default_rng([seed, len(row), *map(ord, fold)])
        tested = faces(chance, subjects, task, aus, skill, frames).assign(part="test")
        held_out = faces(chance, validation, task, aus, skill, frames).assign(part="validation")
        table = pd.concat([tested, held_out], ignore_index=True)
    table.to_parquet(folder / "faces.parquet", index=False)
    part: Mapping[str, object] = {
        "experiment": "ex",
        "row": row,
        "fold": fold,
        "seed": seed,
        "dataset": dataset,
        "protocol": protocol,
        "task": task,
        "aus": list(aus),
        "selection": "validation",
        "threshold": 0.5,
        "settings_sha256": "ab" * 32,
        "faces_train": 100,
        "faces_validation": int((table["part"] == "validation").sum()),
        "faces_test": int((table["part"] == "test").sum()),
        "subjects_test": sorted(set(table.loc[table["part"] == "test", "subject"].dropna())),
        "epoch_best": 3,
        "seconds": 12.5,
        "weights": {"init": "mae.safetensors", "sha256": "cd" * 32},
    } | record
    (folder / "part.json").write_text(json.dumps(part))
    return folder


def faces(
    chance: np.random.Generator,
    subjects: Sequence[str],
    task: str,
    aus: Sequence[int],
    skill: float,
    frames: int,
) -> pd.DataFrame:
    """Rows as a training leaves them: people differ in how often they show an action unit."""
    n = len(subjects) * frames
    table = pd.DataFrame(
        {
            "id": [f"{subject}/T1#{frame}.0" for subject in subjects for frame in range(frames)],
            "subject": np.repeat(list(subjects), frames),
            "clip": np.repeat([f"{subject}/T1" for subject in subjects], frames),
            "source": np.repeat([f"{subject}/T1.mp4" for subject in subjects], frames),
            "frame": np.tile(np.arange(frames), len(subjects)),
        }
    )
    for au in aus:
        level = np.repeat(chance.normal(0, 1, len(subjects)), frames)
        truth = np.cumsum(chance.normal(0, 0.5, n)) % 4 - 2 + level
        answer = truth * skill + chance.normal(0, 1, n)
        name = facts.au_name(au)
        if task == "detection":
            table[f"{name}_o"] = (truth > 0.5).astype(np.float32)
            table[f"{name}_p"] = (1 / (1 + np.exp(-answer))).astype(np.float32)
        else:
            table[f"{name}_i"] = np.clip(np.rint(truth + 1), 0, 5).astype(np.float32)
            table[f"{name}_e"] = np.clip(answer + 1, 0, 5).astype(np.float32)
    return table
