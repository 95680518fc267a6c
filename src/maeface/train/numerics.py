"""How exactly a training computes: repeatable on a CPU, with TensorFloat-32 where it is enough on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def deterministic() -> Iterator[None]:
    """Use only deterministic operations: on the CPU, where they cost nothing; on a GPU they are slow."""
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = fill


@contextmanager
def tensor_float(allowed: bool) -> Iterator[None]:
    """Let a GPU multiply float32 matrices in TF32, which has 10 bits of precision, or not.

    It is enough where the network computes in bfloat16: the other products are those of the augmentation, of
    pixels, which have 8 bits.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
