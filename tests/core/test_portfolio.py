"""Accounting: examples a person can check, and properties over any run of fills."""

from decimal import Decimal as D
from decimal import localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core.portfolio import (
    MANUAL,
    MONEY,
    UNATTRIBUTED,
    Contract,
    Fill,
    Ledger,
    Position,
    adjustment_apply,
    fill_apply,
)
from trader.core.types import Side
from trader.core.types.errors import AccountingError


@pytest.fixture(autouse=True)
def exact_expectations():
    """What the tests add up themselves must not be rounded either."""
    with localcontext(MONEY):
        yield


SPOT = Contract("spot", "BTC", "USDT", "USDT")
LINEAR = Contract("linear", "BTC", "USDT", "USDT")


def buy(quantity, price, fee="0", currency="USDT", **more):
    return Fill(Side.BUY, D(quantity), D(price), D(fee), currency, **more)


def sell(quantity, price, fee="0", currency="USDT", **more):
    return Fill(Side.SELL, D(quantity), D(price), D(fee), currency, **more)


def test_a_spot_buy_that_pays_in_base_holds_quantity_less_fee():
    result = fill_apply(Position(), SPOT, buy("2", "100", "0.002", "BTC"))
    assert result.position.quantity == D("1.998")
    assert result.position.average_price == 100
    assert result.position.fees == D("0.2")
    assert result.cash == {"USDT": D(-200)}


def test_a_spot_sell_realises_against_the_average_and_pays_in_quote():
    held = fill_apply(Position(), SPOT, buy("2", "100")).position
    result = fill_apply(held, SPOT, sell("1", "110", "0.11"))
    assert result.realised == 10
    assert result.cash == {"USDT": D("109.89")}
    assert result.position == Position(D(1), D(100), D(10), D("0.11"))


def test_a_contract_moves_cash_only_by_profit_and_fee():
    opened = fill_apply(Position(), LINEAR, sell("3", "100", "0.3"))
    assert opened.cash == {"USDT": D("-0.3")}
    closed = fill_apply(opened.position, LINEAR, buy("3", "90", "0.27"))
    assert closed.realised == 30
    assert closed.cash == {"USDT": D("29.73")}
    assert closed.position.quantity == 0
    assert closed.position.average_price == 0


def test_a_fill_through_zero_turns_the_position_at_its_price():
    held = fill_apply(Position(), LINEAR, buy("1", "100")).position
    turned = fill_apply(held, LINEAR, sell("3", "120"))
    assert turned.realised == 20
    assert (turned.position.quantity, turned.position.average_price) == (-2, 120)


def test_a_fee_in_a_third_currency_needs_its_price():
    with pytest.raises(AccountingError, match="fee_price"):
        fill_apply(Position(), SPOT, buy("1", "100", "0.5", "MNT"))
    result = fill_apply(Position(), SPOT, buy("1", "100", "0.5", "MNT", fee_price=D("0.8")))
    assert result.fee_in_quote == D("0.4")
    assert result.cash == {"USDT": D(-100), "MNT": D("-0.5")}


@pytest.mark.parametrize(
    ("fill", "field"),
    [
        (buy("0", "1"), "quantity"),
        (buy("-1", "1"), "quantity"),
        (buy("1", "NaN"), "price"),
        (buy("1", "1", "Infinity"), "fee"),
    ],
)
def test_a_fill_that_cannot_be_is_refused_by_name(fill, field):
    with pytest.raises(AccountingError, match=field):
        fill_apply(Position(), SPOT, fill)


def test_an_adjustment_moves_quantity_and_no_cash():
    result = adjustment_apply(Position(D(2), D(100)), SPOT, D("-0.5"), D(120))
    assert (result.position.quantity, result.realised, result.cash) == (D("1.5"), D(10), {})
    with pytest.raises(AccountingError, match="above zero"):
        adjustment_apply(Position(), SPOT, D(1), D(0))


def test_owners_sum_to_the_net_and_are_valued_apart():
    ledger = Ledger("USDT", {1: SPOT})
    ledger.book_cash("USDT", D(1000))
    ledger.book_fill(1, "d-1", buy("2", "100"))
    ledger.book_fill(1, MANUAL, buy("1", "110"))
    ledger.book_adjustment(1, UNATTRIBUTED, D("0.5"), D(100))
    marks = {1: D(120)}
    assert ledger.net_quantity(1) == D("3.5")
    assert ledger.figures(marks, owner="d-1").equity == 40
    assert ledger.figures(marks, owner=MANUAL).equity == 10
    assert ledger.equity(marks) == 1000 - 200 - 110 + D("3.5") * 120
    assert ledger.position(1, "nobody") == Position()


def test_an_unknown_mark_rate_or_instrument_is_an_error_and_not_zero():
    ledger = Ledger("USDT", {1: SPOT})
    ledger.book_fill(1, MANUAL, buy("1", "100"))
    with pytest.raises(AccountingError, match="mark"):
        ledger.equity({})
    with pytest.raises(AccountingError, match="mark"):
        ledger.equity({1: D("NaN")})
    ledger.book_cash("EUR", D(1))
    with pytest.raises(AccountingError, match="EUR"):
        ledger.equity({1: D(1)})
    assert ledger.equity({1: D(1)}, {"EUR": D(2)}) == -100 + 1 + 2
    with pytest.raises(AccountingError, match="instrument 9"):
        ledger.book_fill(9, MANUAL, buy("1", "1"))
    with pytest.raises(AccountingError, match="finite"):
        ledger.book_cash("USDT", D("NaN"))


