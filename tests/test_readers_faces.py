"""The pre-training sources: folders, record files and lists as they are handed out, made here in small."""

import builtins
import io
import json
import shutil
import struct
import time

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from maeface import facts, prepare
from maeface.data import manifest
from maeface.data.formats import photos
from maeface.data.ingest import records
from maeface.data.readers import raw_dataset
from maeface.data.shards import Shards
from maeface.errors import ConfigError, DataError
from maeface.faces import finder, geometry, media
from maeface.faces.detector import Detector

MAGIC = struct.pack("<I", 0xCED7230A)


def jpeg(shade=90, size=(48, 48)):
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 120, 60)).save(file, "JPEG")
    return file.getvalue()


def photo(path, shade=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(shade))
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def sources(found):
    return [item.source for item in found.inputs]


def said(found):
    return "\n".join(found.notes)


# RecordIO, written from the format's description and not by the code under test.


def framed(data):
    """A record: cut at each magic word that stands at a multiple of 4."""
    cuts = [at for at in range(0, len(data) - 3, 4) if data[at : at + 4] == MAGIC]
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(data)]
    written = b""
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        flag = 0 if not cuts else 1 if number == 0 else 3 if number == len(cuts) else 2
        part = data[start:end]
        written += MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
    return written


def image_record(image, label=7.0, key=1):
    return framed(struct.pack("<IfQQ", 0, label, key, 0) + image)


def labelled_record(labels, image=b"", key=0):
    return framed(
        struct.pack("<IfQQ", len(labels), 0.0, key, 0) + struct.pack(f"<{len(labels)}f", *labels) + image
    )


def write_rec(folder, chunks, name="train"):
    """Records and their index; returns the offsets."""
    folder.mkdir(parents=True, exist_ok=True)
    offsets = np.cumsum([0, *(len(chunk) for chunk in chunks)]).tolist()
    (folder / f"{name}.rec").write_bytes(b"".join(chunks))
    (folder / f"{name}.idx").write_text("".join(f"{key}\t{at}\n" for key, at in enumerate(offsets[:-1])))
    return offsets


