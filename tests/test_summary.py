"""Summaries: shares of time, events per minute, blinks, pairs of AUs."""

import numpy as np
import pandas as pd
import pytest

from drawn_tables import film, photo, together
from maeface.analysis.events import EventRules, find_events
from maeface.analysis.summary import PAIR_TYPES, TYPES, co_occurrence, summarize
from maeface.errors import DataError


def both(first, second):
    """A film of AU12 and AU25 with probabilities 0 and 1."""
    one, other = film(first), film(second, au="AU25")
    return one.join(other[["AU25_p", "AU25_i"]])


def test_shares_and_means_are_over_time():
    times = [0.0, 0.1, 0.2, 0.6, 0.7]  # stand for 0.1, 0.1, 0.4, 0.1 and 0.1 s
    row = summarize(film([0.0, 0.0, 1.0, 0.0, 0.0], times=times)).iloc[0]
    assert row["share"] == row["mean_p"] == pytest.approx(0.5)
    assert row["mean_i"] == pytest.approx(2.5)
    assert (row["peak_p"], row["peak_i"]) == (1.0, 5.0)
    assert row["seconds"] == row["valid_s"] == pytest.approx(0.8)
    assert (row["frames"], row["valid_frames"], row["valid_share"]) == (5, 5, pytest.approx(1.0))


def test_time_without_values_counts_neither_as_present_nor_as_absent():
    row = summarize(film([1.0, 1.0, None, None, 0.0, 0.0, None, None])).iloc[0]
    assert (row["share"], row["valid_share"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert (row["frames"], row["valid_frames"]) == (8, 4)


def test_a_late_frame_is_time_of_the_film_without_values():
    row = summarize(film([1.0] * 10, times=[*np.arange(9) * 0.1, 10.8])).iloc[0]
    assert row["seconds"] == pytest.approx(10.9)
    assert row["valid_s"] == pytest.approx(0.8 + 1.0 + 0.1)


def test_events_are_counted_by_minute_with_values():
    values = ([0.0] * 10 + [1.0] * 15) * 3 + [None] * 75  # 3 s with values, 3 s without
    row = summarize(film(values)).iloc[0]
    assert (row["events"], row["events_per_min"]) == (3, pytest.approx(60))
    assert row["mean_duration_s"] == pytest.approx(0.6)
    table = film(values)
    events = find_events(table, EventRules(min_duration_s=1))
    row = summarize(table, events).iloc[0]
    assert row["events"] == row["events_per_min"] == 0 and np.isnan(row["mean_duration_s"])


def test_the_column_of_occurrence_decides_what_is_present():
    table = film([0.0, 0.4, 0.6, 0.8])
    assert summarize(table)["share"].item() == pytest.approx(0.5)
    assert summarize(table, thresholds=0.7)["share"].item() == pytest.approx(0.25)
    assert summarize(table.assign(AU12=pd.array([0, 1, 1, 1], "Int8")))["share"].item() == pytest.approx(0.75)
    assert summarize(table.drop(columns="AU12_p"))["share"].item() == pytest.approx(
        0.75
    )  # intensities 0, 2, 3, 4


def test_blinks_are_counted_by_minute_only_where_frames_are_close():
    values = [*[0.0] * 20, *[1.0] * 4] * 5 + [0.0] * 5
    row = summarize(film(values, au="AU43")).iloc[0]
    assert row["blinks_per_min"] == pytest.approx(60)
    assert np.isnan(summarize(film(values, fps=5, au="AU43"))["blinks_per_min"].item())
    assert np.isnan(summarize(film(values))["blinks_per_min"].item())  # AU12


def test_each_person_and_each_photo_has_a_row():
    table = together(
        photo([1.0, 0.0], "a.jpg"),
        film([0.0] * 4, name="b.mp4"),
        film([1.0] * 4, name="b.mp4", track=1),
        photo([], "c.jpg"),
        film([None] * 4, name="d.mp4"),
    )
    found = summarize(table).set_index(["input", "track"])
    assert [(name, None if pd.isna(track) else track) for name, track in found.index] == [
        ("a.jpg", None),
        ("b.mp4", 0),
        ("b.mp4", 1),
        ("c.jpg", None),
        ("d.mp4", None),
    ]
    assert found["share"].to_numpy() == pytest.approx([0.5, 0, 1, np.nan, np.nan], nan_ok=True)
    assert found["valid_share"].tolist() == [1, 1, 1, 0, 0]
    assert found["events"].to_numpy() == pytest.approx([np.nan, 0, 1, np.nan, 0], nan_ok=True)
    assert found["seconds"].notna().tolist() == [False, True, True, False, True]


def test_empty_tables_have_all_columns():
    empty = film([1.0]).iloc[:0]
    assert list(summarize(empty).columns) == list(TYPES)
    assert list(co_occurrence(empty).columns) == list(PAIR_TYPES)
    with pytest.raises(DataError, match="no column status"):
        summarize(empty.drop(columns="status"))


def test_pairs_of_aus():
    row = co_occurrence(both([1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0, 0])).iloc[0]
    assert (row["au_1"], row["au_2"]) == ("AU12", "AU25")
    assert (row["share_1"], row["share_2"], row["share_both"]) == pytest.approx((3 / 8, 3 / 8, 2 / 8))
    assert row["expected_both"] == pytest.approx(9 / 64)
    assert row["jaccard"] == pytest.approx(2 / 4)
    assert row["phi"] == pytest.approx(np.corrcoef([1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0, 0])[0, 1])


def test_pairs_are_over_time_where_both_are_known():
    table = both([1, 1, 0, 0], [1, 0, 0, 0])
    table["time_s"] = [0.0, 0.3, 0.4, 0.5]
    assert co_occurrence(table)["share_both"].item() == pytest.approx(0.5)
    table.loc[0, "AU12_p"] = np.nan
    row = co_occurrence(table).iloc[0]
    assert row["share_1"] == pytest.approx(1 / 3) and row["share_2"] == 0


def test_pairs_without_variation_have_no_correlation():
    never = co_occurrence(both([0, 0, 0], [0, 0, 0])).iloc[0]
    assert np.isnan(never["jaccard"]) and np.isnan(never["phi"])
    always = co_occurrence(both([1, 1, 1], [1, 0, 1])).iloc[0]
    assert always["jaccard"] == pytest.approx(2 / 3) and np.isnan(always["phi"])
    unknown = co_occurrence(both([None] * 3, [None] * 3)).iloc[0]
    assert unknown[["share_1", "share_both", "jaccard", "phi"]].isna().all()


def test_numbers_are_rounded_where_tables_are_made():
    table = film([0.1] * 7 + [0.9] * 10 + [0.1] * 6, fps=29.97)
    table["AU12_p"] = table["AU12_p"].astype(np.float32)
    events = find_events(table)
    for made in (events, summarize(table, events), co_occurrence(both([0.1, 0.9, 0.9], [0.9, 0.9, 0.1]))):
        for name in made.select_dtypes("float"):
            digits = 3 if name == "seconds" or name.endswith("_s") else 6
            assert (made[name].dropna() == made[name].dropna().round(digits)).all(), name
    assert events["onset_s"].item() == round(7 / 29.97, 3)
    assert events["peak_p"].item() == 0.9  # not 0.8999999761581421
    assert "0.23400000" not in events.to_csv() and "-0.0," not in events.to_csv()
