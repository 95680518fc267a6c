import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from rich.console import Console

from maeface import evaluate, metrics
from maeface.errors import ConfigError, DataError

N = 12


@pytest.fixture
def tables(tmp_path):
    """Writes labels and predictions and gives their paths; numbers by ``AU12`` and ``AU04``."""

    def make(labels, predictions, suffix="csv", **how):
        paths = tmp_path / f"labels.{suffix}", tmp_path / f"predictions.{suffix}"
        for path, columns in zip(paths, (labels, predictions), strict=True):
            frame = pd.DataFrame(columns)
            frame.to_csv(path, index=False, **how) if suffix == "csv" else frame.to_parquet(path)
        return paths

    return make


RNG = np.random.default_rng(0)
TRUTH = (RNG.random(N) < 0.5).astype(int)
RATED = np.round(RNG.random(N) * 5)
PROBABILITY = np.round(RNG.random(N), 3)
INTENSITY = np.round(RNG.random(N) * 5, 3)
SOURCES = [f"s{k:02d}/photo {k}.jpg" for k in range(N)]


def ours(order=None, **more):
    table = pd.DataFrame(
        {
            "input": SOURCES,
            "frame": 0,
            "time_s": 0.0,
            "face": 0,
            "score": 0.9,
            "AU12_p": PROBABILITY,
            "AU12_i": INTENSITY,
        }
    ).assign(**more)
    return table if order is None else table.iloc[order]


def labels(**more):
    return pd.DataFrame({"source": SOURCES, "AU12_o": TRUTH, "AU12_i": RATED}).assign(**more)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_scores_are_those_of_metrics_whatever_the_order(tables, suffix):
    scores = evaluate.run(*tables(labels(), ours(order=RNG.permutation(N)), suffix))
    expected = metrics.detection(TRUTH[:, None], PROBABILITY[:, None], 0.5)
    for name in evaluate.DETECTION:
        assert scores.table.loc[12, name] == pytest.approx(expected[name][0])
    expected = metrics.intensity(RATED[:, None], INTENSITY[:, None])
    for name in evaluate.INTENSITY:
        assert scores.table.loc[12, name] == pytest.approx(expected[name][0])
        assert scores.means[name] == pytest.approx(expected[name][0])
    assert scores.table.loc[12, "name"] == "AU12 Lip corner puller"
    assert (scores.matched, scores.no_face, scores.labels_unmatched, scores.predictions_unmatched) == (
        N,
        0,
        0,
        0,
    )


def test_threshold(tables):
    paths = tables(labels(), ours())
    assert evaluate.run(*paths, threshold=0.0).means["recall"] == 1
    strict = evaluate.run(*paths, threshold=1.0)
    assert strict.means["f1"] == 0
    assert strict.means["auc"] == evaluate.run(*paths).means["auc"]
    with pytest.raises(ConfigError, match=r"threshold is 1\.5"):
        evaluate.run(*paths, threshold=1.5)


def test_paths_may_be_longer_on_either_side(tables):
    base = evaluate.run(*tables(labels(), ours())).table
    longer = [f"/data/set/{source}" for source in SOURCES]
    pd.testing.assert_frame_equal(evaluate.run(*tables(labels(), ours(input=longer))).table, base)
    pd.testing.assert_frame_equal(evaluate.run(*tables(labels(source=longer), ours())).table, base)


def test_one_ending_of_two_inputs_is_refused(tables):
    twice = pd.concat([ours(), ours(input=[f"other/{source}" for source in SOURCES])])
    with pytest.raises(DataError, match=r"several rows for source .s00/photo 0\.jpg."):
        evaluate.run(*tables(labels(face=0), twice))


