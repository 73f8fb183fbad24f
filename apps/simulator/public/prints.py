"""Public trades as REST and the socket give them; both name a trade by the same id."""

from __future__ import annotations

from typing import Any

from apps.simulator.markets.board import RecentPrint
from apps.simulator.public.formats import Format, ms


def print_row(recent: RecentPrint, form: Format) -> dict[str, Any]:
    """Return a row of `market/recent-trade`."""
    event = recent.event
    return {
        "execId": recent.print_id,
        "symbol": event.symbol,
        "price": form.price(event.price_ticks),
        "size": form.size(event.size_lots),
        "side": event.side,
        "time": str(ms(event.market_ns)),
        "isBlockTrade": False,
        "isRPITrade": False,
        "seq": str(recent.sequence),
    }


def print_data(recent: RecentPrint, form: Format) -> dict[str, Any]:
    """Return an entry of a `publicTrade` frame."""
    event = recent.event
    return {
        "T": ms(event.market_ns),
        "s": event.symbol,
        "S": event.side,
        "v": form.size(event.size_lots),
        "p": form.price(event.price_ticks),
        "L": recent.direction,
        "i": recent.print_id,
        "BT": False,
        "RPI": False,
        "seq": recent.sequence,
    }
