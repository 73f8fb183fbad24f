"""The exchange itself: accounts, open orders, one matching book per instrument; fed by clients and by the market.

Every event (a request, a print, a book, a mark, a funding) runs to its end without a pause, is
written to disk in one transaction, and only then told: by the answer and on the private sockets.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from apps.simulator.exchange import rows
from apps.simulator.exchange.auth import KeyEntry
from apps.simulator.exchange.errors import VenueRefusal, refusal
from apps.simulator.exchange.faults import Faults
from apps.simulator.exchange.funds import Funds
from apps.simulator.exchange.ledger import Ledger
from apps.simulator.exchange.records import AccountRecord, ExecutionRecord, OrderRecord
from apps.simulator.exchange.settlement import MS, Settlement
from apps.simulator.exchange.store import Store
from apps.simulator.exchange.tickets import Ticket
from apps.simulator.markets.base import BookEvent, FundingEvent, Key, MarkEvent, MinuteEnd, PrintEvent
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock
from trader.core.simulation import (
    FALLING,
    MARKET,
    RISING,
    MatchingBook,
    MatchOrder,
    Outcome,
    TimeInForce,
    Trigger,
    TriggerBook,
)
from trader.core.simulation.margin import ZERO

log = logging.getLogger("simulator.exchange")

TIMES = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.POST_ONLY,
}
RECENT_CLOSED = 500
OPEN_MAX = 500
UID_FIRST = 100_001
Publish = Callable[[int, str, list[dict[str, Any]]], None]


class _Instrument:
    """One instrument's matching book, its triggers by kind of price, and the orders woken but not yet matched."""

    def __init__(self, engine: Engine) -> None:
        self.book = MatchingBook(engine)
        self.triggers = {"LastPrice": TriggerBook(), "MarkPrice": TriggerBook(), "IndexPrice": TriggerBook()}
        self.awake: list[int] = []