def insightface(folder, people=2, each=3):
    """A set as InsightFace packs it: range of the images, images, and a range a person."""
    images = [jpeg(10 * number, (112, 112)) for number in range(people * each)]
    count = len(images)
    chunks = [labelled_record([count + 1, count + 1 + people])]
    chunks += [image_record(image, key // each, key + 1) for key, image in enumerate(images)]
    chunks += [labelled_record([1 + p * each, 1 + (p + 1) * each], key=count + 1 + p) for p in range(people)]
    write_rec(folder, chunks)
    write(folder / "property", f"{people},112,112")
    write(folder / "train.lst", "1\tsomewhere/a.jpg\t0\n")
    return images


def test_record_files_of_insightface_are_read_in_place(tmp_path):
    images = insightface(tmp_path)
    found = raw_dataset.read("casia", tmp_path)
    assert sources(found) == [f"train.rec/{key:07d}" for key in range(1, 7)]
    assert [
        records.read_image_bytes(tmp_path / "train.rec", item.offset, item.size) for item in found.inputs
    ] == images
    assert {item.path for item in found.inputs} == {str(tmp_path / "train.rec")}
    assert not any(item.video for item in found.inputs)
    assert found.labels is None
    assert "train.rec: 6 images, 3 records without one" in said(found)
    assert "2 people; faces are cut to 112 x 112 px already" in said(found)
    assert "6 images of the 494,414" in said(found) and "2,170,000" in said(found)


def test_record_files_may_lie_a_folder_deeper_and_hold_labels(tmp_path):
    image = jpeg()
    write_rec(tmp_path / "faces_webface_112x112", [labelled_record([3.0, 4.0, 5.0], image)])
    found = raw_dataset.read("casia", tmp_path)
    assert sources(found) == ["faces_webface_112x112/train.rec/0000000"]
    (item,) = found.inputs
    assert (
        records.read_image_bytes(tmp_path / item.source.rpartition("/")[0], item.offset, item.size) == image
    )


def test_a_record_in_several_parts_is_joined(tmp_path):
    plain = jpeg()
    comment = b"ab" + MAGIC + b"wxyz" + MAGIC + MAGIC + b"c" + MAGIC  # the last is not at a multiple of 4
    image = plain[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + plain[2:]
    write_rec(tmp_path, [image_record(plain), image_record(image), image_record(plain)])
    found = raw_dataset.read("casia", tmp_path)
    places = [(item.offset, item.size) for item in found.inputs]
    read = [records.read_image_bytes(tmp_path / "train.rec", *place) for place in places]
    assert read == [plain, image, plain]
    assert np.array_equal(media.decode_image(read[1], "jpeg"), media.decode_image(plain, "jpeg"))
    (tmp_path / "train.idx").unlink()
    assert [(item.offset, item.size) for item in raw_dataset.read("casia", tmp_path).inputs] == places


def test_without_an_index_the_same_images_are_found(tmp_path):
    insightface(tmp_path)
    indexed = raw_dataset.read("casia", tmp_path)
    (tmp_path / "train.idx").unlink()
    chained = raw_dataset.read("casia", tmp_path)
    assert chained.inputs == indexed.inputs
    assert "there is no train.idx" in said(chained)


def test_an_index_may_have_any_order_and_leave_records_out(tmp_path):
    offsets = write_rec(tmp_path, [image_record(jpeg(shade)) for shade in (10, 20, 30)])
    write(tmp_path / "train.idx", f"9\t{offsets[2]}\n4\t{offsets[0]}\n")
    found = raw_dataset.read("casia", tmp_path)
    assert sources(found) == ["train.rec/0000004", "train.rec/0000009"]
    assert f"{offsets[2] - offsets[1]} bytes of train.rec belong to no row" in said(found)


def test_fewer_images_than_announced_are_said(tmp_path):
    write_rec(tmp_path, [labelled_record([10, 12]), image_record(jpeg())])
    assert "record 0 of train.rec announces 9 images" in said(raw_dataset.read("casia", tmp_path))


@pytest.mark.parametrize("keep", [0.99, 0.5])
def test_a_record_file_that_is_cut_off_is_refused(tmp_path, keep):
    insightface(tmp_path)
    data = (tmp_path / "train.rec").read_bytes()
    (tmp_path / "train.rec").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"train\.idx row \d+: .*train\.rec.* is cut off"):
        raw_dataset.read("casia", tmp_path)
    (tmp_path / "train.idx").unlink()
    with pytest.raises(DataError, match=r"train\.rec record \d+: train\.rec is cut off"):
        raw_dataset.read("casia", tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7\t99999996", r"train\.idx row 2: no record can begin at byte 99999996"),
        ("7\t-4", "no record can begin at byte -4"),
        ("7\t6", "no record can begin at byte 6"),
        ("7\t8", r"no record begins at byte 8 of train\.rec \(expected 0xced7230a"),
        ("7 8", "row 2: expected a key, a tab and an offset, got '7 8'"),
        ("a\t8", "expected a key, a tab and an offset"),
        ("0\t0", "key 0 is there twice"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, row, message):
    write_rec(tmp_path, [image_record(jpeg())])
    write(tmp_path / "train.idx", f"0\t0\n{row}\n")
    with pytest.raises(DataError, match=message):
        raw_dataset.read("casia", tmp_path)


def test_an_index_into_the_middle_of_a_record_is_refused(tmp_path):
    first = image_record(b"abcd" + MAGIC + b"efgh")
    write_rec(tmp_path, [first])
    write(tmp_path / "train.idx", f"0\t{len(first) - 12}\n")
    with pytest.raises(DataError, match="in the middle of a record"):
        raw_dataset.read("casia", tmp_path)


def test_other_files_are_no_record_files(tmp_path):
    (tmp_path / "train.rec").write_bytes(b"an archive of another kind......")
    with pytest.raises(DataError, match="it is not a record file"):
        raw_dataset.read("casia", tmp_path)
    (tmp_path / "train.idx").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="expected text"):
        raw_dataset.read("casia", tmp_path)
    (tmp_path / "train.idx").write_bytes(b"\n")
    with pytest.raises(DataError, match=r"train\.idx is empty"):
        raw_dataset.read("casia", tmp_path)


def test_a_record_file_of_labels_alone_is_refused(tmp_path):
    write_rec(tmp_path, [labelled_record([1, 1]), labelled_record([1, 1])])
    with pytest.raises(DataError, match="holds no image in 2 records"):
        raw_dataset.read("casia", tmp_path)


def test_only_the_heads_of_a_record_file_are_read(tmp_path, monkeypatch):
    image = jpeg() + bytes(100_000)
    write_rec(tmp_path, [image_record(image) for _ in range(20)])
    read = []
    opened = records.Path.open

    class Counting(io.FileIO):
        def read(self, size=-1):
            data = super().read(size)
            read.append(len(data))
            return data

    def counted(path, *arguments, **named):
        return Counting(path) if path.suffix == ".rec" else opened(path, *arguments, **named)

    monkeypatch.setattr(records.Path, "open", counted)
    assert len(raw_dataset.read("casia", tmp_path).inputs) == 20
    assert sum(read) == 20 * (8 + 24)


def test_many_records_take_little_time(tmp_path):
    record = image_record(b"\xff\xd8" + bytes(62))
    count = 50_000
    (tmp_path / "train.rec").write_bytes(record * count)
    write(tmp_path / "train.idx", "".join(f"{key}\t{key * len(record)}\n" for key in range(count)))
    started = time.process_time()
    found = records.read_index(tmp_path / "train.rec", tmp_path / "train.idx")
    assert len(found.images) == count and found.outside == 0
    assert time.process_time() - started < 5


def test_folders_of_people(tmp_path):
    for name in ("0000045/001.jpg", "0000045/002.jpg", "0000099/001.jpg", "readme.png"):
        photo(tmp_path / "CASIA-WebFace" / name)
    photo(tmp_path / "logo.jpg")
    found = raw_dataset.read("casia", tmp_path)
    assert sources(found)[0] == "CASIA-WebFace/0000045/001.jpg" and len(found.inputs) == 4
    assert "1 images outside the folders of people are left out" in said(found)
    assert "who is in a photo is left out" in said(found) and found.labels is None


def test_casia_in_both_forms_is_a_choice(tmp_path):
    insightface(tmp_path)
    photo(tmp_path / "0000045" / "001.jpg")
    with pytest.raises(DataError, match="choose with --set form=records or --set form=folders"):
        raw_dataset.read("casia", tmp_path)
    assert len(raw_dataset.read("casia", tmp_path, ["form=records"]).inputs) == 6
    assert len(raw_dataset.read("casia", tmp_path, ["form=folders"]).inputs) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("casia", r"is not CASIA-WebFace: expected a folder a person .*; got lone\.jpg"),
        ("affectnet", r"is not AffectNet: expected Manually_Annotated_Images/ .*; got lone\.jpg"),
        ("celeba", r"is not CelebA: expected img_celeba or img_align_celeba .*; got lone\.jpg"),
        ("imdbwiki", r"no photo to prepare: expected imdb_crop/ with imdb\.mat.*; got lone\.jpg"),
    ],
)
def test_another_layout_is_refused_in_one_line(tmp_path, name, message):
    photo(tmp_path / "lone.jpg")
    with pytest.raises(DataError, match=message) as caught:
        raw_dataset.read(name, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def affectnet(tmp_path):
    manual, automatic = tmp_path / "Manually_Annotated_Images", tmp_path / "Automatically_Annotated_Images"
    for name in ("1/aa.jpg", "1/bb.JPG", "2/cc.png"):
        photo(manual / name)
    photo(automatic / "7" / "dd.jpg")
    lists = tmp_path / "Manually_Annotated_file_lists"
    head = "subDirectory_filePath,face_x,expression\n"
    write(lists / "training.csv", head + "1/aa.jpg,1,0\n1/bb.JPG,1,10\n3/gone.jpg,1,2\n")
    write(lists / "validation.csv", head + "2/cc.png,1,0\n")
    return tmp_path


def test_affectnet(affectnet):
    found = raw_dataset.read("affectnet", affectnet)
    assert sources(found) == [
        "Automatically_Annotated_Images/7/dd.jpg",
        "Manually_Annotated_Images/1/aa.jpg",
        "Manually_Annotated_Images/1/bb.JPG",
        "Manually_Annotated_Images/2/cc.png",
    ]
    assert found.labels is None
    assert "3 manual, 1 automatic" in said(found)
    assert "training.csv lists 3 images; not there are 1 (such as 3/gone.jpg)" in said(found)
    assert "validation.csv" not in said(found)
    assert "4 images of the 959,906" in said(found)


def test_affectnet_in_part(affectnet):
    found = raw_dataset.read("affectnet", affectnet, ["part=automatic"])
    assert sources(found) == ["Automatically_Annotated_Images/7/dd.jpg"]
    assert "training.csv" not in said(found)
    shutil.rmtree(affectnet / "Automatically_Annotated_Images")
    assert "the automatic part is not there" in said(raw_dataset.read("affectnet", affectnet))
    with pytest.raises(DataError, match="holds no image of the automatic part"):
        raw_dataset.read("affectnet", affectnet, ["part=automatic"])


def test_the_other_releases_of_affectnet(tmp_path):
    for name in (
        "human_annotated/train_set/images/0.jpg",
        "human_annotated/validation_set/images/1.jpg",
        "no_human_annotated/images/2.jpg",
        "elsewhere/3.jpg",
    ):
        photo(tmp_path / "plus" / name)
    write(tmp_path / "plus" / "human_annotated" / "train_set" / "annotations" / "0.json", "{}")
    found = raw_dataset.read("affectnet", tmp_path / "plus")
    assert len(found.inputs) == 3 and "2 manual, 1 automatic" in said(found)
    assert "left out: 1 (such as elsewhere/3.jpg)" in said(found)
    for name in ("train_set/images/0.jpg", "val_set/images/1.jpg"):
        photo(tmp_path / "eight" / name)
    assert "2 manual, 0 automatic" in said(raw_dataset.read("affectnet", tmp_path / "eight"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file;x\n1/aa.jpg;1\n", r"training\.csv: expected a column subDirectory_filePath"),
        ("subDirectory_filePath,x\n1/aa.jpg,1\n,2\n", r"training\.csv row 3: subDirectory_filePath is empty"),
    ],
)
def test_a_wrong_list_of_affectnet_is_refused(affectnet, text, message):
    write(affectnet / "Manually_Annotated_file_lists" / "training.csv", text)
    with pytest.raises(DataError, match=message):
        raw_dataset.read("affectnet", affectnet)


def test_a_photo_of_affectnet_may_be_called_na(affectnet):
    with (affectnet / "Manually_Annotated_file_lists" / "training.csv").open("a") as file:
        file.write("NA,0\n")
    found = raw_dataset.read("affectnet", affectnet)
    assert "training.csv lists 4 images; not there are 2" in said(found)  # and it is not an empty cell


def write_mat(path, name, rows, **changes):
    """A list as IMDB-WIKI has it: a struct of one-row arrays, paths and names as cells, version 5."""
    paths, scores, second = zip(*rows, strict=True)
    fields = {
        "dob": np.array([[693726.0] * len(rows)]),
        "full_path": np.array([list(paths)], dtype=object),
        "face_location": np.array([[np.array([1.0, 2.0, 3.0, 4.0])] * len(rows)], dtype=object)
        if len(rows) != 1
        else np.zeros((1, 1)),
        "face_score": np.array([scores]),
        "second_face_score": np.array([second]),
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {name: {key: value for key, value in fields.items() if value is not None}})


ROWS = [
    ("01/nm01_a.jpg", 4.3, np.nan),
    ("02/nm02_b.jpg", -np.inf, np.nan),
    ("02/nm03_c.jpg", 0.9, 0.8),
    ("02/nm04_gone.jpg", 3.0, np.nan),
]


@pytest.fixture
def imdbwiki(tmp_path):
    write_mat(tmp_path / "imdb_crop" / "imdb.mat", "imdb", ROWS)
    for name, *_ in ROWS[:3]:
        photo(tmp_path / "imdb_crop" / name)
    photo(tmp_path / "imdb_crop" / "09" / "not_listed.jpg")
    write_mat(tmp_path / "wiki_crop" / "wiki.mat", "wiki", [("17/1_w.jpg", 2.0, np.nan)])
    photo(tmp_path / "wiki_crop" / "17" / "1_w.jpg")
    return tmp_path


def test_imdbwiki(imdbwiki):
    found = raw_dataset.read("imdbwiki", imdbwiki)
    assert sources(found) == [
        "imdb_crop/01/nm01_a.jpg",
        "imdb_crop/02/nm03_c.jpg",
        "wiki_crop/17/1_w.jpg",
    ]
    assert found.labels is None
    assert "imdb.mat: 4 photos listed; left out: 1 without a face" in said(found)
    assert "listed but not there: 1 (such as imdb_crop/02/nm04_gone.jpg)" in said(found)
    assert "wiki.mat: 1 photos listed; left out: none" in said(found)
    assert "3 images of the 523,051" in said(found)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["part=imdb"], ["nm01_a", "nm03_c"]),
        (["part=wiki"], ["1_w"]),
        (["faceless=true"], ["nm01_a", "nm02_b", "nm03_c", "1_w"]),
        (["second_faces=false"], ["nm01_a", "1_w"]),
        (["min_face_score=1.5"], ["nm01_a", "1_w"]),
        (["min_face_score=1.5", "faceless=true"], ["nm01_a", "nm02_b", "1_w"]),
    ],
)
def test_choices_of_imdbwiki(imdbwiki, overrides, names):
    found = raw_dataset.read("imdbwiki", imdbwiki, overrides)
    assert [source.rpartition("/")[2].removesuffix(".jpg") for source in sources(found)] == names


