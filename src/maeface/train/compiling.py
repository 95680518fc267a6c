"""torch.compile in a training: when it pays, what its start costs, and what happens where it fails."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from maeface import console
from maeface.errors import MaefaceError, ResourceError
from maeface.train import ranks

LOOK = 50
"""Steps after which the rate is known, and ``auto`` decides."""
PAYS_S = 600.0
"""Seconds of training that have to be left, at the rate so far: the start takes one or two minutes."""


@dataclass
class Compilation:
    """Whether the functions of a training are compiled; they are switched all together.

    Attributes:
        asked: ``run.compile``; ``auto``: on a GPU, where more than ``PAYS_S`` of the training are left. A
            network in parts compiles its blocks itself; then this is False.
        device: of the training.
        on: whether they are compiled.
        start_s: seconds that the first compiled pass took.
    """

    asked: bool | Literal["auto"]
    device: torch.device
    on: bool = False
    start_s: float = 0.0
    _graphs: int = 0
    _steps: int = 0
    _began: float = 0.0

    @property
    def possible(self) -> bool:
        """Return whether they may be compiled at some time."""
        return self.device.type == "cuda" if self.asked == "auto" else self.asked

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, which is compiled by its first call after the switch."""
        if not self.possible:
            return function
        compiled: Callable[..., Any] | None = None

        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - of the function
            nonlocal compiled
            if not self.on:
                return function(*arguments, **named)
            if compiled is None:
                compiled = torch.compile(function)
            return compiled(*arguments, **named)

        return call

    def is_due(self, left: int) -> bool:
        """Return whether to switch before the next step; the same on all ranks. Called once before each.

        Args:
            left: steps of the training that are left.
        """
        now = time.monotonic()
        done, self._steps = self._steps, self._steps + 1
        self._began = now if done == 0 else self._began
        if self.asked == "auto":
            seconds = left * (now - self._began) / LOOK
            return self.possible and done == LOOK and ranks.first(lambda: seconds > PAYS_S)
        return self.asked and done == 0

    def start(self, one_pass: Callable[[], None], writes: bool) -> None:
        """Switch, and do a pass that compiles everything; with ``auto``, switch back where this fails.

        Args:
            one_pass: forward and backward, without talking to other ranks.
            writes: whether to say what happens.

        Raises:
            ResourceError: it fails, and ``run.compile`` is true.
        """
        began, self.on, problem = time.monotonic(), True, ""
        if writes:
            console.note("compiling (run.compile); the first pass takes a minute or more")
        try:
            one_pass()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        except MaefaceError:
            raise
        except torch.OutOfMemoryError:
            if self.asked is True:
                raise
            problem = "the GPU's memory is full"
        except Exception as error:  # of a compiler, which may raise anything
            problem = f"{type(error).__name__}: {' '.join(str(error).split()[:30])}"
        self.start_s, self._graphs = time.monotonic() - began, _count_graphs()
        problems = [text for text in ranks.gather(problem) if text]
        if problems and self.asked is True:
            raise ResourceError(
                f"torch.compile does not work on this machine ({problems[0]}); set run.compile=false"
            )
        if problems:
            self.on = False
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if writes:
                console.note(f"torch.compile does not work here ({problems[0]}); training goes on without it")

    @property
    def note(self) -> str:
        """Return the cost of the start, and of later compilations, for the progress line; empty if off."""
        if not self.on:
            return ""
        more = _count_graphs() - self._graphs
        return f"compiled in {self.start_s:.0f} s" + (f", {more} graphs since" if more else "")


def _count_graphs() -> int:
    from torch._dynamo.utils import counters  # takes a second; there is no public name

    return int(counters["stats"]["unique_graphs"])
