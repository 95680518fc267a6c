"""A table of films most of which have not changed: only the others are predicted, with the same result."""

import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from maeface import predict
from maeface.data.ingest import workers
from maeface.faces.tracking import DESCRIPTOR_SIZE
from maeface.interchange import native
from maeface.prediction import reuse, units
from maeface.prediction.extras import Extras
from maeface.prediction.record import describe_table
from maeface.prediction.table_writer import ROW_GROUP
from maeface.service import replies
from parts_cases import QuickPredictor, photo, work_here
from test_video import encode


class Following(QuickPredictor):
    """Finds people who are known by their looks; the numbers of their faces are in reverse order."""

    def predict(self, one):
        found = super().predict(one)
        looks = np.eye(DESCRIPTOR_SIZE, dtype=np.float16)
        crops = [
            replace(crop, followed=k, descriptor=looks[k]) for k, crop in enumerate(reversed(found.crops))
        ]
        return replace(found, crops=crops)


def make(options):
    return Following()


@pytest.fixture(autouse=True)
def predicted(monkeypatch):
    """The names of the inputs that were predicted since the list was cleared."""
    names = []
    real = units.predict_unit

    def predict_unit(work, *rest):
        names.extend(item.source for item in work.inputs)
        return real(work, *rest)

    monkeypatch.setattr(workers, "work", work_here)
    monkeypatch.setattr(predict, "predict_unit", predict_unit)
    return names


def film(path, shade, frames=12):
    pictures = [np.full((48, 64, 3), shade + 10 * (n % 2), np.uint8) for n in range(frames)]
    path.parent.mkdir(parents=True, exist_ok=True)
    return encode(path, pictures, rate=10)


@pytest.fixture(params=[".csv", ".parquet"])
def study(tmp_path, request):
    """A folder with two films of one and two people, and the table of it, which is there."""
    folder, out = tmp_path / "films", tmp_path / f"study{request.param}"
    film(folder / "a.mp4", 15)
    film(folder / 'c "é, x.mp4', 25)
    run(folder, out)
    return folder, out


def run(folder, out, **options):
    values = {"aligned": True, "device": "cpu", "workers": 1, "make_predictor": make}
    return predict.run([folder], None, out, **values | options)


def record_of(out):
    record = json.loads(out.with_name(f"{out.name}.json").read_text())
    return {name: one for name, one in record.items() if name not in ("started", "finished", "table")}


def require_as_of_a_first_run(folder, out):
    first = out.with_name(f"first{out.suffix}")
    run(folder, first)
    if out.suffix == ".csv":
        assert out.read_bytes() == first.read_bytes()
    else:
        assert pq.read_table(out).equals(pq.read_table(first))
    assert record_of(out) == record_of(first)
    for name in ("events", "summary", "pairs"):
        made = [path.with_name(f"{path.stem}.{name}.csv").read_bytes() for path in (out, first)]
        assert made[0] == made[1]
    assert not out.with_name(f"{out.name}.parts").exists()


def test_a_film_that_is_added_is_predicted_alone(study, predicted):
    folder, out = study
    film(folder / "b.mp4", 35)
    predicted.clear()
    assert run(folder, out).there == 2
    assert predicted == ["b.mp4"]
    rows = pq.read_table(out) if out.suffix == ".parquet" else None
    if rows is not None:
        assert {one for one in rows["track"].to_pylist() if one is not None} == {0, 1, 2, 3}
    require_as_of_a_first_run(folder, out)


def test_a_film_that_has_changed_is_predicted_alone(study, predicted):
    folder, out = study
    film(folder / "a.mp4", 35, 8)
    predicted.clear()
    assert run(folder, out).there == 1
    assert predicted == ["a.mp4"]
    require_as_of_a_first_run(folder, out)


def test_a_film_that_is_gone_leaves_the_rows_of_the_others(study, predicted):
    folder, out = study
    (folder / "a.mp4").unlink()
    predicted.clear()
    assert run(folder, out).there == 1
    assert predicted == []
    require_as_of_a_first_run(folder, out)


def test_what_is_made_of_a_film_stays_while_its_rows_do(study, capsys):
    folder, out = study
    run(folder, out, extras=Extras(report=True))
    pages = out.with_name("study.films")
    made = {path.name: path.stat().st_mtime_ns for path in pages.iterdir()}
    assert len(made) == 2
    film(folder / "b.mp4", 35)
    run(folder, out, max_bad=0.5)  # nobody asks for pages; this does not change rows
    assert {path.name: path.stat().st_mtime_ns for path in pages.iterdir()} == made
    assert "removed" not in capsys.readouterr().err
    run(folder, out, extras=Extras(report=True))
    now = {path.name: path.stat().st_mtime_ns for path in pages.iterdir()}
    assert now.keys() - made.keys() == {"b.mp4.report.html"} and made.items() <= now.items()
    film(folder / "a.mp4", 35, 8)
    run(folder, out)
    assert "study.films/a.mp4.report.html of the earlier one; give report" in capsys.readouterr().err
    assert {path.name for path in pages.iterdir()} == now.keys() - {"a.mp4.report.html"}
    run(folder, out, every=2)
    assert not pages.exists()


