"""Rows that the market's tests start from."""

from decimal import Decimal

import numpy as np
from django.utils import timezone

from apps.market.models import Epoch, Instrument, InstrumentTerms, Venue
from apps.market.storage.rows import BAR_DTYPE, Bars

MINUTE_NS = 60_000_000_000
BASE_NS = 1_700_000_040_000_000_000 // MINUTE_NS * MINUTE_NS


def venue_make(code: str = "bybit-sim", **fields) -> Venue:
    return Venue.objects.create(code=code, name=code.title(), is_simulated=True, **fields)


def epoch_make(venue: Venue, number: int = 1, **fields) -> Epoch:
    values = {"kind": Epoch.Kind.SYNTHETIC, "is_current": True, **fields}
    return Epoch.objects.create(venue=venue, number=number, **values)


def instrument_make(venue: Venue, symbol: str = "BTC/USDT", kind: str = "spot", **fields) -> Instrument:
    base, rest = symbol.split("/")
    quote, _, settle = rest.partition(":")
    instrument = Instrument.objects.create(
        venue=venue, symbol=symbol, slug=symbol.replace("/", "-").replace(":", "-").lower(), venue_symbol=base + quote,
        kind=kind, base=base, quote=quote, settle=settle or quote, **fields,
    )  # fmt: skip
    InstrumentTerms.objects.create(
        instrument=instrument, valid_from=timezone.now(), tick=Decimal("0.01"), lot=Decimal("0.0001"),
        min_notional=Decimal(5), taker_fee=Decimal("0.001"), maker_fee=Decimal("0.001"),
    )  # fmt: skip
    return instrument


def minutes_make(instrument_id: int, n: int, start_ns: int = BASE_NS, price: float = 100.0, **fields) -> Bars:
    """Return `n` contiguous minutes, distinct in every figure."""
    bars = np.zeros(n, dtype=BAR_DTYPE)
    bars["instrument_id"] = instrument_id
    bars["open_ns"] = start_ns + np.arange(n) * MINUTE_NS
    bars["open"] = price + np.arange(n)
    bars["high"] = bars["open"] + 2
    bars["low"] = bars["open"] - 1
    bars["close"] = bars["open"] + 1
    bars["volume"] = 1 + np.arange(n) / 8
    bars["turnover"] = bars["volume"] * bars["close"]
    bars["trades"] = 3
    bars["known_ns"] = bars["open_ns"] + MINUTE_NS
    for name, value in fields.items():
        bars[name] = value
    return bars
