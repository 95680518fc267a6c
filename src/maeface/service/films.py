"""Films: a job for each, done by a process of its own, one at a time on each device."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from maeface.service import film_process, log
from maeface.service.jobs import JobRow, Jobs
from maeface.service.replies import Phase
from maeface.service.settings import Settings

DEATHS = 3
"""A job whose process has ended unexpectedly so often has failed."""
ENDED = "the process that read this film ended unexpectedly"
LONGER = "the film has far more frames than its header says"
MOST_TIMES, MOST_RATE = 3, 60
"""A film has failed after so many times its announced frames, and so many a second of the longest film."""
PAUSE_S = 10.0
"""Seconds to wait after an error of the system, or after a process has ended unexpectedly.

Only then is its death counted: a service that is told to stop has ended before, so processes that were killed
with it are not counted.
"""
STOP_S = 3.0
"""How long a process may need to end. One that is killed loses no more than a segment of its film."""
PROCESS = film_process.__name__
"""The module that predicts a film, in a process of its own."""
CLEAN_S = 60.0
"""How often old jobs are deleted."""


class Films:
    """Does the jobs.

    Args:
        jobs: the list.
        settings: of the service.
    """

    def __init__(self, jobs: Jobs, settings: Settings) -> None:
        self._jobs, self._settings = jobs, settings
        self._added = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._phases: dict[str, Phase] = {}

    def start(self) -> None:
        """Begin with what waits."""
        works = [self._keep_working(device) for device in self._settings.device]
        self._tasks = [asyncio.create_task(work) for work in [*works, self._keep_clean()]]

    async def stop(self) -> None:
        """End the processes; their jobs go on at the next start."""
        for task in self._tasks:
            if not task.cancelling():  # a second call would break off the end of its process
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Say that there is a new job."""
        self._added.set()

    def phase_of(self, job: JobRow) -> Phase | None:
        """Return what happens to a job now; None if it has ended."""
        if job.state == "running":
            return self._phases.get(job.id, "starting")
        return "waiting" if job.state == "queued" else None

    async def delete(self, job: str) -> None:
        """Stop the work on a job, if there is any, and delete it."""
        process = self._processes.pop(job, None)
        if process is not None:
            await _end(process)
        self._jobs.delete(job)

    async def _keep_working(self, device: str) -> None:
        lost: JobRow | None = None  # its end is not noted yet
        while True:
            self._added.clear()
            try:
                if lost is not None:
                    self._lose(lost)
                lost = None
                lost = job = self._jobs.next()
                if job is None:
                    await self._added.wait()
                    continue
                if await self._work(job, device):
                    lost = None
                    continue
            except Exception as error:  # no process can be started, the disk is full, or a fault of ours
                log.note(f"serve: films were interrupted: {type(error).__name__}")
            await asyncio.sleep(PAUSE_S)

    async def _work(self, job: JobRow, device: str) -> bool:
        """Do a job, and note how it ended; return False if its process has ended unexpectedly."""
        with self._jobs.path(job.id, "log").open("ab") as said:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", PROCESS, json.dumps(self._describe(job, device))),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for the service, which ends it
            )
        self._processes[job.id] = process
        try:
            last = await self._follow(job, process)
            if "error" not in last:
                await process.wait()
        finally:
            deleted = self._processes.pop(job.id, None) is None
            self._phases.pop(job.id, None)
            await asyncio.shield(_close(process))
        if deleted or self._jobs.get(job.id) is None:
            self._jobs.delete(job.id)  # its process may have written a last file
        elif last.get("finished"):
            self._jobs.end(job.id, done=last["frames"])
        elif "error" in last:
            self._jobs.end(job.id, last["error"])
        else:
            return False
        return True

    def _lose(self, job: JobRow) -> None:
        """Let a job wait again whose process has ended unexpectedly, but not for ever."""
        row = self._jobs.get(job.id)
        if row is None:
            self._jobs.delete(job.id)
            return
        if row.deaths + 1 < DEATHS:
            self._jobs.note_death(job.id)
            return
        log.note(f"serve: a film has failed: its process ended {DEATHS} times")
        self._jobs.end(job.id, ENDED)

    async def _follow(self, job: JobRow, process: asyncio.subprocess.Process) -> Mapping[str, Any]:
        """Note the progress of a process; return all that it has said, the newest of each."""
        said: dict[str, Any] = {"frames": 0}
        most = max(MOST_TIMES * job.total, MOST_RATE * self._settings.max_seconds)
        assert process.stdout is not None
        async for line in process.stdout:
            with suppress(ValueError):  # half a line of a process that was killed
                said |= json.loads(line)
                self._jobs.note_progress(job.id, said["frames"])
                if "phase" in said:
                    self._phases[job.id] = said["phase"]
            if said["frames"] > most:
                return {"error": LONGER}
        return said

    def _describe(self, job: JobRow, device: str) -> dict[str, Any]:
        settings = self._settings
        return {
            "folder": os.fspath(self._jobs.path(job.id).absolute()),
            "weights": None if settings.weights is None else os.fspath(settings.weights),
            "every": job.every,
            "fps": job.fps,
            "device": device,
            "precision": settings.precision,
            "detector": settings.detector,
            "backend": settings.backend,
            "workers": settings.workers,
            "sides": settings.sides,
        }

    async def _keep_clean(self) -> None:
        while True:
            try:
                self._jobs.delete_old()
            except Exception as error:
                log.note(f"serve: old results were not deleted: {type(error).__name__}")
            await asyncio.sleep(CLEAN_S)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process, first politely."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(
            TimeoutError
        ):  # it waits for the pipes, too, which a process that it has started may hold
            await asyncio.wait_for(process.wait(), STOP_S)


async def _close(process: asyncio.subprocess.Process) -> None:
    """End a process, and wait until its pipes are closed: an open one outlives the event loop."""
    await _end(process)
    try:
        await asyncio.wait_for(process.communicate(), STOP_S)
    except (
        TimeoutError
    ):  # a process that it has started holds the pipes: only the transport can close our ends
        process._transport.close()  # type: ignore[attr-defined]
