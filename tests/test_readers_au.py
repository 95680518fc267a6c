"""The readers of BP4D, BP4D+, DISFA and any table, on miniatures of the real layouts."""

import json
import os

import numpy as np
import pandas as pd
import pytest

import layouts
from maeface import cli, facts, prepare
from maeface.data import manifest, shards
from maeface.data.formats import integer_table, listing
from maeface.data.readers import disfa, raw_dataset
from maeface.data.tables.labels import join_labels
from maeface.errors import ConfigError, DataError, MaefaceError, ResourceError
from maeface.faces import media

QUICK = prepare.Settings(aligned=True, size=16, min_side=8, workers=1)
WRITERS = {"bp4d": layouts.bp4d, "bp4dplus": layouts.bp4dplus, "disfa": layouts.disfa}


def read(name, root, *options):
    return raw_dataset.read(name, root, ["partial=true", *options])


def same(found, expected):
    expected = expected.sort_values(["source", "frame"], ignore_index=True)
    assert set(found.labels.columns) == set(expected.columns)
    pd.testing.assert_frame_equal(found.labels[list(expected.columns)], expected)


@pytest.mark.parametrize(
    ("name", "how", "options"),
    [
        ("bp4d", {}, ()),
        ("bp4d", {"padding": 0, "first": 98, "frames": 6}, ()),  # 98.jpg ... 105.jpg
        ("bp4d", {"kind": "video", "first": 3}, ()),
        ("bp4d", {"unknown": 0.4}, ()),
        ("bp4d", {"intensity_folder": None, "occurrences": "AU_OCC"}, ()),
        ("bp4d", {"pictures": "2D+3D"}, ()),
        ("bp4d", {"pictures": "elsewhere/deep"}, ("pictures=elsewhere/deep",)),
        ("bp4dplus", {}, ()),
        ("bp4dplus", {"kind": "images", "padding": 4, "unknown": 0.4}, ()),
        ("disfa", {}, ()),
        ("disfa", {"camera": "right"}, ("camera=right",)),
        ("disfa", {"kind": "images"}, ()),
        ("disfa", {"kind": "images", "base": 1, "padding": 5, "suffix": ".jpg", "pictures": "Images"}, ()),
    ],
)
def test_a_miniature_is_read_as_it_was_written(tmp_path, name, how, options):
    expected = WRITERS[name](tmp_path, **how)
    found = read(name, tmp_path, *options)
    same(found, expected)
    assert [item.source for item in found.inputs] == sorted(set(expected["source"]))
    for item in found.inputs:
        assert item.size == (tmp_path / item.source).stat().st_size
        assert item.video == (how.get("kind", "images" if name == "bp4d" else "video") == "video")


@pytest.mark.parametrize("name", ["bp4d", "bp4dplus"])
def test_columns_are_found_by_name_wherever_they_stand(tmp_path, name):
    expected = WRITERS[name](tmp_path, kind="images", tasks=("T1",))
    for file in tmp_path.rglob("AU_OCC/*.csv"):
        table = pd.read_csv(file)
        table.sample(frac=1, axis=1, random_state=1).to_csv(file, index=False)
    same(read(name, tmp_path), expected)


def test_labels_count_the_frames_of_a_video_from_1(tmp_path):
    layouts.bp4d(tmp_path / "raw", ("F001",), ("T1",), kind="video", first=4)
    summary = prepare.run(
        [tmp_path / "raw"], tmp_path / "out", QUICK, dataset="bp4d", options=["partial=true"]
    )
    rows = manifest.load(summary.out)
    stored = shards.Shards(summary.out)
    crops = [media.decode_image(stored.read(row), min_side=8) for row in rows.to_dict("records")]
    numbers = [layouts.number(crop) for crop in crops]
    assert numbers == [4, 5, 8, 9, 10]  # what the label file says; picture 1 is the first
    assert rows["frame"].tolist() == [3, 4, 7, 8, 9]
    assert set(rows["source"]) == {"2F01_01.avi"}


