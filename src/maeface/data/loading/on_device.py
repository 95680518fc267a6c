"""All crops of a dataset in the memory of the training device, from which batches are gathered.

N faces, B samples, S the side of a crop as read.
"""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from maeface import console, portable
from maeface.data.loading.dataset import Batch, FaceDataset, Samples
from maeface.data.loading.loader import load_in_order
from maeface.errors import ResourceError

READ_TOGETHER = 256
SHARE = 0.5
"""Of the memory that is free on a GPU, or of the machine's; the rest is for the training."""


class OnDevice(Dataset[Batch]):
    """Gives the batches of a ``FaceDataset``, the same to the bit, with ``image`` on the device.

    All crops are read once, when it is made.

    Args:
        dataset: without RandAugment, which Pillow does.
        device: of the training.
        workers: processes that read; None as in ``loader.load``.
        shown: whether to show the progress.

    Raises:
        DataError: a crop is damaged.
        ResourceError: the crops do not fit.
    """

    def __init__(
        self, dataset: FaceDataset, device: torch.device, workers: int | None, shown: bool = True
    ) -> None:
        self._dataset, self._device = dataset, device
        _require_memory(len(dataset), dataset.side, device)
        self._crops = torch.empty(
            (len(dataset), dataset.side, dataset.side, 3), dtype=torch.uint8, device=device
        )
        pin = device.type == "cuda"
        with console.progress("read", len(dataset), "faces", shown=shown) as advance:
            for batch in load_in_order(dataset, READ_TOGETHER, workers, pin):
                index = batch["index"]
                crops = self._crops[int(index[0]) : int(index[-1]) + 1]
                crops.copy_(batch["image"].permute(0, 2, 3, 1), non_blocking=True)
                advance(len(index))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, samples: Samples) -> Batch:
        """Return the batch of ``(index, epoch)`` pairs; ``image`` is on the device, all else is not."""
        batch = self._dataset.draw(samples)
        if self._device.type == "cuda":  # from other memory, a copy would wait for the steps before it
            batch = {
                name: value.pin_memory() if isinstance(value, Tensor) else value
                for name, value in batch.items()
            }
        index = batch["index"].to(self._device, non_blocking=True)
        return {"image": self._crops.index_select(0, index).permute(0, 3, 1, 2), **batch}


def _require_memory(count: int, side: int, device: torch.device) -> None:
    """Raise ResourceError if N crops of S x S pixels do not fit into a device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # else memory that PyTorch keeps for later counts as used
        there, what = torch.cuda.mem_get_info(device)[0], "free memory"
    else:
        if (memory := portable.memory_bytes()) is None:
            return
        there, what = memory, "memory"
    needed, most = count * side * side * 3, int(SHARE * there)
    if needed > most:
        raise ResourceError(
            f"data.on_device: {count} crops of {side} px take {needed / 2**30:.1f} GiB, and may take "
            f"{most / 2**30:.1f}, half of the {what} of {device}; leave data.on_device out"
        )
