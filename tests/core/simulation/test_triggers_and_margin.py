"""Triggers wake in time order; money rules agree with sums done by hand."""

import doctest
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

import trader.core.simulation.margin as margin_module
import trader.core.simulation.orders as orders_module
from trader.core.simulation import (
    FALLING,
    RISING,
    Holding,
    Trigger,
    TriggerBook,
    funding_payment,
    holding_trade,
    initial_margin,
    liquidation_price,
    maintenance_margin,
    spot_fee,
)

D = Decimal


def test_triggers_wake_when_reached_older_first_and_only_once() -> None:
    book = TriggerBook()
    for number, price, direction in ((1, 105, RISING), (2, 101, RISING), (3, 95, FALLING), (4, 99, FALLING)):
        book.add(Trigger(number, price, direction))
    assert book.fired(100) == []
    assert book.fired(105) == [1, 2]
    assert book.fired(105) == []
    assert book.fired(99) == [4]
    assert book.fired(1) == [3]


def test_a_removed_trigger_does_not_wake_and_an_unknown_one_is_passed_over() -> None:
    book, trigger = TriggerBook(), Trigger(1, 105, RISING)
    book.add(trigger)
    book.remove(trigger)
    book.remove(Trigger(9, 1, FALLING))
    assert book.fired(200) == []


def test_a_spot_buyer_pays_in_base_and_a_seller_in_quote() -> None:
    assert spot_fee(True, D("0.5"), D(50), D("0.001")) == (D("0.0005"), True)
    assert spot_fee(False, D("0.5"), D(50), D("0.001")) == (D("0.050"), False)


def test_a_long_position_pays_positive_funding_and_a_short_one_receives_it() -> None:
    assert funding_payment(D(2), D(100), D("0.0001")) == D("0.02")
    assert funding_payment(D(-2), D(100), D("0.0001")) == D("-0.02")


@pytest.mark.parametrize(
    ("before", "quantity", "price", "after", "realised"),
    [
        (Holding(), D(2), D(100), Holding(D(2), D(100)), D(0)),
        (Holding(D(2), D(100)), D(2), D(110), Holding(D(4), D(105)), D(0)),
        (Holding(D(4), D(105)), D(-1), D(115), Holding(D(3), D(105)), D(10)),
        (Holding(D(4), D(105)), D(-4), D(100), Holding(), D(-20)),
        (Holding(D(1), D(100)), D(-3), D(90), Holding(D(-2), D(90)), D(-10)),
        (Holding(D(-2), D(90)), D(1), D(80), Holding(D(-1), D(90)), D(10)),
    ],
)
def test_a_trade_averages_when_it_adds_and_realises_when_it_reduces(
    before: Holding, quantity: Decimal, price: Decimal, after: Holding, realised: Decimal
) -> None:
    assert holding_trade(before, quantity, price) == (after, realised)


@given(
    some.lists(some.tuples(some.integers(-50, 50).filter(bool), some.integers(1, 10_000)), min_size=1, max_size=30),
    some.integers(1, 10_000),
)
def test_realised_and_unrealised_are_what_the_cash_of_all_trades_says(trades: list, mark: int) -> None:
    holding, realised, cash = Holding(), D(0), D(0)
    for lots, ticks in trades:
        quantity, price = D(lots) / 1000, D(ticks) / 10
        holding, gained = holding_trade(holding, quantity, price)
        realised += gained
        cash -= quantity * price
    worth = cash + holding.quantity * D(mark)
    assert abs(realised + holding.unrealised(D(mark)) - worth) < D("1e-12")


def test_margin_is_value_over_leverage_and_a_share_of_value() -> None:
    assert initial_margin(D(-1000), D(10)) == 100
    assert maintenance_margin(D(-1000)) == 5


def test_at_the_liquidation_price_equity_is_the_maintenance_margin() -> None:
    for holding in (Holding(D(1), D(100)), Holding(D(-1), D(100))):
        price = liquidation_price(holding, D(10), D("0.0001"))
        equity = D(10) + holding.unrealised(price)
        assert abs(equity - maintenance_margin(holding.quantity * price)) < D("0.001")
    assert liquidation_price(Holding(D(1), D(100)), D(500), D("0.1")) == 0, "a long that its wallet covers wholly"
    assert liquidation_price(Holding(), D(500), D("0.1")) == 0


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(margin_module).failed == 0
    assert doctest.testmod(orders_module).failed == 0
