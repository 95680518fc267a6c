"""``maeface-studio detector``: the training of the embedded face detector."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from maeface import checks, files
from maeface.errors import WeightsError
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import LANDMARK_PREFIX, locate_detector_weights
from maeface.faces.retinaface import RetinaFace
from maeface.faces.torch_detector import TorchNetworks, load_weights
from maeface_studio.detector import detection, landmarks
from maeface_studio.detector.cutouts import collect
from maeface_studio.detector.detection import Settings as DetectionSettings
from maeface_studio.detector.landmarks import Settings as LandmarkSettings
from maeface_studio.detector.training_state import Model, TrainingState

HEADER = {"maeface": "RetinaFace mobilenet0.25, by maeface_studio.detector"}
"""Metadata of the file. One entry only: the order of several is not fixed."""
EARLIER_HEADER = {"maeface": "RetinaFace mobilenet0.25, by maeface.distillation"}
"""Metadata of files from before the studio was a package, such as the embedded detector."""

VERSION = 2
"""Of losses, targets and pictures; raise it with each change, so that earlier checkpoints are refused."""


@dataclass(frozen=True)
class Settings:
    """Settings of the whole training.

    Attributes:
        detection: of the network that detects faces.
        landmarks: of the network that places points.
        exclude: names of files that must not be learned from.
    """

    detection: DetectionSettings = field(default_factory=DetectionSettings)
    landmarks: LandmarkSettings = field(default_factory=LandmarkSettings)
    exclude: tuple[str, ...] = ()

    def going_on(self) -> "Settings":
        """Return settings to train earlier weights further: the last phase of the detection of faces only."""
        return replace(self, detection=replace(self.detection, coarse=0))


def run(
    sources: Sequence[Path],
    out: Path,
    settings: Settings | None = None,
    seed: int = 0,
    teacher: Path | None = None,
    keep: Path | None = None,
    start: Path | None = None,
) -> Path:
    """Train a face detector on the outputs of another one (distillation).

    An interrupted training is continued by the same call from its checkpoints, which are written next to
    ``out`` and removed at the end.

    Args:
        sources: photographs, videos, folders of them, and tar files of photographs; their faces are pasted.
        out: the ``.safetensors`` file to write.
        settings: None for the defaults.
        seed: of the initial weights and of all random draws.
        teacher: weights of the teacher; None for the public ones, which are downloaded if necessary.
        keep: an earlier file; its network that detects faces is kept, and only the points are trained.
        start: an earlier file, to go on from; None for random weights. The detection of faces then has the
            second phase of its training only.

    Returns:
        ``out``.

    Raises:
        ConfigError: a source does not exist, or ``out`` has another suffix.
        DataError: no source contains a face.
        WeightsError: the teacher's weights, the file to keep, or a checkpoint are wrong.
        ResourceError: the teacher's weights are not available.
    """
    checks.require_writable_file(out, "detectors", (".safetensors",))
    settings = settings or Settings()
    teacher = teacher or locate_detector_weights("mobilenet0.25", "public")
    detector = Detector(teacher)
    kept = _load_kept(keep) if keep else None
    if start is not None:
        _load_kept(start)  # errors are reported before the faces are collected
    material = collect(sources, detector, settings.exclude)
    identity: dict[str, object] = {
        "version": VERSION,
        "seed": seed,
        "teacher": files.sha256(teacher),
        "material": material.digest(),
    }
    if start is not None:
        identity["start"] = files.sha256(start)
        settings = settings.going_on()
    placing, finding = out.with_suffix(".placing.ckpt"), out.with_suffix(".finding.ckpt")
    make_placing = partial(landmarks.new_model, start)
    landmark_state = _new_state(make_placing, settings.landmarks, seed, placing, identity)
    if kept is None:
        make_finding = partial(detection.new_model, start)
        state = _new_state(make_finding, settings.detection, seed, finding, identity)
        network = TorchNetworks(teacher, "mobilenet0.25", "cpu").network
        model = detection.train(state, material, network, settings.detection, seed)
        kept = detection.shift_logits(_to_half(model.detector_state()))
    points = landmarks.train(landmark_state, material, settings.landmarks, seed).state_dict()
    write_detector(out, kept | {LANDMARK_PREFIX + name: value for name, value in _to_half(points).items()})
    for checkpoint in (placing,) if keep else (placing, finding):
        checkpoint.unlink(missing_ok=True)
    return out


def write_detector(path: Path, state: dict[str, Tensor]) -> None:
    """Write the file of a detector."""
    files.write_bytes(path, to_safetensors(state, HEADER))


def _new_state(
    make: Callable[[], Model],
    settings: DetectionSettings | LandmarkSettings,
    seed: int,
    checkpoint: Path,
    identity: Mapping[str, object],
) -> TrainingState[Model]:
    return TrainingState(make, settings.decay, seed, checkpoint, {**asdict(settings), **identity})


def _to_half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert kernels to float16; vectors stay float32, as variances may be outside its range."""
    return {name: value.half().contiguous() if value.ndim > 1 else value for name, value in state.items()}


def _load_kept(path: Path) -> dict[str, Tensor]:
    """Load the network that detects faces from a file of an earlier training."""
    model = RetinaFace()
    load_weights(model, path)
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata()
    except SafetensorError:
        header = None
    if header not in (HEADER, EARLIER_HEADER):
        raise WeightsError(
            f"{path} was not made by maeface-studio detector; "
            "only a file that it made can be kept or started from"
        )
    return _to_half(model.state_dict())
