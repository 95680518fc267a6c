"""The benchmark: tables of any tool against labels, and within clips."""

import json
import math
import shutil

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import checks, facts
from maeface.data.ingest.inputs import find_inputs
from maeface.data.tables.labels import read_labels
from maeface.errors import ConfigError, DataError
from maeface.model import weights as weights_files
from maeface.model import zoo
from maeface_studio.weights import blendshapes, recipe
from maeface_studio.weights.bench import clips, command, making, render_people, scores, stills
from maeface_studio.weights.bench.tool_tables import Files, read_tables

FRAMES = 40
SHAPE = 0.5 + 0.3 * np.sin(np.arange(FRAMES) / 3)


def save(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def read(path):
    return read_tables(path)


def labels_of(path, subjects=None, **columns):
    n = len(next(iter(columns.values())))
    people = {} if subjects is None else {"subject": subjects}
    return read_labels(save(path, source=[f"s/{k}.jpg" for k in range(n)], **people, **columns))


def only(found, measure, au=12, tool="tool", fold=""):
    (one,) = [s for s in found if (s.measure, s.au, s.tool, s.fold) == (measure, au, tool, fold)]
    return one


def reference(source="a.mp4", track=0, box=(10, 10, 110, 110), **shapes):
    rows = {"source": source, "frame": np.arange(FRAMES), "track": track}
    rows |= dict(zip(clips.BOX, map(float, box), strict=True))
    moving = {f"{facts.au_name(au)}_p": np.full(FRAMES, 0.2) for au in clips.AUS}
    return pd.DataFrame(rows | moving | shapes)


# Stills


@pytest.mark.parametrize(("sign", "auc"), [(1, 1.0), (-1, 0.0), (0, 0.5)])
def test_auc_of_known_cases(tmp_path, sign, auc):
    truth = np.repeat([0, 1], 20)
    labels = labels_of(tmp_path / "labels.csv", AU12_o=truth)
    table = save(tmp_path / "t.csv", input=labels.rows["source"], AU12_p=0.5 + sign * (truth - 0.5) / 2)
    found, remarks = stills.score("portraits", labels, {"tool": read(table)}, ("AUC",), resamples=50)
    one = only(found, "AUC")
    assert (one.value, one.n, one.present, one.used, one.people) == (auc, 40, 20, 40, 20)
    assert math.isnan(one.low) and math.isnan(one.high)  # no resample has another value
    assert remarks == ["tool: 40 of 40 faces."]


def test_f1_false_alarms_and_icc(tmp_path):
    truth = np.repeat([0, 1], 20)
    rated = np.tile([0, 1, 2, 3], 10)
    labels = labels_of(tmp_path / "labels.csv", AU12_o=truth, AU12_i=rated)
    # 5 of 20 without it are called present, 10 of 20 with it: F1 = 2 * 10 / (2 * 10 + 5 + 10)
    called = np.r_[np.ones(5), np.zeros(15), np.ones(10), np.zeros(10)].astype(int)
    table = save(
        tmp_path / "t.csv",
        input=labels.rows["source"],
        AU12=called,  # the tool's own threshold is not 0.5
        AU12_p=np.where(called, 0.4, 0.3),
        AU12_i=rated + 1,
    )
    measures = ("F1", "false alarms", "ICC")
    found, _ = stills.score("portraits", labels, {"tool": read(table)}, measures, resamples=50)
    assert only(found, "F1").value == pytest.approx(20 / 35)
    assert only(found, "false alarms").value == 0.25
    assert only(found, "false alarms").low < 0.25 < only(found, "false alarms").high
    assert only(found, "ICC").value == pytest.approx(1)  # consistency: an offset does not lower it


def test_sides_are_compared_each_with_its_own_and_their_difference(tmp_path):
    left, right = np.tile([0.0, 1, 2, 4], 10), np.tile([3.0, 1, 0, 2], 10)
    labels = labels_of(
        tmp_path / "labels.csv", AU12_o=np.repeat([0, 1], 20), AU17_o=0, AU12_L=left, AU12_R=right
    )
    shown = {"input": labels.rows["source"], "AU12_p": 0.5}
    good = save(tmp_path / "good.csv", **shown, AU12_L=left * 0.5 + 2, AU12_R=right * 0.5)
    swapped = save(tmp_path / "swapped.csv", **shown, AU12_L=right, AU12_R=left)
    none = save(tmp_path / "none.csv", **shown)
    tools = {"good": read(good), "swapped": read(swapped), "none": read(none)}
    found, _ = stills.score("renders", labels, tools, stills.SIDES, resamples=20)
    assert only(found, "r of left - right", tool="good").value == pytest.approx(1)
    assert only(found, "r of left - right", tool="swapped").value == pytest.approx(-1)
    assert only(found, "stronger side", tool="good").value == pytest.approx(2 / 3)  # 0 and 3 are 2 and 1.5
    assert only(found, "stronger side", tool="swapped").value == 0  # equal sides do not count
    assert 0.7 < only(found, "ICC left", tool="good").value < 1
    assert only(found, "ICC right", tool="swapped").value < 0.5
    assert all(math.isnan(only(found, measure, tool="none").value) for measure in stills.SIDES)
    good_left = only(found, "ICC left", tool="good")
    assert (good_left.people, good_left.used) == (40, 40) and only(found, "ICC left", tool="none").used == 0
    assert {score.au for score in found} <= {12, scores.MEAN}  # AU17 has no labels of sides


def test_few_faces_with_an_au_give_no_auc_but_a_rate_of_false_alarms(tmp_path):
    truth = np.r_[np.ones(9), np.zeros(30)].astype(int)
    labels = labels_of(tmp_path / "labels.csv", AU12_o=truth)
    table = save(tmp_path / "t.csv", input=labels.rows["source"], AU12_p=truth * 0.9)
    found, _ = stills.score("portraits", labels, {"tool": read(table)}, stills.PORTRAITS, resamples=50)
    assert math.isnan(only(found, "AUC").value)
    alarms = only(found, "false alarms")
    assert (alarms.value, alarms.low) == (0, 0)
    # With a rate of 11.6 % none of 30 people has a false alarm in 2.5 % of all samples.
    assert (1 - alarms.high) ** 30 == pytest.approx(0.025)


def test_few_people_give_no_interval(tmp_path):
    """Four people show it; the two remarks say so, and the interval of the fifth person is back."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 20)
    values = np.clip(0.4 + 0.2 * truth + rng.normal(0, 0.2, 40), 0, 1)
    for showing, has_interval in ((4, False), (5, True)):
        people = [f"p{k}" for k in range(20)] + [f"q{k % showing}" for k in range(20)]
        labels = labels_of(tmp_path / "labels.csv", people, AU12_o=truth)
        table = save(tmp_path / "t.csv", input=labels.rows["source"], AU12_p=values)
        found, remarks = stills.score("renders", labels, {"tool": read(table)}, ("AUC",), 200)
        one = only(found, "AUC")
        assert one.people == showing and math.isnan(one.low) != has_interval
        text = scores.render(scores.Result(tuple(found), {"renders": tuple(remarks)}))
        assert ("it rests on fewer than 5 people: AU12, the mean." in text) != has_interval


def test_the_mean_over_aus_has_an_interval_and_is_over_the_aus_that_all_tools_have(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 20)
    labels = labels_of(tmp_path / "labels.csv", AU06_o=truth, AU12_o=truth, AU25_o=truth)
    draw = lambda: np.clip(0.4 + 0.2 * truth + rng.normal(0, 0.2, 40), 0, 1)  # noqa: E731
    one = save(tmp_path / "a.csv", input=labels.rows["source"], AU06_p=draw(), AU12_p=draw(), AU25_p=draw())
    two = save(tmp_path / "b.csv", input=labels.rows["source"], AU06_p=draw(), AU12_p=draw())
    tools = {"one": read(one), "two": read(two)}
    found, _ = stills.score("portraits", labels, tools, ("AUC",), resamples=200)
    for tool in tools:
        mean = only(found, "AUC", scores.MEAN, tool)
        each = [only(found, "AUC", au, tool).value for au in (6, 12)]
        assert mean.value == pytest.approx(np.mean(each)) and mean.n == 2
        assert mean.low < mean.value < mean.high
    text = scores.render(scores.Result(tuple(found), {"portraits": ()}))
    assert "| AU | faces | present | one | two |\n| --- | ---: | ---: | --- | --- |\n" in text
    assert "| mean of 2 AUs |  |  | " in text and text.count("| –") == 1


def test_with_folds_the_score_is_their_mean(tmp_path):
    """In each fold the tool ranks without error, but its scale differs, so the AUC of all faces is lower."""
    truth = np.tile(np.repeat([0, 1], 20), 3)
    folds = np.repeat(["1", "2", "3"], 40)
    noise = np.random.default_rng(0).normal(0, 0.1, 120)
    labels = labels_of(tmp_path / "labels.csv", AU12_o=truth)
    values = 0.1 * truth + 0.3 * (folds == "2") + 0.6 * (folds == "3") + 0.3 + noise / 10
    values[0] += 0.1  # one mistake of the first fold
    table = save(tmp_path / "t.csv", input=labels.rows["source"], AU12_i=values)
    found, remarks = stills.score("renders", labels, {"tool": read(table)}, ("AUC",), 100, folds)
    each = [only(found, "AUC", fold=fold) for fold in "123"]
    mean = only(found, "AUC", fold="mean")
    assert each[0].value < 1 and [one.value for one in each[1:]] == [1, 1]
    assert mean.value == pytest.approx(np.mean([one.value for one in each]))
    assert (mean.n, each[0].n, each[0].present, each[0].people) == (120, 40, 20, 20)
    assert mean.low < mean.value
    whole = stills.score("renders", labels, {"tool": read(table)}, ("AUC",), 100)[0]
    assert only(whole, "AUC").value < mean.value - 0.05
    text = scores.render(scores.Result(tuple(found), {"renders": tuple(remarks)}))
    assert "AUC (mean of the folds) [95 % interval over people]" in text
    assert "| measure | tool | fold 1 | fold 2 | fold 3 |" in text and "| 1.000 | 1.000 |" in text


def test_an_au_that_is_rare_in_one_fold_has_no_mean_over_folds(tmp_path):
    truth = np.tile(np.repeat([0, 1], 20), 2)
    truth[5:] = np.where(np.arange(75) < 26, 0, truth[5:])  # 9 of the first fold are left
    labels = labels_of(tmp_path / "labels.csv", AU12_o=truth)
    table = save(tmp_path / "t.csv", input=labels.rows["source"], AU12_p=truth * 0.5)
    folds = np.repeat(["1", "2"], 40)
    found, _ = stills.score("renders", labels, {"tool": read(table)}, ("AUC",), 20, folds)
    values = [only(found, "AUC", fold=fold).value for fold in ("1", "2", "mean")]
    assert np.isnan(values).tolist() == [True, False, True]


def test_the_interval_is_over_people(tmp_path):
    """Ten copies of each face of one person are no more evidence than one."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 20)
    values = np.clip(0.4 + 0.2 * truth + rng.normal(0, 0.2, 40), 0, 1)

    def width(name, copies):
        people = np.repeat([f"p{k}" for k in range(40)], copies)
        labels = labels_of(tmp_path / f"{name}.csv", people, AU12_o=np.repeat(truth, copies))
        table = save(
            tmp_path / f"{name}-t.csv", input=labels.rows["source"], AU12_p=np.repeat(values, copies)
        )
        one = only(stills.score("renders", labels, {"tool": read(table)}, ("AUC",), 200)[0], "AUC")
        return one.high - one.low

    assert width("many", 10) == pytest.approx(width("single", 1))


def test_a_tool_without_a_face_of_the_set_has_no_score_and_says_why(tmp_path, capsys):
    labels = labels_of(tmp_path / "labels.csv", AU12_o=np.repeat([0, 1], 20))
    table = save(tmp_path / "t.csv", input=["other.jpg"], AU12_p=[0.5])
    found, remarks = stills.score("portraits", labels, {"tool": read(table)}, ("AUC",), resamples=20)
    assert math.isnan(only(found, "AUC").value) and remarks == ["tool: 0 of 40 faces."]
    assert "tool has no face of the portraits: no prediction belongs to a label" in capsys.readouterr().err


# Tables of other tools


def test_openface_counts_from_one_and_is_scored_by_intensity(tmp_path):
    folder = tmp_path / "openface"
    folder.mkdir()
    columns = {" success": [1, 1], " AU12_r": [1.5, 3.0], " AU12_c": [0, 1], " AU45_r": [0.5, 2.0]}
    save(folder / "a.csv", frame=[1, 2], **columns)
    (table,) = read(folder)
    table = table.with_sources(Files(["videos/a.mp4", "videos/b.mp4"]))
    assert list(table.predictions.rows["source"]) == ["videos/a.mp4"] * 2
    assert list(table.predictions.rows["frame"]) == [0, 1]
    assert list(table.scores[12]) == [1.5, 3.0] and list(table.calls[12]) == [0, 1]
    assert list(table.scores[43]) == [0.5, 2.0]


def test_pyfeat_has_probabilities_and_boxes(tmp_path):
    boxes = {"FaceRectX": [10], "FaceRectY": [20], "FaceRectWidth": [30], "FaceRectHeight": [40]}
    (table,) = read(save(tmp_path / "t.csv", **boxes, AU12=[0.7], input=["a.jpg"], frame=[0]))
    assert table.scores[12] == 0.7 and table.calls[12] == 1
    assert table.boxes.tolist() == [[10, 20, 40, 60]]


OPENFACE_IMAGE = {"face": [0, 1], " confidence": [0.6, 0.9], " AU12_r": [1.0, 3.0], " AU12_c": [0, 1]}
"""The columns of OpenFace's FaceLandmarkImg: a file for each image, a row for each face."""


def test_openface_writes_a_file_for_each_image(tmp_path):
    """Of several faces the one of best confidence counts; AU28 has only an occurrence."""
    folder = tmp_path / "openface" / "s"
    folder.mkdir(parents=True)
    for k in range(2):
        save(folder / f"{k}.csv", **OPENFACE_IMAGE, **{" AU28_c": [1, 0]})
    labels = labels_of(tmp_path / "labels.csv", AU12_o=[0, 1, 1], AU28_o=[0, 1, 1])
    tables = read(tmp_path / "openface")
    faces = stills._align("tool", "portraits", tables, labels, [12, 28], *np.zeros((2, 3, 2)))
    assert faces.scores[:2].tolist() == [[3, 0], [3, 0]] and np.isnan(faces.scores[2]).all()
    assert faces.calls[:2].tolist() == [[1, 0], [1, 0]]
    assert np.isnan(faces.intensity[0, 1])


def test_libreface_names_the_image_and_has_two_kinds_of_values(tmp_path):
    columns = {"input_image_path": ["/data/s/0.jpg"], "au_12": [1], "au_12_intensity": [2.5], "au_7": [0]}
    (table,) = read(save(tmp_path / "results.csv", **columns))
    assert list(table.with_sources(Files(["s/0.jpg"])).predictions.rows["source"]) == ["s/0.jpg"]
    assert (table.scores[12], table.calls[12], table.scores[7]) == (2.5, 1, 0)


def test_columns_of_the_sides_of_a_face_are_no_intensities(tmp_path):
    truth = np.repeat([0, 1], 20)
    sides = {"AU12_L": np.zeros(40), "AU12_R": np.ones(40), "AU12_i_L": 0, "AU12_i_R": 0}
    labels = labels_of(tmp_path / "labels.csv", AU12_o=truth, AU12_i=truth * 3, **sides)
    table = save(
        tmp_path / "t.csv", input=labels.rows["source"], AU12_p=truth * 0.9, AU12_i=truth * 2.0, **sides
    )
    (read_table,) = read(table)
    assert list(read_table.intensity) == [12] and list(read_table.intensity[12]) == list(truth * 2.0)
    found, _ = stills.score("renders", labels, {"tool": [read_table]}, ("AUC", "ICC"), resamples=20)
    assert only(found, "AUC").value == 1 and only(found, "ICC").value == pytest.approx(0.923, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("0", ["0.jpg", "1.jpg"], "0.jpg"),
        ("C:\\data\\0.png", ["0.jpg", "1.jpg"], "0.jpg"),
        ("J. Smith", ["J. Smith.jpg", "J.jpg"], "J. Smith.jpg"),
        ("/data/S002/0", ["S001/0.png", "S002/0.png"], "S002/0.png"),
        ("/data/clip.avi", ["clip.avi", "clip.mp4"], "clip.avi"),
        ("S002/0.png", ["S001/0.png", "S002/0.jpg"], "S002/0.jpg"),
        ("other", ["0.jpg"], "other"),
        ("0.png", ["a/0.jpg", "b/0.jpg"], "0.png"),
    ],
)
def test_a_name_means_the_file_that_shares_the_end_of_its_path(tmp_path, name, known, expected):
    (table,) = read(save(tmp_path / "t.csv", input=[name], AU12_p=[0.5]))
    assert list(table.with_sources(Files(known)).predictions.rows["source"]) == [expected]


