"""Pre-trade checks: order, numbers beside limits, and that the unknown refuses."""

from dataclasses import replace
from math import inf, nan

import pytest

from trader.core.risk import Book, Check, Limits, OrderIntent, RiskState, checks, refusal_of
from trader.core.types import Side

ORDER = OrderIntent(side=Side.BUY, quantity=2.0, price=100.0, kind="spot", adds_risk=True)
STATE = RiskState(
    equity=1_000.0,
    mark=100.0,
    held=0.0,
    min_quantity=0.1,
    min_notional=5.0,
    owner=Book(day_start_equity=1_000.0),
    net=Book(day_start_equity=1_000.0),
)
WIDE = Limits(
    order_notional=1e6,
    position_notional=1e6,
    gross_exposure=10.0,
    net_exposure=10.0,
    leverage=10.0,
    orders_per_minute=100,
    price_collar=0.5,
    daily_loss=0.5,
)
NAMES = [check for check in Check if check not in (Check.COMPLETE, Check.HELD, Check.MINIMUM)]


def asked(order=ORDER, state=STATE, owner=WIDE, net=WIDE):
    return checks(order, state, owner, net)


def test_within_all_limits_every_check_is_asked_of_both_books_and_passes():
    results = asked()
    assert refusal_of(results) is None
    assert {result.verdict for result in results} == {"ok"}
    assert [(r.name, r.scope) for r in results[3:]] == [(name, s) for name in NAMES for s in ("owner", "net")]


LINEAR = replace(ORDER, kind="linear")
REFUSED = [
    (Check.ORDER_NOTIONAL, 199.0, 200.0, ORDER, STATE),
    (Check.POSITION_NOTIONAL, 599.0, 600.0, ORDER, {"position": 3.0, "resting": 1.0}),
    (Check.GROSS_EXPOSURE, 0.7, 0.8, ORDER, {"gross": 500.0, "resting_gross": 100.0}),
    (Check.NET_EXPOSURE, 0.6, 0.7, ORDER, {"net": 500.0}),
    (Check.LEVERAGE, 0.6, 0.7, LINEAR, {"contracts": 500.0}),
    (Check.ORDERS_PER_MINUTE, 5, 6.0, ORDER, {"orders_last_minute": 5}),
    (Check.PRICE_COLLAR, 0.05, 0.1, replace(ORDER, price=110.0), STATE),
    (Check.DAILY_LOSS, 0.02, 0.03, ORDER, {"day_profit": -30.0}),
]


@pytest.mark.parametrize("scope", ["owner", "net"])
@pytest.mark.parametrize(("check", "limit", "number", "order", "book"), REFUSED, ids=[r[0] for r in REFUSED])
def test_a_limit_that_is_crossed_refuses_with_its_number_and_ends_the_row(check, limit, number, order, book, scope):
    state = book if isinstance(book, RiskState) else replace(STATE, **{scope: replace(STATE.owner, **book)})
    results = asked(order, state, **{scope: replace(WIDE, **{check.value: limit})})
    refusal = refusal_of(results)
    assert (refusal.name, refusal.scope, refusal.limit) == (check, scope, limit)
    assert refusal.number == pytest.approx(number)
    assert "above the limit" in refusal.detail
    at = results.index(refusal)
    assert {result.verdict for result in results[:at]} == {"ok"}
    assert {result.verdict for result in results[at + 1 :]} <= {"not_asked"}


def test_a_number_equal_to_its_limit_passes():
    assert refusal_of(asked(owner=replace(WIDE, order_notional=200.0))) is None


def test_a_limit_that_is_not_set_is_not_asked_and_says_so():
    results = asked(owner=Limits(), net=Limits())
    assert refusal_of(results) is None
    assert {(r.verdict, r.detail) for r in results[3:]} == {("not_asked", "no limit is set")}


