"""Samples a second of the training loader, beside torchvision's ImageFolder and timm's loader, in turns.

    python benchmarks/loader.py FOLDER --samples 2000 --workers 2 --rounds 5

All read the JPEG crops of a prepared FOLDER, without a cache of decoded pixels. ImageFolder and timm read
them as files, decode with Pillow, and crop and flip each sample in a worker. The workers of maeface decode,
and the batch is cropped and flipped afterwards, here in the training process; "read" leaves that out, as it
is done on a GPU. In each round every tool has one pass over the samples, without the start of its workers.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from timm.data import create_dataset, create_loader
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from maeface.data.loading import augmentation
from maeface.data.loading import dataset as dataset_module
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.loader import Loader
from maeface.data.loading.on_device import OnDevice
from maeface.data.loading.sampling import BatchOrder
from maeface.data.shards import Shards
from maeface.model import preprocessing

SCALE = (0.2, 1.0)
BATCH = 64
Pass = Callable[[], Iterator[int]]
"""One pass; yields the sizes of its batches."""


def write_files(folder: Path, rows: pd.DataFrame, out: Path) -> None:
    """Write the crops as files of one class, as ImageFolder wants them."""
    shards = Shards(folder)
    (out / "face").mkdir()
    for number, (_, row) in enumerate(rows.iterrows()):
        (out / "face" / f"{number:06d}.jpg").write_bytes(shards.read(row))


def of_torchvision(files: Path, side: int, workers: int) -> Pass:
    """Return a pass of ImageFolder with RandomResizedCrop and a flip, as in the official code of MAE."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(side, SCALE, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    data = datasets.ImageFolder(files, transform)
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (len(images) for images, _ in loader)


def of_timm(files: Path, side: int, workers: int) -> Pass:
    """Return a pass of timm's loader with its random-resized crop and flip; it normalises the whole batch."""
    loader = create_loader(
        create_dataset("", root=files),
        (3, side, side),
        BATCH,
        is_training=True,
        scale=SCALE,
        hflip=0.5,
        color_jitter=None,
        interpolation="bicubic",
        num_workers=workers,
        persistent_workers=workers > 0,
        device=torch.device("cpu"),
        pin_memory=False,
    )
    return lambda: (len(images) for images, _ in loader)


def of_maeface(loader: Loader, side: int, crop: bool) -> Pass:
    """Return a pass of a loader; its workers start anew, else they read ahead in the turns of others."""

    def one_pass() -> Iterator[int]:
        for step in loader.steps(0, loader.steps_per_epoch):
            for batch in step:
                if crop:
                    crops = augmentation.random_crops(batch["draws"], SCALE, flip=True)
                    pixels = preprocessing.as_float(batch["image"])
                    preprocessing.normalize(augmentation.resample(pixels, crops, side))
                yield len(batch["id"])

    return one_pass


def rate(one_pass: Pass, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return samples a second from the second batch to the last."""
    sizes = one_pass()
    next(sizes)
    began = clock()
    count = sum(sizes)
    return count / (clock() - began)


def passes(folder: Path, side: int, samples: int, workers: int, files: Path) -> dict[str, Pass]:
    """Return a pass over the crops of a prepared folder for each loader; its workers have started.

    Args:
        folder: prepared.
        side: that the model takes.
        samples: most crops to read.
        workers: of each loader.
        files: an empty folder, where the crops are written as ImageFolder wants them.
    """
    rows = gather_manifests([folder]).iloc[:samples]
    order = BatchOrder(len(rows), BATCH, seed=0)
    write_files(folder, rows, files)

    def ours() -> FaceDataset:
        return FaceDataset([folder], rows, side, seed=0, patches=(side // 16) ** 2, least_area=SCALE[0])

    on_device = OnDevice(ours(), torch.device("cpu"), workers)
    made = {
        "torchvision ImageFolder, Pillow": of_torchvision(files, side, workers),
        "timm create_loader": of_timm(files, side, workers),
        "maeface, cropped": of_maeface(Loader(ours(), order, workers=workers), side, crop=True),
        "maeface, read": of_maeface(Loader(ours(), order, workers=workers), side, crop=False),
        "maeface, on_device, read": of_maeface(Loader(on_device, order), side, crop=False),
    }
    for one in made.values():
        list(one())
    return made


@contextmanager
def without_cache() -> Iterator[None]:
    """Decode every crop each time, and compute on one thread."""
    cache, threads = dataset_module.CACHE_BYTES, torch.get_num_threads()
    dataset_module.CACHE_BYTES = 0
    torch.set_num_threads(1)
    try:
        yield
    finally:
        dataset_module.CACHE_BYTES = cache
        torch.set_num_threads(threads)


def main() -> None:
    """Measure in turns; print a table with medians and ranges."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder, side, workers = options.folder, options.side, options.workers
    with tempfile.TemporaryDirectory() as files, without_cache():
        made = passes(folder, side, options.samples, workers, Path(files))
        rates = [[rate(one) for one in made.values()] for _ in range(options.rounds)]
    count = min(options.samples, len(gather_manifests([folder])))
    print(f"{count} crops for {side} px, {workers} workers, batches of {BATCH}")
    libraries = ("torch", "torchvision", "timm", "pillow", "simplejpeg")
    print(
        platform.machine(),
        os.cpu_count(),
        "cores;",
        ", ".join(f"{name} {version(name)}" for name in libraries),
    )
    for name, values in zip(made, np.array(rates).T, strict=True):
        print(f"| {name} | {np.median(values):.0f} ({values.min():.0f} to {values.max():.0f}) |")


if __name__ == "__main__":
    main()
