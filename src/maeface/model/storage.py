"""How weights lie on disk: in fewer bits, and in several files that are read as one.

``int8`` keeps every matrix as whole numbers from -127 to 127 with one scale a row (an output channel), under
the matrix's name and ``_scale`` after it; all else stays float32. Several files are named as Hugging Face
names them, ``NAME-00001-of-00003.safetensors``; each has the whole header, so parts of two sets never mix.
"""

import errno
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from maeface import files
from maeface.errors import WeightsError
from maeface.model import public
from maeface.model.metadata import Metadata, pack
from maeface.model.public import HEADER_KEY, Checkpoint

Dtype = Literal["fp32", "bf16", "fp16", "int8"]

FLOATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SUFFIX = ".safetensors"
SCALE = "_scale"
LEVELS = 127
PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors", re.DOTALL)
ENTRY_BYTES = 256
"""Room for a tensor's line in a file's header, more than enough."""


def encode(tensors: Mapping[str, Tensor], dtype: Dtype) -> dict[str, Tensor]:
    """Float32 tensors by name as they are stored; ``decode`` turns them back, rounded."""
    if dtype != "int8":
        return {name: value.to(FLOATS[dtype]) for name, value in tensors.items()}
    stored: dict[str, Tensor] = {}
    for name, value in tensors.items():
        stored[name] = value.float()
        if name.endswith(".weight") and value.ndim >= 2:
            rows = stored[name].flatten(1)  # (output channels, the rest)
            scale = rows.abs().amax(dim=1) / LEVELS
            levels = (rows / torch.where(scale == 0, 1.0, scale)[:, None]).round()
            stored[name] = levels.nan_to_num().clamp(-LEVELS, LEVELS).to(torch.int8).view(value.shape)
            stored[name + SCALE] = scale
    return stored


