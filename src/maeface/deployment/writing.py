"""Writing of the networks in a format, and opening of what was written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from maeface import files
from maeface.deployment import onnx_files
from maeface.deployment.faces import Pixels
from maeface.deployment.parity import AUFunction, Floats
from maeface.errors import ConfigError, ResourceError, install_command
from maeface.faces.detector_weights import EMBEDDED
from maeface.faces.landmarks import CROP_PX
from maeface.faces.onnx_detector import read_graphs
from maeface.model.arrays import load_arrays
from maeface.model.au_graph import au_graph
from maeface.model.file_format.metadata import Metadata
from maeface.model.inputs import to_input
from maeface.runtime import backends
from maeface.runtime.backends import Network
from maeface.runtime.onnx_graph import MAX_BYTES

THREADS = 1
NETWORKS = ("au", "detector", "points")


@dataclass(frozen=True)
class Written:
    """Networks as files.

    Attributes:
        files: the file by the name of the network, of ``NETWORKS``.
        networks: the files as functions of arrays.
        ran_on: the library that they were opened with, and its version.
    """

    files: dict[str, Path]
    networks: dict[str, Network]
    ran_on: str


def write_onnx(
    folder: Path, weights: Path, precision: str, from_pixels: bool, calibration: Sequence[Pixels]
) -> Written:
    """Write the networks as ONNX files.

    Args:
        folder: for the files.
        weights: of an AU model.
        precision: "fp32", "fp16", "bf16" or "int8", of the AU network.
        from_pixels: whether the AU network prepares the pixels itself.
        calibration: crops from which int8 takes the ranges of values.

    Raises:
        ConfigError: weights of more than 2 GiB, which no ONNX file holds.
        ResourceError: a library that is needed is not installed.
    """
    backend = "onnxruntime" if backends.is_installed("onnxruntime") else "openvino"
    if precision == "int8" and backend != "onnxruntime":
        # NNCF needs it; OpenVINO computes nonsense with the file
        raise ResourceError(
            "int8 as ONNX needs ONNX Runtime, which is not installed; install it "
            f"({install_command('int8', 'onnxruntime')}), or choose --to openvino"
        )
    graphs, inputs = _graphs(weights, precision, from_pixels, calibration)
    if precision == "int8":
        graphs["au"] = onnx_files.quantize(graphs["au"], inputs)
    paths = {name: folder / f"{name}.onnx" for name in graphs}
    for name, graph in graphs.items():
        files.write_bytes(paths[name], graph)
    return _open(paths, backend)


def write_openvino(
    folder: Path, weights: Path, precision: str, from_pixels: bool, calibration: Sequence[Pixels]
) -> Written:
    """Write the networks as files of OpenVINO; arguments and errors as for ``write_onnx``."""
    graphs, inputs = _graphs(weights, precision, from_pixels, calibration)
    paths = {name: folder / f"{name}.xml" for name in graphs}

    def quantize(model: Any) -> Any:  # noqa: ANN401 - openvino.Model
        return onnx_files.quantize_model(model, graphs["au"], inputs)

    for name in ("detector", "points"):
        backends.write_openvino(graphs[name], paths[name])
    if precision == "int8":
        backends.write_openvino(graphs["au"], paths["au"], change=quantize)
    else:
        backends.write_openvino(graphs["au"], paths["au"], fp16=precision == "fp16")
    return _open(paths, "openvino")


def write_torch(folder: Path, weights: Path, precision: str, from_pixels: bool) -> Written:
    """Write the networks as files of ``torch.export``; arguments as for ``write_onnx``."""
    import torch

    from maeface.deployment import torch_files
    from maeface.model.weights import load_model

    model, metadata = load_model(weights)
    au = torch_files.AUValues(model, metadata, from_pixels, precision)
    detector, points = torch_files.detector_modules(EMBEDDED)
    side = metadata.preprocessing.image_size
    paths = {name: folder / f"{name}{torch_files.SUFFIX}" for name in NETWORKS}
    torch_files.write(paths["au"], au, side, from_pixels, any_sides=from_pixels)
    torch_files.write(paths["detector"], detector, 0, True, any_sides=True)
    torch_files.write(paths["points"], points, CROP_PX, True, any_sides=False)
    networks = {name: torch_files.open_file(path) for name, path in paths.items()}
    return Written(paths, networks, f"torch {torch.__version__}")


def as_au_function(network: Network, metadata: Metadata, from_pixels: bool) -> AUFunction:
    """Return an exported AU network as a function of crops."""
    settings = metadata.preprocessing

    def run(crops: Pixels) -> Floats:
        return network(
            crops if from_pixels else to_input(crops, settings.image_size, settings.mean, settings.std)
        )

    return run


def _graphs(
    weights: Path, precision: str, from_pixels: bool, calibration: Sequence[Pixels]
) -> tuple[dict[str, bytes], list[NDArray[Any]]]:
    """Return the ONNX files by the name of the network, and inputs of the AU network for int8.

    The AU network is not of whole numbers yet. Those of the detector are of float32 always.
    """
    arrays, metadata = load_arrays(weights)
    size = sum(values.nbytes for values in arrays.values())
    if size > MAX_BYTES:
        raise ConfigError(
            f"{weights} has {size / 2**30:.1f} GiB, and an ONNX file holds 2; choose --to torch or --to hub"
        )
    au = au_graph(arrays, metadata, "values", from_pixels)
    if precision in ("fp16", "bf16"):
        au = onnx_files.round_weights(au, precision)
    detector, points = read_graphs(EMBEDDED, decoded=True)
    assert points is not None, EMBEDDED
    inputs = _inputs(metadata, from_pixels, calibration)
    return {"au": au, "detector": detector, "points": points}, inputs


def _inputs(metadata: Metadata, from_pixels: bool, crops: Sequence[Pixels]) -> list[NDArray[Any]]:
    settings = metadata.preprocessing
    if from_pixels:
        return [crop[None] for crop in crops]
    return [to_input(crop[None], settings.image_size, settings.mean, settings.std) for crop in crops]


def _open(paths: dict[str, Path], backend: str) -> Written:
    networks = {name: backends.open_network(path, backend, "fp32", THREADS) for name, path in paths.items()}
    return Written(paths, networks, f"{backend} {backends.version(backend)}")
