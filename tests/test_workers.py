import os
import signal
import time

import pytest

from maeface.data.ingest import workers
from maeface.errors import DataError, ResourceError


def setup():
    return job


def job(item, notify):
    notify(item)
    if item == 13:
        raise DataError("thirteen")
    if item == 14:
        raise ZeroDivisionError("fourteen")
    if item == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 16:
        time.sleep(60)
    return item * item, os.getpid()


def bad_setup():
    raise DataError("cannot start")


def test_each_item_is_done_once():
    seen = []
    results = dict(workers.work(setup, range(8), 3, seen.append))
    assert {item: square for item, (square, _) in results.items()} == {n: n * n for n in range(8)}
    assert sorted(seen) == list(range(8))
    assert os.getpid() not in {pid for _, pid in results.values()}


@pytest.mark.parametrize(
    ("start", "item", "error", "message"),
    [
        (setup, 13, DataError, "thirteen"),
        (setup, 14, RuntimeError, "ZeroDivisionError: fourteen"),
        (setup, 15, ResourceError, r"ended unexpectedly \(signal 9"),
        (bad_setup, 1, DataError, "cannot start"),
    ],
)
def test_what_goes_wrong_in_a_process_is_raised_here(start, item, error, message):
    with pytest.raises(error, match=message):
        list(workers.work(start, [item], 1))


def test_the_processes_end_when_the_caller_stops():
    results = workers.work(setup, [1, 16], 2)
    _, (_, pid) = next(results)
    begun = time.monotonic()
    results.close()
    assert time.monotonic() - begun < 10
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
