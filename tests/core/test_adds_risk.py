"""What adds risk and what is flat: the definitions that gates and sweeps stand on."""

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.core.risk import OpenOrder, adds_risk, is_flat, lots_down
from trader.core.types import Side


def order(side, quantity, reduce_only=False):
    return OpenOrder(Side(side), D(quantity), reduce_only)


CASES = [
    ("an order from flat adds", order("buy", 1), 0, [], "linear", True),
    ("a reduce-only order on a contract adds none", order("buy", 1, True), 5, [], "linear", False),
    ("closing a long adds none", order("sell", 5), 5, [], "linear", False),
    ("turning a long adds", order("sell", 6), 5, [], "linear", True),
    (
        "closing with another close resting adds, both might fill",
        order("sell", 3),
        5,
        [order("sell", 3)],
        "linear",
        True,
    ),
    ("two closes that fit together add none", order("sell", 2), 5, [order("sell", 3)], "linear", False),
    ("orders of the other side are not counted", order("sell", 5), 5, [order("buy", 9)], "linear", False),
    ("a resting reduce-only order is not counted", order("sell", 5), 5, [order("sell", 5, True)], "linear", False),
    ("buying back a short adds none", order("buy", 4), -4, [], "linear", False),
    ("growing a short adds", order("sell", 1), -4, [], "linear", True),
    ("a spot sell of what is held adds none", order("sell", 5), 5, [], "spot", False),
    ("a spot sell of what is held adds none beside its stop", order("sell", 5), 5, [order("sell", 5)], "spot", False),
    ("a spot sell of more than is held adds", order("sell", 6), 5, [], "spot", True),
    ("reduce-only proves nothing on spot", order("sell", 1, True), 0, [], "spot", True),
    ("a spot buy adds", order("buy", 1), 0, [], "spot", True),
    ("an unknown quantity adds", order("sell", "NaN"), 5, [], "spot", True),
    ("an unknown position adds", order("sell", 1), "NaN", [], "spot", True),
    ("an unknown resting order adds", order("sell", 1), 5, [order("sell", "NaN")], "linear", True),
]


@pytest.mark.parametrize(("name", "asked", "position", "others", "kind", "expected"), CASES, ids=[c[0] for c in CASES])
def test_what_adds_risk(name, asked, position, others, kind, expected):
    assert adds_risk(asked, D(position), others, kind) is expected


QUANTITY = st.integers(1, 20).map(D)
ORDERS = st.lists(st.builds(OpenOrder, st.sampled_from(Side), QUANTITY, st.booleans()), max_size=5)


@given(st.builds(OpenOrder, st.sampled_from(Side), QUANTITY), st.integers(-40, 40).map(D), ORDERS)
def test_contract_orders_that_add_no_risk_can_never_together_grow_or_turn_a_position(asked, position, others):
    if adds_risk(asked, position, others, "linear"):
        return
    same_side = sum((o.quantity for o in others if o.side is asked.side and not o.reduce_only), D(0))
    worst = position + asked.side.sign * (asked.quantity + same_side)
    assert worst * position >= 0
    assert abs(worst) <= abs(position)


@given(st.builds(OpenOrder, st.sampled_from(Side), QUANTITY), st.integers(0, 40).map(D), ORDERS)
def test_a_single_fill_of_a_spot_order_that_adds_no_risk_leaves_no_more_and_nothing_short(asked, position, others):
    if not adds_risk(asked, position, others, "spot"):
        assert 0 <= position + asked.side.sign * asked.quantity <= position


def test_dust_is_flat_by_lot_by_quantity_and_by_notional():
    terms = {"lot": D("0.01"), "min_quantity": D("0.02"), "min_notional": D(5)}
    assert is_flat(D("0.009"), D(1000), **terms)
    assert is_flat(D("0.019"), D(1000), **terms)
    assert is_flat(D("-0.03"), D(100), **terms)
    assert not is_flat(D("-0.05"), D(100), **terms)
    assert is_flat(D(0), D(100), lot=D(1))


def test_lots_are_rounded_towards_zero():
    assert lots_down(D("1.29"), D("0.1")) == D("1.2")
    assert lots_down(D("-1.29"), D("0.1")) == D("-1.2")
    with pytest.raises(ValueError, match="lot"):
        lots_down(D(1), D(0))
