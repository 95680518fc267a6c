"""The CPU and GPUs of this machine, and the speed of each back end on them."""

import functools
import platform
import re
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from maeface import portable
from maeface.diagnosis.finding import LONGER, REINSTALL, Clock, Finding, State, in_process, say
from maeface.errors import reinstall_command

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""Features of a CPU on which the speed depends."""
PICTURE, FACES, AU = "AU12.jpg", 6, "AU12"
"""A picture of the package: a face with AU12 at intensities 0 to 5, from left to right."""
MEASURED_S = 1.0
"""Least time of the measurement of a back end."""


def find_devices(clock: Clock) -> Iterator[Finding]:
    """Yield the CPU and the GPUs that PyTorch finds."""
    from maeface.data.ingest.cores import count_cores

    cpu, features = describe_cpu()
    memory = portable.memory_bytes()
    parts = [f"{count_cores()} cores", *([f"{memory / 2**30:.0f} GiB"] if memory else []), *features]
    yield Finding("device", "CPU", "ok", f"{cpu}: {', '.join(parts)}")
    said, state, reason = _ask_for_gpus(clock)
    if reason:
        yield Finding("device", "GPU", state, f"PyTorch cannot say: {reason}")
    elif not said:
        yield Finding("device", "GPU", "missing", "optional: PyTorch finds none; everything works on the CPU")
    for name, detail in said:
        yield Finding("device", name, "ok", detail)


@functools.cache
def _ask_for_gpus(clock: Clock) -> tuple[list[Any], State, str]:
    """Return what ``find_gpus`` says; once for a report, because PyTorch takes seconds to load."""
    return in_process("machine", "find_gpus", [], clock)


def find_backends(clock: Clock) -> Iterator[Finding]:
    """Yield the speed of each installed back end; one that works is needed, whichever it is."""
    from maeface.runtime.backends import ONNX_BACKENDS, is_installed

    runs = [(str(one), "cpu") for one in (*ONNX_BACKENDS, "torch") if is_installed(one)]
    runs += [("torch", "cuda")] if _ask_for_gpus(clock)[0] else []
    states: set[State] = set()
    for backend, device in runs:
        said, state, reason = in_process("machine", "measure", [backend, device], clock)
        name, speed = f"{backend} on {device}", None
        advice = LONGER if state == "stopped" else reinstall_command(backend) if reason else ""
        if not reason:
            ((speed, precision, reason),) = said
            state = "broken" if reason else "ok"
        detail = reason or f"{speed:.1f} faces/s in one process, {precision}"
        yield Finding("back end", name, state, detail, advice=advice, faces_per_s=speed)
        states.add(state)
    if "ok" not in states and "stopped" in states:
        yield Finding(
            "back end", "every back end", "stopped", "no back end had the time to run", True, LONGER
        )
    elif "ok" not in states:
        yield Finding("back end", "every back end", "broken", "no back end works", True, REINSTALL)


def describe_cpu(root: Path = Path("/")) -> tuple[str, list[str]]:
    """Return the kind of the CPU, and which of ``FEATURES`` it says to have.

    Args:
        root: the folder with ``proc``.
    """
    try:
        text = (root / "proc" / "cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return platform.processor() or platform.machine(), []
    kind = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    there = flags[1].split() if flags else []
    return kind[1] if kind else platform.machine(), [one for one in FEATURES if one in there]


def find_gpus() -> None:
    """Say the name of each GPU that PyTorch finds, its memory, and the version of CUDA."""
    import torch

    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = torch.cuda.get_device_properties(number)
        toolkit = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
        say([gpu.name, f"cuda:{number}, {gpu.total_memory / 2**30:.0f} GiB, {toolkit}"])


def measure(backend: str, device: str) -> None:
    """Say faces/s of a back end with the packaged weights and detector, its precision, and what is wrong."""
    from maeface.prediction.predictor import Predictor

    threads = 1 if device == "cpu" else None
    picture = Path(str(resources.files("maeface") / "au_pictures" / PICTURE))
    chosen: Any = backend
    with Predictor(backend=chosen, device=device, detector="embedded", threads=threads) as predictor:
        faces = sorted(predictor.image(picture).faces, key=lambda face: float(face.box[0]))
        count, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < MEASURED_S:
            count += len(predictor.image(picture).faces)
        precision = predictor.precision
    values = [round(float(face.aus[AU].intensity or 0), 1) for face in faces]
    right = len(faces) == FACES and values[0] < 1 <= values[-1]
    wrong = f"wrong: {AU} of {FACES} faces should rise from 0, got {values}"
    say([count / seconds, precision, "" if right else wrong])
