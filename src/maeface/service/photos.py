"""Photos of many requests, predicted together by worker processes, one for each device.

A photo that crashes or hangs its process, alone, is refused; the others of its batch are predicted by the
next process. The length of films is looked up in these processes too: a hostile file may crash one.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from maeface.data.ingest import workers
from maeface.data.ingest.cores import count_cores
from maeface.data.ingest.images import SourceImage, UnreadableInput
from maeface.errors import MaefaceError
from maeface.faces import media
from maeface.faces.media import MediaError
from maeface.prediction.predictor import Predictor
from maeface.prediction.rows import ImagePrediction, rows_of
from maeface.service import log
from maeface.service.kinds import FILMS, PHOTOS, explain
from maeface.service.settings import PHOTOS_TOGETHER, Settings

HEARTBEAT_S = 1.0
"""How often an idle process is asked whether it is alive."""
SILENT_S = 20.0
"""A process that makes no progress for so long is stopped.

A photo that hangs may be tried twice, first with others: both times together are shorter than ``answer_s``.
"""
LONGEST_PAUSE_S = 30.0
"""Longest pause between two attempts to start a process."""


class Busy(Exception):
    """Too many photos wait."""


class NoMemory(Exception):
    """The memory of the device is used up."""


class Refused(NamedTuple):
    """Why a file has no values: a word, as in the ``status`` of a table, and a short explanation."""

    reason: str
    detail: str


class PhotoRows(NamedTuple):
    """The rows of a photo, as in a table of ``maeface predict``."""

    rows: pa.Table


class FilmLength(NamedTuple):
    """The length of a film in seconds and in frames."""

    seconds: float
    frames: int


Answer = PhotoRows | FilmLength | Refused


class Question(NamedTuple):
    """A file to look at, and its name in the rows."""

    path: str
    name: str
    film: bool = False


@dataclass
class _Item:
    question: Question
    answer: "Future[Answer]" = field(default_factory=Future)
    alone: bool = False


class Photos:
    """The queue of photos, and the processes that work on it.

    Args:
        settings: of the service.
        seen: called with the number of photos of each batch.
        announce: called once with None, when the first process is ready; and with the error of a device on
            which not even the first can start.

    Attributes:
        restarts: number of processes that have ended unexpectedly.
    """

    def __init__(
        self,
        settings: Settings,
        seen: Callable[[int], None] = lambda photos: None,
        announce: Callable[[MaefaceError | None], None] = lambda error: None,
    ) -> None:
        self._settings, self._seen, self._announce = settings, seen, announce
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._stopping = self._is_announced = False
        self._devices = [_Device(name) for name in settings.device]
        self.restarts = 0

    @property
    def waiting(self) -> int:
        """The number of files that wait."""
        return len(self._waiting)

    @property
    def is_ready(self) -> bool:
        """Whether a process has loaded its networks and is alive."""
        return any(device.ready for device in self._devices)

    def start(self) -> None:
        """Start the worker processes."""
        for device in self._devices:
            threading.Thread(target=self._keep_serving, args=(device,), daemon=True).start()

    def stop(self) -> None:
        """End the worker processes, and wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for device in self._devices:
            device.ended.wait(workers.STOP_S)

    async def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Return the answer to each question, in order; if the caller is cancelled, they are dropped.

        Raises:
            Busy: too many wait already.
            NoMemory: the device has too little memory for one of them.
        """
        items = [_Item(question) for question in questions]
        with self._changed:
            if len(self._waiting) + len(items) > self._settings.queue:
                raise Busy
            self._waiting.extend(items)
            self._changed.notify()
        return list(await asyncio.gather(*(asyncio.wrap_future(item.answer) for item in items)))

    def _keep_serving(self, device: "_Device") -> None:
        """Serve with one process after another."""
        pause_s = HEARTBEAT_S
        while not self._stopping:
            try:
                setup = partial(make_job, self._settings, device.name)
                lose = partial(self._lose, device)
                batches = self._batches(device)
                with closing(workers.work(setup, batches, 1, lose=lose, limit_s=SILENT_S)) as results:
                    for _, answers in results:
                        pause_s = HEARTBEAT_S
                        self._note_ready(device)
                        for item, answer in zip(device.batch, answers, strict=True):
                            item.answer.set_result(answer)
                        device.batch = []
            except Exception as error:  # no process can start, or a fault of ours
                says = str(error).strip().removesuffix(f"; {workers.ADVICE}") or type(error).__name__
                kind = says if isinstance(error, MaefaceError) else says.splitlines()[-1]
                if isinstance(error, MaefaceError) and device.is_new and says == str(error):  # no crash
                    self._announce(error)
                else:
                    log.note(f"serve: a process on {device.name} failed: {kind}; the next in {pause_s:g} s")
                    device.is_new = False  # it may be there: others go on meanwhile
                self._lose(device, None, workers.CRASHED, "a worker process failed")
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        device.ready = False
        device.ended.set()

    def _note_ready(self, device: "_Device") -> None:
        device.ready, device.is_new = True, False
        with self._changed:
            is_first, self._is_announced = not self._is_announced, True
        if is_first:
            self._announce(None)

    def _batches(self, device: "_Device") -> Iterator[list[Question]]:
        """Yield what waits, at most so much as is predicted together, and nothing now and then.

        An empty batch starts a process before there is work, and shows the end of one that was killed.
        """
        while not self._stopping:
            batch = self._take() if device.ready else []
            device.batch = batch
            photos = sum(not item.question.film for item in batch)
            if photos:
                self._seen(photos)
            yield [item.question for item in batch]

    def _take(self) -> list[_Item]:
        batch: list[_Item] = []
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping, HEARTBEAT_S)
            while self._waiting and len(batch) < PHOTOS_TOGETHER:
                if batch and self._waiting[0].alone:
                    break
                item = self._waiting.popleft()
                if item.answer.running() or item.answer.set_running_or_notify_cancel():
                    batch.append(item)
                if item.alone:
                    break
        return batch

    def _lose(self, device: "_Device", _: object, status: str, detail: str) -> None:
        """Answer for a batch whose process has ended: a photo alone is refused, others wait again."""
        device.ready = False
        self.restarts += 1
        batch, device.batch = device.batch, []
        if len(batch) == 1:
            if detail == "out of memory":
                batch[0].answer.set_exception(NoMemory())
            else:
                batch[0].answer.set_result(Refused(status, "the process that read this file ended"))
            return
        with self._changed:
            for item in reversed(batch):
                item.alone = True
                self._waiting.appendleft(item)


@dataclass
class _Device:
    """A device with its process.

    Attributes:
        name: "auto", "cpu", "cuda:0", ...
        ready: whether the process has loaded its networks and is alive.
        is_new: whether no process has been ready or was lost yet.
        batch: what it works on.
        ended: set when its thread has ended.
    """

    name: str
    ready: bool = False
    is_new: bool = True
    batch: list[_Item] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


def make_job(settings: Settings, device: str) -> Callable[[list[Question], workers.Notify], list[Answer]]:
    """Make the job of a worker process: it answers a batch of questions."""
    predictor = Predictor(
        settings.weights,
        device,
        precision=settings.precision,
        detector=settings.detector,
        backend=settings.backend,
        threads=count_cores(),
        sides=settings.sides,
    )

    def job(questions: list[Question], notify: workers.Notify) -> list[Answer]:
        notify(0)  # from now on the process has to make progress
        photos = [question for question in questions if not question.film]
        predicted = (
            one for batch in predictor.stream(_read(photos, settings.pixels, notify)) for one in batch
        )

        def look(question: Question) -> Answer:
            notify(0)
            return measure_film(Path(question.path)) if question.film else answer(next(predicted))

        return [look(question) for question in questions]

    def answer(one: ImagePrediction) -> Answer:
        if isinstance(one.image, UnreadableInput):
            return Refused(one.image.reason, one.image.detail)
        return PhotoRows(rows_of([one], predictor.columns).select(predictor.columns))

    return job


def measure_film(path: Path) -> FilmLength | Refused:
    """Return the length of a film by its header, or by the number of its frames if that is longer."""
    try:
        seconds, rate = media.read_clock(path)
        frames = media.count_frames(path)
    except MediaError as error:
        return Refused(error.reason, explain(error, path, FILMS))
    return FilmLength(max(seconds or 0.0, frames / rate), frames)


def _read(
    photos: Iterable[Question], max_pixels: int, notify: workers.Notify
) -> Iterator[SourceImage | UnreadableInput]:
    for path, name, _ in photos:
        notify(0)
        try:
            pixels = media.read_image(Path(path), max_pixels=max_pixels)
        except MediaError as error:
            yield UnreadableInput(name, 0, 0.0, error.reason, explain(error, Path(path), PHOTOS))
        else:
            yield SourceImage(name, media.Frame(pixels, 0, 0.0), video=False)
