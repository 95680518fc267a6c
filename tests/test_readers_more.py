"""DISFA+, Aff-Wild2, UNBC-McMaster, CK+ and RAF-AU, each built as it is distributed, with its traps."""

import io

import numpy as np
import pytest
from PIL import Image

import layouts
from maeface import facts, prepare
from maeface.data import manifest
from maeface.data.formats import facs
from maeface.data.readers import raw_dataset
from maeface.data.shards import Shards
from maeface.data.tables import labels
from maeface.errors import ConfigError, DataError

DISFAPLUS_AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
PEAK = "cohn-kanade-images/S005/001/S005_001_00000011.png"
AFFWILD2_HEADER = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"


def photo(path, shade=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), (shade, shade, shade)).save(path)
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def sources(read):
    return [item.source for item in read.inputs]


def at(read, source):
    """The labels of one image that are not 0: {column: value}, and the columns that are not known."""
    row = read.labels.set_index("source").loc[source]
    values = {name: row[name] for name in read.labels.columns if name.startswith("AU")}
    unknown = {name for name, value in values.items() if np.isnan(value)}
    return {name: float(value) for name, value in values.items() if value > 0}, unknown


def refused(name, root, *options, says):
    with pytest.raises(DataError) as error:
        raw_dataset.read(name, root, options)
    message = str(error.value)
    assert "\n" not in message
    for part in says:
        assert str(part) in message, message


def well_formed(read, name):
    labels, known = read.labels, facts.dataset(name)
    columns = [f"{facts.au_name(au)}_o" for au in sorted(known.aus_occurrence)]
    columns += [f"{facts.au_name(au)}_i" for au in sorted(known.aus_intensity)]
    assert list(labels.columns) == ["source", "frame", "subject", "clip", *columns]
    assert labels["frame"].dtype == np.int64
    assert all(labels[column].dtype == np.float32 for column in columns)
    assert set(labels["source"]) <= set(sources(read))
    assert sources(read) == sorted(sources(read), key=str.encode)
    assert not labels.duplicated(["source", "frame"]).any()
    assert labels["subject"].str.fullmatch(known.subjects).all()
    assert all("\n" not in note for note in read.notes)


# --- CK+


@pytest.fixture
def ckplus(tmp_path):
    root = tmp_path / "ck"
    for subject, sequence, frames in (("S005", "001", 11), ("S010", "002", 3), ("S010", "010", 2)):
        for frame in (1, frames - 1, frames):
            stem = f"{subject}_{sequence}_{frame:08d}"
            photo(root / "cohn-kanade-images" / subject / sequence / f"{stem}.png")
        label = root / "FACS" / subject / sequence / f"{stem}_facs.txt"
        write(label, "   9.0000000e+00   5.0000000e+00\n   1.7000000e+01   0.0000000e+00\n\n")
    write(root / "FACS/S010/010/S010_010_00000002_facs.txt", "12 9\n31 2\n1 2\n1 3\n1 0\n")
    write(root / "cohn-kanade-images/S005/001/.DS_Store", "x")
    return root


def test_ckplus_labels_the_peak_alone(ckplus):
    read = raw_dataset.read("ckplus", ckplus, ["partial=true"])
    well_formed(read, "ckplus")
    assert sources(read) == [
        "cohn-kanade-images/S005/001/S005_001_00000011.png",
        "cohn-kanade-images/S010/002/S010_002_00000003.png",
        "cohn-kanade-images/S010/010/S010_010_00000002.png",
    ]
    assert list(read.labels["source"]) == sources(read)
    assert list(read.labels["clip"]) == ["S005/001", "S010/002", "S010/010"]
    assert list(read.labels["subject"]) == ["S005", "S010", "S010"]


def test_ckplus_without_an_intensity_is_present_and_of_unknown_intensity(ckplus):
    read = raw_dataset.read("ckplus", ckplus, ["partial=true"])
    values, unknown = at(read, "cohn-kanade-images/S005/001/S005_001_00000011.png")
    assert values == {"AU09_o": 1, "AU09_i": 5, "AU17_o": 1}
    assert unknown == {"AU17_i"}


def test_ckplus_9_is_unknown_sides_merge_and_rare_units_are_noted(ckplus):
    read = raw_dataset.read("ckplus", ckplus, ["partial=true"])
    values, unknown = at(read, "cohn-kanade-images/S010/010/S010_010_00000002.png")
    assert values == {"AU01_o": 1, "AU01_i": 3}
    assert unknown == {"AU12_o", "AU12_i"}
    assert any("31 (1)" in note for note in read.notes)