def test_the_page_of_a_film_that_is_alone_is_beside_its_table(study):
    folder, out = study
    run(folder, out, extras=Extras(report=True))
    (folder / "a.mp4").unlink()
    run(folder, out, extras=Extras(report=True))
    assert out.with_name("study.report.html").exists() and not out.with_name("study.films").exists()


def test_photos_beside_films_are_predicted_again(study, predicted):
    folder, out = study
    photo(folder / "b.png", 20)
    run(folder, out)
    photo(folder / "d.png", 20)
    predicted.clear()
    assert run(folder, out).there == 2
    assert predicted == ["b.png", "d.png"]
    require_as_of_a_first_run(folder, out)


def test_an_interrupted_run_keeps_the_films_too(study, predicted, monkeypatch):
    folder, out = study
    film(folder / "b.mp4", 35)
    film(folder / "d.mp4", 15)
    real = predict.predict_unit

    def stop(work, *rest):
        if work.inputs[0].source == "d.mp4":
            raise KeyboardInterrupt
        return real(work, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(predict, "predict_unit", stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out)
    predicted.clear()
    run(folder, out)
    assert predicted == ["d.mp4"]
    require_as_of_a_first_run(folder, out)


def lose_first_row(out, sidecar, record):
    """Let the first film be one whose process has crashed in a segment."""
    if out.suffix == ".csv":
        out.write_text(out.read_text().replace(",ok,", ",crashed,", 1))
    else:
        table = pq.read_table(out)
        statuses = ["crashed", *table["status"].to_pylist()[1:]]
        pq.write_table(table.set_column(table.schema.get_field_index("status"), "status", [statuses]), out)
    sidecar.write_text(json.dumps(record | {"table": describe_table(out)}))


@pytest.mark.parametrize(
    "what",
    ["settings", "edited", "version", "tracks", "crashed", "device", "record", "precision", "options"],
)
def test_what_may_differ_is_predicted_anew(study, predicted, monkeypatch, what):
    folder, out = study
    film(folder / "b.mp4", 35)
    options, sidecar = {}, out.with_name(f"{out.name}.json")
    record = json.loads(sidecar.read_text())
    if what == "settings":
        options["every"] = 2
    elif what == "edited":
        os.utime(out, ns=(1, 1))
    elif what == "version":
        sidecar.write_text(json.dumps(record | {"numpy": "0", record["backend"]: "0"}))
    elif what == "precision":  # of a machine that computes in it
        sidecar.write_text(json.dumps(record | {"precision": "bf16"}))
    elif what == "options":
        sidecar.write_text(
            json.dumps(record | {"device": "cpu:1", "options": record["options"] | {"device": "cpu:1"}})
        )
    elif what == "record":
        sidecar.write_text('{"inputs": []}')
    elif what == "tracks":
        options["track"] = 0
    elif what == "crashed":
        lose_first_row(out, sidecar, record)
    else:
        sidecar.write_text(
            json.dumps(record | {"device": "cuda:0", "options": record["options"] | {"device": "auto"}})
        )
    predicted.clear()
    run(folder, out, **options)
    assert predicted == ["a.mp4", "b.mp4", *(['c "é, x.mp4'] if what != "crashed" else [])]


@pytest.fixture
def interrupted(study, predicted, monkeypatch):
    """A study to which a film was added, whose prediction was stopped: the other films are copied already."""
    folder, out = study
    film(folder / "b.mp4", 35)

    def stop(work, *rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(predict, "predict_unit", stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder, out)
    assert len(list(out.with_name(f"{out.name}.parts").glob("*.parquet"))) == 2
    predicted.clear()
    return folder, out


def test_one_person_of_films_whose_rows_were_copied(interrupted, predicted):
    folder, out = interrupted
    run(folder, out, track=0)
    assert set(predicted) == {"a.mp4", "b.mp4", 'c "é, x.mp4'}
    rows = pq.read_table(out) if out.suffix == ".parquet" else pa_csv.read_csv(out)
    assert set(rows["track"].to_pylist()) == {0}
    assert len(rows) == 3 * 12


def test_copies_of_rows_do_not_bind_the_next_run_to_their_settings(interrupted, predicted):
    folder, out = interrupted
    run(folder, out, every=2)
    assert predicted == ["a.mp4", "b.mp4", 'c "é, x.mp4']


@pytest.mark.parametrize(
    "read", [reuse._read_parquet, partial(native.read_pieces, rows=8192), replies.read_table]
)
def test_a_long_table_is_not_in_memory_as_a_whole(tmp_path, read):
    rows, path = 8 * ROW_GROUP, tmp_path / "t.parquet"
    numbers = np.random.default_rng(0).random((8, rows), np.float32)
    columns = {"input": pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["a.mp4"]).cast(pa.string())}
    columns |= {"frame": np.arange(rows), "face": np.zeros(rows, np.int16)}
    columns |= {f"AU0{k}_p": one for k, one in enumerate(numbers, 1)}
    pq.write_table(pa.table(columns), path, row_group_size=ROW_GROUP)
    del columns
    before, most, seen = pa.total_allocated_bytes(), 0, 0
    for piece in read(path):
        seen += len(piece)
        most = max(most, pa.total_allocated_bytes() - before)
    assert seen == rows and most < path.stat().st_size / 2