def test_older_names_of_videos_are_all_eight_tasks(tmp_path):
    tasks = tuple(layouts.TASK_CODES)
    expected = layouts.bp4d(tmp_path, ("M011",), tasks, 2, kind="video", first=1, gap=0)
    found = read("bp4d", tmp_path)
    same(found, expected)
    sources = dict(zip(found.labels["clip"], found.labels["source"], strict=True))
    assert sources["M011/T2"] == "2M11_03.avi"
    assert sources["M011/T8"] == "2M11_13.avi"


def test_nine_is_unknown_and_never_absent(tmp_path):
    layouts.bp4d(tmp_path, ("F001",), ("T1",))
    file = tmp_path / "AUCoding/AU_OCC/F001_T1.csv"
    table = pd.read_csv(file)
    table.loc[1, "12"] = 9
    table.to_csv(file, index=False)
    intensity = tmp_path / "AU Intensity Codes3.0/AU06/F001_T1_AU06.csv"
    lines = intensity.read_text().splitlines()
    intensity.write_text("\n".join([lines[0].split(",")[0] + ",9", *lines[1:]]))
    labels = read("bp4d", tmp_path).labels
    assert labels["AU12_o"].isna().tolist() == [False, True, False, False, False]
    assert labels["AU06_i"].isna().tolist() == [True, False, False, False, False]
    assert "2 of 85 labels are not known" in " ".join(read("bp4d", tmp_path).notes)


def test_intensity_files_are_found_by_the_start_of_their_names(tmp_path):
    expected = layouts.bp4d(tmp_path)
    for number, file in enumerate(sorted((tmp_path / "AU Intensity Codes3.0").rglob("*.csv"))):
        file.rename(file.with_name(file.name[:7] + ["", "_AU6", "-x", " coder 2"][number % 4] + ".csv"))
    same(read("bp4d", tmp_path), expected)


def test_a_frame_with_an_intensity_alone_is_labelled(tmp_path):
    layouts.bp4d(tmp_path, ("F001",), ("T1",), first=643, gap=2)  # 643 644 647 648 649, images from 641
    for au in ("AU06", "AU10", "AU12", "AU14", "AU17"):
        file = tmp_path / f"AU Intensity Codes3.0/{au}/F001_T1_{au}.csv"
        file.write_text(f"641,9\n642,{3 if au == 'AU12' else 9}\n" + file.read_text())
    labels = read("bp4d", tmp_path).labels.set_index("source")
    assert "F001/T1/0641.jpg" not in labels.index
    row = labels.loc["F001/T1/0642.jpg"]
    assert row["AU12_i"] == 3
    assert row.filter(regex="_o$").isna().all()


def test_disfa_whose_film_is_a_frame_longer_than_the_labels(tmp_path):
    expected = layouts.disfa(tmp_path, ("SN001", "SN010"), 10, labelled={"SN010": 9})
    found = read("disfa", tmp_path)
    same(found, expected)
    assert "1 frames after the last label, left out" in found.notes


def test_disfa_occurrence_is_an_intensity_of_the_threshold(tmp_path):
    layouts.disfa(tmp_path, ("SN001",))
    for options, least in (((), 2), (("threshold=1",), 1), (("threshold=3",), 3)):
        labels = read("disfa", tmp_path, *options).labels
        for au in layouts.DISFA_AUS:
            present = labels[f"AU{au:02d}_o"] == 1
            assert (present == (labels[f"AU{au:02d}_i"] >= least)).all()


def test_the_frames_that_others_drop():
    lists = disfa.read_dropped()
    assert set(lists) <= set(facts.dataset("disfa").subject_names)
    labelled = {subject: 4844 if subject == "SN010" else 4845 for subject in lists}
    assert sum((frames < labelled[subject]).sum() for subject, frames in lists.items()) == 4670
    assert (len(lists["SN021"]), len(lists["SN001"])) == (3052, 77)
    assert all((np.diff(frames) > 0).all() for frames in lists.values())


