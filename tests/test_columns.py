"""The columns of action units never contradict each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maeface.errors import ConfigError
from maeface.model.file_format.metadata import Encoder, Metadata, Preprocessing
from maeface.prediction.columns import au_columns, choose_thresholds, is_occurrence, make_consistent

AUS = (1, 12)


@given(
    arrays.arrays(np.float32, (5, 2), elements=st.floats(0, 1, width=32)),
    arrays.arrays(np.float32, (5, 2), elements=st.floats(0, 5, width=32)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_occurrence_probability_and_intensity_agree(probabilities, intensities, thresholds):
    values = make_consistent(np.concatenate([probabilities, intensities], axis=1), "both", thresholds)
    occurs, kept, changed = np.split(values, 3, axis=1)
    assert values.dtype == np.float32
    assert (occurs == (probabilities >= np.float32(thresholds))).all()
    assert (kept == probabilities).all()
    assert (changed[occurs == 1] >= 1).all()
    assert (changed[occurs == 0] < 2).all()
    assert ((changed >= 0) & (changed <= 5)).all()
    allowed = np.where(occurs == 1, intensities >= 1, intensities <= np.float32(1.99))
    assert (changed[allowed] == intensities[allowed]).all()


def test_a_trace_may_be_called_present_or_absent_and_keeps_its_intensity():
    values = np.array([[0.4, 1.5], [0.6, 1.5], [0.4, 4.0], [0.6, 0.2]], np.float32)
    changed = make_consistent(values, "both", (0.5,))
    np.testing.assert_allclose(changed[:, [0, 2]], [[0, 1.5], [1, 1.5], [0, 1.99], [1, 1.0]])


def test_weights_of_one_kind_only():
    values = np.array([[0.4, 0.9]], np.float32)
    assert make_consistent(values, "detection", (0.5, 0.5)).tolist() == [
        [0, 1, *values[0].tolist()],
    ]
    levels = np.array([[0.9, 2.5]], np.float32)
    assert make_consistent(levels, "intensity", (0.5, 0.5)).tolist() == [[0, 1, *levels[0].tolist()]]


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("both", ["AU01", "AU12", "AU01_p", "AU12_p", "AU01_i", "AU12_i"]),
        ("detection", ["AU01", "AU12", "AU01_p", "AU12_p"]),
        ("intensity", ["AU01", "AU12", "AU01_i", "AU12_i"]),
    ],
)
def test_columns_by_task(task, columns):
    assert au_columns(AUS, task) == columns
    assert list(filter(is_occurrence, columns)) == ["AU01", "AU12"]


def metadata(**more):
    sizes = {"encoder": Encoder(width=8, depth=1, heads=1, patch_size=8), "aus": AUS, "task": "both"}
    return Metadata(kind="au", preprocessing=Preprocessing(image_size=16), **sizes, **more)


def test_thresholds_are_those_of_the_weights_unless_others_are_given():
    assert choose_thresholds(metadata(), None) == (0.5, 0.5)
    own = metadata(thresholds=(0.3, 0.7))
    assert choose_thresholds(own, None) == (0.3, 0.7)
    assert choose_thresholds(own, {12: 0.4}) == (0.3, 0.4)
    assert choose_thresholds(own, 0.6) == (0.6, 0.6)
    with pytest.raises(
        ConfigError, match=r"given for AU04, which the weights do not predict; they predict AU01, AU12"
    ):
        choose_thresholds(own, {4: 0.5})
    with pytest.raises(ConfigError, match="expected a fraction, 0 to 1"):
        choose_thresholds(own, 1.5)
