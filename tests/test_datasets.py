"""The verb that tells what is known of each dataset."""

import io
import sys

import pytest
from rich.console import Console

from maeface import cli, datasets, facts
from maeface.data.readers import raw_dataset
from maeface.errors import ConfigError


def printed(known, width=200):
    out = io.StringIO()
    Console(file=out, width=width).print(datasets.render(known))
    return out.getvalue()


def test_all_datasets_those_with_action_units_first():
    known = datasets.run()
    assert {one.facts.name for one in known} == set(facts.datasets())
    kinds = [one.facts.kind for one in known]
    assert kinds == sorted(kinds) and kinds[0] == "au" and kinds[-1] == "faces"
    text = printed(known)
    for one in known:
        assert one.facts.name in text
    line = next(line for line in text.splitlines() if line.split()[:1] == ["bp4d"])
    assert line.split()[-5:] == ["12", "5", "41", "146,847", "threefold"]


def test_one_dataset_is_told_whole():
    text = " ".join(printed(datasets.run("disfa")).split())
    for words in (
        "AU12 Lip corner puller",
        "0 to 5",
        "present means intensity 2 or more",
        "130,814",
        "protocol threefold",
        "test subjects, P2 9: SN006 SN011 SN012",
        "also in disfaplus 9: SN001",
        "left camera",
        "research only",
        "Mahoor",
        "SN001_au1.txt",
        "IEEE Transactions on Affective Computing",
    ):
        assert words in text, words


@pytest.mark.parametrize("name", facts.datasets())
def test_every_fact_of_a_dataset_is_printed(name):
    (known,) = datasets.run(name)
    text = " ".join(printed((known,), width=4000).split())
    dataset = known.facts
    told = [dataset.title, dataset.licence, dataset.obtain, dataset.cite, dataset.homepage or ""]
    told += [*dataset.choices, *dataset.layout, *dataset.origins.values(), known.command]
    told += [" ".join(fold) for folds in dataset.protocols.values() for fold in folds.values()]
    for words in told:
        assert words in text


@pytest.mark.parametrize("name", sorted(set(raw_dataset.names()) & set(facts.datasets())))
def test_what_can_be_read_has_its_command_and_its_options_explained(name):
    (known,) = datasets.run(name)
    assert known.command == f"maeface prepare DIR --dataset {name} --out OUT"
    for option in known.options:
        assert option.help.rstrip().endswith("."), f"{name}: {option.name} is not explained"


def test_what_a_reader_lets_one_choose():
    (known,) = datasets.run("affectnet")
    (part,) = (option for option in known.options if option.name == "part")
    assert part.default == "all" and part.help.endswith("One of all, manual, automatic.")
    (partial,) = (option for option in datasets.run("ckplus")[0].options if option.name == "partial")
    assert partial.default == "false"


def test_what_is_not_read_from_a_folder_has_no_command():
    assert datasets.run("portraits")[0].command == "" and datasets.run("portraits")[0].options == ()


def test_an_unknown_dataset():
    with pytest.raises(ConfigError, match=r"no dataset 'bp4'; the datasets are: affectnet, .*bp4d, bp4dplus"):
        datasets.run("bp4")


def test_the_command(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["maeface", "datasets", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return (stopped.value.code, *capsys.readouterr())

    code, out, err = run("bp4dplus")
    assert (code, err) == (0, "") and "fourfold" in out
    code, out, err = run()
    assert (code, err) == (0, "") and all(name in out for name in facts.datasets())
    code, out, err = run("nobody")
    assert (code, out) == (2, "") and err.startswith("maeface: no dataset 'nobody'; the datasets are:")
