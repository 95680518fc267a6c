"""ONNX graphs, written node by node as the bytes of an ONNX file.

An exporter would need PyTorch and the package ``onnx``; the networks here need about twenty operators. The
bytes are Protocol Buffers messages of ``onnx.proto``: fields of a number, a kind and a value.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8
PRODUCER = "maeface"
MAX_BYTES = 2**31 - 2**20
"""Size of the largest graph: no message of Protocol Buffers has 2 GiB."""

_TYPES = {"float32": 1, "uint8": 2, "int64": 7}
Attribute = int | float | str | Sequence[int]


class Graph:
    """A graph under construction. Values are known by names, which ``add`` and ``constant`` return."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._ends: list[bytes] = []
        self._count = 0

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Add an input and return its name; a text in ``shape`` is a dimension of any size."""
        self._ends.append(_message(11, _value_info(name, dtype, shape)))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Make a float32 value an output."""
        self._nodes.append(_message(1, _node("Identity", [value], name, {})))
        self._ends.append(_message(12, _value_info(name, "float32", shape)))

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64] | Sequence[int] | float) -> str:
        """Add a constant, float32 or (from whole numbers) int64, and return its name."""
        array = np.asarray(values)
        array = np.ascontiguousarray(array, np.int64 if array.dtype.kind in "iu" else np.float32)
        name = self._name()
        head = b"".join(_varint_field(1, side) for side in np.shape(values))
        head += _varint_field(2, _TYPES[array.dtype.name]) + _message(8, name.encode())
        head += _key(9, 2) + _varint(array.nbytes)
        self._constants += [_key(5, 2) + _varint(len(head) + array.nbytes) + head, array.tobytes()]
        return name

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Add a node with one output and return the output's name."""
        name = self._name()
        self._nodes.append(_message(1, _node(operator, inputs, name, attributes)))
        return name

    def to_bytes(self) -> bytes:
        """Return the bytes of an ONNX file."""
        chunks = [*self._nodes, _message(2, PRODUCER.encode()), *self._constants, *self._ends]
        opset = _message(8, _message(1, b"") + _varint_field(2, OPSET))
        head = _varint_field(1, IR_VERSION) + _message(2, PRODUCER.encode()) + opset
        return b"".join([head, _key(7, 2), _varint(sum(map(len, chunks))), *chunks])

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"


def _node(operator: str, inputs: Iterable[str], output: str, attributes: dict[str, Attribute]) -> bytes:
    parts = [_message(1, name.encode()) for name in inputs]
    parts += [_message(2, output.encode()), _message(3, output.encode()), _message(4, operator.encode())]
    parts += [_message(5, _attribute(name, value)) for name, value in attributes.items()]
    return b"".join(parts)


def _attribute(name: str, value: Attribute) -> bytes:
    head = _message(1, name.encode())
    if isinstance(value, float):
        return head + _key(2, 5) + np.float32(value).tobytes() + _varint_field(20, 1)
    if isinstance(value, int):
        return head + _varint_field(3, value) + _varint_field(20, 2)
    if isinstance(value, str):
        return head + _message(4, value.encode()) + _varint_field(20, 3)
    return head + b"".join(_varint_field(8, one) for one in value) + _varint_field(20, 7)


def _value_info(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    sides = b"".join(
        _message(1, _message(2, side.encode()) if isinstance(side, str) else _varint_field(1, side))
        for side in shape
    )
    tensor = _varint_field(1, _TYPES[dtype]) + _message(2, sides)
    return _message(1, name.encode()) + _message(2, _message(1, tensor))


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint_field(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # a negative number is its two's complement
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