def test_by_id(tables):
    ids = [f"{source}#0.0" for source in SOURCES]
    base = evaluate.run(*tables(labels(), ours())).table
    by_id = labels(id=ids).drop(columns="source")
    pd.testing.assert_frame_equal(evaluate.run(*tables(by_id, ours(id=ids))).table, base)
    pd.testing.assert_frame_equal(evaluate.run(*tables(by_id, ours())).table, base)
    pd.testing.assert_frame_equal(
        evaluate.run(*tables(labels(), ours(id=ids).drop(columns=["input", "frame", "face"]))).table, base
    )
    with pytest.raises(DataError, match="'x7' is not as in a manifest"):
        evaluate.run(*tables(by_id.assign(id=["x7", *ids[1:]]), ours()))


def test_no_face_is_counted_and_in_no_score(tables):
    predicted = ours()
    predicted["face"] = [-1, 0, 0] + [0] * (N - 3)
    predicted.loc[0, ["score", "AU12_p", "AU12_i"]] = np.nan
    predicted.loc[1, ["AU12_p", "AU12_i"]] = np.nan  # py-feat: a row of NaN
    scores = evaluate.run(*tables(labels(), predicted))
    assert (scores.no_face, scores.matched, scores.labels_unmatched) == (2, N - 2, 0)
    expected = metrics.f1(TRUTH[2:, None], PROBABILITY[2:, None] >= 0.5)[0]
    assert scores.table.loc[12, "f1"] == pytest.approx(expected)
    with pytest.raises(DataError, match="no face was found in any of the 12"):
        evaluate.run(*tables(labels(), ours(face=-1)))


def test_unmatched_on_both_sides_are_counted(tables):
    scores = evaluate.run(*tables(labels().iloc[2:], ours().iloc[:-3]))
    assert (scores.labels_unmatched, scores.predictions_unmatched, scores.matched) == (3, 2, N - 5)
    assert "labels without a prediction: 3" in scores.summary()


def test_unknown_labels_and_empty_predictions_are_masked(tables):
    given = labels().astype({"AU12_o": object})
    given.loc[0, "AU12_o"], given.loc[1, "AU12_o"], given.loc[2, "AU12_o"] = 9, -1, ""
    predicted = ours()
    predicted.loc[3, "AU12_p"] = np.nan
    scores = evaluate.run(*tables(given, predicted))
    assert scores.table.loc[12, "faces_o"] == N - 4
    assert scores.table.loc[12, "faces_i"] == N


def test_action_units_on_one_side_are_left_out_and_named(tables):
    scores = evaluate.run(*tables(labels(AU04_o=1), ours(AU01_p=0.5, AU04_i=2.0)))
    assert list(scores.table.index) == [12]
    assert scores.left_out == ("AU01_o", "AU04_o", "AU04_i")
    with pytest.raises(DataError, match=r"occurrence of 4, .* has occurrence of 12"):
        evaluate.run(*tables(labels(AU04_o=1)[["source", "AU04_o"]], ours()[["input", "AU12_p"]]))


def test_best_face_of_a_frame_where_labels_name_none(tables):
    second = ours(face=1, score=0.95, AU12_p=1 - PROBABILITY)
    both = pd.concat([ours(), second])
    best = evaluate.run(*tables(labels(), both))
    assert best.table.loc[12, "f1"] == metrics.f1(TRUTH[:, None], 1 - PROBABILITY[:, None] >= 0.5)[0]
    assert best.predictions_unmatched == N
    named = evaluate.run(*tables(labels(face=0), both))
    assert named.table.loc[12, "f1"] == metrics.f1(TRUTH[:, None], PROBABILITY[:, None] >= 0.5)[0]


def test_frames_must_be_told(tables):
    video = ours(input="clip.mp4", frame=range(N))
    by_frame = labels(source="clip.mp4", frame=range(N))
    base = evaluate.run(*tables(labels(), ours())).table
    pd.testing.assert_frame_equal(evaluate.run(*tables(by_frame, video)).table, base)
    with pytest.raises(DataError, match=r"no column `frame`, and clip.mp4 was predicted in 12 frames"):
        evaluate.run(*tables(labels(source="clip.mp4").iloc[:1], video))
    one_off = evaluate.run(*tables(by_frame, video.assign(frame=range(1, N + 1))))
    assert "begin at 0, of the predictions at 1" in one_off.summary()