@pytest.mark.parametrize("kind", ["video", "images"])
def test_dropped_frames_are_neither_read_nor_labelled(tmp_path, monkeypatch, kind):
    expected = layouts.disfa(tmp_path, frames=10, kind=kind)
    monkeypatch.setattr(disfa, "read_dropped", lambda: {"SN002": np.array([0, 4, 5])})
    found = read("disfa", tmp_path, "dropped=true")
    gone = expected[expected["subject"] == "SN002"].iloc[[0, 4, 5]].index
    same(found, expected.drop(gone))
    frames = {item.source: item.frames for item in found.inputs if item.video}
    assert list(frames.values()) == ([(), ((1, 4), (6, 10))] if kind == "video" else [])
    assert "3 frames left out" in " ".join(found.notes)


def test_files_are_not_taken_in_the_order_of_a_listing(tmp_path, monkeypatch):
    expected = {name: writer(tmp_path / name) for name, writer in WRITERS.items()}
    scandir = os.scandir

    class Reversed:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    for name, labels in expected.items():
        same(read(name, tmp_path / name), labels)


def edit(file, change):
    file.write_bytes(change(file.read_bytes()))


def line(number, new):
    """A change of one line, counted from 1."""

    def change(data):
        lines = data.splitlines(keepends=True)
        lines[number - 1] = new(lines[number - 1])
        return b"".join(lines)

    return change


