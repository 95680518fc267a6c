"""The AU model as an ONNX graph, written from its weights; it computes what ``au.AUModel`` computes."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface.facts import INTENSITY_MAX
from maeface.model.file_format.metadata import Encoder, Metadata
from maeface.model.input_graph import to_input
from maeface.model.style import LAYER_NORM_EPS, QUICK_GELU
from maeface.runtime.onnx_graph import Graph

Weights = Mapping[str, NDArray[np.float32]]


def au_graph(
    weights: Weights,
    metadata: Metadata,
    output: Literal["head", "features", "values"],
    from_pixels: bool = False,
) -> bytes:
    """Return an AU model as an ONNX file.

    Input ``images``: (B, 3, I, I) float32, normalised. Output ``values``, of the layer ``output``: the head's
    (N, O), not yet probabilities and intensities, followed by ``unlike`` (N, 1) if the model has that; or the
    features (N, D) that the head reads; or what a table has, (N, O) and ``unlike``: probabilities, then
    intensities, the mean over the mirror image where the weights ask for it.

    Args:
        weights: by published name, float32.
        metadata: with the sizes.
        output: the last layer.
        from_pixels: take ``crops`` (B, H, W, 3) uint8 RGB of any sides instead, and prepare them inside.
    """
    graph = Graph()
    settings, width = metadata.preprocessing, metadata.encoder.width
    side = settings.image_size
    if from_pixels:
        pixels = graph.input("crops", "uint8", ["batch", "height", "width", 3])
        images = to_input(graph, pixels, side, settings.mean, settings.std)
    else:
        images = graph.input("images", "float32", ["batch", 3, side, side])
    layers = _Layers(graph, weights, metadata.encoder)
    views = 2 if settings.mirror and output == "values" else 1
    if views == 2:
        mirrored = graph.add("Slice", images, *map(graph.constant, ([-1], [-(2**31)], [3], [-1])))
        images = graph.add("Concat", images, mirrored, axis=0)
    tokens = layers.embed(images, metadata.encoder.patch_size)
    if metadata.encoder.norm_pre:
        tokens = layers.norm(tokens, "norm_pre", metadata.encoder.norm_eps)
    for k in range(metadata.encoder.depth):
        tokens = layers.block(tokens, f"blocks.{k}")
    patches = graph.add("Slice", tokens, *map(graph.constant, ([1], [2**31 - 1], [1])))
    mean = graph.add("ReduceMean", patches, axes=[1], keepdims=0)
    values = layers.norm(mean, "fc_norm", LAYER_NORM_EPS)
    if output != "features":
        head, width = layers.linear(values, "head"), len(weights["head.bias"])
        if output == "values":
            head = _to_values(graph, head, metadata)
        if metadata.unlike is not None:
            head, width = graph.add("Concat", head, layers.unlike(values), axis=1), width + 1
        values = head
    if views == 2:
        values = graph.add(
            "ReduceMean", graph.add("Reshape", values, graph.constant([2, -1, width])), axes=[0], keepdims=0
        )
    graph.output(values, "values", ["batch", width])
    return graph.to_bytes()


def _to_values(graph: Graph, head: str, metadata: Metadata) -> str:
    """Add the conversion of the head's outputs (N, O) to probabilities and intensities, as in a table."""
    aus = len(metadata.aus)
    probabilities = intensities = head
    if metadata.task == "both":
        probabilities = graph.add("Slice", head, *map(graph.constant, ([0], [aus], [1])))
        intensities = graph.add("Slice", head, *map(graph.constant, ([aus], [2 * aus], [1])))
    parts = []
    if metadata.task != "intensity":
        parts.append(graph.add("Sigmoid", probabilities))
    if metadata.task != "detection":
        clipped = graph.add("Clip", intensities, graph.constant(0.0), graph.constant(1.0))
        parts.append(graph.add("Mul", clipped, graph.constant(float(INTENSITY_MAX))))
    return graph.add("Concat", *parts, axis=1)


