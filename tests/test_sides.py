"""Intensities of the left and the right side of the face in labels and in weights files."""

import json

import numpy as np
import pytest
import safetensors
from safetensors.torch import load_file, save_file

import drawn
from maeface import facts
from maeface.data import manifest
from maeface.data.loading.split import select_labels
from maeface.data.tables import labels as label_tables
from maeface.data.tables.predictions import read_predictions
from maeface.errors import DataError, WeightsError
from maeface.model import weights
from maeface.model.arrays import load_arrays
from maeface.model.au import AUModel
from maeface.model.file_format import metadata as metadata_file
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.vit import ViT

# labels ------------------------------------------------------------------------------------------------


def test_a_capital_letter_is_a_side_and_a_small_one_is_of_openface():
    assert facts.au_column("AU12_L") == (12, "left") and facts.au_column("AU12_R") == (12, "right")
    assert facts.au_column(" AU12_r") == (12, "intensity") and facts.au_column("au12_l") is None


def table(path, text):
    path.write_text(text)
    return path


def test_sides_are_read_with_their_mask_and_written_again(tmp_path):
    faces = drawn.faces(tmp_path / "crops", 3)
    rows = "source,AU12_o,AU12_R,AU12_L,AU04_L,AU04_R\n00.png,1,0.5,5,,\n01.png,1,,,1,2\n"
    path = table(tmp_path / "labels.csv", rows)
    found = label_tables.join_labels(manifest.load(faces), path)
    assert found.aus_sides == (4, 12) and found.sides.dtype == np.float32
    assert found.sides.tolist() == [[0, 5, 0, 0.5], [1, 0, 2, 0]]
    assert found.sides_mask.tolist() == [[False, True, False, True], [True, False, True, False]]
    again = found.table()
    assert list(again)[3:] == ["AU12_o", "AU04_L", "AU12_L", "AU04_R", "AU12_R"]
    assert again["AU12_L"][0] == 5 and np.isnan(again["AU12_L"][1])
    plain = label_tables.join_labels(
        manifest.load(faces), table(tmp_path / "p.csv", "source,AU12_o\n00.png,1")
    )
    assert plain.aus_sides == () and plain.sides.shape == (1, 0)
    assert list(plain.table()) == ["id", "subject", "clip", "AU12_o"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,AU12_o,AU12_L\na,1,2", "has AU12_L, the intensity of one side, but no AU12_R; give both"),
        ("source,AU12_C,AU12_R\na,1,2", r"has AU12_R, .* but no AU12_L; .*OpenFace are AU12_r"),
        ("source,AU12_L,AU12_R\na,1,1\nb,1,", "line 3: only one of AU12_L and AU12_R is known; give both or"),
        ("source,AU12_L,AU12_R\na,1,5.5", "line 2: AU12_R is 5.5; expected 0 to 5"),
        ("source,AU12_L,AU12_R\na,1,2\na,2,1", "line 2 and line 3 give different labels"),
    ],
)
def test_wrong_sides_are_one_clear_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        label_tables.read_labels(table(tmp_path / "labels.csv", text))


def test_predictions_with_sides_are_read_as_those_without(tmp_path):
    path = table(tmp_path / "p.csv", "input,AU12_p,AU12_L,AU12_R\na.jpg,0.5,3,4")
    read = read_predictions(path)
    assert read.detection[12].tolist() == [0.5] and read.intensity == {}


def test_predictions_with_one_side_alone_may_be_of_openface_in_capitals(tmp_path):
    path = table(tmp_path / "p.csv", "input,AU12_c,AU12_R\na.jpg,1,3")
    with pytest.raises(DataError, match=r"AU12_R, .* but no AU12_L; give both .*OpenFace are AU12_r"):
        read_predictions(path)


def test_a_training_does_not_read_them(tmp_path):
    faces = drawn.faces(tmp_path / "crops", 2)
    path = table(
        tmp_path / "labels.csv", "source,AU12_o,AU12_i,AU12_L,AU12_R\n00.png,1,2,4,0\n01.png,0,0,0,0"
    )
    aus, part = select_labels(label_tables.join_labels(manifest.load(faces), path), drawn.finetune().model)
    assert aus == (12,) and part.labels.tolist() == [[1, 2], [0, 0]]


# weights files -----------------------------------------------------------------------------------------


def test_weights_whose_metadata_have_an_empty_list_of_sides_are_read(tmp_path):
    """Format 5 had a second head for sides, which no file has."""
    made = AUModel(ViT((16, 1, 2), 16, 8), (4, 12), "both")
    path = tmp_path / "a.safetensors"
    weights.save(path, made, describe(made, Preprocessing(image_size=16)))
    tensors = load_file(path)
    for sides in ([], [12]):
        with safetensors.safe_open(path, "pt") as file:
            values = json.loads(file.metadata()["maeface"])["metadata"] | {"sides": sides}
        header = json.dumps({"metadata": values, "sha256": metadata_file._digest(values, tensors)})
        save_file(tensors, path, {"maeface": header})
        if sides:
            with pytest.raises(WeightsError, match="wrong metadata: sides Extra inputs are not permitted"):
                weights.load_model(path)
        else:
            assert weights.load_model(path)[1].aus == load_arrays(path)[1].aus == (4, 12)
