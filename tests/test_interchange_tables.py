"""Tables in the formats of other tools: what they hold, what their users' code makes of them, and back."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maeface import evaluate
from maeface.data.tables.predictions import read_predictions
from maeface.errors import ConfigError, DataError
from maeface.interchange import native as native_tables
from maeface.interchange import shapes, tools, writing
from native_tables import AUS, FRAMES, labels, native

SUFFIXES = (".csv", ".parquet", ".jsonl")


def write(path, tables, **how):
    with writing.open_writer(path, **how) as append:
        for table in tables:
            append(table)
    return path


def scores_of(tmp_path, predictions, table, first_frame=0, columns=None, source=None):
    truth = labels(table, first_frame)
    truth = truth if columns is None else truth[["source", "frame", *columns]]
    truth = truth if source is None else truth.assign(source=source)
    truth.to_csv(tmp_path / "labels.csv", index=False)
    return evaluate.run(tmp_path / "labels.csv", predictions)


# ---- OpenFace


def test_openface_is_as_its_users_read_it(tmp_path):
    table = native()
    path = write(tmp_path / "film.csv", [table], layout="openface", name_inputs=False)
    df = pd.read_csv(path)
    df.columns = df.columns.str.strip()
    assert list(df.columns[:8]) == [
        *("frame", "face_id", "timestamp", "confidence", "success"),
        *("pose_Rx", "pose_Ry", "pose_Rz"),
    ]
    assert "input" not in df
    assert df["frame"].min() == 1
    assert df["frame"].max() == FRAMES
    assert set(df["success"]) == {0, 1}
    means = df[df.success == 1].groupby("face_id")["AU12_r"].mean()
    expected = table[table["face"] >= 0].groupby("track")["AU12_i"].mean()
    np.testing.assert_allclose(means, expected.to_numpy(float), atol=1e-5)
    kept = df[(df["success"] == 1) & (df["confidence"] > 0.8)]  # as OpenDBM and many others do
    assert len(kept) == (table["score"] > 0.8).sum()
    intensity, occurrence = df.filter(regex=r"AU\d\d_r"), df.filter(regex=r"AU\d\d_c")
    assert list(intensity.columns) == [f"AU{au:02d}_r" for au in (1, 4, 6, 12, 25, 26, 45)]
    assert list(occurrence.columns) == [f"AU{au:02d}_c" for au in (1, 4, 6, 12, 25, 26, 28, 45)]
    assert intensity.to_numpy().max() <= 5
    assert set(np.unique(occurrence)) == {0, 1}


def test_openface_has_zeros_where_there_is_no_face():
    row = tools.to_openface(native()).iloc[2]
    assert row["frame"] == 3
    assert row["timestamp"] == 0.58
    assert (row.drop(["frame", "timestamp"]) == 0).all()


def test_openface_angles_are_radians_with_its_signs():
    """Rotations of OpenFace turn x, y, z = right, down, away by R = Rx Ry Rz; a face looks along -z."""
    row = tools.to_openface(native()).iloc[0]

    def rotation(x=0.0, y=0.0, z=0.0):
        (a, b, c), (d, e, f) = np.cos([x, y, z]), np.sin([x, y, z])
        about_x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
        about_y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
        about_z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
        return about_x @ about_y @ about_z

    nose = np.array([0, 0, -1])
    assert (rotation(y=row["pose_Ry"]) @ nose)[0] == pytest.approx(np.sin(np.radians(30)))  # to the right
    assert (rotation(x=row["pose_Rx"]) @ nose)[1] == pytest.approx(-np.sin(np.radians(10)))  # up
    crown = rotation(z=row["pose_Rz"]) @ np.array([0, -1, 0])
    assert crown[0] == pytest.approx(-np.sin(np.radians(20)))  # against the clock: to the left


def test_openface_takes_au45_of_the_table_before_au43():
    table = native()
    rated = tools.to_openface(table.assign(AU45_i=4.5, AU45=1))
    assert rated["AU45_r"].drop(2).eq(4.5).all()
    closed = tools.to_openface(table)
    np.testing.assert_allclose(closed["AU45_r"], table["AU43_i"].fillna(0), atol=1e-5)


@pytest.mark.parametrize(("task", "present", "absent"), [("detection", "_c", "_r"), ("intensity", "_r", "~")])
def test_openface_without_what_the_weights_do_not_give(task, present, absent):
    columns = tools.to_openface(native(task)).columns
    assert f"AU12{present}" in columns
    assert f"AU12{absent}" not in columns


def test_openface_of_a_table_without_pose_has_none():
    table = native().drop(columns=["yaw", "pitch", "roll"])
    assert not any(name.startswith("pose") for name in tools.to_openface(table))


# ---- py-feat


def test_pyfeat_is_a_fex(tmp_path):
    table = native()
    d = pd.read_csv(write(tmp_path / "film.csv", [table], layout="pyfeat"))
    au_columns = [col for col in d.columns if "AU" in col]  # the rule of py-feat's read_feat
    assert au_columns == [f"AU{au:02d}" for au in AUS]
    aus = d[au_columns]
    assert aus.stack().dropna().between(0, 1).all()
    assert aus.iloc[2].isna().all()
    assert d.loc[2, ["FaceRectX", "FaceScore", "Pitch", "Identity"]].isna().all()
    assert d["frame"].tolist()[:4] == [0, 1, 2, 3]
    assert set(d["Identity"].dropna()) == {"Person_0", "Person_1"}
    assert (d["FaceRectWidth"].dropna() - 100).abs().max() < 1e-5
    assert d["approx_time"].iloc[0] == "00:00"
    assert d.loc[0, ["Pitch", "Roll", "Yaw"]].to_list() == pytest.approx(np.radians([10, 20, -30]), abs=1e-6)
    assert {"X", "Y", "Z"} <= set(d.columns)  # Fex.poses asks for them


def test_pyfeat_times_are_minutes_and_seconds():
    table = native().assign(time_s=[125.9] * 13)
    assert set(tools.to_pyfeat(table)["approx_time"]) == {"02:05"}


def test_pyfeat_needs_probabilities():
    with pytest.raises(ConfigError, match=r"holds probabilities.*choose native, openface or libreface"):
        tools.convert(native("intensity"), "pyfeat")


# ---- LibreFace


def test_libreface_has_its_names_and_scale():
    table = native()
    converted = tools.to_libreface(table)
    assert list(converted.columns) == [
        *("frame_idx", "frame_time_in_ms", "pitch", "yaw", "roll"),
        *("au_1", "au_4", "au_6", "au_12"),
        *(f"au_{au}_intensity" for au in (1, 4, 6, 12, 25, 26)),
        *("face_id", "intensity_max"),
    ]
    np.testing.assert_allclose(converted["au_12_intensity"], table["AU12_i"] / 5, atol=1e-6)
    assert converted["frame_time_in_ms"].iloc[1] == pytest.approx(543.0)
    assert converted.loc[0, ["pitch", "yaw", "roll"]].to_list() == [10, 30, -20]
    assert converted.loc[2, "au_1":"face_id"].isna().all()


# ---- files, pieces, shapes


@pytest.mark.parametrize("layout", tools.FORMATS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pieces_give_the_same_file_as_the_whole(tmp_path, layout, suffix):
    table = native(inputs=("a.mp4", "b.mp4"))
    whole = write(tmp_path / f"whole{suffix}", [table], layout=layout)
    pieces = [table.iloc[start : start + 1] for start in range(len(table))]  # also one without any face
    parts = write(tmp_path / f"parts{suffix}", pieces, layout=layout)
    if suffix == ".parquet":
        assert pq.read_table(parts).equals(pq.read_table(whole))
    else:
        assert parts.read_bytes() == whole.read_bytes()


def test_tables_of_arrow_are_taken(tmp_path):
    table = native()
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    for layout in tools.FORMATS:
        one = write(tmp_path / "one.csv", [table], layout=layout)
        other = write(tmp_path / "other.csv", arrow.to_batches(max_chunksize=3), layout=layout)
        assert one.read_text() == other.read_text()


@pytest.mark.parametrize("layout", tools.FORMATS)
def test_any_file_name_is_written_and_numbers_are_short(tmp_path, layout):
    name = 'a, "b" \u00e4\n.mp4'
    path = write(tmp_path / "odd.csv", [native(inputs=(name,))], layout=layout)
    assert set(pd.read_csv(path)["input"]) == {name}
    plain = write(tmp_path / "plain.csv", [native()], layout=layout).read_text()
    assert '"' not in plain
    if layout != "native":  # box and time of the test's own table are float64
        assert max(len(cell) for cell in plain.splitlines()[1].split(",")) <= 13


def test_json_lines_have_null_and_short_numbers(tmp_path):
    table = native()
    lines = write(tmp_path / "film.jsonl", [table]).read_text().splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert list(rows[0]) == list(table.columns)
    assert rows[2]["AU12"] is rows[2]["AU12_p"] is rows[2]["track"] is None
    assert rows[2]["status"] == "no_face"
    assert rows[0]["AU12"] in (0, 1)
    assert isinstance(rows[0]["frame"], int)
    assert rows[0]["input"] == "s01/film.mp4"
    assert "\\" not in lines[0]
    assert rows[0]["AU12_p"] == pytest.approx(float(table["AU12_p"].iloc[0]), rel=1e-7)
    assert len(str(rows[0]["AU12_p"])) <= 12  # not the float64 that is nearest to a float32


def test_the_long_form(tmp_path):
    table = native()
    long = pd.read_csv(write(tmp_path / "film.csv", [table], long=True))
    assert list(long.columns) == [
        *("input", "frame", "time_s", "face", "track", "status"),
        *("au", "occurrence", "probability", "intensity"),
    ]
    assert len(long) == len(table) * len(AUS)
    faces = long[long["face"] >= 0]
    mean = faces.groupby("au")["intensity"].mean()
    assert mean["AU12"] == pytest.approx(float(table["AU12_i"].mean()), abs=1e-6)
    assert long[long["frame"] == 2][["occurrence", "probability", "intensity", "track"]].isna().all(axis=None)
    assert shapes.to_long(table.assign(AU12_d=0.5)).dropna(subset="difference")["au"].unique() == ["AU12"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_films_whose_names_look_like_missing_values_keep_them(tmp_path, suffix):
    names = ["NA", "nan", "007", "None"]
    source = write(tmp_path / f"native{suffix}", [native(inputs=names)])
    pieces = list(native_tables.read_pieces(source, rows=10))
    assert list(dict.fromkeys(name for piece in pieces for name in piece["input"])) == names
    assert sum(int(piece["AU12_p"].isna().sum()) for piece in pieces) == len(names)  # frame 2 has no face
    read = read_predictions(source)
    assert list(dict.fromkeys(read.rows["source"])) == names


def test_only_the_columns_that_are_needed_are_read(tmp_path):
    for suffix in (".csv", ".parquet"):
        source = write(tmp_path / f"native{suffix}", [native()])
        needed = ("input", "frame", "face", "AU12")
        (piece,) = native_tables.read_pieces(source, needed=needed.__contains__)
        assert list(piece) == list(needed) and len(piece) == len(native())


def test_a_native_file_is_converted_in_pieces(tmp_path, monkeypatch):
    table = native()
    for suffix in (".csv", ".parquet"):
        source = write(tmp_path / f"native{suffix}", [table])
        direct = write(tmp_path / "direct.csv", [table], layout="openface")
        assert [len(piece) for piece in native_tables.read_pieces(source, rows=5)] == [5, 5, 3]
        writing.convert_file(source, tmp_path / "converted.csv", "openface")
        converted, expected = pd.read_csv(tmp_path / "converted.csv"), pd.read_csv(direct)
        pd.testing.assert_frame_equal(converted, expected)


def test_nothing_is_left_of_a_file_that_failed(tmp_path):
    with pytest.raises(DataError, match="no column face"), writing.open_writer(tmp_path / "a.csv") as append:
        append(native())
        append(native().drop(columns="face"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"layout": "openfase"}, "did you mean 'openface'"),
        ({"layout": "openface", "long": True}, "long form is only there for the format native"),
        ({"out": "a.xlsx"}, r"ends with \.xlsx; expected one of \.csv, \.parquet, \.jsonl"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, how, message):
    out = tmp_path / how.pop("out", "a.csv")
    with pytest.raises(ConfigError, match=message), writing.open_writer(out, **how):
        pass


def test_a_file_that_is_no_table(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a readable table"):
        writing.convert_file(path, tmp_path / "b.csv")
    other = tmp_path / "c.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="expected a table of `maeface predict`, it has a, b"):
        writing.convert_file(other, tmp_path / "b.csv")


# ---- read back by evaluate


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("task", ["all", "detection", "intensity"])
def test_native_tables_are_read_back(tmp_path, task, suffix, long):
    """Scores do not depend on the suffix and the shape; low quality is a row with values."""
    table = native(task, inputs=("s01/film.mp4", "s02/film.mp4"))
    plain = table.drop(columns=[f"AU{au:02d}" for au in AUS] if task != "intensity" else [])
    plain.to_csv(tmp_path / "plain.csv", index=False)
    expected = scores_of(tmp_path, tmp_path / "plain.csv", table)
    scores = scores_of(tmp_path, write(tmp_path / f"out{suffix}", [table], long=long), table)
    pd.testing.assert_frame_equal(scores.table, expected.table, atol=1e-6)
    assert (scores.matched, scores.no_face) == (2 * FRAMES - 2, 2)
    assert scores.predictions_unmatched == 2  # the second face of frame 5


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_probability_at_the_threshold_is_scored_alike(tmp_path, suffix, long):
    """A table's numbers are float32; 0.7 is 0.69999999 in Parquet, and 0.7 in text."""
    table = native()
    values = np.where(table["frame"] % 2, 0.7, 0.6)
    table["AU12_p"] = pd.Series(values, dtype="float32").where(table["face"] >= 0)
    path = write(tmp_path / f"out{suffix}", [table], long=long)
    labels(table).assign(AU12_o=lambda t: t["frame"] % 2).to_csv(tmp_path / "labels.csv", index=False)
    scores = evaluate.run(tmp_path / "labels.csv", path, threshold=0.7)
    assert scores.table.loc[12, "accuracy"] == 1


