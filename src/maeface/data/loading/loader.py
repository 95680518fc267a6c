"""Batches of a dataset, read ahead by worker processes: for training and for evaluation."""

import os
import signal
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from maeface import portable
from maeface.data.ingest.cores import count_cores
from maeface.data.loading.dataset import Batch, FaceDataset, Samples
from maeface.data.loading.sampling import BatchOrder, pair
from maeface.errors import ResourceError

ON_CPU = 2
"""Most workers by default where the training computes on the CPU, too."""


class Loader:
    """The batches of a training, for ``train.loop.fit``.

    Args:
        dataset: the crops and labels, a ``FaceDataset`` or all of it ``OnDevice``.
        order: the samples of each step.
        micro_batch: samples in memory at once; None: all samples of this process.
        workers: as in ``load``.
        rank: this process's number among ``world``; each process reads its slice of every batch.
        world: the number of processes that train together.
        pin: read into page-locked memory, for a GPU.
        known: (samples, O) bool, which labels are known, where samples are to be mixed in pairs; else None.
    """

    def __init__(
        self,
        dataset: Dataset[Batch],
        order: BatchOrder,
        micro_batch: int | None = None,
        workers: int | None = 0,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
        known: np.ndarray | None = None,
    ) -> None:
        self.dataset, self.order, self.known = dataset, order, known
        self.micro_batch, self.workers, self.pin = micro_batch, workers, pin
        self.rank, self.world = rank, world

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return self.order.steps_per_epoch

    def steps(self, start: int, stop: int) -> Iterator[Iterator[Batch]]:
        """Yield for each step its micro-batches of this process; exhaust them before taking the next step.

        Where samples are mixed, a batch also has ``partner`` int64 (B,): the row of the sample to mix each of
        its B samples with. Partners that belong to another micro-batch or process are in the rows after B.
        The pairs depend on the whole batch, so they are the same for any micro-batch and number of processes.
        """
        plan = (rows for step in range(start, stop) for rows, _ in self._micro_batches(step))
        batches = load(self.dataset, plan, self.workers, self.pin)
        for step in range(start, stop):
            # of the two, ``batches`` is last: at the end of a step nothing is taken from it
            parts = zip(self._micro_batches(step), batches, strict=False)
            yield (self._add_partners(batch, partner) for (_, partner), batch in parts)

    def _micro_batches(self, step: int) -> Iterator[tuple[list[tuple[int, int]], Tensor | None]]:
        """Yield ``(index, epoch)`` of the rows of each micro-batch, and ``partner``."""
        epoch, indices = self.order.indices(step)
        partner = None
        if self.known is not None:
            order, partner = pair(self.known[indices])
            indices = indices[order]
        own = np.array_split(np.arange(len(indices)), self.world)[self.rank]
        size = self.micro_batch or max(len(own), 1)
        for first in range(0, len(own), size):
            places, rows = own[first : first + size], None
            if partner is not None:
                others = partner[places]
                elsewhere = np.setdiff1d(others, places)
                places = np.concatenate([places, elsewhere])
                rows = torch.from_numpy(np.argsort(places)[np.searchsorted(np.sort(places), others)])
            yield [(int(index), epoch) for index in indices[places]], rows

    def _add_partners(self, batch: Batch, partner: Tensor | None) -> Batch:
        """Return the batch with ``partner``, and with the ids of its samples alone."""
        if partner is None:
            return batch
        ids = batch["id"][: len(partner)]
        return batch | {"partner": partner.pin_memory() if self.pin else partner, "id": ids}


