"""The networks of the face detector as ONNX graphs, written from their weights.

They compute what ``retinaface.RetinaFace`` and ``landmark_net.LandmarkNet`` compute. Batch norms are folded
into the convolutions, the pixels are prepared inside, and the three heads of a level are one convolution.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from maeface.faces.anchors import ANCHOR_SIDES, CENTRE_VARIANCE, MEAN_BGR, SIZE_VARIANCE, STRIDES
from maeface.faces.landmarks import CROP_PX, MEAN_SHAPE
from maeface.runtime.onnx_graph import Graph

Weights = Mapping[str, NDArray[np.float32]]

VALUES = 15
"""Outputs of an anchor: offsets of box (4) and landmarks (10), and the logit of a face."""
_BATCH_NORM_EPS = 1e-5
_ANCHORS = 2  # at each cell
_STRIDES_OF_MOBILENET = {"stage1": (2, 1, 2, 1, 2, 1), "stage2": (2, 1, 1, 1, 1, 1), "stage3": (2, 1)}


def retinaface_graph(weights: Weights, decoded: bool = False) -> bytes:
    """Return RetinaFace with the backbone ``mobilenet0.25`` as an ONNX file.

    Input ``pixels``: (B, H, W, 3) uint8 RGB. Output ``anchors``: (B, A, 15), as ``VALUES`` says.

    Args:
        weights: of a checkpoint, by name.
        decoded: instead return ``candidates``: box (4) and landmarks (10) in px, and the score (0 to 1).

    Raises:
        KeyError, ValueError: they are not of such a network.
    """
    network = _Network(Graph(), weights)
    graph = network.graph
    pixels = graph.input("pixels", "uint8", ["batch", "height", "width", 3])
    x = graph.add("Transpose", graph.add("Cast", pixels, to=1), perm=[0, 3, 1, 2])
    x = graph.add("Sub", x, graph.constant(np.array(MEAN_BGR[::-1], np.float32).reshape(3, 1, 1)))
    maps = []
    for stage, strides in _STRIDES_OF_MOBILENET.items():
        for k, stride in enumerate(strides):
            name = f"body.{stage}.{k}"
            if f"{name}.3.weight" in weights:  # a convolution of each channel, then one of each pixel
                x = network.convolve(x, f"{name}.0", f"{name}.1", stride, leak=0.1)
                x = network.convolve(x, f"{name}.3", f"{name}.4", leak=0.1)
            else:
                x = network.convolve(x, f"{name}.0", f"{name}.1", stride, leak=0.1, swap_colours=True)
        maps.append(x)
    levels = [network.context(x, k + 1) for k, x in enumerate(network.pyramid(maps))]
    rows = [network.heads(x, k) for k, x in enumerate(levels)]
    network.check_all_used()
    values, name = graph.add("Concat", *rows, axis=1), "anchors"
    if decoded:
        values, name = _decode(graph, values, levels), "candidates"
    graph.output(values, name, ["batch", "anchors", VALUES])
    return graph.to_bytes()


def landmark_graph(weights: Weights) -> bytes:
    """Return ``LandmarkNet`` as an ONNX file.

    Input ``crops``: (B, 64, 64, 3) uint8 RGB. Output ``points``: (B, 10), x and y of each landmark.

    Raises:
        KeyError, ValueError: the weights are not of such a network.
    """
    network = _Network(Graph(), weights)
    graph = network.graph
    crops = graph.input("crops", "uint8", ["batch", CROP_PX, CROP_PX, 3])
    x = graph.add("Transpose", graph.add("Cast", crops, to=1), perm=[0, 3, 1, 2])
    x = graph.add("Sub", graph.add("Div", x, graph.constant(127.5)), graph.constant(1.0))
    k = 0
    while f"features.{k}.weight" in weights:
        stride = 2 if k % 6 == 0 else 1
        x = network.convolve(x, f"features.{k}", f"features.{k + 1}", stride, leak=0.0)
        k += 3
    x = graph.add("Relu", network.linear(graph.add("Flatten", x, axis=1), "hidden"))
    shape = graph.constant(np.array(MEAN_SHAPE, np.float32).reshape(1, 10))
    graph.output(graph.add("Add", network.linear(x, "points"), shape), "points", ["batch", 10])
    network.check_all_used()
    return graph.to_bytes()


def _decode(graph: Graph, values: str, levels: Sequence[str]) -> str:
    """Add what ``anchors.decode`` computes: from (B, A, 15) to box and landmarks in px, and scores."""
    add, constant = graph.add, graph.constant

    def part(x: str, start: int, stop: int) -> str:
        return add("Slice", x, *map(constant, ([start], [stop], [-1])))

    anchors = add("Concat", *map(partial(_anchors, graph), levels, STRIDES, ANCHOR_SIDES), axis=0)
    centre, side = part(anchors, 0, 2), part(anchors, 2, 3)  # (A, 2), (A, 1)
    shift = add("Mul", side, constant(CENTRE_VARIANCE))
    middle = add("Add", centre, add("Mul", part(values, 0, 2), shift))
    growth = add("Exp", add("Mul", part(values, 2, 4), constant(SIZE_VARIANCE)))
    half = add("Mul", add("Mul", side, growth), constant(0.5))
    centres = add("Concat", *[centre] * 5, axis=1)
    points = add("Add", centres, add("Mul", part(values, 4, 14), shift))
    score = add("Sigmoid", part(values, 14, 15))
    return add("Concat", add("Sub", middle, half), add("Add", middle, half), points, score, axis=2)


def _anchors(graph: Graph, level: str, stride: int, sides: Sequence[int]) -> str:
    """Add the anchors of a level's map (B, C, h, w), in the order of ``anchors.make_anchors``; (2 h w, 3)."""
    add, constant = graph.add, graph.constant
    grid = add("Slice", add("Shape", level), *map(constant, ([2], [4])))
    shape = add("Concat", grid, constant([len(sides), 1]), axis=0)  # (h, w, 2, 1)

    def spread(values: str, form: Sequence[int]) -> str:
        return add("Expand", add("Reshape", values, constant(form)), shape)

    def middles(axis: int) -> str:
        count = add("Gather", grid, constant(np.array(axis)), axis=0)
        cells = add("Cast", add("Range", constant(np.array(0)), count, constant(np.array(1))), to=1)
        return add("Mul", add("Add", cells, constant(0.5)), constant(float(stride)))

    parts = [spread(middles(1), [1, -1, 1, 1]), spread(middles(0), [-1, 1, 1, 1])]
    parts.append(spread(constant(np.array(sides, np.float32)), [1, 1, -1, 1]))
    return add("Reshape", add("Concat", *parts, axis=3), constant([-1, 3]))