def test_of_two_names_the_one_that_shares_more_counts_and_equal_ones_are_refused(tmp_path):
    (table,) = read(save(tmp_path / "t.csv", input=["y/0.png", "x/0.png"], AU12_p=[0.1, 0.9]))
    assert list(table.with_sources(Files(["x/0.jpg"])).predictions.rows["source"]) == ["y/0.png", "x/0.jpg"]
    with pytest.raises(DataError, match=r"has y/0\.png and x/0\.png, and both may be 0\.jpg"):
        table.with_sources(Files(["0.jpg"]))


def test_two_rows_or_two_tables_for_one_face_are_refused(tmp_path):
    labels = labels_of(tmp_path / "labels.csv", AU12_o=[0, 1])
    one = read(save(tmp_path / "a.csv", input=["s/0.jpg", "s/1.jpg"], AU12_p=[0.1, 0.9]))
    two = read(save(tmp_path / "b.csv", input=["s/1.jpg"], AU12_p=[0.5]))
    with pytest.raises(DataError, match=r"a\.csv and .*b\.csv both have s/1\.jpg; give one of them for tool"):
        stills.score("portraits", labels, {"tool": one + two}, ("AUC",))
    film = {"input": "a.mp4", "frame": np.arange(FRAMES), "AU12_p": SHAPE}
    both = read(save(tmp_path / "c.csv", **film)) + read(save(tmp_path / "d.csv", **film))
    with pytest.raises(DataError, match=r"c\.csv and .*d\.csv both have a\.mp4"):
        clips.score(reference(AU12_p=SHAPE), {"tool": both})
    labels = read_labels(save(tmp_path / "ids.csv", id=["s/0.jpg#0.0"], AU12_o=[1]))
    labels.rows["source"] = "s/0.jpg"
    twice = read(save(tmp_path / "e.csv", id=["s/0.jpg#0.0"] * 2, AU12_p=[0.1, 0.9]))
    with pytest.raises(DataError, match=r"e\.csv has several rows for id"):
        stills.score("renders", labels, {"tool": twice}, ("AUC",))


