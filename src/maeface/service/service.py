"""The service: photos, jobs and films together, and what is said where one of them refuses."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI, HTTPException, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from maeface import facts, files
from maeface.errors import MaefaceError
from maeface.model.arrays import load_arrays
from maeface.model.trust import shown_aus, trust_of
from maeface.model.zoo import find
from maeface.prediction.columns import choose_thresholds
from maeface.service import replies
from maeface.service.films import Films
from maeface.service.jobs import JobRow, Jobs
from maeface.service.log import show_time
from maeface.service.photos import Answer, Busy, FilmLength, NoMemory, Photos, Question
from maeface.service.settings import Settings

RETRY = {"Retry-After": "5"}
Result = TypeVar("Result")


class FilmOptions(BaseModel):
    """The query of a request with a film."""

    model_config = ConfigDict(extra="forbid")
    every: int = Field(1, ge=1, le=1_000_000, description="read every n-th frame", examples=[2])
    fps: float | None = Field(
        None, ge=0.001, le=1000, description="read at most so many frames per second, instead", examples=[10]
    )


class Service:
    """The parts of a running service.

    Args:
        settings: as given.
        started: see ``announce`` of ``Photos``.

    Attributes:
        settings: as given.
        photos, jobs, films: see their modules; the last two are there while the service runs.
        registry: of the metrics.
    """

    def __init__(
        self, settings: Settings, started: Callable[[MaefaceError | None], None] = lambda error: None
    ) -> None:
        self.settings, self.registry = settings, CollectorRegistry()
        self._batches = Histogram(
            *("maeface_batch_photos", "Photos that were predicted together."),
            buckets=(1, 2, 4, 8),
            registry=self.registry,
        )
        self._frames = Counter("maeface_films", "Films that were accepted.", registry=self.registry)
        self._uploads = 0
        self.photos = Photos(settings, self._batches.observe, started)
        self.jobs: Jobs
        self.films: Films
        for name, what, value in (
            ("maeface_photos_waiting", "Photos that wait.", lambda: self.photos.waiting),
            ("maeface_films_waiting", "Films that wait.", lambda: self.jobs.count("queued")),
            ("maeface_films_running", "Films that are predicted.", lambda: self.jobs.count("running")),
            ("maeface_worker_restarts", "Processes that ended.", lambda: self.photos.restarts),
        ):
            Gauge(name, what, registry=self.registry).set_function(value)

    @cached_property
    def aus(self) -> dict[str, replies.AUTrust]:
        """What the action units of the weights are, and whether to rely on them; all, if nothing is known."""
        metadata = load_arrays(find(self.settings.weights))[1]
        known, shown = trust_of(metadata), shown_aus(metadata, all_aus=False)
        thresholds = choose_thresholds(metadata, None)
        return {
            facts.au_name(au): replies.AUTrust(
                title=facts.au_title(au),
                use=au in shown,
                advice=known[au].advice if known else None,
                checked=str(known[au]) if known else "the weights say nothing about it",
                threshold=None if metadata.task == "intensity" else threshold,
            )
            for au, threshold in zip(metadata.aus, thresholds, strict=True)
        }

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Run the processes while the application runs."""
        folder = self.settings.folder
        with files.lock(folder):
            for left in folder.glob("upload-*"):
                shutil.rmtree(left, ignore_errors=True)
            self.jobs = Jobs(folder, self.settings.keep_s)
            self.films = Films(self.jobs, self.settings)
            self.photos.start()
            self.films.start()
            try:
                yield
            finally:
                await asyncio.gather(self.films.stop(), asyncio.to_thread(self.photos.stop))
                self.jobs.close()

    async def ask(self, request: Request, questions: Sequence[Question]) -> list[Answer]:
        """Return the answers of a worker process while the client is there.

        Raises:
            HTTPException: 503.
            ClientDisconnect: the client is gone; its questions are dropped.
        """
        try:
            async with asyncio.timeout(self.settings.answer_s):
                return await while_connected(request, self.photos.ask(questions))
        except (Busy, TimeoutError):
            raise HTTPException(503, "too many photos wait; try again", RETRY) from None
        except NoMemory:
            raise HTTPException(503, "the device has too little memory; send smaller photos", RETRY) from None

    def add_film(self, film: Path, length: FilmLength, options: FilmOptions) -> JobRow:
        """Add a job for a film.

        Raises:
            HTTPException: 422.
        """
        limit = self.settings.max_seconds
        if length.seconds > limit:
            raise HTTPException(422, f"the film has {length.seconds:.0f} s; expected at most {limit:g} s")
        total = -(-length.frames // options.every)
        if options.fps is not None:
            total = min(length.frames, round(length.seconds * options.fps))
        row = self.jobs.add(film, options.every, options.fps, length.seconds, max(total, 1))
        self._frames.inc()
        self.films.wake()
        return row

    def require_ready(self) -> None:
        """Refuse a request with 503, before its body is read, if no worker process is ready."""
        if not self.photos.is_ready:
            raise HTTPException(503, "the service is not ready: it loads its networks; try again", RETRY)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Keep a place for a film while it is received; refuse it with 503 if too many others have one."""
        if self.jobs.count("queued") + self._uploads >= self.settings.jobs:
            raise HTTPException(503, "too many films wait; try again", {"Retry-After": "60"})
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    def find(self, job: str) -> JobRow:
        """Return a job; 404 if there is none."""
        row = self.jobs.get(job)
        if row is None:
            raise HTTPException(404, "no such job")
        return row

    def describe(self, row: JobRow) -> replies.Job:
        """Return what a client is told of a job."""
        done = min(row.done, row.total)
        return replies.Job(
            id=row.id,
            state=row.state,
            phase=self.films.phase_of(row),
            frames=row.done,
            frames_total=row.total,
            progress=1.0 if row.state == "done" else round(done / row.total, 4),
            seconds=row.seconds,
            waiting=self.jobs.count("queued", row.created) if row.state == "queued" else 0,
            error=row.error,
            created=show_time(row.created),
            expires=None if row.ended is None else show_time(row.ended + self.settings.keep_s),
        )


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """Return the result of some work, which is cancelled if the client goes."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
