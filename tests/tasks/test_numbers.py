"""Metrics as text."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from kan_exp.tasks.numbers import near_one, number, with_error


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.00123, 0.0000412, "0.00123 ± 0.00004"),
        (0.00123, 0.00016, "0.00123 ± 0.00016"),
        (0.00123, 0.000096, "0.00123 ± 0.00010"),
        (51.23, 4.8, "51.2 ± 5"),
        (51.23, 0.048, "51.2 ± 0.05"),
        (15259.0, 1234.0, "1.53e+04 ± 1.2e+03"),
        (302.4, 29.9, "302 ± 30"),
        (302.4, 129.9, "302 ± 130"),
        (5.91e-05, 2.04e-06, "5.91e-05 ± 2e-06"),
        (1.0, 0.0, "1 ± 0"),
        (1.0, None, "1"),
        (None, None, "not finite"),
    ],
)
def test_a_standard_error_has_a_digit_or_two(value, error, shown):
    assert with_error(value, error) == shown


def test_a_number_has_three_digits():
    assert number(0.123456) == "0.123"


@pytest.mark.parametrize(
    ("r2", "text"),
    [
        (1.0, "1.000"),
        (0.0, "0.000"),
        (0.5, "0.500"),
        (0.98765, "0.988"),
        (0.99, "0.990"),
        (0.9955, "0.9955"),
        (0.99987, "0.99987"),
        (0.9999967, "0.9999967"),
        (0.99999671, "0.9999967"),
        (0.99999999987, "0.999999999"),
        (-0.25, "-0.250"),
        (-12.3456, "-12.346"),
        (-98765.4, "-9.88e+04"),
        (-math.inf, "-inf"),
    ],
)
def test_r2_reads_like_this(r2, text):
    shown = near_one(r2)
    assert float(shown) == float(text)
    assert shown.rstrip("0") == text.rstrip("0")


@pytest.mark.parametrize("digits", range(3, 9))
@pytest.mark.parametrize("rest", [1, 2, 4.999, 5, 7.3, 9.99999])
def test_r2_never_rounds_up_to_one(digits, rest):
    r2 = 1 - rest * 10.0**-digits
    shown, unexplained = Decimal(near_one(r2)), 1 - Decimal(r2)
    assert shown < 1
    # Numbers just below 1 are 1.1e-16 apart, which nobody sees.
    assert shown <= Decimal(r2) + Decimal("2e-16")
    # Its first digit is right.
    assert 1 - shown <= unexplained * Decimal("1.2") + Decimal("2e-16")


@pytest.mark.parametrize("places", [4, 5, 6])
def test_r2_of_few_digits_is_shown_as_it_is(places):
    """Cutting must not turn 0.9943, which the computer holds as 0.99429999, into 0.9942."""
    for n in range(1, 100):
        r2 = float(1 - Decimal(n).scaleb(-places))
        assert float(near_one(r2)) == r2


def test_largest_number_below_one():
    assert float(near_one(math.nextafter(1, 0))) < 1
