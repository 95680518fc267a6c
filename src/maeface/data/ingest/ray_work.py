"""Work on a Ray cluster, in the manner of ``workers.work``: one task for each item.

Tasks get paths, never images, so files and results have to be on storage that all nodes share. A task may run
twice, when its node is lost; its job must then give the same result. Ray is an extra (``maeface[ray]``).
"""

import os
import pickle
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from maeface.data.ingest.workers import CRASHED, THREADS, Job, Lose, Notify
from maeface.errors import MaefaceError, ResourceError, is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL = "local"
"""The address of a cluster that is started on this machine, for this call."""
RETRIES = 1
"""How often a task is repeated whose node or process was lost."""
WAITING_FOR_EACH = 1.5
"""Tasks that are submitted for each CPU core of the cluster, so that none waits for the next task."""
POLL_S = 1.0
CONNECT_S = 10.0


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
        lose: called with an item whose process was lost ``1 + RETRIES`` times; None: ResourceError.
        limit_s: a process that reports no progress for so long ends itself; None: never.
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
                try:
                    result, amount = ray.get(finished)
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause
                    if not is_out_of_memory(cause) or lose is None:
                        raise cause if isinstance(cause, MaefaceError) else error from None
                    lose(item, CRASHED, "out of memory")
                    continue
                except ray.exceptions.RayError as error:
                    if lose is None:
                        raise ResourceError(f"a task of Ray was lost ({_first_line(error)})") from error
                    lose(item, CRASHED, _first_line(error))
                    continue
                notify(amount)
                yield item, result
    finally:
        with suppress(Exception):  # a lost cluster must not hide the error before
            for task in running:
                ray.cancel(task, force=True)
        if is_ours:
            ray.shutdown()


def _connect(address: str) -> tuple[Any, bool]:
    """Return the module, and whether a cluster was started for this call, not one that the caller uses."""
    try:
        import ray
    except ImportError as error:
        raise ResourceError("Ray is not installed; install it with: uv pip install 'maeface[ray]'") from error
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
    """Do an item in a process of Ray; return its result and the sum of the reported amounts."""
    total = 0
    with _ended_when_silent(limit_s) as report:

        def notify(amount: int) -> None:
            nonlocal total
            total += amount
            report()

        result = _job(setup)(item, notify)
    return result, total


@lru_cache(maxsize=1)
def _job(setup: bytes) -> Job[Any, Any]:
    _, make = pickle.loads(setup)
    job: Job[Any, Any] = make()
    return job


@contextmanager
def _ended_when_silent(limit_s: float | None) -> Iterator[Callable[[], None]]:
    """Yield a function that reports progress; end the process if it is not called for too long."""
    last_s: float | None = None
    over = threading.Event()

    def report() -> None:
        nonlocal last_s
        last_s = time.monotonic()

    def watch() -> None:
        while not over.wait(POLL_S):
            if limit_s is not None and last_s is not None and time.monotonic() - last_s > limit_s:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield report
    finally:
        over.set()
