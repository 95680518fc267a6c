"""Faults that a review of the engine of ``predict`` and ``prepare`` found; each test fails until it is mended."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from maeface import files, predict
from maeface.data.ingest import workers
from maeface.errors import ConfigError
from maeface.prediction import parts, pipeline, record
from parts_cases import photo, photos, quick, run, work_here
from test_parts import stop_after


@pytest.fixture
def here(monkeypatch):
    """No other process is started, which takes seconds."""
    monkeypatch.setattr(workers, "work", work_here)


def part_names(folder):
    return {path.name for path in parts.part_files(folder)}


def test_a_command_with_nothing_to_do_leaves_the_parts_of_a_running_one(tmp_path, monkeypatch, here):
    """Command A predicts to a folder of tables; B's table is there already, and B must not remove A's parts."""
    first, second, out = photos(tmp_path / "a", 8), photos(tmp_path / "b", 4), tmp_path / "tables"
    run(second, out)
    during = {}
    real = pipeline.Pipeline._add

    def add(self, unit, result):
        real(self, unit, result)
        if not during:
            during["before"] = part_names(out / ".parts")
            monkeypatch.setattr(pipeline.Pipeline, "_add", real)
            run(second, out)  # as another process would: it finds its tables and has nothing to do
            during["after"] = part_names(out / ".parts")

    monkeypatch.setattr(pipeline.Pipeline, "_add", add)
    try:
        run(first, out)
    except Exception as error:  # noqa: BLE001
        pytest.fail(f"command A failed: {type(error).__name__}: {error}")
    assert during["after"] == during["before"]


def test_a_table_that_is_there_does_not_end_a_run_with_other_settings(tmp_path, monkeypatch, here):
    """The same with one table: B asks for the settings of the old table while A makes it anew."""
    folder, out = photos(tmp_path / "in", 8), tmp_path / "t.csv"
    run(folder, out)
    real = pipeline.Pipeline._add
    done = []

    def add(self, unit, result):
        real(self, unit, result)
        if not done:
            done.append(1)
            run(folder, out)  # the settings of the table
            assert part_names(tmp_path / "t.csv.parts")

    monkeypatch.setattr(pipeline.Pipeline, "_add", add)
    run(folder, out, every=2)


def test_another_command_with_the_same_folder_keeps_what_is_unfinished(tmp_path, monkeypatch, here):
    """An interrupted run of some inputs goes on after a run of others to the same folder of tables."""
    first, second, out = photos(tmp_path / "a", 8), photos(tmp_path / "b", 4), tmp_path / "tables"
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        patched.setattr(pipeline.Pipeline, "_complete_if_finished", lambda self, name: None)
        with pytest.raises(KeyboardInterrupt):
            run(first, out)
    before = part_names(out / ".parts")
    assert before
    run(second, out)
    assert before <= part_names(out / ".parts")


def test_bf16_that_the_back_end_does_not_compute_is_no_difference():
    """The same command goes on, and finds its table, also where ``--precision bf16`` became fp32."""
    given = {"every": 1, "fps": None, "faces": "all", "aligned": True, "min_face": 32.0}
    given |= {"device": "cpu", "precision": "bf16", "backend": "onnxruntime", "track": None}
    header = record.make_header(Path(__file__), [Path(__file__)], None, given)
    used = {"backend": "onnxruntime", "device": "cpu", "precision": "fp32"}  # as ``describe_use``
    assert record.find_differences({**header, **used}, header) == []


@pytest.mark.parametrize("length", [244, 249, 251])
def test_the_longest_names_have_a_table_too_or_one_line(tmp_path, here, length):
    """A folder of tables, of an input whose name leaves no room for ``.csv.json``: others must go on."""
    folder, out = photos(tmp_path / "in", 2), tmp_path / "tables"
    photo(folder / f"0{'x' * (length - 5)}.png")  # before the others
    run(folder, out)
    assert (out / "000.png.csv").is_file() and (out / "001.png.csv").is_file()


def test_a_picture_of_the_longest_name(tmp_path, here, monkeypatch):
    monkeypatch.setattr(predict, "_draw", lambda predictor, folder, batch: sum(
        files.write_bytes(predict.picture_path(folder, one.image.name), b"x") is None for one in batch))
    folder = photos(tmp_path / "in", 2)
    photo(folder / f"{'x' * 250}.png")
    run(folder, tmp_path / "t.csv", pictures=tmp_path / "pictures")
