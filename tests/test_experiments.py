"""Whole experiments on drawn faces: 16 px, two blocks, two epochs."""

import json
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import drawn
import layouts
from maeface import facts, files, finetune, prepare, pretrain, reproduce
from maeface.data import manifest
from maeface.errors import ConfigError, DataError, InUseError, WeightsError
from maeface.experiments import settings
from maeface.experiments.reporting import comparison, report, results
from maeface.experiments.running import datasets, plan, runner
from maeface.experiments.running import part as parts
from maeface.model import vit

TINY = [
    "finetune.model.size=tiny",
    "finetune.model.image_size=16",
    "finetune.model.patch_size=8",
    "finetune.data.randaugment=''",
    "finetune.data.validation=0.3",
    "finetune.optim.epochs=2",
    "finetune.optim.warmup_epochs=0",
    "finetune.optim.batch=16",
    "finetune.run.device=cpu",
    "finetune.run.workers=0",
    "prepare.aligned=true",
    "prepare.size=16",
    "prepare.min_side=16",
    "prepare.workers=1",
]
RANDOM = {"weights": "random"}


@pytest.fixture(autouse=True)
def small(request, monkeypatch):
    """Two blocks of 16; a report, which takes seconds, only where a test is about one."""
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    if "report" not in request.node.name:
        monkeypatch.setattr(report, "write", lambda *given: None)


def prepared(folder, dataset, subjects, faces=4):
    """What `prepare --dataset` leaves: crops and a table of labels; a clip a subject."""
    known, rows = facts.dataset(dataset), []
    for n, subject in enumerate(subjects):
        for k in range(faces):
            path = folder / "crops" / subject / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn.face((n * faces + k) % 25, 16).save(path)
            row = {"source": f"crops/{subject}/{k}.png", "frame": 0}
            row |= {"subject": subject, "clip": f"{subject}/T1"}
            row |= {f"AU{au:02d}_o": float((n + k + au) % 2) for au in known.aus_occurrence}
            row |= {f"AU{au:02d}_i": float((n + k + au) % 6) for au in known.aus_intensity}
            rows.append(row)
    table = pa.Table.from_pandas(manifest.read_plain_folder(folder), manifest.SCHEMA, preserve_index=False)
    manifest.write(folder / manifest.FILE, [table])
    pd.DataFrame(rows).to_parquet(folder / "labels.parquet")
    return folder


