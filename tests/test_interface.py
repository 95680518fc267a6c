"""The names that users type: ``maeface.Predictor`` and others."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maeface
from maeface import cli
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


def test_type_checkers_know_every_name():
    checked = next(
        one for one in ast.parse(Path(maeface.__file__).read_text()).body if isinstance(one, ast.If)
    )
    known = {alias.name for line in checked.body for alias in line.names}
    assert known == set(maeface.__all__)
    verbs = {command.name for command in cli.app.registered_commands} - {None}
    verbs |= {one.callback.__name__ for one in cli.app.registered_commands if one.name is None}
    assert verbs <= known


@pytest.fixture(scope="module")
def predictor():
    with maeface.Predictor(aligned=True, device="cpu") as predictor:
        yield predictor


@pytest.mark.parametrize(
    ("crops", "says"),
    [
        (np.zeros((2, 50, 50, 3), np.float32), "crop 0 is float32 of shape (50, 50, 3); expected uint8 RGB"),
        (np.zeros((2, 50, 50), np.uint8), "crop 0 is uint8 of shape (50, 50)"),
        (
            [np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 4), np.uint8)],
            "crop 1 is uint8 of shape (9, 9, 4)",
        ),
        (
            torch.zeros(2, 9, 9, 3, dtype=torch.uint8),
            "crop 0 is of type Tensor; expected an array of NumPy, (S, S, 3) uint8",
        ),
        ([Image.new("RGB", (9, 9))], "crop 0 is of type Image; expected an array of NumPy"),
        (np.zeros((2, 9, 9, 3), np.uint8).tolist(), "crop 0 is of type list; expected an array of NumPy"),
    ],
)
def test_crops_that_would_give_wrong_values_are_refused(predictor, crops, says):
    with pytest.raises(maeface.DataError, match=re.escape(says)):
        predictor.predict_crops(crops)


def test_an_unknown_output_and_no_threads_are_one_line(predictor):
    with pytest.raises(maeface.ConfigError, match=r"output is 'x'; expected one of head, features"):
        predictor.predict_crops(np.zeros((1, 9, 9, 3), np.uint8), "x")
    for threads in (0, -3):
        with pytest.raises(maeface.ConfigError, match=f"threads is {threads}; expected a number above 0"):
            maeface.Predictor(threads=threads)


def test_paths_may_be_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save("a.png")
    maeface.predict.run("a.png", None, "a.csv", aligned=True, device="cpu", workers=1)
    maeface.predict.run(["a.png"], None, "b.csv", aligned=True, device="cpu", workers=1)
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    Path("labels.csv").write_text("source,AU12_o\na.png,1\n")
    assert maeface.evaluate.run("labels.csv", "a.csv", out="scores.csv").matched == 1
    assert Path("scores.csv").is_file()
    assert maeface.prepare.run("a.png", "faces", maeface.prepare.Settings(aligned=True)).faces == 1


@pytest.mark.parametrize("verb", ["prepare", "pretrain", "finetune", "predict", "evaluate", "export"])
def test_each_path_that_a_verb_takes_may_be_text(verb):
    hints = inspect.get_annotations(getattr(maeface, verb).run)
    hints.pop("return")
    paths = {
        name: str(kind) for name, kind in hints.items() if "Path" in str(kind) and "Callable" not in str(kind)
    }
    assert paths and not [name for name, kind in paths.items() if not re.search(r"\bstr\b", kind)]
