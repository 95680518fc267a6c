"""Batches of a dataset, read ahead by worker processes: for training and for evaluation."""

import itertools
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from maeface.data.loading.dataset import Batch, FaceDataset
from maeface.data.loading.sampling import BatchOrder
from maeface.errors import ResourceError


class Loader:
    """The batches of a training, for ``train.loop.fit``.

    Args:
        dataset: the crops and labels.
        order: the samples of each step.
        micro_batch: samples in memory at once; None: all samples of this process.
        workers: processes that decode and augment; 0 does it in this one.
        rank: this process's number among ``world``; each process reads its slice of every batch.
        world: the number of processes that train together.
        pin: read into page-locked memory, for a GPU.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        order: BatchOrder,
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
        """Optimiser steps of an epoch."""
        return self.order.steps_per_epoch

    def steps(self, start: int, stop: int) -> Iterator[Iterator[Batch]]:
        """Yield for each step its micro-batches of this process; exhaust them before taking the next step."""
        plan = (batch for step in range(start, stop) for batch in self._micro_batches(step))
        batches = load(self.dataset, plan, self.workers, self.pin)
        for step in range(start, stop):
            count = len(self._own_samples(step)[1])
            yield itertools.islice(batches, -(-count // (self.micro_batch or max(count, 1))))

    def _own_samples(self, step: int) -> tuple[int, np.ndarray]:
        epoch, indices = self.order.indices(step)
        return epoch, np.array_split(indices, self.world)[self.rank]

    def _micro_batches(self, step: int) -> Iterator[list[tuple[int, int]]]:
        epoch, samples = self._own_samples(step)
        size = self.micro_batch or max(len(samples), 1)
        for first in range(0, len(samples), size):
            yield [(int(index), epoch) for index in samples[first : first + size]]


def load_in_order(
    dataset: FaceDataset, batch: int, workers: int = 0, pin: bool = False, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Yield every sample once, in batches, in the order of the dataset: for evaluation.

    Of ``world`` processes, each gets a slice of the batches, which are the same for any number of them.
    """
    indices = range(len(dataset))
    own = np.array_split(np.arange(0, len(dataset), batch), world)[rank]
    plan = ([(index, 0) for index in indices[first : first + batch]] for first in own)
    return load(dataset, plan, workers if len(dataset) > batch else 0, pin)


def load(
    dataset: FaceDataset, plan: Iterable[list[tuple[int, int]]], workers: int, pin: bool = False
) -> Iterator[Batch]:
    """Yield the batches of a plan, read ahead by ``workers`` processes.

    Args:
        dataset: the crops and labels.
        plan: for each batch its ``(index, epoch)`` pairs.
        workers: processes; 0 reads in this one, when a batch is asked for.
        pin: page-locked memory, for a GPU.

    Raises:
        MaefaceError: as raised in a worker.
        ResourceError: a worker was killed.
    """
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_sampler=plan,
        num_workers=workers,
        collate_fn=_identity,
        pin_memory=pin,
        worker_init_fn=_ignore_signals,
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
        _shut_down(batches)


def _shut_down(batches: Iterator[Batch]) -> None:
    """End the workers now, even if something (the traceback of an error) still refers to the iterator.

    As they ignore SIGTERM, Python would wait for them for ever when it exits.
    """
    shut_down = getattr(batches, "_shutdown_workers", None)  # an iterator without workers has none
    if shut_down is not None:
        shut_down()


def _identity(batch: Any) -> Any:  # noqa: ANN401 - what the dataset gives is a batch already
    return batch


def _ignore_signals(worker: int) -> None:
    """Ignore Ctrl-C, which reaches the whole process group: the training stops, then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
