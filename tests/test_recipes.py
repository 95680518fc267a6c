"""Every recipe of the package is sound, says what it is, and trains."""

import json
import re
from importlib import resources

import pytest

import drawn
from maeface import config, facts, finetune, pretrain, reproduce
from maeface.errors import ConfigError
from maeface.experiments import settings
from maeface.experiments.running import plan
from maeface.experiments.settings import Experiment, Figure
from maeface.model import vit

VERBS = {"pretrain": config.Pretrain, "finetune": config.Finetune}
EXPERIMENTS = [name for name in config.recipes() if config.read(name).get("kind") == "experiment"]
TWO_STEPS = ["optim.epochs=2", "optim.warmup_epochs=0", "optim.batch=8", "optim.micro_batch=4"]
SMALL = ["model.image_size=16", "model.patch_size=8", "run.device=cpu", "run.workers=0", "data.validation=0"]
DECODER = ["model.decoder_depth=1", "model.decoder_width=32", "model.decoder_heads=2"]
HALF = "data.folds=2"
TUNED = [*TWO_STEPS, *SMALL, "model.aus=[12]", HALF]


def text(name):
    return (resources.files("maeface") / "recipes" / f"{name}.toml").read_text()


def load(name, tuned=(), pretrained=()):
    """A recipe whose trainings are changed."""
    verb = config.read(name)["verb"]
    if verb in VERBS:
        return config.load(VERBS[verb], name, tuned if verb == "finetune" else pretrained)
    if tuned and name in EXPERIMENTS:  # whose protocol says who is tested
        tuned = [change for change in tuned if change != HALF] + ["optim.batch=16"]
    changes = [f"finetune.{change}" for change in tuned] + [f"pretrain.{change}" for change in pretrained]
    return reproduce.load(name, changes)


@pytest.mark.parametrize("name", config.recipes())
def test_every_recipe_is_sound_and_says_what_it_is(name):
    made = load(name)
    assert made.title and made.cost
    if config.read(name)["verb"] == "reproduce":
        assert made.name == name


def test_the_papers_values_are_the_defaults():
    left_out = {"title": True, "cost": True, "optim": {"micro_batch"}}  # which are no values of the paper
    assert config.load(config.Pretrain, "mae-face").model_dump(exclude=left_out) == (
        config.Pretrain().model_dump(exclude=left_out)
    )


def test_a_batch_of_thousands_is_done_in_parts_that_fit_a_gpu():
    assert config.load(config.Pretrain, "mae-face").optim.micro_batch == 256
    made = settings.load("table6")
    assert {plan.pretrain_settings(made, row).optim.micro_batch for row in made.rows} == {256}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_its_command_and_what_the_paper_prints(name):
    made = settings.load(name)
    first, second = text(name).splitlines()[:2]
    assert first.startswith(f"# maeface reproduce {name} ") and "--data DIR" in first
    assert "paper" in second
    table = facts.published(made.published) if made.published else None
    values = {
        (single.name, row.name): table.find_comparison(
            single.dataset, "f1" if single.task == "detection" else "icc"
        )
        for single in settings.split_benchmarks(made)
        for row in made.rows
        if row.published
    }
    for (single, name_of_row), comparison in values.items():
        row = next(row for row in made.rows if row.name == name_of_row)
        printed = comparison.row(row.method).avg
        assert row.published[single] == printed
        assert f"{printed:.3f}".lstrip("0") in text(name).replace("0.", ".") or f"{printed:.1f}" in text(name)
    assert bool(values) == (name not in ("fig7", "cross", "lodo"))