def test_the_0_and_1_of_native_tables_are_occurrence(tmp_path):
    table = native("intensity")
    scores = scores_of(tmp_path, write(tmp_path / "a.csv", [table]), table)
    truth = labels(table)["AU12_o"].drop(2)
    predicted = table[(table["face"] == 0)]["AU12"]
    assert scores.table.loc[12, "accuracy"] == pytest.approx(
        (truth.to_numpy() == predicted.to_numpy()).mean()
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("layout", [layout for layout in tools.FORMATS if layout != "native"])
def test_formats_of_tools_are_read_back(tmp_path, layout, named, suffix):
    """Scores are those of the native table, for what the format holds."""
    table = native()
    out = write(tmp_path / f"out{suffix}", [table], layout=layout, name_inputs=named)
    shift = 1 if layout == "openface" else 0
    columns = ["AU12_o"] if layout == "pyfeat" else ["AU12_o", "AU12_i"]
    scores = scores_of(tmp_path, out, table, shift, columns)
    native_path = write(tmp_path / "native.csv", [table])
    expected = scores_of(tmp_path, native_path, table, 0, columns)
    assert (scores.matched, scores.no_face) == (expected.matched, expected.no_face) == (FRAMES - 1, 1)
    if layout != "pyfeat":
        for name in evaluate.INTENSITY:
            assert scores.table.loc[12, name] == pytest.approx(expected.table.loc[12, name], abs=1e-5)
    if layout == "pyfeat":
        assert scores.table.loc[12, "auc"] == expected.table.loc[12, "auc"]
    else:  # their occurrence is by the weights' own threshold
        truth, predicted = labels(table)["AU12_o"].drop(2), table[table["face"] == 0]["AU12"]
        accuracy = (truth.to_numpy() == predicted.to_numpy()).mean()
        assert scores.table.loc[12, "accuracy"] == pytest.approx(accuracy)


def test_the_scale_of_libreface_must_be_a_number(tmp_path):
    table = tools.to_libreface(native()).assign(intensity_max=0)
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="line 2: intensity_max is 0; expected the highest intensity"):
        scores_of(tmp_path, tmp_path / "a.csv", native())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected a JSON object"),
        ("\n\n", "is empty; expected a JSON object"),
        ('{"input": "a.mp4", "AU12_p": 0.5', "line 1 is not JSON .*was the file cut"),
        ("[1, 2]", "line 1 is not a JSON object"),
        ('{"AU12_p": 1}\n{"AU12_p": 1, "AU04_p": 1}', "line 2 has 'AU04_p', which the first line has not"),
        ('{"input": "a", "AU12_p": 1.5}', "line 1: AU12_p is 1.5"),
        ('{"input": "a", "AU12_p": "x"}', "line 1: AU12_p is 'x'; expected a number"),
    ],
)
def test_wrong_json_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        scores_of(tmp_path, path, native())
    assert "\n" not in str(caught.value)