OCC = "AUCoding/AU_OCC/F001_T1.csv"
INT = "AU Intensity Codes3.0/AU12/M001_T2_AU12.csv"
FILM = "ActionUnit_Labels/SN002/SN002_au12.txt"


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        (
            "bp4d",
            lambda d: edit(d / OCC, lambda b: b.replace(b",", b";")),
            r"F001_T1.csv, line 1: .*semicolons",
        ),
        ("bp4d", lambda d: edit(d / OCC, line(3, lambda x: x.replace(b",", b";"))), r"line 3: .*semicolons"),
        (
            "bp4d",
            lambda d: edit(d / OCC, line(4, lambda x: x[:-2] + b"x\n")),
            r"F001_T1.csv, line 4: column 100 is 'x'",
        ),
        ("bp4d", lambda d: edit(d / OCC, line(4, lambda x: x[:-3] + b"\n")), r"line 4: \d+ cells where"),
        (
            "bp4d",
            lambda d: edit(d / OCC, line(3, lambda x: x.split(b",")[0] + b",2" * 99 + b"\n")),
            r"line 3: AU01 is 2; expected 0 to 1",
        ),
        (
            "bp4d",
            lambda d: edit(d / OCC, line(1, lambda x: x.replace(b",23,", b",123,"))),
            r"no column of AU 23",
        ),
        ("bp4d", lambda d: edit(d / OCC, line(1, lambda x: x.replace(b"0,1,2", b"200,1,2"))), r"no column 0"),
        (
            "bp4d",
            lambda d: edit(d / OCC, line(3, lambda x: b"643" + x[3:])),
            r"line 3: frame 643 is there a second",
        ),
        ("bp4d", lambda d: edit(d / OCC, lambda b: b.splitlines()[0]), r"F001_T1.csv has no rows"),
        ("bp4d", lambda d: (d / OCC).unlink(), r"1 of 4 occurrence files missing: F001/T1"),
        ("bp4d", lambda d: (d / OCC).rename(d / "AUCoding/AU_OCC/x.csv"), r"x.csv: expected a name such as"),
        (
            "bp4d",
            lambda d: edit(d / INT, line(2, lambda x: x[:-2] + b"6\n")),
            r"M001_T2_AU12.csv, line 2: AU12 is 6; expected 0 to 5",
        ),
        ("bp4d", lambda d: (d / INT).unlink(), r"AU12 has no file M001_T2\* \(1 of 4 missing"),
        ("bp4d", lambda d: (d / INT).parent.rename(d / "away"), r"Codes3.0 has no folder AU12; complete it"),
        (
            "bp4d",
            lambda d: edit(d / INT, line(1, lambda x: b"1,2,3\n")),
            r"AU12.csv, line 2: 2 cells where the lines above have 3",
        ),
        (
            "bp4d",
            lambda d: (d / INT).with_name("notes.txt").write_text("by the coder"),
            r"AU12/notes.txt: expected a name that begins such as F001_T1",
        ),
        (
            "bp4d",
            lambda d: edit(d / INT, lambda b: b + b"700,9\n701,2\n"),
            r"M001_T2_AU12.csv, line 7: frame 701 is labelled, but",
        ),
        (
            "bp4d",
            lambda d: (d / "M001/T2/0648.jpg").unlink(),
            r"M001_T2.csv, line 5: frame 648 is labelled, but .*T2 has no such image \(it has 641 to 650\)",
        ),
        ("bp4d", lambda d: layouts.image(d / "M001/T2/648.jpg", 1), r"0648.jpg and 648.jpg are the same"),
        ("bp4d", lambda d: layouts.image(d / "M001/T2/face.jpg", 1), r"face.jpg: no frame number"),
        ("bp4d", lambda d: (d / "M001").rename(d / "away"), r"2 of 4 clips .* missing: M001/T1, M001/T2"),
        (
            "bp4d",
            lambda d: (d / "AUCoding").rename(d / "Coding"),
            r"no folder of occurrence files; expected AUCoding",
        ),
        (
            "bp4dplus",
            lambda d: layouts.video(d / "Videos/F001_T6.mp4", 4),
            r"F001_T6.csv, line 4: frame 7 is labelled, but .*F001_T6.mp4 has 4 frames \(1 to 4\)",
        ),
        (
            "bp4dplus",
            lambda d: (d / "Videos/F001_T6.mp4").write_bytes(b"x" * 99),
            r"F001_T6.mp4: .*copy the video",
        ),
        ("bp4dplus", lambda d: (d / "Videos/F001_T6.mp4").unlink(), r"missing: F001/T6"),
        (
            "disfa",
            lambda d: (d / FILM).unlink(),
            r"SN002_au12.txt is missing; expected a file for each of the 12",
        ),
        (
            "disfa",
            lambda d: edit(d / FILM, line(3, lambda x: b"3,6\n")),
            r"au12.txt, line 3: AU12 is 6; expected 0 to 5",
        ),
        (
            "disfa",
            lambda d: edit(d / FILM, line(3, lambda x: b"4,1\n")),
            r"line 3: frame 4; expected 3, counted from 1",
        ),
        (
            "disfa",
            lambda d: edit(d / FILM, lambda b: b.replace(b",", b";")),
            r"SN002_au12.txt, line 1: .*semicolons",
        ),
        (
            "disfa",
            lambda d: edit(d / FILM, lambda b: b + b"11,0\n"),
            r"au12.txt has 11 rows, SN002_au1.txt has 10",
        ),
        (
            "disfa",
            lambda d: layouts.video(d / "Videos_LeftCamera/LeftVideoSN002_comp.avi", 8),
            r"SN002: 10 label rows a file, but .*LeftVideoSN002_comp.avi has 8 frames",
        ),
        (
            "disfa",
            lambda d: layouts.video(d / "Videos_LeftCamera/LeftVideoSN002_comp.avi", 11),
            r"has 11 frames",
        ),
        (
            "disfa",
            lambda d: (d / "Videos_LeftCamera").rename(d / "Video_RightCamera"),
            r"no Videos_LeftCamera with videos, but Video_RightCamera: --set camera=right",
        ),
        (
            "disfa",
            lambda d: (d / "Videos_LeftCamera/LeftVideoSN002_comp.avi").rename(
                d / "Videos_LeftCamera/RightVideoSN002_comp.avi"
            ),
            r"is of the right camera, not of the left",
        ),
        ("disfa", lambda d: (d / "Videos_LeftCamera/LeftVideoSN002_comp.avi").unlink(), r"missing: SN002"),
    ],
)
def test_what_does_not_add_up_is_one_line(tmp_path, name, spoil, message):
    WRITERS[name](tmp_path)
    whole = facts.dataset(name).subject_names
    spoil(tmp_path)
    # all subjects are not there, so that is not what is refused: the reader is told who there is
    with pytest.MonkeyPatch.context() as patch:
        known = facts.dataset(name).model_copy(update={"subject_names": ()})
        patch.setattr(facts, "dataset", lambda _: known)
        with pytest.raises(DataError, match=message) as error:
            raw_dataset.read(name, tmp_path)
    assert "\n" not in str(error.value)
    assert len(whole) > 2


