"""The manifest of a prepared folder: a table with a row for each face and for each image that was dropped.

Later stages read this table and the crops, never the files of a dataset. A prepared folder is

    DIR/manifest.parquet   the table (SCHEMA)
    DIR/shards/00000.tar   the crops, JPEG in uncompressed tar files
    DIR/shards.json        {shard name: {sha256, bytes, count}}
    DIR/prepare.json       settings, versions, counts

A folder of crop images without a manifest can be read too: it gets a row for every image.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maeface import checks, files
from maeface.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FILE = "manifest.parquet"
FORMAT_VERSION = 1
VERSION_KEY = b"maeface.manifest"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
"""Suffixes of the crops in a plain folder."""

ROWS_TOGETHER = 16_384

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        ("subject", pa.string()),
        ("clip", pa.string()),
        ("frame", pa.int32()),
        ("time_s", pa.float64()),
        ("face", pa.int16()),
        *((name, pa.float32()) for name in ("x1", "y1", "x2", "y2")),
        *((f"p{point}{axis}", pa.float32()) for point in range(5) for axis in "xy"),
        ("score", pa.float32()),
        ("angle", pa.float32()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        pa.field("status", pa.string(), nullable=False),
        ("detail", pa.string()),
    ],
    metadata={VERSION_KEY: str(FORMAT_VERSION).encode()},
)
COLUMNS: tuple[str, ...] = tuple(SCHEMA.names)


def write(path: Path, tables: Iterable[pa.Table]) -> int:
    """Write several tables as one manifest, atomically and in bounded memory.

    Args:
        path: the file to write.
        tables: tables of ``SCHEMA``; their own metadata is dropped.

    Returns:
        The number of rows.
    """
    count = 0
    with files.atomic(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        pending: list[pa.Table] = []
        for table in tables:
            pending.append(table.replace_schema_metadata(SCHEMA.metadata))
            count += table.num_rows
            if sum(part.num_rows for part in pending) >= ROWS_TOGETHER:
                writer.write_table(pa.concat_tables(pending))
                pending = []
        if pending:
            writer.write_table(pa.concat_tables(pending))
    return count


def load(folder: Path, all_rows: bool = False) -> "pd.DataFrame":
    """Read the manifest of a prepared folder, or build one for a plain folder of crops.

    Args:
        folder: a folder that ``maeface prepare`` wrote, or a folder with crop images in it.
        all_rows: also the rows of dropped images (``status`` other than "ok").

    Returns:
        A table with ``COLUMNS``, rows in the order of the preparation (of the names, for a plain folder).

    Raises:
        ConfigError: there is no such folder.
        DataError: the manifest is damaged or of a newer version, an unfinished preparation, or no face.
    """
    checks.require_inputs([folder], "folder", advice="give a folder that `maeface prepare` wrote")
    if not (folder / FILE).is_file():
        return read_plain_folder(folder)
    rows = _read(folder / FILE)
    if not all_rows:
        rows = rows[rows["status"] == "ok"].reset_index(drop=True)
    if rows.empty:
        raise DataError(f"{folder / FILE} has no face; see its status column for the reasons")
    return rows


def read_plain_folder(folder: Path) -> "pd.DataFrame":
    """Return a manifest of a folder of ready crops: a row for each image file, by its suffix, sorted by name.

    Boxes, points, score and angle are NaN; ``shard`` is null, so the image is the file ``source``.

    Raises:
        DataError: no image in the folder.
    """
    if (folder / "shards").is_dir() or (folder / "shards.json").is_file():
        raise DataError(
            f"{folder} has shards but no {FILE}: its preparation did not finish; "
            "run the same `maeface prepare` again, it goes on where it was"
        )
    sources: list[str] = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        images = [n for n in names if not n.startswith(".") and Path(n).suffix.lower() in IMAGE_SUFFIXES]
        sources += [escape((Path(base) / name).relative_to(folder)) for name in images]
    sources.sort()
    if not sources:
        raise DataError(
            f"{folder} has no {FILE} and no image; "
            "give a folder that `maeface prepare` wrote or a folder of crops"
        )
    import pandas as pd

    rows = pd.DataFrame({"id": [f"{source}#0.0" for source in sources], "source": sources})
    constant = {"frame": 0, "time_s": 0.0, "face": 0, "offset": 0, "size": 0, "status": "ok"}
    table = pa.table(
        {
            field.name: pa.array(rows[field.name], field.type)
            if field.name in rows
            else pa.array([constant.get(field.name)] * len(rows), field.type)
            for field in SCHEMA
        },
        schema=SCHEMA,
    )
    return _frame(table)


def escape(path: PurePath) -> str:
    r"""Return a relative path as the ``source`` of a manifest: posix, bytes that are not UTF-8 as ``\xNN``.

    ``unescape`` is the inverse: a backslash that would be read as such an escape is written ``\x5c``.
    """
    name = os.fsencode(path.as_posix())
    name = re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", name)
    return name.decode("utf-8", "backslashreplace")


def unescape(source: str) -> Path:
    """Return the relative path of a ``source``; the inverse of ``escape``."""
    name = re.sub(rb"\\x([0-9a-f]{2})", lambda hit: bytes([int(hit[1], 16)]), source.encode())
    try:
        return Path(os.fsdecode(name))
    except UnicodeDecodeError:  # on Windows: no file has such a name there
        return Path(name.decode(errors="surrogateescape"))


def subjects(rows: "pd.DataFrame") -> NDArray[np.object_]:
    """Return the subject of each row: of one without a subject its clip, without a clip its source.

    So the frames of a video always stay together, even where the subject is not known.

    Args:
        rows: a table with the columns ``subject``, ``clip`` and ``source``.

    Returns:
        (N,) array of str.
    """
    names = rows["subject"].astype(object).fillna(rows["clip"].astype(object))
    names = names.fillna(rows["source"].astype(object)).astype(str)
    return np.asarray(names.to_numpy(), dtype=object)


def folds(subjects: Sequence[str] | np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Assign subjects to ``count`` folds of equal size (within one), each subject to one fold.

    The result does not depend on the order of the rows, the machine or library versions: subjects are ordered
    by a hash of seed and name, and assigned in turn.

    Args:
        subjects: (N,) the subject of each row.
        count: number of folds.
        seed: another seed gives another partition.

    Returns:
        (N,) int64, the fold of each row, 0 to ``count`` - 1.

    Raises:
        DataError: fewer subjects than folds.
    """
    order = _shuffled(subjects, seed)
    if len(order) < count:
        raise DataError(f"{count} folds need at least {count} subjects, got {len(order)}; use fewer folds")
    fold = {subject: rank % count for rank, subject in enumerate(order)}
    return np.array([fold[str(subject)] for subject in subjects], dtype=np.int64)


