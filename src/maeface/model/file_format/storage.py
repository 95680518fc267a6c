"""Weights files on disk: written whole or in parts, found by path, read and checked.

Parts are named as Hugging Face names them, ``NAME-00001-of-00003.safetensors``. Each has the whole header, so
parts of two sets are never read as one.
"""

import errno
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from maeface import files
from maeface.errors import WeightsError
from maeface.model import public_checkpoints
from maeface.model.file_format.encoding import Dtype, decode, encode, refuse_non_finite
from maeface.model.file_format.metadata import Metadata, pack, unpack
from maeface.model.public_checkpoints import HEADER_KEY, Checkpoint

SUFFIX = ".safetensors"
PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors", re.DOTALL)
ENTRY_BYTES = 256
"""Room for a tensor's entry in a file's header, more than enough."""


def write(
    path: Path, tensors: Mapping[str, Tensor], metadata: Metadata, dtype: Dtype, part_bytes: int | None = None
) -> tuple[Path, ...]:
    """Write tensors and metadata; each file is written whole or not at all, equal input gives equal bytes.

    Args:
        path: the file; the names of several parts are made from it.
        tensors: float32, by published name.
        metadata: goes into every file.
        dtype: type that the values are rounded to.
        part_bytes: largest size of a file; None for one file.

    Returns:
        The files, in order.

    Raises:
        WeightsError: a value is NaN or infinite, or too large for ``dtype``; a tensor that fits in no part.
        ResourceError: a file cannot be written.
    """
    stored = {name: value.contiguous() for name, value in encode(tensors, dtype).items()}
    refuse_non_finite(decode(path, stored), f"not saved to {path} as {dtype}")
    header = pack(metadata, stored)
    groups = [stored] if part_bytes is None else _split(path, stored, part_bytes - 2 * len(header) - 1024)
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
    for stale in [path, *_parts(path)]:  # of an earlier save, split otherwise
        if stale not in targets:
            stale.unlink(missing_ok=True)
    return tuple(targets)


def read(path: Path) -> tuple[Checkpoint, Metadata | None]:
    """Read weights of any supported layout, in one file or in parts (``files_of``).

    Returns:
        The checkpoint, and its metadata if maeface wrote it; tensors of maeface's int8 files as float32.

    Raises:
        WeightsError: see ``public_checkpoints.read``; parts that are missing or do not belong together; wrong
            or damaged metadata.
    """
    checkpoint = _read_stored(path)
    if checkpoint.header is None:
        return checkpoint, None
    metadata = unpack(path, checkpoint.header, checkpoint.tensors)
    checkpoint = replace(
        checkpoint,
        tensors=decode(path, checkpoint.tensors),
        heads=metadata.encoder.heads,
        decoder_heads=metadata.autoencoder.decoder_heads if metadata.autoencoder else None,
    )
    return checkpoint, metadata


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
    parts = _parts(_base(path))
    counts = {int(_match(part)["count"]) for part in parts}
    if not parts:
        return (path,)
    numbers = [int(_match(part)["number"]) for part in parts]
    if len(counts) > 1 or numbers != list(range(1, min(counts) + 1)):
        names = ", ".join(part.name for part in parts)
        raise WeightsError(f"{_base(path)}: expected {max(counts)} parts of one set, got {names}")
    return tuple(parts)


def _read_stored(path: Path) -> Checkpoint:
    """Read one file or several parts as one; values as stored."""
    first, *others = [public_checkpoints.read(file) for file in files_of(path)]
    tensors = dict(first.tensors)
    for part in others:
        if part.header != first.header or tensors.keys() & part.tensors.keys():
            raise WeightsError(
                f"{part.path} does not belong to {first.path}; copy or download all parts again"
            )
        tensors |= part.tensors
    return replace(first, path=path, tensors=tensors)


def _split(path: Path, stored: Mapping[str, Tensor], room: int) -> list[dict[str, Tensor]]:
    """Return groups of tensors, in order of their names, each within ``room`` bytes."""
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
    """Return ``NAME.safetensors`` for a part's path; any other path with the suffix, if it has none."""
    match = PART.fullmatch(path.name)
    if match:
        return path.with_name(match["name"] + SUFFIX)
    return path if path.suffix else path.with_name(path.name + SUFFIX)


def _parts(base: Path) -> list[Path]:
    """Return every part with the name ``base`` on disk, of whichever set, sorted."""
    if not base.parent.is_dir():
        return []
    matches = (PART.fullmatch(file.name) for file in base.parent.iterdir())
    return sorted(base.with_name(match.string) for match in matches if match and match["name"] == base.stem)


def _match(part: Path) -> re.Match[str]:
    match = PART.fullmatch(part.name)
    assert match is not None
    return match
