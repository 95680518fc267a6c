"""Parts of a prediction: whatever interrupts a run, the same command goes on and ends with the same bytes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partialmethod
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

import parts_cases
from maeface import checks, files, predict
from maeface.data.ingest import segments, workers
from maeface.data.ingest.inputs import Input, find_inputs
from maeface.errors import ConfigError, DataError, ResourceError
from maeface.faces import video
from maeface.prediction import parts, pipeline, plan, tables, units
from parts_cases import photo, photos, run, work_here
from test_pieces import BREAKS
from test_pieces import film as damaged_film

ALONE = """
import sys
from pathlib import Path
import parts_cases
if __name__ == "__main__":
    parts_cases.run(Path(sys.argv[1]), Path(sys.argv[2]), parts_cases.slow)
"""
KILLS = int(os.environ.get("MAEFACE_TEST_KILLS", "2"))
"""How often a run is killed; more takes minutes."""


def rows_of(out):
    return pd.read_csv(out)


def record_of(out):
    read = json.loads(out.with_name(f"{out.name}.json").read_text())
    return {name: value for name, value in read.items() if name not in ("started", "finished", "table")}


def stop_after(monkeypatch, count, error=KeyboardInterrupt):
    """Raise an error when so many units are finished; return the names of the units that were begun later."""
    real = pipeline.Pipeline._add
    seen = []

    def add(self, unit, result):
        real(self, unit, result)
        seen.append([item.source for item in unit.inputs])
        if len(seen) == count:
            raise error

    monkeypatch.setattr(pipeline.Pipeline, "_add", add)
    return seen


@pytest.fixture
def interrupted(tmp_path, monkeypatch, here):
    """A folder of 40 photos and a table of which two units of four photos are finished."""
    folder, out = photos(tmp_path / "in", 40), tmp_path / "t.csv"
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out, workers=1)
    assert not out.exists() and len(list((tmp_path / "t.csv.parts").glob("*.parquet"))) >= 2
    return folder, out


@pytest.fixture
def here(monkeypatch):
    """No other process is started, which takes seconds."""
    monkeypatch.setattr(workers, "work", work_here)


def finished_names(out):
    return {
        name
        for of_part in parts.read_entries(Path(f"{out}.parts")).values()
        for name in (entry.name for entry in of_part)
    }


def test_killed_at_random_moments(tmp_path):
    folder = photos(tmp_path / "in", 75 * KILLS)
    run(folder, tmp_path / "alone.csv")
    out = tmp_path / "t.csv"
    (tmp_path / "main.py").write_text(ALONE)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tmp_path / "main.py"), str(folder), str(out)]
    dice, kept = random.Random(0), []
    for _ in range(KILLS):
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
        )
        before = len(list(tmp_path.glob("t.csv.parts/*.parquet")))
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:  # the start takes seconds
            if len(list(tmp_path.glob("t.csv.parts/*.parquet"))) > before:
                break
            time.sleep(0.02)
        time.sleep(dice.random() * 0.3)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if out.exists():  # it was finished
            break
        kept.append(len(list(tmp_path.glob("t.csv.parts/*.parquet"))))
    assert kept and kept == sorted(kept), kept
    run(folder, out)
    assert out.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert record_of(out) == record_of(tmp_path / "alone.csv")
    assert not (tmp_path / "t.csv.parts").exists()


def test_only_what_is_missing_is_done(interrupted, monkeypatch, capsys):
    folder, out = interrupted
    finished = finished_names(out)
    read = pd.read_parquet(f"{out}.parts")  # as the message says
    assert set(read["input"]) == finished and len(finished) >= 8
    seen = stop_after(monkeypatch, -1)
    summary = run(folder, out)
    assert "have rows already" in capsys.readouterr().err
    assert not finished & {name for names in seen for name in names}
    assert sorted(finished | {name for names in seen for name in names}) == sorted(
        path.name for path in folder.iterdir()
    )
    run(folder, out.with_name("alone.csv"))
    assert out.read_bytes() == out.with_name("alone.csv").read_bytes()
    assert (summary.inputs, summary.images, summary.there) == (40, 40, 0)
    seen.clear()
    again = run(folder, out)
    assert seen == [] and again.there == 40 and "40 already there" in str(again)
    assert (again.faces, again.without_face) == (summary.faces, summary.without_face)


def test_the_message_of_a_stopped_run(interrupted, monkeypatch, capsys):
    folder, out = interrupted
    before = len(pd.read_parquet(f"{out}.parts"))
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, workers=1)
    said = capsys.readouterr().err
    rows = len(pd.read_parquet(f"{out}.parts"))
    assert rows > before
    assert f"{rows} rows of " in said and f'pandas.read_parquet("{out}.parts") reads them' in said
    assert "the same command goes on" in said


def test_the_message_of_a_stopped_run_with_a_table_each(tmp_path, monkeypatch, here, capsys):
    folder, out = photos(tmp_path / "in", 40), tmp_path / "each"
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, workers=1)
    tables = len(list(out.glob("*.csv")))
    assert tables > 0
    line = f"predict: {tables} tables are finished in {out}; the same command goes on"
    assert line in capsys.readouterr().err.splitlines()


def test_settings_are_named_as_they_are_typed(tmp_path, here, capsys):
    folder, out = photos(tmp_path / "in", 2), tmp_path / "t.csv"
    run(folder, out)
    with checks.name_options():
        run(folder, out, au_thresholds={"AU04": 0.3, "AU12": 0.5}, fps=5)
        run(folder, out, device="cpu")
    said = capsys.readouterr().err
    assert (
        "settings: --fps was not given, now 5; --au-threshold was not given, now AU04=0.3 and AU12=0.5"
        in said
    )
    assert "; --au-threshold was AU04=0.3 and AU12=0.5, now not given; it will be made anew" in said


def test_files_that_change_between_runs(interrupted, monkeypatch):
    folder, out = interrupted
    names = sorted(finished_names(out))
    touched, changed, gone, moved = names[:4]
    os.utime(folder / touched)
    photo(folder / changed, 30)
    (folder / gone).unlink()
    shutil.copy(folder / moved, folder / "other")
    (folder / "other").replace(folder / moved)
    photo(folder / "0000.png", 20)
    photo(folder / "zzz.png", 20)
    seen = stop_after(monkeypatch, -1)
    run(folder, out)
    redone = {name for unit in seen for name in unit}
    assert changed in redone and {"0000.png", "zzz.png"} <= redone
    assert not {touched, moved, gone, *names[4:]} & redone
    rows = rows_of(out)
    run(folder, out.with_name("alone.csv"))
    assert out.read_bytes() == out.with_name("alone.csv").read_bytes()
    assert gone not in set(rows["input"]) and (rows["input"] == changed).sum() == 3
    assert record_of(out) == record_of(out.with_name("alone.csv"))


def test_the_parts_of_files_that_are_gone_are_removed(interrupted):
    folder, out = interrupted
    before = set(Path(f"{out}.parts").glob("*.parquet"))
    for name in finished_names(out):
        (folder / name).unlink()
    listing = [Input(path.name, str(path), path.stat().st_size, False) for path in folder.iterdir()]
    assert parts.find_finished(Path(f"{out}.parts"), listing) == {}
    assert before and not list(Path(f"{out}.parts").glob("*.parquet"))


def test_same_size_and_time_of_change_are_trusted_and_other_content_is_not(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("abcd")
    content = parts.look_at(path)._replace(sha256=parts.hash_of(path))
    assert content.still_of(path)
    os.utime(path, ns=(1, 1))
    assert content.still_of(path)
    path.write_text("abce")
    assert not content.still_of(path)
    path.write_text("abcde")
    assert not content.still_of(path)
    path.unlink()
    assert not content.still_of(path) and parts.look_at(path).still_of(path)


@pytest.mark.parametrize(("backend", "processes"), [("openvino", 3), ("torch", 2), ("auto", 2)])
def test_a_gpu_has_as_many_processes_as_its_memory_and_a_back_end_of_the_cpu_all(
    tmp_path, monkeypatch, backend, processes
):
    counts = []

    def work(setup, items, count, *arguments):
        counts.append(count)
        return work_here(setup, items, count, *arguments)

    monkeypatch.setattr(workers, "work", work)
    monkeypatch.setattr(predict, "finds_gpu", lambda: True)
    monkeypatch.setattr(predict, "count_gpu_processes", lambda device: 2)
    monkeypatch.setattr(predict, "count_cores", lambda: 3)
    options = {"device": "auto", "backend": backend, "workers": None}
    run(photos(tmp_path / "in", 1), tmp_path / "t.csv", **options)
    assert counts == [processes]


def test_a_timeout_of_nothing_is_refused(tmp_path):
    for timeout in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="file_timeout is "):
            run(photos(tmp_path / "in", 1), tmp_path / "t.csv", file_timeout=timeout)


def test_other_settings_are_refused_while_a_run_is_unfinished(interrupted):
    folder, out = interrupted
    refused = (({"faces": "largest"}, "faces was all, now largest"), ({"every": 2}, "every was 1, now 2"))
    for options, says in refused:
        with pytest.raises(ConfigError, match=says) as caught:
            run(folder, out, **options)
        assert "choose another --out, or delete that folder" in str(caught.value)
    with pytest.raises(ConfigError, match="precision was fp32, now bf16"):
        run(folder, out, precision="bf16")
    assert finished_names(out)
    run(folder, out, max_bad=0.5, precision="fp32", file_timeout=99.0)
    assert len(set(rows_of(out)["input"])) == 40


def test_a_finished_table_is_made_again_if_something_changed(tmp_path, here):
    folder, out = photos(tmp_path / "in", 5), tmp_path / "t.csv"
    assert run(folder, out).there == 0 and run(folder, out).there == 5
    assert run(folder, out, faces="largest").there == 0
    assert run(folder, out, faces="largest").there == 5
    os.utime(folder / "000.png")
    assert run(folder, out, faces="largest").there == 5
    photo(folder / "000.png", 30)
    assert run(folder, out, faces="largest").there == 0
    assert (rows_of(out)["input"] == "000.png").sum() == 3
    photo(folder / "new.png")
    assert run(folder, out, faces="largest").there == 0
    out.unlink()
    assert run(folder, out, faces="largest").there == 0 and out.exists()


def test_files_that_crash_and_hang(tmp_path, capsys):
    folder, out = photos(tmp_path / "in", 12), tmp_path / "t.csv"
    photo(folder / "002crash.png")
    photo(folder / "005hang.png")
    (folder / "006.txt").write_text("no photo")
    summary = run(folder, out, file_timeout=2.0, max_bad=0.1)
    rows = rows_of(out)
    assert list(rows["input"]) == sorted(rows["input"])
    lost = rows[~rows["status"].isin(["ok", "no_face"])]
    assert dict(zip(lost["input"], lost["status"], strict=True)) == {
        "002crash.png": "crashed",
        "005hang.png": "timeout",
        "006.txt": "not_an_image",
    }
    assert summary.skipped == {"crashed": 1, "timeout": 1, "not_an_image": 1}
    assert summary.bad == 3 and summary.too_many_bad and "3 of 15 inputs could not" in str(summary)
    said = capsys.readouterr().err
    assert "002crash.png is left out: crashed (signal 11)" in said and "skipped 006.txt" in said
    for name in ("002crash.png", "005hang.png"):
        (folder / name).unlink()
    run(folder, tmp_path / "plain.csv")
    whole = out.read_text().splitlines()
    plain = (tmp_path / "plain.csv").read_text().splitlines()
    assert [line for line in whole if "crash" not in line and "hang" not in line] == plain


def test_a_full_disk_keeps_what_is_finished(tmp_path, small_files):
    folder, out = photos(tmp_path / "in", 400), tmp_path / "t.csv"
    with pytest.raises(ResourceError, match="cannot write"):
        run(folder, out)
    assert not out.exists() and len(finished_names(out)) == 400  # the table was too large, no part was
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_that_is_in_use(tmp_path):
    folder, out = photos(tmp_path / "in", 3), tmp_path / "t.csv"
    with pipeline.parts_folder(Path(f"{out}.parts"), {}), pytest.raises(ResourceError, match="in use"):
        run(folder, out)


def test_no_input_can_be_read(tmp_path, here):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("no photo")
    with pytest.raises(DataError, match="none of 1 inputs could be read: 1 not_an_image"):
        run(tmp_path / "in", tmp_path / "t.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_table_of_each_input(tmp_path, monkeypatch, here):
    folder, out = photos(tmp_path / "in", 8), tmp_path / "tables"
    photo(folder / "sub" / "a,b.png", 20)
    (folder / "bad.jpg").write_text("no photo")
    summary = run(folder, out)
    run(folder, tmp_path / "all.csv")
    listed = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    names = [*(f"{n:03d}.png" for n in range(8)), "bad.jpg", "sub/a,b.png"]
    assert listed == sorted([f"{name}.csv{suffix}" for name in names for suffix in ("", ".json")])
    joined = pd.concat([rows_of(out / f"{name}.csv") for name in names], ignore_index=True)
    pd.testing.assert_frame_equal(joined, rows_of(tmp_path / "all.csv"), check_dtype=False)
    assert (summary.inputs, summary.there, summary.bad) == (10, 0, 1)
    seen = stop_after(monkeypatch, -1)
    photo(folder / "new.png")
    photo(folder / "003.png", 10)
    (out / "004.png.csv").unlink()
    again = run(folder, out)
    assert sorted(name for unit in seen for name in unit) == ["003.png", "004.png", "new.png"]
    assert (again.inputs, again.there) == (11, 8)
    assert run(folder, out).there == 11
    assert run(folder, out, faces="largest").there == 0


def test_a_table_of_each_input_after_a_stop(tmp_path, monkeypatch, here):
    folder, out = photos(tmp_path / "in", 20), tmp_path / "tables"
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out, workers=1)
    tables_there = set(out.glob("*.csv"))
    assert len(tables_there) == 8
    summary = run(folder, out)
    assert summary.inputs == 20 and summary.there == 8 and len(list(out.glob("*.csv"))) == 20
    assert not (out / ".parts").exists()


def test_parts_are_removed_when_the_tables_of_their_inputs_are_written(tmp_path, monkeypatch, here):
    folder, out = photos(tmp_path / "in", 8), tmp_path / "tables"
    film(folder / "004.mp4", 25)
    seen, real = [], tables.write_table

    def write(*values):
        entries = parts.read_entries(out / ".parts").values()
        names = [sorted({entry.name for entry in of_part}) for of_part in entries]
        seen.append((names, len(list(plan.index_files(out / ".parts")))))
        return real(*values)

    monkeypatch.setattr(tables, "write_table", write)
    run(folder, out)
    first, second = [[f"00{k}.png" for k in numbers] for numbers in (range(4), range(4, 8))]
    film_only = [["004.mp4"], ["004.mp4"]]
    assert seen == [*[([first], 0)] * 4, (film_only, 1), *[([second], 0)] * 4]


def test_stopped_before_and_after_every_change_of_a_file(tmp_path, monkeypatch, here):
    folder = photos(tmp_path / "in", 5)
    film(folder / "film.mp4", 25)
    run(folder, tmp_path / "whole")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.csv")}
    real, predicted = predict.predict_unit, []
    monkeypatch.setattr(
        predict, "predict_unit", lambda unit, *rest: predicted.append(unit) or real(unit, *rest)
    )
    stops = 0
    for after in (False, True):
        for nth in range(1 + after, 200, 5):  # every one takes a minute
            out, calls = tmp_path / f"{after}{nth}", 0

            def stop(self, *rest, change, after=after, nth=nth, **options):
                nonlocal calls
                calls += 1
                if calls == nth and not after:
                    raise KeyboardInterrupt
                change(self, *rest, **options)
                if calls == nth:
                    raise KeyboardInterrupt

            with monkeypatch.context() as patched:
                for name in ("replace", "unlink"):
                    change = getattr(Path, name)
                    patched.setattr(Path, name, partialmethod(stop, change=change))
                try:
                    run(folder, out)
                    break
                except KeyboardInterrupt:
                    stops += 1
            there = {path.name.removesuffix(".csv.json") for path in out.glob("*.csv.json")}
            predicted.clear()
            assert run(folder, out).there == len(there)
            assert not there & {item.source for unit in predicted for item in unit.inputs}
            assert {path.name: path.read_bytes() for path in out.glob("*.csv")} == expected
            assert not (out / ".parts").exists()
    assert stops > 10


def test_pictures_of_finished_units_are_there_too(tmp_path, monkeypatch, here):
    folder, out, pictures = photos(tmp_path / "in", 8), tmp_path / "t.csv", tmp_path / "pictures"
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out, workers=1)
    summary = run(folder, out, pictures=pictures)
    assert summary.pictures == 8 == len(list(pictures.glob("*.png")))
    assert run(folder, out, pictures=pictures).there == 8
    (pictures / "003.png.png").unlink()
    assert run(folder, out, pictures=pictures).there == 0


def inputs(*names):
    return [Input(name, f"/{name}", 1, name.endswith("mp4")) for name in names]


def test_units_are_in_the_order_of_the_inputs(tmp_path):
    listing = inputs("a.jpg", "b.mp4", *(f"c{n}.jpg" for n in range(5)), "d.mp4", "e.mp4", "f.jpg")
    units = list(plan.plan_units(listing))
    assert [item for unit in units for item in unit.inputs] == listing
    assert [len(unit.inputs) for unit in units] == [1, 1, 4, 1, 1, 1, 1]
    assert len({unit.name for unit in units}) == len(units)
    more = list(plan.plan_units(inputs(*map(str, range(5000)))))
    assert max(len(unit.inputs) for unit in more) == 32


def test_after_a_crash_a_unit_goes_on_file_by_file():
    unit = plan.make_unit(inputs("a", "b", "c", "d"))
    entry = parts.Entry("b", (), parts.Content(1, 1, None), alone=True)
    left = plan.leave_out_finished(unit, {("b", ()): parts.Place("x", entry)})
    assert [[item.source for item in one.inputs] for one in left] == [["a"], ["c"], ["d"]]
    entry.alone = False
    left = plan.leave_out_finished(unit, {("b", ()): parts.Place("x", entry)})
    assert [[item.source for item in one.inputs] for one in left] == [["a", "c", "d"]]


def test_a_film_in_several_units_is_joined_in_order(tmp_path, monkeypatch):
    """Units of a film end in any order; its rows are in order of time, whatever the part."""
    from maeface.data.ingest.inputs import Unit
    from maeface.prediction import join
    from parts_cases import QuickPredictor

    (tmp_path / "film.mp4").write_text("film")
    film = Input("film.mp4", str(tmp_path / "film.mp4"), 4, True)
    spans = [((0, 3),), ((3, 6),), ((6, 9),)]
    monkeypatch.setattr(units, "read_inputs", read_spans)
    folder = tmp_path / "parts"
    predictor, places = QuickPredictor(), []
    for span in (spans[2], spans[0], spans[1]):
        item = film._replace(frames=span)
        unit = Unit(parts.part_name([item]), (item,))
        result = units.predict_unit(unit, folder, predictor, 1, None, lambda amount: None)
        places.append(parts.Place(unit.name, result.entries[0]))
    found = parts.find_finished(folder, [film])
    assert set(found) == {("film.mp4", span) for span in spans}
    assert [place.entry.content.sha256 is None for place in places] == [True, False, True]
    places.sort(key=lambda place: place.entry.frames)
    reader = parts.PartReader(folder)
    header = {"columns": predictor.columns, "weights": None, "options": {"track": None}}
    made = join.write_table(
        *(tmp_path / "t.csv", predictor.columns, {"film.mp4": places}, reader, header, "", None)
    )
    assert list(rows_of(tmp_path / "t.csv")["frame"]) == [n for n in range(9) for _ in range(2)]
    assert made["inputs"][0]["sha256"] == parts.hash_of(tmp_path / "film.mp4")


def read_spans(items, every, fps, skipped, indexes, indexing):
    import numpy as np

    from maeface.data.ingest.images import SourceImage
    from maeface.faces.media import Frame

    for item in items:
        for start, stop in item.frames:
            for index in range(start, stop):
                yield SourceImage(
                    item.source, Frame(np.full((8, 8, 3), 20, np.uint8), index, index / 25), True
                )


def test_thousands_of_parts_are_found_again_quickly(tmp_path):
    """20,000 inputs: the listing, the parts and the plan grow in proportion."""
    from maeface.prediction.rows import schema_of

    names = [f"{number:05d}.jpg" for number in range(20_000)]
    listing = [Input(name, str(tmp_path / "absent" / name), -1, False) for name in names]
    folder = tmp_path / "parts"
    folder.mkdir()
    units = list(plan.plan_units(listing))
    for unit in units[:300]:
        entries = [parts.Entry(item.source, (), parts.Content(-1, -1, None)) for item in unit.inputs]
        with parts.write_part(folder, unit, schema_of(["input"]), entries):
            pass
    found = parts.find_finished(folder, listing)
    left = [rest for unit in units for rest in plan.leave_out_finished(unit, found)]
    assert (len(units), len(found), len(left)) == (625, 9600, 325)


def test_shares_of_missing_images():
    totals = tables.Totals()
    images = ((0, 1), (10, 0), (9, 1), (5, 5))
    totals.add(
        {
            "statuses": {"ok": 24, "unreadable": 7},
            "inputs": [{"images": read, "missing": missing} for read, missing in images],
        }
    )
    assert [totals.count_bad(share) for share in (0.0, 0.1, 0.4, 0.5, 1.0)] == [3, 2, 2, 1, 1]
    assert totals.reasons == {"unreadable": 7} and (totals.inputs, totals.images) == (4, 24)


def test_outputs_that_are_folders(tmp_path):
    (tmp_path / "there.d").mkdir()
    (tmp_path / "t.csv").mkdir()
    from maeface import checks

    folders = ["there.d", "new", "t.csv", "x.csv", "x.Parquet", "x.xlsx"]
    found = [checks.is_folder_of_tables(tmp_path / name) for name in folders]
    assert found == [True, True, False, False, False, False]
    from maeface.paths import to_path

    assert checks.is_folder_of_tables(to_path(f"{tmp_path}/day.1/"))
    assert not (tmp_path / "day.1").exists()  # options are read before they are checked
    run(photo(tmp_path / "a.png"), to_path(f"{tmp_path}/day.1/"))
    assert (tmp_path / "day.1" / "a.png.csv").is_file() and not (tmp_path / "day.1" / ".parts").exists()


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path, monkeypatch, here):
    folder, out = photos(tmp_path / "in", 8), tmp_path / "t.csv"
    (folder / "link.png").symlink_to(tmp_path / "later.png")
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out, workers=1)
    assert "link.png" in finished_names(out)
    run(folder, out)
    assert rows_of(out).set_index("input")["status"]["link.png"] == "unreadable"
    assert run(folder, out).there == 9
    photo(tmp_path / "later.png", 10)
    assert run(folder, out).there == 0
    assert rows_of(out).set_index("input")["status"]["link.png"] == "ok"


def film(path, seconds):
    """A film of 10 frames a second with a key frame each second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 48, 48, "yuv420p", 10
        for number in range(seconds * 10):
            pixels = np.full((48, 48, 3), 60 + number % 100, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())