def test_a_name_that_a_json_object_lacks_is_missing(tmp_path):
    table = native()
    path = write(tmp_path / "a.jsonl", [table])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [json.dumps({name: value for name, value in row.items() if value is not None}) for row in rows]
    path.write_text("\n\n".join(lines) + "\n")
    assert scores_of(tmp_path, path, table).no_face == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a.mp4,0,AU12,0.5", "a.mp4,0,AU12,0.5"], "line 3: AU12 of this face stands in an earlier row"),
        (["a.mp4,0,smile,0.5"], "line 2: au is 'smile'; expected an action unit such as AU12"),
        (["a.mp4,0,,0.5"], "line 2: au is None; expected"),
        (["a.mp4,0,AU12,7"], "line 2: probability of AU12 is 7; expected a probability"),
    ],
)
def test_wrong_rows_of_the_long_form(tmp_path, rows, message):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["input,frame,au,probability", *rows]))
    with pytest.raises(DataError, match=message):
        scores_of(tmp_path, path, native())


def test_the_long_form_of_r_with_plain_numbers(tmp_path):
    table = native()
    long = shapes.to_long(table)
    long["au"] = long["au"].str[2:].astype(int)
    long = long.drop(columns="status").sample(frac=1, random_state=0)
    long.to_csv(tmp_path / "r.csv", index=False)
    expected = scores_of(tmp_path, write(tmp_path / "a.csv", [table], long=True), table)
    pd.testing.assert_frame_equal(scores_of(tmp_path, tmp_path / "r.csv", table).table, expected.table)
