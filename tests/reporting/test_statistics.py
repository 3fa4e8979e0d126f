"""Intervals against SciPy's bootstrap and against all resamples there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from kan_exp.reporting.statistics import Bootstrap, Sample

RESAMPLES = 20_000


@pytest.fixture
def bootstrap():
    return Bootstrap(level=0.9, resamples=RESAMPLES, seed=1)


@pytest.fixture
def values():
    return np.random.default_rng(3).lognormal(size=(2, 11))


def ratio(other, first, axis=-1):
    return np.median(other, axis=axis) / np.median(first, axis=axis)


def scipy_interval(data, statistic, paired=False):
    return stats.bootstrap(
        data,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=0.9,
        method="percentile",
        paired=paired,
        vectorized=True,
        rng=np.random.default_rng(8),
    ).confidence_interval


def test_the_interval_of_a_median_is_scipys(bootstrap, values):
    expected = scipy_interval((values[0],), np.median)
    np.testing.assert_allclose(Sample(values[0], bootstrap).interval, expected, rtol=0.02)


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_of_a_ratio_is_scipys(bootstrap, values, paired):
    first = values[0]
    other = 1.5 * first + 0.1 * values[1]  # so that pairing makes a difference
    found = Sample(other, bootstrap).against(Sample(first, bootstrap), paired, is_ratio=True)
    expected = scipy_interval((other, first), ratio, paired)
    np.testing.assert_allclose(found.interval, expected, rtol=0.05)
    assert found.value == pytest.approx(np.median(other) / np.median(first))


def test_five_seeds_give_what_all_their_resamples_give():
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    medians = np.sort([np.median(drawn) for drawn in product(values, repeat=5)])
    found = Sample(values, Bootstrap(level=0.8, resamples=RESAMPLES, seed=1))
    assert found.interval == pytest.approx(np.quantile(medians, [0.1, 0.9]))
    share = np.mean(found.medians == 4)
    assert share == pytest.approx(np.mean(medians == 4), abs=0.02)


def test_even_counts_have_the_mean_of_the_middle_two(bootstrap):
    values = np.random.default_rng(0).normal(size=6)
    drawn = np.random.default_rng([bootstrap.seed, 0]).integers(6, size=(RESAMPLES, 6))
    np.testing.assert_allclose(bootstrap.medians(values), np.median(values[drawn], axis=1))


def test_few_seeds_say_nothing(bootstrap):
    few, enough = (Sample(np.arange(1.0, 1 + n), bootstrap) for n in (4, 5))
    assert few.interval is None
    assert enough.interval is not None
    assert few.against(enough, False, True).interval is None
    assert enough.against(few, False, True).visible is None
    assert enough.against(enough, False, True).visible is False


def test_what_is_the_same_shows_no_difference_and_what_is_not_does(bootstrap, values):
    first = Sample(values[0], bootstrap)
    assert first.against(first, True, True).visible is False
    assert Sample(3 * values[0], bootstrap).against(first, True, True).visible is True
    shifted = Sample(values[0] - 9, bootstrap).against(first, True, False)
    assert shifted.visible is True
    assert shifted.value == pytest.approx(-9)


def test_the_same_values_always_give_the_same_interval(bootstrap, values):
    first = Sample(values[0], bootstrap).interval
    Sample(values[1], bootstrap)
    assert Sample(values[0], bootstrap).interval == first
    assert Sample(values[0], Bootstrap(0.9, RESAMPLES, seed=2)).medians is not None


def test_many_seeds_are_drawn_in_parts(values):
    many = np.random.default_rng(1).normal(size=50_000)
    low, high = Sample(many, Bootstrap(0.9, 200, 0)).interval
    assert low < np.median(many) < high
    assert high - low < 0.05
