"""Differences between our books and the venue's, and the adjustments that end them: the venue wins."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import structlog

from apps.execution.brokers.base import VenueBalance, VenuePosition
from apps.execution.desk.books import Books
from apps.execution.desk.core import DeskCore
from apps.execution.desk.fills import Fills
from apps.execution.desk.model import plain
from apps.execution.desk.writer import Writer
from trader.core.portfolio import UNATTRIBUTED
from trader.core.types import AccountingError

log = structlog.get_logger(__name__)
ZERO = Decimal(0)
CASH_SHARE = Decimal("1e-9")
FLAT = VenuePosition("", ZERO, ZERO)  # a venue lists no position of nothing: owners may yet hold against each other
AVERAGE_STEP = Decimal("1e-8")  # a venue tells its average prices with eight places or more


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same here and there."""

    what: str
    ours: Decimal
    venues: Decimal
    instrument_id: int | None = None
    currency: str = ""
    done: str = "seen once"

    @property
    def amount(self) -> Decimal:
        return self.venues - self.ours

    @property
    def key(self) -> tuple[str, str]:
        """The same difference has the same key: what, and by how much."""
        return self.what, plain(self.amount)

    def shown(self) -> dict[str, Any]:
        """As a page shows it."""
        return {"what": self.what, "ours": plain(self.ours), "venue": plain(self.venues), "done": self.done}


def book_differences(core: DeskCore, positions: list[VenuePosition], balances: list[VenueBalance]) -> list[Difference]:
    """Compare quantities exactly, and cash within 1e-9 of the equity."""
    return [*_contracts(core, positions), *_currencies(core, balances, positions)]


def _contracts(core: DeskCore, positions: list[VenuePosition]) -> list[Difference]:
    theirs = {position.venue_symbol: position.quantity for position in positions}
    found = []
    for market in core.books.markets.values():
        if market.kind != "linear":
            continue
        ours, venues = core.books.net(market.instrument_id), theirs.get(market.venue_symbol, ZERO)
        if ours != venues:
            found.append(Difference(f"position {market.symbol}", ours, venues, instrument_id=market.instrument_id))
    return found


def _currencies(
    core: DeskCore, balances: list[VenueBalance], positions: Sequence[VenuePosition] = ()
) -> list[Difference]:
    theirs = {balance.currency: balance.total for balance in balances}
    held = held_spot(core.books)
    tolerance = CASH_SHARE * _worth(core)
    found = []
    for currency in sorted(set(theirs) | set(core.books.ledger.cash) | set(held)):
        ours = core.books.ledger.cash.get(currency, ZERO) + held.get(currency, ZERO)
        venues = theirs.get(currency, ZERO)
        allowed = ZERO if currency in held else tolerance
        if abs(ours - venues) <= allowed:
            continue
        carried, rounded = _carried(core.books, positions, currency)
        if abs(ours - carried - venues) > allowed + rounded:
            spot = _spot_of(core, currency)
            found.append(Difference(f"balance {currency}", ours - carried, venues, spot, currency))
    return found


def _carried(books: Books, positions: Iterable[VenuePosition], currency: str) -> tuple[Decimal, Decimal]:
    """Return what the venue has realised less than we, and how exactly that is known.

    A venue averages the net. Where one owner has closed while another holds on, it realises by that average and we by
    the owner's own: cash and unrealised profit differ by the same amount, until the last of them is closed.
    """
    theirs = {one.venue_symbol: one for one in positions}
    carried = rounded = ZERO
    for market in books.markets.values():
        if market.kind != "linear" or market.settle != currency:
            continue
        told = theirs.get(market.venue_symbol, FLAT)
        owned = {by: one for (of, by), one in books.ledger.positions.items() if of == market.instrument_id}
        if len(owned) > 1 and books.net(market.instrument_id) == told.quantity and UNATTRIBUTED not in owned:
            ours = sum((one.quantity * one.average_price for one in owned.values()), ZERO)
            carried += ours - told.quantity * told.average_price
            rounded += abs(told.quantity) * AVERAGE_STEP
    return carried, rounded


def held_spot(books: Books) -> dict[str, Decimal]:
    """Sum of the spot positions by their base currency."""
    held: dict[str, Decimal] = {}
    for (instrument_id, _), position in books.ledger.positions.items():
        market = books.markets[instrument_id]
        if market.kind == "spot":
            held[market.base] = held.get(market.base, ZERO) + position.quantity
    return held


def _spot_of(core: DeskCore, currency: str) -> int | None:
    """The spot instrument that a coin belongs to, None for the account's own currency."""
    if currency == core.account.currency:
        return None
    found = [
        market.instrument_id
        for market in core.books.markets.values()
        if market.kind == "spot" and market.base == currency and market.quote == core.account.currency
    ]
    return min(found, default=None)


def _worth(core: DeskCore) -> Decimal:
    try:
        return abs(core.books.ledger.figures(core.books.marks, core.books.rates()).equity)
    except AccountingError:
        return abs(core.books.ledger.cash.get(core.account.currency, ZERO))


class Adjuster:
    """Books opening balances and adjustments; each is a row with its cause."""

    def __init__(self, core: DeskCore, writer: Writer, fills: Fills) -> None:
        self._core = core
        self._writer = writer
        self._fills = fills
        self.has_opening = True

    def adjust(self, differences: list[Difference]) -> None:
        """Book what the venue has more or less than we, to `unattributed`."""
        for index, one in enumerate(differences):
            log.error("adjusted to the venue", what=one.what, ours=str(one.ours), venue=str(one.venues))
            self._move("adjustment", f"{self._core.now_ns()}:{index}", one, f"reconciliation: {one.what} differs")
            object.__setattr__(one, "done", "adjusted to unattributed")
        self._core.books.risk_judge()

    async def opening_if_first(self) -> None:
        """At the first session of an account, what the venue holds is its opening balance."""
        if self.has_opening:
            return
        balances = await self._core.broker.balances()
        for one in _currencies(self._core, balances):
            self._move("opening", f"opening:{one.currency}", one, "opening balance")
        self.has_opening = True

    def _move(self, kind: str, venue_id: str, one: Difference, cause: str) -> None:
        key = None
        if one.instrument_id is not None:
            key = (one.instrument_id, UNATTRIBUTED)
            self._position(key, one.amount)
        else:
            self._core.books.ledger.book_cash(one.currency, one.amount)
        self._fills.version += 1
        row = (
            kind,
            venue_id,
            one.instrument_id,
            UNATTRIBUTED,
            one.currency,
            ZERO if key else one.amount,
            one.amount if key else ZERO,
            cause,
            self._core.market_ns,
        )
        self._writer.movement(row, key, {one.currency} if one.currency and key is None else set())

    def _position(self, key: tuple[int, str], amount: Decimal) -> None:
        """Move a sub-ledger by a quantity at the present mark, so that an adjustment is no profit."""
        position = self._core.books.ledger.position(*key)
        mark = self._core.books.marks.get(key[0], position.average_price)
        quantity = position.quantity + amount
        grown = abs(quantity) > abs(position.quantity)
        average = mark if grown and not position.quantity else position.average_price
        self._core.books.ledger.positions[key] = replace(
            position, quantity=quantity, average_price=average if quantity else ZERO
        )
        self._core.books.opened_ns.setdefault(key, self._core.market_ns)
