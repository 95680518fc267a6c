"""The libraries that maeface needs, those of its extras, and what other packages offer to check."""

import platform
import re
from collections.abc import Iterator, Sequence
from importlib import import_module, metadata

from maeface.diagnosis.finding import Finding, State, describe, in_process, say

EXTRAS = {
    "onnxruntime": "ONNX Runtime, another back end on CPUs",
    "readers": "datasets whose labels are MATLAB files (IMDB-WIKI)",
    "heif": "photos in HEIC and HEIF, as iPhones take them",
    "trackio": "the log of a training in trackio",
    "wandb": "the log of a training in Weights & Biases",
    "int8": "NNCF, for exported networks of 8 bits",
    "hub": "weights of a model hub, by hf:ORG/NAME",
    "serve": "maeface serve: FastAPI and uvicorn",
    "ray": "prepare and predict on many machines",
}
"""What the extras bring."""
MODULES = {"pillow": "PIL", "pi-heif": "pi_heif", "scipy": "scipy.io"}
"""The module to import of a library, where it has another name."""
CHECKS = "maeface.doctor"
"""The entry points of other packages: functions that return what they found, or raise an exception."""
IMPORT_S = 600
"""Most seconds for the imports, and for the check of another package; a busy machine takes long."""


def find_libraries() -> Iterator[Finding]:
    """Yield maeface, Python, and whether each library that maeface needs can be imported."""
    yield Finding("version", "maeface", "ok", metadata.version("maeface"), True)
    yield Finding("version", "python", "ok", f"{platform.python_version()}, {platform.platform()}", True)
    for name, state, detail in _import([name for name, extra in requirements() if not extra]):
        advice = "" if state == "ok" else f"uv pip install --reinstall {name}"
        yield Finding("version", name, state, detail, True, advice)


def find_extras() -> Iterator[Finding]:
    """Yield whether the library of each extra is there and can be imported."""
    extras = {name: extra for name, extra in requirements() if extra}
    for name, state, detail in _import(list(extras)):
        extra = extras[name]
        brings = EXTRAS[extra]
        if state == "ok":
            yield Finding("extra", extra, state, f"{name} {detail}: {brings}")
            continue
        advice = (
            f"uv pip install --reinstall {name}"
            if state == "broken"
            else f"uv pip install 'maeface[{extra}]'"
        )
        yield Finding("extra", extra, state, detail or f"{brings}: {advice}", False, advice)


def find_studio() -> Iterator[Finding]:
    """Yield whether the studio is there, and what it and other packages offer to check."""
    name = "maeface-studio"
    try:
        yield Finding("studio", name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        advice = "in the folder of the repository: uv pip install ./studio (or its wheel)"
        yield Finding("studio", name, "missing", f"renders labelled faces: {advice}", False, advice)
    for point in metadata.entry_points(group=CHECKS):
        said, reason = in_process("libraries", "run_check", [point.name], IMPORT_S)
        state: State = "broken" if reason else "ok"
        yield Finding("studio", point.name, state, reason or " ".join(said), False, reason)


def requirements() -> list[tuple[str, str]]:
    """Return the libraries that maeface asks for and the extra that brings each; "" for what is needed."""
    listed = []
    for line in metadata.requires("maeface") or ():
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra\s*==\s*['\"]([\w.-]+)", line)
        if name:
            listed.append((name[0], extra[1] if extra else ""))
    return listed


def _import(libraries: Sequence[str]) -> Iterator[tuple[str, State, str]]:
    """Yield each library, whether it can be imported, and its version or what is wrong."""
    versions: dict[str, str] = {}
    for name in libraries:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "missing", ""
    waiting = list(versions)
    while waiting:
        said, reason = in_process("libraries", "import_all", waiting, IMPORT_S)
        if len(said) < len(waiting):  # the next one has ended the process
            said.append([waiting[len(said)], reason or "it ended the process", ""])
        for name, failure, more in said:
            version = f"{versions[name]}{more}"
            yield name, "broken" if failure else "ok", f"{version}: {failure}" if failure else version
        waiting = waiting[len(said) :]


def import_all(*names: str) -> None:
    """Import libraries; say of each its name, what is wrong with it, and what is in it."""
    for name in names:
        failure, more = "", ""
        try:
            module = import_module(MODULES.get(name, name.replace("-", "_")))
            if name == "av":
                more = f", FFmpeg {module.ffmpeg_version_info}"
        except BaseException as error:
            failure = describe(error)
        say([name, failure, more])


def run_check(name: str) -> None:
    """Say what a check of another package found."""
    (point,) = metadata.entry_points(group=CHECKS, name=name)
    say(point.load()())
