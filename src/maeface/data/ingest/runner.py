"""Units of work in worker processes; a unit that crashes or hangs one is tried again, file by file."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from maeface import console
from maeface.data.ingest import workers
from maeface.data.ingest.inputs import Input, Unit


class Work(Protocol):
    """A unit, or one file of it."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The files."""


Item = TypeVar("Item", bound=Work)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Runner(Generic[Item, Result]):
    """What the worker processes of a verb have in common.

    Attributes:
        verb: the name of the command, for messages.
        setup: see ``workers.work``; its job takes units and single files of units.
        count: number of processes.
        notify: see ``workers.work``.
        limit_s: see ``workers.work``.
    """

    verb: str
    setup: Callable[[], workers.Job[Item, Result]]
    count: int
    notify: workers.Notify
    limit_s: float | None

    def do_units(
        self, units: Iterable[Unit], suspects: list[Unit]
    ) -> Generator[tuple[Unit, Result], None, None]:
        """Yield each unit with its result; a unit that crashes or hangs its process goes to ``suspects``."""

        def suspect(unit: Unit, status: str, detail: str) -> None:
            suspects.append(unit)
            files = f"{len(unit.inputs)} files from {unit.inputs[0].source}"
            console.note(
                f"{self.verb}: {status} ({detail}) in unit {unit.name}, {files}; "
                "they are tried again one by one at the end"
            )

        job: Callable[[], workers.Job[Unit, Result]] = self.setup  # type: ignore[assignment]
        with closing(workers.work(job, units, self.count, self.notify, suspect, self.limit_s)) as results:
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
            console.note(f"{self.verb}: {item.inputs[0].source} is left out: {status} ({detail})")
            lose(item, status, detail)

        with closing(workers.work(self.setup, files, 1, self.notify, lost, self.limit_s)) as results:
            yield from results
