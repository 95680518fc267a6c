"""Where the tables of a prediction go, and which files are its results."""

from collections.abc import Sequence
from pathlib import Path

from maeface import checks
from maeface.data.ingest.inputs import Input, find_inputs
from maeface.errors import ConfigError, DataError
from maeface.paths import FolderPath
from maeface.prediction.extras import ENDINGS
from maeface.prediction.record import read_record, record_path

RECORDS = (".csv.json", ".parquet.json")
PARTS = ".parts"
"""Name of the folder of parts in a folder of tables, and what it adds to the name of a table."""


def default_out(inputs: Sequence[Path]) -> Path | None:
    """Return where tables go if nothing is said: beside the input, if it is a film or a folder with films.

    Returns:
        ``film.aus.csv`` for ``film.mp4``, ``films.aus/`` for ``films/``; None for photos, which get lines.

    Raises:
        ConfigError: several inputs with films, so that there is no obvious place; or something else is there.
            The table of a killed run, which has no record yet, is no such thing.
    """
    listing = find_images(inputs)
    if not any(item.video for item in listing):
        return None
    if len(inputs) > 1:
        raise ConfigError(
            "a film was given together with other inputs; say where the tables go: --out FILE or DIR/"
        )
    (path,) = inputs
    if path.is_dir():
        folder = path.resolve() if path.name in ("", "..") else path
        return FolderPath(folder.with_name(f"{folder.name}.aus"))
    table = path.with_name(f"{path.stem}.aus.csv")
    if not table.exists():
        return table
    record = read_record(table)
    if record is None and parts_of(table).is_dir():  # a run was killed before it could write the record
        return table
    if record is None:
        raise ConfigError(f"{table} is there and is no table of maeface; choose another name with --out")
    before = [item["name"] for item in record["inputs"]]
    if before != [item.source for item in listing]:
        raise ConfigError(
            f"{table} is there, and is of {', '.join(before)}; choose another name with --out, or delete it"
        )
    return table


def find_images(inputs: Sequence[Path], outputs: Sequence[Path] = ()) -> list[Input]:
    """Return the files of inputs as ``find_inputs``, without results of earlier predictions.

    Results are known by the record beside their table. A file that is given by name is always an input.

    Args:
        inputs: files and folders.
        outputs: of this prediction.

    Raises:
        MaefaceError: as ``find_inputs``; DataError also if there is nothing but results.
    """
    listing = find_inputs(inputs, outputs)
    records = [Path(item.path) for item in listing if item.path.endswith(RECORDS)]
    tables = [path.with_suffix("") for path in records]
    results = {path for table in tables if read_record(table) for path in results_of(table)}
    given = {path.absolute() for path in inputs}
    kept = [
        item
        for item in listing
        if not results or (path := Path(item.path)) in given or results.isdisjoint((path, *path.parents))
    ]
    if not kept:
        raise DataError(f"there is nothing but results of predictions in {', '.join(map(str, inputs))}")
    return kept


def parts_of(out: Path) -> Path:
    """Return the folder of the parts of a table, or of a folder of tables."""
    return out / PARTS if checks.is_folder_of_tables(out) else out.with_name(f"{out.name}{PARTS}")


def results_of(out: Path) -> list[Path]:
    """Return the results that a run may have left: the same command does not take them for inputs."""
    if checks.is_folder_of_tables(out):
        return [out]
    stem = out.with_suffix("").name
    made = [out.with_name(f"{stem}{ending}") for ending in ENDINGS]
    return [out, record_path(out), parts_of(out), *made]
