"""The table of predictions as it is written piece by piece."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from maeface.prediction import table_writer

COLUMNS = [*table_writer.WHERE, "AU12_p"]


def rows(start, count):
    return pd.DataFrame(
        {
            "input": "film.mp4",
            "frame": np.arange(start, start + count),
            "time_s": np.arange(start, start + count) / 25,
            "face": np.zeros(count, np.int16),
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
    with table_writer.writer(tmp_path / "a.parquet", COLUMNS) as write:
        for start, count in zip(starts, parts, strict=False):
            write(rows(start, count))
        assert write.rows == sum(parts)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == groups
    if parts:
        expected = pd.concat([rows(start, count) for start, count in zip(starts, parts, strict=False)])
        pd.testing.assert_frame_equal(file.read().to_pandas(), expected.reset_index(drop=True))
