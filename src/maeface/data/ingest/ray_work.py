"""Work on a Ray cluster, in the manner of ``workers.work``: one task for each item.

Tasks get paths, never images, so files and results have to be on storage that all nodes share. A task may run
twice, when its node is lost; its job must then give the same result. Ray is an extra (``maeface[ray]``).
"""

import math
import os
import pickle
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from maeface.data.ingest.workers import CRASHED, THREADS, TIMEOUT, Job, Lose, Notify
from maeface.errors import MaefaceError, ResourceError, install_command, is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

UV_HOOK = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
"""The variable by which Ray, below ``uv run``, installs the current folder on each node, without extras."""
LOCAL = "local"
"""The address of a cluster that is started on this machine, for this call."""
RETRIES = 1
"""How often a task is repeated whose node or process was lost."""
WAITING_FOR_EACH = 1.5
"""Tasks that are submitted for each CPU core of the cluster, so that none waits for the next task."""
POLL_S = 1.0
CONNECT_S = 10.0
END_S = 1.0
"""How long a process lives whose job was given up."""


def work(
    setup: Callable[[], Job[Item, Result]],
    items: Iterable[Item],
    address: str,
    notify: Notify = lambda amount: None,
    lose: Lose[Item] | None = None,
    limit_s: float | None = None,
    together: int | None = None,
    gpus: float = 0,
) -> Generator[tuple[Item, Result], None, None]:
    """Process ``items`` as tasks of a Ray cluster; yield each item with its result when it is finished.

    Args:
        setup: called once in each process; returns the job. Pickled.
        items: pickled one at a time. An iterator is advanced when a core is nearly free.
        address: of the cluster, as for ``ray.init``, or ``LOCAL``.
        notify: as for ``workers.work``, but called when an item is finished.
        lose: as for ``workers.work``; ``CRASHED`` is an item whose process was lost ``1 + RETRIES`` times,
            ``TIMEOUT`` one that reported no progress for ``limit_s``. None: ResourceError.
        limit_s: a process whose job reports no progress for so long gives it up, and ends; None: never.
        together: how many tasks may run at the same time; None: as many as there are cores.
        gpus: GPUs that a task needs.

    Raises:
        MaefaceError: as raised by the job.
        ResourceError: Ray is not installed, there is no cluster at the address, or it has no GPU for a task.
    """
    ray, is_ours = _connect(address)
    run = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_run)
    packed = ray.put(pickle.dumps((uuid.uuid4().hex, setup)))  # a process that did another call sets up anew
    waiting = iter(items)
    running: dict[Any, Item] = {}
    try:
        while True:
            if gpus > ray.cluster_resources().get("GPU", 0):
                raise ResourceError(f"the Ray cluster {address} has no GPU; ask for device cpu")
            cores = together or int(WAITING_FOR_EACH * ray.cluster_resources().get("CPU", 1)) or 1
            for item in islice(waiting, max(0, cores - len(running))):
                running[run.remote(packed, item, limit_s)] = item
            if not running:
                return
            for finished in ray.wait(list(running), timeout=POLL_S)[0]:
                item = running.pop(finished)
                result, amount = _fetch(ray, finished)
                if not isinstance(result, _Lost):
                    notify(amount)
                    yield item, result
                elif lose is None:
                    raise ResourceError(f"a task of Ray was lost ({result.detail})")
                else:
                    lose(item, result.status, result.detail)
    finally:
        with suppress(Exception):  # a lost cluster must not hide the error before
            for task in running:
                ray.cancel(task, force=True)
        if is_ours:
            ray.shutdown()


@dataclass(frozen=True)
class _Lost:
    """Stands for the result of a task that has none: why, as ``workers.work`` tells its caller."""

    status: str
    detail: str


def _fetch(ray: Any, task: Any) -> tuple[Any, int]:  # noqa: ANN401
    """Return the result of a finished task and its amount; raise the error of its job."""
    try:
        result: tuple[Any, int] = ray.get(task)
        return result
    except ray.exceptions.RayTaskError as error:
        if not is_out_of_memory(error.cause):
            raise error.cause if isinstance(error.cause, MaefaceError) else error from None
        return _Lost(CRASHED, "out of memory"), 0
    except ray.exceptions.RayError as error:
        return _Lost(CRASHED, _first_line(error)), 0


def _connect(address: str) -> tuple[Any, bool]:
    """Return the module, and whether a cluster was started for this call, not one that the caller uses."""
    os.environ.setdefault(UV_HOOK, "0")  # before the import, which reads it
    try:
        import ray
    except ImportError as error:
        raise ResourceError(f"Ray is not installed; install it with: {install_command('ray')}") from error
    is_ours = address == LOCAL and not ray.is_initialized()
    options: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _require_reachable(address)
        ray.init(
            address=address,
            ignore_reinit_error=True,
            log_to_driver=False,
            runtime_env={"env_vars": dict.fromkeys(THREADS, "1")},
            **options,
        )
    except (OSError, ValueError, RuntimeError) as error:
        advice = "" if address == LOCAL else "; if it has a token, set RAY_AUTH_MODE=token here too"
        raise ResourceError(f"no Ray cluster at {address}: {_first_line(error)}{advice}") from error
    finally:
        if threading.current_thread() is threading.main_thread():  # Ray has set its own
            for number, handler in handlers.items():
                if handler is not None:
                    signal.signal(number, handler)
    return ray, is_ours


def _require_reachable(address: str) -> None:
    """Connect to an address HOST:PORT, because Ray tries it for minutes.

    Raises:
        OSError: nothing answers.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        socket.create_connection((host, int(port)), CONNECT_S).close()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _run(setup: bytes, item: Any, limit_s: float | None) -> tuple[Any, int]:  # noqa: ANN401
    """Do an item in a process of Ray; return its result and the sum of the reported amounts.

    The job has a thread of its own: one that hangs cannot return anything, but this function can.
    """
    total = 0
    last_s = math.inf  # when the job has reported something; the time of the setup does not count

    def notify(amount: int) -> None:
        nonlocal total, last_s
        total, last_s = total + amount, time.monotonic()

    pool = ThreadPoolExecutor(1)
    result = pool.submit(lambda: _job(setup)(item, notify))
    while not wait([result], POLL_S).done:
        if limit_s is not None and time.monotonic() - last_s > limit_s:
            _end_soon()
            return _Lost(TIMEOUT, f"no progress for {limit_s:g} s"), 0
    pool.shutdown()
    return result.result(), total


def _end_soon() -> None:
    """End this process when Ray has sent the result of its task.

    A task that it gets before is lost and done again, as after the loss of a node.
    """
    timer = threading.Timer(END_S, os._exit, (1,))
    timer.daemon = True
    timer.start()


@lru_cache(maxsize=1)
def _job(setup: bytes) -> Job[Any, Any]:
    _, make = pickle.loads(setup)
    job: Job[Any, Any] = make()
    return job
