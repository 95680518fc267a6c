"""What a caller gives, checked before any work: choices, numbers, and paths of what goes in and comes out.

Light on purpose: the command line asks here before it loads anything that takes seconds to come.
"""

import difflib
import math
import operator
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from maeface.errors import ConfigError, MaefaceError, ResourceError, WeightsError

DEVICES = ("auto", "cpu", "cuda", "cuda:N")
NAMES_COMPARED = 10_000
"""Files of a folder among which the nearest name is looked for."""


def nearest(given: str, names: Iterable[str], least: float = 0.6) -> str | None:
    """Return the name that is most like ``given``, in upper or lower case; None where none is.

    Args:
        given: what was asked for.
        names: what there is.
        least: how alike, 0 (anything) to 1 (equal).
    """
    by_lower = {name.lower(): name for name in reversed(list(names))}
    near = difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=least)
    return by_lower[near[0]] if near else None


def choice(what: str, given: object, names: Sequence[str]) -> None:
    """Refuse what is none of some names; ``cuda:N`` among the names stands for ``cuda:0`` and so on.

    Raises:
        ConfigError: it is none of them; all are listed, and the nearest is named.
    """
    patterns = (re.escape(name).replace("N", r"\d{1,3}") if name.endswith(":N") else name for name in names)
    if isinstance(given, str) and any(re.fullmatch(pattern, given) for pattern in patterns):
        return
    near = nearest(str(given), names, least=0.3)
    hint = f"; did you mean {near!r}?" if near else ""
    raise ConfigError(f"{what} is {given!r}; expected one of {', '.join(names)}{hint}")


def device(given: str) -> str:
    """Return the name of a device as it is: "auto", "cpu", "cuda", "cuda:0", "cuda:1", ...

    Raises:
        ConfigError: it is none of these.
    """
    choice("device", given, DEVICES)
    return given


def sampling(every: object, fps: object) -> None:
    """Refuse a choice of frames that means nothing.

    Args:
        every: take every n-th frame of a video: a whole number, 1 or more.
        fps: take at most so many frames a second instead: a finite number above 0; None for all.

    Raises:
        ConfigError: not such numbers, or both are given.
    """
    try:
        whole = 0 if isinstance(every, bool) else operator.index(every)  # type: ignore[arg-type]
    except TypeError:
        whole = 0
    if whole < 1:
        raise ConfigError(f"every is {every!r}; expected a whole number, 1 or more")
    if fps is None:
        return
    try:
        rate = math.nan if isinstance(fps, (bool, str)) else float(fps)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"fps is {fps!r}; expected a finite number above 0, in frames a second")
    if whole > 1:
        raise ConfigError(f"every is {every!r} and fps is {fps!r}; give one of them")


def share(what: str, given: float) -> None:
    """Refuse, with ConfigError, what is no share: a number from 0 to 1."""
    if not 0 <= given <= 1:
        raise ConfigError(f"{what} is {given:g}; expected a share, 0 to 1")


def missing(path: Path, what: str = "file or folder", advice: str = "") -> str:
    """Return the line that says that ``path`` does not exist, with the nearest name that does, or advice."""
    near = _nearest_path(path)
    said = f"did you mean {near}?" if near else advice
    return f"no such {what}: {path}" + (f"; {said}" if said else "")


def inputs(
    paths: Iterable[Path | None],
    what: str = "file or folder",
    error: type[MaefaceError] = ConfigError,
    advice: str = "",
) -> None:
    """Refuse paths that do not exist.

    Args:
        paths: what is to be read; None is passed over.
        what: "file or folder", "folder", or what kind of file it is, such as "labels file".
        error: what is raised.
        advice: what to do, said where no name is near.

    Raises:
        ConfigError: one does not exist, or is a folder in place of a file or a file in place of a folder;
            or ``error``.
    """
    exists = {"file or folder": os.path.lexists, "folder": os.path.isdir}.get(what, os.path.isfile)
    for path in paths:
        if path is not None and not exists(path):
            raise error(missing(path, what, advice))


def weights(names: Iterable[str | None], error: type[MaefaceError] = WeightsError) -> None:
    """Refuse weights that are named by a path where nothing lies.

    Args:
        names: a file, a folder, the name that several parts share, or a bare name of packaged weights, which
            is not looked up here; None is passed over.
        error: what is raised.

    Raises:
        WeightsError: no such file; or ``error``.
    """
    for name in names:
        path = Path(name or "")
        bare = not name or (path.name == name and not path.suffix)
        if not bare and not path.exists() and not [*path.parent.glob(f"{_literal(path.stem)}-*")]:
            raise error(missing(path, "weights file"))


def output_file(path: Path | None, what: str, suffixes: Sequence[str]) -> None:
    """Refuse, before any work, a file that could not be written at its end; None is passed over.

    Args:
        path: the file.
        what: is written, in the plural, such as "predictions".
        suffixes: that the file may have, in lower case with the dot.

    Raises:
        ConfigError: another suffix, or a folder.
        ResourceError: it cannot be written there.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"cannot write {what} as {path.name}; name a {' or a '.join(suffixes)} file")
    _writable(path, folder=False)


def output_folders(*folders: Path | None) -> None:
    """Refuse, before any work, folders that could not be written to; None is passed over.

    Raises:
        ConfigError: one is a file.
        ResourceError: one cannot be made, or nothing can be written in it.
    """
    for folder in folders:
        if folder is not None:
            _writable(folder, folder=True)


def unused(options: Mapping[str, bool], why: str) -> str:
    """Return the line that says which options have no effect, or nothing where there is none.

    Args:
        options: name -> whether it was given.
        why: it has none.
    """
    given = [name for name, is_given in options.items() if is_given]
    return f"{' and '.join(given)} {'has' if len(given) == 1 else 'have'} no effect: {why}" if given else ""


def _writable(path: Path, folder: bool) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:  # below a file, a name that is too long, a folder that is shut
        raise ResourceError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    if mode is not None and stat.S_ISDIR(mode) != folder:
        raise ConfigError(
            f"cannot write {path}: it is a file; name a folder"
            if folder
            else f"cannot write {path}: it is a folder; name a file"
        )
    place = path if folder else path.parent
    while not place.exists():  # the folders that would be made
        place = place.parent
    if not place.is_dir():
        raise ResourceError(f"cannot write {path}: {place} is a file; name another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ResourceError(f"cannot write {path}: nothing can be written in {place}; name another place")


def _nearest_path(path: Path) -> Path | None:
    """The nearest existing path, where a single name in ``path`` was mistyped."""
    for wrong in [path, *path.parents]:
        if not os.path.lexists(wrong) and wrong.parent.is_dir():
            try:
                with os.scandir(wrong.parent) as entries:
                    names = [entry.name for entry, _ in zip(entries, range(NAMES_COMPARED), strict=False)]
            except OSError:
                return None
            near = nearest(wrong.name, names)
            right = wrong.parent / near / path.relative_to(wrong) if near else None
            return right if right and os.path.lexists(right) else None
    return None


def _literal(name: str) -> str:
    """A name for ``glob``, none of whose characters stands for others."""
    return re.sub(r"([*?[])", r"[\1]", name)
