"""Instruments and their terms, as `market/instruments-info` and `market/risk-limit` give them."""

from __future__ import annotations

from typing import Any

from apps.simulator.markets.base import SPOT, InstrumentSpec
from apps.simulator.public.formats import decimals_of, plain

LAUNCHED_MS = "1577836800000"  # 2020-01-01: before any market here
MAX_LOTS = 10**12
MAINTENANCE = "0.005"  # of a position's value


def instrument_info(spec: InstrumentSpec, halted: bool) -> dict[str, Any]:
    """Return one row of `instruments-info`."""
    return _spot_info(spec, halted) if spec.kind == SPOT else _linear_info(spec, halted)


def _spot_info(spec: InstrumentSpec, halted: bool) -> dict[str, Any]:
    most = plain(spec.lot * MAX_LOTS)
    return {
        "symbol": spec.symbol,
        "baseCoin": spec.base,
        "quoteCoin": spec.quote,
        "innovation": "0",
        "status": "Closed" if halted else "Trading",
        "marginTrading": "none",
        "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": plain(spec.lot),
            "quotePrecision": plain(spec.tick * spec.lot),
            "minOrderQty": plain(spec.min_quantity),
            "maxOrderQty": most,
            "minOrderAmt": plain(spec.min_notional),
            "maxOrderAmt": "100000000",
            "maxLimitOrderQty": most,
            "maxMarketOrderQty": most,
            "postOnlyMaxLimitOrderSize": most,
        },
        "priceFilter": {"tickSize": plain(spec.tick)},
        "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.05"},
    }


def _linear_info(spec: InstrumentSpec, halted: bool) -> dict[str, Any]:
    most = plain(spec.lot * MAX_LOTS)
    return {
        "symbol": spec.symbol,
        "contractType": "LinearPerpetual",
        "status": "Closed" if halted else "Trading",
        "baseCoin": spec.base,
        "quoteCoin": spec.quote,
        "settleCoin": spec.settle,
        "launchTime": LAUNCHED_MS,
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(decimals_of(spec.tick)),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": plain(spec.max_leverage), "leverageStep": "0.01"},
        "priceFilter": {
            "minPrice": plain(spec.tick),
            "maxPrice": plain(spec.tick * 10**9),
            "tickSize": plain(spec.tick),
        },
        "lotSizeFilter": {
            "maxOrderQty": most,
            "minOrderQty": plain(spec.min_quantity),
            "qtyStep": plain(spec.lot),
            "postOnlyMaxOrderQty": most,
            "maxMktOrderQty": most,
            "minNotionalValue": plain(spec.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": spec.funding_interval_min,
        "copyTrading": "none",
        "upperFundingRate": "0.003",
        "lowerFundingRate": "-0.003",
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.05"},
    }


def risk_tier(spec: InstrumentSpec, number: int) -> dict[str, Any]:
    """Return the one risk tier of a perpetual; the engine's maintenance margin is the same for all."""
    return {
        "id": number,
        "symbol": spec.symbol,
        "riskLimitValue": "100000000",
        "maintenanceMargin": MAINTENANCE,
        "initialMargin": plain(1 / spec.max_leverage),
        "isLowestRisk": 1,
        "maxLeverage": plain(spec.max_leverage),
        "mmDeduction": "",
    }