def test_films_that_cannot_be_indexed_are_lost_once(tmp_path, capsys):
    """They are tried again, and fail again: one row and one line each."""
    folder, out = tmp_path / "in", tmp_path / "t.csv"
    photo(folder / "a.png", 10)
    film(folder / "crash.mp4", 2)
    film(folder / "hang.mp4", 2)
    summary = run(folder, out, parts_cases.bad_index, file_timeout=2.0, max_bad=0.5)
    rows = rows_of(out).set_index("input")
    assert rows["status"].to_dict() == {"a.png": "ok", "crash.mp4": "crashed", "hang.mp4": "timeout"}
    assert rows["frame"].tolist() == [0, 0, 0]
    assert (summary.inputs, summary.images, summary.bad, summary.too_many_bad) == (3, 1, 2, True)
    assert summary.skipped == {"crashed": 1, "timeout": 1}
    assert [item["missing"] for item in record_of(out)["inputs"]] == [0, 1, 1]
    said = capsys.readouterr().err
    assert said.count("crash.mp4 is left out: crashed (signal 11)") == 1
    assert said.count("hang.mp4 is left out: timeout (no progress for 2 s)") == 1


def test_a_film_goes_on_with_its_segments(tmp_path, monkeypatch, here):
    folder, out = tmp_path / "in", tmp_path / "t.csv"
    folder.mkdir()
    film(folder / "film.mp4", 45)
    photo(folder / "z.png", 20)
    run(folder, tmp_path / "alone.csv")
    with monkeypatch.context() as patched:
        stop_after(patched, 3)  # the film is looked at, and two segments are done
        with pytest.raises(KeyboardInterrupt):
            run(folder, out)
    read = pd.read_parquet(f"{out}.parts")
    frames = set(read["frame"])
    assert 200 <= len(frames) < 450
    os.utime(folder / "film.mp4")
    real, seen = predict.predict_unit, []
    monkeypatch.setattr(predict, "predict_unit", lambda unit, *rest: seen.append(unit) or real(unit, *rest))
    run(folder, out)
    spans = [item.frames for unit in seen for item in unit.inputs if item.frames]
    assert spans and not frames & {number for span in spans for number in range(*span[0])}
    assert out.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    rows = rows_of(out)
    assert list(rows[rows["input"] == "film.mp4"]["frame"].unique()) == list(range(450))
    run(folder, tmp_path / "each")
    each = rows_of(tmp_path / "each" / "film.mp4.csv")
    assert len(each) == (rows["input"] == "film.mp4").sum()
    assert json.loads((tmp_path / "each" / "film.mp4.csv.json").read_text())["inputs"][0]["images"] == 450