def test_openface_table(tables):
    """One table a video, spaces before names, zeros where tracking failed."""
    openface = pd.DataFrame(
        {
            "frame": range(N),
            " face_id": 0,
            " timestamp": 0.0,
            " confidence": 0.98,
            " success": [0, *[1] * (N - 1)],
            " pose_Rx": 0.1,
            " AU12_r": INTENSITY,
            " AU12_c": (PROBABILITY >= 0.5).astype(int),
        }
    )
    scores = evaluate.run(*tables(labels(source="clip.mp4", frame=range(N)), openface))
    assert scores.no_face == 1
    assert scores.table.loc[12, "mae"] == pytest.approx(np.abs(RATED - INTENSITY)[1:].mean())
    assert scores.table.loc[12, "f1"] == pytest.approx(
        metrics.f1(TRUTH[1:, None], PROBABILITY[1:, None] >= 0.5)[0]
    )
    with pytest.raises(DataError, match="add a column `input`"):
        evaluate.run(*tables(labels(frame=0), openface))


@pytest.mark.parametrize(
    "columns",
    [
        {"input": SOURCES, "frame": 0, "AU12": PROBABILITY},  # py-feat
        {"input": SOURCES, "frame_idx": 0, "au_12": PROBABILITY, "au_12_intensity": INTENSITY},  # LibreFace
        {"input": SOURCES, "Frame": 0, "Person_ID": 0, "Occ_au_12": PROBABILITY, "Int_au_12": INTENSITY},
    ],
    ids=["py-feat", "LibreFace", "PyAFAR"],
)
def test_other_tools(tables, columns):
    scores = evaluate.run(*tables(labels(), columns))
    assert scores.table.loc[12, "f1"] == metrics.f1(TRUTH[:, None], PROBABILITY[:, None] >= 0.5)[0]
    assert ("icc" in scores.table) == (len(columns) > 3)


def test_semicolons_byte_order_mark_and_numbers_as_names(tables, tmp_path):
    names = [f"{k:03d}" for k in range(N)]
    base = evaluate.run(*tables(labels(), ours())).table
    odd = tables(labels(source=names), ours(input=names), sep=";", encoding="utf-8-sig")
    pd.testing.assert_frame_equal(evaluate.run(*odd).table, base)
    path = tmp_path / "predictions.csv"
    path.write_text("".join(f"{line};\r\n" for line in path.read_text().splitlines()))
    pd.testing.assert_frame_equal(evaluate.run(*odd).table, base)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"input,AU12_p\n", "has no rows"),
        (b"input,happy\na.jpg,1\n", "no AU column such as AU12_p"),
        (b"input,AU12_p\ns00/photo 0.jpg,1.5\n", "line 2: AU12_p is 1.5; expected a probability"),
        (b'input;AU12_p\na.jpg;"0,5"\n', "line 2: AU12_p is '0,5'; write decimals with a point"),
        (b"input,AU12_i\na.jpg,inf\n", "AU12_i is infinite"),
        (b"input,AU12_p,AU12_p\na.jpg,1,1\n", "column AU12_p twice"),
        (b"input,AU12_o,AU12_c\na.jpg,1,1\n", "AU12_o and AU12_c are the same"),
        (b"input,frame,AU12_p\na.jpg,0.5,1\n", "frame is 0.5; expected a whole number"),
        (b"input,AU12_p\nb/other.jpg,1\n", "no prediction belongs to a label: .* has source s00"),
    ],
)
def test_bad_predictions_are_one_clear_line(tables, predictions, message):
    truth, path = tables(labels(), ours())
    path.write_bytes(predictions)
    with pytest.raises(DataError, match=message) as caught:
        evaluate.run(truth, path)
    assert "\n" not in str(caught.value)


def test_bad_parquet_and_missing_files(tables, tmp_path):
    truth, predicted = tables(labels(), ours(), "parquet")
    with pytest.raises(ConfigError, match="no such predictions file"):
        evaluate.run(truth, tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="no such labels file"):
        evaluate.run(tmp_path / "absent.csv", predicted)
    predicted.write_bytes(predicted.read_bytes()[:-50])
    with pytest.raises(DataError, match="not a readable Parquet"):
        evaluate.run(truth, predicted)