def test_ckplus_neutral_and_unlabelled_frames_on_request(ckplus):
    first = "cohn-kanade-images/S005/001/S005_001_00000001.png"
    neutral = raw_dataset.read("ckplus", ckplus, ["partial=true", "neutral=true"])
    well_formed(neutral, "ckplus")
    assert at(neutral, first) == ({}, set())
    assert len(neutral.labels) == len(neutral.inputs) == 6
    everything = raw_dataset.read("ckplus", ckplus, ["partial=true", "unlabelled=true"])
    assert first in sources(everything)
    assert len(everything.labels) == 3
    assert len(everything.inputs) == 3 + 3 + 2


def test_ckplus_names_missing_subjects(ckplus):
    refused("ckplus", ckplus, says=["121 of 123 subjects", "missing: S011, S014", "partial=true"])


def test_ckplus_wrong_layouts(ckplus):
    label = ckplus / "FACS/S005/001/S005_001_00000011_facs.txt"
    images = ckplus / "cohn-kanade-images/S005/001"
    for text, says in (
        ("9 6\n", ["line 1", "AU09 is 6", "0 to 5"]),
        ("9 -1\n", ["AU09 is -1"]),
        ("9 5\n9;5\n", ["line 2", "semicolons"]),
        ("9 5 1\n", ["line 1", "3 cells", "expected 2"]),
        ("9.5 1\n", ["line 1", "9.5 is no action unit"]),
        ("9 A\n", ["line 1", "'A' is no number"]),
        ("9 nan\n", ["'nan' is no number"]),
    ):
        write(label, text)
        refused("ckplus", ckplus, "partial=true", says=[label, *says])
    label.write_bytes(b"\xef\xbb\xbf9 5\n")
    assert at(raw_dataset.read("ckplus", ckplus, ["partial=true"]), PEAK)[0]["AU09_i"] == 5
    label.write_bytes(b"\xff\xfe9\x00")
    refused("ckplus", ckplus, "partial=true", says=[label, "UTF-8"])
    write(label, "")
    extra = write(label.with_name("S005_001_00000010_facs.txt"), "9 5\n")
    refused("ckplus", ckplus, "partial=true", says=[extra.name, label.name, "one label"])
    extra.unlink()
    (ckplus / "FACS/notes").mkdir()
    refused("ckplus", ckplus, "partial=true", says=["notes", "no subject of CK+", "S0"])
    (ckplus / "FACS/notes").rmdir()
    images.parent.parent.rename(ckplus / "images")
    refused("ckplus", ckplus, "partial=true", says=["cohn-kanade-images"])


def whole(name, monkeypatch, subjects):
    """Let a dataset have only these subjects, so that a small copy of it is whole."""
    small = facts.dataset(name).model_copy(update={"subject_names": tuple(subjects)})
    monkeypatch.setattr(facts, "dataset", lambda asked: small)


def test_ckplus_label_off_the_last_frame(ckplus, monkeypatch):
    whole("ckplus", monkeypatch, ["S005", "S010"])
    assert len(raw_dataset.read("ckplus", ckplus).labels) == 3
    photo(ckplus / "cohn-kanade-images/S005/001/S005_001_00000012.png")
    refused("ckplus", ckplus, says=["S005_001_00000011_facs.txt", "S005_001_00000012.png", "peak"])
    kept = raw_dataset.read("ckplus", ckplus, ["partial=true"])
    assert PEAK in list(kept.labels["source"])
    (ckplus / PEAK).unlink()
    refused("ckplus", ckplus, says=["S005_001_00000011.png", "is not there but has a label"])
    assert len(raw_dataset.read("ckplus", ckplus, ["partial=true"]).labels) == 2


