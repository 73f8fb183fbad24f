"""Bybit v5 frames and answers, read into the feed's own words. Pure: no I/O, no state.

Stamps on the wire are milliseconds of the market's clock; here they become nanoseconds.
"""

from decimal import Decimal
from typing import Any

import numpy as np

from apps.market.providers.base import BookFrame, Kline, ListedInstrument, PrintRow, TickerFrame
from apps.market.storage.rows import BACKFILLED, BAR_DTYPE, EMPTY, Bars, bars_empty

MILLISECOND_NS = 1_000_000
INTERVALS = {60: "1", 300: "5", 900: "15", 3600: "60", 14_400: "240", 86_400: "D"}
"""Kline intervals of the venue by timeframe in seconds, of those we ask for."""

_TICKER_FIELDS = {
    "last": "lastPrice",
    "mark": "markPrice",
    "index": "indexPrice",
    "funding_rate": "fundingRate",
    "turnover_24h": "turnover24h",
    "change_24h": "price24hPcnt",
}


class FrameRefused(ValueError):
    """A frame does not have the shape that the venue documents; the message names the field."""


def stamp_ns(message: dict[str, Any]) -> int:
    """Return the market stamp of a topic frame, 0 if it carries none."""
    return int(message.get("ts") or 0) * MILLISECOND_NS


def parse_prints(message: dict[str, Any]) -> list[PrintRow]:
    """Return the trades of a `publicTrade` frame in the venue's order."""
    return [_print(row) for row in _data(message, list)]


def _print(row: dict[str, Any]) -> PrintRow:
    try:
        side = 1 if row["S"] == "Buy" else -1
        return PrintRow(str(row["i"]), int(row["T"]) * MILLISECOND_NS, Decimal(row["p"]), Decimal(row["v"]), side)
    except KeyError as error:
        raise FrameRefused(f"publicTrade row lacks {error}") from error


def parse_klines(message: dict[str, Any]) -> list[Kline]:
    """Return the bars of a `kline` frame; `confirm` marks one that is closed."""
    return [_kline(row) for row in _data(message, list)]


def _kline(row: dict[str, Any]) -> Kline:
    try:
        return Kline(
            int(row["start"]) * MILLISECOND_NS,
            float(row["open"]),
            float(row["high"]),
            float(row["low"]),
            float(row["close"]),
            float(row["volume"]),
            float(row["turnover"]),
            bool(row["confirm"]),
        )
    except KeyError as error:
        raise FrameRefused(f"kline row lacks {error}") from error


def parse_book(message: dict[str, Any]) -> BookFrame:
    """Return an `orderbook` frame. Update id 1 is a snapshot too: the venue's service has restarted."""
    data = _data(message, dict)
    try:
        update_id = int(data["u"])
        return BookFrame(
            message.get("type") == "snapshot" or update_id == 1,
            update_id,
            int(data.get("seq") or 0),
            [(float(price), float(size)) for price, size in data["b"]],
            [(float(price), float(size)) for price, size in data["a"]],
            stamp_ns(message),
        )
    except KeyError as error:
        raise FrameRefused(f"orderbook frame lacks {error}") from error


def parse_ticker(message: dict[str, Any]) -> TickerFrame:
    """Return a `tickers` frame. A linear delta repeats only what changed; an empty text is no number."""
    data = _data(message, dict)
    figures = {ours: float(data[theirs]) for ours, theirs in _TICKER_FIELDS.items() if data.get(theirs)}
    return TickerFrame(stamp_ns(message), **figures)


def parse_kline_answer(answer: dict[str, Any], instrument_id: int, known_ns: int) -> Bars:
    """Return the bars of `GET market/kline`, oldest first. The venue answers newest first."""
    listed = answer.get("result", {}).get("list")
    if listed is None:
        raise FrameRefused("market/kline answer lacks result.list")
    if not listed:
        return bars_empty()
    columns = np.array(listed[::-1], dtype=str)
    bars = np.zeros(len(listed), dtype=BAR_DTYPE)
    bars["instrument_id"] = instrument_id
    bars["open_ns"] = columns[:, 0].astype("i8") * MILLISECOND_NS
    for index, name in enumerate(("open", "high", "low", "close", "volume", "turnover"), start=1):
        bars[name] = columns[:, index].astype("f8")
    bars["flags"] = np.where(bars["volume"] == 0, BACKFILLED | EMPTY, BACKFILLED)
    bars["known_ns"] = known_ns
    return bars


def parse_market(market: dict[str, Any], turnover_24h: Decimal) -> ListedInstrument | None:
    """Return a ccxt market as we keep it; None for what we do not trade (inverse, options, dated futures)."""
    kind = "spot" if market.get("spot") else "linear" if market.get("swap") and market.get("linear") else None
    if kind is None or market.get("active") is False:
        return None
    precision, limits = market["precision"], market["limits"]
    info = market.get("info", {})
    leverage = info.get("leverageFilter", {}).get("maxLeverage") or "1"
    return ListedInstrument(
        symbol=market["symbol"],
        venue_symbol=market["id"],
        kind=kind,
        base=market["base"],
        quote=market["quote"],
        settle=market.get("settle") or market["quote"],
        tick=_decimal(precision["price"]),
        lot=_decimal(precision["amount"]),
        min_quantity=_decimal(limits["amount"]["min"]),
        min_notional=_minimum_notional(info, limits),
        max_leverage=_decimal(leverage) if kind == "linear" else Decimal(1),
        maker_fee=_decimal(market.get("maker")),
        taker_fee=_decimal(market.get("taker")),
        turnover_24h=turnover_24h,
    )


def _minimum_notional(info: dict[str, Any], limits: dict[str, Any]) -> Decimal:
    sizes = info.get("lotSizeFilter", {})
    listed = sizes.get("minNotionalValue") or sizes.get("minOrderAmt") or limits.get("cost", {}).get("min")
    return _decimal(listed)


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value)) if value not in (None, "") else Decimal(0)


def _data(message: dict[str, Any], kind: type) -> Any:
    data = message.get("data")
    if not isinstance(data, kind):
        raise FrameRefused(f"frame {message.get('topic')!r}: `data` is {type(data).__name__}, not {kind.__name__}")
    return data
