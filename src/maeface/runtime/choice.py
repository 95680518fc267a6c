"""The choice of a back end: as asked for, the GPU's, or the fastest one on this CPU."""

import ctypes
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from maeface import console, files
from maeface.errors import ConfigError, ResourceError
from maeface.runtime.backends import ONNX_BACKENDS, Backend, is_installed, require_backend, set_aside, version

FILE = "backends.json"
"""The measured choices, in the user's cache folder."""
TIMED_S = 0.2
"""Time of the measurement of a back end."""
MAX_ENTRIES = 64
GPU_PROCESSES = 4
"""Processes that share a GPU: while one computes, others decode."""
GPU_BYTES_EACH = 8 << 30
"""Memory of a GPU for each of them: networks, frames, crops, and PyTorch's own."""
_NO_CACHE = (OSError, ResourceError, RuntimeError)  # the last one: a user without a home folder
_DRIVERS = ("proc/driver/nvidia/version", "dev/kfd")  # of NVIDIA, and of AMD

Probe = Callable[[Backend], Callable[[], object]]
"""Opens a network with a back end, and returns a function that runs it once."""


def choose_backend(asked: str, device: str, name: Callable[[], str], probe: Probe) -> tuple[Backend, str]:
    """Return the back end to use, and the device: "cpu", or one of PyTorch.

    ``auto`` is PyTorch on a GPU. On a CPU it is the fastest of the installed ones that run ONNX graphs. They
    are measured once for each network and kind of CPU, which takes a second. One that does not work is left
    out, with a note; if none works, ``auto`` is PyTorch.

    Args:
        asked: one of ``backends.BACKENDS``.
        device: "auto", "cpu", or another device of PyTorch ("cuda", "cuda:1").
        name: returns a name of the network that is measured and of its weights.
        probe: opens that network.

    Raises:
        ConfigError: an unknown back end, or one that does not run on the device.
        ResourceError: its library is not installed.
    """
    backend = require_backend(asked)
    if device not in ("auto", "cpu"):
        if backend in ONNX_BACKENDS:
            raise ConfigError(f"backend {backend} runs on the CPU only; ask for torch or auto on {device}")
        return "torch", device
    if backend == "torch":
        return backend, "cuda" if device == "auto" and _finds_gpu() else "cpu"
    if backend != "auto":
        return backend, "cpu"
    if device == "auto" and finds_gpu():
        return "torch", "cuda"
    installed = [one for one in ONNX_BACKENDS if is_installed(one)]
    if not installed:
        return "torch", "cpu"
    key = _key(name(), installed)
    chosen = _load().get(key)
    for one in installed:
        if one == chosen:
            return one, "cpu"
    times: dict[Backend, float] = {}
    failures = []
    for one in installed:
        try:
            times[one] = _measure(probe(one))
        except (ResourceError, ImportError, OSError, RuntimeError) as error:
            failures.append(set_aside(one, error))
    fastest: Backend = min(times, key=lambda one: times[one], default="torch")
    if failures:  # nothing is saved: the library may be mended
        console.note(f"{'; '.join(failures)}; using {fastest}")
    else:
        _save(key, fastest)
    return fastest, "cpu"


def finds_gpu() -> bool:
    """Return whether PyTorch finds a GPU; it is only imported where there is a driver of one."""
    return _has_driver() and _finds_gpu()


def count_gpu_processes(device: str) -> int:
    """Return how many processes a GPU has memory for, up to ``GPU_PROCESSES``; at least one.

    Args:
        device: "auto", "cuda" or "cuda:N".
    """
    import torch

    number = int(device.partition(":")[2] or 0)
    try:
        memory = torch.cuda.get_device_properties(number).total_memory
    except (RuntimeError, AssertionError):  # the processes will say what is wrong
        return 1
    return max(1, min(GPU_PROCESSES, memory // GPU_BYTES_EACH))


def _finds_gpu() -> bool:
    """Return whether PyTorch finds a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def _has_driver() -> bool:
    """Return whether there is a driver of a GPU, without importing PyTorch."""
    if any((Path("/") / path).exists() for path in _DRIVERS):
        return True
    with suppress(OSError):  # in the Windows Subsystem for Linux there is only the library
        ctypes.CDLL("libcuda.so.1")
        return True
    return False


def _measure(run: Callable[[], object]) -> float:
    """Return the shortest time of a run in seconds, after one that is not counted."""
    run()
    least = float("inf")
    end = time.perf_counter() + TIMED_S
    while (start := time.perf_counter()) < end:
        run()
        least = min(least, time.perf_counter() - start)
    return least


def _key(name: str, backends: list[Backend]) -> str:
    facts = [name, _cpu(), str(os.cpu_count()), *(f"{one} {version(one)}" for one in backends)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _cpu() -> str:
    with suppress(OSError):
        for line in (Path("/") / "proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line
    return f"{platform.machine()} {platform.processor()}"


def _load() -> dict[str, str]:
    """Return the measured choices, the oldest first; none if the file is damaged or not there."""
    with suppress(*_NO_CACHE, ValueError, TypeError):
        content = json.loads((files.cache_folder() / FILE).read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in content}
    return {}


def _save(key: str, backend: Backend) -> None:
    """Remember a choice, if the cache folder can be written."""
    others = [entry for entry in _load().items() if entry[0] != key]
    with suppress(*_NO_CACHE):
        files.write_json(files.cache_folder() / FILE, [*others[-MAX_ENTRIES + 1 :], (key, backend)])
