"""Checks of arguments before any work: choices, numbers, and paths of inputs and outputs.

The command line runs them before it imports anything slow, so this module imports only the standard library.
Messages name a setting as the user writes it, see ``name_of``.
"""

import difflib
import math
import operator
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from maeface.errors import ConfigError, MaefaceError, ResourceError, WeightsError
from maeface.paths import FolderPath

DEVICES = ("auto", "cpu", "cuda", "cuda:N")
TABLES = (".csv", ".parquet")
"""Suffixes of a table of predictions."""
NAMES_COMPARED = 10_000
"""Largest number of files in a folder that are compared with a mistyped name."""
OPTIONS = {"au_thresholds": "--au-threshold", "formats": "--format", "smooth_s": "--smooth"}
"""Options that are not called as their argument in Python."""
_typed = ContextVar("_typed", default=False)


@contextmanager
def name_options() -> Iterator[None]:
    """Let messages name settings as options of the command line, within a ``with`` block."""
    token = _typed.set(True)
    try:
        yield
    finally:
        _typed.reset(token)


def name_of(setting: str) -> str:
    """Return the name of a setting for messages: the argument ``max_bad``, or the option ``--max-bad``.

    A key of a recipe, ``run.device``, is the same everywhere.
    """
    if not _typed.get() or "." in setting:
        return setting
    return OPTIONS.get(setting) or f"--{setting.replace('_', '-')}"


def find_nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of some names, ignoring case; None if ``name`` is no typing error of any."""
    by_lower = {one.lower(): one for one in reversed(list(names))}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def require_choice(setting: str, value: object, names: Sequence[str], meant: str | None = None) -> None:
    """Check that a value is one of some names; the name ``cuda:N`` stands for ``cuda:0`` and so on.

    Args:
        setting: the name of the argument.
        value: that was given.
        names: the valid ones.
        meant: the one to suggest; None: the nearest, if one is similar.

    Raises:
        ConfigError: it is not; the message lists the names.
    """
    patterns = (re.escape(name).replace("N", r"\d{1,3}") if name.endswith(":N") else name for name in names)
    if isinstance(value, str) and any(re.fullmatch(pattern, value) for pattern in patterns):
        return
    near = meant or find_nearest(str(value), names)
    hint = f"; did you mean {near!r}?" if near else ""
    raise ConfigError(f"{name_of(setting)} is {value!r}; expected one of {', '.join(names)}{hint}")


def require_device(name: str, setting: str = "device") -> str:
    """Return the name of a device if it is valid: "auto", "cpu", "cuda", "cuda:0", "cuda:1", ...

    Raises:
        ConfigError: it is none of these.
    """
    is_gpu = re.fullmatch(r"gpu(:\d+)?", name.lower())
    require_choice(setting, name, DEVICES, name.lower().replace("gpu", "cuda") if is_gpu else None)
    return name


def require_sampling(every: object, fps: object) -> None:
    """Check the settings that select frames of a video.

    Args:
        every: use every n-th frame: an integer, 1 or more.
        fps: use at most this many frames per second instead: a finite number above 0; None for all.

    Raises:
        ConfigError: not such numbers, or both are given.
    """
    try:
        whole = 0 if isinstance(every, bool) else operator.index(every)  # type: ignore[arg-type]
    except TypeError:
        whole = 0
    if whole < 1:
        raise ConfigError(f"{name_of('every')} is {every!r}; expected a whole number, 1 or more")
    if fps is None:
        return
    try:
        rate = math.nan if isinstance(fps, (bool, str)) else float(fps)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(
            f"{name_of('fps')} is {fps!r}; expected a finite number above 0, in frames a second"
        )
    if whole > 1:
        raise ConfigError(
            f"{name_of('every')} is {every!r} and {name_of('fps')} is {fps!r}; give one of them"
        )


def require_fraction(setting: str, value: float) -> None:
    """Raise ConfigError unless a value is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name_of(setting)} is {value:g}; expected a fraction, 0 to 1")


def require_positive(setting: str, value: float) -> None:
    """Raise ConfigError unless a value is above 0."""
    if not value > 0:
        raise ConfigError(f"{name_of(setting)} is {value:g}; expected a number above 0")


def require_not_negative(setting: str, value: float) -> None:
    """Raise ConfigError unless a value is 0 or more, and finite."""
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name_of(setting)} is {value:g}; expected a number, 0 or more")


def describe_missing(path: Path, what: str = "file or folder", advice: str = "") -> str:
    """Return a message that ``path`` does not exist, with the most similar path that does, or advice."""
    near = _nearest_path(path)
    hint = f"did you mean {near}?" if near else advice
    return f"no such {what}: {path}" + (f"; {hint}" if hint else "")


def require_inputs(
    paths: Iterable[Path | None],
    what: str = "file or folder",
    error: type[MaefaceError] = ConfigError,
    advice: str = "",
) -> None:
    """Check that paths exist.

    Args:
        paths: of the inputs; None is ignored.
        what: "file or folder", "folder", or the kind of file, such as "labels file".
        error: the class of the exception.
        advice: added to the message if no existing name is similar.

    Raises:
        ConfigError: one does not exist, or is a folder instead of a file or the reverse; or ``error``.
    """
    exists = {"file or folder": os.path.lexists, "folder": os.path.isdir}.get(what, os.path.isfile)
    for path in paths:
        if path is not None and not exists(path):
            raise error(describe_missing(path, what, advice))


