"""Figures as people read them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from apps.dashboard import formatting as f


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (1234.5, 2, "1,234.50"),
        (Decimal("-6.86"), 2, "−6.86"),
        ("-0.001", 2, "0.00"),
        (None, 2, "–"),
        (float("nan"), 2, "–"),
        ("Infinity", 2, "–"),
        ("words", 2, "–"),
        (0, 0, "0"),
    ],
)
def test_number_has_fixed_decimals_and_a_real_minus_sign(value, decimals, shown):
    assert f.number(value, decimals) == shown


@pytest.mark.parametrize(("value", "shown"), [(12.4, "+12.40"), (-3.1, "−3.10"), (0, "0.00"), (0.001, "0.00")])
def test_signed_shows_every_sign_but_that_of_zero(value, shown):
    assert f.signed(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [("0.412000", "0.412"), ("120", "120"), ("-1000.10", "−1,000.1"), ("0.000", "0"), ("0", "0")]
)
def test_plain_drops_zeros_that_say_nothing(value, shown):
    assert f.plain(value) == shown


@pytest.mark.parametrize(("step", "decimals"), [("0.05", 2), ("10", 0), ("0.000001", 6), (None, 0), ("1E+1", 0)])
def test_decimals_of_a_tick(step, decimals):
    assert f.decimals_of(step) == decimals


def test_sign_is_told_in_three_ways():
    assert [(f.tone(value), f.arrow(value)) for value in (1, -1, 0, None)] == [
        ("gain", "▲"), ("loss", "▼"), ("", ""), ("", ""),
    ]  # fmt: skip


def test_share_keeps_its_unit_on_the_same_line():
    assert f.share(0.384) == "38\u202f%"
    assert f.share(None) == "–"


def test_nanoseconds_and_moments_are_each_other():
    at = datetime(2018, 4, 4, 14, 32, 11, 123456, tzinfo=UTC)
    assert f.moment(f.ns_of(at)) == at
    assert f.ns_of(at) == 1_522_852_331_123_456_000
    assert (f.moment(None), f.ns_of(None)) == (None, None)
