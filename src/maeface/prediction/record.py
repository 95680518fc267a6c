"""The record of a prediction: what made a table, as JSON beside it and in the metadata of a Parquet file.

It begins as a header, which says everything that changes the rows. By the header a later run recognises the
parts of an interrupted one, and a table that is there already.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maeface import checks, facts, files
from maeface.data.ingest.inputs import Input
from maeface.errors import WeightsError
from maeface.faces.detector_weights import source_of
from maeface.model.licences import NOT_STATED, licence_of
from maeface.model.trust import trust_entry
from maeface.prediction import parts
from maeface.prediction.chimeras import describe_sides
from maeface.prediction.parts import Content, Entry
from maeface.prediction.rows import count_faces

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor

FORMAT_VERSION = 3
INPUTS_IN_PARQUET = 1000
"""With more inputs than this, the metadata of a Parquet file lists none: every reader loads them."""
LIBRARIES = ("maeface", "numpy", "pillow", "simplejpeg", "av")
"""Their versions are part of the header."""
CHANGE_ROWS = ("every", "fps", "faces", "aligned", "min_face", "face_threshold", "au_thresholds", "sides")
"""Options that change rows whatever the machine is."""
CHANGE_TABLE = ("track",)
"""Options that change which rows a table has, but not the parts that it is made of."""
RESOLVED = ("device", "precision", "backend")
"""Options whose ``auto`` depends on the machine; the header has what was used."""


MADE = ("inputs", "statuses", "table", "started", "finished")
"""What a record says of its table; all else is the header."""


def record_path(table: Path) -> Path:
    """Return the path of the record of a table: ``faces.csv.json`` beside ``faces.csv``."""
    return table.with_name(f"{table.name}.json")


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def make_header(
    weights: Path, weights_files: Sequence[Path], detector: Path | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is known of a run before a network is loaded.

    Args:
        weights: the path of the AU model.
        weights_files: its files.
        detector: the path of the face detector's weights; None if no face is detected.
        options: of the run, as they were given.

    Raises:
        WeightsError: a file cannot be read.
    """
    return {
        "format_version": FORMAT_VERSION,
        **{name: version(name) for name in LIBRARIES},
        "weights": {
            "name": weights.name,
            "licence": licence_of(weights) or NOT_STATED,
            "files": [_file(path) for path in weights_files],
        },
        "detector": None
        if detector is None
        else {"source": source_of(detector), "precision": "fp32", **_file(detector)},
        "options": dict(options),
    }


def describe_use(predictor: "Predictor") -> dict[str, Any]:
    """Return what ``auto`` stood for, and the columns of the table; to be called in a worker process."""
    name = None
    if predictor.device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name(predictor.device)
    metadata = predictor.metadata
    return {
        "backend": predictor.backend,
        predictor.backend: version(predictor.backend),
        "device": predictor.device,
        "device_name": name,
        "precision": predictor.precision,
        "film_detector_precision": predictor.face_finder.film_precision,
        "columns": list(predictor.columns),
        "thresholds": dict(zip(map(facts.au_name, metadata.aus), predictor.thresholds, strict=True)),
        "trust": trust_entry(metadata),
        "sides": describe_sides(predictor.sides),
    }


def find_differences(before: Mapping[str, Any], header: Mapping[str, Any]) -> list[str]:
    """Describe in what a run differs from an earlier one so that its rows may differ; empty if in nothing.

    Args:
        before: the header or the record of the earlier run.
        header: of this run. Without what was used (``describe_use``), ``auto`` differs from nothing.
    """
    return list(_differences(before, header))


def _differences(before: Mapping[str, Any], header: Mapping[str, Any]) -> Iterator[str]:
    for name in ("format_version", *LIBRARIES):
        if before.get(name) != header[name]:
            yield f"{name} was {before.get(name)}, now {header[name]}"
    for what in ("weights", "detector"):
        old, new = _hashes(before.get(what)), _hashes(header[what])
        if old != new:
            names = [one["name"] if one else "none" for one in (before.get(what), header[what])]
            yield f"{checks.name_of(what)} was {names[0]}, now {names[1]}" + (
                " with other content" if names[0] == names[1] else ""
            )
    options, given = before.get("options") or {}, header["options"]
    yield from describe_changes(CHANGE_ROWS, options, given)
    for name in RESOLVED:
        if name not in header and options.get(name) == given[name]:
            continue  # what came of it may be another one: a back end may not compute in bf16
        used, asked = _kind(before.get(name)), _kind(header.get(name, given[name]))
        if asked not in (used, "auto"):
            yield f"{checks.name_of(name)} was {used}, now {asked}"
    backend = str(before.get("backend"))
    if backend in header and header[backend] != before.get(backend):
        yield f"{backend} was {before.get(backend)}, now {header[backend]}"


