"""The benchmark: tables of any tool against labels, and within clips."""

import json
import math

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import checks, facts
from maeface.data.ingest.inputs import find_inputs
from maeface.data.tables.labels import read_labels
from maeface.errors import ConfigError, DataError
from maeface_studio.weights import blendshapes
from maeface_studio.weights.bench import clips, command, making, scores, stills
from maeface_studio.weights.bench.tool_tables import read_tables

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


def only(found, measure, au=12, tool="tool"):
    (one,) = [s for s in found if (s.measure, s.au, s.tool) == (measure, au, tool)]
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
    assert (one.value, one.low, one.high, one.n, one.present, one.used) == (auc, auc, auc, 40, 20, 40)
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
    labels = labels_of(tmp_path / "labels.csv", AU12_o=np.repeat([0, 1], 20), AU12_L=left, AU12_R=right)
    shown = {"input": labels.rows["source"], "AU12_p": 0.5}
    good = save(tmp_path / "good.csv", **shown, AU12_L=left * 0.5 + 1, AU12_R=right * 0.5)
    swapped = save(tmp_path / "swapped.csv", **shown, AU12_L=right, AU12_R=left)
    none = save(tmp_path / "none.csv", **shown)
    tools = {"good": read(good), "swapped": read(swapped), "none": read(none)}
    found, _ = stills.score("renders", labels, tools, stills.SIDES, resamples=20)
    assert only(found, "r of left - right", tool="good").value == pytest.approx(1)
    assert only(found, "r of left - right", tool="swapped").value == pytest.approx(-1)
    assert 0.7 < only(found, "ICC left", tool="good").value < 1
    assert only(found, "ICC right", tool="swapped").value < 0.5
    assert all(math.isnan(only(found, measure, tool="none").value) for measure in stills.SIDES)


def test_few_faces_with_an_au_give_no_auc_but_a_rate_of_false_alarms(tmp_path):
    truth = np.r_[np.ones(9), np.zeros(30)].astype(int)
    labels = labels_of(tmp_path / "labels.csv", AU12_o=truth)
    table = save(tmp_path / "t.csv", input=labels.rows["source"], AU12_p=truth * 0.9)
    found, _ = stills.score("portraits", labels, {"tool": read(table)}, stills.PORTRAITS, resamples=50)
    assert math.isnan(only(found, "AUC").value)
    assert only(found, "false alarms").value == 0


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
    table = table.with_sources(["videos/a.mp4", "videos/b.mp4"])
    assert list(table.predictions.rows["source"]) == ["videos/a.mp4"] * 2
    assert list(table.predictions.rows["frame"]) == [0, 1]
    assert list(table.scores[12]) == [1.5, 3.0] and list(table.calls[12]) == [0, 1]
    assert list(table.scores[43]) == [0.5, 2.0]


def test_pyfeat_has_probabilities_and_boxes(tmp_path):
    boxes = {"FaceRectX": [10], "FaceRectY": [20], "FaceRectWidth": [30], "FaceRectHeight": [40]}
    (table,) = read(save(tmp_path / "t.csv", **boxes, AU12=[0.7], input=["a.jpg"], frame=[0]))
    assert table.scores[12] == 0.7 and table.calls[12] == 1
    assert table.boxes.tolist() == [[10, 20, 40, 60]]


def test_names_that_differ_only_in_folders_stay_as_they_are(tmp_path):
    (table,) = read(save(tmp_path / "t.csv", input=["0.png"], AU12_p=[0.5]))
    assert list(table.with_sources(["a/0.jpg", "b/0.jpg"]).predictions.rows["source"]) == ["0.png"]


# Clips


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
    names = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    both = pd.concat([reference(name, AU12_p=SHAPE) for name in names])
    signs = dict(zip(names, (1, 1, -1, -1), strict=True))
    tables = pd.concat(
        pd.DataFrame({"input": name, "frame": np.arange(FRAMES), "AU12_p": 0.5 + sign * (SHAPE - 0.5)})
        for name, sign in signs.items()
    )
    tables.to_csv(tmp_path / "t.csv", index=False)
    tool = {"tool": read(tmp_path / "t.csv")}
    apart = only(clips.score(both, tool)[0], "r")
    assert (apart.n, apart.value) == (4, pytest.approx(0)) and apart.low < 0 < apart.high
    together = only(clips.score(both, tool, {("a.mp4", 0): "x", ("b.mp4", 0): "x"})[0], "r")
    assert (together.n, together.value) == (3, pytest.approx(-1 / 3))


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
    assert "| AU | faces | present | AUC, of | false alarms, of |" in text
    assert f"| 12 | 300 | 276 | {one.value:.3f} [" in text and "of: 300 of 300 faces." in text


def test_a_tool_without_a_measure_has_no_column_and_does_not_empty_the_mean():
    one = scores.Score("renders", 12, "ICC", "one", 0.5, 0.4, 0.6, 30, 10, 30)
    other = scores.Score("renders", 12, "ICC", "other", np.nan, np.nan, np.nan, 30, 10, 30)
    text = scores.render(scores.Result((one, other), {"renders": ("remark",)}))
    assert "| AU | faces | present | ICC, one |" in text and "other" not in text
    assert "| 12 | 30 | 10 | 0.500 [0.400, 0.600] |" in text and "| mean | | | 0.500 (1 AUs) |" in text


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
