"""The log of a run: ``log.jsonl``, a line for each step and evaluation; and the sinks that get the same.

``LossMonitor`` reads the loss of each step and writes it.
"""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from torch import Tensor

from maeface import console, files
from maeface.errors import DataError, ResourceError
from maeface.train import copies
from maeface.train.checkpoint import State
from maeface.train.run import Run
from maeface.train.sinks import SINKS, Sink, require_libraries

FILE = "log.jsonl"


class Journal:
    """An open log of a run, as a context manager; what goes wrong with it does not stop the training.

    Args:
        folder: of the run.
        step: last step of the checkpoint that training starts from; later lines, of a killed attempt, are
            removed.
        log: names of ``sinks.SINKS`` that get the same values.

    Raises:
        ResourceError: a sink needs a library that is not installed.
    """

    def __init__(self, folder: Path, step: int, log: Sequence[str] = ()) -> None:
        require_libraries(log)
        kept = [line for line in lines(folder) if line["step"] <= step]
        self._sinks: dict[str, Sink] = {}
        for name in log:
            self._attempt(name, partial(self._open, name, folder, step))
        self._file: TextIO | None = None
        try:
            files.write_text(folder / FILE, "".join(json.dumps(line) + "\n" for line in kept))
            self._file = (folder / FILE).open("a", encoding="utf-8")
        except (OSError, ResourceError) as error:
            self._give_up(error)

    def write(self, step: int, epoch: float, values: Mapping[str, float | int]) -> None:
        """Write one line, and one point of each curve; a value that is not finite is null in the file."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        line = {"step": step, "epoch": round(epoch, 6), **dict.fromkeys(values), **finite}
        self._guard(lambda file: file.write(json.dumps(line) + "\n"))
        self._pass_on(lambda sink: sink.write(step, epoch, finite))

    def flush(self) -> None:
        """Pass all lines and points to the operating system."""
        self._guard(lambda file: file.flush())
        self._pass_on(lambda sink: sink.flush())

    def _guard(self, action: Callable[[TextIO], object]) -> None:
        """Do something with the file; after an error it is left alone."""
        if self._file is None:
            return
        try:
            action(self._file)
        except OSError as error:
            with suppress(OSError):  # what it still holds cannot be written either
                self._file.close()
            self._file = None
            self._give_up(error)

    def _give_up(self, error: OSError | ResourceError) -> None:
        console.note(f"the log cannot be written ({error}); training goes on without it")

    def _open(self, name: str, folder: Path, step: int) -> None:
        self._sinks[name] = SINKS[name](folder, step)

    def _pass_on(self, action: Callable[[Sink], None]) -> None:
        """Do something with each sink."""
        for name, sink in list(self._sinks.items()):
            self._attempt(name, partial(action, sink))

    def _attempt(self, name: str, action: Callable[[], None]) -> None:
        """Do something with a sink; one that fails is left alone from then on."""
        try:
            action()
        except Exception as error:  # of a library, which may raise anything
            self._sinks.pop(name, None)
            console.note(f"the log {name} cannot be written ({error}); training goes on without it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.flush()
        self._pass_on(lambda sink: sink.close())
        self._guard(lambda file: file.close())


class LossMonitor:
    """Reads and logs the loss of each step; on a GPU one step late, so that training never waits for it.

    Args:
        run: an open run.
        journal: of the run; None on ranks that do not write.
        per_epoch: steps an epoch.
        state: of the training; skipped steps are counted in it.
        max_skipped: steps in a row that may be skipped.
    """

    def __init__(
        self, run: Run, journal: Journal | None, per_epoch: int, state: State, max_skipped: int
    ) -> None:
        self.run, self.journal, self.per_epoch = run, journal, per_epoch
        self.state, self.max_skipped = state, max_skipped
        self.note = ""
        self._late = 1 if run.device.type == "cuda" else 0
        self._pending: deque[tuple[int, Tensor, Callable[[], None], list[str], float]] = deque()
        self._stop = 0
        self._previous = time.monotonic()

    def add(self, step: int, sums: Tensor, ids: list[str]) -> None:
        """Add the result of a step, as ``loop._train_step`` returns it.

        Raises:
            DataError: more than ``max_skipped`` steps in a row were skipped.
        """
        now = time.monotonic()
        speed = len(ids) * self.run.world / max(now - self._previous, 1e-9)
        self._pending.append((step, *copies.to_host(sums), ids, speed))
        self._previous = now
        while len(self._pending) > self._late:
            self._read()

    def settle(self) -> None:
        """Read all pending losses, so that the state is that of the last step."""
        while self._pending:
            self._read()
        if self.journal is not None:
            self.journal.flush()

    def stop_code(self) -> int:
        """Return the exit code that a signal asked for, at the same step on all ranks; 0 for none."""
        return self._stop if self.run.world > 1 else self.run.stop.code

    def _read(self) -> None:
        step, sums, wait, ids, speed = self._pending.popleft()
        wait()
        total, weight, stop, skipped = sums.tolist()
        value = total / max(weight, 1e-12)
        self.state.skipped += int(skipped)
        self.state.skipped_in_row = self.state.skipped_in_row + 1 if skipped else 0
        if skipped:
            self._report(step, value, ids)
        if stop and not self._stop:
            self._stop = 143 if stop % 143 == 0 else 130  # the sum over ranks, which get the same signal
        self.note = f"epoch {step // self.per_epoch}  loss {value:.4f}  {self.run.compilation.note}".rstrip()
        if self.journal is not None:
            values = {"loss": value, "images_per_s": round(speed, 1)}
            if skipped:
                values["skipped"] = self.state.skipped
            self.journal.write(step + 1, (step + 1) / self.per_epoch, values)

    def _report(self, step: int, value: float, ids: list[str]) -> None:
        """Say that a step was skipped; raise if too many were."""
        what = f"the loss is {value}" if not math.isfinite(value) else "the gradient is not finite"
        where = f"{what} at step {step} (epoch {step // self.per_epoch})"
        samples = f"{', '.join(ids[:8])}{', ...' if len(ids) > 8 else ''}"
        if self.state.skipped_in_row > self.max_skipped:
            many = f", after {self.max_skipped} others in a row" if self.max_skipped else ""
            raise DataError(
                f"{where}{many}; lower optim.base_lr, or look at the samples of this step: {samples}"
            )
        if self.run.writes:
            console.note(f"{where}: the step is skipped; its samples: {samples}")


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
