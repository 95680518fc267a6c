"""The weights on this machine: those of the package, and public ones where maeface looks for them."""

import os
from collections.abc import Iterator
from pathlib import Path

from maeface import files
from maeface.diagnosis.finding import REINSTALL, Clock, Finding
from maeface.faces import detector_weights
from maeface.model import licences, zoo
from maeface.model.file_format.parts import files_of
from maeface.model.public_encoders import ENCODERS

PUBLIC = {one.name: "MIT" for one in detector_weights.PUBLIC_CHECKPOINTS.values()} | {
    one.file: one.licence for one in ENCODERS.values() if one.file
}
"""Licences of public weights, by their files; RetinaFace's are MIT."""


def find_weights(clock: Clock) -> Iterator[Finding]:
    """Yield weights with their size, their licence and where they are."""
    default, detector = zoo.DEFAULT, detector_weights.EMBEDDED
    for name in sorted({default, *zoo.names()}):
        paths = files_of(zoo.folder() / f"{name}.safetensors")
        role = "the default AU model" if name == default else "AU model"
        yield _describe_packaged(name, paths, licences.licence_of(zoo.folder() / paths[0].name), role)
    yield _describe_packaged(detector.stem, (detector,), licences.PACKAGED, "face detector")
    for folder in files.weights_folders():
        for name, licence in PUBLIC.items():
            if (folder / name).is_file():
                size = (folder / name).stat().st_size
                yield Finding("weights", name, "ok", f"{size / 1e6:.1f} MB, {licence}, in {folder}")
    named = os.environ.get(files.WEIGHTS_VARIABLE)
    if named and not Path(named).is_dir():
        advice = f"set {files.WEIGHTS_VARIABLE} to a folder with weights, or unset it"
        yield Finding(
            "weights", files.WEIGHTS_VARIABLE, "broken", f"{named} is no folder: {advice}", False, advice
        )


def _describe_packaged(name: str, paths: tuple[Path, ...], licence: str, role: str) -> Finding:
    if not all(path.is_file() for path in paths):
        return Finding("weights", name, "missing", f"{role}, of the package", True, REINSTALL)
    size = sum(path.stat().st_size for path in paths)
    detail = f"{size / 1e6:.1f} MB, {licence or licences.NOT_STATED}, in the package: {role}"
    return Finding("weights", name, "ok", detail, True)
