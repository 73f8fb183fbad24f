"""Orders, executions, positions and wallets as Bybit v5 shows them: on REST and, the same, on the private socket."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from apps.simulator.exchange.funds import Funds, MarginState
from apps.simulator.exchange.records import AccountRecord, ExecutionRecord, OrderRecord
from apps.simulator.markets.base import InstrumentSpec
from trader.core.simulation.margin import EXACT, ZERO, initial_margin, maintenance_margin

AVERAGE_STEP = Decimal("1e-12")


def plain(value: Decimal) -> str:
    """Return a decimal without exponent and without trailing zeros."""
    shown = format(value, "f")
    return (shown.rstrip("0").rstrip(".") if "." in shown else shown) or "0"


def average(value: Decimal, quantity: Decimal) -> str:
    """Return an average price, empty before anything has traded."""
    return plain(EXACT.divide(value, quantity).quantize(AVERAGE_STEP, context=EXACT)) if quantity else ""


def order_row(order: OrderRecord, spec: InstrumentSpec) -> dict[str, Any]:
    """Return an order. A contract's row has the key `tpslMode`, a spot row must not (clients tell them by it)."""
    filled = spec.quantity(order.filled)
    left = spec.quantity(order.left)
    in_quote = order.quote_budget is not None
    left_value = ZERO
    if in_quote and order.is_open and order.quote_budget is not None:
        left_value = order.quote_budget - order.filled_value
    elif order.price:
        left_value = left * spec.price(order.price)
    row: dict[str, Any] = {
        "orderId": order.order_id,
        "orderLinkId": order.link_id,
        "blockTradeId": "",
        "symbol": order.symbol,
        "price": plain(spec.price(order.price)),
        "qty": plain(order.quote_budget) if order.quote_budget is not None else plain(spec.quantity(order.lots)),
        "side": order.side,
        "isLeverage": "0" if order.kind == "spot" else "",
        "positionIdx": 0,
        "orderStatus": order.status,
        "createType": order.create_type,
        "cancelType": order.cancel_type,
        "rejectReason": order.reject_reason,
        "avgPrice": average(order.filled_value, filled),
        "leavesQty": plain(left),
        "leavesValue": plain(left_value),
        "cumExecQty": plain(filled),
        "cumExecValue": plain(order.filled_value),
        "cumExecFee": plain(sum(order.fees.values(), ZERO)),
        "cumFeeDetail": {coin: plain(fee) for coin, fee in order.fees.items()},
        "timeInForce": order.time_in_force,
        "orderType": order.order_type,
        "stopOrderType": "Stop" if order.trigger_price else "",
        "orderIv": "",
        "triggerPrice": plain(spec.price(order.trigger_price)) if order.trigger_price else "",
        "takeProfit": "",
        "stopLoss": "",
        "tpTriggerBy": "",
        "slTriggerBy": "",
        "triggerDirection": order.trigger_direction if order.kind == "linear" else 0,
        "triggerBy": order.trigger_by if order.trigger_price else "",
        "lastPriceOnCreated": plain(spec.price(order.last_price_on_created)),
        "reduceOnly": order.reduce_only,
        "closeOnTrigger": order.close_on_trigger,
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "placeType": "",
        "createdTime": str(order.created_ms),
        "updatedTime": str(order.updated_ms),
    }
    if order.kind == "spot":
        row["marketUnit"] = ("quoteCoin" if in_quote else "baseCoin") if order.order_type == "Market" else ""
        row["ocoTriggerBy"] = ""
    else:
        row |= {"tpslMode": "UNKNOWN", "tpLimitPrice": "", "slLimitPrice": ""}
    return row


