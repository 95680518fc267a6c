"""An AU model in PyTorch, on any device."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from maeface.config import Precision
from maeface.model import preprocessing
from maeface.model.device import choose_device, computes_bf16
from maeface.model.weights import load_model
from maeface.prediction.values import Crops, Output, stack_by_side
from maeface.runtime import backends
from maeface.runtime.backends import Backend

CROPS_TOGETHER = 64
CROPS_TOGETHER_ON_GPU = 256


class TorchNetwork:
    """An AU model in PyTorch; see ``networks.AUNetwork`` and ``networks.open_au_network``.

    Attributes:
        model: the model, in evaluation mode, on its device.
    """

    backend: Backend = "torch"

    def __init__(self, weights: Path, device: str, precision: Precision, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = choose_device(device)
        self.precision: backends.Precision = "bf16" if computes_bf16(precision, self._device) else "fp32"
        model, self.metadata = load_model(weights)
        self.model = model.to(self._device)
        self.device = str(self._device)
        self._together = CROPS_TOGETHER if self.device == "cpu" else CROPS_TOGETHER_ON_GPU

    @torch.inference_mode()
    def compute(self, crops: Crops, output: Output, mirror: bool = True) -> NDArray[np.float32]:
        """Return an output for crops; see ``networks.AUNetwork``."""
        settings = self.metadata.preprocessing
        results: list[torch.Tensor] = []
        for start in range(0, len(crops), self._together):
            tensors = [
                torch.as_tensor(stack, device=self._device).permute(0, 3, 1, 2)
                for stack in stack_by_side(crops[start : start + self._together])
            ]
            inputs = torch.cat(
                [preprocessing.to_input(x, settings.image_size, settings.mean, settings.std) for x in tensors]
            )
            mirrored = mirror and settings.mirror and output == "head"
            views = [inputs, inputs.flip(3)] if mirrored else [inputs]
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                features = [self.model.features(view) for view in views]
                if output == "features":
                    results.append(features[0].float())
                    continue
                heads = [self.model.head(one).float() for one in features]
            if self.model.unlike is not None:
                heads = [
                    torch.cat([head, self.model.unlike(one.float())[:, None]], dim=1)
                    for head, one in zip(heads, features, strict=True)
                ]
            results.append(torch.stack(heads))
        values: NDArray[np.float32] = torch.cat(results, dim=-2).cpu().numpy()  # waits for the GPU once
        return values
