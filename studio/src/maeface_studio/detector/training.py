"""The training of the embedded detector: material, two networks, one file of half-precision numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from maeface import files
from maeface.errors import WeightsError
from maeface.faces.detector import POINTS, Detector, load
from maeface.faces.download import retinaface_weights
from maeface.faces.points import PointNet
from maeface.faces.retinaface import RetinaFace
from maeface_studio.detector import finding, placing
from maeface_studio.detector.cutouts import collect
from maeface_studio.detector.finding import Settings as Finding
from maeface_studio.detector.learner import Learner
from maeface_studio.detector.placing import Settings as Placing

MARGIN = 0.85  # taken off the logit in the file: clothes of the training's portraits score up to about 0.7
HEADER = {
    "maeface": "RetinaFace mobilenet0.25, by maeface_studio.detector"
}  # of several, the order would vary


@dataclass(frozen=True)
class Settings:
    """Of the whole.

    Attributes:
        finding: of the network that finds faces.
        placing: of the network that places points.
        exclude: names of files that must not be learned from.
    """

    finding: Finding = field(default_factory=Finding)
    placing: Placing = field(default_factory=Placing)
    exclude: tuple[str, ...] = ()


def train(
    sources: Sequence[Path],
    out: Path,
    settings: Settings | None = None,
    seed: int = 0,
    teacher: Path | None = None,
    keep: Path | None = None,
) -> Path:
    """Teach new networks what another one answers.

    The same call goes on with a run that was stopped: beside ``out`` lie its checkpoints, until it is done.

    Args:
        sources: photographs, videos, folders of them, tar files of photographs; their faces are pasted.
        out: the file to write, ``.safetensors``.
        settings: how; None for the defaults.
        seed: of the initial weights and of all draws.
        teacher: weights of the teacher; None for the public ones, downloaded if they are not at hand.
        keep: an earlier file, whose network that finds faces is taken as it is; only points are learned anew.

    Returns:
        ``out``.

    Raises:
        ConfigError: a source does not exist.
        DataError: there is no face in the sources.
        WeightsError: the teacher's weights, the file to keep, or a checkpoint are wrong.
        ResourceError: the teacher's weights are not there and cannot be had.
    """
    settings = settings or Settings()
    teacher = teacher or retinaface_weights("mobilenet0.25", "public")
    detector = Detector(teacher)
    kept = _found_in(keep) if keep else None
    material = collect(sources, detector, settings.exclude)
    of = {"seed": seed, "teacher": files.sha256(teacher), "material": material.digest()}
    place = {**asdict(settings.placing), **of}
    to_place = Learner(PointNet, settings.placing.decay, seed, out.with_suffix(".placing.ckpt"), place)
    checkpoints = [to_place.checkpoint]
    if kept is None:
        find = {**asdict(settings.finding), **of}
        to_find = Learner(
            finding.student, settings.finding.decay, seed, out.with_suffix(".finding.ckpt"), find
        )
        checkpoints.append(to_find.checkpoint)
        found = finding.train(to_find, material, detector.network, settings.finding, seed)
        kept = _rounded(found.state_dict())
    placed = placing.train(to_place, material, settings.placing, seed).state_dict()
    write(out, kept | {POINTS + name: value for name, value in _half(placed).items()})
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return out


def write(path: Path, state: dict[str, Tensor]) -> None:
    """Write the file of the embedded detector."""
    files.write_bytes(path, to_safetensors(state, HEADER))


def _half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels as float16, the few other numbers (variances!) as float32."""
    return {name: value.half() if value.ndim > 1 else value for name, value in state.items()}


def _rounded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a file holds of the network that finds faces."""
    state = _half(state)
    for name in [name for name in state if name.startswith("ClassHead") and name.endswith("bias")]:
        state[name] = state[name] - torch.tensor([0.0, MARGIN] * 2)
    return state


def _found_in(path: Path) -> dict[str, Tensor]:
    """The first network of a file that ``write`` wrote, as it is there."""
    network = RetinaFace()
    load(network, path)
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata()
    except SafetensorError:
        header = None
    if header != HEADER:
        raise WeightsError(f"{path} is not of maeface_studio.detector; only what it wrote can be kept")
    return _half(network.state_dict())
