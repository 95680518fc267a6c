"""Where the log of a run goes beside ``log.jsonl``: a CSV table, TensorBoard, Weights & Biases, Trackio.

A sink is the one hook for all of them: ``write`` one line, ``flush``, ``close``. The names in ``SINKS`` are
those of ``run.log``.
"""

import csv
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from maeface import files
from maeface.errors import ResourceError, install_command

CSV = "log.csv"
TENSORBOARD = "tensorboard"
RUN_ID = "log.id"
"""The file with the name of a run in the services that keep many runs."""


class Sink(Protocol):
    """What a log is written to."""

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Write the values of a step; all are finite."""

    def flush(self) -> None:
        """Pass what was written to the operating system."""

    def close(self) -> None:
        """End the log."""


class CsvTable:
    """``log.csv``: a row for each line of the log, a column for each quantity, empty where there is no value.

    Args:
        folder: of the run.
        step: last step of the checkpoint that training starts from; later rows are removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / CSV
        self._names = ["step", "epoch"]
        rows = []
        if self._path.is_file():
            with self._path.open(newline="", encoding="utf-8", errors="replace") as file:
                reader = csv.DictReader(file)
                self._names = list(reader.fieldnames or self._names)
                rows = [row for row in reader if (row["step"] or "").isdigit() and int(row["step"]) <= step]
        self._begin(rows)

    def _begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the header and the rows so far, and go on after them."""
        with files.atomic(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self._names)

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Write a row; where it has a new quantity, the table is written again with one more column."""
        if new := [name for name in values if name not in self._names]:
            self._file.close()
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self._names += new
            self._begin(rows)
        self._writer.writerow({"step": step, "epoch": round(epoch, 6), **values})

    def flush(self) -> None:
        """Pass the rows to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """TensorBoard's files, in ``tensorboard/``. Arguments as for ``CsvTable``."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Write a point of each curve."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Pass the points to the operating system."""
        self._board.flush()

    def close(self) -> None:
        """Close the files."""
        self._board.close()


class Tracker:
    """A run of Weights & Biases or of Trackio, which has the interface of the former.

    Args:
        library: "wandb" or "trackio".
        folder: of the run; its ``settings.json`` becomes the settings of the tracked run.

    The library may raise anything, such as without a login or a network.
    """

    def __init__(self, library: str, folder: Path) -> None:
        if not (folder / RUN_ID).is_file():
            files.write_text(folder / RUN_ID, secrets.token_hex(4))
        name = (folder / RUN_ID).read_text(encoding="utf-8")
        own = {"id": name, "dir": str(folder)} if library == "wandb" else {}
        settings = folder / "settings.json"
        self._run = import_module(library).init(
            project="maeface",
            name=f"{folder.absolute().name}-{name}",
            config=json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {},
            resume="allow",
            **own,
        )

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Send the values."""
        self._run.log({"epoch": epoch, **values}, step=step)

    def flush(self) -> None:
        """Do nothing: the library sends when it likes."""

    def close(self) -> None:
        """End the run."""
        self._run.finish()


SINKS: dict[str, Callable[[Path, int], Sink]] = {
    "csv": CsvTable,
    "tensorboard": TensorBoard,
    "wandb": lambda folder, step: Tracker("wandb", folder),
    "trackio": lambda folder, step: Tracker("trackio", folder),
}


def require_libraries(names: Iterable[str]) -> None:
    """Raise a ``ResourceError`` with the command if a sink's library is not installed."""
    for library in {"wandb", "trackio"} & set(names):
        try:
            import_module(library)
        except ImportError as error:
            raise ResourceError(
                f"run.log names {library}, which is not installed; install it: {install_command(library)}"
            ) from error
