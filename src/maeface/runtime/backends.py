"""The libraries that run networks, and ONNX graphs as functions of arrays."""

import collections
import functools
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from maeface import checks
from maeface.errors import ConfigError, ResourceError, install_command, reinstall_command

Backend = Literal["auto", "torch", "onnxruntime", "openvino"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
ONNX_BACKENDS: tuple[Backend, ...] = ("openvino", "onnxruntime")
"""Those that run ONNX graphs, on the CPU."""
Precision = Literal["fp32", "bf16"]
OFTEN = 20
"""A shape that has come so many times gets a copy of the graph."""
CACHED_PRIMITIVES = 1000
"""Compiled operations that OpenVINO keeps. Its default, 5000, takes 0.5 GB for images of many shapes."""
Network = Callable[[NDArray[Any]], NDArray[np.float32]]
"""A network with one input and one output."""


_set_aside: set[str] = set()
"""The libraries that did not work in this process."""


def is_installed(backend: str) -> bool:
    """Return whether a library is there, without importing it, and was not set aside."""
    return backend not in _set_aside and importlib.util.find_spec(backend) is not None


def set_aside(backend: Backend, error: Exception) -> str:
    """Use a library no more in this process, because it does not work; return a message without a remedy."""
    _set_aside.add(backend)
    return _describe(backend, error.__cause__ or error)


def _describe(backend: str, error: BaseException) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return f"backend {backend} is installed but does not work here ({reason})"


def require_backend(asked: str) -> Backend:
    """Return a back end that was asked for, after a check.

    Raises:
        ConfigError: an unknown one.
        ResourceError: its library is not installed.
    """
    checks.require_choice("backend", asked, BACKENDS)
    if asked != "auto" and not is_installed(asked):
        command = install_command(asked) if asked == "onnxruntime" else reinstall_command(asked)
        raise ResourceError(f"backend {asked} is not installed; install it ({command}) or ask for auto")
    return asked  # type: ignore[return-value]


def computes_bf16(backend: str) -> bool:
    """Return whether an ONNX back end computes in bfloat16 on this CPU."""
    if backend != "openvino":
        return False
    with _usable(backend):
        return "BF16" in _openvino().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_network(
    graph: bytes | Path, backend: str, precision: Precision = "fp32", threads: int = 1, fixed_shapes: int = 0
) -> Network:
    """Return an ONNX graph with one input and one output as a function of arrays; it runs on the CPU.

    Args:
        graph: the bytes of an ONNX file, or the path of one; OpenVINO also opens its own files (.xml).
        backend: one of ``ONNX_BACKENDS``.
        precision: "bf16" lets OpenVINO compute in bfloat16; ONNX Runtime always computes in float32.
        threads: of the computation.
        fixed_shapes: number of shapes of the input for which OpenVINO compiles copies of the graph, when they
            have come often: for inputs whose shapes change from call to call, which costs it milliseconds.

    Raises:
        ConfigError: ``backend`` runs no ONNX graphs.
        ResourceError: its library does not load, or does not compile the graph.
    """
    if backend == "openvino":
        with _usable(backend):
            return _OpenVino(graph, precision, threads, fixed_shapes)
    if backend == "onnxruntime":
        with _usable(backend):
            return _open_onnxruntime(graph, threads)
    raise ConfigError(f"backend {backend} runs no ONNX graphs; choose one of {', '.join(ONNX_BACKENDS)}")


def write_openvino(
    graph: bytes, path: Path, fp16: bool = False, change: Callable[[Any], Any] = lambda model: model
) -> None:
    """Write an ONNX graph as a file of OpenVINO, ``path`` (.xml) and the weights beside it (.bin).

    Args:
        graph: the bytes of an ONNX file.
        path: the file.
        fp16: store the weights in float16.
        change: returns the ``openvino.Model`` to write for that of the graph.
    """
    with _usable("openvino"):
        model = _openvino().read_model(graph)
        import openvino
    openvino.save_model(change(model), path, compress_to_fp16=fp16)


@contextmanager
def _usable(backend: str) -> Iterator[None]:
    """Raise a ResourceError if a library does not work: one that is broken, or made for another CPU."""
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        raise ResourceError(
            f"{_describe(backend, error)}; reinstall it ({reinstall_command(backend)}), or ask for auto"
        ) from error


def version(backend: str) -> str:
    """Return the version of an installed back end."""
    from importlib.metadata import version

    return version(backend)


class _OpenVino:
    """An ONNX graph on OpenVINO, for inputs of any shape; shapes that come often get a copy of their own."""

    def __init__(self, graph: bytes | Path, precision: Precision, threads: int, fixed_shapes: int) -> None:
        self._core, self._lock = _openvino(), threading.Lock()
        self._settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": CACHED_PRIMITIVES,
        }
        self._model = self._core.read_model(graph)
        self._any_shape = self._compile(self._model)
        self._fixed_shapes = fixed_shapes
        self._of_shape: dict[tuple[int, ...], Any] = {}
        self._uses: collections.Counter[tuple[int, ...]] = collections.Counter()

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        with self._lock:  # a request serves one thread at a time
            request = self._choose_request(values.shape)
            request.infer([np.ascontiguousarray(values)], share_inputs=True)
            result: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
        return result

    def _choose_request(self, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - openvino.InferRequest
        request = self._of_shape.pop(shape, None)
        if request is None:
            self._uses[shape] += 1
            if not self._fixed_shapes or self._uses[shape] < OFTEN:
                return self._any_shape
            model = self._model.clone()
            model.reshape(list(shape))
            request = self._compile(model)
            self._uses.clear()
            if len(self._of_shape) >= self._fixed_shapes:
                del self._of_shape[next(iter(self._of_shape))]  # the one that was used longest ago
        self._of_shape[shape] = request
        return request

    def _compile(self, model: Any) -> Any:  # noqa: ANN401 - openvino's types
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()


@functools.cache
def _openvino() -> Any:  # noqa: ANN401 - openvino.Core
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    import openvino

    return openvino.Core()


def _open_onnxruntime(graph: bytes | Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())

    def run(values: NDArray[Any]) -> NDArray[np.float32]:
        (result,) = session.run(None, {name: np.ascontiguousarray(values)})
        return result  # type: ignore[no-any-return]

    return run
