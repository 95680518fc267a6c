"""A person's own neutral, and smoothing."""

import numpy as np
import pandas as pd
import pytest

from drawn_tables import film, photo, together
from maeface.analysis.neutral import (
    NeutralRule,
    levels_auto,
    levels_of,
    levels_stretch,
    levels_table,
    parse_neutral,
    subtract,
)
from maeface.analysis.smoothing import smooth
from maeface.errors import ConfigError, DataError


def faces(intensities, **options):
    """A film with these intensities; None is a frame without a face."""
    probabilities = [None if value is None else value / 5 for value in intensities]
    return film(probabilities, **options)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("auto", NeutralRule("auto")),
        ("5", NeutralRule("stretch", 0, 5)),
        ("12.5-15", NeutralRule("stretch", 12.5, 15)),
        (" 0 - 2 ", NeutralRule("stretch", 0, 2)),
        ("rest.jpg", NeutralRule("file", file="rest.jpg")),
        ("2024-05-rest.mp4", NeutralRule("file", file="2024-05-rest.mp4")),
    ],
)
def test_what_a_neutral_text_means(text, rule):
    assert parse_neutral(text) == rule


@pytest.mark.parametrize("text", ["", "0", "5-5", "5-2"])
def test_a_stretch_without_length_is_an_error(text):
    with pytest.raises(ConfigError, match="neutral"):
        parse_neutral(text)


def test_a_rule_leads_to_its_levels():
    table, rest = faces([1.0] * 10 + [3.0] * 10, fps=10), photo([0.3], "rest.jpg")
    assert levels_of(table, parse_neutral("auto"))["AU12"].item() == 1.0
    assert levels_of(table, parse_neutral("1-2"))["AU12"].item() == 3.0
    assert levels_of(table, parse_neutral("rest.jpg"), rest)["AU12"].item() == 1.5
    with pytest.raises(ConfigError, match=r"the neutral rest.jpg is not predicted yet"):
        levels_of(table, parse_neutral("rest.jpg"))


def test_auto_is_a_low_percentile_by_person():
    table = together(faces([1.0] * 60 + [4.0] * 40), faces([2.0] * 60 + [3.0] * 40, track=1))
    levels = levels_auto(table)
    assert levels["track"].tolist() == [0, 1] and levels["frames"].tolist() == [100, 100]
    assert levels["AU12"].tolist() == [1.0, 2.0]
    assert levels_auto(table, 100)["AU12"].tolist() == [4.0, 3.0]


def test_auto_counts_time_and_leaves_invalid_frames_out():
    times = np.r_[np.arange(10) * 0.01, 0.1 + np.arange(10) * 0.5]
    levels = levels_auto(faces([0.0] * 10 + [2.0] * 10, times=times))
    assert levels["AU12"].item() == pytest.approx(2.0)  # the first ten are 2 % of the time
    table = faces([1.0] * 20)
    table.loc[:9, "AU12_i"] = 0.0
    table.loc[:9, "status"] = "damaged"
    assert levels_auto(table)["AU12"].item() == 1.0


def test_auto_needs_a_film_of_ten_frames():
    table = together(faces([1.0] * 9, name="a.mp4"), photo([0.2], "b.jpg"), faces([1.0] * 10, name="c.mp4"))
    assert levels_auto(table)["AU12"].notna().tolist() == [False, False, True]
    with pytest.raises(ConfigError, match="percentile is 101"):
        levels_auto(table, 101)


def test_a_stretch_is_a_median_of_its_frames():
    table = faces([1.0, 1.0, 5.0, None, 4.0, 4.0, 4.0], fps=1)
    assert levels_stretch(table, 0, 3)["AU12"].item() == 1.0
    assert levels_stretch(table, 2, 5)["AU12"].item() == 4.5  # the end is not in it
    with pytest.raises(DataError, match="no face of a film is seen from 3 to 4 s"):
        levels_stretch(table, 3, 4)
    with pytest.raises(ConfigError, match="expected 0 <= start < end"):
        levels_stretch(table, 3, 3)


def test_a_person_who_is_not_in_the_stretch_has_no_neutral():
    late = faces([None, None, 3.0, 3.0], fps=1, track=1)
    table = together(faces([1.0] * 4, fps=1), late[late["face"] >= 0])
    levels = levels_stretch(table, 0, 2)
    assert levels["AU12"].to_numpy() == pytest.approx([1.0, np.nan], nan_ok=True)
    difference = subtract(table, levels)
    assert difference.loc[difference["track"] == 0, "AU12_d"].eq(0).all()
    assert difference.loc[difference["track"] == 1, "AU12_d"].isna().all()


def test_a_neutral_picture_is_for_everybody_and_photos_too():
    table = together(faces([1.0, 2.0, None], name="a.mp4"), photo([0.6], "b.jpg"))
    levels = levels_table(table, photo([0.1], "rest.jpg"))
    assert levels["AU12"].tolist() == [0.5, 0.5] and levels["frames"].tolist() == [1, 1]
    found = subtract(table, levels)["AU12_d"]
    assert found.to_numpy() == pytest.approx([0.5, 1.5, np.nan, 2.5], nan_ok=True)


