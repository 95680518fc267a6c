"""Paths as callers give them: as text or as ``Path``, one or several."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import overload

StrPath = str | os.PathLike[str]
"""A path, as functions and options take it."""


class FolderPath(type(Path())):  # type: ignore[misc] # before Python 3.12, Path has no subclasses
    """The path of an output that was given with a slash at its end: a folder, which may not be there yet."""


@overload
def to_path(path: StrPath) -> Path: ...
@overload
def to_path(path: StrPath | None) -> Path | None: ...
def to_path(path: StrPath | None) -> Path | None:
    """Return a path; of text that ends with a slash, a ``FolderPath``. None stays None."""
    if path is None or isinstance(path, Path):
        return path
    text = os.fspath(path)
    return FolderPath(text) if text.endswith((os.sep, "/")) else Path(text)


def to_paths(paths: StrPath | Iterable[StrPath]) -> list[Path]:
    """Return one path or several as a list; text is one path, and is not read letter by letter."""
    return [to_path(one) for one in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