def test_ckplus_prepared_keeps_labels_subjects_and_what_is_not_known(ckplus, tmp_path):
    out = tmp_path / "out"
    settings = prepare.Settings(aligned=True, size=32, min_side=16)
    options = ["partial=true", "unlabelled=true"]
    summary = prepare.run([ckplus], out, settings, dataset="ckplus", options=options)
    assert summary.faces == 8
    joined = labels.join_labels(manifest.load(out), out / "labels.parquet")
    assert (len(joined.rows), joined.unlabelled, joined.unmatched) == (3, 5, 0)
    assert list(joined.rows["subject"]) == ["S005", "S010", "S010"]
    assert list(joined.rows["clip"]) == ["S005/001", "S010/002", "S010/010"]
    nine, seventeen = joined.aus_intensity.index(9), joined.aus_intensity.index(17)
    assert joined.intensity[:, nine].tolist() == [5, 5, 0]
    assert joined.intensity_mask[:, seventeen].tolist() == [False, False, True]
    assert joined.occurrence[:, joined.aus_occurrence.index(17)].tolist() == [1, 1, 0]


# --- UNBC-McMaster


@pytest.fixture
def unbc(tmp_path, monkeypatch):
    whole("unbc", monkeypatch, ["042-ll042", "043-jh043"])
    root = tmp_path / "unbc"
    for subject, session in (("042-ll042", "ll042t1aaaff"), ("043-jh043", "jh043t1afaff")):
        for frame in (2, 10, 9):
            name = f"{session}{frame:03d}"
            photo(root / "Images" / subject / session / f"{name}.png")
            write(root / "Frame_Labels/FACS" / subject / session / f"{name}_facs.txt", "")
    write(
        root / "Frame_Labels/FACS/042-ll042/ll042t1aaaff/ll042t1aaaff010_facs.txt",
        "   4.0000000e+00   3.0000000e+00   0.0000000e+00   0.0000000e+00\n"
        "43 0 0 0\n6 1 100 200\n12 9 0 0\n50 1 0 0\n",
    )
    (root / "Frame_Labels/FACS/043-jh043/jh043t1afaff/jh043t1afaff009_facs.txt").unlink()
    return root


def test_unbc(unbc):
    read = raw_dataset.read("unbc", unbc)
    well_formed(read, "unbc")
    peak = "Images/042-ll042/ll042t1aaaff/ll042t1aaaff010.png"
    assert at(read, peak) == (
        {"AU04_o": 1, "AU04_i": 3, "AU06_o": 1, "AU06_i": 1, "AU43_o": 1},
        {"AU12_o", "AU12_i"},
    )
    assert at(read, "Images/042-ll042/ll042t1aaaff/ll042t1aaaff002.png") == ({}, set())
    assert "AU43_i" not in read.labels
    assert len(read.labels) == 5  # one frame has no file: no label, not a row of zeros
    assert "Images/043-jh043/jh043t1afaff/jh043t1afaff009.png" not in sources(read)
    assert list(read.labels["source"][:3].str[-7:-4]) == ["002", "009", "010"]
    assert set(read.labels["clip"]) == {"042-ll042/ll042t1aaaff", "043-jh043/jh043t1afaff"}
    assert any("50 (1)" in note for note in read.notes)
    assert any("1 frames without a label, left out" in note for note in read.notes)


def test_unbc_unlabelled_and_other_images(unbc):
    assert len(raw_dataset.read("unbc", unbc, ["unlabelled=true"]).inputs) == 6
    (unbc / "Images").rename(unbc / "aligned")
    refused("unbc", unbc, says=["Images", "images"])
    read = raw_dataset.read("unbc", unbc, ["images=aligned/"])
    assert sources(read)[0] == "aligned/042-ll042/ll042t1aaaff/ll042t1aaaff002.png"


def test_unbc_wrong_layouts(unbc):
    label = unbc / "Frame_Labels/FACS/042-ll042/ll042t1aaaff/ll042t1aaaff002_facs.txt"
    for text, says in (
        ("4 6 0 0\n", ["line 1", "AU04 is 6"]),
        ("4 1\n", ["line 1", "2 cells", "expected 4"]),
        ("4,1,0,0\n", ["line 1", "1 cells", "expected 4"]),
        ("\n4;1;0;0\n", ["line 2", "semicolons"]),
    ):
        write(label, text)
        refused("unbc", unbc, says=[label, *says])
    write(label, "")
    image = unbc / "Images/043-jh043/jh043t1afaff/jh043t1afaff010.png"
    image.unlink()
    refused("unbc", unbc, says=[image, "1 such images", "partial=true"])
    read = raw_dataset.read("unbc", unbc, ["partial=true"])
    assert len(read.labels) == 4
    assert any("1 labels without an image" in note for note in read.notes)
    (unbc / "Frame_Labels/FACS/043-jh043").rename(unbc / "elsewhere")
    refused("unbc", unbc, says=["1 of 2 subjects", "missing: 043-jh043"])
    (unbc / "Frame_Labels/FACS").rename(unbc / "Frame_Labels/PSPI")
    refused("unbc", unbc, says=["Frame_Labels/FACS"])


