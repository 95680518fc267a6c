"""Rendering end to end: truth, determinism, resuming; and the sample that comes with the package."""

import copy
import io
import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import facts, synth
from maeface.data import manifest
from maeface.data.shards import Shards
from maeface.errors import ConfigError, DataError, ResourceError
from maeface.studio import cast, rig, sheet, store
from maeface.studio.cast import Action
from maeface.studio.rig import AUS

SAMPLE = Path(str(resources.files("maeface") / "sample"))
SMALL = synth.Settings(subjects=6, images=1, clips=1, clip_subjects=1, clip_frames=2, size=24, samples=1)


def jpeg(folder, row):
    return np.asarray(Image.open(io.BytesIO(Shards(folder).read(row))))


@pytest.fixture(scope="session")
def rig_file(shared):
    pytest.importorskip("mitsuba")
    return shared / "rig" / "ict_facekit.npz"


@pytest.fixture(scope="module")
def studio(rig_file):
    from maeface.studio.scene import Studio

    return Studio(rig.load(rig_file), 96, 4)


@pytest.fixture(scope="module")
def made(rig_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("synth")
    return out, synth.run(rig_file, out, SMALL, workers=2)


def test_a_prepared_folder_with_labels(made):
    out, summary = made
    rows = manifest.load(out)
    assert summary.images == len(rows) == 8 and rows["id"].is_unique
    assert set(rows["subject"]) == {f"S{n:03d}" for n in range(1, 7)}
    clip = rows[rows["clip"].notna()]
    assert clip["frame"].tolist() == [0, 1] and clip["time_s"].tolist() == [0.0, 1 / 24]
    assert all(jpeg(out, row).shape == (24, 24, 3) for _, row in rows.iterrows())
    labelled = manifest.join_labels(rows, out / synth.LABELS)
    assert len(labelled.rows) == 8 and set(labelled.aus_occurrence) == set(AUS)


def test_an_end_that_was_killed_before_goes_on_to_the_same_bytes(made, rig_file, tmp_path):
    out, _ = made
    synth._begin(tmp_path, SMALL)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / ".00001.tar.1.tmp").write_bytes(b"half")
    synth.run(rig_file, tmp_path, SMALL, workers=1)
    for name in ("manifest.parquet", "labels.parquet", "shards.json", "shards/00000.tar", "shards/00001.tar"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_a_shard_that_is_done_is_not_made_again(made, rig_file, monkeypatch):
    out, _ = made
    monkeypatch.setattr(synth, "_render", lambda *a: pytest.fail("rendered again"))
    assert synth.run(rig_file, out, SMALL).images == 8


def test_other_settings_in_the_same_folder(made, rig_file):
    out, _ = made
    with pytest.raises(ConfigError, match="was begun with seed = 0, now it is 1"):
        synth.run(rig_file, out, synth.Settings(**{**synth.asdict(SMALL), "seed": 1}))


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"quality": 100}, {"images": 0}, {"size": 3}])
def test_settings_out_of_range(wrong, tmp_path):
    with pytest.raises(ConfigError):
        synth.run(tmp_path / "rig.npz", tmp_path, synth.Settings(**wrong))


def test_no_rig(tmp_path):
    with pytest.raises(DataError, match="no rig file"):
        synth.run(tmp_path / "ict_facekit.npz", tmp_path / "out")


def test_no_mitsuba(rig_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    with pytest.raises(ResourceError, match=r"pip install 'maeface\[synth\]'"):
        synth.run(rig_file, tmp_path / "out")


def test_the_points_lie_on_the_picture(studio):
    """Where the points say the eyes are there is an iris: darker than the skin below it."""
    who = cast.subject(0, 4)
    for yaw in (-25.0, 0.0, 25.0):
        view = cast.replace(sheet.PLAIN, yaw=yaw)
        picture = studio.shoot(studio.actor(who, 0), view, Action({}, {}, (0.0, 0.0)), 1)
        grey = picture.pixels.mean(-1)
        for x, y in picture.points[:2]:
            eye, cheek = grey[int(y), int(x)], grey[int(y) + 10, int(x)]
            assert eye < cheek - 20
        x1, y1, x2, y2 = picture.box
        assert (picture.points > (x1, y1)).all() and (picture.points < (x2, y2)).all()
        nose = picture.points[2, 0] - picture.points[:2, 0].mean()
        assert abs(nose) < 1.5 if yaw == 0 else np.sign(nose) == np.sign(yaw)


def test_light_comes_from_where_the_lamp_is(studio):
    actor = studio.actor(cast.subject(0, 4), 0)
    halves = []
    for azimuth in (60.0, -60.0):
        lamp = ((azimuth, 10.0, 15.0, 1.0, (1.0, 1.0, 1.0)),)
        view = cast.replace(sheet.PLAIN, yaw=0.0, lamps=lamp, ambient=(0.1, 0.1, 0.1))
        face = sheet.face_of(studio.shoot(actor, view, Action({}, {}, (0.0, 0.0)), 1), 64).astype(float)
        halves.append(face[24:50, 40:54].mean() - face[24:50, 10:24].mean())
    assert halves[0] > 20 and halves[1] < -20


def test_lips_parted_is_what_the_head_shows(studio):
    actor = studio.actor(cast.subject(0, 4), 0)

    def parted(found):
        return studio.head(actor, Action(found, {}, (0.0, 0.0)))[1][25]

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
    labels = pd.read_parquet(SAMPLE / synth.LABELS)
    stills = labels[labels["clip"].isna()]
    known = facts.dataset("synthau")
    assert set(AUS) == set(known.aus_intensity)
    for au in AUS:
        level, occurs = stills[f"AU{au:02d}_i"], stills[f"AU{au:02d}_o"]
        assert (occurs == (level >= known.threshold)).all()
        assert 0.15 <= occurs.mean() <= 0.5, au
        assert set(level) == {0, 1, 2, 3, 4, 5}, au


def test_the_sample_is_what_the_code_makes(studio):
    """One still is rendered again; a little room for another machine's arithmetic."""
    settings = synth.Settings(**json.loads((SAMPLE / synth.RECORD).read_text())["settings"])
    studio = copy.copy(studio)
    studio.frame, studio.samples = round(settings.size * synth.FRAME_PER_CROP), settings.samples
    shot = next(synth.shots(settings, 3))
    picture = studio.take(shot, settings.seed)
    row = manifest.load(SAMPLE).set_index("subject").loc[shot.subject.name].iloc[0]
    again = store._jpeg(sheet.face_of(picture, settings.size), settings.quality)
    again = np.asarray(Image.open(io.BytesIO(again))).astype(float)
    assert np.abs(again - jpeg(SAMPLE, row)).mean() < 1
    np.testing.assert_allclose(picture.box, row[["x1", "y1", "x2", "y2"]].astype(float), atol=0.01)
