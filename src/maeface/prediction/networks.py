"""The network of a predictor: from face crops to the values of the head, or to features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Never, Protocol

import numpy as np
from numpy.typing import NDArray

from maeface.config import Precision
from maeface.errors import ConfigError, ResourceError
from maeface.model.arrays import load_arrays
from maeface.model.au_graph import au_graph
from maeface.model.file_format.metadata import Metadata
from maeface.model.file_format.parts import files_of
from maeface.model.inputs import to_input
from maeface.prediction.columns import au_columns
from maeface.prediction.values import Crops, Output, Values, read_head, stack_by_side
from maeface.runtime import backends
from maeface.runtime.backends import Backend, Network
from maeface.runtime.choice import choose_backend
from maeface.runtime.onnx_graph import MAX_BYTES

CROPS_TOGETHER = 32
PROBE_CROPS = 16


class Closed:
    """Stands for the networks of a predictor that was closed."""

    def __getattr__(self, name: str) -> Never:
        raise ResourceError("the predictor is closed; make another one, or use it within its `with` block")


CLOSED: Any = Closed()


class AUNetwork(Protocol):
    """An AU model on a back end.

    Attributes:
        metadata: of the weights.
        backend: the back end.
        device: "cpu" or "cuda:N".
        precision: "fp32" or "bf16".
    """

    metadata: Metadata
    backend: Backend
    device: str
    precision: backends.Precision

    def compute(self, crops: Crops, output: Output, mirror: bool = True) -> NDArray[np.float32]:
        """Return an output for crops.

        Returns:
            Features (F, D), or (V, F, O) of the head: V is 2 with the mirror image, else 1. If the
            metadata have ``unlike``, it is one more output, the last one.
        """


def compute_faces(network: AUNetwork, crops: Crops, output: Output, mirror: bool) -> Values:
    """Return probabilities and intensities or features, (F, K), and ``unlike``, (F,); also for no crops.

    Features, and weights that lack it, give NaN for ``unlike``.
    """
    metadata = network.metadata
    if output == "features":
        nothing = np.full(len(crops), np.nan, np.float32)
        empty = np.zeros((0, metadata.encoder.width), np.float32)
        return network.compute(crops, output, mirror) if len(crops) else empty, nothing
    if not len(crops):
        outputs = len(au_columns(metadata.aus, metadata.task)) - len(metadata.aus)
        return np.zeros((0, outputs), np.float32), np.zeros(0, np.float32)
    return read_head(network.compute(crops, output, mirror), metadata)


def open_au_network(
    weights: Path, device: str, precision: Precision, backend: Backend, threads: int | None
) -> AUNetwork:
    """Return an AU model on a back end.

    Args:
        weights: a file, see ``weights.load_model``.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" is bf16 where the hardware computes in it. Where it does not, back ends other than
            PyTorch compute in fp32 even if asked for bf16. ONNX Runtime always does.
        backend: see ``choose_backend``.
        threads: of a CPU; None leaves it to PyTorch, and is 1 for other back ends.

    Raises:
        ConfigError: an unknown choice, or a back end that does not run on the device.
        WeightsError: the file is not an AU model, or is damaged.
        ResourceError: there is no such device, or the back end is not installed.
    """

    def probe(one: Backend) -> Callable[[], object]:
        network = OnnxNetwork(weights, precision, one, 1)
        side = network.metadata.preprocessing.image_size
        crops = np.zeros((PROBE_CROPS, side, side, 3), np.uint8)
        return lambda: network.compute(crops, "head")

    try:
        name = f"au {precision} {_describe(weights)}"
        chosen, device = choose_backend(backend, device, lambda: name, probe)
        if chosen != "torch":
            return OnnxNetwork(weights, precision, chosen, threads or 1)
    except _TooLarge as error:  # also from the probe
        if backend != "auto":
            raise ConfigError(f"backend {backend} does not run {weights}: {error}; ask for torch") from error
    from maeface.prediction.torch_network import TorchNetwork

    return TorchNetwork(weights, device, precision, threads)


def _describe(weights: Path) -> str:
    """Return the names and sizes of the files of weights."""
    return " ".join(f"{file.name} {file.stat().st_size}" for file in files_of(weights) if file.is_file())


class OnnxNetwork:
    """An AU model without PyTorch, on the CPU; see ``AUNetwork`` and ``open_au_network``."""

    device = "cpu"

    def __init__(self, weights: Path, precision: Precision, backend: Backend, threads: int) -> None:
        arrays, self.metadata = load_arrays(weights)
        size = sum(value.nbytes for value in arrays.values())
        if size > MAX_BYTES:
            raise _TooLarge(f"it has {size / 2**30:.1f} GiB, more than 2")
        self.backend = backend
        bf16 = precision != "fp32" and backends.computes_bf16(backend)
        self.precision: backends.Precision = "bf16" if bf16 else "fp32"
        self._weights, self._threads = weights, threads
        self._networks: dict[Output, Network] = {"head": self._open(arrays, "head")}

    def compute(self, crops: Crops, output: Output, mirror: bool = True) -> NDArray[np.float32]:
        """Return an output for crops; see ``AUNetwork``."""
        if output not in self._networks:
            self._networks[output] = self._open(load_arrays(self._weights)[0], output)
        network, settings = self._networks[output], self.metadata.preprocessing
        views = 2 if mirror and settings.mirror and output == "head" else 1
        results = []
        for start in range(0, len(crops), CROPS_TOGETHER // views):
            group = crops[start : start + CROPS_TOGETHER // views]
            stacks = stack_by_side(group)
            inputs = np.concatenate(
                [to_input(np.asarray(x), settings.image_size, settings.mean, settings.std) for x in stacks]
            )
            if views == 2:
                inputs = np.concatenate([inputs, inputs[..., ::-1]])
            values = network(inputs)
            results.append(values.reshape(views, len(group), -1) if output == "head" else values)
        return np.concatenate(results, axis=-2)

    def _open(self, arrays: dict[str, NDArray[np.float32]], output: Output) -> Network:
        graph = au_graph(arrays, self.metadata, output)
        return backends.open_network(graph, self.backend, self.precision, self._threads)


class _TooLarge(Exception):
    """Weights that do not fit into an ONNX file."""