class InOrder:
    """Every sample once, in batches, in the order of the dataset: for evaluation, as often as it is iterated.

    Use it as a context manager: the workers stay from one pass to the next, and end with it.

    Args:
        dataset: as in ``Loader``.
        batch: samples of a batch.
        workers: as in ``load``; a single batch is read in this process.
        pin: as in ``load``.
        rank: this process's number among ``world``; each process gets a slice of the batches.
        world: the number of processes that share them.
    """

    def __init__(
        self,
        dataset: Dataset[Batch],
        batch: int,
        workers: int | None = 0,
        pin: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        count = len(dataset)  # type: ignore[arg-type] # torch's class does not say that it has a length
        own = np.array_split(np.arange(0, count, batch), world)[rank].tolist()
        plan = [[(index, 0) for index in range(first, min(first + batch, count))] for first in own]
        self._loader = _open(dataset, plan, workers if len(plan) > 1 else 0, pin, persistent=True)
        self._batches: Iterator[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        self._batches = _start(self._loader)
        return _checked(self._batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._batches is not None:
            _shut_down(self._batches)


def load_in_order(
    dataset: Dataset[Batch], batch: int, workers: int | None = 0, pin: bool = False
) -> Iterator[Batch]:
    """Yield every sample once, in batches, in the order of the dataset; see ``InOrder``."""
    with InOrder(dataset, batch, workers, pin) as batches:
        yield from batches


def load(
    dataset: Dataset[Batch], plan: Iterable[Samples], workers: int | None, pin: bool = False
) -> Iterator[Batch]:
    """Yield the batches of a plan, read ahead by ``workers`` processes.

    Args:
        dataset: as in ``Loader``.
        plan: for each batch its ``(index, epoch)`` pairs.
        workers: processes that decode and augment; 0 does it in this one, when a batch is asked for. None:
            this process's share of the cores, at most ``ON_CPU`` without a GPU. Of no effect for crops that
            are on the device.
        pin: page-locked memory, for a GPU.

    Raises:
        MaefaceError: as raised in a worker.
        ResourceError: a worker was killed.
    """
    batches = _start(_open(dataset, plan, workers, pin))
    try:
        yield from _checked(batches)
    finally:
        _shut_down(batches)


def count_workers(gpu: bool) -> int:
    """Return this process's share of the cores: of all processes that ``torchrun`` started on the machine."""
    share = max(1, count_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    return share if gpu else min(share, ON_CPU)


def _open(
    dataset: Dataset[Batch],
    plan: Iterable[Samples],
    workers: int | None,
    pin: bool,
    persistent: bool = False,
) -> DataLoader[Batch]:
    workers = count_workers(pin) if workers is None else workers
    if not isinstance(dataset, FaceDataset):  # its crops are on the device
        workers, pin = 0, False
    elif workers:
        dataset.check()
    return DataLoader(
        dataset,
        batch_sampler=plan,  # type: ignore[arg-type] # pairs where torch expects numbers
        num_workers=workers,
        collate_fn=_identity,
        pin_memory=pin,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # else it draws from the one that the training step has seeded
        multiprocessing_context=("fork" if portable.FORKS else "spawn") if workers else None,
        persistent_workers=persistent and workers > 0,
    )


def _start(loader: DataLoader[Batch]) -> Iterator[Batch]:
    with warnings.catch_warnings(), _explain_killed():
        # the workers touch no thread of this process, which is what the warning is about
        warnings.filterwarnings(
            "ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning
        )
        batches = iter(loader)
    _explain_signals()
    return batches


def _checked(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield batches; raise what was raised in a worker."""
    with _explain_killed():
        for batch in batches:
            if "error" in batch:
                raise batch["error"]
            yield batch


def _explain_signals() -> None:
    """Explain what torch raises from a signal handler, in the middle of anything, once a worker is killed."""
    if not portable.TELLS_OF_CHILDREN:
        return
    handler = signal.getsignal(signal.SIGCHLD)
    if not callable(handler) or handler.__module__ != signal_handling.__name__:
        return  # no workers, or not in the main thread
    if not hasattr(handler, "__wrapped__"):  # else it is explained already
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGCHLD, _explain_killed()(handler))


@contextmanager
def _explain_killed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ResourceError(
            "a process that reads the crops was killed, most likely for memory; use fewer run.workers or a "
            "smaller micro-batch"
        ) from error


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