def two_of_each_fold(dataset, protocol="threefold", count=2):
    return [name for tested in facts.protocol(dataset, protocol).values() for name in tested[:count]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    prepared(folder / "bp4d", "bp4d", two_of_each_fold("bp4d"))
    prepared(folder / "disfa", "disfa", two_of_each_fold("disfa"))
    return folder


def run(name, data, out, *overrides, weights=None):
    recipe = reproduce.load(name, [*TINY, *overrides])
    return reproduce.run(recipe, data, out, RANDOM if weights is None else weights)


def test_an_experiment_goes_on_where_it_was_stopped_and_repeats_nothing(data, tmp_path, monkeypatch):
    out, inner, begun = tmp_path / "ex1", finetune.run, []

    def twice(settings, *rest):
        begun.append(settings.data.test_subjects)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return inner(settings, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetune, "run", twice)
        run("ex1", data, out)
    first = out / "parts" / "mae-face" / "P1-s0" / "part.json"
    assert [path for path in out.rglob("part.json")] == [first]
    before = first.stat().st_mtime_ns

    summary = run("ex1", data, out)
    assert (summary.parts, summary.trained, dict(summary.missing)) == (3, 2, {})
    assert first.stat().st_mtime_ns == before
    monkeypatch.setattr(finetune, "run", twice)  # would stop
    assert run("ex1", data, out).trained == 0

    parts = results.load(out)
    assert [part.fold for part in parts] == ["P1", "P2", "P3"]
    tested = [name for part in parts for name in set(part.read_faces().query("part == 'test'")["subject"])]
    assert sorted(tested) == sorted(two_of_each_fold("bp4d"))
    part = parts[0]
    assert part.aus == facts.dataset("bp4d").aus_occurrence and part.task == "detection"
    assert (part.faces_test, part.subjects_test, part.protocol) == (8, 2, "threefold")
    assert part.faces_train + part.faces_validation == 16 and part.epoch_best in (1, 2)
    faces = part.read_faces()
    assert set(faces["part"]) == {"test", "validation"} and faces["AU12_p"].between(0, 1).all()
    truth = pd.read_parquet(data / "bp4d" / "labels.parquet").set_index("source")
    assert np.array_equal(faces["AU12_o"], truth.loc[faces["source"], "AU12_o"])
    notes = " ".join(part.notes)
    assert "these data have 24 labelled frames" in notes and "12 of 14 test subjects are missing" in notes
    assert "the paper's is 768 wide and 12 deep" in notes  # a nano is no ViT-Base
    assert not list(out.rglob("checkpoints"))


def test_from_the_raw_layout_to_the_report_by_one_call(tmp_path):
    """BP4D as it is handed out, six of its subjects, three pictures each."""
    subjects = two_of_each_fold("bp4d")
    layouts.bp4d(tmp_path / "data" / "bp4d", subjects, ("T1",), frames=3, before=0, after=0, gap=0)
    with pytest.raises(DataError, match="F008"):
        run("ex1", tmp_path / "data", tmp_path / "out")
    out, partial = tmp_path / "out", "options.bp4d.partial=true"
    assert run("ex1", tmp_path / "data", out, partial, "note=flat pictures").trained == 3
    part = results.load(out)[0]
    assert part.faces_test == 6 and "flat pictures" in " ".join(part.notes)
    assert (out / "prepared" / "bp4d" / "labels.parquet").is_file()
    assert {"report.html", "report.md", "report.tex", "scores.csv"} <= {file.name for file in out.iterdir()}
    assert "67.4" in (out / "report.md").read_text() and "flat pictures" in (out / "report.md").read_text()


def test_other_settings_in_the_same_folder_are_refused_by_name(data, tmp_path):
    run("ex1", data, tmp_path / "o", "folds=['P1']")
    with pytest.raises(ConfigError, match=r"optim\.base_lr"):
        run("ex1", data, tmp_path / "o", "folds=['P1']", "finetune.optim.base_lr=3e-4")
    with pytest.raises(ConfigError, match="holds experiment ex1; choose another"):
        run("ex3", data, tmp_path / "o")


def test_where_the_test_part_chooses_there_is_no_validation_part(data, tmp_path):
    run("ex5", data, tmp_path / "o", "folds=['P2']", "selection=test")
    (part,) = results.load(tmp_path / "o")
    assert (part.selection, part.faces_validation, part.faces_train) == ("test", 0, 16)
    assert part.task == "intensity" and part.aus == facts.dataset("disfa").aus_intensity
    assert part.read_faces()["AU12_e"].between(0, 5).all()


def test_rows_without_weights_and_benchmarks_without_data_are_named_in_the_report(data, tmp_path):
    out = tmp_path / "o"
    summary = run("table5", data, out, "of=['ex1', 'ex2', 'ex3']", "folds=['P1']")
    assert set(summary.missing) == {"MAE-IN1k", "ex2"}
    assert summary.missing["MAE-IN1k"] == "give --weights in1k=FILE"
    assert "has no folder bp4dplus" in summary.missing["ex2"]
    assert {(part.dataset, part.row) for part in results.load(out)} == {
        (dataset, row) for dataset in ("bp4d", "disfa") for row in ("scratch", "mae-face")
    }
    assert (out / "parts" / "ex3" / "scratch" / "P1-s0" / "part.json").is_file()
    assert "MAE-IN1k" in (out / "report.md").read_text()


def test_from_one_dataset_to_another(data, tmp_path):
    run("cross", data, tmp_path / "o", "dataset=disfa", "tested=bp4d")
    (part,) = results.load(tmp_path / "o")
    assert (part.dataset, part.aus, part.faces_test) == ("disfa to bp4d", (1, 2, 4, 6, 12), 24)
    assert part.faces_train + part.faces_validation == 24 and part.faces_validation > 0
    faces = part.read_faces().groupby("part")["subject"].unique()
    assert {name[:2] for name in faces["validation"]} == {"SN"} and "SN001" not in set(faces["test"])
    record = json.loads((part.folder / "part.json").read_text())
    assert record["trained_on"] == "disfa"


def test_each_dataset_is_left_out_in_turn(data, tmp_path):
    """BP4D and BP4D+ both have a subject F001, with the same names of files; they are two people."""
    folder = tmp_path / "data"
    for name in ("bp4d", "disfa"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(data / name)
    prepared(folder / "bp4dplus", "bp4dplus", two_of_each_fold("bp4d")[:4])
    summary = run("lodo", folder, tmp_path / "o")
    assert (summary.parts, dict(summary.missing)) == (3, {})
    parts = {part.dataset: part for part in results.load(tmp_path / "o")}
    assert list(parts) == [
        "bp4d and bp4dplus to disfa",
        "bp4d and disfa to bp4dplus",
        "bp4dplus and disfa to bp4d",
    ]
    names = ("bp4d", "bp4dplus", "disfa")
    shared = set.intersection(*(set(facts.dataset(name).aus_occurrence) for name in names))
    faces = {"bp4d": 24, "bp4dplus": 16, "disfa": 24}
    for dataset, part in parts.items():
        tested = dataset.split(" to ")[1]
        trained = [name for name in names if name != tested]
        assert set(part.aus) == shared and part.faces_test == faces[tested]
        assert part.faces_train + part.faces_validation == sum(faces[name] for name in trained)
        split = json.loads((part.folder / "au" / "split.json").read_text())
        people = split["train"] + split["validation"]
        assert len(people) == len(set(people)) and not split["test"]
        assert {name.split("/")[0] for name in people} == set(trained)
        table = part.read_faces().query("part == 'test'")
        truth = pd.read_parquet(folder / tested / "labels.parquet").set_index("source")
        assert np.array_equal(table["AU12_o"], truth.loc[table["source"], "AU12_o"])
    assert comparison.dataset_title("bp4d and disfa to bp4dplus") == "BP4D and DISFA to BP4D+"
    assert run("lodo", folder, tmp_path / "o").trained == 0


def test_without_a_third_dataset_two_can_be_left_out(data, tmp_path):
    with pytest.raises(ConfigError, match="has no folder bp4dplus"):
        run("lodo", data, tmp_path / "o")
    assert run("lodo", data, tmp_path / "o", "leave_out=['bp4d', 'disfa']").parts == 2
    with pytest.raises(ConfigError, match="expected two datasets or more"):
        settings.load("lodo", ["leave_out=['bp4d']"])
    with pytest.raises(ConfigError, match="leave out --selection paper"):
        settings.load("lodo", ["selection=test"])
    with pytest.raises(ConfigError, match="9 subjects are in disfaplus and in disfa"):
        run("lodo", data, tmp_path / "p", "leave_out=['bp4d', 'disfa', 'disfaplus']", "task=intensity")


def test_people_of_both_datasets_are_not_tested_unless_asked():
    made = settings.load("cross", ["dataset=disfa", "tested=disfaplus", "task=intensity"])
    with pytest.raises(ConfigError, match=r"9 subjects are in disfa and in disfaplus .*same_people=true"):
        plan.check_shared_subjects(made)
    (line,) = plan.check_shared_subjects(made.model_copy(update={"same_people": True}))
    assert "shows subjects of the training" in line
    with pytest.raises(ConfigError, match="both disfa"):
        plan.check_shared_subjects(made.model_copy(update={"tested": "disfa"}))
    with pytest.raises(ConfigError, match="leave out --selection paper"):
        settings.load("cross", ["selection=test"])


def test_pre_trainings_of_the_rows_come_first_and_once(data, tmp_path):
    drawn.faces(data / "faces", 8, 16)
    small = [
        f"pretrain.{setting}"
        for setting in (
            "model.size=tiny model.image_size=16 model.patch_size=8 model.decoder_depth=1 "
            "model.decoder_width=32 model.decoder_heads=2 optim.epochs=1 optim.batch=8 "
            "optim.micro_batch=8 run.device=cpu run.workers=0"
        ).split()
    ]
    with pytest.raises(ConfigError, match="in1k=FILE for its pre-training to start from, or --weights in1k"):
        run("table6", data, tmp_path / "o", "of=['ex1']", *small, weights={})
    out = tmp_path / "p"
    summary = run("table6", data, out, "of=['ex1']", "folds=['P1']", *small, weights={"in1k": "random"})
    assert summary.parts == 4 and not summary.missing
    how = {
        row: json.loads((out / "pretrained" / row / "settings.json").read_text())["settings"]["model"]
        for row in ("l2", "l2-normalised", "l1", "l1-normalised")
    }
    assert {(made["loss"], made["normalize_patches"]) for made in how.values()} == {
        (loss, norm) for loss in ("l1", "l2") for norm in (True, False)
    }
    for part in results.load(out):
        assert part.weights.startswith("pretrained") or "weights.safetensors" in part.weights


def test_overrides_reach_every_row_and_a_factor_shortens_them():
    made = settings.load("fig7", ["epochs_factor=0.01", "finetune.optim.batch=64"])
    (single,) = settings.split_benchmarks(made.model_copy(update={"of": ("ex3",)}))
    found = {row.name: plan.finetune_settings(single, row) for row in single.rows}
    assert {how.optim.batch for how in found.values()} == {64}
    assert [how.optim.epochs for how in found.values()] == [1, 2, 20, 40, 100, 200]
    assert [how.data.every for how in found.values()] == [1, 10, 100, 200, 500, 1000]
    assert [how.run.evaluate_every for how in found.values()] == [1, 1, 1, 2, 5, 10]
    with pytest.raises(
        ConfigError, match=r"row \S+: finetune: unknown key 'optim.epoch'; did you mean 'optim.ep"
    ):
        plan.finetune_settings(settings.load("ex1", ["finetune.optim.epoch=1"]), single.rows[0])


def test_what_is_missing_is_one_line(data, tmp_path):
    with pytest.raises(ConfigError, match=r"ex1: give --weights FILE"):
        run("ex1", data, tmp_path / "o", weights={})
    with pytest.raises(ConfigError, match=r"no row of ex1 starts from weights called in1k"):
        run("ex1", data, tmp_path / "o", weights={"in1k": "random"})
    with pytest.raises(ConfigError, match=r"has no folder bp4dplus .*maeface datasets bp4dplus"):
        run("ex2", data, tmp_path / "o")
    with pytest.raises(ConfigError, match="no such folder"):
        run("ex1", data / "nowhere", tmp_path / "o")
    with pytest.raises(ConfigError, match="has no fold P9; it has P1, P2, P3"):
        run("ex1", data, tmp_path / "o", "folds=['P9']")
    with pytest.raises(DataError, match="have none of the test subjects of protocol threefold"):
        plan.plan_folds(settings.load("ex1"), ["F099"])


def test_weights_of_the_command_line_have_names(tmp_path):
    assert reproduce.parse_weights(["a.pth", "in1k=b.pth"]) == {"weights": "a.pth", "in1k": "b.pth"}
    odd = tmp_path / "x=y.pth"
    odd.touch()
    assert reproduce.parse_weights([str(odd)]) == {"weights": str(odd)}
    with pytest.raises(ConfigError, match="two are called 'weights'"):
        reproduce.parse_weights(["a.pth", "b.pth"])


def test_a_part_that_another_process_is_at_is_left_to_it(data, tmp_path):
    with files.lock(tmp_path / "o" / "parts" / "mae-face" / "P1-s0"):
        summary = run("ex5", data, tmp_path / "o", "folds=['P1', 'P3']")
    assert (summary.parts, summary.trained, summary.locked) == (1, 1, 1)
    assert "another process is training 1" in str(summary)
    assert run("ex5", data, tmp_path / "o", "folds=['P1', 'P3']").trained == 1


def test_a_pre_training_that_another_process_is_at_comes_later(data, tmp_path, monkeypatch, capsys):
    """Rows l2 and l1 have a pre-training each; another process is at that of l2, and then it ends."""
    out, made, slept = tmp_path / "o", [], []
    other = ExitStack()
    other.enter_context(files.lock(out / "pretrained" / "l2"))

    def pre_train(chosen, faces, folder):
        with files.lock(folder):
            made.append(folder.name)
        return "random"

    def sleep(seconds):
        slept.append(list(made))
        other.close()

    monkeypatch.setattr(pretrain, "run", pre_train)
    monkeypatch.setattr(datasets, "prepare_faces", lambda *given: None)
    monkeypatch.setattr(runner, "finish_part", lambda part, *rest: made.append(str(part)) or True)
    monkeypatch.setattr(runner.time, "sleep", sleep)
    (tmp_path / "data").mkdir()
    for name in ("bp4d", "disfa"):
        (tmp_path / "data" / name).symlink_to(data / name)
    (tmp_path / "data" / "faces").mkdir()
    rows = "rows=[{name='l2', init='pretrained'}, {name='l1', init='pretrained'}]"
    chosen = reproduce.load("table6", ["of=['ex1']", "folds=['P1']", rows])
    summary = reproduce.run(chosen, tmp_path / "data", out, {"in1k": "random"})
    assert slept == [["l1", made[1]]] and "l1" in made[1]  # the other row first, then it waits
    assert made[2] == "l2" and "l2" in made[3] and len(made) == 4
    assert (summary.trained, summary.locked) == (2, 0)
    assert capsys.readouterr().err.count("come later") == 1


def test_a_dataset_that_another_process_prepares_is_waited_for(data, tmp_path, monkeypatch, capsys):
    calls, raw = [], tmp_path / "raw"
    (raw / "bp4d").mkdir(parents=True)

    def prepared_by_another(sources, folder, *rest, **named):
        calls.append(sources)
        if len(calls) < 3:
            raise InUseError("in use")
        folder.parent.mkdir(parents=True)
        folder.symlink_to(data / "bp4d")

    monkeypatch.setattr(prepare, "run", prepared_by_another)
    monkeypatch.setattr(datasets.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(runner, "finish_part", lambda *given: True)
    assert run("ex1", raw, tmp_path / "o", "folds=['P1']").trained == 1
    assert calls == [[raw / "bp4d"]] * 3
    assert capsys.readouterr().err.count("waiting for another process that prepares") == 1


def test_who_is_tested_is_the_protocols_alone():
    for setting in ("data.folds=3", "data.train_subjects=['F001']", "data.test_subjects=['F001']"):
        made = settings.load("ex1", [f"finetune.{setting}"])
        with pytest.raises(ConfigError, match=r"the protocol sets folds, .*leave them out"):
            plan.finetune_settings(made, made.rows[0])
    made = settings.load("ex1", ["finetune.model.task=intensity"])
    with pytest.raises(ConfigError, match="the experiment's task is detection"):
        plan.finetune_settings(made, made.rows[0])
    with pytest.raises(ConfigError, match="--train and --test belong to the recipe cross"):
        settings.load("ex1", ["tested=disfa"])


def test_a_call_reports_what_it_asks_for_and_names_folds_that_are_not_there(data, tmp_path):
    out = tmp_path / "o"
    run("ex5", data, out, "folds=['P1', 'P2']")
    assert run("ex5", data, out, "folds=['P2']", "threshold=0.4", "note=new").parts == 1
    first, second = results.load(out)
    assert (first.threshold, second.threshold) == (0.5, 0.4) and "new" in second.notes
    assert second.weights == "random"
    some = facts.protocol("disfa", "threefold")["P1"]
    assert plan.find_missing_folds(settings.load("ex5"), some) == ("P2", "P3")
    with pytest.raises(WeightsError, match="nowhere"):
        run("ex1", data, tmp_path / "p", weights={"weights": str(tmp_path / "nowhere.pth")})
    assert not (tmp_path / "p").exists()


def test_a_part_is_not_finished_for_crops_that_were_prepared_anew(tmp_path, monkeypatch):
    hashes = []
    monkeypatch.setattr(parts, "_is_finished", lambda folder, value: not hashes.append(value))
    for name in ("_update_record", "_identity", "_encoder_notes"):
        monkeypatch.setattr(parts, name, lambda *given: {})
    benchmark = SimpleNamespace(trained_on=("learned",), tested="tested")
    planned = SimpleNamespace(folder="part", settings=drawn.finetune(), benchmark=benchmark)
    labels = drawn.labels(tmp_path / "labels.csv")
    data = {name: SimpleNamespace(folder=tmp_path / name, labels=labels) for name in ("learned", "tested")}
    for sides in ((32, 32), (32, 32), (40, 32), (32, 40)):
        for name, side in zip(data, sides, strict=True):
            drawn.prepared(tmp_path / name, 24, side)
        assert not parts.finish_part(planned, tmp_path, data, "random", [])
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3