def require_weights(names: Iterable[str | None], error: type[MaefaceError] = WeightsError) -> None:
    """Check that weights given by a path exist.

    Args:
        names: a file, a folder, the common name of several parts, or a bare name of packaged weights or one
            of a model hub (``hf:...``), which are not checked here; None is ignored.
        error: the class of the exception.

    Raises:
        WeightsError: no such file; or ``error``.
    """
    for name in names:
        path = Path(name or "")
        bare = not name or name.startswith("hf:") or (path.name == name and not path.suffix)
        if not bare and not os.path.exists(path) and not _has_parts(path):  # noqa: PTH110 - raises no OSError
            raise error(describe_missing(path, "weights file"))


def find_labels(data: Sequence[Path]) -> Path:
    """Return the labels that ``maeface prepare --dataset`` wrote to a prepared folder.

    Raises:
        ConfigError: there are none, or there are several folders.
    """
    labels = data[0] / "labels.parquet"
    if len(data) > 1:
        raise ConfigError("--labels is needed with several --data folders; give one table for all of them")
    if not labels.is_file():
        raise ConfigError(f"{data[0]} has no {labels.name}; give --labels, or prepare it with --dataset")
    return labels


def require_writable_file(path: Path | None, what: str, suffixes: Sequence[str]) -> None:
    """Check that an output file can be written.

    Args:
        path: the file; None is ignored.
        what: its content, in the plural, such as "predictions".
        suffixes: the allowed extensions, in lower case with the dot.

    Raises:
        ConfigError: another extension, or a folder.
        ResourceError: it cannot be written.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"cannot write {what} as {path.name}; name a {' or a '.join(suffixes)} file")
    _require_writable(path, folder=False)


def is_folder_of_tables(out: Path | None) -> bool:
    """Return whether an output is a folder for tables.

    That is an existing one, a name without a suffix, or one with a slash at its end.
    """
    if out is None or out.suffix.lower() in TABLES:
        return False
    return not out.suffix or isinstance(out, FolderPath) or out.is_dir()


def require_writable_tables(out: Path | None) -> None:
    """Check that a table and its record, ``out.csv.json``, or a folder of tables can be written.

    Raises:
        ConfigError: a file that is neither ``.csv`` nor ``.parquet``, or a folder with such a name.
        ResourceError: it cannot be written.
    """
    if is_folder_of_tables(out):
        require_writable_folders(out)
    elif isinstance(out, FolderPath):
        raise ConfigError(
            f"cannot write tables to {out}/: the name of a folder must not end with {out.suffix}; leave out "
            "the slash for one table, or name another folder"
        )
    elif out is not None:
        require_writable_file(out, "predictions", TABLES)
        require_writable_file(out.with_name(f"{out.name}.json"), "the record", (".json",))


def require_writable_folders(*folders: Path | None) -> None:
    """Check that output folders can be written to; None is ignored.

    Raises:
        ConfigError: one is a file.
        ResourceError: one cannot be created or written to.
    """
    for folder in folders:
        if folder is not None:
            _require_writable(folder, folder=True)


def describe_unused(options: Mapping[str, bool], why: str) -> str:
    """Return a message that options have no effect, or an empty string if none was given.

    Args:
        options: whether each was given, by the name of the argument.
        why: the reason.
    """
    names = [name_of(name) for name, given in options.items() if given]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    return f"{listed} {'has' if len(names) == 1 else 'have'} no effect: {why}" if names else ""


def _require_writable(path: Path, folder: bool) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:  # below a file, too long a name, no permission
        raise ResourceError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    if mode is not None and stat.S_ISDIR(mode) != folder:
        raise ConfigError(
            f"cannot write {path}: it is a file; name a folder"
            if folder
            else f"cannot write {path}: it is a folder; name a file"
        )
    place = path if folder else path.parent
    while not place.exists():  # folders that would be created
        place = place.parent
    if not place.is_dir():
        raise ResourceError(f"cannot write {path}: {place} is a file; name another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ResourceError(f"cannot write {path}: nothing can be written in {place}; name another place")


def _nearest_path(path: Path) -> Path | None:
    """Return the most similar existing path, if a single name in ``path`` was mistyped."""
    for wrong in [path, *path.parents]:
        if not os.path.lexists(wrong) and os.path.isdir(wrong.parent):  # noqa: PTH112 - raises no OSError
            try:
                with os.scandir(wrong.parent) as entries:
                    names = [entry.name for entry, _ in zip(entries, range(NAMES_COMPARED), strict=False)]
            except OSError:
                return None
            near = find_nearest(wrong.name, names)
            right = wrong.parent / near / path.relative_to(wrong) if near else None
            return right if right and os.path.lexists(right) else None
    return None


def _has_parts(path: Path) -> bool:
    """Return whether a file of weights is stored in several parts."""
    name = re.sub(r"([*?[])", r"[\1]", path.stem)  # escaped for glob
    return os.path.isdir(path.parent) and any(path.parent.glob(f"{name}-*"))  # noqa: PTH112
