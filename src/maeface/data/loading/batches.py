"""The one Dataset, and the batches that training and evaluation read from it.

What happens to a sample is a function of seed, sample and epoch (``order.draws``), so neither the number of
processes nor a restart changes it.

B samples, S the side of a crop as stored.
"""

import io
import itertools
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

from maeface.data import manifest
from maeface.data.loading import augment
from maeface.data.loading.order import Order, draws
from maeface.data.shards import Shards
from maeface.errors import ConfigError, DataError, MaefaceError, ResourceError

Batch = dict[str, Any]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
CACHE_BYTES = 256 * 2**20
"""Decoded crops that a process keeps; small sets are decoded once."""
PROBED = 16
SIDE_LIMIT = 4
RANDAUGMENT_FILL = (124, 116, 104)  # the mean colour of ImageNet


def gather(folders: Sequence[Path]) -> pd.DataFrame:
    """The manifests of several folders as one table, with a column ``folder`` (its place in ``folders``).

    Raises:
        ConfigError: no such folder.
        DataError: a folder without faces.
    """
    tables = [manifest.load(folder).assign(folder=place) for place, folder in enumerate(folders)]
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


class FaceDataset(Dataset[Batch]):
    """Crops and labels by index; a batch at a time, as uint8.

    Args:
        folders: prepared folders, or plain folders of crops.
        rows: of ``gather(folders)``.
        image_size: side that the model takes; stored crops are read at their own size, up to four times this.
        seed: of the run.
        labels: arrays with a row for each row; a batch has their rows under the same names.
        randaugment: timm's name ("rand-m9-mstd0.5-inc1"); empty for none.
        patches: how many numbers of mask noise a sample gets; 0 for none.
        training: False draws as if each epoch were the first, and does not augment.
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
        self._where = list(
            zip(rows["folder"], rows["shard"], rows["offset"], rows["size"], rows["source"], strict=True)
        )
        self._cache: dict[int, np.ndarray] = {}
        self._room = CACHE_BYTES
        self.side = self._common_side(SIDE_LIMIT * image_size)
        self._randaugment = _randaugment(randaugment, self.side) if randaugment and training else None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitems__(self, places: Sequence[tuple[int, int]]) -> Batch:
        """The batch of ``(index, epoch)`` pairs.

        Returns:
            ``image`` uint8 (B, 3, S, S), ``draws`` float32 (B, augment.DRAWS) and ``noise`` float32
            (B, patches) uniform on 0..1, ``index`` int64 (B,), ``id`` list of B str, and the labels.
            A MaefaceError is handed over under ``error``, for ``loader`` to raise it.
        """
        try:
            return self._batch([index for index, _ in places], [epoch for _, epoch in places])
        except MaefaceError as error:
            return {"error": error}

    def _batch(self, indices: list[int], epochs: list[int]) -> Batch:
        uniform = np.empty((len(indices), augment.DRAWS), dtype=np.float32)
        noise = np.empty((len(indices), self.patches), dtype=np.float32)
        pixels = np.empty((len(indices), self.side, self.side, 3), dtype=np.uint8)
        for row, (index, epoch) in enumerate(zip(indices, epochs, strict=True)):
            epoch = epoch if self.training else 0
            pixels[row] = self._pixels(index)
            if self.training:
                generator = draws(self.seed, "augment", epoch, index)
                uniform[row] = generator.random(augment.DRAWS, dtype=np.float32)
                if self._randaugment is not None:
                    seed = int(generator.integers(2**32))
                    pixels[row] = _with_global_seed(self._randaugment, pixels[row], seed)
            if self.patches:
                noise[row] = draws(self.seed, "mask", epoch, index).random(self.patches, dtype=np.float32)
        return {
            "image": torch.from_numpy(pixels).permute(0, 3, 1, 2),
            "draws": torch.from_numpy(uniform),
            "noise": torch.from_numpy(noise),
            "index": torch.tensor(indices),
            "id": [self.ids[index] for index in indices],
            **{name: torch.from_numpy(values[indices]) for name, values in self._labels.items()},
        }

    def _pixels(self, index: int) -> np.ndarray:
        """(S, S, 3) uint8."""
        if index in self._cache:
            return self._cache[index]
        image = self._open(index).convert("RGB")
        if image.size != (self.side, self.side):
            image = ImageOps.fit(image, (self.side, self.side), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        if self._room >= pixels.nbytes:
            self._room -= pixels.nbytes
            self._cache[index] = pixels
        return pixels

    def _open(self, index: int) -> Image.Image:
        folder, shard, offset, size, source = self._where[index]
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
        """The largest side among a few crops: all are brought to it, so that they fit in one batch."""
        probed = range(0, len(self.ids), max(1, len(self.ids) // PROBED))
        return min(max((min(self._open(index).size) for index in probed), default=1), limit)


class Loader:
    """The batches of a training, for ``train.loop.fit``.

    Args:
        dataset: what is read.
        order: which samples a step sees.
        micro_batch: samples in memory at once; None: all of this process's share.
        workers: processes that decode and augment; 0 does it in this one.
        rank: this process's number among ``world``; each takes its slice of every batch.
        world: how many processes train together.
        pin: read into page-locked memory, for a GPU.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        order: Order,
        micro_batch: int | None = None,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
    ) -> None:
        self.dataset, self.order = dataset, order
        self.micro_batch, self.workers, self.pin = micro_batch, workers, pin
        self.rank, self.world = rank, world

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""
        return self.order.steps_per_epoch

    def steps(self, start: int, stop: int) -> Iterator[Iterator[Batch]]:
        """For each step its micro-batches of this process; use them up before asking for the next step."""
        plan = (batch for step in range(start, stop) for batch in self._micro_batches(step))
        flat = load(self.dataset, plan, self.workers, self.pin)
        for step in range(start, stop):
            mine = len(self._share(step)[1])
            yield itertools.islice(flat, -(-mine // (self.micro_batch or max(mine, 1))))

    def _share(self, step: int) -> tuple[int, np.ndarray]:
        epoch, indices = self.order.indices(step)
        return epoch, np.array_split(indices, self.world)[self.rank]

    def _micro_batches(self, step: int) -> Iterator[list[tuple[int, int]]]:
        epoch, mine = self._share(step)
        size = self.micro_batch or max(len(mine), 1)
        for first in range(0, len(mine), size):
            yield [(int(index), epoch) for index in mine[first : first + size]]


def in_order(dataset: FaceDataset, batch: int, workers: int = 0, pin: bool = False) -> Iterator[Batch]:
    """Every sample once, in the order of the dataset: for evaluation."""
    indices = range(len(dataset))
    plan = ([(index, 0) for index in indices[first : first + batch]] for first in indices[::batch])
    return load(dataset, plan, workers if len(dataset) > batch else 0, pin)


def load(
    dataset: FaceDataset, plan: Iterable[list[tuple[int, int]]], workers: int, pin: bool = False
) -> Iterator[Batch]:
    """The batches of a plan, read ahead by ``workers`` processes.

    Args:
        dataset: what is read.
        plan: for each batch its ``(index, epoch)`` pairs.
        workers: processes; 0 reads in this one, when a batch is asked for.
        pin: page-locked memory, for a GPU.

    Raises:
        MaefaceError: what a worker met.
        ResourceError: a worker was killed.
    """
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_sampler=plan,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_training,
        generator=torch.Generator(),  # else it draws from the one that the training step has seeded
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )
    with warnings.catch_warnings():
        # the workers touch no thread of this process, which is what the warning is about
        warnings.filterwarnings(
            "ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning
        )
        batches = iter(loader)
    try:
        for batch in batches:
            if "error" in batch:
                raise batch["error"]
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ResourceError(
            "a process that reads the crops was killed, most likely for memory; use fewer run.workers or a "
            "smaller micro-batch"
        ) from error
    finally:
        _end(batches)


def _end(batches: Iterator[Batch]) -> None:
    """Tell the workers to end now, whoever still holds the iterator (an error's traceback does).

    As they ignore SIGTERM, Python would wait for them for ever when it exits.
    """
    shut_down = getattr(batches, "_shutdown_workers", None)  # a reader without workers has none
    if shut_down is not None:
        shut_down()


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401 - what the dataset gives is a batch already
    return batch


def _leave_signals_to_the_training(worker: int) -> None:
    """Ctrl-C reaches the whole process group; the training decides when to stop, then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _randaugment(name: str, side: int) -> Callable[[Image.Image], Image.Image]:
    from timm.data import auto_augment

    options = {
        "translate_const": int(side * 0.45),
        "img_mean": RANDAUGMENT_FILL,
        "interpolation": Image.Resampling.BICUBIC,
    }
    try:
        transform: Any = auto_augment.rand_augment_transform(name, options)
        if transform.choice_weights is not None and transform.num_layers > len(transform.ops):
            raise ValueError("more layers than operations, and none is drawn twice")
    except (AssertionError, KeyError, ValueError) as error:
        raise ConfigError(
            f"data.randaugment {name!r} is not a RandAugment of timm; give one like rand-m9-mstd0.5-inc1"
        ) from error
    for operation in transform.ops:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize
    return cast(Callable[[Image.Image], Image.Image], transform)


def _posterize(image: Image.Image, bits_to_keep: int, **_: object) -> Image.Image:
    """Keep the highest bits of each channel; none, which timm also draws and Pillow 13 refuses: black."""
    if bits_to_keep >= 8:
        return image
    return image.point([value & (-1 << (8 - bits_to_keep)) for value in range(256)] * 3)


def _with_global_seed(
    transform: Callable[[Image.Image], Image.Image], pixels: np.ndarray, seed: int
) -> np.ndarray:
    """Run a transform that draws from the global generators, seeded for it and put back after it."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        return np.asarray(transform(Image.fromarray(pixels)))
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
