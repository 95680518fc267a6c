"""Who is learned from and who is tested on, and how training faces are thinned."""

import json

import numpy as np
import pandas as pd
import pytest

import drawn
from maeface import finetune
from maeface.data import manifest
from maeface.data.loading import several, split
from maeface.errors import ConfigError, DataError
from maeface.model import vit


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))


def everything(subjects=("F001", "F002", "M001", "M002"), frames=10):
    """Clips whose pictures' names have no zeros in front, in the order of their names as text."""
    rows = pd.DataFrame(
        [(f"{s}/T1/{n}.jpg", s, f"{s}/T1", 0) for s in subjects for n in range(5, 5 + frames)],
        columns=["source", "subject", "clip", "frame"],
    ).sort_values("source", ignore_index=True)
    labels = np.arange(len(rows) * 2, dtype=np.float32).reshape(-1, 2) % 2
    return split.Split(rows, labels, np.ones((len(rows), 2), dtype=bool))


def cut(selection="validation", **data):
    settings = drawn.finetune(data=data).model_copy(update={"selection": selection})
    return split.split_faces(everything(), settings)


def shown(part):
    return sorted(set(manifest.subjects(part.rows)))


def test_the_test_subjects_are_those_that_are_named():
    found = cut(test_subjects=("M001", "F002"), validation=0.5)
    assert shown(found["test"]) == ["F002", "M001"]
    assert len(shown(found["train"])) == len(shown(found["validation"])) == 1
    assert sorted(shown(found["train"]) + shown(found["validation"])) == ["F001", "M002"]


def test_who_is_named_in_neither_is_left_out():
    found = cut(train_subjects=("F001", "F002"), test_subjects=("M001",), validation=0)
    assert (shown(found["train"]), shown(found["test"])) == (["F001", "F002"], ["M001"])
    assert len(found["validation"].rows) == 0
    alone = cut(train_subjects=("F001", "F002"), validation=0.5)
    assert len(alone["test"].rows) == 0 and len(alone["train"].rows) == 10


def test_where_the_test_part_chooses_nothing_is_held_out():
    found = cut("test", test_subjects=("M001",), validation=0.5)
    assert shown(found["train"]) == ["F001", "F002", "M002"] and len(found["validation"].rows) == 0


def test_every_nth_training_face_in_the_order_of_the_frames():
    found = cut(test_subjects=("M001",), validation=0, every=3)
    assert list(found["train"].rows["source"].iloc[:4]) == [
        f"F001/T1/{n}.jpg"
        for n in (11, 14, 5, 8)  # as text; by number 5, 8, 11, 14
    ]
    assert len(found["train"].rows) == 10 and len(found["test"].rows) == 10
    # counted on from clip to clip: a tenth of 30 faces are 3, wherever the clips end
    assert [len(cut(test_subjects=("M001",), validation=0, every=n)["train"].rows) for n in (10, 30, 99)] == [
        3,
        1,
        1,
    ]
    held = cut(test_subjects=("M001",), validation=0.4, every=5)
    assert len(held["validation"].rows) == 10 and len(held["train"].rows) == 4


def test_what_does_not_fit_is_one_line():
    with pytest.raises(
        DataError, match=r"data\.test_subjects: no labelled face shows F009; they show F001, F0"
    ):
        cut(test_subjects=("F009",))
    with pytest.raises(DataError, match="the test part is empty"):
        cut("test")
    with pytest.raises(DataError, match="the training part is empty"):
        cut(test_subjects=("F001", "F002", "M001", "M002"))
    with pytest.raises(ValueError, match="M001 are in train_subjects and in test_subjects"):
        cut(train_subjects=("M001",), test_subjects=("M001",))
    with pytest.raises(ValueError, match="not both"):
        cut(folds=2, test_subjects=("M001",))


def test_the_part_that_is_named_chooses_the_weights(tmp_path):
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")
    settings = drawn.finetune(data={"test_subjects": ["S1", "S2"], "every": 2}, optim={"epochs": 2})
    settings = settings.model_copy(update={"selection": "test"})
    finetune.run(settings, [faces], labels, "random", tmp_path / "run")
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert split["test"] == ["S1", "S2"] and split["validation"] == [] and len(split["train"]) == 6
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert sum("validation_loss" in row for row in log) == 2
    other = settings.model_copy(update={"selection": "validation"})
    with pytest.raises(ConfigError, match="selection: test -> validation"):
        finetune.run(other, [faces], labels, "random", tmp_path / "run")


def test_datasets_with_labels_of_their_own_stay_apart(tmp_path):
    folders, tables = [tmp_path / "one", tmp_path / "two"], [tmp_path / "one.csv", tmp_path / "two.csv"]
    for folder, table in zip(folders, tables, strict=True):
        drawn.faces(folder)
        drawn.labels(table)
    head = drawn.finetune(model={"aus": [12, 4]}).model
    aus, faces, line = several.read_faces(folders, tables, head)
    alone = several.read_faces(folders[:1], tables[:1], head)[1]
    count = len(alone.rows)
    assert aus == (12, 4) and line == f"{2 * count} labelled faces of one, two"
    assert list(faces.rows["folder"]) == [0] * count + [1] * count and faces.rows["id"].is_unique
    assert len(set(manifest.subjects(faces.rows))) == 2 * len(set(manifest.subjects(alone.rows)))
    np.testing.assert_array_equal(faces.labels, np.tile(alone.labels, (2, 1)))
    with pytest.raises(ConfigError, match=r"the action units to learn; set model\.aus"):
        several.read_faces(folders, tables, head.model_copy(update={"aus": ()}))
    for wrong in (folders[:1], [folders[0], folders[0]]):
        with pytest.raises(ConfigError, match="whose names differ; got 2 tables for the folders one"):
            several.read_faces(wrong, tables, head)
