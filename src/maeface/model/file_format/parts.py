"""The files that weights consist of: one, or parts named as Hugging Face names them."""

import re
from pathlib import Path

from maeface.errors import WeightsError

SUFFIX = ".safetensors"
PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors", re.DOTALL)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that weights consist of.

    Args:
        path: a file; any part; the name that the parts are made from; or a folder with one set of weights.

    Raises:
        WeightsError: a folder with none or several, or a part is missing.
    """
    if path.is_dir():
        single = [file for file in sorted(path.glob(f"[!.]*{SUFFIX}")) if not PART.fullmatch(file.name)]
        bases = {*single} | {_base(file) for file in path.glob(f"[!.]*-of-*{SUFFIX}")}
        if len(bases) != 1:
            names = ", ".join(sorted(base.stem for base in bases)) or "no weights"
            raise WeightsError(f"{path} is a folder with {names}; give one weights file")
        path = bases.pop()
    if not PART.fullmatch(path.name) and path.is_file():
        return (path,)
    parts = parts_of(_base(path))
    counts = {int(_match(part)["count"]) for part in parts}
    if not parts:
        return (path,)
    numbers = [int(_match(part)["number"]) for part in parts]
    if len(counts) > 1 or numbers != list(range(1, min(counts) + 1)):
        names = ", ".join(part.name for part in parts)
        raise WeightsError(f"{_base(path)}: expected {max(counts)} parts of one set, got {names}")
    return tuple(parts)


def _base(path: Path) -> Path:
    """Return ``NAME.safetensors`` for a part's path; any other path with the suffix, if it has none."""
    match = PART.fullmatch(path.name)
    if match:
        return path.with_name(match["name"] + SUFFIX)
    return path if path.suffix else path.with_name(path.name + SUFFIX)


def parts_of(base: Path) -> list[Path]:
    """Return every part with the name ``base`` on disk, of whichever set, sorted."""
    if not base.parent.is_dir():
        return []
    matches = (PART.fullmatch(file.name) for file in base.parent.iterdir())
    return sorted(base.with_name(match.string) for match in matches if match and match["name"] == base.stem)


def _match(part: Path) -> re.Match[str]:
    match = PART.fullmatch(part.name)
    assert match is not None
    return match
