"""The Python code of the page on formats runs."""

import re
from pathlib import Path

import pandas as pd
import pytest

from maeface.interchange import writing
from native_tables import native

PAGE = Path(__file__).parents[1] / "docs" / "user_guide" / "formats.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)


def write(name, **how):
    with writing.open_writer(Path(name), **how) as append:
        append(native(inputs=("film.mp4",)))


@pytest.fixture
def blocks(tmp_path, monkeypatch):
    assert len(BLOCKS) == 3
    monkeypatch.chdir(tmp_path)
    return BLOCKS


def test_tables_are_opened_with_pandas(blocks):
    write("film.csv", layout="openface")
    write("film.parquet")
    write("film.jsonl")
    exec(blocks[0], {})


def test_events_are_written(blocks, tmp_path):
    event = {"input": "film.mp4", "track": 0, "au": "AU12", "onset_s": 1.0, "offset_s": 2.0, "peak_i": 3.0}
    exec(blocks[1], {"events": pd.DataFrame([event])})
    names = {path.name for path in (tmp_path / "annotations").iterdir()}
    assert names == {"film.eaf", "film.srt", "events.boris", "events_boris.csv"}


def test_a_table_is_converted(blocks):
    write("film.csv")
    write("films.parquet")
    exec(blocks[2], {})
    assert "AU12_r" in pd.read_csv("film_openface.csv")
    assert set(pd.read_csv("films_long.csv")["au"]) >= {"AU12"}
