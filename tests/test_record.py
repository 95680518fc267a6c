"""The record of a prediction, beside its table and in the metadata of a Parquet file."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maeface import files, predict
from maeface.data.ingest import workers
from maeface.errors import DataError
from maeface.faces.detector_weights import EMBEDDED
from maeface.model import zoo
from maeface.prediction import record
from parts_cases import work_here


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The units are done in this process: to start another one takes seconds."""
    monkeypatch.setattr(workers, "work", work_here)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "bad.jpg").write_text("no photo")
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    return folder


def run(photos, out, **options):
    return predict.run([photos], None, out, device="cpu", **options)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_made_a_table_is_recorded(photos, tmp_path, suffix):
    out = photos / f"table.{suffix}"  # neither the table nor its record is an input
    for _ in range(2):
        run(photos, out, aligned=True, precision="fp32")
    read = json.loads((photos / f"table.{suffix}.json").read_text())
    assert [item["name"] for item in read["inputs"]] == ["0.png", "1.png", "bad.jpg", "gone.jpg"]
    expected = hashlib.sha256((photos / "0.png").read_bytes()).hexdigest()
    assert read["inputs"][0]["sha256"] == expected and read["inputs"][3]["sha256"] is None
    assert read["statuses"] == {"not_an_image": 1, "ok": 2, "unreadable": 1}
    assert (read["device"], read["precision"], read["detector"]) == ("cpu", "fp32", None)
    assert read["weights"]["files"] == [
        {"name": path.name, "sha256": files.sha256(path)} for path in zoo.files_of(zoo.find())
    ]
    assert read["options"]["aligned"] is True and read["started"] <= read["finished"]
    assert read.pop("table") == {"bytes": out.stat().st_size, "mtime_ns": out.stat().st_mtime_ns}
    if suffix == "parquet":
        assert json.loads(pq.read_metadata(out).metadata[b"maeface"]) == read
    assert not list(photos.glob(".*.tmp"))


def test_auto_is_resolved(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(record, "INPUTS_IN_PARQUET", 3)
    out = tmp_path / "table.parquet"
    run(photos, out)
    read = json.loads((tmp_path / "table.parquet.json").read_text())
    read.pop("table")
    assert read["detector"] == {
        "source": "embedded",
        "precision": "fp32",
        "name": EMBEDDED.name,
        "sha256": files.sha256(EMBEDDED),
    }
    assert read["precision"] in ("fp32", "bf16") and read["options"]["precision"] == "auto"
    stored = json.loads(pq.read_metadata(out).metadata[b"maeface"])
    assert stored == read | {"inputs": None, "input_count": 4}


def test_an_error_leaves_table_and_record_of_before(photos, tmp_path):
    out = tmp_path / "table.csv"
    run(photos, out, aligned=True)
    before = [path.read_bytes() for path in (out, tmp_path / "table.csv.json")]
    shutil.rmtree(photos)
    photos.mkdir()
    (photos / "bad.jpg").write_text("no photo")
    with pytest.raises(DataError, match="none of 1 inputs"):
        run(photos, out, aligned=True)
    assert [path.read_bytes() for path in (out, tmp_path / "table.csv.json")] == before
    assert len(list(tmp_path.iterdir())) == 3


def test_bf16_that_the_back_end_does_not_compute_is_no_difference():
    """The same command goes on, and finds its table, also where ``--precision bf16`` became fp32."""
    given = {"every": 1, "fps": None, "faces": "all", "aligned": True, "min_face": 32.0}
    given |= {"device": "cpu", "precision": "bf16", "backend": "onnxruntime", "track": None}
    header = record.make_header(Path(__file__), [Path(__file__)], None, given)
    used = {"backend": "onnxruntime", "device": "cpu", "precision": "fp32"}  # as ``describe_use``
    assert record.find_differences({**header, **used}, header) == []
