"""Processes that train together, which do a step when they are told to, so that groups can take turns."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import torch

from maeface.train import ranks
from rates.steps import Setting, Step


class Group:
    """Processes of one thread each on this machine, joined by gloo; a context manager.

    Args:
        world: how many.
        steps: by name, as ``steps`` makes them.
        setting: of the steps.
    """

    def __init__(self, world: int, steps: Mapping[str, Callable[[Setting], Step]], setting: Setting) -> None:
        self.world = world
        context = multiprocessing.get_context("spawn")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(world):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, world, port, steps, setting, theirs))
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def step(self, name: str) -> None:
        """Let all of them do a step, and wait for it."""
        for pipe in self._pipes:
            pipe.send(name)
        for pipe in self._pipes:
            pipe.recv()

    def __enter__(self) -> Self:
        """Wait until all are ready."""
        for pipe in self._pipes:
            pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            if process.is_alive():
                pipe.send("")
        for process in self._processes:
            process.join()


def _serve(
    rank: int,
    world: int,
    port: int,
    makers: Mapping[str, Callable[[Setting], Step]],
    setting: Setting,
    pipe: Connection,
) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    with ranks.open_group(torch.device("cpu")):
        made = {name: make(setting) for name, make in makers.items()}
        pipe.send(None)
        while name := pipe.recv():
            made[name]()
            pipe.send(None)