# --- DISFA+


def disfaplus_label(root, trial, au, lines):
    head = "# DISFA+\n#frame     intensity\n"
    body = "".join(f"{name}     {value}\n" for name, value in lines)
    return write(root / "Labels" / trial / f"AU{au}.txt", head + body)


@pytest.fixture
def disfaplus(tmp_path, monkeypatch):
    whole("disfaplus", monkeypatch, ["SN001", "SN003"])
    root = tmp_path / "disfaplus"
    for trial in ("SN001/A1_AU1_TrailNo_2", "SN001/A1_AU1_TrailNo_10", "SN003/A5_AU1_4b_TrailNo_1"):
        for frame in range(3):
            photo(root / "Images" / trial / f"{frame:03d}.jpg")
        for au in DISFAPLUS_AUS:
            disfaplus_label(root, trial, au, [(f"{frame:03d}.jpg", 0) for frame in range(3)])
    trial = "SN001/A1_AU1_TrailNo_2"
    disfaplus_label(root, trial, 12, [("000.jpg", 1), ("001.jpg", 2), ("002.jpg", 9)])
    return root


def test_disfaplus(disfaplus):
    read = raw_dataset.read("disfaplus", disfaplus)
    well_formed(read, "disfaplus")
    images = "Images/SN001/A1_AU1_TrailNo_2/"
    assert at(read, images + "000.jpg") == ({"AU12_i": 1}, set())  # below 2: not present
    assert at(read, images + "001.jpg") == ({"AU12_i": 2, "AU12_o": 1}, set())
    assert at(read, images + "002.jpg") == ({}, {"AU12_i", "AU12_o"})
    assert len(read.labels) == len(read.inputs) == 9
    assert read.labels.groupby("clip").size().to_dict() == {
        "SN001/A1_AU1_TrailNo_2": 3,
        "SN001/A1_AU1_TrailNo_10": 3,
        "SN003/A5_AU1_4b_TrailNo_1": 3,
    }
    assert (read.labels["clip"].str[:5] == read.labels["subject"]).all()


def test_disfaplus_is_the_same_people_as_disfa():
    both = facts.dataset("disfaplus").same_people["disfa"]
    assert set(both) == set(facts.dataset("disfaplus").subject_names)
    assert set(both) < set(facts.dataset("disfa").subject_names)
    assert facts.dataset("disfa").same_people["disfaplus"] == both


def test_disfaplus_wrong_layouts(disfaplus):
    trial = "SN001/A1_AU1_TrailNo_2"
    label = disfaplus / "Labels" / trial / "AU12.txt"
    good = label.read_text()
    for text, says in (
        ("000.jpg 6\n", ["line 1", "AU12 is 6", "0 to 5"]),
        ("# x\n000.jpg 1.5\n", ["line 2", "'000.jpg 1.5'", "whole number"]),
        ("000.jpg,1\n", ["line 1", "'000.jpg,1'"]),
        ("# a; b\n000.jpg --1\n", ["line 2", "'000.jpg --1'", "whole number"]),
        ("000.jpg 1\n000.jpg 1\n", ["line 2", "a second time"]),
        ("000.jpg;1\n", ["line 1", "semicolons"]),
        ("000.jpg 1\n001.jpg 1\n", ["002.jpg is in the files before it but not in AU12.txt"]),
        ("000.jpg 1\n001.jpg 1\n002.jpg 1\n003.jpg 1\n", ["003.jpg is in AU12.txt but not in"]),
    ):
        write(label, text)
        refused("disfaplus", disfaplus, says=[label, *says])
    label.unlink()
    refused("disfaplus", disfaplus, says=[label, "missing", "AU26"])
    read = raw_dataset.read("disfaplus", disfaplus, ["partial=true"])
    assert at(read, f"Images/{trial}/000.jpg") == ({}, {"AU12_o", "AU12_i"})
    write(label, good)
    image = disfaplus / "Images" / trial / "001.jpg"
    image.unlink()
    refused("disfaplus", disfaplus, says=[image, "has a label"])
    photo(image)
    (disfaplus / "Images/SN003/A5_AU1_4b_TrailNo_1").rename(disfaplus / "gone")
    refused("disfaplus", disfaplus, says=["Images/SN003", "A5_AU1_4b_TrailNo_1"])
    assert len(raw_dataset.read("disfaplus", disfaplus, ["partial=true"]).labels) == 6
    (disfaplus / "gone").rename(disfaplus / "Images/SN003/A5_AU1_4b_TrailNo_1")
    (disfaplus / "Labels/SN003").rename(disfaplus / "away")
    refused("disfaplus", disfaplus, says=["1 of 2 subjects", "missing: SN003"])