def lose_one(setup, items, count, notify, lose=None, limit_s=None):
    """Lose the segments of a film but the first."""
    job = setup()
    for item in items:
        if item.inputs[0].frames and item.inputs[0].frames[0][0] > 0:
            lose(item, "crashed", "signal 11")
        else:
            yield item, job(item, notify)


def test_a_segment_that_crashes_costs_no_other(tmp_path, monkeypatch):
    """One row stands for the frames of the segment, at the time of the first."""
    monkeypatch.setattr(workers, "work", lose_one)
    folder, out = tmp_path / "in", tmp_path / "t.csv"
    folder.mkdir()
    film(folder / "film.mp4", 25)
    summary = run(folder, out, max_bad=0.1)
    rows = rows_of(out)
    lost = rows[rows["status"] == "crashed"]
    (start,) = lost["frame"]
    assert list(lost["time_s"]) == [start / 10] and list(rows["frame"].unique()) == list(range(start + 1))
    assert record_of(out)["inputs"][0]["missing"] == 250 - start
    assert (summary.images, summary.bad, summary.too_many_bad) == (start, 1, True)


def test_a_huge_film_shows_progress_while_it_is_indexed_and_hashed(tmp_path, monkeypatch):
    film(tmp_path / "film.mp4", 25)
    (item,) = find_inputs([tmp_path / "film.mp4"])
    reports, begun = [], []
    result = units.predict_unit(
        plan.make_unit([item]), tmp_path, parts_cases.QuickPredictor(), 1, None, reports.append
    )
    assert len(result.segments) == 2 and len(reports) >= 250 and not any(reports)
    monkeypatch.setattr(files, "HASHED_TOGETHER", 1000)
    real = parts.hash_of
    monkeypatch.setattr(parts, "hash_of", lambda *rest: begun.append(len(reports)) or real(*rest))
    unit = plan.make_unit([result.segments[0]])
    units.predict_unit(unit, tmp_path, parts_cases.QuickPredictor(), 1, None, reports.append)
    assert len(reports) - begun[0] >= item.size // 1000