def test_rows_without_a_face_are_missing(tmp_path):
    labels = labels_of(tmp_path / "labels.csv", AU12_o=[0, 1, 1])
    rows = {"input": [f"s/{k}.jpg" for k in range(3)], "FaceScore": [0.9, np.nan, np.nan]}
    table = read(save(tmp_path / "t.csv", **rows, frame=[0.0, 1.0, 2.0], AU12=[0.4, np.nan, np.nan]))
    faces = stills._align("tool", "portraits", table, labels, [12], np.zeros((3, 1)), np.zeros((3, 3, 1)))
    assert faces.scores[0, 0] == 0.4 and np.isnan(faces.scores[1:]).all()


def test_tables_in_hidden_folders_are_left_out(tmp_path):
    for folder in ("a", ".ipynb_checkpoints"):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "t.csv", input=["0.png"], AU12_p=[0.5])
    (table,) = read(tmp_path)
    assert table.predictions.path == tmp_path / "a" / "t.csv"


def test_names_that_differ_only_in_folders_stay_as_they_are(tmp_path):
    (table,) = read(save(tmp_path / "t.csv", input=["0.png"], AU12_p=[0.5]))
    assert list(table.with_sources(Files(["a/0.jpg", "b/0.jpg"])).predictions.rows["source"]) == ["0.png"]


