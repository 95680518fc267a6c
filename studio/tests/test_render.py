"""Rendering end to end: truth, determinism, resuming; and the sample that comes with the package."""

import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import facts
from maeface.data import manifest
from maeface.data.ingest import workers
from maeface.data.shards import FOLDER, Shards
from maeface.data.tables.labels import join_labels
from maeface.errors import ConfigError, DataError, ResourceError
from maeface_studio.camera import opengl, scene
from maeface_studio.cast import actions, subjects
from maeface_studio.cast.actions import Action
from maeface_studio.head import rig
from maeface_studio.head.rig import AUS
from maeface_studio.output import contact_sheets, render, shards
from maeface_studio.output.layouts import bp4d, bp4dplus, disfa, roles
from maeface_studio.output.layouts.recording import Format
from maeface_studio.output.settings import Settings, assign_roles, list_shards

SAMPLE = Path(str(resources.files("maeface") / "sample"))
SMALL = Settings(subjects=3, images=1, clips=1, clip_subjects=1, clip_frames=2, size=24, layout="disfa")


FORM = Format(fps=24, frames=30, quality=90)


def jpeg(folder, row):
    return np.asarray(Image.open(io.BytesIO(Shards(folder).read(row))))


@pytest.fixture(scope="module")
def studio(rig_file):
    return scene.Studio(rig.load(rig_file), 96)


