import numpy as np
import pandas as pd
import pytest

from maeface.data import manifest
from maeface.data.tables import labels
from maeface.errors import ConfigError, DataError


def faces(*names, frames=None, per_image=1):
    rows = [
        {"source": name, "frame": frame, "face": face, "id": f"{name}#{frame}.{face}"}
        for name in names
        for frame in (frames or [0])
        for face in range(per_image)
    ]
    table = pd.DataFrame(rows)
    table["subject"] = table["clip"] = None
    table["status"] = "ok"
    return table


def csv(tmp_path, text, name="labels.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_values_and_masks(tmp_path):
    path = csv(
        tmp_path,
        "source,subject,AU12_o,AU4_o,AU12_i,note\n"
        "a.jpg,s1,1,9,2.5,hello\nb.jpg,s2,0,,-1,\nc.jpg,,nan,-1,9,x\nd.jpg,s4,1,0,5,y\n",
    )
    found = labels.join_labels(faces("a.jpg", "b.jpg", "c.jpg", "d.jpg"), path)
    assert found.aus_occurrence == (4, 12)
    assert found.aus_intensity == (12,)
    assert found.occurrence.dtype == np.float32
    np.testing.assert_array_equal(found.occurrence, [[0, 1], [0, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(found.occurrence_mask, [[0, 1], [0, 1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(found.intensity, [[2.5], [0], [0], [5]])
    np.testing.assert_array_equal(found.intensity_mask, [[1], [0], [0], [1]])
    assert list(found.rows["subject"].fillna("-")) == ["s1", "s2", "-", "s4"]
    assert list(manifest.subjects(found.rows)) == ["s1", "s2", "c.jpg", "s4"]
    assert found.ignored == ("note",)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffsource,AU12_o,AU12_i\na.jpg,1,2.5\n",
        "source,AU12_o,AU12_i\r\na.jpg,1,2.5\r\n",
        "source;AU12_o;AU12_i\na.jpg;1;2.5\n",
        "source\tAU12_o\tAU12_i\na.jpg\t1\t2.5\n",
        '"source","AU12_o","AU12_i"\n"a.jpg","1","2.5"\n',
        "source,AU12_o,AU12_i,\na.jpg,1,2.5,\n",
        "source,AU12_o,AU12_i\na.jpg,1,2.5,\n\n",
        "source, AU12_c, AU12_r\na.jpg, 1, 2.5\n",
        "\ufeffsource;AU12_o;AU12_i\r\na.jpg;1;2.5",
    ],
)
def test_csv_dialects(tmp_path, text):
    found = labels.join_labels(faces("a.jpg"), csv(tmp_path, text))
    assert found.occurrence.tolist() == [[1.0]]
    assert found.intensity.tolist() == [[2.5]]


def test_parquet_is_read_as_csv_is(tmp_path):
    table = pd.DataFrame(
        {"source": ["a.jpg", "b.jpg"], "AU12_o": [1, 9], "AU12_i": [2.5, np.nan], "subject": [7, 8]}
    )
    table.to_parquet(tmp_path / "labels.parquet")
    table.to_csv(tmp_path / "labels.csv", index=False)
    ours = [
        labels.join_labels(faces("a.jpg", "b.jpg"), tmp_path / name)
        for name in ("labels.parquet", "labels.csv")
    ]
    for found in ours:
        assert found.occurrence_mask.tolist() == [[True], [False]]
        assert found.intensity_mask.tolist() == [[True], [False]]
        assert list(found.rows["subject"]) == ["7", "8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,AU12_i\na.jpg,6\n", r"line 2: AU12_i is 6; expected 0 to 5"),
        ("source,AU12_i\na.jpg,1\nb.jpg,-2\n", r"line 3: AU12_i is -2"),
        ("source,AU12_o\na.jpg,0.5\n", r"line 2: AU12_o is 0.5; expected 0 or 1"),
        ("source,AU12_o\na.jpg,2\n", r"AU12_o is 2"),
        ("source,AU12_i\na.jpg,inf\n", r"AU12_i is inf"),
        ('source;AU12_i\na.jpg;"2,5"\n', r"line 2: AU12_i is '2,5'; write decimals with a point"),
        ("source,AU12_i\na.jpg,2,5\n", r"line 2: 3 cells where the header has 2 \(a decimal comma"),
        ("source,AU12_i\na.jpg,smile\n", r"line 2: AU12_i is 'smile'; expected a number"),
        ("source,AU12_i,AU1_i\na.jpg,1\n", r"line 2: 2 cells where the header has 3"),
        ("source,AU99_o\na.jpg,1\n", r"AU99_o is no action unit that is known.*AU12"),
        ("source,note\na.jpg,1\n", r"no AU column such as AU12_o.*source, note"),
        ("name,AU12_o\na.jpg,1\n", r"needs a column `source` .* or `id` .*name, AU12_o"),
        ("source,AU04_o,AU4_o\na.jpg,1,1\n", r"AU04_o and AU4_o are the same action unit"),
        ("source,AU4_o,AU4_o\na.jpg,1,1\n", r"column AU4_o twice"),
        ("source,AU4_o\n,1\n", r"line 2: source is empty"),
        ("source,frame,AU4_o\na.jpg,x,1\n", r"line 2: frame is 'x'; expected a whole number"),
        ("source,AU4_o\n", r"has no rows"),
        ("", r"is empty"),
        ('source,AU4_o\n"a.jpg,1\n', r"not a readable CSV file"),
        ("source,AU4_o\na.jpg,1\na.jpg,0\n", r"line 2 and line 3 give different labels to source 'a.jpg'"),
        ("source,subject,AU4_o\na.jpg,s,1\na.jpg,t,1\n", r"line 2 and line 3 give different labels"),
        ("source,AU4_o\nx/a.jpg,1\n", r"no label matches a face.*'x/a.jpg'.*'a.jpg'"),
    ],
)
def test_wrong_labels_are_one_clear_line(tmp_path, text, message):
    path = csv(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        labels.join_labels(faces("a.jpg", "b.jpg"), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_files(tmp_path):
    with pytest.raises(ConfigError, match="no such labels file"):
        labels.read_labels(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="not UTF-8"):
        labels.read_labels(csv(tmp_path, "source,AU4_o\né.jpg,1\n", encoding="latin-1"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a readable Parquet"):
        labels.read_labels(tmp_path / "bad.parquet")
    pd.DataFrame({"source": ["a.jpg"], "AU4_i": [7.0]}).to_parquet(tmp_path / "high.parquet")
    with pytest.raises(DataError, match="row 1: AU4_i is 7"):
        labels.read_labels(tmp_path / "high.parquet")


def test_what_does_not_match_is_counted(tmp_path):
    path = csv(tmp_path, "source,AU4_o\na.jpg,1\nz.jpg,0\ny.jpg,0\n")
    found = labels.join_labels(faces("a.jpg", "b.jpg"), path)
    assert (len(found.rows), found.unlabelled, found.unmatched) == (1, 1, 2)
    assert "1 faces without a label" in found.summary()
    assert "2 labels without a face" in found.summary()


def test_rows_that_repeat_are_one(tmp_path):
    found = labels.join_labels(faces("a.jpg"), csv(tmp_path, "source,AU4_o,AU1_o\na.jpg,1,\na.jpg,1,9\n"))
    assert found.occurrence.tolist() == [[0.0, 1.0]]
    assert found.unmatched == 0


def test_frames_faces_and_ids(tmp_path):
    clip = faces("v.mp4", frames=[0, 1, 2])
    by_frame = csv(tmp_path, "source,frame,AU4_o\nv.mp4,2,1\nv.mp4,0,0\n")
    found = labels.join_labels(clip, by_frame)
    assert found.rows["frame"].tolist() == [0, 2]
    assert found.occurrence.tolist() == [[0.0], [1.0]]
    by_id = csv(tmp_path, "id,AU4_o\nv.mp4#1.0,1\n", "ids.csv")
    assert labels.join_labels(clip, by_id).rows["frame"].tolist() == [1]
    spread = csv(tmp_path, "source,AU4_o\nv.mp4,1\n", "spread.csv")
    with pytest.raises(DataError, match="is 3 faces in the manifest; give the labels a column `frame`"):
        labels.join_labels(clip, spread)
    with pytest.raises(DataError, match="column `face`"):
        labels.join_labels(faces("v.mp4", per_image=2), spread)


def test_dropped_rows_get_no_label(tmp_path):
    table = faces("a.jpg", "b.jpg")
    table.loc[1, "status"] = "no_face"
    found = labels.join_labels(table, csv(tmp_path, "source,AU4_o\na.jpg,1\nb.jpg,1\n"))
    assert found.rows["source"].tolist() == ["a.jpg"]
    assert found.unmatched == 1


def test_paths_of_windows_match(tmp_path):
    manifest = faces("s1/a.jpg", "s2/b.jpg", "odd\\c.jpg")
    text = "source,AU4_o\r\ns1\\a.jpg,1\r\ns2\\b.jpg,0\r\nodd\\c.jpg,1\r\n"
    found = labels.join_labels(manifest, csv(tmp_path, text))
    assert (found.occurrence[:, 0].tolist(), found.unmatched) == ([1, 0, 1], 0)


def test_a_plain_column_beside_an_intensity_is_occurrence(tmp_path):
    """As in tables of predictions; alone it is a probability, as in py-feat, and no label."""
    path = csv(tmp_path, "source,AU12,AU12_i,AU06,AU04_o\na.jpg,1,3,0.7,0\n")
    found = labels.read_labels(path)
    assert {au: column.tolist() for au, column in found.occurrence.items()} == {12: [1], 4: [0]}
    assert found.ignored == ("AU06",)
    given = csv(tmp_path, "source,AU12,AU12_o,AU12_i\na.jpg,0.7,1,3\n")
    assert labels.read_labels(given).ignored == ("AU12",)


def test_labels_as_json_lines(tmp_path):
    path = csv(tmp_path, '{"source": "a.jpg", "AU12_o": 1}\n{"source": "b.jpg", "AU12_o": null}\n', "l.jsonl")
    found = labels.join_labels(faces("a.jpg", "b.jpg"), path)
    np.testing.assert_array_equal(found.occurrence_mask, [[1], [0]])