@pytest.mark.parametrize("name", WRITERS)
def test_missing_subjects_are_named_unless_partial(tmp_path, name):
    WRITERS[name](tmp_path)
    count = len(facts.dataset(name).subject_names)
    third = facts.dataset(name).subject_names[2]
    with pytest.raises(DataError, match=rf"{count - 2} of {count} subjects .*{third}.* --set partial=true"):
        raw_dataset.read(name, tmp_path)
    assert read(name, tmp_path).labels["subject"].nunique() == 2


@pytest.mark.parametrize(
    ("name", "there", "stranger", "where"),
    [
        ("bp4d", layouts.bp4dplus, "F024", "F024_T1.csv"),  # whoever is in BP4D has a namesake in BP4D+
        ("bp4dplus", layouts.bp4dplus, "M059", "M059_T1.csv"),
        ("disfa", layouts.disfa, "SN014", "ActionUnit_Labels"),
    ],
)
def test_subjects_of_another_dataset_are_refused(tmp_path, name, there, stranger, where):
    there(tmp_path, (facts.dataset(name).subject_names[0], stranger))
    with pytest.raises(DataError, match=rf"{where}: {stranger}: no subject of .* or is this another dataset"):
        read(name, tmp_path)


def test_labels_of_absent_frames_can_be_left_out(tmp_path):
    expected = layouts.bp4d(tmp_path)
    (tmp_path / "M001/T2/0648.jpg").unlink()
    found = read("bp4d", tmp_path, "skip_missing=true")
    same(found, expected[expected["source"] != "M001/T2/0648.jpg"])
    assert "1 labels of frames that do not exist, left out" in found.notes


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "SN002/9.png").unlink(), r"10 label rows a file, but .*SN002 has 9 frames"),
        (lambda d: (d / "SN002/0.png").unlink(), r"10 label rows a file, but .*SN002 has 9 frames"),
        (lambda d: (d / "SN002/4.png").unlink(), r"images 0 to 9, 9 in all; expected one for every"),
        (
            lambda d: (d / "SN002/0.png").rename(d / "SN002/10.png"),
            r"of SN001 count from 0, those of SN002 from 1",
        ),
        (lambda d: (d / "SN002").rename(d / "away"), r"missing: SN002"),
    ],
)
def test_images_of_disfa_count_from_0_or_1_or_are_refused(tmp_path, spoil, message):
    layouts.disfa(tmp_path, kind="images")
    spoil(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        known = facts.dataset("disfa").model_copy(update={"subject_names": ()})
        patch.setattr(facts, "dataset", lambda _: known)
        with pytest.raises(DataError, match=message):
            raw_dataset.read("disfa", tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"1,2\n3,4\n", b"\xef\xbb\xbf1,2\r\n3,4\r\n", b"1, 2\n\n 3,4 \n\n", b"\n1,2\n3,4", b"+1,2\n3,4"],
)
def test_whole_numbers(tmp_path, text):
    file = tmp_path / "a.txt"
    file.write_bytes(text)
    if text.startswith(b"+"):
        with pytest.raises(DataError, match=r"a.txt, line 1: column 1 is '\+1'; expected a whole number"):
            integer_table.read(file)
        return
    table = integer_table.read(file, columns=2)
    assert table.values.tolist() == [[1, 2], [3, 4]]
    lines = [i for i, row in enumerate(text.splitlines(), 1) if row.strip()]
    assert table.lines.tolist() == lines


def test_a_header_moves_the_lines_that_are_named(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"\xef\xbb\xbf0,1\r\n5,1\r\n\r\n6,7\r\n")
    table = integer_table.read(file, header=True)
    assert table.names == ("0", "1")
    with pytest.raises(DataError, match=r"a.csv, line 4: AU01 is 7; expected 0 to 1"):
        integer_table.label_column(table, 1, "AU01", 1)