def test_the_settings_of_section_4():
    found = {}
    for name in ("ex1", "ex2", "ex3", "ex4", "ex5"):
        (single,) = settings.split_benchmarks(settings.load(name))
        how = plan.finetune_settings(single, single.rows[0])
        found[name] = (single.dataset, single.protocol, single.task, how.optim.base_lr)
        assert (how.optim.epochs, how.optim.warmup_epochs, how.optim.batch) == (20, 10, 512)
        assert (how.optim.weight_decay, how.model.drop_path, how.patience) == (0.05, 0.1, None)
        mixed = (0.2, 0.75) if single.task == "detection" else (0.0, 0.0)
        assert (how.data.mixup, how.data.cutmix) == mixed and how.data.randaugment.startswith("rand-m9")
    assert found == {
        "ex1": ("bp4d", "threefold", "detection", 1e-4),
        "ex2": ("bp4dplus", "threefold", "detection", 2e-4),
        "ex3": ("disfa", "threefold", "detection", 2e-4),
        "ex4": ("bp4d", "fera2015", "intensity", 3e-5),
        "ex5": ("disfa", "threefold", "intensity", 1.5e-4),
    }
    table5, table6, fig7 = (settings.load(name) for name in ("table5", "table6", "fig7"))
    scratch = plan.finetune_settings(settings.split_benchmarks(table5)[1], table5.rows[0])
    assert (scratch.optim.epochs, scratch.optim.warmup_epochs, scratch.optim.base_lr) == (200, 20, 2e-4)
    for row in table6.rows:
        how = plan.pretrain_settings(table6, row)
        assert (how.optim.epochs, how.optim.batch, how.init) == (200, 4096, "in1k")
    few = {row.share: plan.finetune_settings(settings.split_benchmarks(fig7)[3], row) for row in fig7.rows}
    assert {share: how.optim.epochs for share, how in few.items()} == {
        1.0: 20,
        0.1: 200,
        0.01: 2000,
        0.005: 4000,
        0.002: 10000,
        0.001: 20000,
    }
    assert all(how.data.every == round(1 / share) for share, how in few.items())
    (cross,) = settings.split_benchmarks(settings.load("cross", ["dataset=disfa", "tested=bp4d"]))
    assert plan.finetune_settings(cross, cross.rows[0]).optim.base_lr == 2e-4


def test_where_the_paper_is_silent_the_recipe_says_so():
    for name in [name for name in EXPERIMENTS if re.fullmatch(r"ex\d|table.|fig7", name)]:
        assert "paper silent:" in text(name), name


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    base = tmp_path_factory.mktemp("recipes")
    return drawn.faces(base / "crops", 16, 16), drawn.labels(base / "labels.csv", 16)


@pytest.mark.parametrize("name", [name for name in config.recipes() if not isinstance(load(name), Figure)])
def test_every_recipe_trains_two_steps(name, faces, tmp_path, monkeypatch):
    for size in ("nano", "tiny", "base"):
        monkeypatch.setitem(vit.SIZES, size, vit.Shape(16, 2, 2))
    for verb in (finetune, pretrain):
        monkeypatch.setattr(verb.journal, "lines", lambda folder: [])  # no picture of curves: seconds each
    made = load(name, TUNED, [*TWO_STEPS, *SMALL, *DECODER, "optim.batch=16", "init=random"])
    pretraining, finetuning = _trainings(made)
    if pretraining is not None:
        pretrain.run(pretraining, [faces[0]], tmp_path / "mae")
        assert _steps(tmp_path / "mae") == 2
    if finetuning is not None:
        finetune.run(finetuning, [faces[0]], faces[1], "random", tmp_path / "au")
        assert _steps(tmp_path / "au") == 2


def _trainings(made):
    if isinstance(made, Experiment):
        single, row = settings.split_benchmarks(made)[0], made.rows[-1]
        own = plan.find_encoder(row, {}).row
        return (plan.pretrain_settings(made, row) if own else None), plan.finetune_settings(single, row)
    return (made, None) if isinstance(made, config.Pretrain) else (None, made)


def _steps(folder):
    return max(json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines())


def test_a_batch_smaller_than_the_recipes_micro_batch_is_taken_whole():
    settings = config.load(config.Pretrain, "mae-face", ["optim.batch=64"])
    assert (settings.optim.batch, settings.optim.micro_batch) == (64, 256)
    with pytest.raises(ConfigError, match=r"batch \(300\) must be a multiple of micro_batch \(256\)"):
        config.load(config.Pretrain, "mae-face", ["optim.batch=300"])


def test_one_value_stands_for_a_list_of_one():
    made = config.load(
        config.Finetune,
        "detection",
        ["run.log=csv", "model.aus=12", "data.test_subjects=F001", "data.repeats=3"],
    )
    assert (made.run.log, made.model.aus) == (("csv",), (12,))
    assert (made.data.test_subjects, made.data.repeats) == (("F001",), (3,))
    experiment = settings.load("ex1", ["seeds=7", "folds=P1"])
    assert (experiment.seeds, experiment.folds) == ((7,), ("P1",))
    for wrong, message in (
        ("run.log=cvs", r"run\.log\.0: Input should be 'csv', .*, got 'cvs'"),
        ("data.test_subjects=", r"data\.test_subjects: Input should be a valid tuple, got ''"),
        ("data.crop_scale=0.5", r"data\.crop_scale: Input should be a valid tuple, got 0\.5"),
    ):
        with pytest.raises(ConfigError, match=message):
            config.load(config.Finetune, "detection", [wrong])