def execution_row(execution: ExecutionRecord, spec: InstrumentSpec) -> dict[str, Any]:
    """Return an execution."""
    return {
        "symbol": execution.symbol,
        "orderId": execution.order_id,
        "orderLinkId": execution.link_id,
        "side": execution.side,
        "orderPrice": plain(spec.price(execution.order_price)),
        "orderQty": plain(spec.quantity(execution.order_lots)),
        "leavesQty": plain(spec.quantity(execution.left)),
        "createType": execution.create_type,
        "orderType": execution.order_type,
        "stopOrderType": execution.stop_order_type,
        "execFee": plain(execution.fee),
        "execId": execution.exec_id,
        "execPrice": plain(execution.price),
        "execQty": plain(execution.quantity),
        "execType": execution.exec_type,
        "execValue": plain(execution.value),
        "execTime": str(execution.market_ns // 1_000_000),
        "feeCurrency": execution.fee_coin,
        "isMaker": execution.is_maker,
        "feeRate": plain(execution.fee_rate),
        "tradeIv": "",
        "markIv": "",
        "markPrice": plain(execution.mark),
        "indexPrice": "",
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": plain(execution.closed),
        "seq": execution.number,
    }


def position_row(account: AccountRecord, spec: InstrumentSpec, funds: Funds) -> dict[str, Any]:
    """Return a position of a contract; a flat one has size 0 and no side."""
    position, mark = account.position(spec.symbol), funds.mark(spec.key)
    value = abs(position.quantity) * mark
    leverage = funds.leverage(account, spec)
    liquidation = funds.liquidation(account, spec)
    return {
        "positionIdx": 0,
        "riskId": 1,
        "riskLimitValue": "100000000",
        "symbol": spec.symbol,
        "side": "Buy" if position.quantity > 0 else "Sell" if position.quantity < 0 else "",
        "size": plain(abs(position.quantity)),
        "avgPrice": plain(position.average),
        "entryPrice": plain(position.average),
        "positionValue": plain(abs(position.quantity) * position.average),
        "tradeMode": 0,
        "autoAddMargin": 0,
        "positionStatus": "Normal",
        "leverage": plain(leverage),
        "markPrice": plain(mark),
        "liqPrice": plain(liquidation) if liquidation else "",
        "bustPrice": "",
        "positionIM": plain(initial_margin(value, leverage)),
        "positionMM": plain(maintenance_margin(value)),
        "positionBalance": "0",
        "tpslMode": "Full",
        "takeProfit": "",
        "stopLoss": "",
        "trailingStop": "0",
        "sessionAvgPrice": "",
        "unrealisedPnl": plain(position.holding.unrealised(mark)),
        "curRealisedPnl": plain(position.realised),
        "cumRealisedPnl": plain(position.realised),
        "adlRankIndicator": 0,
        "isReduceOnly": False,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "createdTime": str(position.created_ms),
        "updatedTime": str(position.updated_ms),
        "seq": position.sequence,
    }


def wallet_row(account: AccountRecord, funds: Funds, coins: list[str] | None = None) -> dict[str, Any]:
    """Return the unified account: totals in USD, and each coin that it has."""
    shown = sorted(account.wallets) if coins is None else coins
    states = {coin: funds.margin(account, coin) for coin in sorted(account.wallets)}
    worth = {coin: funds.dollars(coin) for coin in states}
    rows = [_coin_row(account, coin, states.get(coin) or funds.margin(account, coin), funds) for coin in shown]

    def total(name: str) -> Decimal:
        return sum((getattr(state, name) * worth[coin] for coin, state in states.items()), ZERO)

    margin = sum((state.equity for state in states.values() if state.position_margin or state.order_margin), ZERO)
    bound = total("position_margin") + total("order_margin")
    collateral = [state for coin, state in states.items() if coin == "USDT"]
    margin = collateral[0].equity - collateral[0].locked if collateral else margin
    available = max(ZERO, collateral[0].available) if collateral else ZERO
    return {
        "accountType": "UNIFIED",
        "accountIMRate": plain(_rate(bound, margin)),
        "accountMMRate": plain(_rate(total("maintenance"), margin)),
        "accountLTV": "0",
        "totalEquity": plain(total("equity")),
        "totalWalletBalance": plain(total("wallet")),
        "totalMarginBalance": plain(margin),
        "totalAvailableBalance": plain(available),
        "totalPerpUPL": plain(total("unrealised")),
        "totalInitialMargin": plain(bound),
        "totalMaintenanceMargin": plain(total("maintenance")),
        "coin": rows,
    }


def _coin_row(account: AccountRecord, coin: str, state: MarginState, funds: Funds) -> dict[str, Any]:
    return {
        "coin": coin,
        "equity": plain(state.equity),
        "usdValue": plain(state.equity * funds.dollars(coin)),
        "walletBalance": plain(state.wallet),
        "free": plain(max(ZERO, state.spendable)),
        "locked": plain(state.locked),
        "borrowAmount": "0",
        "accruedInterest": "0",
        "availableToWithdraw": plain(max(ZERO, state.spendable)),
        "availableToBorrow": "0",
        "totalOrderIM": plain(state.order_margin),
        "totalPositionIM": plain(state.position_margin),
        "totalPositionMM": plain(state.maintenance),
        "unrealisedPnl": plain(state.unrealised),
        "cumRealisedPnl": plain(account.realised.get(coin, ZERO)),
        "bonus": "0",
        "spotHedgingQty": "0",
        "marginCollateral": coin == "USDT",
        "collateralSwitch": coin == "USDT",
    }


def _rate(part: Decimal, whole: Decimal) -> Decimal:
    return EXACT.divide(part, whole).quantize(Decimal("0.000001"), context=EXACT) if whole > 0 else ZERO
