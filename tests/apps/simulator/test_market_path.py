"""A bar printed along a path gives the bar back, whatever the bar."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.simulator.markets.base import MINUTE_NS
from apps.simulator.markets.path import bar_prints, waypoints


@st.composite
def bars(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], int, int]:
    low = draw(st.integers(1, 10**7))
    high = low + draw(st.integers(0, draw(st.sampled_from([0, 1, 2, 50, 10**5]))))
    open_, close = draw(st.integers(low, high)), draw(st.integers(low, high))
    volume = draw(st.integers(4, 10**13)) if draw(st.booleans()) else draw(st.integers(4, 40))
    return (open_, high, low, close), volume, draw(st.integers(1, 60))


@settings(max_examples=400, deadline=None)
@given(bars(), st.integers(0, 2**32))
def test_the_path_has_the_bars_open_high_low_close_and_volume(bar, seed):
    prices, volume, prints = bar
    rows = bar_prints(prices, volume, prints, Random(seed))
    ticks = [row[1] for row in rows]
    assert (ticks[0], max(ticks), min(ticks), ticks[-1]) == prices
    assert sum(row[2] for row in rows) == volume
    assert min(row[2] for row in rows) >= 1
    offsets = [row[0] for row in rows]
    assert offsets == sorted(set(offsets))
    assert 0 < offsets[0] <= offsets[-1] < MINUTE_NS
    assert len(rows) <= max(prints, 4)


def test_a_rising_bar_goes_to_its_low_first_and_a_falling_one_to_its_high():
    assert waypoints(10, 15, 8, 12) == [10, 8, 15, 12]
    assert waypoints(12, 15, 8, 10) == [12, 15, 8, 10]


def test_a_flat_bar_needs_one_print_only():
    assert waypoints(10, 10, 10, 10) == [10]
    rows = bar_prints((10, 10, 10, 10), 1, 12, Random(1))
    assert [(row[1], row[2]) for row in rows] == [(10, 1)]


def test_the_same_seed_prints_the_same_path():
    first = bar_prints((100, 120, 90, 110), 1000, 12, Random(5))
    assert first == bar_prints((100, 120, 90, 110), 1000, 12, Random(5))
    assert first != bar_prints((100, 120, 90, 110), 1000, 12, Random(6))


def test_fewer_lots_than_prices_are_refused():
    with pytest.raises(ValueError, match="2 lots cannot print the 4 prices"):
        bar_prints((10, 15, 8, 12), 2, 12, Random(1))
