"""``maeface export``: the networks as files for other programs, and proof that they compute the same."""

import math
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from rich.table import Table

from maeface import checks, files
from maeface.deployment import description, hub_folder, parity, writing
from maeface.deployment.faces import Faces, Pixels, load_faces
from maeface.deployment.parity import AUFunction, AUParity, Bounds, Floats, UnlikeParity
from maeface.deployment.writing import Written
from maeface.errors import ConfigError, ResourceError
from maeface.faces.detector_weights import EMBEDDED
from maeface.faces.landmarks import CROP_PX
from maeface.model.file_format.encoding import Dtype
from maeface.model.file_format.metadata import Metadata
from maeface.model.licences import licence_of
from maeface.model.zoo import find
from maeface.paths import StrPath, to_path
from maeface.prediction.networks import compute_faces

Format = Literal["onnx", "openvino", "torch", "hub"]
PARITY = "parity.json"
CALIBRATION_FACES = 128
"""Faces from which int8 takes the ranges of values, at most; the other faces are for the check."""
POINT_FACES = 64
"""Faces that the landmark network is checked on."""


@dataclass(frozen=True)
class Summary:
    """What was exported, and how far it computes the same.

    Attributes:
        folder: with the files.
        aus: action unit -> how far its outputs agree with PyTorch.
        unlike: the same of the output ``unlike``; None for weights without it.
        networks: the same of the detector and the landmarks; empty for a hub.
        faces: what this was measured on.
        ran_on: the library that ran the exported files.
        size: of all files, bytes.
    """

    folder: Path
    aus: dict[int, AUParity]
    unlike: UnlikeParity | None
    networks: dict[str, dict[str, float]]
    faces: str
    ran_on: str
    size: int

    def __str__(self) -> str:
        """Return two lines: what was compared, and what was written."""
        worst = max(one.difference for one in (*self.aus.values(), self.unlike) if one is not None)
        moved = max((values["px"] for values in self.networks.values()), default=None)
        shifts = "" if moved is None else f", of boxes and landmarks {moved:.1g} px"
        return (
            f"{self.ran_on} against PyTorch on {self.faces}: largest difference of a value "
            f"{worst:.2g} of its range (probabilities 0 to 1, intensities 0 to 5){shifts}\n"
            f"{self.folder}: {self.size / 2**20:.1f} MiB"
        )


def run(
    weights: str | Path | None,
    to: Format,
    out: StrPath,
    *,
    precision: Dtype = "fp32",
    with_preprocessing: bool = False,
    photos: StrPath | None = None,
    labels: StrPath | None = None,
    max_difference: float | None = None,
    max_fall: float = parity.MAX_FALL,
) -> Summary:
    """Export an AU model, the face detector and the landmark network, after proof that they compute the same.

    The files are written beside ``out``, opened again and compared with PyTorch in float32. Only if they
    agree does the folder get its name; else nothing is left.

    Args:
        weights: a file, a folder or a name, as for ``Predictor``; None for the packaged default.
        to: "onnx", "openvino", "torch" (``torch.export``) or "hub" (a folder for a model hub).
        out: folder for the files; it must not exist, or be empty.
        precision: of the AU network.
        with_preprocessing: whether the AU network takes crops of any size as uint8.
        photos: folder of photos, or one that ``maeface prepare`` wrote; None: rendered faces of the package.
        labels: table of AU labels of ``photos``, for the change of the AUC.
        max_difference: largest difference that is accepted, as a fraction of an output's range; None: see
            ``parity.MAX_DIFFERENCE``.
        max_fall: largest fall that is accepted of an AU's AUC, and of a correlation with PyTorch from 1.

    Raises:
        ConfigError: settings that do not go together, or ``out`` has files.
        DataError: no face, or labels that match none.
        WeightsError: no such weights, or the exported networks differ by more than is accepted.
        ResourceError: a library that is needed is not installed, or the disk is full.
    """
    out, photos, labels = Path(out), to_path(photos), to_path(labels)
    _check_settings(to, out, precision, with_preprocessing, photos, labels)
    source = find(weights)
    bounds = Bounds(parity.MAX_DIFFERENCE[precision] if max_difference is None else max_difference, max_fall)
    network, metadata = _open_reference(source)
    faces = load_faces(photos, labels, metadata.preprocessing.image_size)
    calibrates = precision == "int8" and to in ("onnx", "openvino")
    calibration, faces = _split(faces) if calibrates else ([], faces)
    reference = parity.compute(network, faces.crops)
    with _staged(out) as folder:
        written = _write(to, folder, source, precision, with_preprocessing, calibration)
        au = written.networks["au"]
        if to != "hub":
            au = writing.as_au_function(au, metadata, with_preprocessing)
        exported = parity.compute(au, faces.crops)
        aus = parity.compare(reference, exported, metadata, faces)
        unlike = parity.compare_unlike(reference, exported, metadata)
        parity.refuse(aus, bounds, unlike)
        shifts = {} if to == "hub" else _compare_detector(written, faces)
        parity.refuse_detector(shifts)
        if to == "hub":
            hub_folder.write_texts(
                folder, source, metadata, precision, aus, str(faces), description.name_of(source)
            )
        else:
            entry = description.describe(source, metadata, written.files, precision, with_preprocessing)
            files.write_json(folder / description.FILE, entry)
        summary = Summary(out, aus, unlike, shifts, str(faces), written.ran_on, _size(folder))
        files.write_json(folder / PARITY, _record(summary, to, precision, faces, bounds))
    return summary


