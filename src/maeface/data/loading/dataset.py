"""The crops of prepared folders and their labels, as one PyTorch dataset.

The random numbers of a sample are a function of seed, epoch and sample (``sampling.keyed_generator``), so
neither the number of processes nor a restart changes them.

B samples, S the side of a crop as stored.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from maeface.data import manifest
from maeface.data.loading import augmentation
from maeface.data.loading.randaugment import apply_seeded, build_randaugment
from maeface.data.loading.sampling import keyed_generator
from maeface.data.shards import Shards
from maeface.errors import DataError, MaefaceError

Batch = dict[str, Any]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
CACHE_BYTES = 256 * 2**20
"""Memory for decoded crops in each process; a small dataset is decoded once."""
PROBED_CROPS = 16
"""How many crops are opened to choose the common side."""
SIDE_LIMIT = 4
"""Crops are read at no more than so many times the side that the model takes."""


def gather_manifests(folders: Sequence[Path]) -> pd.DataFrame:
    """Read the manifests of several folders as one table, with a column ``folder`` (position in ``folders``).

    Raises:
        ConfigError: no such folder.
        DataError: a folder without faces.
    """
    tables = [manifest.load(folder).assign(folder=position) for position, folder in enumerate(folders)]
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


class FaceDataset(Dataset[Batch]):
    """Crops and labels by index, a batch at a time, as uint8.

    Args:
        folders: prepared folders, or plain folders of crops.
        rows: of ``gather_manifests(folders)``.
        image_size: side that the model takes; stored crops are read at their own size, up to four times this.
        seed: of the run.
        labels: {name: array with a row for each of ``rows``}; a batch has their rows under the same names.
        randaugment: timm's name ("rand-m9-mstd0.5-inc1"); empty for none.
        patches: the length of a sample's mask noise; 0 for none.
        training: False uses the random numbers of the first epoch in each, and does not augment.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        rows: pd.DataFrame,
        image_size: int,
        seed: int,
        labels: Mapping[str, np.ndarray] | None = None,
        randaugment: str = "",
        patches: int = 0,
        training: bool = True,
    ) -> None:
        self.seed, self.patches, self.training = seed, patches, training
        self.ids = [str(value) for value in rows["id"]]
        self._labels = {name: np.ascontiguousarray(values) for name, values in (labels or {}).items()}
        self._shards = [Shards(folder) for folder in folders]
        self._locations = list(
            zip(rows["folder"], rows["shard"], rows["offset"], rows["size"], rows["source"], strict=True)
        )
        self._cache: dict[int, np.ndarray] = {}
        self._cache_room = CACHE_BYTES
        self.side = self._common_side(SIDE_LIMIT * image_size)
        self._randaugment = build_randaugment(randaugment, self.side) if randaugment and training else None

    def __len__(self) -> int:
        return len(self.ids)

    def check(self) -> None:
        """Check the shards of all crops in this process, so that its workers need not; see ``Shards.check``.

        Raises:
            DataError: a shard is missing, truncated or altered.
        """
        for position, shards in enumerate(self._shards):
            shards.check(
                {
                    shard
                    for folder, shard, *_ in self._locations
                    if folder == position and isinstance(shard, str)
                }
            )

    def __getitems__(self, samples: Sequence[tuple[int, int]]) -> Batch:
        """Return the batch of ``(index, epoch)`` pairs.

        Returns:
            ``image`` uint8 (B, 3, S, S), ``draws`` float32 (B, augmentation.DRAWS) and ``noise`` float32
            (B, patches) uniform on 0..1, ``index`` int64 (B,), ``id`` list of B str, and the labels.
            A MaefaceError is returned under ``error``, for ``loader.load`` to raise it.
        """
        try:
            return self._batch([index for index, _ in samples], [epoch for _, epoch in samples])
        except MaefaceError as error:
            return {"error": error}

    def _batch(self, indices: list[int], epochs: list[int]) -> Batch:
        uniform = np.empty((len(indices), augmentation.DRAWS), dtype=np.float32)
        noise = np.empty((len(indices), self.patches), dtype=np.float32)
        pixels = np.empty((len(indices), self.side, self.side, 3), dtype=np.uint8)
        for row, (index, epoch) in enumerate(zip(indices, epochs, strict=True)):
            epoch = epoch if self.training else 0
            pixels[row] = self._pixels(index)
            if self.training:
                generator = keyed_generator(self.seed, "augment", epoch, index)
                uniform[row] = generator.random(augmentation.DRAWS, dtype=np.float32)
                if self._randaugment is not None:
                    seed = int(generator.integers(2**32))
                    pixels[row] = apply_seeded(self._randaugment, pixels[row], seed)
            if self.patches:
                generator = keyed_generator(self.seed, "mask", epoch, index)
                noise[row] = generator.random(self.patches, dtype=np.float32)
        return {
            "image": torch.from_numpy(pixels).permute(0, 3, 1, 2),
            "draws": torch.from_numpy(uniform),
            "noise": torch.from_numpy(noise),
            "index": torch.tensor(indices),
            "id": [self.ids[index] for index in indices],
            **{name: torch.from_numpy(values[indices]) for name, values in self._labels.items()},
        }

    def _pixels(self, index: int) -> np.ndarray:
        """Return the crop, (S, S, 3) uint8."""
        if index in self._cache:
            return self._cache[index]
        image = self._open(index).convert("RGB")
        if image.size != (self.side, self.side):
            image = ImageOps.fit(image, (self.side, self.side), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        if self._cache_room >= pixels.nbytes:
            self._cache_room -= pixels.nbytes
            self._cache[index] = pixels
        return pixels

    def _open(self, index: int) -> Image.Image:
        folder, shard, offset, size, source = self._locations[index]
        shards = self._shards[folder]
        stored = isinstance(shard, str)
        data = shards.read_range(shard, int(offset), int(size)) if stored else shards.read_file(str(source))
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            image.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{self.ids[index]} in {shards.folder} is not a whole JPEG, PNG, WebP or BMP crop ({error}); "
                "run `maeface prepare` on the folder, it leaves out what is damaged"
            ) from error
        return image if stored else ImageOps.exif_transpose(image)

    def _common_side(self, limit: int) -> int:
        """Return the largest side among a few crops, to which all are resized so that they form a batch."""
        probed = range(0, len(self.ids), max(1, len(self.ids) // PROBED_CROPS))
        return min(max((min(self._open(index).size) for index in probed), default=1), limit)
