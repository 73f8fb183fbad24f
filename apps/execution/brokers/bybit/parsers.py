"""Bybit v5 in and out of our own types. Pure: no I/O, no clock.

The venue's strings become exact decimals; an empty string is "none". Nothing here goes through a float.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apps.execution.brokers.base import (
    CancelResult,
    OrderRef,
    OrderRequest,
    VenueBalance,
    VenueFill,
    VenueFunding,
    VenueOrder,
    VenuePosition,
)
from apps.execution.states import OrderState

MS = 1_000_000
WEEK_MS = 7 * 86_400_000  # the longest span of executions that the venue tells in one answer
STATES = {
    "New": OrderState.ACKNOWLEDGED,
    "Untriggered": OrderState.ACKNOWLEDGED,
    "Triggered": OrderState.ACKNOWLEDGED,
    "PartiallyFilled": OrderState.PARTLY_FILLED,
    "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELLED,
    "PartiallyFilledCanceled": OrderState.CANCELLED,
    "Deactivated": OrderState.CANCELLED,
    "Rejected": OrderState.REJECTED,
}
TIME_IN_FORCE = {"GTC": "GTC", "IOC": "IOC", "FOK": "FOK", "POST": "PostOnly"}
NO_REASON = ("", "EC_NoError", "EC_PerCancelRequest")


def amount(text: Any) -> Decimal:
    """Return the venue's number, 0 for an empty one."""
    return Decimal(text) if text not in ("", None) else Decimal(0)


def amount_or_none(text: Any) -> Decimal | None:
    """Return the venue's number, None for an empty one or zero (Bybit writes "0" for "no price")."""
    value = amount(text)
    return value if value else None


def amount_told(text: Any) -> Decimal | None:
    """Return the venue's number, zero too; None where it says nothing."""
    return None if text in (None, "") else amount(text)