def render(summary: Summary) -> Table:
    """Return the table of what was compared, a row an action unit."""
    return parity.to_table(summary.aus)


def _check_settings(
    to: str,
    out: Path,
    precision: str,
    with_preprocessing: bool,
    photos: Path | None,
    labels: Path | None,
) -> None:
    """Refuse settings that do not go together, before any work; see ``run``."""
    checks.require_choice("to", to, get_args(Format))
    checks.require_choice("precision", precision, get_args(Dtype))
    if to == "hub" and with_preprocessing:
        raise ConfigError("--with-preprocessing has no effect on --to hub, whose files maeface itself loads")
    if labels is not None and photos is None:
        raise ConfigError(
            f"{checks.name_of('labels')} needs {checks.name_of('photos')}: the faces they are of"
        )
    checks.require_inputs([photos], "folder", advice="give a folder of photos")
    checks.require_inputs([labels], "labels file")
    checks.require_writable_folders(out)
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(
            f"{out} has files already; name another folder, or empty it ({checks.name_of('out')})"
        )


def _open_reference(source: Path) -> tuple[AUFunction, Metadata]:
    """Return the AU model in PyTorch, as a function of crops; and its metadata."""
    from maeface.prediction.torch_network import TorchNetwork

    network = TorchNetwork(source, "cpu", "fp32", None)

    def run(crops: Pixels) -> Floats:
        values, unlike = compute_faces(network, crops, "head", mirror=True)
        return values if network.metadata.unlike is None else np.hstack([values, unlike[:, None]])

    return run, network.metadata


def _split(faces: Faces) -> tuple[Sequence[Pixels], Faces]:
    """Return the faces from which int8 takes the ranges of values, and those for the check."""
    least = 2 * parity.MIN_FACES
    if len(faces.crops) < least:
        raise ConfigError(
            f"int8 needs {least} faces or more, one half for the ranges of values and one for the check; "
            f"{checks.name_of('photos')} has {len(faces.crops)}"
        )
    return faces.part(0, 2).crops[:CALIBRATION_FACES], faces.part(1, 2)


def _record(summary: Summary, to: str, precision: str, faces: Faces, bounds: Bounds) -> dict[str, Any]:
    """Return the content of ``parity.json``."""
    return {
        "format": to,
        "precision": precision,
        "faces": {"source": faces.source, "rendered": faces.rendered, "count": len(faces.crops)},
        "reference": "PyTorch, fp32",
        "ran_on": summary.ran_on,
        "batches": sorted(parity.BATCHES),
        "bounds": {"difference": _finite(bounds.difference), "fall": _finite(bounds.fall)},
        "aus": parity.to_json(summary.aus),
        "unlike": asdict(summary.unlike) if summary.unlike else None,
        "networks": summary.networks,
    }


def _size(folder: Path) -> int:
    """Return the size of the files in a folder, bytes."""
    return sum(file.stat().st_size for file in folder.iterdir())


def _write(
    to: str,
    folder: Path,
    source: Path,
    precision: Dtype,
    with_preprocessing: bool,
    calibration: Sequence[Pixels],
) -> Written:
    if to == "hub":
        return _write_hub(source, folder, precision)
    if to == "torch":
        return writing.write_torch(folder, source, precision, with_preprocessing)
    write = writing.write_onnx if to == "onnx" else writing.write_openvino
    return write(folder, source, precision, with_preprocessing, calibration)


def _write_hub(source: Path, folder: Path, precision: Dtype) -> Written:
    import torch

    weights = hub_folder.write_weights(source, folder, licence_of(source), precision)
    return Written({"au": weights}, {"au": _open_reference(weights)[0]}, f"torch {torch.__version__}")


def _compare_detector(written: Written, faces: Faces) -> dict[str, dict[str, float]]:
    """Return how far the exported detector and landmark network agree with PyTorch."""
    from maeface.faces.torch_detector import TorchNetworks

    networks = TorchNetworks(EMBEDDED, "mobilenet0.25", "cpu")
    assert networks.landmark_net is not None, EMBEDDED
    reference: list[Floats] = []
    exported: list[Floats] = []
    for image in faces.images:
        batch = np.stack([image, image[:, ::-1], image[::-1]])
        reference += networks.detect(batch, -1.0)
        exported += list(written.networks["detector"](batch))
    side = (CROP_PX, CROP_PX)
    crops = np.stack([np.asarray(Image.fromarray(one).resize(side)) for one in faces.crops[:POINT_FACES]])
    points = networks.landmark_net(crops).reshape(len(crops), -1)
    moved = written.networks["points"](crops)
    parity.require_finite("points", points, moved)
    shift = np.abs(moved - points).max() * CROP_PX
    return {
        "detector": parity.compare_candidates(reference, exported),
        "points": {"px": float(shift), "faces": len(crops)},
    }


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Yield a folder beside ``out`` that gets its name on success, and is removed otherwise."""
    folder = out.absolute().parent / f".{out.name}.{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.replace(out)  # over an empty folder, too
    except OSError as error:
        raise ResourceError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
