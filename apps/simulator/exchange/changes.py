"""What one event has changed: written to disk in one transaction, and only then told."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from apps.simulator.exchange import rows
from apps.simulator.exchange.faults import Faults
from apps.simulator.exchange.funds import Funds
from apps.simulator.exchange.ledger import Ledger
from apps.simulator.exchange.records import AccountRecord, ExecutionRecord, OrderRecord
from apps.simulator.exchange.store import Store

log = logging.getLogger("simulator.exchange")

Publish = Callable[[int, str, list[dict[str, Any]]], None]
STATE_UNWRITABLE = 74


class Changes:
    """Gathers the orders, executions and accounts that an event touches."""

    def __init__(self, store: Store, ledger: Ledger, funds: Funds, faults: Faults) -> None:
        self._store, self._ledger, self._funds, self._faults = store, ledger, funds, faults
        self.publish: Publish = lambda uid, topic, told: None
        self.clear()

    def clear(self) -> None:
        """Begin a new event."""
        self.orders: dict[int, OrderRecord] = {}
        self.positions: set[tuple[int, str]] = set()
        self._accounts: dict[int, AccountRecord] = {}
        self._executions: list[ExecutionRecord] = []
        self._wallets: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self.orders or self._executions or self._accounts)

    def order(self, order: OrderRecord) -> None:
        """This order has changed."""
        self.orders[order.number] = order

    def account(self, account: AccountRecord) -> None:
        """This account's settings have changed."""
        self._accounts[account.uid] = account

    def opened(self, account: AccountRecord, order: OrderRecord, adds_risk: bool) -> None:
        """This order was accepted."""
        self.order(order)
        if order.kind == "spot":  # it may lock coins
            self._wallet(account)
        spec = self._funds.spec(order.key)
        self._ledger.add(
            "order",
            order.created_ms * 1_000_000,
            **_named(order),
            side=order.side,
            order_type=order.order_type,
            time_in_force=order.time_in_force,
            quantity=rows.plain(order.quote_budget or spec.quantity(order.lots)),
            price=rows.plain(spec.price(order.price)),
            trigger_price=rows.plain(spec.price(order.trigger_price)),
            reduce_only=order.reduce_only,
            adds_risk=adds_risk,
            api_key=account.api_key,
        )

    def closed(self, account: AccountRecord, order: OrderRecord, market_ns: int) -> None:
        """This order ended without a trade."""
        self.order(order)
        self._wallet(account)
        fields = {"cancel_type": order.cancel_type, "reason": order.reject_reason, "api_key": account.api_key}
        self._ledger.add("cancel", market_ns, **_named(order), **fields)

    def execution(self, account: AccountRecord, execution: ExecutionRecord) -> None:
        """This fill or funding was booked."""
        self._executions.append(execution)
        self._wallet(account)
        if execution.kind == "linear":
            self.positions.add((account.uid, execution.symbol))
        self._ledger.add(
            "fill",
            execution.market_ns,
            exec_id=execution.exec_id,
            exec_type=execution.exec_type,
            order_id=execution.order_id,
            link_id=execution.link_id,
            category=execution.kind,
            symbol=execution.symbol,
            side=execution.side,
            quantity=rows.plain(execution.quantity),
            price=rows.plain(execution.price),
            fee=rows.plain(execution.fee),
            fee_coin=execution.fee_coin,
            is_maker=execution.is_maker,
            api_key=account.api_key,
        )

    def finish(self) -> None:
        """Write the event, then tell it on the private sockets."""
        for order in self.orders.values():
            self._store.order_put(order)
        for execution in self._executions:
            self._store.execution_put(execution)
        for account in self._accounts.values():
            self._store.account_put(account)
        self._commit()
        if self._executions:
            self._faults.crash("fill")
        self._tell()
        self.clear()

    def _wallet(self, account: AccountRecord) -> None:
        self._accounts[account.uid] = account
        self._wallets.add(account.uid)

    def _commit(self) -> None:
        try:
            self._store.commit()
        except Exception:
            # memory is ahead of the disk: going on would acknowledge what could be lost
            log.critical("the exchange's state cannot be written: stopping at once", exc_info=True)
            os._exit(STATE_UNWRITABLE)

    def _tell(self) -> None:
        spec = self._funds.spec
        for uid, executions in _by_account(self._executions):
            told = [{"category": e.kind, **rows.execution_row(e, spec(e.key))} for e in executions]
            self.publish(uid, "execution", told)
        for uid, orders in _by_account(self.orders.values()):
            self.publish(uid, "order", [{"category": o.kind, **rows.order_row(o, spec(o.key))} for o in orders])
        for uid, symbol in sorted(self.positions):
            row = rows.position_row(self._accounts[uid], spec(("linear", symbol)), self._funds)
            self.publish(uid, "position", [{"category": "linear", **row}])
        for uid in sorted(self._wallets):
            self.publish(uid, "wallet", [rows.wallet_row(self._accounts[uid], self._funds)])


def _named(order: OrderRecord) -> dict[str, str]:
    return {
        "order_id": order.order_id,
        "link_id": order.link_id,
        "category": order.kind,
        "symbol": order.symbol,
    }


def _by_account(records: Iterable[Any]) -> Iterable[tuple[int, list[Any]]]:
    grouped: dict[int, list[Any]] = {}
    for record in records:
        grouped.setdefault(record.uid, []).append(record)
    return grouped.items()