def test_funding_moves_cash_and_stays_apart_from_profit():
    ledger = Ledger("USDT", {1: LINEAR})
    ledger.book_fill(1, MANUAL, buy("1", "100"))
    ledger.book_funding(1, MANUAL, D("-0.25"))
    figures = ledger.figures({1: D(100)})
    assert (figures.funding, figures.realised, figures.cash, figures.equity) == (D("-0.25"), 0, D("-0.25"), D("-0.25"))


def test_margin_binds_the_net_notional_over_leverage():
    ledger = Ledger("USDT", {1: LINEAR, 2: SPOT})
    ledger.book_fill(1, "a", buy("3", "100"))
    ledger.book_fill(1, "b", sell("1", "100"))
    ledger.book_fill(2, "a", buy("1", "100"))
    # 2 contracts at 110 are worth 220; a fifth of that is bound, and spot binds nothing
    assert ledger.margin({1: D(110), 2: D(100)}, {1: D(5)}) == D(44)
    assert ledger.margin_of(1, D(120), D(10)) == D(24)
    assert Ledger("USDT", {2: SPOT}).margin({}, {}) == 0


def test_margin_in_another_coin_needs_its_rate():
    ledger = Ledger("USDT", {1: Contract("linear", "BTC", "USDC", "USDC")})
    ledger.book_fill(1, MANUAL, sell("2", "100"))
    assert ledger.margin({1: D(110)}, {1: D(5)}, {"USDC": D("1.1")}) == D("48.4")
    with pytest.raises(AccountingError, match="no rate for USDC"):
        ledger.margin({1: D(110)}, {1: D(5)})


@pytest.mark.parametrize("leverage", [{}, {1: D(0)}, {1: D(-5)}, {1: D("NaN")}])
def test_margin_is_unknown_while_the_leverage_is(leverage):
    ledger = Ledger("USDT", {1: LINEAR})
    ledger.book_fill(1, MANUAL, buy("1", "100"))
    with pytest.raises(AccountingError, match="leverage is unknown"):
        ledger.margin({1: D(100)}, leverage)
    ledger.book_fill(1, MANUAL, sell("1", "100"))
    assert ledger.margin({}, leverage) == 0


AMOUNT = st.decimals("0.00001", "1000", places=5)
PRICE = st.decimals("0.01", "100000", places=2)
FEE_SHARE = st.decimals("-0.0005", "0.002", places=4)
FILLS = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.sampled_from(["a", "b"]), st.sampled_from(Side), AMOUNT, PRICE, FEE_SHARE),
    max_size=40,
)


def _booked(fills, in_base):
    ledger = Ledger("USDT", {1: SPOT, 2: LINEAR})
    ledger.book_cash("USDT", D(100_000))
    for instrument, owner, side, quantity, price, share in fills:
        pays_base = in_base and instrument == 1 and side is Side.BUY
        fee = quantity * share * (1 if pays_base else price)
        ledger.book_fill(instrument, owner, Fill(side, quantity, price, fee, "BTC" if pays_base else "USDT"))
    return ledger


@settings(max_examples=200)
@given(FILLS, PRICE, PRICE, st.booleans())
def test_cash_and_what_is_held_equals_opening_and_what_was_earned(fills, mark_spot, mark_linear, in_base):
    ledger = _booked(fills, in_base)
    marks = {1: mark_spot, 2: mark_linear}
    figures = ledger.figures(marks)
    spot_held = ledger.net_quantity(1) * mark_spot
    open_profit = sum(p.unrealised(mark_linear) for (of, _), p in ledger.positions.items() if of == 2)
    by_holdings = ledger.cash["USDT"] + spot_held + open_profit
    by_earnings = 100_000 + figures.realised + figures.unrealised - figures.fees + figures.funding
    assert figures.equity == by_holdings
    # only average prices are rounded, at 18 places, so the two may part by what that leaves
    assert abs(figures.equity - by_earnings) <= D("1e-9")


@given(FILLS, st.booleans())
def test_quantities_are_exact_sums_of_what_was_bought_and_sold(fills, in_base):
    ledger = _booked(fills, in_base)
    for instrument in (1, 2):
        expected = D(0)
        for of, _, side, quantity, _, share in fills:
            base_fee = quantity * share if in_base and of == 1 and side is Side.BUY else 0
            expected += (side.sign * quantity - base_fee) if of == instrument else 0
        assert ledger.net_quantity(instrument) == expected


@given(FILLS, PRICE, PRICE)
def test_owners_parts_add_up_to_the_account(fills, mark_spot, mark_linear):
    ledger = _booked(fills, in_base=True)
    marks = {1: mark_spot, 2: mark_linear}
    whole, parts = ledger.figures(marks), [ledger.figures(marks, owner=owner) for owner in ("a", "b")]
    for name in ("realised", "unrealised", "fees", "funding", "net"):
        assert getattr(whole, name) == sum(getattr(part, name) for part in parts)
    assert abs(whole.equity - 100_000 - sum(part.equity for part in parts)) <= D("1e-9")


@given(st.lists(st.tuples(AMOUNT, PRICE), min_size=1, max_size=20), PRICE)
def test_closing_a_position_leaves_nothing_open_and_realises_all(opened, price):
    position = Position()
    for quantity, at in opened:
        position = fill_apply(position, LINEAR, Fill(Side.BUY, quantity, at)).position
    closed = fill_apply(position, LINEAR, Fill(Side.SELL, position.quantity, price))
    assert closed.position.quantity == 0
    assert closed.position.unrealised(D(1)) == 0
    exact = sum(quantity * (price - at) for quantity, at in opened)
    assert abs(closed.realised - exact) <= D("1e-9")
