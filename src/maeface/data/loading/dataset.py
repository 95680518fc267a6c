"""The crops of prepared folders and their labels, as one PyTorch dataset.

The random numbers of a sample are a function of seed, epoch and sample (``sampling.keyed_generator``), so
neither the number of processes nor a restart changes them.

B samples, S the side of a crop as read.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset, get_worker_info

from maeface.data import manifest
from maeface.data.loading import augmentation
from maeface.data.loading.randaugment import apply_seeded, build_randaugment
from maeface.data.loading.sampling import keyed_generator
from maeface.data.shards import Shards
from maeface.errors import DataError, MaefaceError
from maeface.faces.photo import decode_image, image_format_of

Batch = dict[str, Any]
Samples = Sequence[tuple[int, int]]
"""``(index, epoch)`` pairs."""

FORMATS = ("jpeg", "png", "webp", "bmp")
CACHE_BYTES = 512 * 2**20
"""Memory for decoded crops, of all processes that read a dataset; a small one is decoded once."""
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

    Its columns are NumPy and Arrow arrays: reading a list of Python objects would copy it, page by page, into
    every worker process.

    Args:
        folders: prepared folders, or plain folders of crops.
        rows: of ``gather_manifests(folders)``.
        image_size: side that the model takes; stored crops are read at their own size, up to four times this.
        seed: of the run.
        labels: {name: array with a row for each of ``rows``}; a batch has their rows under the same names.
        randaugment: timm's name ("rand-m9-mstd0.5-inc1"); empty for none.
        patches: the length of a sample's ``noise``, for its mask or its drop path; 0 for none.
        training: False uses the random numbers of the first epoch in each, and does not augment.
        least_area: smallest fraction of a crop that ``augmentation.random_crops`` cuts. JPEGs are decoded at
            a half or less of their size where that leaves such a part at least ``image_size`` pixels. None,
            or with ``randaugment``: at their own size.

    Attributes:
        ids: of the faces.
        side: S, of all crops.
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
        least_area: float | None = None,
    ) -> None:
        self.seed, self.patches, self.training = seed, patches, training
        self.ids = _texts(rows["id"])
        self._labels = {name: np.ascontiguousarray(values) for name, values in (labels or {}).items()}
        self._shards = [Shards(folder) for folder in folders]
        codes, names = pd.factorize(rows["shard"])  # -1: a file of a plain folder
        self._shard, self._shard_names = codes.astype(np.int32), [str(name) for name in names]
        self._folder = rows["folder"].to_numpy(np.int32)
        self._offset, self._size = (rows[name].fillna(-1).to_numpy(np.int64) for name in ("offset", "size"))
        self._source = _texts(rows["source"].where(codes < 0))
        self._cache: dict[int, np.ndarray] = {}
        self._least = 0 if not least_area or randaugment else _least_side(image_size, least_area)
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
            codes = np.unique(self._shard[(self._folder == position) & (self._shard >= 0)])
            shards.check(self._shard_names[code] for code in codes)

    def __getitems__(self, samples: Samples) -> Batch:
        """Return the batch of ``(index, epoch)`` pairs.

        Returns:
            ``image`` uint8 (B, 3, S, S), ``draws`` float32 (B, augmentation.DRAWS) and ``noise`` float32
            (B, patches) uniform on 0..1, ``index`` int64 (B,), ``id`` list of B str, and the labels.
            A MaefaceError is returned under ``error``, for ``loader.load`` to raise it.
        """
        try:
            pixels = np.empty((len(samples), self.side, self.side, 3), dtype=np.uint8)
            for row, (index, _) in enumerate(samples):
                pixels[row] = self._pixels(index)
            return {"image": torch.from_numpy(pixels).permute(0, 3, 1, 2), **self.draw(samples, pixels)}
        except MaefaceError as error:
            return {"error": error}

    def draw(self, samples: Samples, pixels: np.ndarray | None = None) -> Batch:
        """Return a batch without its images: random numbers, indices, ids and labels.

        Args:
            samples: as for a batch.
            pixels: (B, S, S, 3) uint8, to be changed by RandAugment.
        """
        uniform = np.empty((len(samples), augmentation.DRAWS), dtype=np.float32)
        noise = np.empty((len(samples), self.patches), dtype=np.float32)
        for row, (index, epoch) in enumerate(samples):
            epoch = epoch if self.training else 0
            if self.training:
                generator = keyed_generator(self.seed, "augment", epoch, index)
                uniform[row] = generator.random(augmentation.DRAWS, dtype=np.float32)
                if self._randaugment is not None and pixels is not None:
                    seed = int(generator.integers(2**32))
                    pixels[row] = apply_seeded(self._randaugment, pixels[row], seed)
            if self.patches:
                generator = keyed_generator(self.seed, "mask", epoch, index)
                noise[row] = generator.random(self.patches, dtype=np.float32)
        indices = [index for index, _ in samples]
        return {
            "draws": torch.from_numpy(uniform),
            "noise": torch.from_numpy(noise),
            "index": torch.tensor(indices),
            "id": [self.ids[index].as_py() for index in indices],
            **{name: torch.from_numpy(values[indices]) for name, values in self._labels.items()},
        }

    def _pixels(self, index: int) -> np.ndarray:
        """Return the crop, (S, S, 3) uint8."""
        if index in self._cache:
            return self._cache[index]
        pixels = self._decode(index)
        if pixels.shape[:2] != (self.side, self.side):
            image = ImageOps.fit(Image.fromarray(pixels), (self.side, self.side), Image.Resampling.BICUBIC)
            pixels = np.asarray(image)
        worker = get_worker_info()
        room = CACHE_BYTES // (worker.num_workers if worker else 1)
        # Nothing is evicted: an epoch reads each crop once, so what was read last is needed last.
        if (len(self._cache) + 1) * pixels.nbytes <= room:
            self._cache[index] = pixels
        return pixels

    def _read(self, index: int) -> bytes:
        """Return the encoded crop."""
        shards: Shards = self._shards[self._folder[index]]
        if (code := self._shard[index]) < 0:
            return shards.read_file(self._source[index].as_py())
        return shards.read_range(self._shard_names[code], int(self._offset[index]), int(self._size[index]))

    def _decode(self, index: int) -> np.ndarray:
        """Return the crop as it is stored, or a half or less of it, (H, W, 3) uint8."""
        data = self._read(index)
        try:
            if (name := image_format_of(data)) not in FORMATS:
                raise DataError(f"it is {name}")
            return decode_image(data, name, min_side=1, least=self._least)
        except DataError as error:
            raise DataError(
                f"{self.ids[index]} in {self._shards[self._folder[index]].folder} is not a whole JPEG, PNG, "
                f"WebP or BMP crop ({error}); run `maeface prepare` on the folder, it leaves out what is "
                "damaged"
            ) from error

    def _common_side(self, limit: int) -> int:
        """Return the largest side among a few crops, to which all are resized so that they form a batch."""
        probed = range(0, len(self), max(1, len(self) // PROBED_CROPS))
        return min(max((min(self._decode(index).shape[:2]) for index in probed), default=1), limit)


def _least_side(image_size: int, area: float) -> int:
    """Return the side of a crop of which the narrowest part of this area has ``image_size`` pixels."""
    return math.ceil(image_size / math.sqrt(area * augmentation.CROP_RATIO[0]))


def _texts(column: pd.Series) -> pa.LargeStringArray:
    """Return a column of texts as one Arrow array; what is missing is null."""
    array = pa.array(column, pa.large_string(), from_pandas=True)
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return cast(pa.LargeStringArray, whole)
