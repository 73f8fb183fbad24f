"""Private REST of the account: what the key may, balances, fees, positions and leverage."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apps.simulator.exchange import rows
from apps.simulator.exchange.context import ExchangeContext
from apps.simulator.exchange.errors import (
    NOT_MODIFIED_LEVERAGE,
    NOT_MODIFIED_MODE,
    VenueRefusal,
    bad_request,
    not_served,
)
from apps.simulator.exchange.records import AccountRecord
from apps.simulator.exchange.tickets import category, number, spec_of, text, whole_number
from apps.simulator.markets.base import LINEAR, SPOT

Params = Mapping[str, Any]


def coins(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """asset/coin/query-info: the coins that are listed here; none can be deposited or withdrawn."""
    names = {spec.base for spec in context.specs.values()} | {spec.quote for spec in context.specs.values()}
    asked = text(params, "coin")
    return {
        "rows": [
            {"name": coin, "coin": coin, "remainAmount": "0", "chains": []}
            for coin in sorted(names)
            if asked in ("", coin)
        ]
    }


def key_info(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """user/query-api: a unified account's key that may read and trade."""
    trade = ["Order", "Position"]
    return {
        "id": str(account.uid),
        "note": "simulated",
        "apiKey": account.api_key,
        "readOnly": 0,
        "secret": "",
        "permissions": {"ContractTrade": trade, "Spot": ["SpotTrade"], "Wallet": [], "Options": [], "Derivatives": []},
        "ips": ["*"],
        "type": 1,
        "deadlineDay": 365,
        "userID": account.uid,
        "uta": 1,
        "unified": 0,
        "isMaster": True,
        "vipLevel": "No VIP",
        "mktMakerLevel": "0",
        "parentUid": "0",
    }


def account_info(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """account/info: unified trading account 2.0 with cross margin."""
    return {
        "unifiedMarginStatus": 6,
        "marginMode": "REGULAR_MARGIN",
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
        "updatedTime": str(context.market_ns() // 1_000_000),
        "dcpStatus": "OFF",
        "timeWindow": 0,
        "smpGroup": 0,
    }


def wallet_balance(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """account/wallet-balance: the unified account."""
    kind = text(params, "accountType")
    if kind != "UNIFIED":
        raise bad_request(f"accountType only support UNIFIED. (it is {kind or 'missing'})")
    asked = text(params, "coin")
    shown = [coin for coin in asked.upper().split(",") if coin] if asked else None
    return {"list": [rows.wallet_row(account, context.engine.funds, shown)]}


def fee_rate(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """account/fee-rate: one symbol, or all of a category; without a category, of contracts.

    The venue's page calls `category` required, and its own example leaves it out and gets a contract's rates; ccxt's
    `fetch_trading_fees` relies on that. Contracts have neither `category` nor `baseCoin` in the answer.
    """
    asked = {**params, "category": text(params, "category") or LINEAR}
    kind = category(asked)
    named = text(asked, "symbol")
    specs = [spec_of(context.specs, asked)] if named else [s for s in context.specs.values() if s.kind == kind]
    extra = {"baseCoin": ""} if kind == SPOT else {}
    rows_found = [
        {
            "symbol": spec.symbol,
            **extra,
            "takerFeeRate": rows.plain(spec.taker_fee),
            "makerFeeRate": rows.plain(spec.maker_fee),
        }
        for spec in specs
    ]
    return {**({"category": kind} if kind == SPOT else {}), "list": rows_found}


def positions(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """position/list: one symbol (flat ones too), or all that are open in a settle coin."""
    kind = category(params)
    if kind == SPOT:
        raise bad_request("category spot has no positions")
    whole_number(params, "limit", 20, 1, 200)
    funds = context.engine.funds
    if text(params, "symbol"):
        specs = [spec_of(context.specs, params)]
    else:
        coin = text(params, "settleCoin")
        if not coin:
            raise bad_request("params error: symbol or settleCoin is needed")
        specs = [
            spec
            for spec in context.specs.values()
            if spec.kind == LINEAR and spec.settle == coin and account.position(spec.symbol).quantity
        ]
    return {
        "category": kind,
        "list": [rows.position_row(account, spec, funds) for spec in specs],
        "nextPageCursor": "",
    }


def leverage_set(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """position/set-leverage: both sides alike; 110043 where nothing changes."""
    spec = spec_of(context.specs, params)
    if spec.kind == SPOT:
        raise bad_request("category spot has no leverage")
    buy, sell = number(params, "buyLeverage"), number(params, "sellLeverage")
    if buy != sell:
        raise bad_request("buyLeverage and sellLeverage must be equal with one-way positions")
    if not Decimal(1) <= buy <= spec.max_leverage:
        raise VenueRefusal(110013, f"cannot set leverage [{buy}] gt maxLeverage [{spec.max_leverage}] by risk limit")
    funds = context.engine.funds
    before = funds.leverage(account, spec)
    if before == buy:
        raise VenueRefusal(NOT_MODIFIED_LEVERAGE, "leverage not modified")
    had = account.leverages.get(spec.symbol)
    account.leverages[spec.symbol] = buy
    if buy < before and funds.margin(account, spec.settle).available < 0:
        if had is None:
            del account.leverages[spec.symbol]
        else:
            account.leverages[spec.symbol] = had
        raise VenueRefusal(110012, "Available balance not enough for the new leverage")
    context.engine.account_changed(account)
    return {}


def margin_mode_set(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """account/set-margin-mode: cross margin is the only one."""
    mode = text(params, "setMarginMode")
    if mode != "REGULAR_MARGIN":
        raise not_served(f"setMarginMode {mode or '(missing)'}: REGULAR_MARGIN (cross) is the only one; it")
    return {"reasons": []}


def position_mode_switch(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """position/switch-mode: one-way positions only."""
    mode = whole_number(params, "mode", 0, 0, 3)
    if mode == 0:
        raise VenueRefusal(NOT_MODIFIED_MODE, "Position mode is not modified")
    raise VenueRefusal(110029, "Hedge mode is not available for this symbol")


def trading_stop(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """position/trading-stop."""
    raise not_served("position/trading-stop: place a conditional order (triggerPrice) instead; it")
