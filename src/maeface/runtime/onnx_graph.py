"""ONNX graphs, written node by node from arrays.

An exporter would need PyTorch; the networks here need about twenty operators.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
PRODUCER = "maeface"
MAX_BYTES = 2**31 - 2**20
"""Size of the largest graph: no message of Protocol Buffers has 2 GiB."""

_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
Attribute = int | float | str | Sequence[int]


class Graph:
    """A graph under construction. Values are known by names, which ``add`` and ``constant`` return."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._count = 0

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Add an input and return its name; a text in ``shape`` is a dimension of any size."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Make a float32 value an output."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64] | Sequence[int] | float) -> str:
        """Add a constant, float32 or (from whole numbers) int64, and return its name."""
        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32, copy=False)
        name = self._name()
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Add a node with one output and return the output's name."""
        name = self._name()
        self._nodes.append(helper.make_node(operator, inputs, [name], name, None, None, None, **attributes))
        return name

    def to_bytes(self) -> bytes:
        """Return the bytes of an ONNX file."""
        graph = helper.make_graph(self._nodes, PRODUCER, self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name=PRODUCER, opset_imports=opsets, ir_version=IR_VERSION)
        data: bytes = model.SerializeToString()
        return data

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"
