"""The synthetic market's coins and the terms of their two instruments each."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from apps.simulator.markets.base import LINEAR, SPOT, InstrumentSpec

FUNDING_INTERVAL_MIN = 480
CASH = ("USDT", "USDC", "USD", "EUR", "GBP")
SPOT_FEES = (Decimal("0.001"), Decimal("0.001"))  # maker, taker
LINEAR_FEES = (Decimal("0.0002"), Decimal("0.00055"))


class Coin(msgspec.Struct, frozen=True):
    """What makes one coin behave as it does.

    `price` in USDT at the start; `daily_volatility` as a fraction; `beta`: weight of the common
    factor in its returns (0 to 1); `spread_bp`: the usual spread, in basis points of the price;
    `turnover`: usual USDT a minute on spot (perpetuals trade three times that).
    """

    name: str
    price: float
    daily_volatility: float
    beta: float
    spread_bp: float
    turnover: float
    tick: str
    lot: str
    linear_tick: str
    linear_lot: str
    max_leverage: int = 50


COINS = (
    Coin("BTC", 64_000.0, 0.025, 0.90, 0.2, 900_000, "0.01", "0.000001", "0.1", "0.001", 100),
    Coin("ETH", 3_200.0, 0.032, 0.88, 0.3, 600_000, "0.01", "0.00001", "0.01", "0.01", 100),
    Coin("SOL", 148.0, 0.042, 0.78, 0.8, 300_000, "0.01", "0.001", "0.01", "0.1", 75),
    Coin("XRP", 0.62, 0.038, 0.72, 1.6, 200_000, "0.0001", "0.01", "0.0001", "0.1", 75),
    Coin("DOGE", 0.135, 0.048, 0.74, 1.6, 150_000, "0.00001", "0.1", "0.00001", "1", 75),
    Coin("ADA", 0.44, 0.042, 0.74, 2.0, 80_000, "0.0001", "0.01", "0.0001", "1", 50),
    Coin("LTC", 82.0, 0.036, 0.76, 1.6, 80_000, "0.01", "0.00001", "0.01", "0.1", 50),
    Coin("LINK", 14.2, 0.044, 0.75, 1.6, 70_000, "0.001", "0.001", "0.001", "0.1", 50),
    Coin("AVAX", 29.5, 0.047, 0.75, 1.8, 60_000, "0.001", "0.001", "0.001", "0.1", 50),
    Coin("DOT", 6.1, 0.041, 0.76, 2.0, 50_000, "0.0001", "0.001", "0.0001", "0.1", 50),
)


def spot_spec(symbol: str, base: str, quote: str, tick: Decimal, lot: Decimal) -> InstrumentSpec:
    """Return the terms of a spot instrument."""
    maker, taker = SPOT_FEES
    return InstrumentSpec(
        symbol, SPOT, base, quote, "", tick, lot, lot, _least(quote, tick * lot), Decimal(1), maker, taker
    )


def linear_spec(
    symbol: str, base: str, quote: str, tick: Decimal, lot: Decimal, max_leverage: int = 50
) -> InstrumentSpec:
    """Return the terms of a linear perpetual, margined in its quote."""
    maker, taker = LINEAR_FEES
    return InstrumentSpec(
        symbol,
        LINEAR,
        base,
        quote,
        quote,
        tick,
        lot,
        lot,
        _least(quote, tick * lot),
        Decimal(max_leverage),
        maker,
        taker,
        FUNDING_INTERVAL_MIN,
    )


def _least(quote: str, smallest: Decimal) -> Decimal:
    """Return the least notional of an order: 5 where the quote is a currency like the dollar, else next to nothing."""
    return Decimal(5) if quote in CASH else smallest


def coin_specs(coin: Coin) -> tuple[InstrumentSpec, InstrumentSpec]:
    """Return the spot and the perpetual instrument of a coin, against USDT."""
    symbol = f"{coin.name}USDT"
    return (
        spot_spec(symbol, coin.name, "USDT", Decimal(coin.tick), Decimal(coin.lot)),
        linear_spec(symbol, coin.name, "USDT", Decimal(coin.linear_tick), Decimal(coin.linear_lot), coin.max_leverage),
    )