def plain(value: Decimal) -> str:
    """Return a decimal as Bybit wants it: no exponent, no trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def order_parse(row: Mapping[str, Any]) -> VenueOrder:
    """Return an order from REST or from the private socket; they share one schema.

    A state this code does not know is taken as open, so that nothing is thought gone that may still fill.
    """
    stop_kind = row.get("stopOrderType") or ""
    return VenueOrder(
        client_id=row.get("orderLinkId") or "",
        venue_order_id=row["orderId"],
        kind=row.get("category") or "",
        venue_symbol=row["symbol"],
        side=row["side"].lower(),
        order_kind="stop" if amount(row.get("triggerPrice")) else row["orderType"].lower(),
        state=STATES.get(row["orderStatus"], OrderState.ACKNOWLEDGED),
        quantity=amount(row.get("qty")),
        filled=amount(row.get("cumExecQty")),
        average_price=amount_or_none(row.get("avgPrice")),
        price=amount_or_none(row.get("price")),
        trigger_price=amount_or_none(row.get("triggerPrice")),
        reduce_only=bool(row.get("reduceOnly")),
        is_stop=bool(amount(row.get("triggerPrice"))),
        is_attached_stop=stop_kind in ("tpslOrder", "TakeProfit", "StopLoss", "PartialStopLoss", "TrailingStop"),
        reason="" if row.get("rejectReason") in NO_REASON else str(row.get("rejectReason") or ""),
        market_ns=int(row.get("updatedTime") or row.get("createdTime") or 0) * MS,
    )


def fill_parse(row: Mapping[str, Any], base_of: Mapping[str, str], quote_of: Mapping[str, str]) -> VenueFill:
    """Return one execution. A fee without a currency: a spot buy pays in base, all else in quote.

    `base_of` and `quote_of` map the venue's spot symbols; a contract's fee is in its settle currency.
    """
    kind, symbol, side = row.get("category") or "", row["symbol"], row["side"].lower()
    currency = row.get("feeCurrency") or ""
    if not currency:
        currency = base_of.get(symbol, "") if kind == "spot" and side == "buy" else quote_of.get(symbol, "USDT")
    return VenueFill(
        fill_id=row["execId"],
        client_id=row.get("orderLinkId") or "",
        venue_order_id=row["orderId"],
        kind=kind,
        venue_symbol=symbol,
        side=side,
        quantity=amount(row["execQty"]),
        price=amount(row["execPrice"]),
        fee=amount(row.get("execFee")),
        fee_currency=currency,
        is_maker=bool(row.get("isMaker")),
        market_ns=int(row["execTime"]) * MS,
    )


def funding_parse(row: Mapping[str, Any], settle_of: Mapping[str, str]) -> VenueFunding:
    """Return a funding payment: Bybit tells it as a fee, so what was paid is positive there and negative here.

    Without a currency it is in the settle coin of its contract.
    """
    return VenueFunding(
        venue_id=row["execId"],
        venue_symbol=row["symbol"],
        amount=-amount(row.get("execFee")),
        currency=row.get("feeCurrency") or settle_of.get(row["symbol"], "USDT"),
        market_ns=int(row["execTime"]) * MS,
    )


def windows(since_ns: int | None, until_ns: int | None) -> list[dict[str, int]]:
    """Return the spans in which executions are asked for: a week each, the last one without an end of ours.

    With a start alone the venue tells one week from there, and nothing of what came later; without one, its last week.
    """
    if since_ns is None:
        return [{}]
    start, until = since_ns // MS, (until_ns or 0) // MS
    found: list[dict[str, int]] = []
    while start + WEEK_MS <= until:
        found.append({"startTime": start, "endTime": start + WEEK_MS - 1})
        start += WEEK_MS
    return [*found, {"startTime": start}]


def position_parse(row: Mapping[str, Any]) -> VenuePosition:
    """Return a contract position, signed by its side."""
    size = amount(row.get("size"))
    return VenuePosition(
        venue_symbol=row["symbol"],
        quantity=-size if row.get("side") == "Sell" else size,
        average_price=amount(row.get("avgPrice")),
        leverage=amount_or_none(row.get("leverage")),
        mark_price=amount_or_none(row.get("markPrice")),
        initial_margin=amount_or_none(row.get("positionIMByMp") or row.get("positionIM")),
        unrealised=amount_told(row.get("unrealisedPnl")),
    )


def balances_parse(result: Mapping[str, Any]) -> list[VenueBalance]:
    """Return the coins of a unified account."""
    coins = result["list"][0]["coin"] if result.get("list") else []
    return [
        VenueBalance(coin["coin"], amount(coin.get("walletBalance")), amount_told(coin.get("equity"))) for coin in coins
    ]


def order_body(order: OrderRequest, venue_client_id: str) -> dict[str, Any]:
    """Return the body of `order/create`.

    A spot stop is a `StopOrder`, never a `tpslOrder` (which takes the coins), and must not carry the key
    `tpslMode` (Bybit would read it as a contract). A market buy on spot is told in base units.
    """
    market = order.market
    is_market = order.kind in ("market", "stop")
    body: dict[str, Any] = {
        "category": market.kind,
        "symbol": market.venue_symbol,
        "side": order.side.capitalize(),
        "orderType": "Market" if is_market else "Limit",
        "qty": plain(order.quantity),
        "timeInForce": "IOC" if is_market else TIME_IN_FORCE[order.time_in_force],
        "orderLinkId": venue_client_id,
    }
    if not is_market and order.price is not None:
        body["price"] = plain(order.price)
    if market.kind == "spot" and is_market:
        body["marketUnit"] = "baseCoin"
    if market.kind == "linear":
        body["positionIdx"] = 0
        body["reduceOnly"] = order.reduce_only
    if order.trigger_price is not None:
        body["triggerPrice"] = plain(order.trigger_price)
        if market.kind == "spot":
            body["orderFilter"] = "StopOrder"
        else:
            # 1: triggers when the price rises to it, 2: when it falls to it
            body["triggerDirection"] = 1 if order.side == "buy" else 2
            body["triggerBy"] = "LastPrice"
    return body


def cancel_body(order: OrderRef, venue_client_id: str) -> dict[str, Any]:
    """Return the body of `order/cancel`. On spot the filter decides which list the venue looks in."""
    body = {"category": order.market.kind, "symbol": order.market.venue_symbol}
    if venue_client_id:
        body["orderLinkId"] = venue_client_id
    else:
        body["orderId"] = order.venue_order_id
    if order.market.kind == "spot":
        body["orderFilter"] = "StopOrder" if order.is_stop else "Order"
    return body


def cancel_batch_parse(orders: list[OrderRef], response: Mapping[str, Any]) -> list[CancelResult]:
    """Return the venue's word on each order of a batch; the answers stand in the order of the request."""
    words = (response.get("retExtInfo") or {}).get("list") or []
    results = []
    for index, order in enumerate(orders):
        word = words[index] if index < len(words) else {"code": 0, "msg": ""}
        code = str(word.get("code", "0"))
        results.append(
            CancelResult(
                client_id=order.client_id,
                accepted=code == "0",
                gone=code in ("110001", "170213"),
                detail="" if code == "0" else f"{code} {word.get('msg', '')}".strip(),
            )
        )
    return results
