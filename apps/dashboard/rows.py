"""Rows of the Desk page as templates want them. One way in: the values of a log message, or of a table's row."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from apps.dashboard import formatting as f
from apps.dashboard.labels import Label, labels
from apps.execution.models import Order

Values = Mapping[str, Any]
Row = dict[str, Any]

OPEN_STATES = ("created", "sent", "acknowledged", "partly_filled", "cancelling", "unknown")
SIGNAL_TAGS = {"accepted": "info", "ordered": "info", "refused": "loss", "new": "info"}
ORDER_TAGS = {"unknown": "warn", "rejected": "loss", "cancelling": "warn", "partly_filled": "info", "filled": "gain"}
DIRECTIONS = {1: ("▲", "long", "gain"), -1: ("▼", "short", "loss"), 0: ("■", "close", "dim")}
SIDES = {"buy": ("▲", "gain"), "sell": ("▼", "loss")}


def values_of(message: Any) -> Values:
    """Return a message's fields, or the mapping that it is already."""
    return message if isinstance(message, Mapping) else msgspec.structs.asdict(message)


def owner_words(owner: str) -> str:
    """Return a sub-ledger's owner as people say it: `mean_reversion-3f9c` is `mean reversion`."""
    if owner in ("manual", "unattributed", ""):
        return owner
    name, _, tail = owner.rpartition("-")
    return f.words(name if name and len(tail) <= 12 else owner)


def signal_row(values: Values) -> Row:
    """Return what `rows/_signal.html` shows."""
    mark, word, tone = DIRECTIONS.get(values["direction"], DIRECTIONS[0])
    state = values["state"]
    return {
        **_common("signal", values),
        "mark": mark,
        "word": word,
        "tone": tone,
        "strength": f.number(values["strength"], 2) if values["direction"] else "",
        "state": state,
        "tag": SIGNAL_TAGS.get(state, ""),
        "why": values.get("detail") or f.words(values.get("refused_by") or values["reason"]),
        "owner": owner_words(values.get("deployment", "")),
    }


def order_row(values: Values) -> Row:
    """Return what `rows/_order.html` shows."""
    label = labels.get(values["instrument_id"], values.get("symbol", ""))
    mark, tone = SIDES[values["side"]]
    protects = values["kind"] == "stop" and (values["reduce_only"] or not values["adds_risk"])
    return {
        **_common("order", values),
        "mark": mark,
        "tone": tone,
        "side": values["side"],
        "kind": "protective stop" if protects else values["kind"],
        "is_stop": values["kind"] == "stop",
        "protects": protects,
        "leg": values.get("leg", ""),
        "quantity": quantity(label, values["quantity"]),
        "filled": quantity(label, values["filled"]),
        "price": price(label, values.get("trigger_price") or values.get("price")),
        "at_market": values["kind"] == "market",
        "average": price(label, values.get("average_price")),
        "state": values["state"],
        "state_words": f.words(values["state"]),
        "tag": ORDER_TAGS.get(values["state"], ""),
        "is_open": values["state"] in OPEN_STATES,
        "can_cancel": values["state"] in ("acknowledged", "partly_filled", "sent", "unknown"),
        "detail": values.get("detail", ""),
        "owner": owner_words(values["owner"]),
        "owner_key": values["owner"],
        "reduce_only": values["reduce_only"],
        "raw_trigger": _text(values.get("trigger_price")),
    }


def fill_row(values: Values) -> Row:
    """Return what `rows/_fill.html` shows."""
    label = labels.get(values["instrument_id"], values.get("symbol", ""))
    mark, tone = SIDES[values["side"]]
    return {
        **_common("fill", values),
        "mark": mark,
        "tone": tone,
        "side": values["side"],
        "quantity": quantity(label, values["quantity"]),
        "price": price(label, values["price"]),
        "raw_price": _text(values["price"]),
        "fee": f.plain(values["fee"], 6),
        "fee_currency": values["fee_currency"],
        "realised": f.signed(values["realised"], 2) if f.decimal_of(values["realised"]) else "",
        "realised_tone": f.tone(values["realised"]),
        "owner": owner_words(values["owner"]),
        "owner_key": values["owner"],
        "maker": values.get("is_maker", False),
    }


def position_row(values: Values) -> Row:
    """Return what `rows/_position.html` shows. Mark and open profit follow the quotes in the page's script."""
    label = labels.get(values["instrument_id"], values.get("symbol", ""))
    held = f.decimal_of(values["quantity"]) or Decimal(0)
    average = f.decimal_of(values["average_price"]) or Decimal(0)
    key = f"{values['account_id']}-{values['instrument_id']}-{values['owner']}"
    size, notional = abs(held), abs(held * average * label.multiplier)
    is_dust = held != 0 and (size < label.min_quantity or notional < label.min_notional)
    return {
        **_common("position", {**values, "id": key}),
        "mark": "▲" if held > 0 else "▼",
        "tone": "gain" if held > 0 else "loss",
        "side": "long" if held > 0 else "short",
        "size": f.plain(size, 18) if is_dust else quantity(label, size),
        "entry": price(label, average),
        "raw_quantity": _text(held),
        "raw_entry": _text(average),
        "is_flat": held == 0,
        "is_dust": is_dust,
        "owner": owner_words(values["owner"]),
        "owner_key": values["owner"],
        "stop": price(label, values["stop"]) if values.get("stop") else "",
        "no_stop_reason": values["no_stop_reason"],
    }


def refusal_row(values: Values) -> Row:
    """Return what `rows/_refusal.html` shows."""
    return {
        **_common("refusal", values),
        "check": f.words(values["check_name"]),
        "number": f.plain(values.get("number"), 6),
        "limit": f.plain(values.get("limit"), 6),
        "detail": values["detail"],
        "owner": owner_words(values["owner"]),
    }


def price(label: Label, value: Any) -> str:
    """Return a price with the decimals of the instrument's tick (more, if it has more: an average does)."""
    return f.plain(value) if label.price_decimals is None else f.number(value, label.price_decimals)


def quantity(label: Label, value: Any) -> str:
    """Return a quantity with the decimals it has, at most those of the instrument's lot."""
    return f.plain(value) if label.lot_decimals is None else f.plain(value, label.lot_decimals)


def order_values(order: Order) -> Row:
    """Return an order's row of the table as its message has it."""
    return {**_columns(order), "market_ns": f.ns_of(order.market_at)}


def model_values(row: Any, **more: Any) -> Row:
    """Return a table's row as its message has it: columns by name, its market time in nanoseconds."""
    return {**_columns(row), "market_ns": f.ns_of(getattr(row, "market_at", None)), **more}


def _columns(row: Any) -> Row:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def _common(kind: str, values: Values) -> Row:
    label = labels.get(values["instrument_id"], values.get("symbol", ""))
    return {
        "dom_id": f"{kind}-{values['id']}",
        "id": values["id"],
        "account_id": values["account_id"],
        "instrument_id": values["instrument_id"],
        "symbol": label.symbol,
        "url": label.url if label.slug else "",
        "at_ns": values.get("market_ns"),
    }


def _text(value: Any) -> str:
    found = f.decimal_of(value)
    return "" if found is None else f"{found.normalize():f}"