# Frames that are missing ----------------------------------------------------------------------------------


def run_whole(path, out, monkeypatch, **options):
    """Predict a film that is not cut."""
    with monkeypatch.context() as patched:
        patched.setattr(segments, "cut_into_segments", lambda index: [()])
        return run(path, out, **options)


@pytest.mark.parametrize("options", [{}, {"every": 7}, {"fps": 3}])
def test_a_stretch_of_lost_frames_has_one_row_wherever_a_film_is_cut(
    tmp_path, monkeypatch, here, capsys, options
):
    path = damaged_film(tmp_path / "film.mkv", damaged=[number for stretch in BREAKS for number in stretch])
    run_whole(path, tmp_path / "whole.csv", monkeypatch, **options)
    capsys.readouterr()
    summary = run(path, tmp_path / "t.csv", **options)
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert record_of(tmp_path / "t.csv") == record_of(tmp_path / "whole.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert rows[rows["status"] == "lost"]["frame"].tolist() == [stretch.start for stretch in BREAKS]
    assert summary.skipped == {"lost": 2} and "rows without values: 2 lost" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"every": 10}, {"fps": 1.0}])
def test_missing_frames_count_as_those_that_are_read(tmp_path, monkeypatch, here, options):
    """Of 450 frames, every tenth is read; 15 of the 147 that are lost would have been."""
    path = damaged_film(tmp_path / "film.mkv", damaged=[number for stretch in BREAKS for number in stretch])
    summary = run(path, tmp_path / "t.csv", max_bad=0.34, **options)
    (item,) = record_of(tmp_path / "t.csv")["inputs"]
    assert (item["images"], item["missing"]) == (30, 15) and not summary.bad
    assert run(path, None, max_bad=0.34, **options).bad == 0
    assert run(path, tmp_path / "all.csv", max_bad=0.34).bad == 0
    assert record_of(tmp_path / "all.csv")["inputs"][0]["missing"] == 147


