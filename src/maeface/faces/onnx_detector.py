"""The networks of the face detector without PyTorch: ONNX graphs, and numbers around them in NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maeface.faces.anchors import decode, make_anchors
from maeface.faces.detector_graphs import landmark_graph, retinaface_graph
from maeface.faces.detector_weights import LANDMARK_PREFIX
from maeface.faces.imaging import Stack
from maeface.faces.landmarks import LandmarkFunction
from maeface.runtime.backends import Backend, Network, open_network
from maeface.runtime.tensors import read_safetensors, read_torch_file

FIXED_SHAPES = 4
"""A video needs two or three: of its frames, of their half, and of the second pass's window."""
_MAX_CACHED_SHAPES = 64


class OnnxNetworks:
    """RetinaFace with the backbone ``mobilenet0.25``, and the landmark network; see ``detector.Networks``.

    Args:
        weights: a checkpoint.
        backend: one that runs ONNX graphs.
        bfloat16: whether RetinaFace is computed in bfloat16; the landmark network always is in float32.
        threads: of the computation.

    Raises:
        WeightsError: the file is not such a checkpoint.
    """

    device = "cpu"

    def __init__(self, weights: Path, backend: Backend, bfloat16: bool, threads: int) -> None:
        graph, landmarks = read_graphs(weights)
        self._network = open_network(graph, backend, "bf16" if bfloat16 else "fp32", threads, FIXED_SHAPES)
        self.landmark_net: LandmarkFunction | None = None
        if landmarks is not None:
            self.landmark_net = _as_function(open_network(landmarks, backend, "fp32", threads))
        self._anchors: dict[tuple[int, int], NDArray[np.float32]] = {}

    @np.errstate(over="ignore", invalid="ignore")
    def detect(self, images: Stack, threshold: float) -> list[NDArray[np.float32]]:
        """Return the candidates of each image; see ``detector.Networks``."""
        values = self._network(np.asarray(images))  # (B, A, 15)
        scores = 1 / (1 + np.exp(-values[..., 14]))  # (B, A)
        anchors = self._cached_anchors(images.shape[1], images.shape[2])
        rows = []
        for one, score in zip(values, scores, strict=True):
            above = np.flatnonzero(score > threshold)
            box, points = decode(anchors[above], one[above, :4], one[above, 4:14])
            row = np.concatenate([box, points, score[above, None]], axis=1, dtype=np.float32)
            rows.append(row[np.isfinite(row).all(axis=1)])
        return rows

    def _cached_anchors(self, height: int, width: int) -> NDArray[np.float32]:
        anchors = self._anchors.get((height, width))
        if anchors is None:
            if len(self._anchors) >= _MAX_CACHED_SHAPES:
                self._anchors.clear()
            anchors = self._anchors[height, width] = make_anchors(height, width)
        return anchors


def _as_function(network: Network) -> LandmarkFunction:
    return lambda crops: network(np.asarray(crops)).reshape(-1, 5, 2)


def read_graphs(path: Path, decoded: bool = False) -> tuple[bytes, bytes | None]:
    """Return the graphs of RetinaFace and of the landmark network, if the file has one.

    ``decoded`` is as for ``retinaface_graph``.

    A file that is not as expected is given to ``torch_detector.load_weights``, which says what is wrong.
    """
    try:
        return _make_graphs(_read(path), decoded)
    except MemoryError:
        raise
    except Exception:  # damaged bytes may raise any exception
        from maeface.faces.retinaface import RetinaFace
        from maeface.faces.torch_detector import load_weights

        network = RetinaFace("mobilenet0.25")
        landmark_net = load_weights(network, path)
        arrays = {name: value.numpy() for name, value in network.state_dict().items()}
        for name, value in landmark_net.state_dict().items() if landmark_net is not None else ():
            arrays[LANDMARK_PREFIX + name] = value.numpy()
        return _make_graphs(arrays, decoded)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".safetensors":
        return {name: tensor.to_numpy() for name, tensor in read_safetensors(path)[0].items()}
    return {name.removeprefix("module."): value for name, value in read_torch_file(path).items()}


def _make_graphs(arrays: dict[str, NDArray[Any]], decoded: bool) -> tuple[bytes, bytes | None]:
    values = {name: value.astype(np.float32) for name, value in arrays.items()}
    points = {
        name.removeprefix(LANDMARK_PREFIX): values.pop(name)
        for name in list(values)
        if name.startswith(LANDMARK_PREFIX)
    }
    return retinaface_graph(values, decoded), landmark_graph(points) if points else None
