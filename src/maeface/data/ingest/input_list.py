"""The list of inputs that a preparation begins with, by which the same command is recognised later."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maeface import files
from maeface.data.ingest.inputs import Input
from maeface.errors import ConfigError, DataError

FILE = "inputs.parquet"
SETTINGS_KEY = b"maeface.prepare"
SCHEMA = pa.schema([("source", pa.string()), ("bytes", pa.int64()), ("video", pa.bool_())])


def write(out: Path, inputs: Sequence[Input], header: dict[str, Any]) -> None:
    """Write the inputs of a preparation and its header into a prepared folder, atomically."""
    columns = [[item[i] for item in inputs] for i in (0, 2, 3)]
    table = pa.table(columns, schema=SCHEMA).replace_schema_metadata({SETTINGS_KEY: json.dumps(header)})
    with files.atomic(out / FILE) as temporary:
        pq.write_table(table, temporary)


def compare(out: Path, inputs: Sequence[Input], header: dict[str, Any]) -> dict[str, Any]:
    """Compare inputs and header with those of an earlier run; return the header of that run.

    Raises:
        ConfigError: they differ.
        DataError: the list is damaged.
    """
    try:
        table = pq.read_table(out / FILE)
        before: dict[str, Any] = json.loads(table.schema.metadata[SETTINGS_KEY])
        sizes = dict(zip(table["source"].to_pylist(), table["bytes"].to_pylist(), strict=True))
        differences = [*_other_settings(before, header), *_other_inputs(sizes, inputs)]
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out / FILE} is damaged; delete {out} and prepare again") from error
    if differences:
        raise ConfigError(
            f"{out} was prepared with other settings or inputs: {'; '.join(differences)}; "
            "choose another --out or delete that folder"
        )
    return before


def _other_settings(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Describe each setting that differs."""
    if before["format_version"] != now["format_version"]:
        yield f"format version {before['format_version']}, now {now['format_version']}"
    old, new = before["settings"], now["settings"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} was {old.get(name)}, now {new.get(name)}"
    for name in ("dataset", "options"):
        if (before.get(name) or None) != (now[name] or None):
            yield f"{name} was {before.get(name) or 'none'}, now {now[name] or 'none'}"
    if before.get("labels_sha256") != now["labels_sha256"]:
        yield "the labels have changed"
    if now["detector"] not in (None, before.get("detector", "public")):  # None: not used
        yield f"the face detector's weights were {before.get('detector', 'public')}, now {now['detector']}"


def _other_inputs(before: dict[str, int], listing: Sequence[Input]) -> Iterator[str]:
    """Describe the input files that are new, missing or changed since an earlier run, by their sizes."""
    sizes = {item.source: item.size for item in listing}
    added = [name for name in sizes if name not in before]
    missing = [name for name in before if name not in sizes]
    changed = [name for name, size in sizes.items() if before.get(name, size) != size]
    for change, names in (("new", added), ("gone", missing), ("changed", changed)):
        if names:
            yield f"{len(names)} input file{'s are' if names[1:] else ' is'} {change} (such as {names[0]})"
