"""The venue's frames in the feed's words. Pure: a frame in, structures out, no clock and no I/O.

Prices and sizes of prints stay Decimal; stamps become nanoseconds; a frame of another shape raises an error that
names the field.
"""

from typing import Any

from apps.market.providers.base import BookFrame, Kline, ListedInstrument, PrintRow, TickerFrame


def parse_prints(message: dict[str, Any]) -> list[PrintRow]:
    """Return the trades in the venue's order; `side` is the taker's."""
    raise NotImplementedError("one PrintRow per trade, with the venue's own trade id")


def parse_klines(message: dict[str, Any]) -> list[Kline]:
    """Return the venue's own bars; `is_closed` only where the venue says so."""
    raise NotImplementedError("the whole bar so far, never a change of it")


def parse_book(message: dict[str, Any]) -> BookFrame:
    """Return a snapshot or delta with an `update_id` that grows by exactly one per delta."""
    raise NotImplementedError("where the venue numbers otherwise, translate it here and say how")


def parse_ticker(message: dict[str, Any]) -> TickerFrame:
    """Return the figures of the day; None for what the frame does not repeat."""
    raise NotImplementedError("None is not zero: leave out what is not there")


def parse_listed(answer: dict[str, Any]) -> list[ListedInstrument]:
    """Return what trades now, with exact terms."""
    raise NotImplementedError("tick, lot and minimums as Decimal, from text")