@pytest.mark.parametrize("width", [80, 120])
def test_written_and_shown(tables, tmp_path, monkeypatch, width):
    constant = ours(AU04_p=0.2, AU04_i=1.0)
    paths = tables(labels(AU04_o=0, AU04_i=0.0), constant)
    scores = evaluate.run(*paths, out=tmp_path / "scores.json")
    assert scores.table.loc[4, "f1"] == 0  # no positive, as in scikit-learn
    assert scores.table.loc[4, "positives"] == 0
    assert np.isnan(scores.table.loc[4, "icc"])
    saved = json.loads((tmp_path / "scores.json").read_text())
    assert saved["action_units"][0]["icc"] is None
    assert saved["action_units"][0]["positives"] == 0
    assert saved["means"]["mae"] == pytest.approx(scores.means["mae"])
    evaluate.run(*paths, out=tmp_path / "scores.csv")
    assert pd.read_csv(tmp_path / "scores.csv", index_col="au").loc[12, "f1"] == scores.table.loc[12, "f1"]
    monkeypatch.setenv("COLUMNS", str(width))
    console = Console()
    with console.capture() as shown:
        console.print(evaluate.render(scores))
    text = shown.get()
    assert ("AU12 Lip corner puller" in text) == (width == 120)
    assert "AU12" in text
    assert "…" not in text
    assert "ICC" in text
    assert "faces compared: 12" in text
    assert "–" in text
    with pytest.raises(ConfigError, match=r"a \.csv or a \.json"):
        evaluate.run(*paths, out=tmp_path / "scores.xlsx")


def test_a_threshold_without_effect_is_told(tables):
    rated = tables(labels().drop(columns="AU12_o"), ours())
    assert any("threshold has no effect" in note for note in evaluate.run(*rated, threshold=0.3).notes)
    assert evaluate.run(*rated).notes == ()
    assert evaluate.run(*tables(labels(), ours()), threshold=0.3).notes == ()


def test_the_status_of_our_own_tables_disturbs_nothing(tables):
    status = ["truncated", "no_face", *["ok"] * (N - 2)]
    face = [-1, -1, *[0] * (N - 2)]
    for suffix in ("csv", "parquet"):
        scores = evaluate.run(*tables(labels(), ours(status=status, face=face), suffix))
        assert (scores.matched, scores.no_face) == (N - 2, 2)


# ---- tables of other programs: cut rows, paths of Windows, other units


OPENFACE = [f"{k}, 0, {k / 30:.2f}, 0.98, 1, {INTENSITY[k]}, {PROBABILITY[k] >= 0.5:d}" for k in range(N)]
OPENFACE_HEADER = "frame, face_id, timestamp, confidence, success, AU12_r, AU12_c"


