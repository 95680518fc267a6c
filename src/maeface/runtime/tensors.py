"""Tensors of weights files without PyTorch: safetensors files, and PyTorch's files of plain tensors."""

import collections
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

TORCH_NAMES = {
    "F64": "torch.float64",
    "F32": "torch.float32",
    "F16": "torch.float16",
    "BF16": "torch.bfloat16",
    "I64": "torch.int64",
    "I32": "torch.int32",
    "I16": "torch.int16",
    "I8": "torch.int8",
    "U8": "torch.uint8",
    "BOOL": "torch.bool",
}
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it is stored.

    Attributes:
        kind: type in the terms of safetensors, ``BF16``.
        shape: of the tensor.
        data: its bytes.
    """

    kind: str
    shape: tuple[int, ...]
    data: bytes | bytearray

    def to_numpy(self) -> NDArray[Any]:
        """Return the values; bfloat16 as float32.

        Raises:
            ValueError: a type that NumPy does not have.
        """
        if self.kind == "BF16":
            values = np.frombuffer(self.data, "<u2").astype(np.uint32)
            return (values << 16).view(np.float32).reshape(self.shape)
        if self.kind not in _NUMPY:
            raise ValueError(f"no type of numbers: {self.kind}")
        return np.frombuffer(self.data, _NUMPY[self.kind]).reshape(self.shape)


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Return the tensors of a safetensors file by name, and the texts of its header.

    Raises:
        OSError: the file cannot be read.
        ValueError, safetensors.SafetensorError: it is damaged.
    """
    data = path.read_bytes()
    tensors = {
        name: StoredTensor(entry["dtype"], tuple(entry["shape"]), entry["data"])
        for name, entry in safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    }
    (length,) = struct.unpack("<Q", data[:8])
    return tensors, dict(json.loads(data[8 : 8 + length]).get("__metadata__") or {})


def read_torch_file(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a PyTorch file that holds nothing but a dict of tensors, of either layout.

    No code in the file is run: of all names that a pickle may ask for only those of tensors are known.

    Raises:
        OSError: the file cannot be read.
        Exception: it is damaged, or has other objects; damaged bytes may raise any exception.
    """
    data = path.read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(data)) if zipfile.is_zipfile(io.BytesIO(data)) else None
    content = _read_legacy(data) if archive is None else _read_archive(archive)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, _Tensor) for value in content.values()):
        raise ValueError("expected a dictionary of tensors")
    return {str(name): value.to_numpy() for name, value in content.items()}


@dataclass
class _Storage:
    """The numbers that tensors are views of; ``values`` is set when they are read."""

    dtype: str
    size: int
    values: NDArray[Any] | None = None


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def to_numpy(self) -> NDArray[Any]:
        values = self.storage.values
        if values is None or len(self.shape) != len(self.strides) or min((*self.strides, self.offset)) < 0:
            raise ValueError("a tensor without numbers")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min(self.shape, default=1) < 0 or (0 not in self.shape and last >= len(values)):
            raise ValueError("a tensor reaches beyond its numbers")
        steps = tuple(step * values.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps)
        return np.ascontiguousarray(view).reshape(self.shape)


class _Unpickler(pickle.Unpickler):
    """Unpickles tensors, numbers and texts; any other name is refused."""

    def __init__(self, file: io.BufferedIOBase | io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - what pickle asks for
        """Return the stand-in of a name of PyTorch."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401 - what the file says
        """Return the storage that a tensor is a view of."""
        _, dtype, key, _, size, *_ = pid
        return self._storages.setdefault(str(key), _Storage(str(dtype), int(size)))


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: object) -> _Tensor:  # noqa: ANN401
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _read_archive(archive: zipfile.ZipFile) -> Any:  # noqa: ANN401 - whatever the file holds
    (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    storages: dict[str, _Storage] = {}
    content = _Unpickler(io.BytesIO(archive.read(name)), storages).load()
    folder = name.removesuffix("data.pkl")
    for key, storage in storages.items():
        storage.values = np.frombuffer(archive.read(f"{folder}data/{key}"), storage.dtype)
    return content


def _read_legacy(data: bytes) -> Any:  # noqa: ANN401 - whatever the file holds
    """Read the layout before PyTorch 1.6: five pickles, then the numbers of each storage."""
    file = io.BytesIO(data)
    storages: dict[str, _Storage] = {}
    magic, _, _, content, keys = (_Unpickler(file, storages).load() for _ in range(5))
    if magic != _LEGACY_MAGIC:
        raise ValueError("not PyTorch's")
    for key in keys:
        storage = storages[str(key)]
        (size,) = struct.unpack("<q", file.read(8))
        storage.values = np.frombuffer(file.read(size * np.dtype(storage.dtype).itemsize), storage.dtype)
    return content
