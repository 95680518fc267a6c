"""The miniature raw datasets of the tests are what they say: names, headers, numbers in the pictures."""

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import layouts
from maeface.data.readers import raw_dataset
from maeface.errors import ResourceError
from maeface_studio.output.layouts import roles
from maeface_studio.output.layouts.recording import Format, Video


def _frames(path):
    with av.open(str(path)) as container:
        return [layouts.number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_bp4d_as_images(tmp_path):
    truth = layouts.bp4d(tmp_path, frames=4, first=98, gap=3, before=1, after=1, unknown=0.3)
    written = pd.read_csv(tmp_path / "AUCoding" / "AU_OCC" / "M001_T2.csv")
    assert list(written) == [str(n) for n in range(100)]
    assert list(written["0"]) == [98, 99, 103, 104]
    mine = truth[truth["clip"] == "M001/T2"]
    assert list(mine["source"]) == [f"M001/T2/{n:04d}.jpg" for n in (98, 99, 103, 104)]
    assert set(mine["frame"]) == {0}
    assert np.array_equal(mine["AU17_o"].fillna(9), written["17"])
    assert (written["99"] == 9).all()
    path = tmp_path / "AU Intensity Codes3.0" / "AU10" / "M001_T2_AU10.csv"
    levels = pd.read_csv(path, header=None)
    assert np.array_equal(levels[1], mine["AU10_i"].fillna(9))
    assert truth["AU06_o"].isna().any()
    assert set(truth.filter(like="_i")) == {f"AU{au:02d}_i" for au in (6, 10, 12, 14, 17)}
    images = sorted(path.name for path in (tmp_path / "M001" / "T2").iterdir())
    assert images == [f"{n:04d}.jpg" for n in range(97, 106)]
    assert layouts.number(np.asarray(Image.open(tmp_path / "M001" / "T2" / "0103.jpg"))) == 103 % 52


def test_bp4d_as_videos(tmp_path):
    truth = layouts.bp4d(tmp_path, tasks=("T8",), kind="video", first=5, after=0, intensity_folder=None)
    assert _frames(tmp_path / "2F01_13.avi") == list(range(1, 12))
    assert list(truth["frame"][:5]) == [4, 5, 8, 9, 10]
    assert set(truth["source"]) == {"2F01_13.avi", "2M01_13.avi"}
    assert not any(name.endswith("_i") for name in truth)


def test_bp4dplus_has_its_own_order(tmp_path):
    truth = layouts.bp4dplus(tmp_path, subjects=("F082",), tasks=("T1",), frames=6)
    written = pd.read_csv(tmp_path / "AU_OCC" / "F082_T1.csv")
    at = [list(written).index(str(au)) for au in layouts.BP4D_AUS]
    assert at == [1, 2, 3, 5, 6, 8, 10, 12, 13, 15, 20, 21]
    assert np.array_equal(truth["AU24_o"], written["24"])
    numbers = _frames(tmp_path / "Videos" / "F082_T1.mp4")
    assert [numbers[frame] for frame in truth["frame"]] == list(written["0"])


def test_disfa(tmp_path):
    truth = layouts.disfa(tmp_path, frames=7, camera="right", labelled={"SN002": 6})
    assert _frames(tmp_path / "Video_RightCamera" / "RightVideoSN002_comp.avi") == list(range(7))
    assert truth.groupby("subject").size().to_dict() == {"SN001": 7, "SN002": 6}
    lines = (tmp_path / "ActionUnit_Labels" / "SN001" / "SN001_au26.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [str(n) for n in range(1, 8)]
    assert [int(line.split(",")[1]) for line in lines] == list(truth["AU26_i"][:7])
    assert np.array_equal(truth["AU26_o"], truth["AU26_i"] >= 2)
    assert len(list((tmp_path / "ActionUnit_Labels" / "SN001").iterdir())) == 12


@pytest.mark.parametrize(
    ("given", "first"),
    [({}, "SN001/0.png"), ({"base": 1, "padding": 5, "suffix": ".jpg"}, "SN001/00001.jpg")],
)
def test_disfa_as_images(tmp_path, given, first):
    truth = layouts.disfa(tmp_path, subjects=("SN001",), frames=3, kind="images", **given)
    assert truth["source"][0] == first
    pictures = [np.asarray(Image.open(tmp_path / source)) for source in truth["source"]]
    assert [layouts.number(picture) for picture in pictures] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "who", "first"), [("bp4d", "M018", 1), ("bp4dplus", "F082", 1), ("disfa", "SN001", 0)]
)
def test_the_readers_read_what_synth_writes(tmp_path, name, who, first):
    aus = {au: au % 6 for au in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26)}
    with roles.RECORDINGS[name](tmp_path, who, Format(fps=4, frames=3, quality=90)) as recording:
        for index in range(6):
            picture = np.full((32, 32, 3), layouts.grey(index), np.uint8)
            levels = {au: (level + index) % 6 for au, level in aus.items()}
            recording.add(index % 3, picture, levels)
    labels = raw_dataset.read(name, tmp_path, ("partial=true",)).labels
    taken = [index for index in range(6) if index % 3 >= first]
    assert len(labels) == len(taken) and set(labels["subject"]) == {who}
    assert labels["AU12_i" if name == "disfa" else "AU12_o"].tolist() == [
        (index % 6 if name == "disfa" else float(index % 6 >= 2)) for index in taken
    ]
    videos = {source: _frames(tmp_path / source) for source in set(labels["source"]) if name != "bp4d"}
    shown = [
        videos[source][frame] if videos else layouts.number(np.asarray(Image.open(tmp_path / source)))
        for source, frame in zip(labels["source"], labels["frame"], strict=True)
    ]
    assert shown == taken


def test_a_video_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, small_files):
    path, noise = tmp_path / "out.avi", np.random.default_rng(0)
    with pytest.raises(ResourceError, match=r"cannot write .*out\.avi: "), Video(path, "avi", 25) as video:
        for _ in range(20):
            video.add(noise.integers(0, 255, (256, 256, 3)).astype(np.uint8))
    assert list(tmp_path.iterdir()) == []
