"""The only training loop. It is handed a model, batches and a loss, and knows no dataset.

Where a run stands is one integer, the step: order, masks, augmentation and every other draw are functions of
it, so a run that was killed ends with the same bits as one that was not (on the CPU).
"""

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from maeface import config, console
from maeface.errors import DataError, ResourceError
from maeface.train.journal import Journal
from maeface.train.learner import Learner, State, restore, save
from maeface.train.optim import adamw, learning_rate, set_learning_rate
from maeface.train.run import Run

Batch = dict[str, Any]

Loss = Callable[[Callable[..., Any], Batch, int], tuple[Tensor, Tensor]]
"""(model, batch on the CPU, step) -> (summed loss, its weight), both scalars on the run's device.

A step descends along the sum over all micro-batches and processes, divided by the sum of the weights: so
accumulation equals the whole batch exactly, however unevenly labels are known.
"""


class Batches(Protocol):
    """What ``fit`` trains on: ``data.loading.loader.Loader`` is one."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""

    def steps(self, start: int, stop: int) -> Iterator[Iterator[Batch]]:
        """For each step from ``start`` to before ``stop``, its micro-batches; each batch has ``id``."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: the validation loss, and other numbers for the log."""

    loss: float
    values: Mapping[str, float] = field(default_factory=dict)


def fit(
    run: Run,
    model: nn.Module,
    depth: int,
    batches: Batches,
    loss: Loss,
    settings: config.Optim,
    evaluate: Callable[[int], Evaluation] | None = None,
    patience: int | None = None,
    keep_best: bool = False,
) -> State:
    """Train a model, going on from the run's newest checkpoint; at the end it holds the weights to keep.

    Args:
        run: open.
        model: on the run's device; changed in place.
        depth: transformer blocks of its encoder, for layer decay.
        batches: what to train on.
        loss: see ``Loss``.
        settings: optimiser and schedule.
        evaluate: called with the epoch, on rank 0, with the model in evaluation mode and without gradients.
        patience: evaluations without a lower validation loss after which training stops; None for never.
        keep_best: end with the weights of the lowest validation loss, not with the last.

    Raises:
        DataError: the loss is not finite.
        ResourceError: GPU memory or disk are full.
        SystemExit: a signal asked to stop; the state is saved (143 for SIGTERM, 130 for Ctrl-C).
    """
    learner = Learner(model, adamw(model, depth, settings))
    restore(run, learner)
    state, per_epoch = learner.state, batches.steps_per_epoch
    total = state.step if state.finished else settings.epochs * per_epoch
    replica = torch.compile(model) if run.settings.compile else model
    with (
        _journal(run, state.step) as journal,
        _progress(run, total, state.step) as advance,
        _advice(settings),
    ):
        watch = _Watch(run, journal, per_epoch)
        saved = time.monotonic()
        model.train()
        for step, micro_batches in enumerate(batches.steps(state.step, total), start=state.step):
            set_learning_rate(learner.optimizer, learning_rate(step / per_epoch, settings))
            torch.manual_seed(_seed_of(run, step))
            watch.add(step, *_descend(run, replica, learner, micro_batches, loss, step, settings.clip_grad))
            state.step = step + 1
            advance(1, watch.note)
            state.finished = state.step == total
            judged = _judge(run, learner, watch, evaluate, per_epoch, patience, keep_best)
            stop = watch.asked_to_stop()
            if judged or state.finished or stop or time.monotonic() - saved > run.settings.checkpoint_every_s:
                watch.settle()
                save(run, learner)
                saved = time.monotonic()
            if state.finished:
                break
            if stop:
                raise SystemExit(stop)
    if learner.best is not None:
        model.load_state_dict(learner.best)
    model.eval()
    return state


def _descend(
    run: Run,
    replica: Callable[..., Any],
    learner: Learner,
    micro_batches: Iterator[Batch],
    loss: Loss,
    step: int,
    clip: float | None,
) -> tuple[Tensor, list[str]]:
    """One optimiser step: (summed loss, its weight, codes of stop) over all ranks, and the sample ids."""
    parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]
    sums = torch.zeros(3, device=run.device)
    ids: list[str] = []
    for batch in micro_batches:
        with run.autocast():
            total, weight = loss(replica, batch, step)
        total.backward()  # type: ignore[no-untyped-call]
        sums[:2] += torch.stack([total.detach().float(), weight.detach().float()])
        ids += batch["id"]
    sums[2] = run.stop.code
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    if run.world > 1:
        gradients, sums = _sum_over_ranks(gradients, sums)
    torch._foreach_mul_(gradients, 1 / sums[1].clamp(min=1e-12))
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if clip is not None:
        nn.utils.clip_grad_norm_(parameters, clip, error_if_nonfinite=False)
    learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)
    return sums, ids


