"""The table of predictions as it is written piece by piece."""

import csv

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maeface.data.tables import table_file
from maeface.prediction import rows as table_rows
from maeface.prediction import table_writer

SCHEMA = table_rows.schema_of([*table_writer.WHERE, "AU12_p"])


def rows(start, count):
    return pd.DataFrame(
        {
            "input": "film.mp4",
            "frame": np.arange(start, start + count),
            "time_s": np.arange(start, start + count) / 25,
            "face": np.zeros(count, np.int16),
            "track": np.ones(count, np.int32),
            "status": "ok",
            "AU12_p": np.linspace(0, 1, count, dtype=np.float32),
        }
    )


@pytest.mark.parametrize(
    ("parts", "groups"),
    [([], []), ([3], [3]), ([40, 40, 40], [80, 40]), ([70, 0, 70], [70, 70]), ([300, 1], [300, 1])],
)
def test_row_groups_are_large(tmp_path, monkeypatch, parts, groups):
    monkeypatch.setattr(table_writer, "ROW_GROUP", 75 if parts != [70, 0, 70] else 70)
    starts = np.cumsum([0, *parts])
    with table_writer.writer(tmp_path / "a.parquet", SCHEMA) as write:
        for start, count in zip(starts, parts, strict=False):
            write(pa.Table.from_pandas(rows(start, count), SCHEMA, preserve_index=False))
        assert write.rows == sum(parts)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == groups
    if parts:
        expected = pd.concat([rows(start, count) for start, count in zip(starts, parts, strict=False)])
        pd.testing.assert_frame_equal(file.read().to_pandas(), expected.reset_index(drop=True))


def test_csv_is_what_pandas_reads_and_writes(tmp_path):
    """Any name, the fewest digits that give back the number, and an empty cell for a missing one."""
    names = ["a,b.png", 'x"y', "plain", "é", " space", "two\nlines", "", "c", "d", "e"]
    numbers = np.array([1, 0, 0.997, 1e-5, 1.5e-7, 123456.78, 1e10, 3.4e-30, -0.0, np.nan], np.float32)
    times = [0, 2.53, 1 / 3, 10, 1e-5, 123456789.25, 1e16, 5, 0.1, 0.1 + 0.2]
    frame = rows(0, 10).assign(input=names, AU12_p=numbers, time_s=times)
    with table_writer.writer(tmp_path / "a.csv", SCHEMA) as write:
        for part in (frame[:3], frame[3:3], frame[3:]):
            write(pa.Table.from_pandas(part, SCHEMA, preserve_index=False))
    assert write.statuses == {"ok": 10}
    read = pd.read_csv(tmp_path / "a.csv", keep_default_na=False, na_values={"AU12_p": [""]})
    pd.testing.assert_frame_equal(read.astype(frame.dtypes), frame, check_exact=True)
    with table_file.open_csv(tmp_path / "a.csv") as table:
        cells = [row.cells for row in table.rows]
    assert [row[0] for row in cells] == names and cells[-1][6] == ""
    text = (tmp_path / "a.csv").read_text().splitlines()
    assert text[1] == '"a,b.png",0,0.0,0,1,ok,1.0' and text[3] == "plain,2,0.3333333333333333,0,1,ok,0.997"
    frame.to_csv(tmp_path / "b.csv", index=False)
    with (tmp_path / "a.csv").open(newline="") as one, (tmp_path / "b.csv").open(newline="") as other:
        for ours, theirs in zip(csv.reader(one), csv.reader(other), strict=True):
            assert ours[:2] == theirs[:2] and ours[3:6] == theirs[3:6]
