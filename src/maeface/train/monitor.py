"""The losses of the steps: read, logged, and counted where a step was skipped."""

import math
import time
from collections import deque

from torch import Tensor

from maeface import console
from maeface.errors import DataError
from maeface.train.checkpoint import State
from maeface.train.journal import Journal
from maeface.train.run import Run


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
        self._pending: deque[tuple[int, Tensor, list[str], float]] = deque()
        self._stop = 0
        self._previous = time.monotonic()

    def add(self, step: int, sums: Tensor, ids: list[str]) -> None:
        """Add the result of a step, as ``loop._train_step`` returns it.

        Raises:
            DataError: more than ``max_skipped`` steps in a row were skipped.
        """
        now = time.monotonic()
        speed = len(ids) * self.run.world / max(now - self._previous, 1e-9)
        self._pending.append((step, sums, ids, speed))
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
        step, sums, ids, speed = self._pending.popleft()
        total, weight, stop, skipped = sums.tolist()
        value = total / max(weight, 1e-12)
        self.state.skipped += int(skipped)
        self.state.skipped_in_row = self.state.skipped_in_row + 1 if skipped else 0
        if skipped:
            self._report(step, value, ids)
        if stop and not self._stop:
            self._stop = 130 if stop % 130 == 0 else 143
        self.note = f"epoch {step // self.per_epoch}  loss {value:.4f}"
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
