"""Where the log of a training goes beside log.jsonl."""

import builtins
import csv
import json
import sys
from types import SimpleNamespace

import pytest

from maeface import config
from maeface.errors import ConfigError, ResourceError
from maeface.train import journal, sinks


def table(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_a_row_for_each_line_and_a_column_for_each_quantity(tmp_path):
    with journal.Journal(tmp_path, 0, ["csv"]) as log:
        log.write(1, 0.5, {"loss": 2.0})
        log.write(2, 1.0, {"loss": float("nan")})
        log.write(2, 1.0, {"validation_loss": 1.5, "f1_mean": 0.25})
        log.write(3, 1.5, {"loss": 1.0})
    assert table(tmp_path) == [
        {"step": "1", "epoch": "0.5", "loss": "2.0", "validation_loss": "", "f1_mean": ""},
        {"step": "2", "epoch": "1.0", "loss": "", "validation_loss": "", "f1_mean": ""},
        {"step": "2", "epoch": "1.0", "loss": "", "validation_loss": "1.5", "f1_mean": "0.25"},
        {"step": "3", "epoch": "1.5", "loss": "1.0", "validation_loss": "", "f1_mean": ""},
    ]
    with journal.Journal(tmp_path, 1, ["csv"]) as log:  # goes on after step 1
        log.write(2, 1.0, {"loss": 0.5})
    assert [(row["step"], row["loss"]) for row in table(tmp_path)] == [("1", "2.0"), ("2", "0.5")]
    assert [row["step"] for row in journal.lines(tmp_path)] == [1, 2]


def test_a_table_whose_last_row_was_cut_off_goes_on(tmp_path):
    (tmp_path / "log.csv").write_text("step,epoch,loss\n1,0.5,2.0\n2")
    with journal.Journal(tmp_path, 1, ["csv"]) as log:
        log.write(2, 1.0, {"loss": 0.5})
    assert [(row["step"], row["loss"]) for row in table(tmp_path)] == [("1", "2.0"), ("2", "0.5")]


def test_only_what_is_asked_for_is_written(tmp_path):
    with journal.Journal(tmp_path / "none", 0) as log:
        log.write(1, 0.5, {"loss": 2.0})
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["log.jsonl"]
    with journal.Journal(tmp_path / "board", 0, ["tensorboard"]) as log:
        log.write(1, 0.5, {"loss": 2.0})
    assert list((tmp_path / "board" / "tensorboard").iterdir())
    assert config.Pretrain().run.log == ("tensorboard",)
    with pytest.raises(ConfigError, match=r"run\.log\.0: Input should be 'csv', 'tensorboard', 'wandb' or"):
        config.load(config.Pretrain, "mae-face", ['run.log=["tensorbord"]'])


class Service:
    """What maeface uses of wandb and trackio; both have it."""

    def __init__(self):
        self.opened, self.logged, self.finished = [], [], 0

    def init(self, project, name=None, config=None, resume="never", **more):
        self.opened.append({"project": project, "name": name, "config": config, "resume": resume} | more)
        return SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, metrics, step=None):
        self.logged.append((step, metrics))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_gets_settings_and_values_and_the_same_run_again(tmp_path, monkeypatch, name):
    service, folder = Service(), tmp_path / "mae"
    monkeypatch.setitem(sys.modules, name, service)
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"settings": {"optim": {"epochs": 3}}}))
    for step in (0, 1):
        with journal.Journal(folder, step, [name]) as log:
            log.write(step + 1, 0.5, {"loss": 2.0, "other": float("inf")})
    first, second = service.opened
    assert first == second
    assert first["config"] == {"settings": {"optim": {"epochs": 3}}}
    assert (first["project"], first["resume"]) == ("maeface", "allow")
    assert first["name"].startswith("mae-") and len(first["name"]) == len("mae-") + 8
    assert (first.get("id"), first.get("dir")) == (
        (first["name"].removeprefix("mae-"), str(folder)) if name == "wandb" else (None, None)
    )
    assert service.logged == [(1, {"epoch": 0.5, "loss": 2.0}), (2, {"epoch": 0.5, "loss": 2.0})]
    assert service.finished == 2
    with journal.Journal(tmp_path / "other", 0, [name]):
        pass
    assert service.opened[2]["name"] != first["name"]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_library_that_is_missing_is_one_line_with_the_command(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ResourceError, match=rf"^run\.log names {name}, .*: uv pip install 'maeface\[{name}\]'$"
    ):
        journal.Journal(tmp_path, 0, [name])


def test_a_service_that_cannot_start_ends_no_training(tmp_path, monkeypatch, capsys):
    def init(**given):
        raise builtins.RuntimeError("no API key")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    with journal.Journal(tmp_path, 0, ["wandb", "csv"]) as opened:
        opened.write(1, 0.5, {"loss": 2.0})
    assert "the log wandb cannot be written (no API key); training goes on" in capsys.readouterr().err
    assert len(table(tmp_path)) == len(journal.lines(tmp_path)) == 1


def test_a_log_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    service = Service()

    def log(metrics, step):
        raise ValueError("the connection is lost")

    service.log = log
    monkeypatch.setitem(sys.modules, "wandb", service)
    with journal.Journal(tmp_path, 0, ["wandb", "csv"]) as opened:
        for step in (1, 2):
            opened.write(step, 0.5, {"loss": 2.0})
    message = capsys.readouterr().err
    assert message.count("the log wandb cannot be written (the connection is lost); training goes on") == 1
    assert len(table(tmp_path)) == len(journal.lines(tmp_path)) == 2


def test_every_name_of_the_setting_has_a_sink():
    names = config.Run.model_fields["log"].annotation.__args__[0].__args__
    assert set(names) == set(sinks.SINKS)