def hold_out(subjects: Sequence[str] | np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    """Choose subjects for validation: a fraction of them, rounded, at least one, but not all.

    Args:
        subjects: (N,) the subject of each row.
        fraction: from 0 (none) to below 1.
        seed: another seed chooses other subjects.

    Returns:
        (N,) bool, True for the rows that are held out.

    Raises:
        DataError: there is only one subject.
    """
    if fraction == 0:
        return np.zeros(len(subjects), dtype=bool)
    order = _shuffled(subjects, seed)
    if len(order) < 2:
        raise DataError(
            f"holding out {fraction:.0%} of the subjects needs at least 2 subjects, got {len(order)}; "
            "give more data or set the validation fraction to 0"
        )
    chosen = set(order[: min(max(1, round(fraction * len(order))), len(order) - 1)])
    return np.array([str(subject) in chosen for subject in subjects], dtype=bool)


def _shuffled(subjects: Sequence[str] | np.ndarray, seed: int) -> list[str]:
    names = {str(subject) for subject in subjects}
    return sorted(names, key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))


def _read(path: Path) -> "pd.DataFrame":
    try:
        file = pq.ParquetFile(path)
        version = int((file.schema_arrow.metadata or {}).get(VERSION_KEY, b"0"))
        if version > FORMAT_VERSION:
            raise DataError(
                f"{path} has format version {version}, this maeface reads up to {FORMAT_VERSION}; "
                "update maeface or prepare the folder again"
            )
        missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(missing)}; prepare the folder again")
        return _frame(file.read(columns=list(COLUMNS)))
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); prepare the folder again") from error


def _frame(table: pa.Table) -> "pd.DataFrame":
    frame: pd.DataFrame = table.to_pandas()
    return frame
