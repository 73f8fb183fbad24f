"""Tickers: one instrument's day, quote and marks, for REST and for the socket."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from apps.simulator.markets.base import SPOT
from apps.simulator.markets.board import InstrumentState
from apps.simulator.public.formats import Format, ms, plain


def ticker_row(state: InstrumentState, form: Format, with_quote: bool = True) -> dict[str, Any]:
    """Return the ticker; spot tickers by socket carry no quote (`with_quote` False)."""
    day = state.day_figures()
    change = (state.last - day.first) / day.first if day.first else 0.0
    row = {
        "symbol": state.spec.symbol,
        "lastPrice": form.price(state.last),
        "prevPrice24h": form.price(day.first),
        "price24hPcnt": f"{change:.6f}",
        "highPrice24h": form.price(day.high),
        "lowPrice24h": form.price(day.low),
        "turnover24h": form.turnover(day.turnover),
        "volume24h": form.size(day.volume),
    }
    if state.spec.kind == SPOT:
        row["usdIndexPrice"] = form.price(state.last)
    else:
        row |= _perpetual(state, form, day.hour_ago)
    return row | _quote(state, form) if with_quote else row


def _quote(state: InstrumentState, form: Format) -> dict[str, str]:
    bid, ask = (state.bids or [(0, 0)])[0], (state.asks or [(0, 0)])[0]
    return {
        "bid1Price": form.price(bid[0]),
        "bid1Size": form.size(bid[1]),
        "ask1Price": form.price(ask[0]),
        "ask1Size": form.size(ask[1]),
    }


def _perpetual(state: InstrumentState, form: Format, hour_ago: int) -> dict[str, str]:
    rate = state.funding_rate if isinstance(state.funding_rate, Decimal) else Decimal(0)
    return {
        "tickDirection": state.tick_direction,
        "prevPrice1h": form.price(hour_ago),
        "markPrice": form.price(state.mark),
        "indexPrice": form.price(state.index),
        "openInterest": "0",
        "openInterestValue": "0",
        "fundingRate": plain(rate),
        "nextFundingTime": str(ms(state.next_funding_ns)),
        "predictedDeliveryPrice": "",
        "basisRate": "",
        "basis": "",
        "deliveryFeeRate": "",
        "deliveryTime": "0",
        "preOpenPrice": "",
        "preQty": "",
        "curPreListingPhase": "",
    }