@pytest.mark.parametrize("field", ["quantity", "price", "multiplier", "rate"])
@pytest.mark.parametrize("value", [nan, inf, 0.0, -1.0])
def test_an_order_with_an_unknown_number_is_refused_as_incomplete(field, value):
    refusal = refusal_of(asked(replace(ORDER, **{field: value}), owner=Limits(), net=Limits()))
    assert refusal.name is Check.COMPLETE


def test_what_is_not_known_is_named_and_nothing_else():
    refusal = refusal_of(asked(state=replace(STATE, equity=nan, held=nan)))
    assert refusal.detail == "not known yet: the account's equity, what is held"


@pytest.mark.parametrize("field", ["equity", "mark", "held", "min_quantity", "min_notional"])
def test_an_unknown_state_refuses(field):
    refusal = refusal_of(asked(state=replace(STATE, **{field: nan})))
    assert refusal.name is Check.COMPLETE


@pytest.mark.parametrize("field", ["position", "resting", "gross", "net", "resting_gross", "day_profit", "contracts"])
def test_an_unknown_number_in_a_book_refuses(field):
    book = replace(STATE.owner, **{field: nan})
    assert refusal_of(asked(LINEAR, replace(STATE, owner=book))) is not None


def test_an_unknown_limit_refuses_even_beside_a_known_one():
    limits = WIDE.tightest(Limits(order_notional=nan))
    assert refusal_of(asked(owner=limits)).name is Check.ORDER_NOTIONAL


def test_a_day_that_began_with_nothing_refuses_by_daily_loss():
    state = replace(STATE, net=Book(day_start_equity=0.0))
    assert refusal_of(asked(state=state)).name is Check.DAILY_LOSS


def test_below_the_venues_minimums_is_refused():
    refusal = refusal_of(asked(replace(ORDER, quantity=0.05)))
    assert (refusal.name, refusal.limit) == (Check.MINIMUM, 0.1)
    assert "below" in refusal.detail
    assert refusal_of(asked(replace(ORDER, quantity=0.1, price=10.0))).limit == 5.0


def test_a_reducing_order_is_asked_only_whether_it_is_held_and_large_enough():
    owner = Book(position=2.0, orders_last_minute=10**6)
    state = replace(STATE, held=2.0, equity=-5.0, owner=owner, net=Book(day_profit=-1e9))
    order = replace(ORDER, side=Side.SELL, adds_risk=False)
    results = checks(order, state, Limits(orders_per_minute=0), Limits(daily_loss=0.0))
    assert refusal_of(results) is None
    assert [result.name for result in results] == [Check.COMPLETE, Check.HELD, Check.MINIMUM, Check.MINIMUM]
    refusal = refusal_of(checks(replace(order, quantity=2.1), state, WIDE, WIDE))
    assert (refusal.name, refusal.number, refusal.limit) == (Check.HELD, 2.1, 2.0)


def test_an_order_that_lowers_the_net_but_opens_its_owners_position_is_asked_the_owners_limits():
    # a person buys while a deployment is short: the account's risk falls, the person's own position opens
    state = replace(STATE, held=5.0, net=replace(STATE.net, position=-5.0, orders_last_minute=10**6))
    order = replace(LINEAR, adds_risk=False)
    results = checks(order, state, WIDE, Limits(orders_per_minute=0))
    assert refusal_of(results) is None
    assert {result.scope for result in results} == {"order", "owner"}
    refusal = refusal_of(checks(order, state, replace(WIDE, position_notional=199.0), WIDE))
    assert (refusal.name, refusal.scope) == (Check.POSITION_NOTIONAL, "owner")


def test_spot_orders_do_not_count_as_leverage():
    state = replace(STATE, net=replace(STATE.net, contracts=0.0))
    assert refusal_of(asked(ORDER, state, net=replace(WIDE, leverage=0.01))) is None


def test_the_tightest_of_several_limits_binds():
    limits = Limits(order_notional=5.0).tightest(Limits(order_notional=3.0, leverage=2.0), Limits(leverage=4.0))
    assert limits == Limits(order_notional=3.0, leverage=2.0)