def test_imdbwiki_in_part(imdbwiki):
    shutil.rmtree(imdbwiki / "wiki_crop")
    (imdbwiki / "imdb_crop").rename(imdbwiki / "imdb")  # the uncut photos lie so
    found = raw_dataset.read("imdbwiki", imdbwiki)
    assert sources(found)[0] == "imdb/01/nm01_a.jpg"
    assert "the part wiki is not there: no wiki.mat" in said(found)
    with pytest.raises(DataError, match=r"has no wiki\.mat"):
        raw_dataset.read("imdbwiki", imdbwiki, ["part=wiki"])
    assert sources(raw_dataset.read("imdbwiki", imdbwiki / "imdb"))[0] == "01/nm01_a.jpg"


def test_imdbwiki_that_is_not_unpacked_is_refused(imdbwiki):
    for folder in ("01", "02"):
        shutil.rmtree(imdbwiki / "imdb_crop" / folder)
    with pytest.raises(DataError, match=r"imdb\.mat lists photos that are not there, such as .*nm01_a\.jpg"):
        raw_dataset.read("imdbwiki", imdbwiki)


def test_wrong_lists_of_imdbwiki_are_refused(imdbwiki):
    path = imdbwiki / "wiki_crop" / "wiki.mat"
    whole = path.read_bytes()
    row = [("17/1_w.jpg", 2.0, np.nan)]
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    for data, message in (
        (b"not a list", r"wiki\.mat is not a whole MATLAB file"),
        (b"", r"wiki\.mat is not a whole MATLAB file"),
        (whole[: len(whole) // 2], r"wiki\.mat is not a whole MATLAB file"),
        (header + bytes(400), "version 7.3; expected version 5"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=message):
            raw_dataset.read("imdbwiki", imdbwiki)
    write_mat(path, "imdb", row)
    with pytest.raises(DataError, match="expected a struct wiki"):
        raw_dataset.read("imdbwiki", imdbwiki)
    write_mat(path, "wiki", row, face_score=None)
    with pytest.raises(DataError, match="the struct wiki lacks face_score"):
        raw_dataset.read("imdbwiki", imdbwiki)
    write_mat(path, "wiki", row, face_score=np.array([[1.0, 2.0]]))
    with pytest.raises(DataError, match="1 full_path, 2 face_score and 1 second_face_score"):
        raw_dataset.read("imdbwiki", imdbwiki)
    write_mat(path, "wiki", row, full_path=np.array([[3.0]]))
    with pytest.raises(DataError, match=r"full_path 1 is .*expected a path"):
        raw_dataset.read("imdbwiki", imdbwiki)


def test_imdbwiki_says_what_to_install(imdbwiki, monkeypatch):
    imported = builtins.__import__

    def without_scipy(name, *arguments, **named):
        if name.startswith("scipy"):
            raise ImportError(name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_scipy)
    with pytest.raises(ConfigError, match=r"pip install 'maeface\[readers\]'"):
        raw_dataset.read("imdbwiki", imdbwiki)


@pytest.fixture
def celeba(tmp_path):
    for number in (1, 2, 3, 4):
        photo(tmp_path / "Img" / "img_align_celeba" / f"{number:06d}.jpg")
    lines = "".join(f"{n:06d}.jpg {part}\n" for n, part in ((1, 0), (2, 0), (3, 1), (4, 2), (5, 2)))
    write(tmp_path / "Eval" / "list_eval_partition.txt", lines)
    return tmp_path


def test_celeba(celeba):
    found = raw_dataset.read("celeba", celeba)
    assert sources(found) == [f"Img/img_align_celeba/{n:06d}.jpg" for n in (1, 2, 3, 4)]
    assert found.labels is None
    assert "not there: 1 (such as 000005)" in said(found)
    assert "4 images of the 202,599" in said(found)
    for part, names in (("train", ["000001", "000002"]), ("val", ["000003"]), ("test", ["000004"])):
        found = raw_dataset.read("celeba", celeba, [f"partition={part}"])
        assert [source[-10:-4] for source in sources(found)] == names


def test_the_originals_of_celeba_come_first(celeba):
    photo(celeba / "Img" / "img_celeba" / "000001.jpg")
    found = raw_dataset.read("celeba", celeba)
    assert sources(found) == ["Img/img_celeba/000001.jpg"]
    assert "img_align_celeba is left out" in said(found)
    assert len(raw_dataset.read("celeba", celeba, ["images=aligned"]).inputs) == 4


def test_the_copy_of_celeba_with_commas(celeba):
    (celeba / "Img" / "img_align_celeba").rename(celeba / "x")
    (celeba / "img_align_celeba").mkdir()
    (celeba / "x").rename(celeba / "img_align_celeba" / "img_align_celeba")
    (celeba / "Eval" / "list_eval_partition.txt").unlink()
    with pytest.raises(DataError, match=r"has no list_eval_partition\.txt"):
        raw_dataset.read("celeba", celeba, ["partition=val"])
    write(celeba / "list_eval_partition.csv", "image_id,partition\n000001.jpg,0\n000003.jpg,1\n")
    found = raw_dataset.read("celeba", celeba, ["partition=val"])
    assert sources(found) == ["img_align_celeba/img_align_celeba/000003.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("000001.jpg 0\n000002.jpg 3\n", "line 2: expected a name and 0, 1 or 2, got '000002.jpg 3'"),
        ("000001.jpg 0\n\n000002.jpg\n", "line 3: expected a name and 0, 1 or 2"),
        ("000001.jpg 0\n000001.jpg 0\n", "line 2: 000001.jpg is there a second time"),
        ("nothing\n", "lists no image such as 000001.jpg"),
        ("a\nb\nc\n000001.jpg 0\n", "line 3: expected an image such as 000001.jpg, got 'c'"),
        ("000009.jpg 1\n", "has no image of the partition train"),
    ],
)
def test_a_wrong_partition_of_celeba_is_refused(celeba, text, message):
    write(celeba / "Eval" / "list_eval_partition.txt", text)
    with pytest.raises(DataError, match=message):
        raw_dataset.read("celeba", celeba, ["partition=train"])


def points_file(path, lines):
    places = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    names = " ".join(f"{place}_{axis}" for place in places for axis in "xy")
    return write(path, f"{len(lines)}\n{names}\n" + "".join(f"{line}\n" for line in lines))


def test_the_landmarks_of_celeba(celeba):
    with pytest.raises(DataError, match=r"has no list_landmarks_align_celeba\.txt"):
        raw_dataset.read("celeba", celeba, ["landmarks=true"])
    lines = [f"{n:06d}.jpg {n} 110   111  112  90  133   73  151  108  152" for n in (1, 2, 3)]
    path = points_file(celeba / "Anno" / "list_landmarks_align_celeba.txt", lines)
    found = raw_dataset.read("celeba", celeba, ["landmarks=true"])
    assert found.inputs[1].points == ((2, 110), (111, 112), (90, 133), (73, 151), (108, 152))
    assert found.inputs[3].points == ()
    assert "cropped by RetinaFace: 1 (such as Img/img_align_celeba/000004.jpg)" in said(found)
    assert not any(item.points for item in raw_dataset.read("celeba", celeba).inputs)
    points_file(path, [lines[0], "000002.jpg 1 2 3"])
    with pytest.raises(DataError, match=r"line 4: expected a name and 10 numbers, got '000002\.jpg 1 2 3'"):
        raw_dataset.read("celeba", celeba, ["landmarks=true"])


@pytest.mark.parametrize("angle", [0, -37, 90, 160])
def test_a_crop_from_points_is_upright_and_holds_the_face(angle):
    upright = np.array([[-20.0, -15], [20, -15], [0, 5], [-15, 25], [15, 25]])
    turn = np.radians(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = upright @ matrix.T + [150, 140]
    found = finder.crop_from_landmarks(np.zeros((300, 280, 3), np.uint8), points, 128)
    seen = geometry.to_crop(points, found.square, 128)
    assert found.pixels.shape == (128, 128, 3) and found.square.angle_deg == angle
    assert abs(seen[0, 1] - seen[1, 1]) < 0.5 and seen[0, 0] < seen[1, 0] and seen[3, 1] > seen[0, 1]
    assert abs(seen[2, 0] - 64) < 1.5
    assert seen.min() > 25 and seen.max() < 103


def test_a_crop_from_points_is_about_the_one_of_two_looks(shared):
    weights = shared / "weights" / "retinaface_mobilenet0.25_Final.pth"
    detector = Detector(weights, "mobilenet0.25", torch.device("cpu"))
    images = [
        media.read_image(path) for path in sorted((shared / "photos" / "congress").glob("*.jpg"))[5:800:100]
    ]
    for image, (looked,) in zip(images, finder.find_crops(detector, images), strict=True):
        known = finder.crop_from_landmarks(image, looked.face.landmarks)
        assert 0.85 < known.square.side / looked.square.side < 1.15
        shift = np.hypot(known.square.cx - looked.square.cx, known.square.cy - looked.square.cy)
        assert shift < 0.1 * looked.square.side


def test_any_folder(tmp_path):
    photo(tmp_path / "holiday" / "b.jpg")
    photo(tmp_path / "a.jpg")
    found = raw_dataset.read("folder", tmp_path)
    assert sources(found) == ["a.jpg", "holiday/b.jpg"]
    assert found.labels is None and "2 photos" in said(found)


def test_any_folder_without_its_videos(tmp_path):
    photo(tmp_path / "a.jpg")
    (tmp_path / "b.avi").write_bytes(b"not quite a video")
    assert sources(raw_dataset.read("folder", tmp_path)) == ["a.jpg", "b.avi"]
    found = raw_dataset.read("folder", tmp_path, ["videos=false"])
    assert sources(found) == ["a.jpg"] and "1 videos left out" in said(found)


def test_photos_are_found_through_links_but_not_in_circles(tmp_path):
    photo(tmp_path / "elsewhere" / "one" / "a.tif")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "one" / "back").symlink_to(root)
    assert [item.source for item in photos.list_photos(root)] == ["linked/one/a.tif"]


def test_wrong_choices_are_refused(tmp_path):
    photo(tmp_path / "a.jpg")
    for name in ("casia", "affectnet", "imdbwiki", "celeba", "folder"):
        with pytest.raises(ConfigError, match="colour"):
            raw_dataset.read(name, tmp_path, ["colour=red"])
        assert facts.dataset(name).kind == "faces"


READY = prepare.Settings(aligned=True, size=32, min_side=16, per_shard=4)


def crops(out):
    rows = manifest.load(out)
    stored = Shards(out)
    read = [stored.read_range(row.shard, row.offset, row.size) for row in rows.itertuples()]
    return rows, [media.decode_image(data, "jpeg") for data in read]


@pytest.fixture
def inline(monkeypatch):
    """The work without processes, for speed."""

    def work(setup, items, count, notify, *rest):
        job = setup()
        for item in items:
            yield item, job(item, notify)

    monkeypatch.setattr(prepare.workers, "work", work)


def test_a_record_file_is_prepared_in_place(tmp_path, inline):
    insightface(tmp_path / "raw")
    summary = prepare.run([tmp_path / "raw"], tmp_path / "out", READY, dataset="casia")
    rows, pixels = crops(tmp_path / "out")
    assert summary.faces == 6 and list(rows["source"]) == [f"train.rec/{key:07d}" for key in range(1, 7)]
    assert rows["subject"].isna().all()
    assert [round(float(picture[..., 0].mean()) / 10) for picture in pixels] == [0, 1, 2, 3, 4, 5]
    account = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert account["dataset"] == "casia"
    assert any("train.rec: 6 images" in note for note in account["notes"])


def test_an_image_of_a_record_file_that_is_damaged_gets_a_row(tmp_path, inline):
    write_rec(tmp_path / "raw", [image_record(jpeg()), image_record(jpeg()[:300]), image_record(b"no image")])
    prepare.run([tmp_path / "raw"], tmp_path / "out", READY, dataset="casia")
    rows = manifest.load(tmp_path / "out", all_rows=True)
    assert list(rows["status"]) == ["ok", "truncated", "not_an_image"]


def test_the_four_sources_become_one_set(tmp_path, affectnet, imdbwiki, celeba, inline):
    roots = [tmp_path / name for name in ("affectnet", "casia", "imdbwiki", "celeba")]
    for root, names in zip(
        roots,
        (["Manually_*", "Automatically_*"], [], ["imdb_crop", "wiki_crop"], ["Img", "Eval"]),
        strict=True,
    ):
        root.mkdir()
        for path in [path for name in names for path in tmp_path.glob(name)]:
            path.rename(root / path.name)
    insightface(roots[1])
    summary = prepare.run(roots, tmp_path / "out", READY, dataset="affectnet,casia,imdbwiki,celeba")
    rows = manifest.load(tmp_path / "out")
    assert summary.faces == len(rows) == 4 + 6 + 3 + 4
    counts = rows["source"].str.split("/").str[0].value_counts()
    assert counts.to_dict() == {"affectnet": 4, "casia": 6, "imdbwiki": 3, "celeba": 4}
    notes = json.loads((tmp_path / "out" / "prepare.json").read_text())["notes"]
    assert any("17 images in all" in note and "2,170,000" in note for note in notes)


def no_face(settings, weights):
    return lambda images, film: [[] for _ in images]


def test_with_landmarks_no_face_is_looked_for(celeba, inline):
    line = "{:06d}.jpg 16 18 32 18 24 26 18 34 30 34"
    points_file(celeba / "Anno" / "list_landmarks_align_celeba.txt", [line.format(n) for n in (1, 2, 4)])
    settings = prepare.Settings(size=32, min_side=16)
    prepare.run([celeba], celeba / "out", settings, no_face, dataset="celeba", options=["landmarks=true"])
    rows = manifest.load(celeba / "out", all_rows=True)
    assert list(rows["status"]) == ["ok", "ok", "no_face", "ok"]
    assert rows["p0x"].iloc[0] == 16 and rows["p4y"].iloc[0] == 34
    assert manifest.load(celeba / "out").shape[0] == 3
