import hashlib
import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from pydantic import ValidationError

from maeface import facts
from maeface.data.tables import labels
from maeface.errors import ConfigError

IN_USE = [1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28, 43, 45]


def test_aus_in_use():
    assert list(facts.AUS) == IN_USE
    assert facts.AUS[12].name == "Lip corner puller"
    assert len({au.name for au in facts.AUS.values()}) == len(IN_USE)
    assert all(au.muscles and au.appearance for au in facts.AUS.values())
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
    [
        "frame",
        "AU",
        "AU_r",
        "AU00",
        "AU123_r",
        "xAU12",
        "AU12_x",
        "pose_Rx",
        "x_12",
        "AU12_r2",
        "AU١٢",
        "",
    ],
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
    assert "maeface-studio render" in dataset.obtain


def with_protocols():
    return [(n, p) for n in facts.datasets() for p in facts.dataset(n).protocols]


@pytest.mark.parametrize(("name", "protocol"), with_protocols())
def test_folds_are_disjoint_and_complete(name, protocol):
    folds = facts.protocol(name, protocol)
    tested = [subject for subjects in folds.values() for subject in subjects]
    assert len(set(tested)) == len(tested)
    everyone = facts.dataset(name).subject_names
    if protocol == "fera2015":  # one test part: the others are only trained on
        assert set(tested) == {name for name in everyone if int(name[1:]) % 2 == 0} and len(tested) == 20
        assert len(set(everyone) - set(tested)) == 21
    elif name != "synthau":  # whose subjects are as many as one renders
        assert set(tested) == set(everyone)


@pytest.mark.parametrize(
    ("name", "subjects", "women"), [("bp4d", 41, 23), ("bp4dplus", 140, 82), ("disfa", 27, None)]
)
def test_the_papers_subjects(name, subjects, women):
    names = facts.dataset(name).subject_names
    assert len(names) == subjects
    assert women is None or sum(subject.startswith("F") for subject in names) == women


# JAA-Net numbers the folds so, ME-GraphAU and MDHR the other way round.
@pytest.mark.parametrize("name", ["bp4d", "disfa"])
@pytest.mark.parametrize(
    ("project", "order"), [("JAA_part", ["P1", "P2", "P3"]), ("MEGraphAU_test_fold", ["P3", "P2", "P1"])]
)
def test_folds_are_the_public_ones_in_every_numbering(shared, name, project, order):
    public = json.loads((shared / "facts" / "bp4d_disfa_folds.json").read_text())
    folds = facts.protocol(name, "threefold")
    for number, fold in enumerate(order, 1):
        assert set(folds[fold]) == set(public[f"{name.upper()}_{project}{number}"]["frames_per_subject"])


def test_frames_are_the_public_count(shared):
    public = json.loads((shared / "facts" / "bp4d_disfa_folds.json").read_text())
    for name in ("bp4d", "disfa"):
        folds = [public[f"{name.upper()}_MEGraphAU_test_fold{number}"]["frames"] for number in (1, 2, 3)]
        assert facts.dataset(name).frames == sum(folds)


def test_bp4dplus_threefold_is_its_stated_rule():
    everyone = facts.dataset("bp4dplus").subject_names
    dealt = {"1": set(), "2": set(), "3": set()}
    order = [
        subject
        for sex in "FM"
        for subject in sorted(
            (name for name in everyone if name.startswith(sex)),
            key=lambda name: hashlib.sha256(f"maeface-bp4dplus-{name}".encode()).hexdigest(),
        )
    ]
    for place, subject in enumerate(order):
        dealt[str(place % 3 + 1)].add(subject)
    assert {fold: set(names) for fold, names in facts.protocol("bp4dplus", "threefold").items()} == dealt
    assert [len(names) for names in dealt.values()] == [47, 47, 46]


def test_bp4dplus_fourfold_is_the_public_one(shared):
    text = (shared / "facts" / "datasets.md").read_text()
    public = {fold: tuple(names.split()) for fold, names in re.findall(r"^  (f[1-4]) (.+)$", text, re.M)}
    assert facts.protocol("bp4dplus", "fourfold") == public


def test_who_is_in_two_datasets_is_known_from_both_sides():
    for name in facts.datasets():
        for other, both in facts.dataset(name).same_people.items():
            assert facts.dataset(other).same_people[name] == both
            assert set(both) <= set(facts.dataset(name).subject_names)
    assert len(facts.dataset("disfa").same_people["disfaplus"]) == 9


def test_unknown_protocol_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"bp4d has no protocol 'fivefold'; it has threefold, fera2015"):
        facts.protocol("bp4d", "fivefold")
    with pytest.raises(ConfigError, match="celeba has no protocol 'threefold'; it has none"):
        facts.protocol("celeba", "threefold")


def test_every_real_dataset_says_how_to_get_and_cite_it():
    for name in set(facts.datasets()) - {"portraits", "synthau", "folder"}:
        dataset = facts.dataset(name)
        assert dataset.cite and dataset.layout and dataset.choices, name
        assert dataset.origins.keys() == dataset.protocols.keys()


TABLES = ["table1", "table2", "table3", "table4", "table5", "table6"]


def comparisons(names):
    return [(n, c) for n in names for c in facts.published(n).comparisons]