class Engine:
    """All state that trades. Synchronous; lives on one event loop."""

    def __init__(self, store: Store, ledger: Ledger, clock: MarketClock, board: MarketBoard, faults: Faults) -> None:
        self._ledger, self._clock, self._faults = ledger, clock, faults
        self.board, self.store = board, store
        self.accounts: dict[int, AccountRecord] = {}
        self._by_key: dict[str, AccountRecord] = {}
        self._open: dict[int, OrderRecord] = {}
        self._open_of: dict[int, dict[int, OrderRecord]] = {}
        self._recent: dict[int, deque[OrderRecord]] = {}
        self._matching: dict[int, MatchOrder] = {}
        self._triggers: dict[int, Trigger] = {}
        self.funds = Funds(board, self.orders_open)
        self._instruments: dict[Key, _Instrument] = {key: _Instrument(self) for key in board.states}
        self._number, executions, _ = store.numbers_last()
        self._settlement = Settlement(self.funds, executions)
        self._touched: dict[int, OrderRecord] = {}
        self._executions: list[ExecutionRecord] = []
        self._positions: set[tuple[int, str]] = set()
        self._wallets: set[int] = set()
        self.publish: Publish = lambda uid, topic, rows: None
        self._load()

    # -- accounts and orders as clients ask for them

    def account_of(self, entry: KeyEntry) -> AccountRecord:
        """Return a key's account; a new one is made with the balances of its entry."""
        account = self._by_key.get(entry.key)
        if account is None:
            uid = max(self.accounts, default=UID_FIRST - 1) + 1
            account = AccountRecord(uid, entry.key, dict(entry.balances))
            self._account_add(account)
            self.store.account_put(account)
            self._commit()
        return account

    def orders_open(self, uid: int) -> Iterable[OrderRecord]:
        """Return an account's open orders, older first."""
        return self._open_of.get(uid, {}).values()

    def orders_recent(self, uid: int) -> Iterable[OrderRecord]:
        """Return an account's newest 500 closed orders, newest first."""
        return self._recent.get(uid, ())

    def order_find(self, uid: int, kind: str, order_id: str, link_id: str) -> OrderRecord | None:
        """Return an open order by its id or client id."""
        for order in self.orders_open(uid):
            if order.kind == kind and (order.order_id == order_id if order_id else order.link_id == link_id):
                return order
        return None

    def adds_risk(self, account: AccountRecord, ticket: Ticket) -> bool:
        """Return whether an order adds risk by the house's rule, which the ledger notes for every order."""
        spec, same_side = ticket.spec, ZERO
        if ticket.reduce_only:
            return False
        lots = spec.quantity(ticket.lots)
        for order in self.orders_open(account.uid):
            if order.key == spec.key and order.side == ticket.side and not order.reduce_only:
                same_side += spec.quantity(order.left)
        if spec.kind == "spot":
            return ticket.side == "Buy" or lots > account.wallet(spec.base)
        held = account.position(spec.symbol).quantity * ticket.sign
        return held >= 0 or lots + same_side > -held

    def place(self, account: AccountRecord, ticket: Ticket) -> OrderRecord:
        """Take a new order: refuse it, or write it, match it, and return it as it stands."""
        kind, key = ticket.spec.kind, ticket.spec.key
        if self._clock.halted(ticket.spec.symbol):
            raise refusal("halted", kind)
        if ticket.link_id and self.order_find(account.uid, kind, "", ticket.link_id) is not None:
            raise refusal("duplicate", kind)
        if sum(order.key == key for order in self.orders_open(account.uid)) >= OPEN_MAX:
            raise refusal("too_many_orders", kind)
        order = self._record(account, ticket)
        if order.trigger_price:
            self._trigger_check(account, order)
        else:
            self._admit(account, order)
        adds_risk = self.adds_risk(account, ticket)
        self._number = order.number
        self._note_order(order, adds_risk)
        self._order_open(order)
        if order.trigger_price:
            order.status = "Untriggered"
            self._wait_for_trigger(order)
        else:
            self._submit(order)
        self._finish()
        return order

    def cancel(self, order: OrderRecord, cancel_type: str = "CancelByUser") -> None:
        """Cancel an open order and tell it."""
        self._close(order, cancel_type, "EC_PerCancelRequest")
        self._finish()

    def cancel_many(self, orders: list[OrderRecord], cancel_type: str = "CancelByUser") -> None:
        """Cancel open orders as one event."""
        for order in orders:
            self._close(order, cancel_type, "EC_PerCancelRequest")
        self._finish()

    def account_changed(self, account: AccountRecord) -> None:
        """Write an account whose settings have changed."""
        self.store.account_put(account)
        self._commit()

    # -- the kernel's listener

    def room(self, order: MatchOrder) -> int:
        """Return how many lots of an order may trade now."""
        record = self._open.get(order.number)
        if record is None:
            return 0
        return min(order.remaining, self._reducible(record)) if record.reduce_only else order.remaining

    def matched(self, order: MatchOrder, price: int, lots: int, is_maker: bool) -> None:
        """Book one match."""
        record = self._open[order.number]
        account = self.accounts[record.uid]
        execution = self._settlement.trade(account, record, price, lots, is_maker, self._clock.market_ns())
        self._book_execution(account, execution)
        self._touched[record.number] = record

    # -- the market's events

    def on_print(self, event: PrintEvent) -> None:
        """A public print: it serves resting orders and wakes triggers."""
        instrument = self._instruments[event.kind, event.symbol]
        instrument.book.print_seen(event.price_ticks, event.size_lots, 1 if event.side == "Buy" else -1)
        self._wake(instrument, "LastPrice", event.price_ticks)
        self._finish()

    def on_book(self, event: BookEvent) -> None:
        """A new public book: it meets resting orders, and orders woken by a print before it are matched with it."""
        instrument = self._instruments[event.kind, event.symbol]
        instrument.book.show(event.bids, event.asks)
        awake, instrument.awake = instrument.awake, []
        for number in awake:
            if number in self._open:
                self._released(self._open[number])
        self._finish()

    def on_mark(self, event: MarkEvent) -> None:
        """New mark and index prices: they wake triggers and may liquidate."""
        instrument = self._instruments[event.kind, event.symbol]
        self._wake(instrument, "MarkPrice", event.mark_ticks)
        self._wake(instrument, "IndexPrice", event.index_ticks)
        for account in self.accounts.values():
            position = account.positions.get(event.symbol)
            if position is not None and position.quantity:
                self._liquidate_if_due(account, event.key)
        self._finish()

    def on_funding(self, event: FundingEvent) -> None:
        """Funding is due."""
        for account in self.accounts.values():
            execution = self._settlement.funding(account, event)
            if execution is not None:
                self._book_execution(account, execution)
        self._finish()

    def on_minute_end(self, event: MinuteEnd) -> None:
        """Nothing here is bound to minutes."""

    # -- inside

    def _load(self) -> None:
        """Take up where the store says we were."""
        for account in self.store.accounts():
            self._account_add(account)
            self._recent[account.uid] = deque(self.store.orders_closed(account.uid, RECENT_CLOSED), RECENT_CLOSED)
        for order in self.store.orders_open():
            self._order_open(order)
            if order.key not in self._instruments:
                log.warning("order %s rests in %s %s, which is not listed now", order.order_id, *order.key)
            elif order.status == "Untriggered":
                self._wait_for_trigger(order)
            elif order.status == "Triggered":
                self._instruments[order.key].awake.append(order.number)
            else:
                self._instruments[order.key].book.rest(self._match_order(order))
        self._touched.clear()

    def _account_add(self, account: AccountRecord) -> None:
        self.accounts[account.uid] = account
        self._by_key[account.api_key] = account
        self._open_of.setdefault(account.uid, {})
        self._recent.setdefault(account.uid, deque(maxlen=RECENT_CLOSED))

    def _record(self, account: AccountRecord, ticket: Ticket) -> OrderRecord:
        now_ms = self._clock.market_ns() // MS
        return OrderRecord(
            number=self._number + 1,
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
            last_price_on_created=self.funds.last_ticks(ticket.spec.key),
            created_ms=now_ms,
            updated_ms=now_ms,
        )

    def _trigger_check(self, account: AccountRecord, order: OrderRecord) -> None:
        """Refuse a trigger that is already reached; give a spot trigger its direction."""
        now = {
            "LastPrice": self.funds.last_ticks,
            "MarkPrice": self.funds.mark_ticks,
            "IndexPrice": self.funds.index_ticks,
        }[order.trigger_by](order.key)
        if not order.trigger_direction:
            order.trigger_direction = RISING if order.trigger_price > now else FALLING
        if order.trigger_direction == RISING and order.trigger_price <= now:
            raise VenueRefusal(110092, f"expect Rising, but trigger_price[{order.trigger_price}] <= current[{now}]")
        if order.trigger_direction == FALLING and order.trigger_price >= now:
            raise VenueRefusal(110093, f"expect Falling, but trigger_price[{order.trigger_price}] >= current[{now}]")
        if order.reduce_only and not self._reducible(order):
            raise refusal("reduce_only", order.kind)

    def _admit(self, account: AccountRecord, order: OrderRecord) -> None:
        """Refuse what the account cannot pay for, what is too small, and what has nothing to reduce."""
        spec = self.funds.spec(order.key)
        book = self._instruments[order.key].book
        if order.quote_budget is not None:
            self._budget_to_lots(order)
        offers = book.fillable(order.sign, order.price, order.lots)
        value = sum((spec.price(ticks) * spec.quantity(lots) for ticks, lots in offers), ZERO)
        if order.price:
            value = spec.price(order.price) * spec.quantity(order.lots)
        elif not offers:
            value = spec.price(self.funds.last_ticks(order.key)) * spec.quantity(order.lots)
        if order.reduce_only:
            reducible = self._reducible(order)
            if not reducible:
                raise refusal("reduce_only", order.kind)
            order.lots = min(order.lots, reducible)
            return
        if value < spec.min_notional:
            raise refusal("value_low", order.kind, f"({value} is below {spec.min_notional})")
        if order.kind == "spot":
            coin, needed = (spec.quote, value) if order.side == "Buy" else (spec.base, spec.quantity(order.lots))
            if order.side == "Buy" and order.quote_budget is not None:
                needed = order.quote_budget
            if self.funds.free(account, coin) < needed:
                raise refusal("funds", order.kind)
            return
        before = self.funds.margin(account, spec.settle)
        after = self.funds.margin(account, spec.settle, order)
        if after.order_margin > before.order_margin and after.available < 0:
            raise refusal("funds", order.kind)

    def _budget_to_lots(self, order: OrderRecord) -> None:
        """Give an order told in quote the lots that its money buys (or brings) in the book as it stands."""
        spec = self.funds.spec(order.key)
        money, lots = order.quote_budget or ZERO, 0
        for ticks, offered in self._instruments[order.key].book.fillable(order.sign, MARKET, 1 << 62):
            taken = min(offered, int(money // (spec.price(ticks) * spec.lot)))
            lots += taken
            money -= taken * spec.price(ticks) * spec.lot
            if taken < offered:
                break
        order.lots = lots

    def _reducible(self, order: OrderRecord) -> int:
        """Return the lots that a reduce-only order may still close."""
        held = self.accounts[order.uid].position(order.symbol).quantity
        if held * order.sign >= 0:
            return 0
        return int(abs(held) // self.funds.spec(order.key).lot)

    def _order_open(self, order: OrderRecord) -> None:
        self._open[order.number] = order
        self._open_of[order.uid][order.number] = order
        self._touched[order.number] = order

    def _match_order(self, order: OrderRecord) -> MatchOrder:
        match = MatchOrder(order.number, order.sign, order.price, order.lots - order.filled, TIMES[order.time_in_force])
        self._matching[order.number] = match
        return match

    def _submit(self, order: OrderRecord) -> None:
        """Match an order that is active from now on."""
        self._touched[order.number] = order
        if not order.lots:
            self._close(order, "UNKNOWN", "EC_NoImmediateQtyToFill")
            return
        match = self._match_order(order)
        share = self._faults.partial_share()
        at_once = int(order.lots * share) if share is not None else None
        outcome = self._instruments[order.key].book.submit(match, at_once)
        if outcome is Outcome.RESTING:
            order.status = "PartiallyFilled" if order.filled else "New"
        elif outcome is not Outcome.FILLED:
            post_only = match.time_in_force is TimeInForce.POST_ONLY
            reason = "EC_PostOnlyWillTakeLiquidity" if post_only else "EC_NoImmediateQtyToFill"
            self._close(order, "UNKNOWN", reason)

    def _close(self, order: OrderRecord, cancel_type: str, reason: str) -> None:
        """End an open order without a trade."""
        match, trigger = self._matching.get(order.number), self._triggers.pop(order.number, None)
        instrument = self._instruments.get(order.key)
        if instrument is not None:
            if match is not None:
                instrument.book.cancel(match)
            if trigger is not None:
                instrument.triggers[order.trigger_by].remove(trigger)
        was_waiting = order.status == "Untriggered"
        in_part = order.kind == "spot" and order.filled
        order.status = "Deactivated" if was_waiting else "PartiallyFilledCanceled" if in_part else "Cancelled"
        order.cancel_type, order.reject_reason = cancel_type, reason
        order.updated_ms = self._clock.market_ns() // MS
        self._touched[order.number] = order
        self._ledger.add(
            "cancel",
            self._clock.market_ns(),
            order_id=order.order_id,
            link_id=order.link_id,
            category=order.kind,
            symbol=order.symbol,
            cancel_type=cancel_type,
            reason=reason,
        )

    def _wait_for_trigger(self, order: OrderRecord) -> None:
        trigger = Trigger(order.number, order.trigger_price, order.trigger_direction)
        self._triggers[order.number] = trigger
        self._instruments[order.key].triggers[order.trigger_by].add(trigger)

    def _wake(self, instrument: _Instrument, price_kind: str, ticks: int) -> None:
        """Mark the orders that a price wakes; they meet the book that follows it, not the one it came from."""
        for number in instrument.triggers[price_kind].fired(ticks):
            self._triggers.pop(number, None)
            order = self._open.get(number)
            if order is None:
                continue
            order.status = "Triggered"
            order.updated_ms = self._clock.market_ns() // MS
            self._touched[number] = order
            instrument.awake.append(number)

    def _released(self, order: OrderRecord) -> None:
        """Match an order whose trigger was reached; what the account cannot do any more is cancelled."""
        try:
            self._admit(self.accounts[order.uid], order)
        except VenueRefusal as error:
            reduces = "EC_ReduceOnlyNoPosition" if order.reduce_only else f"EC_{error.code}"
            self._close(order, "CancelByReduceOnly" if order.reduce_only else "UNKNOWN", reduces)
            return
        order.status = "New"
        self._submit(order)

    def _book_execution(self, account: AccountRecord, execution: ExecutionRecord) -> None:
        self._executions.append(execution)
        self._wallets.add(account.uid)
        if execution.kind == "linear":
            self._positions.add((account.uid, execution.symbol))
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

    def _note_order(self, order: OrderRecord, adds_risk: bool) -> None:
        spec = self.funds.spec(order.key)
        self._ledger.add(
            "order",
            self._clock.market_ns(),
            order_id=order.order_id,
            link_id=order.link_id,
            category=order.kind,
            symbol=order.symbol,
            side=order.side,
            order_type=order.order_type,
            time_in_force=order.time_in_force,
            quantity=rows.plain(order.quote_budget or spec.quantity(order.lots)),
            price=rows.plain(spec.price(order.price)),
            trigger_price=rows.plain(spec.price(order.trigger_price)),
            reduce_only=order.reduce_only,
            adds_risk=adds_risk,
            api_key=self.accounts[order.uid].api_key,
        )

    def _liquidate_if_due(self, account: AccountRecord, key: Key) -> None:
        """Close an account's contracts at the market when its equity no longer covers their maintenance margin."""
        spec = self.funds.spec(key)
        state = self.funds.margin(account, spec.settle)
        if state.equity - state.locked > state.maintenance:
            return
        for order in list(self.orders_open(account.uid)):
            if order.kind == "linear":
                self._close(order, "CancelByLiq", "EC_PerCancelRequest")
        self._forget_closed()
        for symbol, position in list(account.positions.items()):
            if position.quantity:
                self._liquidate(account, ("linear", symbol))

    def _liquidate(self, account: AccountRecord, key: Key) -> None:
        """Sell (or buy back) one position into the book; what the book cannot take goes at the mark price."""
        spec, position = self.funds.spec(key), account.position(key[1])
        lots = int(abs(position.quantity) // spec.lot)
        self._number += 1
        now_ms = self._clock.market_ns() // MS
        order = OrderRecord(
            number=self._number,
            uid=account.uid,
            order_id=str(uuid.uuid4()),
            link_id="",
            kind="linear",
            symbol=key[1],
            side="Sell" if position.quantity > 0 else "Buy",
            order_type="Market",
            time_in_force="IOC",
            lots=lots,
            reduce_only=True,
            create_type="CreateByLiq",
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        self._note_order(order, False)
        self._order_open(order)
        match = self._match_order(order)
        self._instruments[key].book.submit(match)
        if match.remaining:
            left, match.remaining = match.remaining, 0
            self.matched(match, self.funds.mark_ticks(key), left, False)

    def _reduce_only_trim(self) -> None:
        """Cancel resting reduce-only orders whose position has gone."""
        for uid, symbol in self._positions:
            for order in list(self.orders_open(uid)):
                resting = order.status in ("New", "PartiallyFilled")
                if order.symbol == symbol and order.reduce_only and resting and not self._reducible(order):
                    self._close(order, "CancelByReduceOnly", "EC_PerCancelRequest")

    def _forget_closed(self) -> None:
        for order in self._touched.values():
            if order.is_open or order.number not in self._open:
                continue
            del self._open[order.number]
            del self._open_of[order.uid][order.number]
            self._matching.pop(order.number, None)
            self._recent[order.uid].appendleft(order)

    def _finish(self) -> None:
        """End an event: write what changed, then tell it."""
        if not (self._touched or self._executions or self._wallets):
            return
        self._reduce_only_trim()
        self._forget_closed()
        for order in self._touched.values():
            self.store.order_put(order)
        for execution in self._executions:
            self.store.execution_put(execution)
        for uid in self._wallets:
            self.store.account_put(self.accounts[uid])
        self._commit()
        if self._executions:
            self._faults.crash("fill")
        self._tell()

    def _commit(self) -> None:
        try:
            self.store.commit()
        except Exception:
            # memory is ahead of the disk: going on would acknowledge what could be lost
            log.critical("the exchange's state cannot be written: stopping at once", exc_info=True)
            os._exit(74)

    def _tell(self) -> None:
        touched, self._touched = list(self._touched.values()), {}
        executions, self._executions = self._executions, []
        positions, self._positions = sorted(self._positions), set()
        wallets, self._wallets = sorted(self._wallets), set()
        spec = self.funds.spec
        for uid, some in _by_account(executions):
            told = [{"category": e.kind, **rows.execution_row(e, spec(e.key))} for e in some]
            self.publish(uid, "execution", told)
        for uid, some in _by_account(touched):
            self.publish(uid, "order", [{"category": o.kind, **rows.order_row(o, spec(o.key))} for o in some])
        for uid, symbol in positions:
            row = rows.position_row(self.accounts[uid], spec(("linear", symbol)), self.funds)
            self.publish(uid, "position", [{"category": "linear", **row}])
        for uid in wallets:
            self.publish(uid, "wallet", [rows.wallet_row(self.accounts[uid], self.funds)])


def _by_account(records: list[Any]) -> Iterable[tuple[int, list[Any]]]:
    grouped: dict[int, list[Any]] = {}
    for record in records:
        grouped.setdefault(record.uid, []).append(record)
    return grouped.items()
