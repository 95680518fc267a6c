"""Faults that a review of ``predict`` and ``prepare`` found; each test fails until its fault is mended."""

import pytest
from typer.testing import CliRunner

from maeface import cli, files, predict
from maeface.data.ingest import workers
from maeface.prediction import parts, pipeline, tables
from parts_cases import photo, photos, run, work_here
from test_parts import stop_after


@pytest.fixture
def here(monkeypatch):
    """No other process is started, which takes seconds."""
    monkeypatch.setattr(workers, "work", work_here)


def part_names(folder):
    return {path.name for path in parts.part_files(folder)}


def test_a_command_with_nothing_to_do_leaves_the_parts_of_a_running_one(tmp_path, monkeypatch, here):
    """Command A predicts to a folder of tables; B's table is there, and B must not remove A's parts."""
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
    except Exception as error:
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


@pytest.mark.parametrize("length", [244, 249, 251])
def test_the_longest_names_have_a_table_too_or_one_line(tmp_path, here, length):
    """A folder of tables, of an input whose name leaves no room for ``.csv.json``: others must go on."""
    folder, out = photos(tmp_path / "in", 2), tmp_path / "tables"
    photo(folder / f"0{'x' * (length - 5)}.png")  # before the others
    run(folder, out)
    assert (out / "000.png.csv").is_file() and (out / "001.png.csv").is_file()


def test_a_picture_of_the_longest_name(tmp_path, here, monkeypatch):
    monkeypatch.setattr(
        predict,
        "_draw",
        lambda predictor, folder, batch: sum(
            files.write_bytes(predict.picture_path(folder, one.image.name), b"x") is None for one in batch
        ),
    )
    folder = photos(tmp_path / "in", 2)
    photo(folder / f"{'x' * 250}.png")
    run(folder, tmp_path / "t.csv", pictures=tmp_path / "pictures")


def test_a_wrong_slash_leaves_no_folder(tmp_path):
    """``--out t.csv/`` is refused, and must not leave a folder t.csv that refuses ``--out t.csv`` too."""
    photo(tmp_path / "a.png")
    said = CliRunner().invoke(cli.app, ["predict", str(tmp_path / "a.png"), "--out", f"{tmp_path}/t.csv/"])
    assert said.exit_code and not (tmp_path / "t.csv").exists()


def test_a_run_that_ends_leaves_the_folder_of_one_that_begins(tmp_path, monkeypatch, here):
    """A removes its parts and their lock; B begins in the same folder at once, before A has left it."""
    folder, out = photos(tmp_path / "in", 4), tmp_path / "t.csv"
    real = pipeline.remove_parts
    begun = []

    def remove(folder, keep_lock=False):
        real(folder, keep_lock)
        begun.append(pipeline.parts_folder(folder, {}))
        begun[0].__enter__()
        files.write_json(folder / pipeline.HEADER, {"of": "B"})

    monkeypatch.setattr(tables, "remove_parts", remove)
    run(folder, out)
    assert pipeline.read_header(tmp_path / "t.csv.parts") == {"of": "B"}
