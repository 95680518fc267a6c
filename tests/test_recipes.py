import tomllib
from importlib import resources

import pytest

from maeface import config, reproduce

KINDS = {"pretrain": config.Pretrain, "finetune": config.Finetune, "reproduce": reproduce.Settings}


@pytest.mark.parametrize("name", config.recipes())
def test_every_recipe_is_sound_and_says_what_it_is(name):
    text = (resources.files("maeface") / "recipes" / f"{name}.toml").read_text()
    settings = config.load(KINDS[tomllib.loads(text)["verb"]], name)
    assert settings.title and settings.cost


def test_the_papers_values_are_the_defaults():
    assert config.load(config.Pretrain, "mae-face").model_dump(exclude={"title", "cost"}) == (
        config.Pretrain().model_dump(exclude={"title", "cost"})
    )
