"""predict and prepare on a Ray cluster: two nodes on this machine, one of which is lost."""

import os
import re
import threading
import time
from pathlib import Path

import pytest

import drawn
from maeface import config, prepare, pretrain
from maeface.data.ingest import ray_work
from maeface.errors import ResourceError
from parts_cases import photo, photos, quick, run, slow
from test_prepare import READY, fake_find
from test_ranks import assert_same_weights

os.environ.setdefault(ray_work.UV_HOOK, "0")  # as a program does, before Ray is imported
pytest.importorskip("ray", reason="Ray is an extra (maeface[ray])")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes; its processes find the modules of the tests."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_a_lost_node_loses_and_doubles_no_row(tmp_path, cluster):
    folder = photos(tmp_path / "photos", 200)
    run(folder, tmp_path / "plain.csv", quick)
    second = cluster.add_node(num_cpus=1)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run(folder, tmp_path / "ray.csv", slow, ray=cluster.address))
    )
    thread.start()
    parts = tmp_path / "ray.csv.parts"
    wait_until(lambda: len(list(parts.glob("[!.]*.parquet"))) >= 3)
    cluster.remove_node(second, allow_graceful=False)
    thread.join(timeout=120)
    assert results[0].images == 200
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "plain.csv").read_bytes()
    assert not parts.exists()


@pytest.mark.filterwarnings("ignore")
def test_the_same_call_a_second_time_begins_anew(tmp_path, cluster):
    folder, out = photos(tmp_path / "photos", 8), tmp_path / "t.csv"
    assert run(folder, out, quick, ray=cluster.address).images == 8
    before = out.read_bytes()
    out.unlink()
    assert run(folder, out, quick, ray=cluster.address).images == 8
    assert out.read_bytes() == before


@pytest.mark.filterwarnings("ignore")
def test_prepare_gives_the_same_bytes_and_a_crash_loses_one_file(tmp_path, cluster):
    folder = photos(tmp_path / "photos", 12)
    settings = READY.model_copy(update={"workers": 1})
    prepare.run([folder], tmp_path / "plain", settings, make_find=fake_find)
    on_ray = settings.model_copy(update={"ray": cluster.address})
    prepare.run([folder], tmp_path / "ray", on_ray, make_find=fake_find)
    for name in ("manifest.parquet", "shards.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()

    photo(folder / "crash.png")
    summary = run(folder, tmp_path / "crash.csv", quick, ray=cluster.address)
    assert summary.skipped == {"crashed": 1} and summary.images == 12


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_hangs_is_timeout_and_its_process_ends(tmp_path, cluster):
    folder = photos(tmp_path / "photos", 4)
    photo(folder / "hang.png")
    summary = run(folder, tmp_path / "t.csv", quick, ray=cluster.address, file_timeout=2.0)
    assert summary.skipped == {"timeout": 1} and summary.images == 4
    assert "hang.png,0,0.0,-1,,timeout" in (tmp_path / "t.csv").read_text()


@pytest.mark.filterwarnings("ignore")
def test_a_wrong_address_is_one_clear_line(tmp_path):
    import ray

    ray.shutdown()
    with pytest.raises(ResourceError, match=r"no Ray cluster at 127\.0\.0\.1:1: "):
        run(photos(tmp_path / "photos", 1), tmp_path / "t.csv", quick, ray="127.0.0.1:1")


def wait_until(is_done, seconds=90):
    end = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore")
def test_the_example_of_ray_train_learns_what_one_process_learns(tmp_path, cluster, monkeypatch):
    import ray

    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")
    page = Path(__file__).parents[1] / "docs" / "user_guide" / "cluster.md"
    (block,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    small = ["model.size=nano", "model.image_size=16", "model.patch_size=8", "model.decoder_depth=1"]
    small += ["optim.epochs=2", "optim.warmup_epochs=0", "optim.batch=6", "run.workers=0", "run.device=cpu"]
    small += ["optim.micro_batch=6", "run.precision=fp32", "data.validation=0"]
    for written, meant in (
        ('"mae-face")', f'"mae-face", {small})'),
        ("/shared/faces", str(drawn.faces(tmp_path / "faces"))),
        ("/shared/runs/mae", str(tmp_path / "together")),
        ('"cpu:gloo,cuda:nccl"', '"gloo"'),
        ("num_workers=8, use_gpu=True", "num_workers=2, use_gpu=False"),
        ("RunConfig(failure", f"RunConfig(storage_path={str(tmp_path / 'ray')!r}, failure"),
    ):
        assert written in block
        block = block.replace(written, meant)
    node = cluster.add_node(num_cpus=2)
    ray.shutdown()
    ray.init(address=cluster.address)
    try:
        exec(block, {})
    finally:
        ray.shutdown()
        cluster.remove_node(node)
    pretrain.run(config.load(config.Pretrain, "mae-face", small), [tmp_path / "faces"], tmp_path / "alone")
    assert_same_weights(tmp_path, "alone", "together")