def describe_changes(
    names: Iterable[str], options: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterator[str]:
    """Describe the options that differ, as the user writes them: ``--track was not given, now 2``.

    Args:
        names: of the options to compare.
        options: of the earlier run.
        given: of this run.
    """
    for name in names:
        before, now = options.get(name), given.get(name)
        if before != now:
            yield f"{checks.name_of(name)} was {_as_typed(before)}, now {_as_typed(now)}"


def _as_typed(value: object) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{key}={one}" for key, one in value.items())
    return "not given" if value is None or value is False else "given" if value is True else str(value)


def _kind(value: object) -> str | None:
    """Return a value; of a device without its number."""
    return None if value is None else str(value).partition(":")[0]


def _hashes(weights: Mapping[str, Any] | None) -> list[str]:
    return [] if weights is None else [one["sha256"] for one in weights.get("files", [weights])]


def make_record(
    header: Mapping[str, Any],
    entries: Iterable[tuple[str, Sequence[Entry]]],
    statuses: Mapping[str, int],
    started: str,
) -> dict[str, Any]:
    """Return the record of a finished prediction.

    Args:
        header: with what was used.
        entries: for each input its name and its rows, those of all tracks.
        statuses: rows of the table by status.
        started: time of the beginning.
    """
    inputs = []
    for name, of_input in entries:
        counts = sum((entry.statuses for entry in of_input), Counter[str]())
        content = _join_contents([entry.content for entry in of_input])
        inputs.append(
            {
                "name": name,
                "bytes": content.bytes,
                "mtime_ns": content.mtime_ns,
                "sha256": content.sha256,
                "images": sum(entry.images for entry in of_input),
                "faces": count_faces(counts),
                "missing": sum(entry.missing for entry in of_input),
            }
        )
    values = {name: value for name, value in header.items() if name != "columns"}
    return {
        **values,
        "inputs": inputs,
        "statuses": dict(sorted(statuses.items())),
        "started": started,
        "finished": now(),
    }


def _join_contents(contents: Sequence[Content]) -> Content:
    hashes = [content.sha256 for content in contents if content.sha256]
    return contents[0]._replace(sha256=hashes[0] if hashes else None)


def shorten_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record for the metadata of a Parquet file: with many inputs, their number only."""
    inputs = record["inputs"]
    short = dict(record)
    if len(inputs) > INPUTS_IN_PARQUET:
        short |= {"inputs": None, "input_count": len(inputs)}
    return short


def describe_table(table: Path) -> dict[str, int]:
    """Return the size and the time of change of a table, by which one that was edited is known."""
    seen = parts.look_at(table)
    return {"bytes": seen.bytes, "mtime_ns": seen.mtime_ns}


def read_record(table: Path) -> dict[str, Any] | None:
    """Return the record of a table; None if one of the two is not there."""
    try:
        record = json.loads(record_path(table).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if table.is_file() and isinstance(record, dict) else None


def is_up_to_date(table: Path, header: Mapping[str, Any], inputs: Sequence[Input]) -> dict[str, Any] | None:
    """Return the record of a table if it was made of these inputs with these settings, else None.

    An input of another time of change, but of the same size, is compared by its hash. One that could not be
    read then must still be unreadable.
    """
    record = read_record(table)
    if record is None or find_differences(record, header) or len(record["inputs"]) != len(inputs):
        return None
    if any(record["options"].get(name) != header["options"].get(name) for name in CHANGE_TABLE):
        return None
    retry = record["statuses"].get(parts.UNREADABLE)
    for item, before in zip(inputs, record["inputs"], strict=True):
        content = Content(before["bytes"], before["mtime_ns"], before["sha256"])
        if before["name"] != item.source or content.still_of(Path(item.path)) is None:
            return None
        if retry and before["sha256"] is None and parts.hash_of(Path(item.path)) is not None:
            return None
    return record


def _file(path: Path) -> dict[str, str]:
    try:
        return {"name": path.name, "sha256": files.sha256(path)}
    except FileNotFoundError:
        raise WeightsError(checks.describe_missing(path, "weights file")) from None
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