def test_a_neutral_film_can_be_matched_by_track():
    table = together(faces([1.0] * 5), faces([2.0] * 5, track=1), faces([3.0] * 5, track=2))
    rest = together(faces([0.5, 0.5, 3.0], name="rest.mp4"), faces([1.0] * 3, name="rest.mp4", track=1))
    levels = levels_table(table, rest, by_track=True)
    assert levels["AU12"].to_numpy() == pytest.approx([0.5, 1.0, np.nan], nan_ok=True)
    assert levels["frames"].tolist() == [3, 3, 0]
    with pytest.raises(DataError, match="several people"):
        levels_table(table, rest)
    with pytest.raises(DataError, match="several people"):
        levels_table(table, photo([0.1, 0.2]))


def test_a_neutral_must_fit_the_table():
    table = faces([1.0] * 5)
    with pytest.raises(DataError, match="the neutral has no AU12_i"):
        levels_table(table, film([0.1], au="AU25"))
    with pytest.raises(DataError, match="the neutral has no face"):
        levels_table(table, photo([]))
    with pytest.raises(DataError, match="no intensities"):
        levels_auto(table.drop(columns="AU12_i"))
    levels = levels_auto(table)
    with pytest.raises(DataError, match="two rows for one person"):
        subtract(table, pd.concat([levels, levels]))


@pytest.mark.filterwarnings("error")  # pandas warns of a fragmented table
def test_a_wide_table_has_each_difference_after_its_intensity():
    aus = [f"AU{au:02d}" for au in range(1, 60)]
    where = faces([1.0] * 10).drop(columns=["AU12", "AU12_p", "AU12_i"], errors="ignore")
    columns = [where[[name]] for name in where]
    columns += [pd.DataFrame({f"{au}_{kind}": [1.0] * 10}) for kind in "pi" for au in aus]
    table = pd.concat(columns, axis=1)  # as ``read_csv`` returns it: a block each
    found = subtract(table.set_index(table.index + 5), levels_auto(table))
    added = [name for au in aus for name in (f"{au}_i", f"{au}_d")]
    assert list(found.columns)[-len(added) :] == added
    assert (found[[f"{au}_d" for au in aus]] == 0).all(axis=None) and found.index[0] == 5


def test_differences_stand_after_the_intensities_and_replace_earlier_ones():
    table = faces([1.0] * 10 + [3.0] * 10).assign(AU12_d=99.0, after=1)
    before = table.copy()
    found = subtract(table, levels_auto(table))
    columns = list(found.columns)
    assert columns[columns.index("AU12_i") + 1] == "AU12_d" and columns.count("AU12_d") == 1
    assert found["AU12_d"].tolist() == [0.0] * 10 + [2.0] * 10
    pd.testing.assert_frame_equal(table, before)
    empty = table.iloc[:0]
    assert subtract(empty, levels_auto(empty)).empty


def test_smoothing_is_off_with_zero_and_keeps_constants():
    table = film([0.1, 0.9] * 10)
    pd.testing.assert_frame_equal(smooth(table, 0), table)
    found = smooth(film([0.7] * 20), 0.1)
    np.testing.assert_allclose(found["AU12_p"], 0.7)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="smoothing"):
            smooth(table, wrong)


def test_smoothing_is_a_gaussian_in_seconds():
    table = film([0.0] * 50 + [1.0] + [0.0] * 50, fps=100)
    found = smooth(table, 0.02)["AU12_p"].to_numpy()
    steps = np.arange(-50, 51) * 0.01
    expected = np.where(abs(steps) <= 0.06 + 1e-9, np.exp(-(steps**2) / (2 * 0.02**2)), 0)
    np.testing.assert_allclose(found[44:57], (expected / expected.sum())[44:57], atol=0.01)
    assert found.argmax() == 50 and found.sum() == pytest.approx(1, abs=1e-4)


def test_smoothing_weighs_by_time_and_knows_gaps_and_people():
    times = np.r_[np.arange(10) * 0.04, 2 + np.arange(10) * 0.04]
    step = film([0.0] * 10 + [1.0] * 10, times=times)
    lost = film([*[0.0] * 10, *[None] * 6, *[1.0] * 10])
    for table in (step, lost):
        found = smooth(table, 0.1)
        pd.testing.assert_series_equal(found["AU12_p"], table["AU12_p"])
    table = together(film([0.0] * 10), film([1.0] * 10, track=1))
    pd.testing.assert_frame_equal(smooth(table, 0.1), table)
    pictures = photo([0.1, 0.9])
    pd.testing.assert_frame_equal(smooth(pictures, 0.1), pictures)


def test_smoothing_fills_nothing_in_and_drops_occurrence():
    table = film([0.0, 0.0, None, 1.0, float("nan"), 1.0]).assign(
        AU12=pd.array([0, 0, None, 1, None, 1], "Int8")
    )
    found = smooth(table.set_index(pd.Index(range(5, 11))), 0.05)
    assert "AU12" not in found and list(found.index) == list(range(5, 11))
    assert found["AU12_p"].isna().tolist() == [False, False, True, False, True, False]
    assert 0 < found["AU12_p"].iloc[1] < found["AU12_p"].iloc[3] < 1


def test_differences_are_rounded():
    table = faces([0.1] * 20 + [0.3])
    assert subtract(table, levels_stretch(table, 0, 0.4))["AU12_d"].tolist() == [0.0] * 20 + [
        0.2
    ]  # no 0.19999