def test_a_segment_that_crashes_counts_the_frames_that_would_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "work", lose_one)
    film(tmp_path / "film.mp4", 25)
    run(tmp_path / "film.mp4", tmp_path / "t.csv", every=5)
    (item,) = record_of(tmp_path / "t.csv")["inputs"]
    assert item["images"] + item["missing"] == 50 and 20 <= item["missing"] <= 30


# Several commands that share a folder ---------------------------------------------------------------------


def part_names(folder):
    return {path.name for path in parts.part_files(folder)}


def leave_unfinished(monkeypatch, folder, out):
    """Stop a run of which one unit is finished and no table is written; return the names of the parts."""
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        patched.setattr(pipeline.Pipeline, "_complete_if_finished", lambda self, name: None)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out)
    left = part_names(out / ".parts")
    assert left
    return left


def run_within(monkeypatch, action):
    """Do something, as another process, when the next run has finished its first unit."""
    real = pipeline.Pipeline._add

    def add(self, unit, result):
        monkeypatch.setattr(pipeline.Pipeline, "_add", real)
        action()
        real(self, unit, result)

    monkeypatch.setattr(pipeline.Pipeline, "_add", add)


def others(folder, count):
    """Photos that have other names than those of ``photos``."""
    for number in range(count):
        photo(folder / f"other{number}.png", 20)
    return folder


