import os
import signal
import time
from functools import partial

import pytest

from maeface.data.ingest import cores, runner, workers
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


def test_lost_items_are_told_and_the_others_go_on():
    lost, amounts = [], []
    items = [1, 15, 2, 16, 3, 15, 4]
    results = workers.work(setup, items, 2, amounts.append, lambda *what: lost.append(what), limit_s=0.5)
    assert sorted(item for item, _ in results) == [1, 2, 3, 4]
    assert sorted(lost) == [
        (15, "crashed", "signal 9"),
        (15, "crashed", "signal 9"),
        (16, "timeout", "no progress for 0.5 s"),
    ]
    assert sum(amounts) == 1 + 2 + 3 + 4


def slow_setup():
    time.sleep(2)
    return job


def test_the_time_of_the_setup_does_not_count():
    assert len(list(workers.work(slow_setup, [1, 2], 1, lose=pytest.fail, limit_s=0.5))) == 2


def test_the_processes_end_when_the_caller_stops():
    results = workers.work(setup, [1, 16], 2)
    _, (_, pid) = next(results)
    begun = time.monotonic()
    results.close()
    assert time.monotonic() - begun < 10
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def fake_system(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


CGROUP = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        ({f"{CGROUP}/cpu.max": "max 100000\n"}, 16),
        ({f"{CGROUP}/cpu.max": "150000 100000\n"}, 2),  # 1.5, rounded up
        ({f"{CGROUP}/cpu.max": "1000 100000\n"}, 1),
        ({f"{CGROUP}/cpu.max": "9900000 100000\n"}, 16),  # the affinity is the smaller one
        ({f"{CGROUP}/cpu.max": "nonsense\n"}, 16),
        # the limit of a group above its own
        (
            {
                "proc/self/cgroup": "0::/jobs/one\n",
                f"{CGROUP}/jobs/cpu.max": "300000 100000\n",
                f"{CGROUP}/jobs/one/cpu.max": "max 100000\n",
            },
            3,
        ),
        # a path outside the namespace, in a container
        ({"proc/self/cgroup": "0::/../other\n", f"{CGROUP}/cpu.max": "400000 100000\n"}, 4),
        # version 1
        (
            {
                "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n",
                f"{CGROUP}/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
                f"{CGROUP}/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n",
                f"{CGROUP}/cpu/cpu.cfs_quota_us": "50000\n",
                f"{CGROUP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1\n",
                f"{CGROUP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_cores_within_the_limits_of_a_container(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert cores.count_cores(fake_system(tmp_path, files)) == expected


def test_cores_of_this_machine():
    assert 1 <= cores.count_cores() <= len(os.sched_getaffinity(0))


def test_a_cluster_is_used_whole_however_few_processes_this_machine_has(monkeypatch):
    together = []

    def work(*arguments, **options):
        together.append(options["together"])
        yield from ()

    monkeypatch.setattr(runner.ray_work, "work", work)
    on_ray = runner.Runner("predict", dict, runner.Resources(1, ray="local"), print)
    assert list(on_ray.do_units([], [])) == []
    assert list(on_ray.do_files([], print)) == []
    assert together == [None, 1]  # files that crashed have the memory of a node for themselves


def note_setup(folder):
    """Set up for longer than a process needs to start on busy cores; note begin and end."""
    begin = time.time()
    time.sleep(5)
    (folder / f"{os.getpid()}").write_text(f"{begin} {time.time()}")
    return lambda item, notify: None


def test_large_units_do_not_start_the_processes_one_after_the_other(tmp_path):
    """The pipe to a process that is being set up takes 208 KiB; a unit of 1024 photos may have more."""
    items = [bytes(400_000)] * 2
    for _ in workers.work(partial(note_setup, tmp_path), items, 2):
        pass
    spans = [[float(one) for one in path.read_text().split()] for path in tmp_path.iterdir()]
    (_, first_end), (second_begin, _) = sorted(spans)
    assert second_begin < first_end
