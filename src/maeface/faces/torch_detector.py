"""The networks of the face detector in PyTorch: loading, and detection on any device."""

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maeface.errors import ResourceError, WeightsError
from maeface.faces.anchors import MEAN_BGR
from maeface.faces.detector_weights import LANDMARK_PREFIX, Backbone
from maeface.faces.imaging import Stack
from maeface.faces.landmark_net import LandmarkNet
from maeface.faces.landmarks import LandmarkFunction
from maeface.faces.retinaface import RetinaFace, decode, fuse_batch_norms, make_anchors, parameter_shapes

_MAX_CACHED_SHAPES = 64


class TorchNetworks:
    """RetinaFace and the landmark network on a device; see ``detector.Networks``.

    Args:
        weights: a checkpoint.
        backbone: as in ``RetinaFace``.
        device: of PyTorch.
        bfloat16: whether the convolutions of RetinaFace are computed in bfloat16.
        threads: of PyTorch on a CPU, for the whole process; None leaves them as they are.

    Raises:
        WeightsError: the file is not such a checkpoint.
        ResourceError: the device is not available.
    """

    def __init__(
        self,
        weights: Path,
        backbone: Backbone,
        device: str,
        bfloat16: bool = False,
        threads: int | None = None,
    ) -> None:
        network = RetinaFace(backbone)
        landmark_net = load_weights(network, weights)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            self._device = torch.device(device)
            network = fuse_batch_norms(network.eval()).requires_grad_(False).to(self._device)
            self.network = network.to(memory_format=torch.channels_last)
            self.landmark_net: LandmarkFunction | None = None
            if landmark_net is not None:
                landmark_net = fuse_batch_norms(landmark_net.eval()).requires_grad_(False).to(self._device)
                self.landmark_net = as_function(landmark_net)
        except (RuntimeError, AssertionError) as error:
            raise ResourceError(
                f"the face detector cannot use device {device}: {str(error).splitlines()[0]}"
            ) from error
        self.device = str(self._device)
        self._bfloat16 = bfloat16
        self.mean = torch.tensor(MEAN_BGR, device=self._device).view(3, 1, 1)
        self._anchors: dict[tuple[int, int], Tensor] = {}

    @torch.inference_mode()
    def detect(self, images: Stack, threshold: float) -> list[NDArray[np.float32]]:
        """Return the candidates of each image; see ``detector.Networks``."""
        pixels = torch.as_tensor(images, device=self._device)  # (B, H, W, 3)
        x = pixels.permute(0, 3, 1, 2).flip(1).float().sub_(self.mean)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            logits, boxes, landmarks = self.network(x)
        scores = (logits[..., 1].float() - logits[..., 0].float()).sigmoid()  # (B, A)
        anchors = self._cached_anchors(*pixels.shape[1:3])
        image, anchor = torch.nonzero(scores > threshold, as_tuple=True)  # of all images together
        box, points = decode(anchors[anchor], boxes[image, anchor].float(), landmarks[image, anchor].float())
        row = torch.cat([image[:, None], box, points.flatten(1), scores[image, anchor, None]], dim=1)
        values = row[torch.isfinite(row).all(dim=1)].cpu().numpy()
        ends = np.searchsorted(values[:, 0], np.arange(1, len(pixels)))
        return [cast(NDArray[np.float32], rows[:, 1:]) for rows in np.split(values, ends)]

    def _cached_anchors(self, height: int, width: int) -> Tensor:
        anchors = self._anchors.get((height, width))
        if anchors is None:
            if len(self._anchors) >= _MAX_CACHED_SHAPES:
                self._anchors.clear()
            anchors = self._anchors[height, width] = make_anchors(height, width).to(self._device)
        return anchors


def as_function(network: LandmarkNet) -> LandmarkFunction:
    """Return a landmark network, in evaluation mode, as a function of arrays."""

    @torch.inference_mode()
    def run(crops: Stack) -> NDArray[np.float32]:
        pixels = torch.as_tensor(crops, device=network.mean_shape.device)
        points: NDArray[np.float32] = network(pixels.permute(0, 3, 1, 2).float()).cpu().numpy()
        return points

    return run


def load_weights(network: RetinaFace, path: Path) -> LandmarkNet | None:
    """Load a checkpoint, public or ``.safetensors``, into ``network``, by name and strictly.

    Returns:
        the landmark network, if the file holds one too.

    Raises:
        WeightsError: the file cannot be read, or its names or shapes differ from the network's.
    """
    try:
        data = path.read_bytes()
        state: Any = (
            safetensors.torch.load(data)
            if path.suffix == ".safetensors"
            else torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        )
    except FileNotFoundError as error:
        raise WeightsError(f"no face detector weights at {path}") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes may raise any exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} is not a RetinaFace checkpoint: {reason}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a RetinaFace checkpoint: expected a dictionary of tensors")
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    landmark_state = {
        name.removeprefix(LANDMARK_PREFIX): state.pop(name)
        for name in list(state)
        if name.startswith(LANDMARK_PREFIX)
    }
    _load_state(network, state, path, "this backbone", "choose the backbone it was made for")
    if not landmark_state:
        return None
    landmark_net = LandmarkNet()
    _load_state(landmark_net, landmark_state, path, "the landmark network", "get the file again")
    return landmark_net


def _load_state(network: nn.Module, state: dict[str, Tensor], path: Path, target: str, advice: str) -> None:
    expected = dict(parameter_shapes(network))
    wrong = [
        name
        for name in expected.keys() | state.keys()
        if name not in state or tuple(state[name].shape) != expected.get(name)
    ]
    if wrong:
        raise WeightsError(
            f"{path} does not fit {target}: {len(wrong)} of {len(expected)} parameters are missing, "
            f"unexpected or of another shape, for example {min(wrong)}; {advice}"
        )
    network.load_state_dict(state)
