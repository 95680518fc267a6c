"""The record of a prediction: what made a table, as JSON beside it and in the metadata of a Parquet file."""

import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maeface import files
from maeface.data.ingest.inputs import Input
from maeface.faces.detector_weights import source_of
from maeface.model.file_format.parts import files_of
from maeface.prediction.predictor import Predictor

FORMAT_VERSION = 1
INPUTS_IN_PARQUET = 1000
"""With more inputs than this, the metadata of a Parquet file lists none: every reader loads them."""


def record_path(table: Path) -> Path:
    """Return the path of the record of a table: ``faces.csv.json`` beside ``faces.csv``."""
    return table.with_name(f"{table.name}.json")


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def make_record(
    predictor: Predictor,
    inputs: Sequence[Input],
    options: Mapping[str, Any],
    statuses: Counter[str],
    started: str,
) -> dict[str, Any]:
    """Return the record of a finished prediction.

    Args:
        predictor: with the weights, the detector, the device and the precision that were used.
        inputs: the files.
        options: of the run, as they were given.
        statuses: rows of the table by status.
        started: time of the beginning.
    """
    detector = predictor.detector_weights
    return {
        "format_version": FORMAT_VERSION,
        "maeface": version("maeface"),
        "backend": predictor.backend,
        predictor.backend: version(predictor.backend),
        "weights": {"name": predictor.weights.name, "files": _files(files_of(predictor.weights))},
        "detector": None
        if detector is None
        else {"source": source_of(detector), "precision": "fp32", **_file(detector)},
        "device": predictor.device,
        "device_name": _device_name(predictor.device),
        "precision": predictor.precision,
        "options": dict(options),
        "inputs": [{"name": item.source, "bytes": item.size, "sha256": _hash(item)} for item in inputs],
        "statuses": dict(sorted(statuses.items())),
        "started": started,
        "finished": now(),
    }


def shorten_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record for the metadata of a Parquet file: with many inputs, their number only."""
    inputs = record["inputs"]
    short = dict(record)
    if len(inputs) > INPUTS_IN_PARQUET:
        short |= {"inputs": None, "input_count": len(inputs)}
    return short


def _files(paths: Sequence[Path]) -> list[dict[str, str]]:
    return [_file(path) for path in paths]


def _file(path: Path) -> dict[str, str]:
    return {"name": path.name, "sha256": files.sha256(path)}


def _hash(item: Input) -> str | None:
    """Return the SHA-256 of an input; None if it cannot be read or is not a file."""
    path = Path(item.path)
    try:
        return files.sha256(path) if stat.S_ISREG(path.stat().st_mode) else None
    except OSError:
        return None


def _device_name(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name(device)