def test_disfaplus_frames_without_a_label_stay_without(disfaplus):
    photo(disfaplus / "Images/SN001/A1_AU1_TrailNo_2/003.jpg")
    read = raw_dataset.read("disfaplus", disfaplus)
    assert len(read.inputs) == 9
    more = raw_dataset.read("disfaplus", disfaplus, ["unlabelled=true"])
    assert len(more.inputs) == 10
    assert len(more.labels) == 9


# --- Aff-Wild2


def row(**values):
    return ",".join(str(values.get(name, values.get("rest", 0))) for name in AFFWILD2_HEADER.split(","))


def track(root, name, rows, header=AFFWILD2_HEADER):
    return write(root / f"{name}.txt", "\n".join([header, *rows]) + "\n")


@pytest.fixture
def affwild2(tmp_path):
    root = tmp_path / "affwild2"
    labels = root / "annotations/AU_Detection_Challenge"
    track(labels, "Train_Set/48-30-720x1280", [row(AU12=1), row(rest=-1), row(AU1=1, AU26=-1), row(AU6=1)])
    track(labels, "Validation_Set/video5_left", [row(AU4=1), row()])
    write(labels / "Train_Set/.DS_Store", "x")
    for frame in (1, 2, 3, 5):  # frame 4: no face was found; frame 5: beyond the labels
        photo(root / f"cropped_aligned/48-30-720x1280/{frame:05d}.jpg")
    for frame in (1, 2):
        photo(root / f"cropped_aligned/video5_left/{frame:05d}.jpg")
    return root


def test_affwild2_crops(affwild2):
    read = raw_dataset.read("affwild2", affwild2)
    well_formed(read, "affwild2")
    crops = "cropped_aligned/48-30-720x1280/"
    assert at(read, crops + "00001.jpg") == ({"AU12_o": 1}, set())
    assert at(read, crops + "00003.jpg") == ({"AU01_o": 1}, {"AU26_o"})
    assert sources(read) == [
        crops + "00001.jpg",
        crops + "00003.jpg",
        "cropped_aligned/video5_left/00001.jpg",
        "cropped_aligned/video5_left/00002.jpg",
    ]
    assert list(read.labels["source"]) == sources(read)
    assert list(read.labels["clip"])[::2] == ["Train_Set/48-30-720x1280", "Validation_Set/video5_left"]
    assert list(read.labels["subject"])[::2] == ["48-30-720x1280", "video5_left"]
    assert (read.labels["frame"] == 0).all()
    assert any("2 images without a label, left out" in note for note in read.notes)
    assert any("1 labels of frames without a cropped image" in note for note in read.notes)
    assert len(raw_dataset.read("affwild2", affwild2, ["unlabelled=true"]).inputs) == 6


def test_affwild2_parts_and_the_older_release(affwild2):
    validation = raw_dataset.read("affwild2", affwild2, ["part=validation"])
    assert set(validation.labels["clip"]) == {"Validation_Set/video5_left"}
    (affwild2 / "annotations/AU_Detection_Challenge").rename(affwild2 / "AU_Set")
    train = raw_dataset.read("affwild2", affwild2, ["part=train"])
    assert set(train.labels["subject"]) == {"48-30-720x1280"}


def test_affwild2_columns_go_by_name(affwild2):
    path = affwild2 / "annotations/AU_Detection_Challenge/Train_Set/48-30-720x1280.txt"
    names = AFFWILD2_HEADER.split(",")
    write(path, ", ".join(reversed(names)) + " \n" + ",".join(["1"] + ["0"] * 11) + "\n")
    read = raw_dataset.read("affwild2", affwild2)
    assert at(read, "cropped_aligned/48-30-720x1280/00001.jpg") == ({"AU26_o": 1}, set())