@pytest.fixture(scope="module")
def made(rig_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("synth")
    return out, render.run(rig_file, out, SMALL, workers=2)


def test_a_prepared_folder_with_labels(made):
    out, summary = made
    rows = manifest.load(out)
    assert summary.images == len(rows) == 5 and rows["id"].is_unique
    assert set(rows["subject"]) == {f"S{n:03d}" for n in range(1, 4)}
    clip = rows[rows["clip"].notna()]
    assert clip["frame"].tolist() == [0, 1] and clip["time_s"].tolist() == [0.0, 1 / 24]
    assert all(jpeg(out, row).shape == (24, 24, 3) for _, row in rows.iterrows())
    labelled = join_labels(rows, out / shards.LABELS)
    assert len(labelled.rows) == 5 and set(labelled.aus_occurrence) == set(AUS)
    labels = pd.read_parquet(out / shards.LABELS)
    for au in rig.SIDED_AUS:
        left, right, both = (labels[f"AU{au:02d}_{kind}"] for kind in "LRi")
        assert ((left > 0) == (both > 0)).sum() >= 4 and labels[f"AU{au:02d}_L"].between(0, 5).all()
        stronger = np.maximum(left, right)
        assert (both == (stronger + 0.5).astype(int)).all() and (left != right).any() == (both > 0).any()
    assert leftovers(out) == []
    assert sorted(path.name for path in (out / FOLDER).iterdir()) == ["00000.tar", "00001.tar"]


def test_one_line_for_people(made):
    out, summary = made
    assert str(summary) == f"{out}: 5 images of 3 subjects; labels: {out / 'labels.parquet'}"


def test_clips_in_the_layout_of_disfa(made):
    out, _ = made
    folder = out / "disfa"
    assert sorted(path.name for path in folder.iterdir()) == ["ActionUnit_Labels", "Videos_LeftCamera"]
    with av.open(str(folder / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 24
    assert [frame.shape for frame in frames] == [(36, 36, 3)] * 2
    found = sorted(path.name for path in (folder / "ActionUnit_Labels" / "SN001").iterdir())
    assert found == sorted(f"SN001_au{au}.txt" for au in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26))
    labels = pd.read_parquet(out / shards.LABELS).set_index("clip").loc["S001/S001_T1"]
    for au in (1, 12, 25):
        text = (folder / "ActionUnit_Labels" / "SN001" / f"SN001_au{au}.txt").read_text()
        levels = labels[f"AU{au:02d}_i"].tolist()
        assert text == f"1,{levels[0]}\n2,{levels[1]}\n"


def test_a_recording_holds_what_it_is_given(tmp_path):
    red, green = np.full((33, 47, 3), (200, 20, 20), np.uint8), np.full((33, 47, 3), (20, 180, 20), np.uint8)
    with disfa.Recording(tmp_path, "SN012", FORM) as recording:
        for number in range(30):
            recording.add(number, red if number < 10 else green, {12: min(number, 5), 18: 4})
    with av.open(str(disfa.video_path(tmp_path, "SN012"))) as video:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(video=0)]
    assert len(frames) == 30 and frames[0].shape == (32, 46, 3)
    assert np.abs(frames[5] - red[:32, :46]).mean() < 6 and np.abs(frames[25] - green[:32, :46]).mean() < 6
    assert disfa.labels_path(tmp_path, "SN012", 12).read_text().splitlines()[:7:3] == ["1,0", "4,3", "7,5"]
    assert set(disfa.labels_path(tmp_path, "SN012", 26).read_text().splitlines()) == {
        f"{n},0" for n in range(1, 31)
    }


def test_a_recording_that_breaks_off_leaves_nothing(tmp_path):
    with pytest.raises(KeyError, match="stop"), disfa.Recording(tmp_path, "SN001", FORM) as recording:
        recording.add(0, np.zeros((16, 16, 3), np.uint8), {})
        raise KeyError("stop")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def flat(number):
    return np.full((32, 32, 3), 30 + 8 * number, np.uint8)


def test_a_recording_of_bp4d(tmp_path):
    with bp4d.Recording(tmp_path, "M018", Format(fps=4, frames=3, quality=90)) as recording:
        for clip in range(2):
            for frame in range(3):
                recording.add(frame, flat(3 * clip + frame), {12: frame + clip, 6: 2, 26: 5})
    pictures = sorted(path.name for path in (tmp_path / "M018" / "T2").iterdir())
    assert pictures == ["0001.jpg", "0002.jpg", "0003.jpg"]
    second = np.asarray(Image.open(tmp_path / "M018" / "T2" / "0002.jpg")).astype(int)
    assert np.abs(second - flat(4)).max() <= 2
    table = pd.read_csv(tmp_path / "AUCoding" / "AU_OCC" / "M018_T2.csv")
    assert list(table) == [str(number) for number in range(100)]
    assert table["0"].tolist() == [2, 3]  # the first frame is not coded
    assert table["12"].tolist() == [1, 1] and table["6"].tolist() == [1, 1] and table["13"].tolist() == [9, 9]
    folder = tmp_path / "AU Intensity Codes3.0"
    assert sorted(path.name for path in folder.iterdir()) == ["AU06", "AU10", "AU12", "AU14", "AU17"]
    assert (folder / "AU12" / "M018_T1_AU12.csv").read_text() == "2,1\n3,2\n"
    assert (folder / "AU10" / "M018_T1_AU10.csv").read_text() == "2,9\n3,9\n"


def test_a_long_clip_of_bp4d_has_a_gap():
    assert [bp4d.is_coded(frame, 24) for frame in (0, 1, 11, 12, 13, 14, 23)] == [0, 1, 1, 0, 0, 1, 1]
    assert bp4d.is_coded(0, 1) and all(bp4d.is_coded(frame, 23) for frame in range(1, 23))


def test_a_recording_of_bp4dplus(tmp_path):
    with bp4dplus.Recording(tmp_path, "F082", Format(fps=2.5, frames=4, quality=90)) as recording:
        for clip in range(2):
            for frame in range(4):
                recording.add(frame, flat(4 * clip + frame), {24: frame, 6: 0})
    assert sorted(path.name for path in (tmp_path / "Videos").iterdir()) == ["F082_T1.mp4", "F082_T6.mp4"]
    with av.open(str(bp4dplus.video_path(tmp_path, "F082", "T6"))) as video:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 2.5
    assert [round((frame.mean() - 30) / 8) for frame in frames] == [4, 5, 6, 7]
    table = pd.read_csv(tmp_path / "AU_OCC" / "F082_T6.csv")
    assert [list(table).index(str(au)) for au in facts.dataset("bp4dplus").aus_occurrence] == [
        *(1, 2, 3, 5, 6, 8, 10, 12, 13, 15, 20, 21)
    ]
    assert table["0"].tolist() == [2, 3, 4] and table["24"].tolist() == [0, 1, 1]
    assert table["6"].tolist() == [0, 0, 0] and table["1"].tolist() == [9, 9, 9]


@pytest.mark.parametrize("layout", [bp4d, bp4dplus])
def test_a_recording_that_breaks_off_has_no_labels_of_the_clip(layout, tmp_path):
    with pytest.raises(KeyError, match="stop"), layout.Recording(tmp_path, "F001", FORM) as recording:
        recording.add(0, flat(0), {})
        raise KeyError("stop")
    assert [path for path in tmp_path.rglob("*") if path.suffix != ".jpg" and path.is_file()] == []


@pytest.mark.parametrize("name", ["bp4d", "bp4dplus", "disfa"])
def test_everybody_is_played_by_somebody_of_their_sex(name):
    names = facts.dataset(name).subject_names
    everyone = roles.assign_roles(0, len(names), 2, None, name)
    assert sorted(role.name for role in everyone) == sorted(names)
    assert len({role.subject.number for role in everyone}) == len(names)
    if name == "disfa":
        assert [role.name for role in everyone] == list(names)
    else:
        assert all(role.name[0].lower() == role.subject.sex for role in everyone)
        men = [role.name for role in everyone if role.subject.sex == "m"]
        assert men == sorted(men)
    shown = {clip for role in everyone for clip in role.clips}
    assert shown == set(range(9) if name == "bp4dplus" else range(2))


def test_without_a_layout_everybody_keeps_their_number():
    everyone = roles.assign_roles(0, 5, 11, 2, None)
    assert [role.subject.number for role in everyone] == list(range(5))
    assert [role.clips for role in everyone] == [tuple(range(11))] * 2 + [()] * 3
    assert {role.name for role in everyone} == {None}


def test_a_cast_goes_on_in_another_folder():
    everyone = Settings(subjects=6)
    second = replace(everyone, subjects=2, first_subject=4)
    assert assign_roles(everyone)[4:] == assign_roles(second)


def test_with_fewer_clips_only_those_are_named():
    everyone = roles.assign_roles(0, 60, 1, 3, "disfa")
    assert [role.name for role in everyone[:4]] == ["SN001", "SN002", "SN003", None]
    assert [role.subject.number for role in everyone] == list(range(60))


def test_clips_in_the_layout_of_bp4d(rig_file, tmp_path):
    settings = Settings(subjects=2, images=0, clips=1, clip_frames=3, fps=1.5, size=24, layout="bp4d", seed=5)
    render.run(rig_file, tmp_path, settings, workers=1)
    rows, labels = manifest.load(tmp_path), pd.read_parquet(tmp_path / shards.LABELS)
    assert rows["time_s"].round(3).tolist() == [0.0, 0.667, 1.333] * 2
    names = json.loads((tmp_path / shards.RECORD).read_text())["subjects"]
    assert list(names) == ["S001", "S002"]
    for subject, name in names.items():
        assert subjects.draw_subject(5, int(subject[1:]) - 1).sex == name[0].lower()
        table = pd.read_csv(bp4d.occurrence_path(tmp_path / "bp4d", name, "T1"))
        mine = labels[labels["subject"] == subject]
        for au in facts.dataset("bp4d").aus_occurrence:
            assert table[str(au)].tolist() == mine[f"AU{au:02d}_o"].tolist()[1:]
        with Image.open(bp4d.image_path(tmp_path / "bp4d", name, "T1", 3)) as picture:
            assert picture.size == (36, 36)


def leftovers(out):
    return sorted(path.name for path in out.rglob("*") if path.name.endswith(".tmp") or path.name == "parts")


def bytes_of(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_a_stopped_run_goes_on_with_the_shards_that_are_left(made, rig_file, tmp_path, monkeypatch):
    out, _ = made
    render._record_settings(tmp_path, SMALL, rig_file, None)
    small = scene.Studio(rig.load(rig_file), round(SMALL.size * shards.FRAME_PER_CROP))
    told = []
    shards.render_shard(small, tmp_path, SMALL, 0, told.append)
    assert sum(told) == 4
    half = (
        ".synth.json.1.tmp",
        "shards/.00001.tar.1.tmp",
        "parts/.00001.parquet.1.tmp",
        "frames/S1/.a.1.tmp",
    )
    for name in half:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    asked = []

    def work(setup, items, *more):
        asked.extend(items)
        return workers.work(setup, items, *more)

    monkeypatch.setattr(shards, "work", work)
    render.run(rig_file, tmp_path, SMALL, workers=1)
    assert asked == [1]
    assert leftovers(tmp_path) == []
    assert bytes_of(tmp_path) == bytes_of(out)


def test_a_shard_whose_file_is_gone_is_made_again(rig_file, tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    for number in (0, 1):
        shards.rows_path(tmp_path, number).touch()
    (tmp_path / FOLDER).mkdir()
    shards.shard_path(tmp_path, 1).touch()
    asked = []
    monkeypatch.setattr(shards, "work", lambda setup, items, *more: (asked.append(i) for i in items))
    shards.render_shards(rig_file, None, tmp_path, SMALL, 1)
    assert asked == [0]


def test_stopping_by_hand_is_quick_and_leaves_no_half_file(rig_file, tmp_path):
    """One shard would take minutes; Ctrl-C reaches the caller only, as the processes ignore it."""
    out = tmp_path / "out"
    code = (
        "import signal, sys\nfrom pathlib import Path\nfrom maeface_studio.output import render\n"
        "from maeface_studio.output.settings import Settings\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored\n"
        "    settings = Settings(subjects=1, images=2000, size=24)\n"
        "    render.run(Path(sys.argv[1]), Path(sys.argv[2]), settings)\n"
    )
    (tmp_path / "main.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "main.py", rig_file, out], stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        until = time.monotonic() + 60
        while not list(out.glob("shards/.*.tmp")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        begun = time.monotonic()
        error = process.communicate(timeout=60)[1].decode()
        assert time.monotonic() - begun < 15
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0 and "KeyboardInterrupt" in error
    assert list((out / FOLDER).iterdir()) == []


def test_a_shard_that_is_done_is_not_made_again(made, rig_file, monkeypatch):
    out, _ = made
    monkeypatch.setattr(render, "render_shards", lambda *a: pytest.fail("rendered again"))
    shards.rows_path(out, 0).parent.mkdir()  # killed between the manifest and the end
    assert render.run(rig_file, out, SMALL).images == 5
    assert leftovers(out) == []


def test_other_settings_in_the_same_folder(made, rig_file):
    out, _ = made
    with pytest.raises(ConfigError, match="was begun with seed = 0, now it is 1"):
        render.run(rig_file, out, Settings(**{**asdict(SMALL), "seed": 1}))


def test_an_earlier_look_in_the_same_folder(made, rig_file, tmp_path):
    record = json.loads((made[0] / render.SETTINGS).read_text())
    assert record.pop("look") == render.LOOK > 1
    (tmp_path / render.SETTINGS).write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=rf"pictures differ \(look 1, now {render.LOOK}\)"):
        render.run(rig_file, tmp_path, SMALL)


def test_another_rig_in_the_same_folder(made, rig_file, tmp_path):
    out, _ = made
    for name in ("ict_facekit.npz", "vertex_indices.json"):
        shutil.copy(rig_file.with_name(name), tmp_path)
    with np.load(rig_file) as stored:
        arrays = dict(stored)
    np.savez(tmp_path / "ict_facekit.npz", **arrays, note=np.zeros(1))
    with pytest.raises(ConfigError, match="was begun with rig_sha256 = "):
        render.run(tmp_path / "ict_facekit.npz", out, SMALL)


@pytest.mark.parametrize("name", ["shards/00000.tar", "inputs.parquet", "manifest.parquet"])
def test_a_folder_of_something_else_is_left_alone(name, rig_file, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(ConfigError, match="contains another dataset"):
        render.run(rig_file, tmp_path, SMALL)
    assert (tmp_path / name).read_bytes() == b"mine" and not (tmp_path / "synth.json").exists()


def test_a_damaged_record(rig_file, tmp_path):
    (tmp_path / "synth.json").write_text("{")
    with pytest.raises(DataError, match=r"synth\.json is damaged"):
        render.run(rig_file, tmp_path, SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"subjects": 0}, "subjects must be at least 1, got 0"),
        ({"quality": 100}, "quality must be 1 to 95, got 100"),
        ({"one_sided": 1.5}, "one_sided must be 0 to 1, got 1.5"),
        ({"resting": -1.0}, "resting must be 0 to 2, got -1"),
        ({"first_subject": -1}, "first_subject must be at least 0, got -1"),
        ({"size": 3}, "size must be at least 16, got 3"),
        ({"clip_subjects": -1}, "clip_subjects must be at least 0, got -1"),
        ({"images": 0}, "nothing to render"),
        ({"layout": "disfa"}, r"layout of DISFA .* contains clips only; give --clips"),
        (
            {"layout": "bp4d", "clips": 9, "subjects": 41},
            "BP4D-Spontaneous has 8 tasks per subject, but 9 clips",
        ),
        (
            {"layout": "disfa", "clips": 1},
            "DISFA .* has 27 subjects, but clips of 40 .* give --clip-subjects 27",
        ),
        ({"layout": "bp5d", "clips": 1}, "layout must be one of bp4d, bp4dplus, disfa, got bp5d"),
        ({"fps": float("nan")}, "fps must be 0.1 to 240, got nan"),
        ({"images": 0, "clips": 1, "clip_subjects": 0}, "nothing to render"),
    ],
)
def test_settings_out_of_range(wrong, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        render.run(tmp_path / "rig.npz", tmp_path, Settings(**wrong))


def test_no_workers(tmp_path):
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        render.run(tmp_path / "rig.npz", tmp_path, SMALL, workers=0)


def test_subjects_without_pictures_have_no_shard():
    assert list_shards(Settings(images=0, clips=1, clip_subjects=6)) == [0, 1, 2]
    assert list_shards(SMALL) == [0, 1]


def test_no_rig(tmp_path):
    with pytest.raises(DataError, match="no rig file"):
        render.run(tmp_path / "ict_facekit.npz", tmp_path / "out")


def test_no_opengl(rig_file, tmp_path, monkeypatch):
    def fail(**options):
        raise ValueError("no display")

    monkeypatch.setattr(opengl.moderngl, "create_context", fail)
    with pytest.raises(ResourceError, match=r"needs OpenGL 3\.3 \(no display; no display\); .* install Mesa"):
        render.run(rig_file, tmp_path / "out")


def test_torch_can_compile_after_something_was_drawn(rig_file):
    """Both bring an LLVM; loaded in the wrong order they crash the process."""
    pytest.importorskip("triton")
    code = "from maeface_studio.camera import opengl\nopengl.check_opengl()\n"
    code += "import triton._C.libtriton\nprint('both')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "both\n"), done.stderr


def test_the_points_lie_on_the_picture(studio):
    """Where the points say the eyes are there is an iris: darker than the skin below it."""
    who = subjects.draw_subject(0, 4)
    for yaw in (-25.0, 0.0, 25.0):
        view = replace(contact_sheets.PLAIN, yaw=yaw)
        picture = studio.render(studio.actor(who, 0), view, Action({}, {}, (0.0, 0.0)), 1)
        grey = picture.pixels.mean(-1)
        for x, y in picture.points[:2]:
            column, row = int(x), int(y)
            eye = grey[row - 1 : row + 2, column - 1 : column + 2].min()
            cheek = grey[row + 8 : row + 12, column - 1 : column + 2].mean()
            assert eye < 0.75 * cheek  # in the shade of the nose, too
        x1, y1, x2, y2 = picture.box
        assert (picture.points > (x1, y1)).all() and (picture.points < (x2, y2)).all()
        nose = picture.points[2, 0] - picture.points[:2, 0].mean()
        assert abs(nose) < 1.5 if yaw == 0 else np.sign(nose) == np.sign(yaw)


def test_studios_in_one_process_do_not_disturb_one_another(studio):
    shot = next(actions.plan_stills(0, subjects.draw_subject(0, 4), 1))
    alone = studio.render_shot(shot, 0).pixels
    other = scene.Studio(studio.rig, 64)
    for number in range(3):  # so that the other frees what it painted first
        other.render_shot(next(actions.plan_stills(0, subjects.draw_subject(0, number), 1)), 0)
    del other
    gc.collect()
    np.testing.assert_array_equal(studio.render_shot(shot, 0).pixels, alone)


def test_light_comes_from_where_the_lamp_is(studio):
    actor = studio.actor(subjects.draw_subject(0, 4), 0)
    halves = []
    for azimuth in (60.0, -60.0):
        lamp = ((azimuth, 10.0, 15.0, 1.0, (1.0, 1.0, 1.0)),)
        view = replace(contact_sheets.PLAIN, yaw=0.0, lamps=lamp, ambient=(0.1, 0.1, 0.1))
        face = contact_sheets.crop_face(studio.render(actor, view, Action({}, {}, (0.0, 0.0)), 1), 64).astype(
            float
        )
        halves.append(face[24:50, 40:54].mean() - face[24:50, 10:24].mean())
    assert halves[0] > 20 and halves[1] < -20


def test_lips_parted_is_what_the_head_shows(studio):
    actor = studio.actor(subjects.draw_subject(0, 4), 0)

    def parted(found):
        return studio.pose_head(actor, Action(found, {}, (0.0, 0.0)))[1][25]

    assert parted({}) == 0 and parted({24: 5.0}) < 0.5
    assert parted({26: 4.0}) > 2.5 and parted({25: 4.0}) > 2
    assert parted({26: 2.0, 17: 5.0}) < parted({26: 2.0})


def test_the_sample_is_whole():
    rows = manifest.load(SAMPLE)
    stills = rows[rows["clip"].isna()]
    assert len(stills) == 800 and (stills.groupby("subject").size() == 20).all()
    assert rows[rows["clip"].notna()].groupby("clip").size().tolist() == [48, 48]
    assert sum(file.stat().st_size for file in SAMPLE.rglob("*") if file.is_file()) < 6.3e6
    shards = Shards(SAMPLE)
    for _, row in rows.iloc[::37].iterrows():
        assert Image.open(io.BytesIO(shards.read(row))).size == (128, 128)
    assert "Permission is hereby granted" in (SAMPLE / "CREDITS").read_text()


def test_the_sample_is_balanced():
    labels = pd.read_parquet(SAMPLE / shards.LABELS)
    stills = labels[labels["clip"].isna()]
    known = facts.dataset("synthau")
    assert set(AUS) == set(known.aus_intensity)
    for au in AUS:
        level, occurs = stills[f"AU{au:02d}_i"], stills[f"AU{au:02d}_o"]
        assert (occurs == (level >= known.threshold)).all()
        assert 0.15 <= occurs.mean() <= 0.5, au
        assert set(level) == {0, 1, 2, 3, 4, 5}, au


def test_settings_of_clips_that_are_not_made_are_told(tmp_path, capsys):
    settings = Settings(subjects=1, images=1, clip_frames=9, fps=12.0)
    with pytest.raises(DataError, match="no rig file"):
        render.run(tmp_path / "no.npz", tmp_path / "out", settings)
    assert "clip_frames and fps have no effect: no clip is rendered" in capsys.readouterr().err
    with pytest.raises(DataError, match="no rig file"):
        render.run(tmp_path / "no.npz", tmp_path / "out", Settings(subjects=1, images=1))
    assert "effect" not in capsys.readouterr().err
