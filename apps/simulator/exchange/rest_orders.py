"""Private REST of orders: create, cancel one, many, all; what is open, what was, what was filled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from apps.simulator.exchange import rows
from apps.simulator.exchange.context import ExchangeContext
from apps.simulator.exchange.errors import BAD_REQUEST, VenueRefusal, bad_request, not_served, refusal
from apps.simulator.exchange.records import AccountRecord, ExecutionRecord, OrderRecord
from apps.simulator.exchange.tickets import category, choice, spec_of, text, ticket_read, whole_number

Params = Mapping[str, Any]
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
FAR = 1 << 62
BATCH_MAX = {"linear": 20, "spot": 10}
FILTERS = ("Order", "StopOrder", "tpslOrder")


class BatchAnswer(dict[str, Any]):
    """A result whose envelope also carries `retExtInfo`: the word on each member of a batch."""

    def __init__(self, result: dict[str, Any], words: list[dict[str, Any]]) -> None:
        super().__init__(result)
        self.words = words


def ids(order: OrderRecord) -> dict[str, str]:
    """Return how an order is named in answers."""
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def order_create(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """order/create."""
    ticket = ticket_read(context.specs, params)
    return ids(context.engine.place(account, ticket))


def order_create_batch(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """order/create-batch: each on its own, in order; the words on them are in retExtInfo."""
    kind = category(params)

    def one(body: dict[str, Any]) -> dict[str, Any]:
        order = context.engine.place(account, ticket_read(context.specs, body))
        return {"category": kind, "symbol": order.symbol, **ids(order), "createAt": str(order.created_ms)}

    return _each(kind, params, one)


def order_amend(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """order/amend."""
    raise not_served("order/amend: cancel the order and place another; it")


def order_cancel(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """order/cancel: by orderId or orderLinkId; on spot only within `orderFilter` (Order by default)."""
    order = _order_named(context, account, params)
    _cancel_may_be_rejected(context, "/v5/order/cancel")
    context.engine.cancel([order])
    return ids(order)


def order_cancel_batch(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """order/cancel-batch: each on its own; the words on them are in retExtInfo."""
    kind = category(params)

    def one(body: dict[str, Any]) -> dict[str, Any]:
        # a batch names orders by id alone, whatever their filter
        order = _order_named(context, account, {**body, "orderFilter": ""}, any_filter=True)
        _cancel_may_be_rejected(context, "/v5/order/cancel-batch")
        context.engine.cancel([order])
        return {"category": kind, "symbol": order.symbol, **ids(order)}

    return _each(kind, params, one)


def order_cancel_all(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """order/cancel-all.

    Contracts: conditional orders too, unless `orderFilter` says Order (or StopOrder: those alone). Spot: what
    `orderFilter` names, Order by default, so that StopOrder and tpslOrder stay.
    """
    kind = category(params)
    named = [name for name in ("symbol", "baseCoin", "settleCoin") if text(params, name)]
    if kind == "linear" and not named:
        raise bad_request("params error: symbol, settleCoin or baseCoin is needed")
    order_filter = text(params, "orderFilter") or ("Order" if kind == "spot" else "")
    if order_filter:
        choice({"orderFilter": order_filter}, "orderFilter", FILTERS)
    if text(params, "symbol"):
        spec_of(context.specs, params)
    found = [
        order
        for order in context.engine.active.of(account.uid)
        if order.kind == kind and order_filter in ("", order.order_filter) and _fits(context, order, params)
    ]
    _cancel_may_be_rejected(context, "/v5/order/cancel-all")
    context.engine.cancel(found)
    return {"list": [ids(order) for order in found], "success": "1"}


def orders_realtime(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """order/realtime: open orders, newest first; by id, or with openOnly=1, also the newest 500 closed ones."""
    kind = category(params)
    order_id, link_id = text(params, "orderId"), text(params, "orderLinkId")
    if kind == "linear" and not any(text(params, n) for n in ("symbol", "baseCoin", "settleCoin")):
        raise bad_request("params error: symbol, settleCoin or baseCoin is needed")
    if text(params, "symbol"):
        spec_of(context.specs, params)
    order_filter = _filter(params)
    limit, before = _page(params, 20, 50)
    closed_too = bool(order_id or link_id) or whole_number(params, "openOnly", 0, 0, 2) > 0
    only_closed = not (order_id or link_id) and closed_too
    found: list[OrderRecord] = [] if only_closed else list(context.engine.active.of(account.uid))
    found += context.engine.active.recent(account.uid) if closed_too else ()
    chosen = [
        order
        for order in found
        if order.kind == kind
        and order.number < before
        and order_filter in ("", order.order_filter)
        and order_id in ("", order.order_id)
        and link_id in ("", order.link_id)
        and _fits(context, order, params)
    ]
    chosen.sort(key=lambda order: -order.number)
    return _paged(kind, chosen, limit, lambda order: rows.order_row(order, context.engine.funds.spec(order.key)))


def orders_history(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """order/history: closed orders, newest first, of at most seven days of market time."""
    kind = category(params)
    where: dict[str, Any] = {"uid = ?": account.uid, "kind = ?": kind, "is_open = ?": 0}
    _where_ids(where, params)
    order_filter = _filter(params)
    if order_filter:
        where["is_stop = ?"] = int(order_filter == "StopOrder")
    if "order_id = ?" not in where and "link_id = ?" not in where:
        start, end = _window(context, params)
        where |= {"created_ms >= ?": start, "created_ms <= ?": end}
    limit, before = _page(params, 20, 50)
    found = context.engine.store.find("venue_order", OrderRecord, where, before, limit + 1)
    status = text(params, "orderStatus")
    listed = [order for order in found if status in ("", order.status)]
    return _paged(kind, listed, limit, lambda order: rows.order_row(order, context.engine.funds.spec(order.key)))


def executions(context: ExchangeContext, account: AccountRecord, params: Params) -> dict[str, Any]:
    """execution/list: fills and funding payments, newest first, of at most seven days of market time."""
    kind = category(params)
    where: dict[str, Any] = {"uid = ?": account.uid, "kind = ?": kind}
    _where_ids(where, params)
    exec_type = text(params, "execType")
    if exec_type:
        where["exec_type = ?"] = exec_type
    if "order_id = ?" not in where and "link_id = ?" not in where:
        start, end = _window(context, params)
        where |= {"market_ms >= ?": start, "market_ms <= ?": end}
    limit, before = _page(params, 50, 100)
    found = context.engine.store.find("execution", ExecutionRecord, where, before, limit + 1)
    return _paged(kind, found, limit, lambda e: rows.execution_row(e, context.engine.funds.spec(e.key)))


def _order_named(
    context: ExchangeContext, account: AccountRecord, params: Params, *, any_filter: bool = False
) -> OrderRecord:
    spec = spec_of(context.specs, params)
    order_id, link_id = text(params, "orderId"), text(params, "orderLinkId")
    if not (order_id or link_id):
        raise bad_request("params error: orderId or orderLinkId is needed")
    order = context.engine.active.find(account.uid, spec.kind, order_id, link_id)
    if order is None or order.symbol != spec.symbol:
        raise refusal("not_found", spec.kind)
    order_filter = text(params, "orderFilter") or "Order"
    if spec.kind == "spot" and not any_filter and order.order_filter != order_filter:
        raise refusal("not_found", spec.kind)
    return order


def _cancel_may_be_rejected(context: ExchangeContext, path: str) -> None:
    fault = context.faults.for_request("cancels_rejected", path, "POST")
    if fault is not None:
        raise VenueRefusal(fault.code or BAD_REQUEST, "The cancel is rejected (a fault is on)")


def _each(kind: str, params: Params, one: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Carry out a batch; a member that is refused leaves the others alone."""
    members = params.get("request")
    if not isinstance(members, list) or not members:
        raise bad_request("params error: request must be a list of orders")
    if len(members) > BATCH_MAX[kind]:
        raise bad_request(f"params error: at most {BATCH_MAX[kind]} orders in a batch of {kind}")
    done: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    for member in members:
        body = {**(member if isinstance(member, dict) else {}), "category": kind}
        try:
            done.append(one(body))
            words.append({"code": 0, "msg": "OK"})
        except VenueRefusal as error:
            done.append({"category": kind, "symbol": text(body, "symbol"), "orderId": text(body, "orderId"),
                         "orderLinkId": text(body, "orderLinkId")})  # fmt: skip
            words.append({"code": error.code, "msg": error.message})
    return BatchAnswer({"list": done}, words)