def test_affwild2_videos(affwild2):
    for name in ("48-30-720x1280.mp4", "video5.mp4"):
        write(affwild2 / "batch1" / name, "not opened by the reader")
    read = raw_dataset.read("affwild2", affwild2, ["images=videos"])
    well_formed(read, "affwild2")
    assert sources(read) == ["batch1/48-30-720x1280.mp4"]
    assert read.inputs[0].video
    assert read.inputs[0].frames == ((0, 1), (2, 4))  # row 2 is not known
    assert list(read.labels["frame"]) == [0, 2, 3]
    assert any("video5_left" in note for note in read.notes)
    write(affwild2 / "batch2/48-30-720x1280.avi", "x")
    refused("affwild2", affwild2, "images=videos", says=["batch1", "batch2", "the same name"])


def test_affwild2_video_prepared_shows_the_frames_that_were_labelled(affwild2, tmp_path):
    layouts.video(affwild2 / "batch1/48-30-720x1280.mp4", 6, side=32)
    settings = prepare.Settings(aligned=True, size=32, min_side=16)
    prepare.run(
        [affwild2], tmp_path / "out", settings, dataset="affwild2", options=["images=videos", "part=train"]
    )
    joined = labels.join_labels(manifest.load(tmp_path / "out"), tmp_path / "out/labels.parquet")
    assert joined.unlabelled == joined.unmatched == 0
    assert list(joined.rows["frame"]) == [0, 2, 3]
    crops = Shards(tmp_path / "out")
    rows = joined.rows.to_dict("records")
    shown = [layouts.number(Image.open(io.BytesIO(crops.read(row)))) for row in rows]
    crops.close()
    assert shown == [0, 2, 3]
    assert joined.occurrence[:, joined.aus_occurrence.index(12)].tolist() == [1, 0, 0]
    assert joined.occurrence[:, joined.aus_occurrence.index(6)].tolist() == [0, 0, 1]
    assert joined.occurrence_mask[:, joined.aus_occurrence.index(26)].tolist() == [True, False, True]


def test_affwild2_wrong_layouts(affwild2):
    labels = affwild2 / "annotations/AU_Detection_Challenge"
    path = labels / "Train_Set/48-30-720x1280.txt"
    good = path.read_text()
    for text, says in (
        (good.replace("AU12,", "AU11,"), ["line 1", "lacks AU12"]),
        (good.partition("\n")[2], ["line 1", "lacks AU1, "]),
        (good.replace(",", ";"), ["line 1", "semicolons"]),
        (good + row(AU7=2) + "\n", ["line 6", "AU7 is 2"]),
        (good + row(AU7=9) + "\n", ["line 6", "AU7 is 9", "or -1 for not known"]),
        (good + "0,1\n", ["line 6", "2 cells"]),
        (good + row(AU7="x") + "\n", ["line 6", "'x'"]),
    ):
        write(path, text)
        refused("affwild2", affwild2, says=[path, *says])
    path.write_bytes(b"\xef\xbb\xbf" + good.encode())
    assert len(raw_dataset.read("affwild2", affwild2).labels) == 4
    other = track(labels, "Validation_Set/48-30-720x1280", [row()])
    refused("affwild2", affwild2, says=[other, "one of the sets"])
    other.unlink()
    zero = photo(affwild2 / "cropped_aligned/48-30-720x1280/00000.jpg")
    refused("affwild2", affwild2, says=[zero, "count from 1"])
    zero.unlink()
    track(labels, "Train_Set/lost", [row()])
    refused("affwild2", affwild2, says=["1 of 3 tracks", "missing: lost", "partial=true"])
    assert len(raw_dataset.read("affwild2", affwild2, ["partial=true"]).labels) == 4
    track(affwild2 / "AU_Set", "Train_Set/v", [row()])
    refused("affwild2", affwild2, says=["AU_Set", "AU_Detection_Challenge", "keep one"])
    (affwild2 / "AU_Set").rename(affwild2 / "x")
    labels.rename(affwild2 / "annotations/VA")
    refused("affwild2", affwild2, says=["no annotations", "AU_Detection_Challenge/Train_Set"])
    with pytest.raises(ConfigError, match="images"):
        raw_dataset.read("affwild2", affwild2, ["images=faces"])


