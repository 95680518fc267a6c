import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maeface.data import manifest
from maeface.errors import ConfigError, DataError


def table(count, status="ok", first=0):
    values = {name: [None] * count for name in manifest.COLUMNS}
    values["id"] = [f"{first + row}.jpg#0.0" for row in range(count)]
    values["source"] = [f"{first + row}.jpg" for row in range(count)]
    values["status"] = [status] * count
    return pa.table(values, schema=manifest.SCHEMA)


def test_columns_are_the_documented_ones():
    assert manifest.COLUMNS == tuple(
        "id source subject clip frame time_s face x1 y1 x2 y2 p0x p0y p1x p1y p2x p2y p3x p3y p4x p4y "
        "score angle shard offset size status detail".split()
    )


def test_write_then_load(tmp_path):
    count = manifest.write(tmp_path / manifest.FILE, [table(3), table(2, "no_face", first=3)])
    assert count == 5
    assert len(manifest.load(tmp_path)) == 3
    rows = manifest.load(tmp_path, all_rows=True)
    assert rows["status"].tolist() == ["ok"] * 3 + ["no_face"] * 2
    assert list(rows.columns) == list(manifest.COLUMNS)


def test_many_parts_become_few_row_groups(tmp_path):
    manifest.write(tmp_path / "many.parquet", (table(256, first=256 * part) for part in range(100)))
    file = pq.ParquetFile(tmp_path / "many.parquet")
    assert file.metadata.num_rows == 25_600
    assert file.num_row_groups == 2


def test_a_plain_folder_is_read_too(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.PNG", "1.jpg", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    rows = manifest.load(tmp_path)
    assert rows["source"].tolist() == ["1.jpg", "b/2.PNG"]
    assert rows["id"].tolist() == ["1.jpg#0.0", "b/2.PNG#0.0"]
    assert rows["shard"].isna().all()
    assert list(rows.columns) == list(manifest.COLUMNS)
    assert rows["frame"].dtype == np.int32


def test_wrong_folders(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        manifest.load(tmp_path / "missing")
    with pytest.raises(DataError, match="no image"):
        manifest.load(tmp_path)
    (tmp_path / "shards").mkdir()
    with pytest.raises(DataError, match="did not finish"):
        manifest.load(tmp_path)
    manifest.write(tmp_path / manifest.FILE, [table(2, "no_face")])
    with pytest.raises(DataError, match="has no face"):
        manifest.load(tmp_path)


def test_a_damaged_or_newer_manifest(tmp_path):
    path = tmp_path / manifest.FILE
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="is damaged"):
        manifest.load(tmp_path)
    newer = table(1).replace_schema_metadata({manifest.VERSION_KEY: b"99"})
    pq.write_table(newer, path)
    with pytest.raises(DataError, match="format version 99, this maeface reads up to 1; update"):
        manifest.load(tmp_path)
    pq.write_table(table(1).drop_columns(["offset"]), path)
    with pytest.raises(DataError, match="lacks the columns offset"):
        manifest.load(tmp_path)


@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda b: b"\0" not in b), min_size=1, max_size=3))
def test_any_file_name_survives_as_source(parts):
    name = b"/".join(part.replace(b"/", b"_") for part in parts)
    path = Path(os.fsdecode(name))
    source = manifest.escape(path)
    assert json.loads(json.dumps(source)).encode()  # valid UTF-8
    assert os.fsencode(manifest.unescape(source)) == os.fsencode(path)


def test_escapes_are_readable():
    assert manifest.escape(Path("a/é ü.jpg")) == "a/é ü.jpg"
    assert manifest.escape(Path(os.fsdecode(b"a\xff.jpg"))) == r"a\xff.jpg"
    assert manifest.escape(Path(r"a\xff.jpg")) == r"a\x5cxff.jpg"
    assert manifest.escape(Path(r"a\b.jpg")) == r"a\b.jpg"


def test_subjects_fall_back_to_clip_and_source():
    rows = pa.table(
        {
            "subject": ["anna", None, None],
            "clip": ["v.mp4", "w.mp4", None],
            "source": ["v.mp4", "w.mp4", "a.jpg"],
        }
    ).to_pandas()
    assert manifest.subjects(rows).tolist() == ["anna", "w.mp4", "a.jpg"]


def test_folds_cut_by_subject():
    subjects = np.repeat([f"s{n}" for n in range(41)], 7)
    fold = manifest.folds(subjects, 3, seed=1)
    assert all(len(set(fold[subjects == name])) == 1 for name in set(subjects))
    assert sorted(np.bincount(fold[::7])) == [13, 14, 14]
    shuffled = np.random.default_rng(0).permutation(len(subjects))
    assert (manifest.folds(subjects[shuffled], 3, seed=1) == fold[shuffled]).all()
    assert (manifest.folds(subjects, 3, seed=2) != fold).any()
    # written down, because another machine or version must cut the same
    assert manifest.folds(["a", "b", "c", "d"], 2, seed=0).tolist() == [1, 1, 0, 0]
    with pytest.raises(DataError, match="5 folds need at least 5 subjects, got 4"):
        manifest.folds(["a", "b", "c", "d"], 5)


def test_hold_out_by_subject():
    subjects = np.repeat([f"s{n}" for n in range(10)], 5)
    held = manifest.hold_out(subjects, 0.2, seed=3)
    assert len(set(subjects[held])) == 2
    assert not set(subjects[held]) & set(subjects[~held])
    assert not manifest.hold_out(subjects, 0).any()
    assert len(set(subjects[manifest.hold_out(subjects, 0.001)])) == 1
    assert len(set(subjects[manifest.hold_out(subjects, 0.999)])) == 9
    with pytest.raises(DataError, match="at least 2 subjects, got 1"):
        manifest.hold_out(["a", "a"], 0.2)
