"""The only training loop. Model, batches and loss are its arguments, and it knows no dataset.

The position of a run is one integer, the step: order, masks, augmentation and every other random draw are
functions of it, so a run that was killed ends with the same bits as one that was not (on the CPU).
"""

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from maeface import config, console
from maeface.errors import DataError
from maeface.train import checkpoint, ema, ranks, sharding
from maeface.train.checkpoint import Learner, State
from maeface.train.copies import Copier
from maeface.train.journal import Journal, LossMonitor
from maeface.train.optim import (
    adamw,
    explain_full_memory,
    find_non_finite,
    learning_rate,
    set_learning_rate,
    step_unless,
)
from maeface.train.run import Run

Batch = dict[str, Any]

Forward = Callable[..., Any]
Loss = Callable[[Forward, Batch, int], tuple[Tensor, Tensor]]
"""(model, batch, step) -> (sum of the losses, its weight), both scalars; all on the run's device.

The loss of a step is the sum over all micro-batches and processes, divided by the sum of the weights. So
accumulation equals the whole batch exactly, however labels are missing.
"""


class Batches(Protocol):
    """The batches that ``fit`` trains on: ``data.loading.loader.Loader`` is one."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""

    def steps(self, start: int, stop: int) -> Iterator[Iterator[Batch]]:
        """Yield for each step from ``start`` to before ``stop`` its micro-batches; each batch has ``id``."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation: the validation loss, and other numbers for the log."""

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
    keep_milestone: Callable[[int], None] | None = None,
) -> State:
    """Train a model from the newest checkpoint of the run, or from the start; the model ends trained.

    Args:
        run: an open run.
        model: on the run's device; changed in place.
        depth: transformer blocks of its encoder, for layer decay.
        batches: to train on.
        loss: see ``Loss``.
        settings: optimiser and schedule.
        evaluate: called with the epoch, in evaluation mode and without gradients; the same on all ranks.
        patience: evaluations without a lower validation loss after which training stops; None for never.
        keep_best: end with the weights of the lowest validation loss instead of the last.
        keep_milestone: writes the model's weights of an epoch, on rank 0 (``run.settings.milestone_every``).

    Raises:
        DataError: the loss is not finite, in more than ``settings.max_skipped`` steps in a row.
        ResourceError: GPU memory or disk are full.
        SystemExit: a signal stopped the run; the state is saved (143 for SIGTERM, 130 for Ctrl-C).
    """
    learner, forward = _begin(run, model, depth, settings)
    state, per_epoch, copier = learner.state, batches.steps_per_epoch, Copier(run.device)
    total = state.step if state.finished else settings.epochs * per_epoch
    with (
        _open_journal(run, state.step) as journal,
        console.progress("training", total, "steps", state.step, run.writes) as advance,
        explain_full_memory(settings, run.world),
    ):
        monitor, saved = LossMonitor(run, journal, per_epoch, state, settings.max_skipped), time.monotonic()
        for step, micro_batches in enumerate(batches.steps(state.step, total), start=state.step):
            set_learning_rate(learner.optimizer, learning_rate(step / per_epoch, settings))
            torch.manual_seed(_step_seed(run, step))
            inputs = _compile_if_due(run, forward, learner, map(copier, micro_batches), loss, step, total)
            monitor.add(step, *_train_step(run, forward, learner, inputs, loss, step, settings.clip_grad))
            ema.update(learner, settings.ema, step)
            state.step, state.finished = step + 1, step + 1 == total
            advance(1, monitor.note)
            evaluated = _evaluate(run, learner, monitor, evaluate, per_epoch, patience, keep_best)
            _keep_milestone(run, learner, monitor, keep_milestone, per_epoch)
            stop = monitor.stop_code()
            if evaluated or state.finished or stop or _is_due(run, learner, saved):
                monitor.settle()
                if run.writes or learner.whole is not None:
                    checkpoint.save(run.folder, learner)
                saved = time.monotonic()
            if state.finished:
                break
            if stop:
                raise _stop(run, state.step, stop)
    return _finish(run, learner)


def _is_due(run: Run, learner: Learner, saved: float) -> bool:
    """Return whether the last checkpoint is old; if all ranks write it, by rank 0's clock."""
    due = time.monotonic() - saved > run.settings.checkpoint_every_s
    return due if learner.whole is None else ranks.first(lambda: due)


def _finish(run: Run, learner: Learner) -> State:
    """Give the model its final weights, in evaluation mode; return the state."""
    final = learner.best or learner.mean
    if learner.whole is not None:
        sharding.gather(final or learner.model.state_dict(), learner.whole, run.device)
    elif final:
        learner.model.load_state_dict(final)
    learner.model.eval()
    return learner.state


def _stop(run: Run, step: int, code: int) -> SystemExit:
    """Return the exit of a run that was asked to stop, and say how it goes on."""
    ranks.barrier()  # torchrun may end all as soon as one has ended, and rank 0 has to have saved
    if run.writes:
        console.note(f"stopped after step {step}, saved; the same command continues")
    return SystemExit(code)


def _begin(run: Run, model: nn.Module, depth: int, settings: config.Optim) -> tuple[Learner, Forward]:
    """Return the learner, with the newest checkpoint of the run if there is one; and its forward pass."""
    ranks.agree(lambda: {"initial weights": checkpoint.hash_tensors(model.state_dict())[:16]})
    if run.settings.sharded and run.world > 1:
        trained = sharding.shard(model, run.device, run.settings.compile is True)
        if run.settings.compile is True and run.writes:
            console.note("compiling the blocks (run.compile); the first step takes a minute or more")
        run.compilation.asked = False  # else it would compile them again
        learner = Learner(trained, adamw(trained, depth, settings), whole=model)
    else:
        learner = Learner(model, adamw(model, depth, settings))
    if settings.ema is not None:
        learner.mean = ema.copy(learner.model)
    restored = checkpoint.restore(run.folder, learner, run.device)
    if restored and run.writes and not learner.state.finished:
        console.note(f"resuming {run.folder} after step {learner.state.step}")
    learner.model.train()
    if learner.whole is not None:
        return learner, learner.model
    return learner, ranks.replicate(model, run.compilation.wrap(model))