def _sum_over_ranks(gradients: Sequence[Tensor], sums: Tensor) -> tuple[list[Tensor], Tensor]:
    """Everything in one message: ranks may have had different numbers of samples, or none."""
    parts = [*gradients, sums]
    flat = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(flat)
    pieces = torch.split(flat, [part.numel() for part in parts])
    *summed, sums = (piece.view_as(part) for piece, part in zip(pieces, parts, strict=True))
    return summed, sums


class _Watch:
    """Reads losses, one step late on a GPU so that it never waits for one, and logs them."""

    def __init__(self, run: Run, journal: Journal | None, per_epoch: int) -> None:
        self.run, self.journal, self.per_epoch = run, journal, per_epoch
        self.note = ""
        self._late = 1 if run.device.type == "cuda" else 0
        self._pending: deque[tuple[int, Tensor, list[str], float]] = deque()
        self._stop = 0
        self._before = time.monotonic()

    def add(self, step: int, sums: Tensor, ids: list[str]) -> None:
        """Take the result of a step."""
        now = time.monotonic()
        self._pending.append((step, sums, ids, len(ids) * self.run.world / max(now - self._before, 1e-9)))
        self._before = now
        while len(self._pending) > self._late:
            self._read()

    def settle(self) -> None:
        """Read all that is pending, so that no broken state is ever saved."""
        while self._pending:
            self._read()
        if self.journal is not None:
            self.journal.flush()

    def asked_to_stop(self) -> int:
        """The exit code asked for by a signal, the same on all ranks at the same step; 0 for none."""
        return self._stop if self.run.world > 1 else self.run.stop.code

    def _read(self) -> None:
        step, sums, ids, speed = self._pending.popleft()
        total, weight, stop = sums.tolist()
        value = total / max(weight, 1e-12)
        if not abs(value) < float("inf"):
            raise DataError(
                f"the loss is {value} at step {step} (epoch {step // self.per_epoch}); lower optim.base_lr, "
                f"or look at the samples of this step: {', '.join(ids[:8])}{', ...' if len(ids) > 8 else ''}"
            )
        if stop and not self._stop:
            self._stop = 130 if stop % 130 == 0 else 143
        self.note = f"epoch {step // self.per_epoch}  loss {value:.4f}"
        if self.journal is not None:
            done = step + 1
            self.journal.write(done, done / self.per_epoch, {"loss": value, "images_per_s": round(speed, 1)})


def _due(state: State, per_epoch: int, every: int) -> bool:
    return state.finished or state.step % (per_epoch * every) == 0


def _judge(
    run: Run,
    learner: Learner,
    watch: _Watch,
    evaluate: Callable[[int], Evaluation] | None,
    per_epoch: int,
    patience: int | None,
    keep_best: bool,
) -> bool:
    """If it is due: evaluate on rank 0, tell all ranks, keep the best weights, and stop if it is time."""
    if evaluate is None or not _due(learner.state, per_epoch, run.settings.evaluate_every):
        return False
    watch.settle()
    found: Evaluation | None = None
    state, model = learner.state, learner.model
    epoch = state.step // per_epoch
    if run.writes:
        model.eval()
        with torch.no_grad():
            found = evaluate(epoch)
        model.train()
    found = run.agree(found)
    assert found is not None
    if not math.isfinite(found.loss):
        raise DataError(f"the validation loss is {found.loss} after epoch {epoch}; lower optim.base_lr")
    if watch.journal is not None:
        watch.journal.write(
            state.step, state.step / per_epoch, {"validation_loss": found.loss, **found.values}
        )
    if state.best_loss is None or found.loss < state.best_loss:
        state.best_loss, state.best_step, state.stale = found.loss, state.step, 0
        if keep_best:
            learner.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
    else:
        state.stale += 1
    if patience is not None and state.stale >= patience:
        state.finished = True
        if run.writes:
            console.say(f"no lower validation loss in {patience} evaluations: stopped after epoch {epoch}")
    return True


def _seed_of(run: Run, step: int) -> int:
    """For what is drawn during a step (drop path, erased pixels): a function of seed, step and rank."""
    digest = hashlib.blake2b(f"{run.settings.seed}/{step}/{run.rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


@contextmanager
def _journal(run: Run, step: int) -> Iterator[Journal | None]:
    if not run.writes:
        yield None
        return
    with Journal(run.folder, step) as journal:
        yield journal


@contextmanager
def _progress(run: Run, total: int, done: int) -> Iterator[Callable[..., None]]:
    if not run.writes:
        yield lambda n=1, note="": None
        return
    with console.progress("training", total, "steps", done) as advance:
        yield advance


@contextmanager
def _advice(settings: config.Optim) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        now = settings.micro_batch or settings.batch
        smaller = next(n for n in range(max(now // 2, 1), 0, -1) if settings.batch % n == 0)
        raise ResourceError(
            f"the GPU's memory is full at {now} images at once; set optim.micro_batch={smaller}: the same "
            "batch in more parts"
        ) from error
