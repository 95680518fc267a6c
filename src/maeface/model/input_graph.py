"""The conversion of face crops to the model's input inside an ONNX graph, as ``inputs.to_input`` does it."""

from collections.abc import Sequence

import numpy as np

from maeface.model.inputs import CUBIC
from maeface.runtime.onnx_graph import Graph

_FLOAT = 1  # of ONNX's types


def to_input(graph: Graph, pixels: str, image_size: int, mean: Sequence[float], std: Sequence[float]) -> str:
    """Add nodes that resize and normalise crops; return the images (B, 3, I, I) float32.

    Operators that resize differ between libraries. So an image is multiplied by a matrix from the left and
    one from the right, as in ``inputs``, and the matrices are computed in the graph from the crops' sides.

    Args:
        graph: is extended.
        pixels: (B, H, W, 3) uint8 RGB.
        image_size: I, pixels.
        mean: of red, green and blue on 0 to 1.
        std: of red, green and blue on 0 to 1.
    """
    add, constant = graph.add, graph.constant
    sides = add("Shape", pixels)
    rows = _resize_matrix(graph, add("Gather", sides, constant(np.array(1)), axis=0), image_size)
    columns = _resize_matrix(graph, add("Gather", sides, constant(np.array(2)), axis=0), image_size)
    images = add("Transpose", add("Cast", pixels, to=_FLOAT), perm=[0, 3, 1, 2])
    images = add("MatMul", add("MatMul", rows, images), add("Transpose", columns, perm=[1, 0]))
    images = add("Clip", images, constant(0.0), constant(255.0))
    scale = 1 / (255 * np.asarray(std, np.float64))
    shift = np.asarray(mean, np.float64) / np.asarray(std, np.float64)
    images = add("Mul", images, constant(scale.astype(np.float32).reshape(3, 1, 1)))
    return add("Sub", images, constant(shift.astype(np.float32).reshape(3, 1, 1)))


def _resize_matrix(graph: Graph, side: str, size: int) -> str:
    """Add the matrix (size, side) of ``inputs.resize_matrix``; ``side`` is a whole number."""
    add, constant = graph.add, graph.constant
    half, zero, one, two = (constant(value) for value in (0.5, 0.0, 1.0, 2.0))
    length = add("Cast", side, to=_FLOAT)
    scale = add("Div", length, constant(float(size)))
    stretch = add("Max", scale, one)
    middles = (np.arange(size, dtype=np.float32) + np.float32(0.5))[:, None]
    centres = add("Mul", scale, constant(middles))  # (size, 1)
    reach = add("Mul", two, stretch)
    first = add("Max", add("Floor", add("Add", add("Sub", centres, reach), half)), zero)
    last = add("Min", add("Floor", add("Add", add("Add", centres, reach), half)), length)
    numbers = add("Range", constant(np.array(0)), side, constant(np.array(1)))
    places = add("Reshape", add("Cast", numbers, to=_FLOAT), constant([1, -1]))  # (1, side)
    x = add("Abs", add("Div", add("Add", add("Sub", places, centres), half), stretch))
    near = add("Sub", add("Mul", constant(CUBIC + 2), x), constant(CUBIC + 3))
    near = add("Add", add("Mul", add("Mul", near, x), x), one)
    far = add("Sub", add("Mul", constant(CUBIC), x), constant(5 * CUBIC))
    far = add("Add", add("Mul", far, x), constant(8 * CUBIC))
    far = add("Sub", add("Mul", far, x), constant(4 * CUBIC))
    weights = add("Where", add("Less", x, one), near, add("Where", add("Less", x, two), far, zero))
    within = add("And", add("GreaterOrEqual", places, first), add("Less", places, last))
    weights = add("Where", within, weights, zero)
    return add("Div", weights, add("ReduceSum", weights, constant([1]), keepdims=1))