def _compile_if_due(
    run: Run,
    forward: Forward,
    learner: Learner,
    micro_batches: Iterator[Batch],
    loss: Loss,
    step: int,
    total: int,
) -> Iterator[Batch]:
    """Compile, if it is due, with the first micro-batch of a step, which changes no weights; return all."""
    if not run.compilation.is_due(total - step):
        return micro_batches
    first = next(micro_batches, None)

    def one_pass() -> None:
        with ranks.alone(forward):
            if first is None:  # as in ``_train_step``
                forward().backward()
                return
            with run.autocast():
                total, _ = loss(forward, first, step)
            total.backward()  # type: ignore[no-untyped-call]

    run.compilation.start(one_pass, run.writes)
    learner.optimizer.zero_grad(set_to_none=True)
    torch.manual_seed(_step_seed(run, step))
    return micro_batches if first is None else itertools.chain([first], micro_batches)


def _train_step(
    run: Run,
    forward: Forward,
    learner: Learner,
    micro_batches: Iterator[Batch],
    loss: Loss,
    step: int,
    clip: float | None,
) -> tuple[Tensor, list[str]]:
    """Do one optimiser step.

    Returns:
        (4,) over all ranks: sum of the losses, its weight, sum of the exit codes asked for by signals, and
        whether the step was skipped, because loss or gradient are not finite; and the ids of this rank's
        samples.
    """
    parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]
    sums = torch.zeros(3, device=run.device)
    ids: list[str] = []
    for batch, is_own in ranks.take_turns(forward, micro_batches):
        if batch is None:  # this rank has no sample in this step
            forward().backward()
            continue
        with run.autocast():
            total, weight = loss(forward, batch, step)
        (total if is_own else total * 0).backward()  # type: ignore[no-untyped-call]
        if not is_own:
            continue
        sums[:2] += torch.stack([total.detach().float(), weight.detach().float()])
        ids += batch["id"]
    sums[2] = run.stop.code
    ranks.add(sums)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    own = [sharding.own(gradient) for gradient in gradients]
    torch._foreach_mul_(own, run.world / sums[1].clamp(min=1e-12))  # from the mean over the ranks
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    skipped = find_non_finite([*own, sums[0]])
    if learner.whole is not None:  # each rank has seen its own part
        ranks.add(skipped)
        skipped.clamp_(max=1)
    if clip is not None:
        nn.utils.clip_grad_norm_(parameters, clip, error_if_nonfinite=False)
    step_unless(learner.optimizer, skipped)
    learner.optimizer.zero_grad(set_to_none=True)
    return torch.cat([sums, skipped[None]]), ids


def _evaluate(
    run: Run,
    learner: Learner,
    monitor: LossMonitor,
    evaluate: Callable[[int], Evaluation] | None,
    per_epoch: int,
    patience: int | None,
    keep_best: bool,
) -> bool:
    """Evaluate if it is due; keep the best weights; end training at ``patience``.

    Returns:
        Whether an evaluation was due.
    """
    state, model = learner.state, learner.model
    due = state.finished or state.step % (per_epoch * run.settings.evaluate_every) == 0
    if evaluate is None or not due:
        return False
    monitor.settle()
    epoch = state.step // per_epoch
    model.eval()
    with torch.no_grad(), ema.applied(learner, run.device):
        own = evaluate(epoch)
    model.train()
    result = ranks.first(lambda: own)  # what follows from it is the same everywhere
    if not math.isfinite(result.loss):
        raise DataError(f"the validation loss is {result.loss} after epoch {epoch}; lower optim.base_lr")
    if monitor.journal is not None:
        values = {"validation_loss": result.loss, **result.values}
        monitor.journal.write(state.step, state.step / per_epoch, values)
    if state.best_loss is None or result.loss < state.best_loss:
        state.best_loss, state.best_step, state.stale = result.loss, state.step, 0
        if keep_best:
            learner.best = ema.copy_of_used(learner)
    else:
        state.stale += 1
    if patience is not None and state.stale >= patience:
        state.finished = True
        if run.writes:
            console.note(f"no lower validation loss in {patience} evaluations: stopped after epoch {epoch}")
    return True


def _keep_milestone(
    run: Run,
    learner: Learner,
    monitor: LossMonitor,
    keep_milestone: Callable[[int], None] | None,
    per_epoch: int,
) -> None:
    """Keep the weights of this epoch if they are due; before the checkpoint, so that a kill loses none."""
    every = run.settings.milestone_every
    if keep_milestone is None or every is None or learner.state.step % (per_epoch * every):
        return
    monitor.settle()
    with ema.applied(learner, run.device):
        if run.writes:
            keep_milestone(learner.state.step // per_epoch)


def _step_seed(run: Run, step: int) -> int:
    """Return a seed for what a model draws from PyTorch's generator in a step, if it does."""
    digest = hashlib.blake2b(f"{run.settings.seed}/{step}/{run.rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


@contextmanager
def _open_journal(run: Run, step: int) -> Iterator[Journal | None]:
    if not run.writes:
        yield None
        return
    with Journal(run.folder, step, run.settings.log) as journal:
        yield journal
