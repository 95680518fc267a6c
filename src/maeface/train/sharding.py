"""A network in parts: each rank keeps one of its weights, gradients and moments (PyTorch's FSDP2).

Every function is called by all ranks, in the same order, unless it says otherwise.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from maeface.model.vit import Block


def shard(model: nn.Module, device: torch.device, compiled: bool) -> nn.Module:
    """Return a copy of a model of which this rank has a part; the model itself moves to the CPU.

    The weights of a block are put together when it is computed, and parted again after it. The gradients are
    the mean over the ranks, as of ``ranks.replicate``; each rank has to do as many passes as the others.

    Args:
        model: with the same weights on all ranks.
        device: of this rank.
        compiled: whether to compile the blocks.
    """
    parted = copy.deepcopy(model)
    model.eval().cpu()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in parted.modules():
        if isinstance(module, Block):
            if compiled:
                module.compile()
            fully_shard(module, mesh=mesh)
    fully_shard(parted, mesh=mesh)
    # outputs are slices of one tensor, and nothing changes them in place
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    return parted


def own(value: Tensor) -> Tensor:
    """Return this rank's part of a tensor, which shares its memory; called by any rank."""
    return value.to_local() if isinstance(value, DTensor) else value


def part(whole: Tensor, like: Tensor) -> Tensor:
    """Return this rank's part of a tensor that all have, where ``like`` is in parts; called by any rank."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


@contextmanager
def gathered(weights: Mapping[str, Tensor], whole: nn.Module, device: torch.device) -> Iterator[None]:
    """Give a model, which is on the CPU, the whole weights on a device within the ``with`` block."""
    gather(weights, whole, device)
    try:
        yield
    finally:
        whole.cpu()


@torch.no_grad()
def gather(weights: Mapping[str, Tensor], whole: nn.Module, device: torch.device) -> None:
    """Move a model to a device and give it the whole weights, by name; one tensor after the other."""
    whole.to(device)
    for name, target in whole.state_dict().items():
        value = weights[name]
        target.copy_(value.full_tensor() if isinstance(value, DTensor) else value)
