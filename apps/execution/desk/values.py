"""What contracts are worth beside the venue's word: average entry, unrealised profit, equity. Shown, never booked.

All of it follows from quantities and cash, which are compared exactly and adjusted; a difference here says that a
booking's price or a mark is read in another way than the venue reads it, and a person should look.
"""

from collections.abc import Iterable
from decimal import Decimal

from apps.execution.brokers.base import Market, VenueBalance, VenuePosition
from apps.execution.desk.adjust import Difference, held_spot
from apps.execution.desk.books import Books
from apps.execution.desk.margins import SHOWN_PLACES, margin_differences
from trader.core.portfolio import UNATTRIBUTED, Position

ZERO = Decimal(0)
AVERAGE_SHARE = Decimal("1e-6")
"""Of the price, or half a tick if that is more: a venue rounds its averages."""
UNREALISED_SHARE = Decimal("1e-4")
"""Of the position's value: quantity and mark are the same on both sides."""
EQUITY_SHARE = Decimal("1e-3")
"""Of the contracts' value: positions and balances are two answers, and marks move between them."""
FLAT = VenuePosition("", ZERO, ZERO, mark_price=ZERO)
"""Nothing is held at the venue: what owners hold against each other has gained the same at any mark."""
DONE = "shown only: it follows from quantities, cash and marks"


def shown_differences(
    books: Books, positions: list[VenuePosition], balances: Iterable[VenueBalance]
) -> list[Difference]:
    """Compare margin, average price, unrealised profit and equity of contracts at the venue's own marks.

    A contract whose quantity differs is a difference already; what the venue does not tell cannot be compared.
    """
    markets = {market.venue_symbol: market for market in books.markets.values() if market.kind == "linear"}
    found = margin_differences(books, positions)
    for theirs in positions:
        market = markets.get(theirs.venue_symbol)
        if market is not None and books.net(market.instrument_id) == theirs.quantity:
            found += _of_position(books, market, theirs)
    return found + _of_equity(books, markets.values(), positions, balances)


def _of_position(books: Books, market: Market, theirs: VenuePosition) -> list[Difference]:
    ours = _one_owners(books, market.instrument_id)
    if ours is None:
        return []
    found = []
    average = theirs.average_price
    if average and abs(ours.average_price - average) > max(AVERAGE_SHARE * average, market.tick / 2):
        found.append(_shown(f"average price {market.symbol}", ours.average_price, average))
    if theirs.mark_price is not None and theirs.unrealised is not None:
        gained = ours.unrealised(theirs.mark_price)
        if abs(gained - theirs.unrealised) > UNREALISED_SHARE * abs(ours.quantity) * theirs.mark_price:
            found.append(_shown(f"unrealised {market.symbol}", gained, theirs.unrealised))
    return found


def _one_owners(books: Books, instrument_id: int) -> Position | None:
    """Return the sub-ledger of the only owner that ever traded an instrument, None where there were others.

    A venue averages the net. Where one owner has closed while another held on, ours are right and not the venue's, as
    is a position that was taken over at its mark.
    """
    traded = {
        owner: position
        for (of, owner), position in books.ledger.positions.items()
        if of == instrument_id and position != Position()
    }
    return next(iter(traded.values())) if len(traded) == 1 and UNATTRIBUTED not in traded else None


def _of_equity(
    books: Books, markets: Iterable[Market], positions: Iterable[VenuePosition], balances: Iterable[VenueBalance]
) -> list[Difference]:
    """Compare the equity of each currency in which contracts are open; it does not depend on who owns what."""
    theirs = {one.venue_symbol: one for one in positions}
    told = {balance.currency: balance.equity for balance in balances if balance.equity is not None}
    held = held_spot(books)
    found = []
    for currency, of in _by_settle(markets).items():
        worth = _worth(books, of, theirs)
        if worth is None or currency not in told:
            continue
        gained, value = worth
        ours, venues = books.ledger.cash.get(currency, ZERO) + held.get(currency, ZERO) + gained, told[currency]
        if value and abs(ours - venues) > EQUITY_SHARE * value:
            found.append(_shown(f"equity {currency}", ours, venues))
    return found


def _by_settle(markets: Iterable[Market]) -> dict[str, list[Market]]:
    found: dict[str, list[Market]] = {}
    for market in markets:
        found.setdefault(market.settle, []).append(market)
    return found


def _worth(books: Books, markets: list[Market], theirs: dict[str, VenuePosition]) -> tuple[Decimal, Decimal] | None:
    """Return what contracts have gained by our entries at the venue's marks, and their value; None where a quantity
    differs or a mark is not told."""
    gained = value = ZERO
    for market in markets:
        told = theirs.get(market.venue_symbol, FLAT)
        if told.mark_price is None or books.net(market.instrument_id) != told.quantity:
            return None
        gained += _gained(books, market.instrument_id, told.mark_price)
        value += abs(told.quantity) * told.mark_price
    return gained, value


def _gained(books: Books, instrument_id: int, mark: Decimal) -> Decimal:
    held = (position for (of, _), position in books.ledger.positions.items() if of == instrument_id)
    return sum((position.unrealised(mark) for position in held), ZERO)


def _shown(what: str, ours: Decimal, venues: Decimal) -> Difference:
    return Difference(what, round(ours, SHOWN_PLACES), venues, done=DONE)
