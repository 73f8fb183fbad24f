"""How much, where the stop stands, and what trips a breaker."""

from decimal import Decimal as D
from math import inf, isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.core.risk import (
    BreakerInputs,
    BreakerLimits,
    Sizing,
    breakers,
    order_quantity,
    quantity_exact,
    size_target,
    stop_matches,
    stop_plan,
    stop_price,
)
from trader.core.types import Side
from trader.core.types.errors import ConfigurationError

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def test_size_loses_the_risk_share_at_the_stop():
    size = size_target(10_000.0, 100.0, 1.0, 0.01, Sizing(risk_share=0.002, position_share=1.0))
    assert size * 100.0 * 0.01 == pytest.approx(20.0)


def test_size_is_capped_by_the_position_share_scaled_by_strength_and_stage():
    sizing = Sizing(risk_share=0.05, position_share=0.1)
    assert size_target(10_000.0, 100.0, 1.0, 0.01, sizing) == 10.0
    assert size_target(10_000.0, 100.0, 0.01, 0.01, sizing) == pytest.approx(5.0)
    assert size_target(10_000.0, 100.0, 7.0, 0.01, sizing) == 10.0
    canary = Sizing(risk_share=0.05, position_share=0.1, stage_share=0.1)
    assert size_target(10_000.0, 100.0, 1.0, 0.01, canary) == 1.0
    assert size_target(10_000.0, 100.0, 1.0, 0.01, sizing, multiplier=10.0) == 1.0


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("value", [nan, inf, -inf, 0.0, -1.0])
def test_an_unknown_number_sizes_to_nothing(at, value):
    numbers = [10_000.0, 100.0, 1.0, 0.01]
    numbers[at] = value
    assert size_target(*numbers, Sizing()) == 0.0


@given(FLOATS, FLOATS, FLOATS, FLOATS)
def test_size_is_never_negative_and_never_more_than_the_position_share(equity, price, strength, stop):
    size = size_target(equity, price, strength, stop, Sizing())
    assert not isnan(size)
    assert size >= 0.0
    if size > 0.0 and size != inf and price * size < 1e300:
        assert size * price <= equity * 0.1 * (1 + 1e-9) or size * price < 1e-300


@pytest.mark.parametrize("field", ["risk_share", "position_share", "stage_share"])
def test_a_sizing_out_of_range_names_its_field(field):
    with pytest.raises(ConfigurationError, match=field):
        Sizing(**{field: -0.1})


@given(st.floats(0.0, 1e9), st.sampled_from([D("0.001"), D("0.5"), D(10)]))
def test_exact_quantities_are_whole_lots_and_never_more_than_meant(quantity, lot):
    exact = quantity_exact(quantity, lot)
    assert exact % lot == 0
    assert exact <= D(repr(quantity)) < exact + lot


def test_an_impossible_lot_or_quantity_is_refused():
    with pytest.raises(ConfigurationError, match="lot"):
        quantity_exact(1.0, D(0))
    with pytest.raises(ValueError, match="finite"):
        quantity_exact(nan, D(1))


def test_what_to_trade_is_signed():
    assert order_quantity(D(-2), D(3)) == -5


def test_a_stop_stands_at_the_tick_nearer_the_entry():
    assert stop_price(D("100.07"), D(1), D("0.01"), D("0.1")) == D("99.1")
    assert stop_price(D("100.07"), D(-1), D("0.01"), D("0.1")) == D("101.0")


@pytest.mark.parametrize("distance", ["0", "1", "-0.1"])
def test_a_stop_distance_that_is_no_share_is_refused(distance):
    with pytest.raises(ConfigurationError, match="distance"):
        stop_price(D(100), D(1), D(distance), D("0.1"))


def test_a_stop_below_one_tick_is_refused():
    with pytest.raises(ConfigurationError, match="tick"):
        stop_price(D("0.001"), D(-1), D("0.5"), D(1))


def test_a_stop_is_for_what_is_held_rounded_down_and_only_when_large_enough():
    terms = {"tick": D("0.1"), "lot": D("0.01"), "min_quantity": D("0.02"), "min_notional": D(5)}
    plan = stop_plan(D("0.5678"), D(100), D("0.01"), **terms)
    assert (plan.side, plan.quantity, plan.trigger_price) == (Side.SELL, D("0.56"), D("99.0"))
    assert stop_plan(D("-0.5"), D(100), D("0.01"), **terms).side is Side.BUY
    assert stop_plan(D("0.015"), D(100), D("0.01"), **terms) is None
    assert stop_plan(D("0.04"), D(100), D("0.01"), **terms) is None
    assert stop_plan(D("0.001"), D(100), D("0.01"), **terms) is None


def test_a_resting_stop_matches_only_when_nothing_differs():
    plan = stop_plan(D(1), D(100), D("0.01"), tick=D("0.1"), lot=D("0.1"))
    assert stop_matches(plan, Side.SELL, D(1), D(99))
    assert not stop_matches(plan, Side.SELL, D("0.9"), D(99))
    assert not stop_matches(plan, Side.SELL, D(1), D("98.9"))
    assert not stop_matches(None, Side.SELL, D(1), D(99))


def breaker(**more):
    known = {"day_start_equity": 100.0, "day_profit": -3.0, "peak_equity": 100.0, "equity": 97.0}
    return BreakerInputs(**{**known, **more})


def test_breakers_trip_at_their_limit_and_say_why():
    assert breakers(breaker(), BreakerLimits(daily_loss=0.05, drawdown=0.05)) == []
    (trip,) = breakers(breaker(day_profit=-5.0), BreakerLimits(daily_loss=0.05))
    assert (trip.cause, trip.number, trip.limit) == ("daily_loss", 0.05, 0.05)
    assert "daily loss" in trip.detail
    assert [t.cause for t in breakers(breaker(equity=90.0), BreakerLimits(drawdown=0.1))] == ["drawdown"]
    assert [t.cause for t in breakers(breaker(venue_errors=10), BreakerLimits())] == ["venue_errors"]


@pytest.mark.parametrize("field", ["day_start_equity", "day_profit"])
def test_an_unknown_equity_trips_the_loss_breaker(field):
    (trip,) = breakers(breaker(**{field: nan}), BreakerLimits(daily_loss=0.5))
    assert trip.cause == "daily_loss"


def test_a_breaker_without_a_limit_is_off_and_a_gain_is_no_loss():
    assert breakers(breaker(day_profit=-99.0), BreakerLimits(venue_errors=None)) == []
    assert breakers(breaker(day_profit=50.0), BreakerLimits(daily_loss=0.0001)) == []
