"""The order state machine: legal transitions only, whatever comes in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.execution.models import Order
from apps.execution.states import FINAL, LEGAL, OPEN, IllegalTransition, OrderState, advance, lasting, observe

S = OrderState
states = st.sampled_from(list(OrderState))
venue_says = st.sampled_from([S.ACKNOWLEDGED, S.PARTLY_FILLED, S.FILLED, S.CANCELLED, S.REJECTED])


@given(states, states)
def test_only_a_listed_transition_is_taken(state: OrderState, new: OrderState) -> None:
    if new in LEGAL[state]:
        assert advance(state, new) is new
    else:
        with pytest.raises(IllegalTransition):
            advance(state, new)


@given(states, st.lists(venue_says, max_size=12))
def test_reports_in_any_order_only_take_legal_steps_and_never_leave_an_end(state, reports) -> None:
    for reported in reports:
        after = observe(state, reported)
        assert after == state or after in LEGAL[state]
        if state in FINAL:
            assert after is state
        state = after


@given(states, venue_says)
def test_a_report_seen_twice_changes_nothing_the_second_time(state, reported) -> None:
    once = observe(state, reported)
    assert observe(once, reported) is once


@given(st.permutations([S.ACKNOWLEDGED, S.PARTLY_FILLED, S.FILLED]))
def test_the_end_is_the_same_in_whatever_order_the_reports_come(order) -> None:
    state = S.SENT
    for reported in order:
        state = observe(state, reported)
    assert state is S.FILLED


def test_unknown_ends_only_by_what_the_venue_says_or_by_its_not_found() -> None:
    assert LEGAL[S.UNKNOWN] - {S.CANCELLING} == {
        S.ACKNOWLEDGED,
        S.PARTLY_FILLED,
        S.FILLED,
        S.CANCELLED,
        S.REJECTED,
        S.EXPIRED,
    }
    assert all(S.EXPIRED not in LEGAL[state] for state in OrderState if state is not S.UNKNOWN)


def test_nothing_leads_back_to_created_or_out_of_an_end() -> None:
    assert all(S.CREATED not in targets for targets in LEGAL.values())
    assert all(not LEGAL[state] for state in FINAL)
    assert set(OrderState) == OPEN | FINAL


def test_the_table_knows_the_same_states() -> None:
    assert {state.value for state in OrderState} == set(Order.State.values)


@pytest.mark.parametrize(
    ("market", "side", "kind", "asked", "lasts"),
    [
        ("linear", "buy", "limit", "", "GTC"),
        ("linear", "sell", "limit", "POST", "POST"),
        ("linear", "sell", "market", "", "IOC"),
        ("spot", "buy", "limit", "FOK", "FOK"),
        ("spot", "sell", "limit", "", "IOC"),
        ("spot", "sell", "limit", "FOK", "FOK"),
    ],
)
def test_how_long_an_order_lasts(market: str, side: str, kind: str, asked: str, lasts: str) -> None:
    assert lasting(market, side, kind, asked) == lasts


@pytest.mark.parametrize(
    ("market", "side", "kind", "asked", "words"),
    [
        ("spot", "sell", "limit", "GTC", "IOC or FOK: a sale that rests on spot locks the coins"),
        ("linear", "buy", "market", "GTC", "IOC or FOK: a market order does not rest"),
        ("linear", "buy", "limit", "DAY", "GTC, POST, IOC or FOK: an order knows no other"),
    ],
)
def test_what_an_order_cannot_last_is_refused_with_what_it_can(
    market: str, side: str, kind: str, asked: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        lasting(market, side, kind, asked)