def test_a_command_with_nothing_to_do_leaves_the_parts_of_a_running_one(tmp_path, monkeypatch, here):
    """Command A predicts to a folder of tables; B's tables are there, and B must not remove A's parts."""
    first, second, out = photos(tmp_path / "a", 8), others(tmp_path / "b", 4), tmp_path / "tables"
    run(second, out)
    seen = []

    def other_command():
        before = {path.name for path in (out / ".parts").iterdir()}
        assert run(second, out).there == 4
        seen.append((before, {path.name for path in (out / ".parts").iterdir()}))

    run_within(monkeypatch, other_command)
    run(first, out)
    ((before, after),) = seen
    assert before == after and {pipeline.HEADER, ".lock"} < before
    assert len(list(out.glob("*.csv"))) == 12 and not (out / ".parts").exists()


def test_a_table_that_is_there_does_not_end_a_run_with_other_settings(tmp_path, monkeypatch, here):
    """The same with one table: B asks for the settings of the old table while A makes it anew."""
    folder, out = photos(tmp_path / "in", 8), tmp_path / "t.csv"
    run(folder, out)
    seen = []

    def other_command():
        assert run(folder, out).there == 8
        seen.append(part_names(tmp_path / "t.csv.parts"))

    run_within(monkeypatch, other_command)
    run(folder, out, every=2)
    assert len(seen) == 1 and seen[0] and not (tmp_path / "t.csv.parts").exists()


