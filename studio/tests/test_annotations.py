from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from maeface import facts
from maeface.errors import ConfigError
from maeface_studio.weights import annotations

ANNOTATED = "A000109.jpg#0.0"  # the annotators differ on AU12 and agree on AU25


def faces(*ids):
    return pd.DataFrame(
        {
            "id": ids,
            "subject": None,
            "clip": None,
            "folder": 0,
            "source": [name.split("#")[0] for name in ids],
        }
    )


def test_codes_are_taken_only_where_both_answers_occur():
    table = annotations.load_annotations()
    plates = faces(*(face for face in table.index if face.startswith("darwin-")))
    portraits = faces(
        *(face for face in table.index if ".jpg#" in face and not face.startswith("darwin-"))
    ).assign(folder=1)
    both = pd.concat([plates, portraits], ignore_index=True)
    merged, _ = annotations.merge_annotations(both, [4, 9, 12], None, least_share=0.02)
    rows = merged.set_index("id")
    assert rows.loc[portraits["id"], "AU04_o"].isna().all()  # hardly any portrait shows a frown
    assert rows.loc[plates["id"], "AU04_o"].sum() == 12
    assert rows.loc[portraits["id"], "AU12_o"].notna().any()


def test_annotations_come_first_and_others_fill_their_gaps():
    others = pd.DataFrame(
        {
            "id": [ANNOTATED, "mine.jpg#0.0"],
            "subject": ["Anna", "Ben"],
            "clip": [None, None],
            "AU12_o": [1.0, 0.0],
            "AU25_o": [0.0, 1.0],
            "AU12_i": [3.0, float("nan")],
        }
    )
    table, count = annotations.merge_annotations(faces(ANNOTATED, "mine.jpg#0.0"), [12, 25, 12], others)
    rows = table.set_index("id")
    assert count == 1 and len(rows) == 2
    assert rows.loc[ANNOTATED, ["AU12_o", "AU25_o", "AU12_i"]].tolist() == [1, 1, 3]
    assert rows.loc["mine.jpg#0.0", ["AU12_o", "AU25_o"]].tolist() == [0, 1]
    assert rows["subject"].tolist() == ["Anna", "Ben"]  # one person stays one, whoever labelled the face
    alone, count = annotations.merge_annotations(faces(ANNOTATED), [25], None)
    assert count == 1 and list(alone.columns) == ["id", "subject", "clip", "AU25_o"]


def test_faces_that_nobody_annotated_stay_without():
    table, count = annotations.merge_annotations(faces("mine.jpg#0.0"), [12], None)
    assert count == 0 and table.empty


def test_action_units_that_were_not_annotated_are_refused():
    with pytest.raises(ConfigError, match=r"annotations\.csv has no AU07, AU14; it has AU01, AU02"):
        annotations.label_columns([14, 12, 7])
    assert annotations.label_columns([]) == []


def test_the_labels_are_what_both_annotators_say():
    folder = Path(__file__).parents[1] / "benchmarks" / "annotations"
    merged = resources.files("maeface_studio.weights") / "annotations.csv"
    table = pd.read_csv(merged, index_col="id")
    one, two = (
        pd.read_csv(folder / f"annotator_{name}.csv", index_col="id", dtype=str)["present"].fillna("")
        for name in "ab"
    )
    assert len(table) == len(one) == len(two) == 731 and set(table.index) == set(one.index) == set(two.index)
    assert not {name.split("#")[0] for name in table.index} & facts.held_out_portraits()
    for column in table:
        au = str(facts.au_column(column)[0])
        for face, value in table[column].items():
            codes = [annotator[face].split() for annotator in (one, two)]
            clear = "x" not in codes[0] + codes[1]
            present = {au in code for code in codes}
            assert (value != value) == (not clear or len(present) == 2)
            assert value != value or bool(value) in present