@pytest.mark.parametrize(
    ("name", "part"), comparisons([*TABLES, "fig7"]), ids=lambda v: v if isinstance(v, str) else v.metric
)
def test_what_is_published_fits_its_dataset(name, part):
    dataset = facts.dataset(part.dataset)
    assert part.protocol in dataset.protocols
    assert part.aus in ((), dataset.aus_occurrence if part.metric == "f1" else dataset.aus_intensity)
    assert (part.unit == "%") == (part.metric == "f1")
    assert facts.published(name).find_comparison(part.dataset, part.metric) == part
    assert (part.ours is None) == (name == "table6")


# Rows whose printed mean is not the mean of the printed values, to the places that are printed.
ODD = {
    ("table1", "bp4d", "f1", "D-PAttNet tt"),
    ("table3", "disfa", "f1", "SRERL"),
    ("table3", "disfa", "f1", "UGN-B"),
    ("table3", "disfa", "f1", "MHSA-FFN"),
    ("table4", "disfa", "icc", "2DC"),
    ("table4", "disfa", "mse", "APs"),
    ("table4", "disfa", "mae", "KBSS"),
}


def test_printed_means_are_means_but_for_rows_that_say_so():
    odd = set()
    for name, part in comparisons(TABLES):
        for row in part.rows:
            half = 0.05 if part.unit == "%" else 0.0005 if row.method == facts.OURS else 0.005
            off = bool(row.aus) and abs(sum(row.aus) / len(row.aus) - row.avg) > half + 1e-9
            assert off == bool(row.note), (name, row.method)
            odd |= {(name, part.dataset, part.metric, row.method)} if off else set()
    assert odd == ODD


@pytest.mark.parametrize("name", TABLES)
def test_published_tables_are_the_papers(shared, name):
    paper = json.loads((shared / "facts" / "paper_tables.json").read_text())[name]
    expected = {}
    if name in TABLES[:3]:
        for row in paper["rows"]:
            expected[paper["dataset"], "f1", row["method"]] = (row["f1"], row["avg"])
    elif name == "table4":
        for row in paper["rows"]:
            for dataset in ("bp4d", "disfa"):
                aus = {au: value for au, value in row[dataset].items() if au != "avg" and value is not None}
                if row[dataset]["avg"] is not None:
                    expected[dataset, row["metric"], row["method"]] = (aus, row[dataset]["avg"])
    else:
        for method, values in paper["rows"].items():
            for column, value in zip(paper["columns"], values, strict=True):
                expected[(*column.rsplit("_", 1), method)] = ({}, value)
    got = {
        (part.dataset, part.metric, row.method): (
            {f"AU{au}": value for au, value in part.by_au(row.method).items()},
            row.avg,
        )
        for part in facts.published(name).comparisons
        for row in part.rows
    }
    assert got == expected


def test_published_answers():
    table = facts.published("table1")
    part = table.find_comparison("bp4d", "f1")
    assert part.ours.avg == 67.4 and part.by_au(facts.OURS)[12] == 89.1
    assert part.factor == 100 and facts.published("table4").find_comparison("disfa", "icc").factor == 1
    assert (
        part.row("nobody") is None
        and part.by_au("nobody") == {}
        and table.find_comparison("disfa", "f1") is None
    )
    with pytest.raises(ConfigError, match=r"'table9'; there are: fig7, table1, .*table6"):
        facts.published("table9")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"method": "a", "aus": (1.0,), "avg": 1.0}], "a has 1 values for 2 action units"),
        ([{"method": "a", "avg": 1.0}, {"method": "a", "avg": 2.0}], "two rows"),
    ],
)
def test_a_wrong_comparison_is_refused(rows, message):
    head = {"dataset": "bp4d", "protocol": "threefold", "metric": "f1", "aus": (1, 2)}
    with pytest.raises(ValidationError, match=message):
        facts.Comparison.model_validate(head | {"rows": rows})


def test_held_out_portraits_are_fixed_by_their_names(shared):
    names = [path.name for path in (shared / "photos" / "congress").glob("*.jpg")]
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert facts.held_out_portraits() == set(by_hash[:300])


def test_held_out_portraits_are_a_table_of_labels():
    dataset = facts.dataset("portraits")
    path = resources.files("maeface") / "datasets" / "portraits.csv"
    table = labels.read_labels(path)
    assert set(table.rows["source"]) == facts.held_out_portraits()
    assert tuple(table.occurrence) == dataset.aus_occurrence
    assert all(re.fullmatch(dataset.subjects, Path(name).stem) for name in table.rows["source"])


def test_unknown_dataset_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"no dataset 'bp5d'; the datasets are: .*synthau"):
        facts.dataset("bp5d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aus_occurrence": (1, 1)}, "twice"),
        ({"aus_intensity": (1, 99)}, r"\[99\], which are not in aus.toml"),
        ({"threshold": 6.0}, "scale"),
        ({"protocols": {"p": {"1": ("F001",), "2": ("F001",)}}}, "F001 is twice in the folds of protocol p"),
        ({"protocols": {"p": {"1": ("X1",)}}}, "do not match"),
        ({"protocols": {"p": {"1": ("F001",), "2": ()}}}, "without test subjects"),
        ({"protocols": {"p": {"1": ("F002",)}}, "subject_names": ("F001",)}, "not in subject_names"),
        ({"subject_names": ("F001", "F001")}, "has a subject twice"),
        ({"same_people": {"y": ("SN001",)}}, "do not match"),
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