def test_affwild2_without_images(affwild2):
    (affwild2 / "cropped_aligned").rename(affwild2 / "elsewhere")
    refused("affwild2", affwild2, "images=cropped", says=["no cropped images"])
    refused("affwild2", affwild2, says=["1 of 1 videos", "missing: 48-30-720x1280"])


# --- RAF-AU


@pytest.fixture
def rafau(tmp_path):
    root = tmp_path / "rafau"
    for number in (1, 2, 10, 11):
        photo(root / f"aligned/{number:04d}_aligned.jpg")
    write(root / "RAFAU_label.txt", "0001.jpg 1+4+25 \n0002.jpg null\n0010.jpg L12+R10+T25+39\n")
    return root


def test_rafau(rafau):
    read = raw_dataset.read("rafau", rafau)
    well_formed(read, "rafau")
    assert sources(read) == [f"aligned/{name}_aligned.jpg" for name in ("0001", "0002", "0010")]
    assert at(read, "aligned/0001_aligned.jpg") == ({"AU01_o": 1, "AU04_o": 1, "AU25_o": 1}, set())
    assert at(read, "aligned/0002_aligned.jpg") == ({}, set())  # null: none is there, which is known
    assert at(read, "aligned/0010_aligned.jpg")[0] == {"AU12_o": 1, "AU10_o": 1, "AU25_o": 1}
    assert list(read.labels["subject"]) == ["0001", "0002", "0010"]
    assert not [column for column in read.labels if column.endswith("_i")]
    assert any("39 (1)" in note for note in read.notes)
    assert any("1 images without a label" in note for note in read.notes)
    assert len(raw_dataset.read("rafau", rafau, ["unlabelled=true"]).inputs) == 4


def test_rafau_wrong_layouts(rafau):
    path = rafau / "RAFAU_label.txt"
    for text, says in (
        ("0001.jpg 1+x\n", ["line 1", "'x' is no action unit"]),
        ("0001.jpg 1++4\n", ["line 1", "'' is no action unit"]),
        ("0001.jpg LL4\n", ["line 1", "'LL4'"]),
        ("0001.jpg\n", ["line 1", "'0001.jpg'", "action units"]),
        ("\nface.jpg 1\n", ["line 2", "'face.jpg 1'"]),
        ("0001.jpg 1\n1.jpg 2\n", ["line 2", "a second time"]),
        ("0001.jpg;1\n", ["line 1", "semicolons"]),
    ):
        write(path, text)
        refused("rafau", rafau, says=[path, *says])
    write(path, "0001.jpg 1\n0003.jpg 2\n")
    refused("rafau", rafau, says=["0003_aligned.jpg", "1 such images", "partial=true"])
    assert len(raw_dataset.read("rafau", rafau, ["partial=true"]).labels) == 1
    write(path, "0003.jpg 2\n")
    refused("rafau", rafau, "partial=true", says=["no image of RAFAU_label.txt"])
    (rafau / "aligned").rename(rafau / "original")
    refused("rafau", rafau, says=["aligned"])
    path.unlink()
    refused("rafau", rafau, says=[path, "missing"])


# --- all of them


def test_gft_is_known_but_has_no_reader(tmp_path):
    assert "gft" in facts.datasets()
    assert "gft" not in raw_dataset.names()
    with pytest.raises(ConfigError, match=r"gft has no reader.* --dataset table"):
        raw_dataset.read("gft", tmp_path)
    assert any("table" in line for line in facts.dataset("gft").layout)


@pytest.mark.parametrize("name", ["ckplus", "unbc", "disfaplus", "affwild2", "rafau"])
def test_empty_folder_and_unknown_option(name, tmp_path):
    with pytest.raises(DataError, match="expected"):
        raw_dataset.read(name, tmp_path)
    with pytest.raises(ConfigError, match="camera"):
        raw_dataset.read(name, tmp_path, ["camera=left"])
    with pytest.raises(ConfigError, match="no such folder"):
        raw_dataset.read(name, tmp_path / "absent")


def test_images_of_which_nothing_is_known_have_no_label():
    images = [facs.LabelledImage("a.jpg", "s", "c"), facs.LabelledImage("b.jpg", "s", "c")]
    known = np.array([np.nan, 0], dtype=np.float32)
    labels = facs.label_table(images, {12: known}, {12: known})
    assert list(labels["source"]) == ["b.jpg"]
    assert labels.index.tolist() == [0]
