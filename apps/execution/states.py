"""The life of an order: its states, and the transitions that are legal between them.

`advance` is what the desk itself does to an order; `observe` folds in what the venue says of it, which may
come late, twice or out of order (a fill by socket before the answer of the request that made it).
"""

from enum import StrEnum

ENDS_AT_ONCE = ("IOC", "FOK")
TIMES_IN_FORCE = ("GTC", "POST", *ENDS_AT_ONCE)


class OrderState(StrEnum):
    """Where an order stands. The first seven are open: they may still add to a position."""

    CREATED = "created"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    PARTLY_FILLED = "partly_filled"
    CANCELLING = "cancelling"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


S = OrderState
FINAL = frozenset({S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED})
OPEN = frozenset(S) - FINAL
# what a venue may say about any order that is not final, whatever we last knew of it
_FROM_VENUE = frozenset({S.ACKNOWLEDGED, S.PARTLY_FILLED, S.FILLED, S.CANCELLED, S.REJECTED})
LEGAL: dict[OrderState, frozenset[OrderState]] = {
    S.CREATED: _FROM_VENUE | {S.SENT, S.UNKNOWN, S.CANCELLING},
    S.SENT: _FROM_VENUE | {S.UNKNOWN, S.CANCELLING},
    # a conditional order may still be rejected when it triggers
    S.ACKNOWLEDGED: frozenset({S.PARTLY_FILLED, S.FILLED, S.CANCELLING, S.CANCELLED, S.REJECTED, S.UNKNOWN}),
    S.PARTLY_FILLED: frozenset({S.FILLED, S.CANCELLING, S.CANCELLED, S.UNKNOWN}),
    # a cancel that the venue refused leaves the order where it was
    S.CANCELLING: frozenset({S.ACKNOWLEDGED, S.PARTLY_FILLED, S.FILLED, S.CANCELLED, S.REJECTED, S.UNKNOWN}),
    # only asking the venue ends it: found, or not found after the receive window has passed (expired)
    S.UNKNOWN: _FROM_VENUE | {S.EXPIRED, S.CANCELLING},
    S.FILLED: frozenset(),
    S.CANCELLED: frozenset(),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
}
# how far along a state is; a report that is behind what we know says nothing new
_RANK = {
    S.CREATED: 0,
    S.SENT: 1,
    S.UNKNOWN: 1,
    S.ACKNOWLEDGED: 2,
    S.PARTLY_FILLED: 3,
    S.CANCELLING: 4,
    S.FILLED: 5,
    S.CANCELLED: 5,
    S.REJECTED: 5,
    S.EXPIRED: 5,
}


class IllegalTransition(ValueError):
    """An order was asked to go where it cannot; a fault of ours, never of the venue."""


def lasting(instrument_kind: str, side: str, kind: str, asked: str) -> str:
    """Return how long an order lasts that was `asked` for with these words, none meaning the usual.

    Raises `ValueError`, naming what can be chosen. A sale on spot never rests: it would lock the coins.
    """
    if kind == "market":
        choice, why = ENDS_AT_ONCE, "a market order does not rest"
    elif instrument_kind == "spot" and side == "sell":
        choice = ENDS_AT_ONCE
        why = "a sale that rests on spot locks the coins, and stop, close and kill switch could not sell them"
    else:
        choice, why = TIMES_IN_FORCE, "an order knows no other"
    if asked and asked not in choice:
        raise ValueError(f"{', '.join(choice[:-1])} or {choice[-1]}: {why}")
    return asked or choice[0]


def advance(state: OrderState, new: OrderState) -> OrderState:
    """Return `new`, or raise `IllegalTransition` where the life of an order does not lead from `state` to it."""
    if new not in LEGAL[state]:
        raise IllegalTransition(f"an order cannot go from {state} to {new}")
    return new


def observe(state: OrderState, reported: OrderState) -> OrderState:
    """Return the state after a report of the venue: `reported` where that is news, else `state`.

    While a cancel is under way, an open report changes nothing; a final one ends it.
    """
    if state in FINAL:
        return state
    if state is S.UNKNOWN or _RANK[reported] > _RANK[state]:
        return advance(state, reported) if reported in LEGAL[state] else state
    return state