# Clips


def test_frames_that_begin_at_one_are_refused_unless_openface_wrote_them(tmp_path):
    rows = {"input": "a.mp4", "frame": np.arange(FRAMES) + 1, "AU12_p": SHAPE}
    with pytest.raises(DataError, match=r"tool: the frames of a\.mp4 begin at 1, .* number frames from 0"):
        clips.score(reference(AU12_p=SHAPE), {"tool": read(save(tmp_path / "t.csv", **rows))})
    openface = save(tmp_path / "o.csv", **rows, success=1)
    assert only(
        clips.score(reference(AU12_p=SHAPE), {"tool": read(openface)})[0], "r"
    ).value == pytest.approx(1)
    late = reference(AU12_p=SHAPE).assign(frame=np.arange(FRAMES) + 1)  # the face comes in frame 1
    assert only(clips.score(late, {"tool": read(tmp_path / "t.csv")})[0], "r").value == pytest.approx(1)


def test_a_tool_without_a_face_of_the_clips_says_why(tmp_path, capsys):
    table = save(tmp_path / "t.csv", input="other.mp4", frame=np.arange(FRAMES), AU12_p=SHAPE)
    clips.score(reference(AU12_p=SHAPE), {"tool": read(table)})
    assert "t.csv has source other.mp4, frame 0; the clips are a.mp4" in capsys.readouterr().err.replace(
        "\n", " "
    )