def test_spans():
    assert listing.frame_spans(np.array([3, 4, 5, 9])) == ((3, 6), (9, 10))
    assert listing.frame_spans(np.array([], np.int64)) == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["pictures=away"], r"videos of the left camera in away, or folders of images such as away/SN001"),
        (["kind=videos", "camera=right", "pictures=away"], r"expected videos of the right camera in away \("),
        (["kind=images"], r"expected folders of images such as SN001 \("),
    ],
)
def test_disfa_without_frames_is_told_what_was_looked_for(tmp_path, options, message):
    layouts.disfa(tmp_path, ("SN001",), 2)
    with pytest.raises(DataError, match=message):
        read("disfa", tmp_path, *options)


def test_a_first_frame_is_0_or_1(tmp_path):
    with pytest.raises(ConfigError, match=r"first_frame"):
        raw_dataset.read("bp4dplus", tmp_path, ["first_frame=2"])


@pytest.mark.parametrize("wrong", ["nobody", "photos", "parsing"])
def test_an_unknown_dataset_or_option_is_named(tmp_path, wrong):
    with pytest.raises(ConfigError, match=f"no dataset {wrong!r}.*bp4d.*table"):
        raw_dataset.read(wrong, tmp_path)
    with pytest.raises(ConfigError, match=r"--dataset disfa: unknown key 'camra'; did you mean 'camera'"):
        raw_dataset.read("disfa", tmp_path, ["camra=left"])
    with pytest.raises(ConfigError, match="no such folder"):
        raw_dataset.read("disfa", tmp_path / "away")


def custom(root):
    for who in ("ann", "bob"):
        for index in range(2):
            layouts.image(root / f"faces/{who}/{index}.jpg", index)
    layouts.video(root / "faces/cat.avi", 6)
    rows = ["file;Person;n;smile;AU04_i;age"]
    rows += [f"{who}/{index};{who};;{index};{index + 2};30" for who in ("ann", "bob") for index in range(2)]
    (root / "labels.csv").write_text("\n".join(rows))
    films = "file,Person,n,smile,AU04_i\n" + "".join(f"cat.avi,cat,{n},1,9\n" for n in (2, 3, 6))
    (root / "films.csv").write_text(films)
    return [
        "columns.source=file",
        "columns.subject=Person",
        "columns.frame=n",
        "columns.AU12_o=smile",
        "folder=faces",
    ]


def test_any_table(tmp_path):
    options = custom(tmp_path)
    found = raw_dataset.read("table", tmp_path, [*options, "labels=labels.csv", "suffix=.jpg"])
    labels = found.labels
    assert labels["source"].tolist() == [f"faces/{who}/{i}.jpg" for who in ("ann", "bob") for i in range(2)]
    assert labels["subject"].tolist() == ["ann", "ann", "bob", "bob"]
    assert labels["AU12_o"].tolist() == [0, 1, 0, 1]
    assert labels["AU04_i"].tolist() == [2, 3, 2, 3]
    assert len(found.inputs) == 4
    assert "columns not used: age" in found.notes
    films = raw_dataset.read(
        "table", tmp_path, [*options, f"labels={tmp_path / 'films.csv'}", "first_frame=1"]
    )
    assert films.labels["frame"].tolist() == [1, 2, 5]
    assert films.labels["AU04_i"].isna().all()
    assert films.inputs[0].frames == ((1, 3), (5, 6))