def decode(path: Path, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a maeface file, matrices of whole numbers as float32 again.

    Raises:
        WeightsError: whole numbers without a scale for each row.
    """
    tensors = {
        name: value
        for name, value in stored.items()
        if not (name.endswith(SCALE) and name.removesuffix(SCALE) in stored)
    }
    for name, levels in tensors.items():
        if levels.dtype == torch.int8:
            scale = stored.get(name + SCALE)
            if scale is None or scale.shape != levels.shape[:1] or not scale.is_floating_point():
                raise WeightsError(
                    f"{path}: {name} is of whole numbers and has no scale for each of its rows"
                )
            tensors[name] = levels.float() * scale.float().view(-1, *[1] * (levels.ndim - 1))
    return tensors


def write(
    path: Path, tensors: Mapping[str, Tensor], metadata: Metadata, dtype: Dtype, part_bytes: int | None = None
) -> tuple[Path, ...]:
    """Write tensors and metadata; each file is written whole or not at all, equal input gives equal bytes.

    Args:
        path: the file; with several parts their names are made from it.
        tensors: float32, by published name.
        metadata: goes into every file.
        dtype: what the values are rounded to.
        part_bytes: no file larger than this; None for one file.

    Returns:
        The files, in order.

    Raises:
        WeightsError: a value is NaN or infinite, or too large for ``dtype``; a tensor that fits in no part.
        ResourceError: a file cannot be written.
    """
    stored = {name: value.contiguous() for name, value in encode(tensors, dtype).items()}
    refuse_non_finite(decode(path, stored), f"not saved to {path} as {dtype}")
    header = pack(metadata, stored)
    groups = [stored] if part_bytes is None else _cut(path, stored, part_bytes - 2 * len(header) - 1024)
    targets = [path]
    if len(groups) > 1:
        count = len(groups)
        targets = [path.with_name(f"{path.stem}-{k:05d}-of-{count:05d}{SUFFIX}") for k in range(1, count + 1)]
    for target, group in zip(targets, groups, strict=True):
        with files.atomic(target) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode  # save_file would leave a file that only its owner can read
            try:
                save_file(group, temporary, metadata={HEADER_KEY: header})
            except SafetensorError as error:
                raise OSError(errno.EIO, str(error)) from error
            temporary.chmod(mode)
    for stale in [path, *_parts(path)]:  # of an earlier save, cut otherwise
        if stale not in targets:
            stale.unlink(missing_ok=True)
    return tuple(targets)


def read(path: Path) -> Checkpoint:
    """Read a weights file of any known layout, or several that are one (``files_of``); values as stored.

    Raises:
        WeightsError: see ``public.read``; parts that are missing or do not belong together.
    """
    paths = files_of(path)
    first, *others = [public.read(each) for each in paths]
    tensors = dict(first.tensors)
    for part in others:
        if part.header != first.header or tensors.keys() & part.tensors.keys():
            raise WeightsError(
                f"{part.path} does not belong to {first.path}; copy or download all parts again"
            )
        tensors |= part.tensors
    return replace(first, path=path, tensors=tensors)


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that weights consist of.

    Args:
        path: a file; any part; the name that the parts are made from; or a folder with one set of weights.

    Raises:
        WeightsError: a folder with none or several, or a part is missing.
    """
    if path.is_dir():
        whole = [file for file in sorted(path.glob(f"[!.]*{SUFFIX}")) if not PART.fullmatch(file.name)]
        bases = {file for file in whole} | {_base(file) for file in path.glob(f"[!.]*-of-*{SUFFIX}")}
        if len(bases) != 1:
            names = ", ".join(sorted(base.stem for base in bases)) or "no weights"
            raise WeightsError(f"{path} is a folder with {names}; give one weights file")
        path = bases.pop()
    if not PART.fullmatch(path.name) and path.is_file():
        return (path,)
    parts = _parts(_base(path))
    counts = {int(_matched(part)["count"]) for part in parts}
    if not parts:
        return (path,)
    numbers = [int(_matched(part)["number"]) for part in parts]
    if len(counts) > 1 or numbers != list(range(1, min(counts) + 1)):
        there = ", ".join(part.name for part in parts)
        raise WeightsError(f"{_base(path)}: expected {max(counts)} parts of one set, got {there}")
    return tuple(parts)


def refuse_non_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse values that no network can compute with; the message begins with ``what``.

    Raises:
        WeightsError: NaN, infinite, or whole numbers.
    """
    bad = [name for name, t in tensors.items() if not t.is_floating_point() or not t.isfinite().all()]
    if bad:
        raise WeightsError(f"{what}: NaN, infinite or no floating-point values in {brief(bad)}")


def brief(names: Iterable[str]) -> str:
    """The first few names and how many more."""
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "none") + more


def _cut(path: Path, stored: Mapping[str, Tensor], room: int) -> list[dict[str, Tensor]]:
    """Groups of tensors, in order of their names, each within ``room`` bytes."""
    groups: list[dict[str, Tensor]] = [{}]
    left = room
    for name in sorted(stored):
        size = stored[name].nbytes + ENTRY_BYTES
        if size > room:
            raise WeightsError(f"{path} cannot be cut so small: {name} alone has {stored[name].nbytes} bytes")
        if size > left:
            groups.append({})
            left = room
        groups[-1][name] = stored[name]
        left -= size
    return groups


def _base(path: Path) -> Path:
    """``NAME.safetensors`` of a part's path; any other path with the suffix, if it has none."""
    found = PART.fullmatch(path.name)
    if found:
        return path.with_name(found["name"] + SUFFIX)
    return path if path.suffix else path.with_name(path.name + SUFFIX)


def _parts(base: Path) -> list[Path]:
    """Every part of the name ``base`` that there is, of whichever set, sorted."""
    if not base.parent.is_dir():
        return []
    found = (PART.fullmatch(file.name) for file in base.parent.iterdir())
    return sorted(base.with_name(hit.string) for hit in found if hit and hit["name"] == base.stem)


def _matched(part: Path) -> re.Match[str]:
    found = PART.fullmatch(part.name)
    assert found is not None
    return found
