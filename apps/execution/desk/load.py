"""A desk's memory, read back from its rows at the start of a session."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from apps.execution import selectors
from apps.execution.desk.books import Books
from apps.execution.desk.core import AccountInfo
from apps.execution.desk.journal import Entry, Journal
from apps.execution.desk.model import DeskOrder
from apps.execution.models import Order
from apps.execution.states import OrderState
from trader.core.portfolio import Position


def account_info(account_id: int) -> AccountInfo:
    """Read the account that a desk trades (synchronous: call it in the database thread)."""
    account = selectors.account_load(account_id)
    return AccountInfo(
        id=account.pk,
        name=account.name,
        currency=account.currency,
        is_live=account.is_live,
        venue_id=account.venue_id,
        venue_code=account.venue.code,
        adapter=account.venue.adapter,
        epoch_id=account.epoch_id,
        epoch_number=account.epoch.number,
        epoch_kind=account.epoch.kind,
        install=selectors.install_prefix(),
        state_dir=Path(selectors.state_dir()),
        address=urlsplit(account.venue.rest_url).netloc or account.venue.adapter,
    )


def books_fill(books: Books, rows: selectors.DeskRows) -> None:
    """Put rows into memory: positions and cash as booked, orders as last known, executions seen."""
    for row in rows.positions:
        books.ledger.positions[(row.instrument_id, row.owner)] = Position(
            quantity=row.quantity,
            average_price=row.average_price,
            realised=row.realised,
            fees=row.fees,
            funding=row.funding,
        )
        if row.quantity and row.opened_at is not None:
            books.opened_ns[(row.instrument_id, row.owner)] = selectors.ns_of(row.opened_at)
    for balance in rows.balances:
        books.ledger.cash[balance.currency] = balance.amount
        books.cash_fees[balance.currency] = balance.fees
    for order in rows.orders:
        if order.instrument_id in books.markets:
            books.order_add(order_from_row(books, order))
    books.seen_fills = set(rows.seen)
    books.executions_ns = rows.executions_ns


def order_from_row(books: Books, row: Order) -> DeskOrder:
    """Return the order of a row."""
    return DeskOrder(
        id=row.pk,
        client_id=row.client_id,
        account_id=row.account_id,
        market=books.markets[row.instrument_id],
        owner=row.owner,
        leg=row.leg,
        side=row.side,
        kind=row.kind,
        quantity=row.quantity,
        adds_risk=row.adds_risk,
        market_ns=selectors.ns_of(row.market_at),
        revision=row.revision,
        price=row.price,
        trigger_price=row.trigger_price,
        time_in_force=row.time_in_force,
        reduce_only=row.reduce_only,
        decision_id=row.decision_id,
        signal_id=row.signal_id,
        parent_id=row.parent_id,
        state=OrderState(row.state),
        filled=row.filled,
        average_price=row.average_price,
        cost=row.filled * (row.average_price or Decimal(0)),
        venue_order_id=row.venue_order_id,
        origin=row.origin,
        detail=row.detail,
        sent_ns=selectors.ns_of(row.sent_at) or None,
        reported_filled=row.filled,
    )


def journal_orders(books: Books, journal: Journal) -> list[DeskOrder]:
    """Return the orders of the journal that have no row: they may have reached the venue."""
    found = []
    for entry in journal.waiting():
        if entry["kind"] == "order" and entry["client_id"] not in books.orders:
            found.append(order_from_journal(books, entry["row"]))
    return found


def journal_lines(journal: Journal, kind: str) -> dict[str, Entry]:
    """Return the journal's lines of one kind by client id; of several the newest."""
    return {entry["client_id"]: entry for entry in journal.waiting() if entry["kind"] == kind}


def order_from_journal(books: Books, row: dict[str, Any]) -> DeskOrder:
    """Return the order of a journal's line; what became of it, the venue will say."""
    amounts = {name: Decimal(row[name]) if row[name] is not None else None for name in ("price", "trigger_price")}
    return DeskOrder(
        id=row["id"],
        client_id=row["client_id"],
        account_id=row["account_id"],
        market=books.markets[row["instrument_id"]],
        owner=row["owner"],
        leg=row["leg"],
        side=row["side"],
        kind=row["kind"],
        quantity=Decimal(row["quantity"]),
        adds_risk=row["adds_risk"],
        market_ns=row["market"] * 1000,
        revision=row["revision"],
        price=amounts["price"],
        trigger_price=amounts["trigger_price"],
        time_in_force=row["time_in_force"],
        reduce_only=row["reduce_only"],
        decision_id=UUID(row["decision_id"]) if row["decision_id"] else None,
        parent_id=row["parent_id"],
        state=OrderState.CREATED,
        is_journalled=True,
    )


def json_text(value: Any) -> str:
    """Return a value as JSON."""
    return json.dumps(value, default=str)
