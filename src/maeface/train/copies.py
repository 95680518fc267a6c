"""Copies between the CPU and the device of a training, for which neither of the two waits."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Any]


class Copier:
    """Copies batches to a device; to a GPU on a stream of its own, while the step before is computed.

    Args:
        device: of the training.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with its tensors on the device; those in page-locked memory are not waited for."""
        if self._stream is None:
            return move(batch, self.device)
        with torch.cuda.stream(self._stream):
            moved = move(batch, self.device)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._stream)
        for name, value in moved.items():
            if isinstance(value, Tensor) and value is not batch[name]:
                value.record_stream(computing)  # else its memory is used again too early
        return moved


def move(batch: Batch, device: torch.device | str) -> Batch:
    """Return a batch with its tensors on a device; those in page-locked memory are not waited for."""
    return {
        name: value.to(device, non_blocking=device != "cpu") if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def to_host(values: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """Return values on the CPU, and a function that waits until they are there.

    Reading a value on a GPU would wait for all that was begun on it, the next step too.
    """
    if values.device.type != "cuda":
        return values, lambda: None
    host = values.to("cpu", non_blocking=True)  # page-locked memory
    return host, torch.cuda.current_stream(values.device).record_event().synchronize
