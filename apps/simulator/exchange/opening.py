"""Makes the record of a new order: from a client's ticket, or for a liquidation."""

from __future__ import annotations

import uuid
from decimal import Decimal

from apps.simulator.exchange.records import AccountRecord, OrderRecord
from apps.simulator.exchange.tickets import Ticket
from apps.simulator.markets.base import InstrumentSpec


def order_of_ticket(number: int, account: AccountRecord, ticket: Ticket, last_ticks: int, now_ms: int) -> OrderRecord:
    """Return the order that a ticket asks for."""
    return OrderRecord(
        number=number,
        uid=account.uid,
        order_id=str(uuid.uuid4()),
        link_id=ticket.link_id,
        kind=ticket.spec.kind,
        symbol=ticket.spec.symbol,
        side=ticket.side,
        order_type=ticket.order_type,
        time_in_force=ticket.time_in_force,
        lots=ticket.lots,
        price=ticket.price,
        quote_budget=ticket.quote_budget,
        reduce_only=ticket.reduce_only,
        close_on_trigger=ticket.close_on_trigger,
        order_filter=ticket.order_filter,
        trigger_price=ticket.trigger_price,
        trigger_direction=ticket.trigger_direction,
        trigger_by=ticket.trigger_by,
        last_price_on_created=last_ticks,
        created_ms=now_ms,
        updated_ms=now_ms,
    )


def order_of_liquidation(
    number: int, account: AccountRecord, spec: InstrumentSpec, quantity: Decimal, now_ms: int
) -> OrderRecord:
    """Return the market order that closes a position of signed `quantity`."""
    return OrderRecord(
        number=number,
        uid=account.uid,
        order_id=str(uuid.uuid4()),
        link_id="",
        kind="linear",
        symbol=spec.symbol,
        side="Sell" if quantity > 0 else "Buy",
        order_type="Market",
        time_in_force="IOC",
        lots=int(abs(quantity) // spec.lot),
        reduce_only=True,
        create_type="CreateByLiq",
        created_ms=now_ms,
        updated_ms=now_ms,
    )
