"""What the matching kernel works on: orders in whole ticks and lots, and its word on each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

BUY = 1
SELL = -1
MARKET = 0  # as a price: no limit


class TimeInForce(IntEnum):
    """How long an order stands."""

    GTC = 0
    """Good till cancelled: what does not fill rests."""
    IOC = 1
    """Immediate or cancel: what does not fill is cancelled."""
    FOK = 2
    """Fill or kill: all at once or nothing."""
    POST_ONLY = 3
    """Rests, or is refused where it would take."""


class Outcome(IntEnum):
    """What became of a submitted order."""

    RESTING = 0
    FILLED = 1
    CANCELLED = 2
    """Filled in part or not at all; nothing of it rests."""
    REFUSED = 3
    """Never matched: post-only that would take, or fill-or-kill that could not."""


@dataclass(slots=True, eq=False)
class MatchOrder:
    """One order in the kernel.

    `number` grows with time and is the time priority. `side` is BUY or SELL. `price` in ticks, MARKET
    for none. `remaining` in lots. `queue_ahead`: public lots at its price that are served before it.
    """

    number: int
    side: int
    price: int
    remaining: int
    time_in_force: TimeInForce = TimeInForce.GTC
    queue_ahead: int = 0


def crosses(side: int, price: int, against: int) -> bool:
    """Return whether an order of `side` at `price` (MARKET: any) trades with a price of the other side.

    >>> crosses(BUY, 100, 99), crosses(SELL, 100, 99), crosses(SELL, MARKET, 1)
    (True, False, True)
    """
    return price == MARKET or (against <= price if side == BUY else against >= price)


def better(side: int, price: int, than: int) -> bool:
    """Return whether a resting `price` of `side` is served before `than`: higher for buys, lower for sells."""
    return price > than if side == BUY else price < than