def _fits(context: ExchangeContext, order: OrderRecord, params: Params) -> bool:
    spec = context.engine.funds.spec(order.key)
    return (
        text(params, "symbol") in ("", order.symbol)
        and text(params, "baseCoin") in ("", spec.base)
        and (order.kind == "spot" or text(params, "settleCoin") in ("", spec.settle))
    )


def _filter(params: Params) -> str:
    return choice(params, "orderFilter", FILTERS) if text(params, "orderFilter") else ""


def _page(params: Params, default: int, most: int) -> tuple[int, int]:
    """Return (rows asked for, number below which they lie)."""
    cursor = text(params, "cursor")
    if cursor and not cursor.isdigit():
        raise bad_request("params error: cursor is not one of ours")
    return whole_number(params, "limit", default, 1, most), int(cursor or FAR)


def _paged(kind: str, found: Iterable[Any], limit: int, row: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    found = list(found)
    cursor = str(found[limit - 1].number) if len(found) > limit else ""
    return {"category": kind, "list": [row(record) for record in found[:limit]], "nextPageCursor": cursor}


def _where_ids(where: dict[str, Any], params: Params) -> None:
    for name, column in (("symbol", "symbol"), ("orderId", "order_id"), ("orderLinkId", "link_id")):
        value = text(params, name)
        if value:
            where[f"{column} = ?"] = value


def _window(context: ExchangeContext, params: Params) -> tuple[int, int]:
    """Return the market milliseconds asked for: the last seven days where nothing is said, never more.

    Without an end there is none: a replay that was restarted may stand a little before its newest orders.
    """
    now_ms = context.market_ns() // 1_000_000
    start, end = text(params, "startTime"), text(params, "endTime")
    for name, value in (("startTime", start), ("endTime", end)):
        if value and not value.isdigit():
            raise bad_request(f"params error: {name} must be in milliseconds")
    if start and not end:
        return int(start), int(start) + WEEK_MS
    if not end:
        return now_ms - WEEK_MS, FAR
    end_ms = int(end)
    start_ms = int(start) if start else end_ms - WEEK_MS
    if not 0 <= end_ms - start_ms <= WEEK_MS:
        raise bad_request("params error: startTime and endTime must be in order and at most 7 days apart")
    return start_ms, end_ms
