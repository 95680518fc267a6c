"""ONNX files: with weights of fewer bits, with whole numbers (NNCF), and as files of OpenVINO."""

import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from maeface.errors import ResourceError, install_command
from maeface.model.file_format.encoding import FLOATS

_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def round_weights(graph: bytes, precision: str) -> bytes:
    """Return an ONNX file whose matrices are stored in fewer bits; it computes in float32 all the same.

    Args:
        graph: an ONNX file.
        precision: "fp16" or "bf16".
    """
    model = onnx.load_from_string(graph)
    casts = []
    for k, tensor in enumerate(model.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or sum(side > 1 for side in tensor.dims) < 2:
            continue  # vectors and scalars stay as they are, as in weights files
        values = torch.from_numpy(numpy_helper.to_array(tensor).copy()).to(FLOATS[precision])
        name, stored = tensor.name, f"{tensor.name}_{precision}"
        data = values.view(torch.int16).numpy().tobytes()
        rounded = helper.make_tensor(stored, _TYPES[precision], tensor.dims, data, raw=True)
        model.graph.initializer[k].CopyFrom(rounded)
        casts.append(helper.make_node("Cast", [stored], [name], f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    result: bytes = model.SerializeToString()
    return result


def quantize(graph: bytes, inputs: Sequence[NDArray[Any]]) -> bytes:
    """Return an AU model as an ONNX file that computes in whole numbers; see ``quantize_model``."""
    quantized = quantize_model(onnx.load_from_string(graph), graph, inputs)
    result: bytes = quantized.SerializeToString()
    return result


def quantize_model(model: Any, graph: bytes, inputs: Sequence[NDArray[Any]]) -> Any:  # noqa: ANN401 - NNCF's
    """Return an AU model that computes its transformer in whole numbers of 8 bits.

    What comes before the first layer (the preparation of the pixels) and after the last norm (the head and
    ``unlike``) stays in float32: it costs little, and rounding it costs accuracy.

    Args:
        model: an ``onnx.ModelProto`` or ``openvino.Model`` of ``graph``. OpenVINO computes nonsense with
            NNCF's ONNX files of such a network, and what is right with those that it quantized itself.
        graph: the ONNX file of ``au_graph``.
        inputs: batches of its input, from which the ranges of values are measured.

    Raises:
        ResourceError: NNCF is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise ResourceError(
            f"int8 needs NNCF, which is not installed; install it ({install_command('int8')})"
        ) from error
    nncf.set_log_level(logging.ERROR)
    content = onnx.load_from_string(graph).graph
    kinds = [node.op_type for node in content.node]
    first, last = kinds.index("Conv"), len(kinds) - 1 - kinds[::-1].index("LayerNormalization")
    ends = [node.name for node in (*content.node[:first], *content.node[last:]) if node.name]
    name = content.input[0].name
    with contextlib.redirect_stdout(sys.stderr):  # NNCF shows its progress
        return nncf.quantize(
            model,
            nncf.Dataset([{name: one} for one in inputs]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=ends, validate=False),
        )
