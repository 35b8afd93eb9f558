"""What is stated is compared with how often it is so, and both agree where the statements are true."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attribution_core.evaluation.calibration import calibration, coverage, label_calibration


def table(n: int = 4000, share_of_true: float = 1.0) -> pd.DataFrame:
    """Suggestions that are right as often as they say; true labels differ from some of the given ones."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, n)
    suggested = rng.integers(0, 2, n)
    given = np.where(rng.random(n) < confidence, suggested, 1 - suggested)
    true = np.where(rng.random(n) < share_of_true, given, 1 - given)
    names = np.array(["cat", "dog"], dtype=object)
    return pd.DataFrame(
        {
            "label": given,
            "label_name": names[given],
            "original_label": names[true],
            "suggested_label": suggested,
            "suggested_name": names[suggested],
            "suggested_confidence": confidence,
            "label_quality": np.where(suggested == given, confidence, 1 - confidence),
        }
    )


def test_bins_have_the_mean_statement_the_share_and_the_number():
    found = calibration(np.array([0.91, 0.97, 1.0, 0.55, 0.12]), np.array([True, True, False, False, True]))
    assert found.stated.tolist() == pytest.approx([0.12, 0.55, 0.96])
    assert found.observed.tolist() == pytest.approx([1, 0, 2 / 3])
    assert found.counts.tolist() == [1, 1, 3]
    assert found.error == pytest.approx((0.88 + 0.55 + 3 * (0.96 - 2 / 3)) / 5)
    assert np.isnan(calibration(np.empty(0), np.empty(0, dtype=bool)).error)


def test_true_statements_are_on_the_diagonal_and_boasts_are_below():
    honest = label_calibration(table())
    assert honest is not None
    assert honest.counts.sum() == 4000
    assert honest.error < 0.03
    boasting = label_calibration(table().assign(suggested_confidence=0.99))
    assert boasting is not None
    assert boasting.error == pytest.approx(0.24, abs=0.02)
    assert (boasting.observed < boasting.stated).all()


def test_true_labels_take_the_place_of_the_given_ones_where_they_are_known():
    frame = table(share_of_true=0.8)
    given, true = (label_calibration(frame, each) for each in (False, True))
    right = (frame["suggested_name"] == frame["original_label"]).mean()
    assert np.average(true.observed, weights=true.counts) == pytest.approx(right)
    assert given.error < 0.03 < 0.1 < true.error
    few = frame.assign(original_label=frame["original_label"].where(frame.index < 10))
    assert label_calibration(few, true_labels=True).counts.sum() == 10


def test_what_is_missing_has_no_calibration():
    frame = table()
    assert label_calibration(frame.drop(columns="label_quality")) is None
    assert label_calibration(frame.drop(columns="original_label"), true_labels=True) is None
    assert label_calibration(frame.iloc[:0]) is None


def test_intervals_of_values_hold_what_they_state():
    rng = np.random.default_rng(0)
    residuals = stats.t.rvs(4, size=5000, random_state=rng)
    quality = 2 * stats.t.sf(np.abs(residuals), 4)
    found = coverage(quality)
    assert found.stated.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert np.allclose(found.observed, found.stated, atol=0.03)
    assert set(found.counts) == {5000}
    too_sure = coverage(2 * stats.t.sf(3 * np.abs(residuals), 4))
    assert (too_sure.observed < too_sure.stated).all()


def test_true_values_have_the_chances_of_their_own_errors():
    suggested, scale = np.array([10.0, 20.0, 30.0]), np.array([1.0, 2.0, 0.5])
    given, true = np.array([11.0, 28.0, 30.0]), np.array([11.0, 21.0, 30.0])

    def chances(values):
        return 2 * stats.t.sf(np.abs(values - suggested) / scale, 4)

    frame = pd.DataFrame({"label": given, "original_label": true, "suggested_label": suggested})
    frame["label_quality"] = chances(given)
    found, expected = label_calibration(frame, true_labels=True), coverage(chances(true))
    assert found.observed.tolist() == expected.observed.tolist()
    assert label_calibration(frame).observed.tolist() == coverage(chances(given)).observed.tolist()