def test_a_table_may_name_whole_paths_and_leave_people_unnamed(tmp_path):
    custom(tmp_path / "there")
    film, photo = (tmp_path / "there/faces" / name for name in ("cat.avi", "bob/0.jpg"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here/all.csv").write_text(
        f"source,frame,subject,AU12_o\n{film},2,,1\n{photo},,,0\n{photo.with_name('1.jpg')},,bob,\n"
    )
    found = raw_dataset.read("table", tmp_path / "here", ["labels=all.csv"])
    labels = found.labels.set_index("source")
    assert {item.path for item in found.inputs} == set(labels.index)
    assert labels.loc[str(film), "frame"] == 2
    assert labels["subject"].tolist() == [str(photo), "bob", str(film)]  # two unnamed are not one person
    assert labels["AU12_o"].isna().tolist() == [False, True, False]
    with pytest.raises(ConfigError, match=r"--dataset table needs the table of labels: --set labels=FILE"):
        raw_dataset.read("table", tmp_path / "here")


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        (["columns.subject=Nobody"], None, r"labels.csv has no column 'Nobody'; it has file, Person"),
        (
            ["columns.mood=Person"],
            None,
            r"columns.mood: expected one of source, frame, subject, clip, AU01_o",
        ),
        ([], "file,Person,n,smile\nann/0,ann,0,2\n", r"labels.csv, line 2: AU12_o is 2; expected 0 or 1"),
        ([], "file,Person,n,smile\nann/0,ann,0,1\nann/7,a,0,1\n", r"line 3: there is no .*faces/ann/7.jpg"),
        ([], "file,Person,n,smile\nann/0,ann,0,1\nann/0,ann,0,1\n", r"line 3: faces/ann/0.jpg .*second time"),
        (["suffix=.png"], None, r"none of its files, such as faces/ann/0.png, is in"),
    ],
)
def test_a_table_that_is_wrong_is_one_line(tmp_path, options, text, message):
    given = custom(tmp_path)
    if text:
        (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(MaefaceError, match=message) as error:
        raw_dataset.read("table", tmp_path, [*given, "suffix=.jpg", "labels=labels.csv", *options])
    assert "\n" not in str(error.value)


def test_frames_of_a_film_that_is_too_short_are_named(tmp_path):
    options = [*custom(tmp_path), "labels=films.csv", "first_frame=1"]
    layouts.video(tmp_path / "faces/cat.avi", 5)
    with pytest.raises(DataError, match=r"films.csv, line 4: frame 6, but faces/cat.avi has 5 frames"):
        raw_dataset.read("table", tmp_path, options)
    (tmp_path / "films.csv").write_text("file,Person,smile\ncat.avi,cat,1\n")
    with pytest.raises(
        DataError, match=r"films.csv, line 2: faces/cat.avi is a video, so a column of frames"
    ):
        raw_dataset.read("table", tmp_path, [o for o in options if "frame" not in o])


def test_several_datasets_become_one(tmp_path):
    layouts.bp4d(tmp_path / "a", ("F001",), ("T1",))
    layouts.bp4dplus(tmp_path / "b", ("F001",), ("T1",))
    roots = [tmp_path / "a", tmp_path / "b"]
    options = ["bp4d.partial=true", "bp4dplus.partial=true"]
    found = raw_dataset.read_all("bp4d,bp4dplus", roots, options)
    assert {item.source.split("/")[0] for item in found.inputs} == {"bp4d", "bp4dplus"}
    assert set(found.labels["subject"]) == {"bp4d/F001", "bp4dplus/F001"}  # two people
    assert found.labels["source"].is_monotonic_increasing
    assert found.labels.loc[found.labels["subject"] == "bp4dplus/F001", "AU06_i"].isna().all()
    with pytest.raises(ConfigError, match="names 2, but 1 folders"):
        raw_dataset.read_all("bp4d,bp4dplus", roots[:1], options)
    with pytest.raises(ConfigError, match=r"of which dataset\? write bp4d.partial=true"):
        raw_dataset.read_all("bp4d,bp4dplus", roots, ["partial=true"])


def test_people_of_two_datasets_stay_together(tmp_path, monkeypatch):
    layouts.disfa(tmp_path / "a", ("SN001", "SN002"))
    one = read("disfa", tmp_path / "a")
    monkeypatch.setattr(raw_dataset, "read", lambda *_: one)
    found = raw_dataset.read_all("disfa,disfaplus", [tmp_path, tmp_path])
    assert set(found.labels["subject"]) == {"disfa/SN001", "disfa/SN002", "disfaplus/SN002"}


def test_a_dataset_is_prepared_with_its_labels_and_known_again(tmp_path, capsys):
    expected = layouts.bp4d(
        tmp_path / "raw", ("F001", "M001"), ("T1",), intensities=layouts.BP4D_INTENSITY_AUS
    )
    out = tmp_path / "out"
    command = [
        "prepare",
        str(tmp_path / "raw"),
        "--dataset",
        "bp4d",
        "--set",
        "partial=true",
        "--out",
        str(out),
    ]
    command += ["--aligned", "--size", "16", "--min-side", "8", "--workers", "1"]
    run(command)
    labels = pd.read_parquet(out / "labels.parquet")
    assert labels["source"].tolist() == expected["source"].tolist()
    account = json.loads((out / "prepare.json").read_text())
    assert (account["dataset"], account["options"]) == ("bp4d", {"partial": True})
    assert account["notes"][0] == "10 labelled frames of 2 subjects in 2 clips"
    rows = manifest.load(out)
    assert rows["subject"].tolist() == expected["subject"].tolist()
    assert rows["clip"].tolist() == expected["clip"].tolist()
    labelled = join_labels(rows, out / "labels.parquet")
    assert (len(labelled.rows), labelled.unlabelled, labelled.unmatched) == (10, 0, 0)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.parquet")}
    run(command)  # finished: nothing is done
    assert before == {file: file.stat().st_mtime_ns for file in out.rglob("*.parquet")}
    edit(tmp_path / "raw" / OCC, line(2, lambda x: x.translate(bytes.maketrans(b"1", b"0"))))
    assert "the labels have changed" in failure(command, capsys)
    assert "dataset was bp4d, now none" in failure([c for c in command if c not in command[2:6]], capsys)


@pytest.mark.parametrize("dataset", ["disfa", None])
def test_labels_of_a_run_that_failed_at_once_are_not_kept(tmp_path, monkeypatch, dataset):
    layouts.disfa(tmp_path / "raw", ("SN001",), kind="images")

    def fail(*_):
        raise ResourceError("a process was killed")

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_do_units", fail)
        with pytest.raises(ResourceError):
            prepare.run(
                [tmp_path / "raw"], tmp_path / "out", QUICK, dataset="disfa", options=["partial=true"]
            )
    options = ["partial=true", "threshold=1"] if dataset else []
    prepare.run([tmp_path / "raw"], tmp_path / "out", QUICK, dataset=dataset, options=options)
    if dataset is None:
        assert not (tmp_path / "out/labels.parquet").exists()
        return
    labels = pd.read_parquet(tmp_path / "out/labels.parquet")
    assert (labels["AU12_o"] == (labels["AU12_i"] >= 1)).all()


def test_labels_beside_the_crops_are_what_finetune_takes(tmp_path, capsys):
    layouts.image(tmp_path / "crops/a.jpg", 1)
    command = ["finetune", "detection", "--data", str(tmp_path / "crops"), "--init", "random"]
    command += ["--out", str(tmp_path / "run")]
    assert "crops has no labels.parquet; give --labels, or prepare it with --dataset" in failure(
        command, capsys
    )
    several = [*command, "--data", str(tmp_path)]
    assert "--labels is needed with several --data folders" in failure(several, capsys)
    pd.DataFrame({"source": ["b.jpg"], "AU12_o": [1.0]}).to_parquet(tmp_path / "crops/labels.parquet")
    assert "crops/labels.parquet: no label matches a face" in failure(command, capsys)


def test_options_need_a_dataset(tmp_path, capsys):
    layouts.image(tmp_path / "a/a.jpg", 1)
    command = ["prepare", str(tmp_path / "a"), "--set", "camera=left", "--out", str(tmp_path / "out")]
    assert "--set camera=left is an option of a dataset; give --dataset NAME too" in failure(command, capsys)


def run(arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["maeface", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
    return done.value.code or 0


def failure(arguments, capsys):
    """The one line of a command that fails."""
    capsys.readouterr()
    assert run(arguments) in (2, 3)
    return " ".join(capsys.readouterr().err.split())
