"""Every private REST address: its path, its method and the function that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apps.simulator.exchange import rest_account, rest_orders
from apps.simulator.exchange.context import ExchangeContext
from apps.simulator.exchange.records import AccountRecord

Answerer = Callable[[ExchangeContext, AccountRecord, Mapping[str, Any]], dict[str, Any]]

ABSENT = frozenset({"inverse", "option"})


def listing(answerer: Answerer) -> Answerer:
    """Return the same answerer, which has nothing to show of the kinds of market that are not here.

    Clients ask for them in passing (ccxt.pro for inverse positions) and take an error for the whole.
    """

    def answer(context: ExchangeContext, account: AccountRecord, params: Mapping[str, Any]) -> dict[str, Any]:
        kind = params.get("category")
        if kind in ABSENT:
            return {"category": kind, "list": [], "nextPageCursor": ""}
        return answerer(context, account, params)

    return answer


PRIVATE: dict[str, tuple[str, Answerer]] = {
    "/v5/asset/coin/query-info": ("GET", rest_account.coins),
    "/v5/user/query-api": ("GET", rest_account.key_info),
    "/v5/account/info": ("GET", rest_account.account_info),
    "/v5/account/wallet-balance": ("GET", rest_account.wallet_balance),
    "/v5/account/fee-rate": ("GET", listing(rest_account.fee_rate)),
    "/v5/account/set-margin-mode": ("POST", rest_account.margin_mode_set),
    "/v5/position/list": ("GET", listing(rest_account.positions)),
    "/v5/position/set-leverage": ("POST", rest_account.leverage_set),
    "/v5/position/switch-mode": ("POST", rest_account.position_mode_switch),
    "/v5/position/trading-stop": ("POST", rest_account.trading_stop),
    "/v5/order/create": ("POST", rest_orders.order_create),
    "/v5/order/create-batch": ("POST", rest_orders.order_create_batch),
    "/v5/order/amend": ("POST", rest_orders.order_amend),
    "/v5/order/cancel": ("POST", rest_orders.order_cancel),
    "/v5/order/cancel-batch": ("POST", rest_orders.order_cancel_batch),
    "/v5/order/cancel-all": ("POST", rest_orders.order_cancel_all),
    "/v5/order/realtime": ("GET", listing(rest_orders.orders_realtime)),
    "/v5/order/history": ("GET", listing(rest_orders.orders_history)),
    "/v5/execution/list": ("GET", listing(rest_orders.executions)),
}
