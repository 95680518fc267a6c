"""The list of jobs, in one SQLite file: what is known of each film, also after a restart."""

import secrets
import shutil
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maeface.service.replies import State

FILE = "jobs.sqlite"
FILM, TABLE, REPORT = "film", "faces.parquet", "faces.report.html"
"""Names in the folder of a job: the upload, the table, and its page with the time-line."""
_COLUMNS = "id, state, created, ended, every, fps, seconds, total, done, deaths, error"


@dataclass(frozen=True)
class JobRow:
    """A job.

    Attributes:
        id: a name that nobody can guess.
        state: of the work.
        created, ended: in seconds since 1970; None: not ended.
        every, fps: which frames are read; see ``predict.run``.
        seconds: length of the film.
        total: frames that will be read.
        done: frames that have rows.
        deaths: how often its process has ended unexpectedly since there were last more frames.
        error: why it failed.
    """

    id: str
    state: State
    created: float
    ended: float | None
    every: int
    fps: float | None
    seconds: float
    total: int
    done: int
    deaths: int
    error: str | None


class Jobs:
    """The jobs of a folder. A job that a killed service was working on waits again.

    Args:
        folder: of the service; the files of a job are in ``jobs/ID``.
        keep_s: seconds after which an ended job is deleted.
    """

    def __init__(self, folder: Path, keep_s: float) -> None:
        self.folder, self.keep_s = folder / "jobs", keep_s
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / FILE, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Make the list if there is none, and put it and the folder in order."""
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, state TEXT NOT NULL,"
            " created REAL NOT NULL, ended REAL, every INTEGER NOT NULL,"
            " fps REAL, seconds REAL NOT NULL, total INTEGER NOT NULL,"
            " done INTEGER NOT NULL, deaths INTEGER NOT NULL, error TEXT)"
        )
        self._change("state = 'queued' WHERE state = 'running'")
        known = {row.id for row in self._find("1")}
        for path in self.folder.iterdir():
            if path.name not in known:  # the service was killed before the job was listed, or while deleting
                shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Close the list."""
        self._database.close()

    def path(self, job: str, name: str = "") -> Path:
        """Return the path of a file of a job, or of its folder."""
        return self.folder / job / name

    def add(self, film: Path, every: int, fps: float | None, seconds: float, total: int) -> JobRow:
        """Add a job; the file of the film is moved to its folder."""
        row = (secrets.token_urlsafe(16), "queued", time.time(), None, every, fps, seconds, total, 0, 0, None)
        try:
            self.path(row[0]).mkdir(mode=0o700)
            film.rename(self.path(row[0], FILM))
            self._database.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)
        except (OSError, sqlite3.Error):  # nobody gets its id: without a row, nothing would delete the film
            shutil.rmtree(self.path(row[0]), ignore_errors=True)
            raise
        return JobRow(*row)  # type: ignore[arg-type]

    def get(self, job: str) -> JobRow | None:
        """Return a job; None if there is none of this name."""
        return next(iter(self._find("id = ?", job)), None)

    def next(self) -> JobRow | None:
        """Return the job that has waited longest, and mark it as running; None if none waits."""
        row = next(iter(self._find("state = 'queued' ORDER BY created LIMIT 1")), None)
        if row is not None:
            self._change("state = 'running' WHERE id = ?", row.id)
        return row

    def count(self, state: State, before: float | None = None) -> int:
        """Return the number of jobs in a state, or of those that were made before a time."""
        found = self._find("state = ? AND created < ?", state, time.time() + 1 if before is None else before)
        return len(found)

    def note_progress(self, job: str, done: int) -> None:
        """Note the number of frames that have rows; if it is the highest so far, deaths are forgotten."""
        self._change("deaths = 0, done = ? WHERE id = ? AND done < ?", done, job, done)

    def note_death(self, job: str) -> None:
        """Note that the process of a job has ended unexpectedly; the job waits again."""
        self._change("state = 'queued', deaths = deaths + 1 WHERE id = ?", job)

    def end(self, job: str, error: str | None = None, done: int | None = None) -> None:
        """Note that a job is done, with so many frames, or with an error has failed; its film is deleted."""
        state = "done" if error is None else "failed"
        what = "state = ?, ended = ?, error = ?, done = coalesce(?, done) WHERE id = ?"
        self._change(what, state, time.time(), error, done, job)
        self.path(job, FILM).unlink(missing_ok=True)

    def delete(self, job: str) -> None:
        """Delete a job and its files: first these, for SQLite needs room on the disk to delete a row."""
        shutil.rmtree(self.path(job), ignore_errors=True)
        self._database.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def delete_old(self) -> None:
        """Delete the jobs that ended long enough ago."""
        for row in self._find("ended < ?", time.time() - self.keep_s):
            self.delete(row.id)

    def _find(self, where: str, *values: Any) -> Sequence[JobRow]:  # noqa: ANN401 - what SQLite takes
        found = self._database.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", values)
        return [JobRow(*row) for row in found]

    def _change(self, what: str, *values: Any) -> None:  # noqa: ANN401
        self._database.execute(f"UPDATE jobs SET {what}", values)
