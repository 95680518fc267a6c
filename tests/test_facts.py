import hashlib
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from pydantic import ValidationError

from maeface import facts
from maeface.data import labels
from maeface.errors import ConfigError
from maeface.studio import people, rig

IN_USE = [1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28, 43, 45]


def test_aus_in_use():
    assert list(facts.AUS) == IN_USE
    assert facts.AUS[12].name == "Lip corner puller"
    assert len({au.name for au in facts.AUS.values()}) == len(IN_USE)
    assert all(au.muscles and au.look for au in facts.AUS.values())
    with pytest.raises(TypeError):
        facts.AUS[12] = facts.AUS[1]
    with pytest.raises(ValidationError):
        facts.AUS[12].name = "Smile"


def test_names():
    assert facts.au_name(1) == "AU01"
    assert facts.au_name(12) == "AU12"
    assert facts.au_title(4) == "AU04 Brow lowerer"
    assert facts.au_title(34) == "AU34"


def test_reading_waits_until_asked():
    code = "import maeface.facts as f, sys; sys.exit(f._aus.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError):
        _ = facts.AU_NAMES


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("AU12_o", (12, "occurrence")),
        ("AU12_p", (12, "probability")),
        ("AU01_i", (1, "intensity")),
        (" AU12_r", (12, "intensity")),
        (" AU45_c", (45, "occurrence")),
        ("AU28_c", (28, "occurrence")),
        ("AU06", (6, "probability")),
        ("au_12", (12, "occurrence")),
        ("au_12_intensity", (12, "intensity")),
        ("Occ_au_6", (6, "occurrence")),
        ("Int_au_17", (17, "intensity")),
    ],
)
def test_au_columns_of_the_tools(column, expected):
    assert facts.au_column(column) == expected


@pytest.mark.parametrize(
    "column",
    ["frame", "AU", "AU_r", "AU00", "AU123_r", "xAU12", "AU12_x", "pose_Rx", "x_12", "AU12_r2", "AU١٢", ""],
)
def test_other_columns(column):
    assert facts.au_column(column) is None


@pytest.mark.parametrize("name", facts.datasets())
def test_every_dataset_file_is_sound(name):
    dataset = facts.dataset(name)
    assert dataset.name == name
    assert bool(dataset.aus_occurrence or dataset.aus_intensity) == (dataset.kind == "au")
    re.compile(dataset.subjects)


def test_synthau():
    dataset = facts.dataset("synthau")
    assert dataset.threshold == 2
    assert dataset.scale == (0, facts.INTENSITY_MAX)
    assert "maeface synth" in dataset.obtain


def test_synthau_is_what_the_studio_renders():
    dataset = facts.dataset("synthau")
    assert dataset.aus_occurrence == dataset.aus_intensity == rig.AUS
    assert dataset.threshold == rig.OCCURRENCE
    assert re.fullmatch(dataset.subjects, people.subject(0, 3).name)


def test_held_out_portraits_are_fixed_by_their_names(shared):
    names = [path.name for path in (shared / "photos" / "congress").glob("*.jpg")]
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert facts.held_out_portraits() == set(by_hash[:300])


def test_held_out_portraits_are_a_table_of_labels():
    dataset = facts.dataset("portraits")
    path = resources.files("maeface") / "datasets" / "portraits.csv"
    table = labels.read(path)
    assert set(table.rows["source"]) == facts.held_out_portraits()
    assert tuple(table.occurrence) == dataset.aus_occurrence
    assert all(re.fullmatch(dataset.subjects, Path(name).stem) for name in table.rows["source"])


def test_unknown_dataset_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"no dataset 'bp5d'; known are: .*synthau"):
        facts.dataset("bp5d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aus_occurrence": (1, 1)}, "twice"),
        ({"aus_intensity": (1, 99)}, r"\[99\], which aus.toml lacks"),
        ({"threshold": 6.0}, "scale"),
        ({"protocols": {"p": {"1": ("F001",), "2": ("F001",)}}}, "F001 is twice in the folds of protocol p"),
        ({"protocols": {"p": {"1": ("X1",)}}}, "look like"),
        ({"protocols": {"p": {"1": ("F001",), "2": ()}}}, "tests nobody"),
        ({"protocols": {"p": {"1": ("F002",)}}, "subject_names": ("F001",)}, "subject_names lacks"),
        ({"subject_names": ("F001", "F001")}, "names a subject twice"),
        ({"same_people": {"y": ("SN001",)}}, "look like"),
        ({"origins": {"p": "me"}}, "not protocols"),
        ({"kind": "faces"}, "no action units"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_dataset_is_refused(change, message):
    right = {
        "name": "x",
        "title": "X",
        "aus_occurrence": (1,),
        "threshold": 2.0,
        "subjects": "[FM][0-9]{3}",
        "licence": "on request",
        "obtain": "ask",
    }
    facts.Dataset.model_validate(right)
    with pytest.raises(ValidationError, match=message):
        facts.Dataset.model_validate(right | change)
