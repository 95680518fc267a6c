"""Weights files on disk: written whole or in parts, found by path, read and checked.

Parts are named as Hugging Face names them, ``NAME-00001-of-00003.safetensors``. Each has the whole header, so
parts of two sets are never read as one.
"""

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from maeface import files
from maeface.errors import WeightsError
from maeface.model import public_checkpoints
from maeface.model.file_format.encoding import SCALE, Dtype, decode, encode, refuse_non_finite
from maeface.model.file_format.metadata import HEADER_KEY, Metadata, pack, unpack
from maeface.model.file_format.parts import SUFFIX, files_of, parts_of
from maeface.model.public_checkpoints import Checkpoint

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
        save_tensors(target, group, {HEADER_KEY: header})
    for stale in [path, *parts_of(path)]:  # of an earlier save, split otherwise
        if stale not in targets:
            stale.unlink(missing_ok=True)
    return tuple(targets)


def write_metadata(path: Path, metadata: Metadata, tensors: Mapping[str, Tensor]) -> tuple[Path, ...]:
    """Replace the metadata of weights, and some tensors; the others keep their bytes.

    Each file is written whole.

    Args:
        path: weights that ``write`` wrote (``files_of``).
        metadata: the new ones, of the same network.
        tensors: float32, by published name; they are stored as they are, whatever the type of the others.
            New ones go into the last file.

    Returns:
        The files, in order.

    Raises:
        WeightsError: see ``read``; a value of ``tensors`` is NaN or infinite.
        ResourceError: a file cannot be written.
    """
    refuse_non_finite(tensors, f"not saved to {path}")

    def replaced(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scales = {name + SCALE for name in tensors}  # of tensors that were whole numbers
        return {name: tensors.get(name, value) for name, value in stored.items() if name not in scales}

    parts = [public_checkpoints.read(file) for file in files_of(path)]
    stored = _read_stored(path).tensors
    new = {name: value for name, value in tensors.items() if name not in stored}
    header = pack(metadata, replaced(stored) | new)
    for part in parts:
        kept = replaced(part.tensors) | (new if part is parts[-1] else {})
        # A copy: the tensors may be a memory map of the file that is replaced.
        copies = {name: value.clone() for name, value in kept.items()}
        save_tensors(part.path, copies, {HEADER_KEY: header})
    return tuple(part.path for part in parts)


def save_tensors(target: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write one file of safetensors, whole or not at all.

    Raises:
        ResourceError: it cannot be written.
    """
    with files.atomic(target) as temporary:
        mode = temporary.stat().st_mode  # save_file would leave a file that only its owner can read
        try:
            save_file(dict(tensors), temporary, metadata=dict(metadata))
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error
        temporary.chmod(mode)


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
        style=metadata.encoder.style,
        decoder_heads=metadata.autoencoder.decoder_heads if metadata.autoencoder else None,
    )
    return checkpoint, metadata


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
