"""The margin of contracts beside the venue's. It is a figure, no booking: what differs is shown and never adjusted."""

from collections.abc import Iterable
from decimal import Decimal

from apps.execution.brokers.base import Market, VenuePosition
from apps.execution.desk.adjust import Difference
from apps.execution.desk.books import Books

TOLERANCE = Decimal("0.001")
"""Share of a position's value: room for the estimated fee to close, which a venue may count in its initial margin."""
SHOWN_PLACES = 8
DONE = "shown only: margin is not booked"


def margin_differences(books: Books, positions: Iterable[VenuePosition]) -> list[Difference]:
    """Compare the initial margin of each contract at the venue's own mark, so that the marks' difference is none.

    A position whose quantity differs is a difference already, and one of which the venue does not tell its margin,
    mark or leverage (portfolio margin) cannot be compared.
    """
    markets = {market.venue_symbol: market for market in books.markets.values() if market.kind == "linear"}
    found = (_difference(books, markets.get(one.venue_symbol), one) for one in positions)
    return [one for one in found if one is not None]


def _difference(books: Books, market: Market | None, theirs: VenuePosition) -> Difference | None:
    if market is None or books.net(market.instrument_id) != theirs.quantity:
        return None
    mark, leverage, venues = theirs.mark_price, theirs.leverage, theirs.initial_margin
    if mark is None or leverage is None or venues is None:
        return None
    ours = books.ledger.margin_of(market.instrument_id, mark, leverage)
    # at a leverage of 1 the margin is the position's value
    allowed = TOLERANCE * books.ledger.margin_of(market.instrument_id, mark, Decimal(1))
    if abs(ours - venues) <= allowed:
        return None
    # a share may have no end; a row that a person reads does
    return Difference(f"margin {market.symbol}", round(ours, SHOWN_PLACES), venues, done=DONE)