def test_parts_with_other_settings_stay_when_the_old_table_is_asked_for(tmp_path, monkeypatch, here):
    folder, out = photos(tmp_path / "in", 8), tmp_path / "t.csv"
    run(folder, out)
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out, every=2)
    left = part_names(tmp_path / "t.csv.parts")
    assert run(folder, out).there == 8
    assert left and part_names(tmp_path / "t.csv.parts") == left
    seen = stop_after(monkeypatch, -1)
    run(folder, out, every=2)
    assert len(seen) == 1 and not (tmp_path / "t.csv.parts").exists()


def test_another_command_with_the_same_folder_keeps_what_is_unfinished(tmp_path, monkeypatch, here):
    """An interrupted run of some inputs goes on after a run of others to the same folder of tables."""
    first, second, out = photos(tmp_path / "a", 8), others(tmp_path / "b", 4), tmp_path / "tables"
    left = leave_unfinished(monkeypatch, first, out)
    run(second, out)
    assert part_names(out / ".parts") == left
    assert run(second, out).there == 4 and part_names(out / ".parts") == left
    seen = stop_after(monkeypatch, -1)
    run(first, out)
    assert [len(names) for names in seen] == [4]  # the other four were finished
    assert len(list(out.glob("*.csv"))) == 12 and not (out / ".parts").exists()


def test_a_folder_of_tables_keeps_no_parts_of_files_that_have_changed(tmp_path, monkeypatch, here):
    folder, out = photos(tmp_path / "a", 8), tmp_path / "tables"
    others(folder, 1)
    (before,) = leave_unfinished(monkeypatch, folder, out)
    for number in range(4):
        photo(folder / f"{number:03d}.png", 50)
    listing = find_inputs([folder])
    names = {item.source for item in listing}
    assert parts.find_finished(out / ".parts", listing[4:], names - {"000.png"}) == {}
    assert part_names(out / ".parts") == {before}  # it has rows of an input of another run
    assert parts.find_finished(out / ".parts", listing, names) == {}
    assert part_names(out / ".parts") == set()


