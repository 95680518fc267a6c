"""The page of faults names tests that exist; and the faults that no other test has."""

import ast
import io
import os
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageCms

from maeface import predict
from maeface.data.ingest import images, inputs, workers
from maeface.data.manifest import unescape
from maeface.data.tables import labels
from maeface.faces import container, media, video
from maeface.faces.media import MediaError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.vit import ViT
from parts_cases import photo, work_here
from test_video import corners, encode, read

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "faults.md"
TEST = re.compile(r"`(tests/test_\w+\.py)::(test_\w+)`")
LAST = {"F": 24, "V": 15, "L": 12, "K": 15, "T": 20, "S": 33, "P": 13, "E": 9, "W": 9}
CASES = [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)]


# The page --------------------------------------------------------------------------------------------------


def test_every_test_on_the_page_exists():
    named = TEST.findall(PAGE.read_text())
    for file in {file for file, _ in named}:
        functions = {
            node.name
            for node in ast.parse((ROOT / file).read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        missing = {test for of_file, test in named if of_file == file} - functions
        assert not missing, f"docs/faults.md: {file} has no {', '.join(sorted(missing))}"


def test_every_case_has_a_row_and_every_row_a_test():
    rows = re.findall(r"^\| (?:([FVLKTSPEW]\d+) )?\| (?!case)(.*)$", PAGE.read_text(), re.MULTILINE)
    assert [case for case, _ in rows if case] == CASES
    for _, row in rows:
        assert TEST.search(row) or "not handled" in row, row


# Photos ----------------------------------------------------------------------------------------------------


def reason(path, read=media.read_image):
    with pytest.raises(MediaError) as caught:
        read(path)
    return caught.value.reason


# 32 x 32 px of 4 x 4 grey blocks, by cjpeg -arithmetic of libjpeg-turbo
ARITHMETIC = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a"
    "333d3c3933383740485c4e404457453738506d51575f626768673e4d71797064785c656763ffc9000b080020002001011100ffcc"
    "000600101005ffda0008010100003f00ff0078b584ec97ebae45631447fa3582f5a0ffd9"
)


def test_an_arithmetic_coded_jpeg_is_read(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(ARITHMETIC)
    blocks = media.read_image(path).reshape(4, 8, 4, 8, 3)
    expected = [[40, 200, 40, 120], [40, 120, 120, 120], [200, 120, 40, 40], [120, 40, 120, 120]]
    assert np.abs(blocks.astype(int) - np.array(expected)[:, None, :, None, None]).max() <= 2
    path.write_bytes(ARITHMETIC[:-12])
    assert reason(path) == "truncated"


def test_a_ycck_jpeg_has_the_colours_of_pillow(tmp_path):
    file = io.BytesIO()
    Image.fromarray(corners(64, 64)).convert("CMYK").save(file, "JPEG", quality=95)
    data = bytearray(file.getvalue())
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0  # CMYK
    data[transform] = 2  # YCCK
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(media.read_image(path) - expected).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_colour_profile_changes_no_value(tmp_path, kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(corners(64, 64))
    image.save(tmp_path / "plain", kind, **options)
    image.save(tmp_path / "profile", kind, icc_profile=profile, **options)
    with Image.open(tmp_path / "profile") as stored:
        assert stored.info["icc_profile"] == profile
    np.testing.assert_array_equal(
        media.read_image(tmp_path / "plain"), media.read_image(tmp_path / "profile")
    )


def test_a_file_without_permission_is_unreadable(tmp_path, monkeypatch):
    """For root, who may read everything, ``os.open`` refuses."""
    path = photo(tmp_path / "a.png")
    path.chmod(0)

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MediaError, match="unreadable: Permission denied"):
        media.read_image(path)
    assert media.detect_kind(path) == "image"


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A small random model of two action units."""
    torch.manual_seed(0)
    model = AUModel(ViT((16, 2, 2), 32, 8), (4, 12), "both").eval()
    path = tmp_path_factory.mktemp("weights") / "au.safetensors"
    weights.save(path, model, describe(model, Preprocessing(image_size=32), thresholds=(0.5, 0.5)))
    return path


@pytest.fixture
def table_of(tmp_path, weights_file, monkeypatch):
    """Predicts ``tmp_path / "in"``, without other processes, which take seconds to start."""
    monkeypatch.setattr(workers, "work", work_here)

    def table_of(name="t.csv", aligned=True):
        out = tmp_path / name
        predict.run([tmp_path / "in"], weights_file, out, aligned=aligned, device="cpu", workers=1)
        return pd.read_csv(out) if name.endswith("csv") else pd.read_parquet(out)

    return table_of


def test_a_file_that_vanishes_after_the_listing_has_a_row(tmp_path, table_of, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        photo(tmp_path / "in" / name)
    find = inputs.find_inputs

    def find_and_lose(*arguments):
        found = find(*arguments)
        (tmp_path / "in" / "b.png").unlink()
        return found

    monkeypatch.setattr(predict, "find_images", find_and_lose)
    rows = table_of()
    assert rows["input"].tolist() == ["a.png", "b.png", "c.png"]
    assert rows["face"].tolist() == [0, -1, 0] and rows["status"][1] == "unreadable"


ODD_NAMES = [
    *(b"-rf.png", b"new\nline.png", b'a,b;"c".png', b" space .png", b"caf\xe9.png"),
    *(name.encode() for name in ("\U0001f600.png", "é" * 125 + "e.png")),
]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_odd_names_come_back_from_a_table(tmp_path, table_of, name):
    for odd in ODD_NAMES:
        photo(tmp_path / "in" / os.fsdecode(odd))
    rows = table_of(name)
    assert sorted(os.fsencode(unescape(one)) for one in rows["input"]) == sorted(ODD_NAMES)
    assert (rows["face"] == 0).all()


def test_files_of_the_same_content_have_equal_rows(tmp_path, table_of):
    path = photo(tmp_path / "in" / "a.png", 20)
    (tmp_path / "in" / "b.png").write_bytes(path.read_bytes())
    (tmp_path / "in" / "c.png").symlink_to(path)
    rows = table_of()
    assert rows["input"].tolist() == ["a.png", "b.png", "c.png"]
    assert (rows.drop(columns="input").nunique(dropna=False) == 1).all()


# Videos ----------------------------------------------------------------------------------------------------


def reads_as_counted(path, count):
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(count))
    assert media.count_frames(path, exact=True) == count
    return frames


@pytest.mark.parametrize("announced", [3, 5000])
def test_a_wrong_number_of_frames_in_the_header_changes_nothing(tmp_path, announced):
    path = encode(tmp_path / "v.avi", tick=Fraction(1, 25))
    data = bytearray(path.read_bytes())
    for chunk, offset in ((b"avih", 24), (b"strh", 40)):
        place = data.index(chunk) + offset
        assert int.from_bytes(data[place : place + 4], "little") == 20
        data[place : place + 4] = announced.to_bytes(4, "little")
    path.write_bytes(data)
    assert media.count_frames(path) == announced
    assert reads_as_counted(path, 20)[-1].time_s == pytest.approx(19 / 25)


@pytest.mark.parametrize(
    ("pixels", "height", "width"),
    [
        ("yuv444p", 48, 64),
        ("yuv420p", 49, 65),
        ("yuv422p10le", 48, 64),
        ("yuv420p12le", 51, 67),
        ("gray", 49, 65),
    ],
)
def test_every_pixel_format_and_odd_sizes_are_read(tmp_path, pixels, height, width):
    picture = corners(height, width)
    frames = reads_as_counted(
        encode(tmp_path / "v.mkv", [picture] * 3, codec="ffv1", gop_size=1, pix_fmt=pixels), 3
    )
    for frame in frames:
        assert frame.rgb.shape == (height, width, 3)
        assert np.abs(frame.rgb.astype(int) - picture).mean() < 3


@pytest.mark.parametrize(
    ("name", "codec"), [("v.ts", "mpeg2video"), ("v.mpg", "mpeg2video"), ("v.ts", "libx264")]
)
@pytest.mark.parametrize("pause_s", [0, 300])
def test_a_film_that_changes_its_size_keeps_every_frame(tmp_path, name, codec, pause_s):
    if codec not in av.codecs_available:
        pytest.skip(f"no {codec}")
    path, parts, sizes = tmp_path / name, [], [(96, 128), (48, 64), (96, 128)]
    for number, size in enumerate(sizes):
        pictures = [np.full((*size, 3), 10 + 4 * (n + 10 * number), np.uint8) for n in range(10)]
        stamps = [3600 * (n + 10 * number) + 90_000 * pause_s * number for n in range(10)]
        encode(path, pictures, stamps, codec, tick=Fraction(1, 90_000))
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    frames = reads_as_counted(path, 30)
    assert [frame.rgb.shape[:2] for frame in frames] == [size for size in sizes for _ in range(10)]
    assert [round((frame.rgb.mean() - 10) / 4) for frame in frames] == list(range(30))
    steps = np.diff([frame.time_s for frame in frames])
    assert (steps > 0).all() and steps.max() < 0.1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_film_of_one_frame_and_one_of_a_thousand_frames_a_second(tmp_path, suffix):
    tick = Fraction(1, 25) if suffix == "avi" else Fraction(1, 1000)
    (frame,) = reads_as_counted(encode(tmp_path / f"one.{suffix}", [corners()], tick=tick), 1)
    assert frame.time_s == 0
    fast = encode(tmp_path / f"fast.{suffix}", [corners()] * 50, rate=1000, tick=Fraction(1, 1000))
    frames = reads_as_counted(fast, 50)
    assert [frame.time_s for frame in frames] == pytest.approx([n / 1000 for n in range(50)], abs=1e-6)
    assert [frame.index for frame in read(fast, fps=100)] == [0, 10, 20, 30, 40]


def test_a_film_that_changes_its_size_is_predicted(tmp_path, table_of):
    (tmp_path / "in").mkdir()
    path, parts = tmp_path / "in" / "v.ts", []
    for number, size in enumerate([(96, 128), (48, 64)]):
        stamps = [3600 * (n + 8 * number) for n in range(8)]
        parts.append(
            encode(path, [corners(*size)] * 8, stamps, "mpeg2video", tick=Fraction(1, 90_000)).read_bytes()
        )
    path.write_bytes(b"".join(parts))
    rows = table_of(aligned=False)
    assert rows["frame"].tolist() == list(range(16)) and set(rows["status"]) == {"no_face"}
    assert rows["AU12_p"].isna().all()


def test_a_codec_without_a_decoder_is_named_and_has_a_row(tmp_path):
    path = encode(tmp_path / "v.mkv")
    name = b"V_MPEG4/ISO/ASP"
    path.write_bytes(path.read_bytes().replace(name, b"V_UNKNOWN".ljust(len(name), b"X")))
    with pytest.raises(MediaError, match="unreadable: this build of FFmpeg has no decoder for the video"):
        read(path)
    (entry,) = images.read_inputs(inputs.find_inputs([path]))
    assert (entry.name, entry.reason) == ("v.mkv", "unreadable")


def test_frames_beyond_the_limit_are_refused_before_decoding(tmp_path, monkeypatch):
    path = encode(tmp_path / "v.mkv")
    monkeypatch.setattr(container, "MAX_PIXELS", 64 * 48 - 1)
    monkeypatch.setattr(video, "_decode_packet", lambda packet: pytest.fail("decoded"))
    with pytest.raises(MediaError, match="too_large: frames of 64 x 48"):
        read(path)


# Labels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "says"),
    [(0, ""), (1, "frames of the labels begin at 1, of the faces at 0: are they one off?"), (5, "")],
)
def test_labels_whose_frames_seem_one_off_are_told(tmp_path, first, says):
    faces = pd.DataFrame({"source": "v.mp4", "frame": range(10), "face": 0, "status": "ok"})
    faces = faces.assign(id=[f"v.mp4#{n}.0" for n in range(10)], subject=None, clip="v.mp4")
    faces.loc[0, "status"] = "no_face"
    rows = "".join(f"v.mp4,{first + n},1\n" for n in range(10))
    (tmp_path / "labels.csv").write_text("source,frame,AU12_o\n" + rows)
    found = labels.join_labels(faces, tmp_path / "labels.csv")
    assert found.notes == ((says,) if says else ()) and says in found.summary()
    assert found.unmatched == max(1, first)
