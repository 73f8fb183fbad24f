"""From what a desk keeps in memory to the rows of `statements`: times as microseconds, amounts as text."""

from typing import Any

import msgspec

from apps.execution.desk.model import DeskDecision, DeskOrder, DeskSignal, plain, plain_or_none

_encoder = msgspec.json.Encoder(uuid_format="canonical")
Row = dict[str, Any]


def document(rows: list[Row]) -> str:
    """Return rows as one JSON document."""
    return _encoder.encode(rows).decode()


def decision_row(decision: DeskDecision) -> Row:
    """Row of `strategies_decision`."""
    return {
        "id": decision.id,
        "deployment_id": decision.deployment_id,
        "instrument_id": decision.instrument_id,
        "bar_open": decision.bar_open_ns // 1000,
        "bar_revision": decision.bar_revision,
        "market": decision.market_ns // 1000,
        "outcome": decision.outcome,
        "reason": decision.reason[:40],
        "direction": decision.direction,
        "strength": decision.strength,
        "features": decision.features,
        "members": decision.members,
    }


def signal_row(signal: DeskSignal) -> Row:
    """Row of `strategies_signal`, whole."""
    decision = signal.decision
    return {
        **signal_change(signal),
        "decision_id": decision.id,
        "deployment_id": decision.deployment_id,
        "instrument_id": decision.instrument_id,
        "direction": decision.direction,
        "strength": decision.strength,
        "horizon_s": signal.horizon_s,
        "reason": decision.reason[:40],
        "market": decision.market_ns // 1000,
    }


def signal_change(signal: DeskSignal) -> Row:
    """What changes of a signal's row."""
    return {
        "id": signal.id,
        "state": signal.state,
        "refused_by": signal.refused_by[:40],
        "detail": signal.detail[:200],
    }


def order_row(order: DeskOrder) -> Row:
    """Row of `execution_order`, whole."""
    return {
        **order_change(order),
        "client_id": order.client_id,
        "account_id": order.account_id,
        "instrument_id": order.market.instrument_id,
        "owner": order.owner,
        "decision_id": order.decision_id,
        "signal_id": order.signal_id,
        "parent_id": order.parent_id,
        "leg": order.leg,
        "revision": order.revision,
        "side": order.side,
        "kind": order.kind,
        "time_in_force": order.time_in_force,
        "quantity": plain(order.quantity),
        "price": plain_or_none(order.price),
        "trigger_price": plain_or_none(order.trigger_price),
        "reduce_only": order.reduce_only,
        "market": order.market_ns // 1000,
    }


def order_change(order: DeskOrder) -> Row:
    """What changes of an order's row."""
    return {
        "id": order.id,
        "adds_risk": order.adds_risk,
        "state": str(order.state),
        "filled": plain(order.filled),
        "average_price": plain_or_none(order.average_price),
        "venue_order_id": order.venue_order_id,
        "origin": order.origin[:24],
        "detail": order.detail[:200],
        "sent": order.sent_ns // 1000 if order.sent_ns else None,
    }