class _Layers:
    """Layers that read their weights by name."""

    def __init__(self, graph: Graph, weights: Weights, encoder: Encoder) -> None:
        self.graph, self.weights, self.encoder = graph, weights, encoder
        self.width, self.heads = encoder.width, encoder.heads

    def embed(self, images: str, patch_size: int) -> str:
        """Add the embedding of patches and class token with their positions; (N, 1 + L, D)."""
        add, constant = self.graph.add, self.graph.constant
        kernel = self.weights["patch_embed.proj.weight"]
        bias = self.weights["patch_embed.proj.bias"]
        x = add(
            "Conv",
            *(images, constant(kernel), constant(bias)),
            kernel_shape=[patch_size, patch_size],
            strides=[patch_size, patch_size],
        )
        x = add("Reshape", x, constant([0, self.width, -1]))
        x = add("Transpose", x, perm=[0, 2, 1])
        # A row of zeros, to which the class token is added with the positions: no node needs the batch size.
        x = add("Pad", x, constant([0, 1, 0, 0, 0, 0]))
        positions = self.weights["pos_embed"].copy()
        positions[:, :1] += self.weights["cls_token"]
        return add("Add", x, constant(positions))

    def block(self, x: str, name: str) -> str:
        """Add a block of attention and MLP."""
        eps = self.encoder.norm_eps
        x = self.graph.add("Add", x, self.attention(self.norm(x, f"{name}.norm1", eps), f"{name}.attn"))
        return self.graph.add("Add", x, self.mlp(self.norm(x, f"{name}.norm2", eps), f"{name}.mlp"))

    def attention(self, x: str, name: str) -> str:
        """Add multi-head self-attention."""
        add, constant = self.graph.add, self.graph.constant
        depth = self.width // self.heads
        split = add("Reshape", self.linear(x, f"{name}.qkv"), constant([0, 0, 3, self.heads, depth]))
        parts = []
        for k, perm in enumerate(([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])):  # of the key, transposed
            part = add("Gather", split, constant(np.array(k)), axis=2)  # (N, 1 + L, H, d)
            parts.append(add("Transpose", part, perm=perm))
        query, key, value = parts
        scores = add("MatMul", add("Mul", query, constant(float(depth**-0.5))), key)
        mixed = add("MatMul", add("Softmax", scores, axis=-1), value)
        mixed = add("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.linear(add("Reshape", mixed, constant([0, 0, self.width])), f"{name}.proj")

    def mlp(self, x: str, name: str) -> str:
        """Add two linear layers with the activation between them."""
        add, constant = self.graph.add, self.graph.constant
        x = self.linear(x, f"{name}.fc1")
        if self.encoder.activation == "quick_gelu":
            gate = add("Sigmoid", add("Mul", x, constant(QUICK_GELU)))
            return self.linear(add("Mul", x, gate), f"{name}.fc2")
        erf = add("Erf", add("Div", x, constant(float(np.sqrt(2)))))
        x = add("Mul", add("Mul", x, add("Add", erf, constant(1.0))), constant(0.5))
        return self.linear(x, f"{name}.fc2")

    def norm(self, x: str, name: str, eps: float) -> str:
        """Add a LayerNorm over the last axis."""
        values = [self.graph.constant(self.weights[f"{name}.{kind}"]) for kind in ("weight", "bias")]
        return self.graph.add("LayerNormalization", x, *values, axis=-1, epsilon=eps)

    def unlike(self, features: str) -> str:
        """Add the distance of features (N, D) from the training faces; (N, 1)."""
        mean, factor = (self.graph.constant(self.weights[f"unlike.{name}"]) for name in ("mean", "factor"))
        offset = self.graph.add("MatMul", self.graph.add("Sub", features, mean), factor)
        return self.graph.add("ReduceL2", offset, axes=[1], keepdims=1)

    def linear(self, x: str, name: str) -> str:
        """Add a linear layer with a bias."""
        weight = self.graph.constant(np.ascontiguousarray(self.weights[f"{name}.weight"].T))
        product = self.graph.add("MatMul", x, weight)
        return self.graph.add("Add", product, self.graph.constant(self.weights[f"{name}.bias"]))
