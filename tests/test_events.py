"""Events of AUs: thresholds, durations, gaps, lost faces, the ends of a film, blinks."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawn_tables import film, photo, together
from maeface.analysis.events import TYPES, EventRules, find_events
from maeface.analysis.timeline import people
from maeface.errors import ConfigError, DataError

REST, WEAK, HALF, FULL = 0.1, 0.45, 0.55, 0.9  # with the defaults the thresholds are 0.4 and 0.6


def spans(table, rules=None, **options):
    """The events as pairs of frames, first and last."""
    found = find_events(table, rules, **options)
    return list(zip(found["onset_frame"], found["offset_frame"], strict=True))


def curve(*pieces):
    """Values from pairs of value and number of frames."""
    return [value for value, count in pieces for _ in range(count)]


def test_an_event_has_onset_apex_and_offset():
    values = curve((REST, 10), (HALF, 5), (FULL, 5), (0.95, 1), (FULL, 4), (WEAK, 5), (REST, 10))
    row = find_events(film(values)).iloc[0]
    assert (row["input"], row["track"], row["au"], row["event"], row["kind"]) == (
        "film.mp4",
        0,
        "AU12",
        0,
        "",
    )
    assert (row["onset_frame"], row["apex_frame"], row["offset_frame"]) == (10, 20, 29)
    np.testing.assert_allclose(
        [row["onset_s"], row["apex_s"], row["offset_s"], row["duration_s"]], [0.4, 0.8, 1.2, 0.8]
    )
    assert (row["peak_p"], row["peak_i"]) == (0.95, 4.75)
    assert row["mean_p"] == pytest.approx(np.mean(values[10:30]))
    assert row["frames"] == 20 and row["missing_s"] == pytest.approx(0)
    assert row["onset_seen"] and row["offset_seen"]


def test_the_apex_is_that_of_the_intensity_and_the_first_of_equals():
    intensities = curve((0, 10), (2, 5), (5, 5), (3, 10), (0, 10))
    table = film(curve((REST, 10), (FULL, 20), (REST, 10)), intensities=intensities)
    row = find_events(table).iloc[0]
    assert (row["apex_frame"], row["peak_i"], row["mean_i"]) == (15, 5, pytest.approx(3.25))


def test_what_never_reaches_the_higher_threshold_is_no_event():
    assert spans(film(curve((REST, 10), (HALF, 20), (REST, 10)))) == []
    assert spans(film(curve((REST, 10), (HALF, 20), (REST, 10))), EventRules(margin=0)) == [(10, 29)]


def test_thresholds_lie_around_those_of_the_weights():
    values = curve((REST, 10), (0.75, 20), (REST, 10))
    assert spans(film(values), thresholds={"AU12": 0.6}) == [(10, 29)]  # 0.48 and 0.68
    assert spans(film(values), thresholds={"AU12": 0.7}) == []  # 0.56 and 0.76
    with pytest.raises(ConfigError, match="no threshold for AU12"):
        find_events(film(values), thresholds={"AU01": 0.5})
    with pytest.raises(ConfigError, match=r"threshold of AU12 is 1.5"):
        find_events(film(values), thresholds=1.5)


def test_a_flicker_between_the_thresholds_is_one_event():
    assert spans(film(curve((REST, 5), (FULL, 5)) + [HALF, WEAK] * 10 + curve((FULL, 5), (REST, 5)))) == [
        (5, 34)
    ]


def test_short_events_are_dropped():
    values = curve((REST, 10), (FULL, 2), (REST, 10), (FULL, 3), (REST, 10))
    assert spans(film(values)) == [(22, 24)]  # 0.08 s and 0.12 s
    assert spans(film(values), EventRules(min_duration_s=0.08)) == [(10, 11), (22, 24)]


def test_short_dips_are_bridged_and_long_ones_are_not():
    values = curve((REST, 5), (FULL, 5), (REST, 5), (FULL, 5), (REST, 6), (FULL, 5), (REST, 5))
    assert spans(film(values)) == [(5, 19), (26, 30)]  # dips of 0.2 s and 0.24 s
    assert find_events(film(values))["event"].tolist() == [0, 1]
    assert spans(film(values), EventRules(bridge_s=0)) == [(5, 9), (15, 19), (26, 30)]


def test_a_weak_flicker_before_an_event_does_not_move_its_onset():
    assert spans(film(curve((REST, 5), (WEAK, 2), (REST, 3), (FULL, 10), (REST, 5)))) == [(10, 19)]


@pytest.mark.parametrize("status", ["no_face", "damaged", "absent"])
def test_a_lost_face_is_passed_over_for_a_while_only(status):
    table = film([*curve((REST, 5), (FULL, 5)), *[None] * 5, *curve((FULL, 5), (REST, 5))])
    table["status"] = table["status"].replace("no_face", status)
    row = find_events(table).iloc[0]
    assert (row["onset_frame"], row["offset_frame"], row["frames"]) == (5, 19, 10)
    assert row["missing_s"] == pytest.approx(0.2)
    assert row["mean_p"] == pytest.approx(FULL)
    table = film([*curve((REST, 5), (FULL, 5)), *[None] * 6, *curve((FULL, 5), (REST, 5))])
    found = find_events(table)
    assert spans(table) == [(5, 9), (16, 20)]
    assert found["onset_seen"].tolist() == [True, False]
    assert found["offset_seen"].tolist() == [False, True]


def test_a_lost_stretch_of_one_row_counts_with_its_length():
    table = film(curve((REST, 5), (FULL, 5), (FULL, 10), (REST, 5)))
    table.loc[10, ["face", "status", "track", "AU12_p", "AU12_i"]] = [-1, "lost", pd.NA, np.nan, np.nan]
    lost = table.drop(index=range(11, 15))  # 0.2 s in one row
    assert spans(lost) == [(5, 19)]
    assert spans(table.drop(index=range(11, 16))) == [(5, 9), (16, 19)]


def test_a_face_without_values_and_other_rows_with_status_are_no_values():
    table = film(curve((REST, 5), (FULL, 20), (REST, 5)))
    table.loc[10:16, "status"] = "lost"
    assert spans(table) == [(5, 9), (17, 24)]
    table["status"] = "low_quality"
    assert spans(table) == [(5, 24)]


def test_the_ends_of_a_film_are_marked():
    found = find_events(film(curve((FULL, 20))))
    row = found.iloc[0]
    assert (row["onset_s"], row["offset_s"]) == (0, pytest.approx(0.8))
    assert not row["onset_seen"] and not row["offset_seen"]


def test_uneven_times_count_in_seconds():
    times = np.r_[np.arange(10) * 0.04, 0.4, 0.5, 0.75, 0.8, np.arange(10) * 0.04 + 0.84]
    values = curve((REST, 10), (FULL, 2), (0.7, 1), (REST, 11))
    row = find_events(film(values, times=times)).iloc[0]
    assert (row["onset_s"], row["offset_s"]) == (0.4, 0.8)
    assert row["mean_p"] == pytest.approx((0.1 * FULL + 0.25 * FULL + 0.05 * 0.7) / 0.4)


def test_a_frame_does_not_stand_for_ever():
    times = np.r_[np.arange(10) * 0.04, 60 + np.arange(10) * 0.04]
    found = find_events(film(curve((FULL, 20)), times=times))
    assert found["offset_s"].tolist() == pytest.approx([0.36 + 1, 60.4])
    assert found["offset_seen"].tolist() == [False, False]


def test_one_frame_a_second_is_enough_for_events():
    found = find_events(film(curve((REST, 3), (FULL, 4), (REST, 3)), fps=1))
    assert found["duration_s"].tolist() == [4.0]


def test_two_people_have_their_own_events():
    one = film(curve((REST, 5), (FULL, 5), (REST, 10)))
    other = film([*[None] * 4, *curve((FULL, 10), (REST, 6))], track=1)
    found = find_events(together(one, other[other["face"] == 0]))
    assert found["track"].tolist() == [0, 1]
    assert found["onset_frame"].tolist() == [5, 4]
    assert found["onset_seen"].tolist() == [True, False]
    assert found["track"].dtype == "Int64"


def test_films_have_their_own_events_and_photos_have_none():
    tables = [film(curve((FULL, 10)), name=name) for name in ("b.mp4", "c.mp4")]
    found = find_events(
        together(photo([FULL], "a.jpg"), *tables, photo([FULL, FULL], "d.jpg"), photo([], "e.jpg"))
    )
    assert found["input"].tolist() == ["b.mp4", "c.mp4"]


def test_films_without_tracks_have_events_if_each_frame_has_one_face():
    table = film(curve((REST, 5), (FULL, 5), (REST, 5))).assign(track=pd.array([None] * 15, "Int64"))
    assert spans(table) == [(5, 9)]
    assert find_events(table)["track"].isna().all()
    assert spans(pd.concat([table, table.assign(face=1)])) == []


def test_missing_values_are_neither_high_nor_low():
    values = curve((REST, 5), (FULL, 5), (float("nan"), 3), (FULL, 5), (REST, 5))
    row = find_events(film(values)).iloc[0]
    assert (row["onset_frame"], row["offset_frame"], row["frames"]) == (5, 17, 10)
    assert spans(film([float("nan")] * 10)) == []


@pytest.mark.parametrize("rows", [film([]), film([None] * 5), film(curve((REST, 5))), photo([])])
def test_no_events_is_an_empty_table_with_all_columns(rows):
    found = find_events(rows)
    assert list(found.columns) == list(TYPES) and found.empty
    assert found["track"].dtype == "Int64" and found["onset_s"].dtype == float


def test_weights_without_probabilities_use_the_intensity():
    table = film(curve((REST, 5), (FULL, 5), (REST, 5)), intensities=curve((0, 5), (1.1, 2), (1.3, 8)))
    found = find_events(table.drop(columns="AU12_p"))
    assert found["onset_frame"].tolist() == [5] and found["peak_p"].isna().all()
    with pytest.raises(ConfigError, match="events on probability need the column AU12_p"):
        find_events(table.drop(columns="AU12_p"), EventRules(on="probability"))
    with pytest.raises(ConfigError, match="give a neutral"):
        find_events(table, EventRules(on="difference"))
    table["AU12_d"] = table["AU12_i"] - 0.2
    assert spans(table, EventRules(on="difference")) == []
    assert spans(table.assign(AU12_d=table["AU12_i"]), EventRules(on="difference")) == [(5, 14)]


def test_blinks_are_short_and_closures_are_long():
    values = curve(
        (REST, 30), (FULL, 1), (REST, 30), (FULL, 4), (REST, 4), (FULL, 15), (REST, 30), (FULL, 16)
    )
    found = find_events(film(values, fps=30, au="AU43"))
    assert found["kind"].tolist() == ["blink", "blink", "closure"]
    assert found["duration_s"].tolist() == [0.133, 0.5, 0.533]  # whole ms
    cut = find_events(film(curve((REST, 10), (FULL, 4)), fps=30, au="AU45"))
    assert cut["kind"].tolist() == ["cut"]


def test_wrong_rules_and_tables_are_errors():
    for wrong in (
        {"on": "probabilities"},
        {"margin": -0.1},
        {"bridge_s": -1.0},
        {"lost_s": float("nan")},
        {"blink_s": (0.5, 0.1)},
        {"intensity_margin": 1.0},
    ):
        with pytest.raises(ConfigError):
            EventRules(**wrong)
    with pytest.raises(DataError, match="no column track"):
        find_events(film([FULL] * 5).drop(columns="track"))
    with pytest.raises(DataError, match="without a frame or a time"):
        find_events(film([FULL] * 5, times=[0, 1, np.nan, 3, 4]))


def test_the_order_of_the_rows_and_the_table_itself_do_not_change():
    table = together(film(curve((REST, 5), (FULL, 5), (REST, 5))), film(curve((FULL, 15)), track=1))
    before = table.copy()
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(find_events(table), find_events(shuffled))
    pd.testing.assert_frame_equal(table, before)


VALUES = st.one_of(st.none(), st.just(float("nan")), st.sampled_from([0.0, 0.39, 0.4, 0.5, 0.6, 0.61, 1.0]))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(VALUES, VALUES, st.sampled_from([0.0, 0.01, 0.04, 0.3, 5.0])), min_size=1, max_size=40
    ),
    st.sampled_from([EventRules(), EventRules(min_duration_s=0, bridge_s=0, lost_s=0), EventRules(lost_s=1)]),
)
def test_events_are_apart_within_the_film_and_have_peaks_of_the_data(rows, rules):
    times = np.cumsum([step for _, _, step in rows])
    people = [film([row[k] for row in rows], times=times, track=k) for k in (0, 1)]
    seen = [person[person["face"] >= 0] for person in people]
    table = together(*seen, people[0][people[0]["face"] < 0])
    steps = np.diff(times)
    ends = times[-1] + max(1.0, np.median(steps[steps > 0]) if (steps > 0).any() else 0)
    for track, events in find_events(table, rules).groupby("track"):
        mine = seen[int(track)].set_index("frame")
        assert events["event"].tolist() == list(range(len(events)))
        assert (events["onset_s"].to_numpy()[1:] >= events["offset_s"].to_numpy()[:-1]).all()
        assert (events["onset_frame"].to_numpy()[1:] > events["offset_frame"].to_numpy()[:-1]).all()
        assert events["onset_s"].min() >= times[0] - 5e-4 and events["offset_s"].max() <= ends + 5e-4
        for _, event in events.iterrows():
            inside = mine.loc[event["onset_frame"] : event["offset_frame"]]
            assert event["onset_s"] <= event["apex_s"] <= event["offset_s"]
            assert event["duration_s"] >= rules.min_duration_s - 1e-9
            assert event["peak_p"] == inside["AU12_p"].max() >= 0.6
            assert event["peak_i"] == inside.loc[event["apex_frame"], "AU12_i"]
            assert event["frames"] == inside["AU12_p"].notna().sum()
            assert -1e-9 <= event["missing_s"] <= event["duration_s"] + 1e-9
            for end in ("onset", "offset"):
                assert inside.loc[event[f"{end}_frame"], "AU12_p"] >= 0.4


def test_films_are_in_the_order_of_the_table_and_rows_may_be_in_any():
    first, second = film([0.0] * 5 + [1.0] * 10 + [0.0] * 5), film([1.0] * 10 + [0.0] * 10)
    table = pd.concat([first.assign(input="b.mp4"), second.assign(input="a.mp4")], ignore_index=True)
    found = find_events(table)
    assert found["input"].tolist() == ["b.mp4", "a.mp4"]
    assert found["onset_frame"].tolist() == [5, 0]
    mixed = table.iloc[np.random.default_rng(0).permutation(len(table))]
    mixed = pd.concat([mixed[mixed["input"] == name] for name in ("b.mp4", "a.mp4")])
    pd.testing.assert_frame_equal(find_events(mixed), found)
    pd.testing.assert_frame_equal(find_events(table, persons=list(people(table))), found)
