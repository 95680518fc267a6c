"""Units of work in worker processes; a unit that crashes or hangs one is tried again, file by file."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from maeface import console
from maeface.data.ingest import ray_work, workers
from maeface.data.ingest.inputs import Input


class Work(Protocol):
    """A unit, or one file or segment of it."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The files."""


class NamedWork(Work, Protocol):
    """A unit, or one segment of it."""

    @property
    def name(self) -> str:
        """The name of the unit."""


Item = TypeVar("Item", bound=Work)
Named = TypeVar("Named", bound=NamedWork)
Result = TypeVar("Result")


class Queue(Generic[Named]):
    """Units, with those that are added while they are worked on: these come first.

    Attributes:
        more: the ones that were added.
    """

    def __init__(self, units: Iterable[Named]) -> None:
        self._units = iter(units)
        self.more: deque[Named] = deque()

    def __iter__(self) -> "Queue[Named]":
        return self

    def __next__(self) -> Named:
        return self.more.popleft() if self.more else next(self._units)


@dataclass(frozen=True)
class Resources:
    """Where units are worked on.

    Attributes:
        processes: number of worker processes on this machine.
        limit_s: see ``workers.work``.
        ray: the address of a Ray cluster to work on instead (``ray_work``); None: this machine.
        gpus: GPUs that a task of Ray needs.
    """

    processes: int
    limit_s: float | None = None
    ray: str | None = None
    gpus: float = 0


@dataclass(frozen=True)
class Runner(Generic[Item, Result]):
    """What the worker processes of a verb have in common.

    Attributes:
        verb: the name of the command, for messages.
        setup: see ``workers.work``; its job takes units and single files of units.
        resources: where they are done.
        notify: see ``workers.work``.
    """

    verb: str
    setup: Callable[[], workers.Job[Item, Result]]
    resources: Resources
    notify: workers.Notify

    def do_units(
        self, units: Iterable[Named], suspects: list[Named]
    ) -> Generator[tuple[Named, Result], None, None]:
        """Yield each unit with its result; a unit that crashes or hangs its process goes to ``suspects``."""

        def suspect(unit: Named, status: str, detail: str) -> None:
            suspects.append(unit)
            files = f"{len(unit.inputs)} files from {console.escape(unit.inputs[0].source)}"
            console.note(
                f"{self.verb}: {status} ({detail}) in unit {unit.name}, {files}; "
                "they are tried again one by one at the end"
            )

        with closing(self._work(self.setup, units, suspect)) as results:
            yield from results

    def do_files(
        self, files: Iterable[Item], lose: Callable[[Item, str, str], None]
    ) -> Generator[tuple[Item, Result], None, None]:
        """Yield each file with its result.

        They are done in one process alone, so that memory is as large as it can be.

        Args:
            files: the files of suspect units.
            lose: called with a file that crashes or hangs its process again, with status and detail.
        """

        def lost(item: Item, status: str, detail: str) -> None:
            name = console.escape(item.inputs[0].source)
            console.note(f"{self.verb}: {name} is left out: {status} ({detail})")
            lose(item, status, detail)

        with closing(self._work(self.setup, files, lost, alone=True)) as results:
            yield from results

    def _work(
        self,
        setup: Callable[[], workers.Job[Any, Result]],
        items: Iterable[Any],
        lose: workers.Lose[Any],
        alone: bool = False,
    ) -> Generator[tuple[Any, Result], None, None]:
        resources = self.resources
        if resources.ray is None:
            count = 1 if alone else resources.processes
            return workers.work(setup, items, count, self.notify, lose, resources.limit_s)
        arguments = (setup, items, resources.ray, self.notify, lose, resources.limit_s)
        return ray_work.work(*arguments, together=1 if alone else None, gpus=resources.gpus)