@pytest.mark.parametrize("which", ["labels", "predictions"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda row: row.rpartition(",")[0], r"line 5: 6 cells where the header has 7 .*cut"),
        (lambda row: row.replace(".", ","), r"line 5: 1\d cells where the header has 7 .*decimal comma"),
        (lambda row: row + ",0.5", r"line 5: 8 cells where the header has 7"),
        (lambda row: row + '"', r"line 5: AU12_[co] is|not a readable CSV"),
    ],
)
def test_rows_that_do_not_fit_the_header_are_named(tables, which, damage, message):
    truth, path = tables(labels(source="clip.mp4", frame=range(N)), {"frame": [0]})
    rows = [*OPENFACE]
    rows[3] = damage(rows[3])
    text = "\n".join([OPENFACE_HEADER, *rows])
    if which == "labels":
        path.write_text("\n".join([OPENFACE_HEADER, *OPENFACE]))
        truth.write_text(text.replace("face_id", "source"))
    else:
        path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        evaluate.run(truth, path)
    assert str(truth if which == "labels" else path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_spaces_empty_cells_and_delimiters_at_the_end(tables):
    truth, path = tables(labels(source="clip.mp4", frame=range(N)), {"frame": [0]})
    path.write_text("\n".join([OPENFACE_HEADER, *OPENFACE]))
    scores = evaluate.run(truth, path)
    assert scores.table.loc[12, "f1"] == sklearn.metrics.f1_score(TRUTH, PROBABILITY >= 0.5)
    assert scores.table.loc[12, "mse"] == pytest.approx(np.mean((RATED - INTENSITY) ** 2))
    for end, empty in ((",", ""), ("", " "), (",,,", "NaN"), ("", "-nan(ind)")):
        rows = [f"clip.mp4,{k},{PROBABILITY[k]}{end}" for k in range(N)] + [f"clip.mp4,{N},{empty}{end}"]
        path.write_text("\r\n".join([f"input,frame,AU12{end}", *rows, "", ",,"]))
        scores = evaluate.run(truth, path)
        assert scores.matched == N
        assert scores.table.loc[12, "auc"] == pytest.approx(sklearn.metrics.roc_auc_score(TRUTH, PROBABILITY))


@pytest.mark.parametrize("windows", ["labels", "predictions", "both"])
@pytest.mark.parametrize("folder", ["", "C:\\data\\"])
@pytest.mark.parametrize("key", ["source", "id"])
def test_paths_of_windows_match(tables, windows, folder, key):
    end = "#0.0" if key == "id" else ""
    names = [name + end for name in SOURCES]
    turned = [(folder if key == "source" else "") + name.replace("/", "\\") for name in names]
    truth = {key: turned if windows != "predictions" else names, "AU12_o": TRUTH}
    predicted = {key: turned if windows != "labels" else names, "AU12_p": PROBABILITY}
    scores = evaluate.run(*tables(truth, predicted))
    assert (scores.matched, scores.labels_unmatched) == (N, 0)
    assert scores.table.loc[12, "auc"] == pytest.approx(sklearn.metrics.roc_auc_score(TRUTH, PROBABILITY))


def test_intensities_of_libreface_are_refused_where_their_scale_is_unknown(tables):
    columns = {"input": SOURCES, "au_12": (PROBABILITY >= 0.5).astype(int)}
    paths = tables(labels(), columns | {"au_12_intensity": INTENSITY / 5})
    with pytest.raises(DataError, match=r"LibreFace writes 0 to 1 or 0 to 5.*multiply.*AU12_i"):
        evaluate.run(*paths)
    for name, values in (("au_12_intensity", INTENSITY), ("AU12_i", INTENSITY / 5)):
        scores = evaluate.run(*tables(labels(), columns | {name: values}))
        assert scores.table.loc[12, "mse"] == pytest.approx(np.mean((RATED - values) ** 2))
    only_occurrence = {name: values for name, values in labels().items() if not name.endswith("_i")}
    scores = evaluate.run(*tables(only_occurrence, columns | {"au_12_intensity": INTENSITY / 5}))
    assert scores.table.loc[12, "f1"] == sklearn.metrics.f1_score(TRUTH, PROBABILITY >= 0.5)


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        (
            "Video analysis detailed log\nFace Model:\tGeneral\n\nTime\tAction Unit 12 - x\n",
            "FaceReader",
        ),
        ("Video Time\tNeutral\tAction Unit 12 - Lip Corner Puller\n00:00:00.000\t0.5\t0.4\n", "FaceReader"),
        ("#INFO,Export\n#METADATA\n#DATA,\nRow,Timestamp,SampleNumber,AU12\n0,0,0,26.2\n", "iMotions"),
        ("Row,Timestamp,SampleNumber,AU12\n0,0,0,0.2\n", "iMotions"),
    ],
)
def test_exports_in_other_units_are_named(tables, text, tool):
    truth, path = tables(labels(), ours())
    path.write_text(text)
    with pytest.raises(DataError, match=f"is an export of {tool}.*AU12_p"):
        evaluate.run(truth, path)