class _Network:
    """Layers that read their weights by name."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.graph, self.weights = graph, weights
        self._used: set[str] = set()

    def _get(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return weights, after a check of their shape; a side of 0 may have any length."""
        values = self.weights[name]
        if len(values.shape) != len(shape) or any(
            side not in (0, found) for side, found in zip(shape, values.shape, strict=True)
        ):
            raise ValueError(f"{name} has the shape {values.shape}")
        self._used.add(name)
        return values

    def check_all_used(self) -> None:
        """Check that no weights are left.

        Raises:
            ValueError: some are.
        """
        left = {name for name in self.weights if not name.endswith(".num_batches_tracked")} - self._used
        if left:
            raise ValueError(f"unexpected weights: {min(left)}")

    def convolve(
        self,
        x: str,
        conv: str,
        norm: str,
        stride: int = 1,
        leak: float | None = None,
        swap_colours: bool = False,
    ) -> str:
        """Add a convolution with its batch norm, and a leaky ReLU if ``leak`` is given."""
        kernel = self._get(f"{conv}.weight", 0, 0, 0, 0)
        width = len(kernel)
        deviation = np.sqrt(self._get(f"{norm}.running_var", width) + np.float32(_BATCH_NORM_EPS))
        scale = self._get(f"{norm}.weight", width) / deviation
        kernel = kernel * scale[:, None, None, None]
        bias = self._get(f"{norm}.bias", width) - self._get(f"{norm}.running_mean", width) * scale
        x = self._add_convolution(x, kernel[:, ::-1] if swap_colours else kernel, bias, stride)
        if leak is None:
            return x
        return self.graph.add("LeakyRelu", x, alpha=leak) if leak else self.graph.add("Relu", x)

    def _add_convolution(
        self, x: str, kernel: NDArray[np.float32], bias: NDArray[np.float32], stride: int = 1
    ) -> str:
        side = kernel.shape[2]
        groups = len(kernel) if kernel.shape[1] == 1 and side > 1 else 1
        values = [self.graph.constant(np.ascontiguousarray(kernel)), self.graph.constant(bias)]
        return self.graph.add(
            "Conv",
            x,
            *values,
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[side // 2] * 4,
            group=groups,
        )

    def linear(self, x: str, name: str) -> str:
        """Add a linear layer with a bias."""
        weight = self._get(f"{name}.weight", 0, 0)
        bias = self._get(f"{name}.bias", len(weight))
        return self.graph.add("Gemm", x, self.graph.constant(weight), self.graph.constant(bias), transB=1)

    def pyramid(self, maps: list[str]) -> list[str]:
        """Add the feature pyramid; maps from fine to coarse."""
        fine, middle, coarse = (
            self.convolve(x, f"fpn.output{k}.0", f"fpn.output{k}.1", leak=0.1) for k, x in enumerate(maps, 1)
        )
        middle = self.graph.add("Add", middle, self._enlarge(coarse, middle))
        middle = self.convolve(middle, "fpn.merge2.0", "fpn.merge2.1", leak=0.1)
        fine = self.graph.add("Add", fine, self._enlarge(middle, fine))
        fine = self.convolve(fine, "fpn.merge1.0", "fpn.merge1.1", leak=0.1)
        return [fine, middle, coarse]

    def _enlarge(self, x: str, like: str) -> str:
        """Add a resizing of ``x`` to the sides of ``like``, nearest neighbour."""
        start, end = self.graph.constant([2]), self.graph.constant([4])
        batch = self.graph.add(
            "Slice", self.graph.add("Shape", x), self.graph.constant([0]), self.graph.constant([2])
        )
        sides = self.graph.add("Slice", self.graph.add("Shape", like), start, end)
        size = self.graph.add("Concat", batch, sides, axis=0)
        return self.graph.add(
            "Resize",
            *(x, "", "", size),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def context(self, x: str, level: int) -> str:
        """Add an SSH module: receptive fields of 3, 5 and 7 cells, concatenated."""
        name = f"ssh{level}"
        wide = self.convolve(x, f"{name}.conv5X5_1.0", f"{name}.conv5X5_1.1", leak=0.1)
        wider = self.convolve(wide, f"{name}.conv7X7_2.0", f"{name}.conv7X7_2.1", leak=0.1)
        fields = [
            self.convolve(value, f"{name}.{conv}.0", f"{name}.{conv}.1")
            for value, conv in ((x, "conv3X3"), (wide, "conv5X5_2"), (wider, "conv7x7_3"))
        ]
        return self.graph.add("Relu", self.graph.add("Concat", *fields, axis=1))

    def heads(self, x: str, level: int) -> str:
        """Add the three heads of a level as one convolution; (B, A, 15)."""
        kernels, biases = [], []
        for head in ("BboxHead", "LandmarkHead", "ClassHead"):
            kernel = self._get(f"{head}.{level}.conv1x1.weight", 0, 0, 1, 1)
            bias = self._get(f"{head}.{level}.conv1x1.bias", len(kernel))
            kernel, bias = kernel.reshape(_ANCHORS, -1, *kernel.shape[1:]), bias.reshape(_ANCHORS, -1)
            if head == "ClassHead":  # the logit of a face is the difference of the two classes' logits
                kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[:, 1:] - bias[:, :1]
            kernels.append(kernel)
            biases.append(bias)
        kernel = np.concatenate(kernels, axis=1)
        kernel = kernel.reshape(-1, *kernel.shape[2:])
        x = self._add_convolution(x, kernel, np.concatenate(biases, axis=1).ravel())
        x = self.graph.add("Transpose", x, perm=[0, 2, 3, 1])
        return self.graph.add("Reshape", x, self.graph.constant([0, -1, VALUES]))
