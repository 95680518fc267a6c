"""The names that users type: ``maeface.Predictor`` and others."""

import subprocess
import sys
from pathlib import Path

import pytest

import maeface
from maeface.model import zoo

PAGE = Path(__file__).parents[1] / "docs" / "user_guide" / "python.md"


@pytest.mark.parametrize("name", maeface.__all__)
def test_every_name_is_there_and_stands_on_its_page(name):
    assert getattr(maeface, name) is not None
    assert name in dir(maeface)
    assert name in PAGE.read_text()


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Predictors'"):
        maeface.Predictors  # noqa: B018


def test_verbs_are_modules_and_the_rest_is_what_it_says():
    assert all(callable(getattr(maeface, verb).run) for verb in ("prepare", "predict", "evaluate", "demo"))
    assert issubclass(maeface.WeightsError, maeface.MaefaceError)
    model, metadata = maeface.load_model()
    encoder, report = maeface.load_encoder(zoo.DEFAULT)
    assert not model.training and len(metadata.aus) == 20
    assert type(encoder) is type(model.encoder) and not report.missing


def test_importing_the_package_is_light():
    code = (
        "import sys, maeface; dir(maeface); sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
