"""The processes that train together, called ranks, as ``torchrun`` starts them: what they tell each other.

All ranks call each of these functions but ``alone``, in the same order. Where there is one process, nothing
is sent.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.constants import default_pg_timeout
from torch.distributed.fsdp import FSDPModule
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from maeface.errors import ConfigError, MaefaceError, ResourceError
from maeface.train.copies import move

MEET_S = 45.0
"""How long a rank tries to reach the others' address; later it waits for them much longer."""
SHOWN = 4
"""Differences between ranks that an error names."""
Value = TypeVar("Value")
Batch = TypeVar("Batch")


@contextmanager
def open_group(device: torch.device) -> Iterator[tuple[int, int]]:
    """Join the other ranks; yield the number of this one, and how many there are.

    A group that is there already, as in a worker of Ray Train, is used and stays.

    Args:
        device: of this rank. Gradients on a GPU are sent by NCCL, all else by gloo.

    Raises:
        ConfigError: the environment asks for several processes, but does not say where they meet.
        ResourceError: the ranks cannot meet, or another one has ended.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if is_ours := not dist.is_initialized():
        if world == 1:
            yield 0, 1
            return
        _join(device, world)
    rank, world = dist.get_rank(), dist.get_world_size()
    try:
        yield rank, world
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise ResourceError(
            f"rank {rank} of {world}: another process of this training has ended or cannot be "
            "reached; see its message. The same command continues from the last checkpoint"
        ) from error
    finally:
        if is_ours:
            dist.destroy_process_group()


def _join(device: torch.device, world: int) -> None:
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ConfigError(
            f"WORLD_SIZE is {world}, so {world} processes should train together, but {', '.join(missing)} "
            "is not set; start them with torchrun, or unset WORLD_SIZE"
        )
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store, rank, _ = next(rendezvous("env://", timeout=timedelta(seconds=MEET_S)))
        store.set_timeout(default_pg_timeout)
        if again != "0" and os.environ.get("LOCAL_WORLD_SIZE") == str(world):
            # torchrun keeps its store, with the addresses of ranks that have ended; on one machine the count
            # of starts is the same for all ranks
            store = PrefixStore(f"start-{again}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    except (RuntimeError, ValueError) as error:
        raise ResourceError(
            f"rank {os.environ['RANK']} of {world}: the processes of this training cannot meet at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({str(error).splitlines()[0]}); choose "
            "a free port, and an address that all machines reach"
        ) from error


def first(action: Callable[[], Value]) -> Value:
    """Do something on rank 0; return its result, or raise its error, on all ranks."""
    if not dist.is_initialized():
        return action()
    outcome: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            outcome = [action()]
        except MaefaceError as error:
            outcome = [error]
    dist.broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], MaefaceError):
        raise outcome[0]
    return outcome[0]  # type: ignore[no-any-return]


def gather(value: Value) -> list[Value]:
    """Return the value of each rank, in their order."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until all ranks are here."""
    gather(None)


def agree(facts: Callable[[], Mapping[str, object]]) -> None:
    """Compare what each rank is about to train.

    Args:
        facts: returns names and values, which are to be the same on all ranks; called only if there are
            several.

    Raises:
        ConfigError: a value differs; on every rank.
    """
    if not dist.is_initialized():
        return
    own, *others = gather(dict(facts()))
    differences: dict[str, str] = {}
    for rank, other in enumerate(others, start=1):
        for name in sorted(own.keys() | other.keys()):
            if own.get(name) != other.get(name):
                text = f"{name}: {own.get(name)} on rank 0, {other.get(name)} on rank {rank}"
                differences.setdefault(name, text)
    if differences:
        shown = "; ".join(list(differences.values())[:SHOWN])
        more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise ConfigError(
            f"the processes that train together differ ({shown}{more}); start all of them with the same "
            "command, data and versions"
        )


def share(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return rank 0's tensors on all ranks, on a device; those of other ranks are not looked at."""
    if not dist.is_initialized():
        return {name: tensor.to(device) for name, tensor in tensors.items()}
    shared: dict[str, Tensor] = {}
    for name, (shape, dtype) in first(lambda: {n: (t.shape, t.dtype) for n, t in tensors.items()}).items():
        own = tensors[name].to(device) if dist.get_rank() == 0 else torch.empty(shape, dtype=dtype)
        shared[name] = own.to(device)
        dist.broadcast(shared[name], src=0)
    return shared


def replicate(model: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return the forward pass of a model that all ranks train, from rank 0's weights.

    The gradients are the mean over the ranks. They are sent in buckets while the backward pass goes on, and
    each rank has to do one such pass a step; see ``take_turns``.

    Args:
        model: the same on all ranks; its parameters are shared with what is returned.
        forward: calls the model.
    """
    if not dist.is_initialized():
        return forward
    return DistributedDataParallel(_Replica(model, forward), gradient_as_bucket_view=True)


def alone(forward: Callable[..., Any]) -> AbstractContextManager[None]:
    """Return a context in which a backward pass sends nothing to the other ranks."""
    return forward.no_sync() if isinstance(forward, DistributedDataParallel) else nullcontext()


def take_turns(forward: Callable[..., Any], batches: Iterator[Batch]) -> Iterator[tuple[Batch | None, bool]]:
    """Yield the micro-batches of a step; the backward pass of the last sends the sum of the gradients.

    Beside each is whether it is this rank's own. A rank that has none gets None, for which ``forward()`` is
    the loss: 0, and gradients of 0. Of a model in parts all ranks do as many passes as rank 0, which has the
    most; those that have fewer micro-batches get rank 0's, whose loss is to count nothing.
    """
    if isinstance(forward, FSDPModule):
        yield from _take_equal_turns(forward, batches)
        return
    if not isinstance(forward, DistributedDataParallel):
        yield from ((batch, True) for batch in batches)
        return
    batch = next(batches, None)
    while (following := next(batches, None)) is not None:
        with forward.no_sync():
            yield batch, True
        batch = following
    yield batch, batch is not None


def _take_equal_turns(
    forward: Any,  # noqa: ANN401 - a network and an FSDPModule
    batches: Iterator[Any],
) -> Iterator[tuple[Any, bool]]:
    batch, going_on = next(batches, None), True
    while going_on:
        following = next(batches, None)
        flags = torch.tensor([following is not None, batch is None], dtype=torch.uint8)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        going_on, lacking = map(bool, flags.tolist())
        forward.set_requires_gradient_sync(not going_on)
        lent = first(lambda one=batch: move(one, "cpu")) if lacking else {}  # type: ignore[misc]
        turn = move(lent, next(forward.parameters()).device) if batch is None else batch
        yield turn, batch is not None
        batch = following


def add(values: Tensor) -> None:
    """Replace values by their sum over the ranks."""
    if dist.is_initialized():
        dist.all_reduce(values)


class _Replica(nn.Module):
    """A model that gives, called without arguments, a 0 that has all its parameters in its graph."""

    def __init__(self, model: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - of the model
        if arguments or named:
            return self.call(*arguments, **named)
        return torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0
