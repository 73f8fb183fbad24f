"""Reads and checks what a client asks: an order's body becomes a ticket in whole ticks and lots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from apps.simulator.exchange.errors import bad_request, not_served, refusal
from apps.simulator.markets.base import InstrumentSpec, Key

SIDES = ("Buy", "Sell")
ORDER_TYPES = ("Market", "Limit")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "PostOnly")
TRIGGERS_BY = ("LastPrice", "MarkPrice", "IndexPrice")
LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
NOT_SERVED = ("takeProfit", "stopLoss", "trailingStop", "activePrice", "tpLimitPrice", "slLimitPrice", "bboSideType")


@dataclass(frozen=True, slots=True)
class Ticket:
    """One order as it was asked for. `price` and `trigger_price` in ticks, 0 for none; `lots` 0 with a budget."""

    spec: InstrumentSpec
    side: str
    order_type: str
    time_in_force: str
    lots: int
    price: int
    quote_budget: Decimal | None
    reduce_only: bool
    close_on_trigger: bool
    order_filter: str
    trigger_price: int
    trigger_direction: int
    trigger_by: str
    link_id: str

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "Buy" else -1


def text(body: Mapping[str, Any], name: str) -> str:
    """Return a parameter as text, empty where it is absent."""
    value = body.get(name)
    return "" if value is None else str(value)


def choice(body: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str = "") -> str:
    """Return a parameter that must be one of `allowed`."""
    value = text(body, name) or default
    if value not in allowed:
        raise bad_request(f"params error: {name} must be one of {', '.join(allowed)} (it is {value or 'missing'})")
    return value


def category(body: Mapping[str, Any]) -> str:
    """Return the kind of instrument that is asked for."""
    value = text(body, "category")
    if value in ("inverse", "option"):
        raise not_served(f"category {value}")
    return choice(body, "category", ("spot", "linear"))


def number(body: Mapping[str, Any], name: str) -> Decimal:
    """Return a positive decimal parameter."""
    value = text(body, name)
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise bad_request(f"params error: {name} is not a number (it is {value or 'missing'})") from None
    if not amount.is_finite() or amount <= 0:
        raise bad_request(f"params error: {name} must be above 0 (it is {value})")
    return amount


def whole_number(body: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """Return a whole parameter between `low` and `high`."""
    value = text(body, name) or str(default)
    if not value.lstrip("-").isdigit() or not low <= int(value) <= high:
        raise bad_request(f"params error: {name} must be from {low} to {high} (it is {value})")
    return int(value)


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Return a boolean parameter; clients send true, "true" or 1."""
    return text(body, name).lower() in ("true", "1")


def spec_of(specs: Mapping[Key, InstrumentSpec], body: Mapping[str, Any]) -> InstrumentSpec:
    """Return the instrument that `category` and `symbol` name."""
    kind = category(body)
    symbol = text(body, "symbol")
    spec = specs.get((kind, symbol))
    if spec is None:
        raise refusal("symbol", kind, f"({symbol or 'missing'})")
    return spec


def steps(amount: Decimal, step: Decimal, meaning: str, kind: str) -> int:
    """Return how many steps an amount is; one that is no whole number of them is refused."""
    count, rest = divmod(amount, step)
    if rest:
        raise refusal(meaning, kind, f"({amount} is no multiple of {step})")
    return int(count)


def ticket_read(specs: Mapping[Key, InstrumentSpec], body: Mapping[str, Any]) -> Ticket:
    """Return the ticket of an `order/create` body, or refuse it with the field that is wrong."""
    spec = spec_of(specs, body)
    kind = spec.kind
    for name in NOT_SERVED:
        if text(body, name) not in ("", "0"):
            raise not_served(name)
    if whole_number(body, "positionIdx", 0, 0, 2):
        raise bad_request("position idx not match position mode (this exchange has one-way positions: 0)")
    side = choice(body, "side", SIDES)
    order_type = choice(body, "orderType", ORDER_TYPES)
    is_market = order_type == "Market"
    time_in_force = choice(body, "timeInForce", TIMES_IN_FORCE, "IOC" if is_market else "GTC")
    price = 0 if is_market else steps(number(body, "price"), spec.tick, "price_step", kind)
    lots, budget = _size(spec, body, side, is_market)
    link_id = text(body, "orderLinkId")
    if link_id and not LINK_ID.fullmatch(link_id):
        raise bad_request("params error: orderLinkId must be 1 to 36 letters, digits, - or _")
    trigger_price = steps(number(body, "triggerPrice"), spec.tick, "price_step", kind) if _has_trigger(body) else 0
    order_filter = _order_filter(kind, body, trigger_price)
    reduce_only = flag(body, "reduceOnly") or flag(body, "closeOnTrigger")
    return Ticket(
        spec=spec,
        side=side,
        order_type=order_type,
        time_in_force="IOC" if is_market else time_in_force,
        lots=lots,
        price=price,
        quote_budget=budget,
        reduce_only=reduce_only and kind == "linear",
        close_on_trigger=flag(body, "closeOnTrigger"),
        order_filter=order_filter,
        trigger_price=trigger_price,
        trigger_direction=_direction(kind, body, trigger_price),
        trigger_by=choice(body, "triggerBy", TRIGGERS_BY, "LastPrice"),
        link_id=link_id,
    )


def _has_trigger(body: Mapping[str, Any]) -> bool:
    return text(body, "triggerPrice") not in ("", "0")


def _size(spec: InstrumentSpec, body: Mapping[str, Any], side: str, is_market: bool) -> tuple[int, Decimal | None]:
    """Return (lots, None), or (0, budget in quote) of a spot market order told in quote."""
    amount = number(body, "qty")
    if spec.kind == "spot" and is_market:
        unit = choice(body, "marketUnit", ("baseCoin", "quoteCoin"), "quoteCoin" if side == "Buy" else "baseCoin")
        if unit == "quoteCoin":
            if amount < spec.min_notional:
                raise refusal("value_low", spec.kind, f"({amount} is below {spec.min_notional})")
            return 0, amount
    if amount < spec.min_quantity:
        raise refusal("quantity_low", spec.kind, f"({amount} is below {spec.min_quantity})")
    return steps(amount, spec.lot, "quantity_step", spec.kind), None


def _order_filter(kind: str, body: Mapping[str, Any], trigger_price: int) -> str:
    if kind == "linear":
        return "StopOrder" if trigger_price else "Order"
    order_filter = choice(body, "orderFilter", ("Order", "StopOrder", "tpslOrder"), "Order")
    if order_filter == "tpslOrder":
        raise not_served("orderFilter tpslOrder")
    if (order_filter == "StopOrder") != bool(trigger_price):
        raise bad_request("params error: a spot order with triggerPrice has orderFilter StopOrder, and none without")
    return order_filter


def _direction(kind: str, body: Mapping[str, Any], trigger_price: int) -> int:
    """Return 1 (rising) or 2 (falling); 0 where the last price decides (spot) or there is no trigger."""
    if not trigger_price or kind == "spot":
        return 0
    if not text(body, "triggerDirection"):
        raise bad_request("params error: triggerDirection must be 1 (rising) or 2 (falling)")
    return whole_number(body, "triggerDirection", 0, 1, 2)
