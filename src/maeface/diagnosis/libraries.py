"""The libraries that maeface needs, those of its extras, and what other packages offer to check."""

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module, metadata

from maeface.diagnosis.finding import LONGER, Clock, Finding, State, describe, in_process, say
from maeface.errors import install_command, reinstall_command

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
WORST_FIRST: tuple[State, ...] = ("broken", "missing", "stopped", "ok")
CHECKS = "maeface.doctor"
"""The entry points of other packages: functions that return what they found, or raise an exception."""


def find_libraries(clock: Clock) -> Iterator[Finding]:
    """Yield maeface, Python, and whether each library that maeface needs can be imported."""
    yield Finding("version", "maeface", "ok", metadata.version("maeface"), True)
    yield Finding("version", "python", "ok", f"{platform.python_version()}, {platform.platform()}", True)
    for name, state, detail in _import([name for name, extra in requirements() if not extra], clock):
        yield Finding("version", name, state, detail, True, _advise(state, name))


def find_extras(clock: Clock) -> Iterator[Finding]:
    """Yield whether the libraries of each extra are there and can be imported."""
    listed = [(name, extra) for name, extra in requirements() if extra]
    found = {name: (state, detail) for name, state, detail in _import([name for name, _ in listed], clock)}
    for extra in dict.fromkeys(extra for _, extra in listed):
        yield _describe(extra, {name: found[name] for name, one in listed if one == extra})


def _describe(extra: str, found: Mapping[str, tuple[State, str]]) -> Finding:
    """Return the finding of an extra: all its libraries if they work, else those that do not."""
    brings = EXTRAS[extra]
    state = min((one for one, _ in found.values()), key=WORST_FIRST.index)
    names = [name for name, (one, _) in found.items() if one == state]
    listed = ", ".join(f"{name} {found[name][1]}" for name in names)
    if state == "ok":
        return Finding("extra", extra, state, f"{listed}: {brings}")
    if state == "missing":
        advice = install_command(extra)
        lacks = f"; without {', '.join(names)}" if len(found) > 1 else ""
        return Finding("extra", extra, state, f"optional: {brings}{lacks}: {advice}", advice=advice)
    detail = f"{', '.join(names)}: not checked in time" if state == "stopped" else listed
    return Finding("extra", extra, state, detail, advice=_advise(state, *names))


def _advise(state: State, *libraries: str) -> str:
    """Return what to do about libraries that are there."""
    return {"ok": "", "stopped": LONGER}.get(state, reinstall_command(*libraries))


def find_studio(clock: Clock) -> Iterator[Finding]:
    """Yield whether the studio is there, and what it and other packages offer to check."""
    name = "maeface-studio"
    try:
        yield Finding("studio", name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        advice = "in the folder of the repository: uv pip install ./studio (or its wheel)"
        yield Finding("studio", name, "missing", f"optional: renders labelled faces: {advice}", False, advice)
    for point in metadata.entry_points(group=CHECKS):
        said, state, reason = in_process("libraries", "run_check", [point.name], clock)
        yield Finding("studio", point.name, state, reason or " ".join(said), advice=reason)


def requirements() -> list[tuple[str, str]]:
    """Return the libraries that maeface asks for and the extra that brings each; "" for what is needed."""
    listed = []
    for line in metadata.requires("maeface") or ():
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra\s*==\s*['\"]([\w.-]+)", line)
        if name:
            listed.append((name[0], extra[1] if extra else ""))
    return listed


def _import(libraries: Sequence[str], clock: Clock) -> Iterator[tuple[str, State, str]]:
    """Yield each library, whether it can be imported, and its version or what is wrong."""
    versions: dict[str, str] = {}
    for name in libraries:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "missing", ""
    waiting = list(versions)
    while waiting:
        said, state, reason = in_process("libraries", "import_all", waiting, clock)
        for name, failure, more in said:
            version = f"{versions[name]}{more}"
            yield name, "broken" if failure else "ok", f"{version}: {failure}" if failure else version
        waiting = waiting[len(said) :]
        if waiting:  # the next one has ended the process, or takes too long
            name, *waiting = waiting
            failed: State = "broken" if state == "ok" else state
            yield name, failed, f"{versions[name]}: {reason or 'it ended the process'}"


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
