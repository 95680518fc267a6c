"""The log of a run: ``log.jsonl``, a line for each step and evaluation, and TensorBoard's files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from maeface import console, files

FILE = "log.jsonl"
FOLDER = "tensorboard"


class Journal:
    """An open log of a run, as a context manager; a full disk stops the log, not the training.

    Args:
        folder: of the run.
        step: last step of the checkpoint that training starts from; later lines, of a killed attempt, are
            removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        kept = [line for line in lines(folder) if line["step"] <= step]
        files.write_text(folder / FILE, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = (folder / FILE).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / FOLDER), purge_step=step + 1)
        self._broken = False

    def write(self, step: int, epoch: float, values: Mapping[str, float | int]) -> None:
        """Write one line, and one point of each curve; a value that is not finite is null in the file."""
        if self._broken:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._file.write(json.dumps({"step": step, "epoch": round(epoch, 6), **finite}) + "\n")
            for name, value in finite.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)
        except OSError as error:
            self._give_up(error)

    def flush(self) -> None:
        """Pass all lines and points to the operating system."""
        if self._broken:
            return
        try:
            self._file.flush()
            self._board.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._broken = True
        console.note(f"the log cannot be written ({error.strerror}); training goes on without it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.flush()
        try:
            self._board.close()
            self._file.close()
        except OSError as failure:
            if not self._broken:
                self._give_up(failure)


def lines(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a run's log, without a last line that was cut off by a kill."""
    if not (folder / FILE).is_file():
        return []
    rows = []
    for line in (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