def test_a_run_that_ends_leaves_the_folder_of_one_that_begins(tmp_path, monkeypatch, here):
    """A removes its parts and their lock; B begins in the same folder at once, before A has left it."""
    folder, out = photos(tmp_path / "in", 4), tmp_path / "t.csv"
    real, begun = pipeline.remove_parts, []

    def remove(folder, keep_lock=False):
        real(folder, keep_lock)
        if not keep_lock and not begun:
            begun.append(pipeline.parts_folder(folder, {}))
            begun[0].__enter__()
            files.write_json(folder / pipeline.HEADER, {"of": "B"})

    monkeypatch.setattr(pipeline, "remove_parts", remove)
    run(folder, out)
    assert pipeline.read_header(tmp_path / "t.csv.parts") == {"of": "B"}
    with pytest.raises(ResourceError, match="in use"), files.lock(tmp_path / "t.csv.parts"):
        pass
    begun[0].__exit__(None, None, None)
    assert not (tmp_path / "t.csv.parts").exists()


def test_a_table_that_is_made_anew_with_other_settings_is_told(tmp_path, here, capsys):
    folder, out = photos(tmp_path / "in", 2), tmp_path / "t.csv"
    run(folder, out)
    photo(folder / "new.png")
    run(folder, out)
    assert "anew" not in capsys.readouterr().err
    run(folder, out, faces=1, track=2)
    line = f"{out} was made with other settings: faces was all, now 1; track was not given, now 2; it "
    line += "will be made anew"
    assert line in capsys.readouterr().err.splitlines()
    run(folder, out, faces=1)
    assert "track was 2, now not given; it will be made anew\n" in capsys.readouterr().err
    run(folder, tmp_path / "each")
    run(folder, tmp_path / "each", faces=1)
    said = [text for text in capsys.readouterr().err.splitlines() if "anew" in text]
    assert len(said) == 1 and said[0].endswith(
        "faces was all, now 1; it will be made anew, and so are 2 other tables"
    )


# Names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [240, 249, 251, 255])
def test_the_longest_names_have_tables_and_pictures_too(tmp_path, here, monkeypatch, length):
    """No room is left for the longest ending: the file names are shortened, not the names in the table."""
    monkeypatch.setattr(
        predict,
        "draw_photos",
        lambda predictor, folder, all_aus, batch: sum(
            files.write_bytes(units.picture_path(folder, one.image.name), b"x") is None for one in batch
        ),
    )
    folder, out, pictures = photos(tmp_path / "in", 2), tmp_path / "tables", tmp_path / "pictures"
    names = [photo(folder / f"0{'x' * (length - 6)}{k}.png").name for k in range(2)]  # before the others
    run(folder, out, pictures=pictures)
    stems = sorted(path.name.removesuffix(".csv") for path in out.glob("*.csv"))
    assert stems[:2] == ["000.png", "001.png"] and len(stems) == 4
    assert (stems[2:] == names) == (length <= files.LONGEST_NAME)
    assert {name for stem in stems for name in rows_of(out / f"{stem}.csv")["input"]} >= set(names)
    assert all((out / f"{stem}.csv.json").is_file() for stem in stems)
    assert sorted(path.name for path in pictures.iterdir()) == [f"{stem}.png" for stem in stems]
    assert run(folder, out, pictures=pictures).there == 4
    run(folder, tmp_path / "t.csv", pictures=pictures)
    assert set(names) <= set(rows_of(tmp_path / "t.csv")["input"])


def done_in_reverse(setup, items, count, notify, lose=None, limit_s=None):
    """As several processes may: the segments of a film end in reverse order."""
    job, held = setup(), []
    for item in items:
        if item.inputs[0].frames:
            held.append(item)
        else:
            yield item, job(item, notify)
    for item in reversed(held):
        yield item, job(item, notify)


def test_segments_that_end_in_any_order_are_joined_in_order_of_time(tmp_path, monkeypatch):
    film(tmp_path / "film.mp4", 45)
    monkeypatch.setattr(workers, "work", work_here)
    run(tmp_path / "film.mp4", tmp_path / "t.csv")
    monkeypatch.setattr(workers, "work", done_in_reverse)
    run(tmp_path / "film.mp4", tmp_path / "reverse.csv")
    assert list(rows_of(tmp_path / "reverse.csv")["frame"].unique()) == list(range(450))
    assert (tmp_path / "reverse.csv").read_bytes() == (tmp_path / "t.csv").read_bytes()


def test_a_film_in_one_piece_shows_progress_while_it_is_indexed(tmp_path, monkeypatch):
    """Also one that crashed a process and is done by itself, whose frames are read much later."""
    film(tmp_path / "film.mp4", 25)
    (item,) = find_inputs([tmp_path / "film.mp4"])
    monkeypatch.setattr(units.media, "index_video", None)  # it is not cut
    real, reports, after = video.decode_frames, [], []
    monkeypatch.setattr(video, "decode_frames", lambda *rest: after.append(len(reports)) or real(*rest))
    alone = units.OneFile(plan.make_unit([item]))
    units.predict_unit(alone, tmp_path, parts_cases.QuickPredictor(), 1, None, reports.append)
    assert after[0] >= 250