@pytest.mark.parametrize(
    ("values", "r"), [(SHAPE, 1.0), (1 - SHAPE, -1.0), (SHAPE / 2 + 0.1, 1.0), (np.full(FRAMES, 0.3), 0.0)]
)
def test_r_of_known_scores(tmp_path, values, r):
    table = save(tmp_path / "t.csv", input="a.mp4", frame=np.arange(FRAMES), AU12_p=values)
    found, remarks = clips.score(reference(AU12_p=SHAPE), {"tool": read(table)})
    one = only(found, "r")
    assert one.value == pytest.approx(r)
    assert (one.n, one.present, one.used) == (1, FRAMES, 1) and math.isnan(one.low)
    assert remarks[0] == "People: 1, in 1 tracks of 1 clips."


def test_only_tracks_where_the_shape_moves_count(tmp_path):
    limit = np.tile([0.0, 2 * clips.MOVES], FRAMES // 2)  # its standard deviation is MOVES
    table = save(tmp_path / "t.csv", input="a.mp4", frame=np.arange(FRAMES), AU12_p=SHAPE)
    for shape, people in ((limit * 1.01, 1), (limit * 0.99, 0)):
        found, _ = clips.score(reference(AU12_p=shape), {"tool": read(table)})
        assert only(found, "r").n == people
    small = reference(AU12_p=SHAPE, box=(0, 0, clips.LEAST_SIDE - 1, 10))
    assert only(clips.score(small, {"tool": read(table)})[0], "r").n == 0
    few = reference(AU12_p=SHAPE).head(clips.LEAST_FRAMES - 1)
    assert only(clips.score(few, {"tool": read(table)})[0], "r").n == 0


def test_a_person_in_several_clips_counts_once(tmp_path):
    names = [f"{letter}.mp4" for letter in "abcdef"]
    both = pd.concat([reference(name, AU12_p=SHAPE) for name in names])
    signs = dict(zip(names, (1, 1, 1, -1, -1, -1), strict=True))
    tables = pd.concat(
        pd.DataFrame({"input": name, "frame": np.arange(FRAMES), "AU12_p": 0.5 + sign * (SHAPE - 0.5)})
        for name, sign in signs.items()
    )
    tables.to_csv(tmp_path / "t.csv", index=False)
    tool = {"tool": read(tmp_path / "t.csv")}
    apart = only(clips.score(both, tool)[0], "r")
    assert (apart.n, apart.value) == (6, pytest.approx(0)) and apart.low < 0 < apart.high
    together = only(clips.score(both, tool, {("a.mp4", 0): "x", ("b.mp4", 0): "x"})[0], "r")
    assert (together.n, together.value) == (5, pytest.approx(-1 / 5)) and together.low < together.high
    fewer = {(f"{letter}.mp4", 0): "x" for letter in "abc"}
    found, remarks = clips.score(both, tool, fewer)
    assert only(found, "r").n == 4 and math.isnan(only(found, "r").low)
    text = scores.render(scores.Result(tuple(found), {"clips": tuple(remarks)}))
    assert (
        "| AU12 Lip corner puller | 4 | 240 | -0.500 |" in text
        and "fewer than 5 people: AU12, the mean." in text
    )
    assert "No r, because nobody moves it: AU01, AU02, AU04, AU05, AU10, AU25, AU26, AU43." in text


def test_the_mean_over_aus_within_clips_has_an_interval(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{letter}.mp4" for letter in "abcdef"]
    shapes = pd.concat([reference(name, AU12_p=SHAPE, AU25_p=SHAPE) for name in names])
    rows = {"input": shapes["source"], "frame": shapes["frame"]}
    for au in ("AU12_p", "AU25_p"):
        rows[au] = np.clip(shapes[au] / 2 + rng.normal(0, 0.1, len(shapes)) + 0.2, 0, 1)
    found, _ = clips.score(shapes, {"tool": read(save(tmp_path / "t.csv", **rows))}, resamples=200)
    mean, one, two = (only(found, "r", au) for au in (scores.MEAN, 12, 25))
    assert mean.value == pytest.approx((one.value + two.value) / 2) and mean.n == 2
    assert mean.low < mean.value < mean.high and mean.people == 6


def test_faces_of_one_frame_are_told_apart_by_their_boxes(tmp_path):
    left, right = (0, 0, 100, 100), (200, 0, 300, 100)
    two = pd.concat(
        [
            reference(track=0, box=left, AU12_p=SHAPE),
            reference(track=1, box=right, AU12_p=1 - SHAPE),
        ]
    )
    # The tool lists the right face first; both scores follow their own face.
    frames = np.repeat(np.arange(FRAMES), 2)
    boxes = np.tile([right, left], (FRAMES, 1)) + 5
    values = np.stack([1 - SHAPE, SHAPE], axis=1).ravel()
    rows = {"input": "a.mp4", "frame": frames, "face": np.tile([0, 1], FRAMES), "AU12_p": values}
    with_boxes = save(tmp_path / "t.csv", **rows, **dict(zip(clips.BOX, boxes.T, strict=True)))
    one = only(clips.score(two, {"tool": read(with_boxes)})[0], "r")
    assert (one.n, one.used, one.value) == (2, 2, pytest.approx(1))
    without = save(tmp_path / "u.csv", **rows)
    assert only(clips.score(two, {"tool": read(without)})[0], "r").used == 0


# The command


def test_tools_are_given_as_weights_mediapipe_or_tables(tmp_path):
    one, other = save(tmp_path / "a.csv", x=[1]), save(tmp_path / "b.csv", x=[1])
    found = command.parse_tools(["maeface-nano", "mediapipe", f"of={one}", f"of={other}"])
    assert [tool.name for tool in found] == ["maeface-nano", "mediapipe", "of"]
    assert (found[0].weights, found[1].weights, found[2].tables) == ("maeface-nano", None, (one, other))
    with pytest.raises(ConfigError, match="two tools are called mediapipe; name them: NAME=PATH"):
        command.parse_tools(["mediapipe", f"mediapipe={one}"])
    with pytest.raises(ConfigError, match="no such file or folder"):
        command.parse_tools([f"of={tmp_path / 'c.csv'}"])
    weights = tmp_path / "mediapipe.safetensors"
    weights.write_bytes(b"")
    with pytest.raises(ConfigError, match="weights cannot be called mediapipe; name them: NAME=PATH"):
        command.parse_tools([str(weights)])


def test_refusals(tmp_path):
    table = save(tmp_path / "t.csv", input=["a.jpg"], AU12_p=[0.5])
    with pytest.raises(ConfigError, match="give --renders, --photos or --videos"):
        command.run([f"of={table}"])
    with pytest.raises(ConfigError, match="need --teacher"):
        command.run(["mediapipe"], photos=tmp_path)
    with pytest.raises(ConfigError, match="MediaPipe is the reference of --videos"):
        command.run(["mediapipe"], videos=[tmp_path], teacher=table)
    with pytest.raises(ConfigError, match="--fold chooses among --renders"):
        command.run([f"of={table}"], photos=tmp_path, fold="1")
    with pytest.raises(ConfigError, match=r"has no labels\.parquet"):
        command.run([f"of={table}"], renders=tmp_path)
    with pytest.raises(ConfigError, match="lacks 300 portraits"):
        command.run(["maeface-nano"], photos=tmp_path)
    with pytest.raises(DataError, match="expected CSV with source, track"):
        command.read_people(table)


def test_a_table_is_scored_on_the_portraits_and_written(tmp_path):
    names = sorted(facts.held_out_portraits())
    table = save(tmp_path / "t.csv", input=names, AU12_p=np.linspace(0, 1, 300))
    result = command.run([f"of={table}"], photos=tmp_path, out=tmp_path / "scores.csv")
    one = only(result.scores, "AUC", tool="of")
    assert (one.n, one.present, one.used) == (300, 276, 300)
    written = pd.read_csv(tmp_path / "scores.csv")
    row = written[(written["au"] == 12) & (written["measure"] == "AUC")].iloc[0]
    assert row["value"] == pytest.approx(one.value, abs=1e-4) and row["set"] == "portraits"
    text = scores.render(result)
    assert "\nAUC [95 % interval over people]\n\n| AU | faces | present | of |\n" in text
    assert f"| AU12 Lip corner puller | 300 | 276 | {one.value:.3f} [" in text
    assert "of: 300 of 300 faces." in text and "**" not in text


def test_an_au_that_few_faces_show_is_named(tmp_path):
    labels = labels_of(tmp_path / "labels.csv", AU12_o=np.repeat([0, 1], 20), AU43_o=np.arange(40) < 9)
    table = save(tmp_path / "t.csv", input=labels.rows["source"], AU12_p=0.5, AU43_p=0.5)
    found, remarks = stills.score("portraits", labels, {"tool": read(table)}, ("AUC",), resamples=20)
    text = scores.render(scores.Result(tuple(found), {"portraits": tuple(remarks)}))
    assert "No AUC, because too few faces show it or are without it: AU43." in text


def test_a_tool_without_a_measure_has_no_column():
    one = scores.Score("renders", 12, "ICC", "one", 0.5, 0.4, 0.6, 30, 10, 30, 9)
    other = scores.Score("renders", 12, "ICC", "other", np.nan, np.nan, np.nan, 30, 10, 30, 9)
    text = scores.render(scores.Result((one, other), {"renders": ("remark",)}))
    assert "| AU | faces | present | one |" in text and "other" not in text
    assert "| AU12 Lip corner puller | 30 | 10 | 0.500 [0.400, 0.600] |" in text and "remark" in text


def renders_of(folder, seed):
    """Write what tells who renders show."""
    folder.mkdir(exist_ok=True)
    (folder / "synth.json").write_text(json.dumps({"seed": seed}))
    return folder


@pytest.mark.parametrize("name", ["maeface-nano", "maeface-nano-motion", "maeface-nano-96"])
def test_renders_of_training_people_are_refused(tmp_path, name):
    folder = renders_of(tmp_path / "renders", 1)
    (folder / "labels.parquet").write_bytes(b"")
    with pytest.raises(
        ConfigError, match=f"^{name} learned from the people of .*renders, who are of seed 1; "
    ):
        command.run([name], renders=folder)
    render_people.require_unseen(renders_of(folder, 3), {name: name}, None)
    with pytest.raises(ConfigError, match=r"--fold is of SynthAU, which has seed 0; .* has seed 3"):
        render_people.require_unseen(folder, {name: name}, "1")
    (folder / "synth.json").write_text("{")
    with pytest.raises(DataError, match="has no readable seed"):
        render_people.require_unseen(folder, {name: name}, None)


def test_the_seeds_of_a_training_are_in_its_provenance_and_those_of_its_start(tmp_path):
    source = zoo.find("maeface-nano")
    target = tmp_path / "mine.safetensors"
    shutil.copy(source, target)
    assert render_people.training_seeds(str(target)) == set()
    metadata = weights_files.read_metadata(target)
    left_out = facts.protocol("synthau", "threefold")["2"]
    provenance = metadata.provenance | {
        recipe.RENDER_SEEDS: "7",
        "init": "maeface-nano",
        "settings": json.dumps({"data": {"test_subjects": left_out}}),
    }
    weights_files.write_metadata(target, metadata.model_copy(update={"provenance": provenance}))
    assert render_people.training_seeds(str(target)) == {1, 7}
    synthau = renders_of(tmp_path / "renders", 0)
    with pytest.raises(ConfigError, match="mine learned from the other folds of SynthAU; give --fold 2"):
        render_people.require_unseen(synthau, {"mine": str(target)}, None)
    render_people.require_unseen(synthau, {"mine": str(target)}, "2")


def test_only_seed_0_has_the_folds_of_synthau(tmp_path):
    folder = renders_of(tmp_path / "renders", 0)
    folds, remarks = render_people.folds_of(folder, ["S001", "S002", "S003", "S004"])
    assert folds.tolist() == ["1", "2", "3", "1"] and remarks == ["SynthAU: 4 of its 120 people."]
    assert render_people.folds_of(folder, ["S001", "S121"]) == (None, [])
    assert render_people.folds_of(renders_of(folder, 3), ["S001"]) == (None, [])


def test_renders_are_predicted_and_a_fold_is_its_test_subjects(tmp_path):
    from importlib import resources

    with resources.as_file(resources.files("maeface") / "sample") as folder:
        kept = tmp_path / "tables"
        result = command.run(["maeface-nano"], renders=folder, fold="1", tables=kept)
        with (
            checks.name_options(),
            pytest.raises(ConfigError, match=r"^--fold is '9'; expected one of 1, 2, 3"),
        ):
            command.run(["maeface-nano"], renders=folder, fold="9")
        of_fold = set(facts.protocol("synthau", "threefold")["1"])
        truth = pd.read_parquet(folder / "labels.parquet")
    truth = truth[truth["subject"].isin(of_fold)]
    one = only(result.scores, "AUC", tool="maeface-nano")
    assert (one.n, one.present) == (len(truth), int(truth["AU12_o"].sum()))
    assert one.value > 0.8  # it has learned from these people
    table = pd.read_parquet(kept / "maeface-nano-renders.parquet")
    assert set(table["id"]) == set(truth["id"]) and {"AU12", "AU12_p", "AU12_i"} <= set(table)


def test_mediapipe_is_asked_once(tmp_path, monkeypatch):
    """A table is used again as long as what it was made of is the same."""
    task, photo = tmp_path / "face.task", tmp_path / "a.png"
    task.write_bytes(b"1")
    Image.new("RGB", (64, 64)).save(photo)
    calls = []

    def count(photos, task, detector):
        calls.append(photos)
        return pd.DataFrame({"source": ["a.png"], "AU12_p": [0.5]})

    monkeypatch.setattr(blendshapes, "read_blendshapes", count)
    maker = making.Maker(tmp_path, task, None, "embedded")
    path = maker.read_photos([photo])
    assert maker.read_photos([photo]) == path and len(calls) == 1
    task.write_bytes(b"2")
    maker.read_photos([photo])
    assert len(calls) == 2
    assert json.loads(path.with_suffix(".json").read_text())["detector"] == "embedded"


def clips_in(folder, names):
    """Write clips of one colour each, of any contents but different ones."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(path, "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for _ in range(2):
                picture = np.full((64, 64, 3), 40 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return find_inputs([folder])


def test_clips_of_one_name_are_told_apart(tmp_path, monkeypatch):
    both = clips_in(tmp_path / "clips", ["x/s01/a.mp4", "x/s02/a.mp4"])
    task, calls = tmp_path / "face.task", []
    task.write_bytes(b"1")

    def count(clips, *_):
        calls.append([clip.source for clip in clips])
        return pd.DataFrame({"source": calls[-1]})

    monkeypatch.setattr(making, "follow_blendshapes", count)
    monkeypatch.setattr(making.Maker, "open_detector", lambda self: None)
    maker = making.Maker(tmp_path, task, None, "embedded")
    for films in (both, both[1:], both, both):
        made = pd.read_parquet(maker.follow_clips(films))
        assert list(made["source"]) == [film.source for film in films]
    assert len(calls) == 3


def test_predicted_clips_have_the_names_of_the_reference(tmp_path):
    films = clips_in(tmp_path / "clips", ["x/s01/a.mp4", "x/s02/a.mp4", "x/b.mp4", "x/y/z/b.mp4"])
    table = making.predict_clips("maeface-nano", films, None, "embedded")
    assert list(table["input"].unique()) == [film.source for film in films] and len(table) == 8


def test_clips_of_real_people(shared, tmp_path):
    pytest.importorskip("mediapipe", reason="needs mediapipe: maeface-studio[teacher]")
    task, film = shared / "weights" / "face_landmarker.task", shared / "videos" / "pyfeat_single_face.mp4"
    given = {"videos": [film], "teacher": task, "fps": 15.0, "tables": tmp_path}
    result = command.run(["maeface-nano", "mediapipe"], **given)
    smile = only(result.scores, "r", tool="maeface-nano")
    assert smile.n == smile.used == 1 and smile.value > 0.9
    assert {score.tool for score in result.scores} == {"maeface-nano"}  # MediaPipe is the reference
    # MediaPipe's own table, as of another tool, follows itself.
    own = tmp_path / "mediapipe-clips.parquet"
    again = command.run([f"own={own}"], **given)
    assert only(again.scores, "r", tool="own").value == pytest.approx(1)
