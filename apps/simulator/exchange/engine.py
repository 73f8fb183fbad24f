"""The exchange itself: accounts, open orders, one matching book per instrument; fed by clients and by the market.

Every event (a request, a print, a book, a mark, a funding) runs to its end without a pause, is
written to disk in one transaction, and only then told: by the answer and on the private sockets.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from apps.simulator.exchange.active import RECENT_CLOSED, ActiveOrders
from apps.simulator.exchange.admission import Admission
from apps.simulator.exchange.auth import KeyEntry
from apps.simulator.exchange.changes import Changes
from apps.simulator.exchange.errors import VenueRefusal, refusal
from apps.simulator.exchange.faults import Faults
from apps.simulator.exchange.funds import Funds
from apps.simulator.exchange.ledger import Ledger
from apps.simulator.exchange.opening import order_of_liquidation, order_of_ticket
from apps.simulator.exchange.records import AccountRecord, OrderRecord
from apps.simulator.exchange.settlement import MS, Settlement
from apps.simulator.exchange.store import Store
from apps.simulator.exchange.tickets import Ticket
from apps.simulator.markets.base import BookEvent, FundingEvent, Key, MarkEvent, MinuteEnd, PrintEvent
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock
from trader.core.simulation import MatchingBook, MatchOrder, Outcome, TimeInForce, Trigger, TriggerBook

log = logging.getLogger("simulator.exchange")

TIMES = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.POST_ONLY,
}
UID_FIRST = 100_001


class Instrument:
    """One instrument's matching book, its triggers by kind of price, and the orders woken but not yet matched."""

    def __init__(self, engine: Engine) -> None:
        self.book = MatchingBook(engine)
        self.triggers = {"LastPrice": TriggerBook(), "MarkPrice": TriggerBook(), "IndexPrice": TriggerBook()}
        self.awake: list[int] = []


class Engine:
    """All state that trades. Synchronous; lives on one event loop."""

    def __init__(self, store: Store, ledger: Ledger, clock: MarketClock, board: MarketBoard, faults: Faults) -> None:
        self._clock, self._faults = clock, faults
        self.store, self.board = store, board
        self.accounts: dict[int, AccountRecord] = {}
        self._by_key: dict[str, AccountRecord] = {}
        self.active = ActiveOrders()
        self.funds = Funds(board, self.active.of)
        self.admission = Admission(self.funds, self.active)
        self.changes = Changes(store, ledger, self.funds, faults)
        self._matching: dict[int, MatchOrder] = {}
        self._triggers: dict[int, Trigger] = {}
        self._instruments: dict[Key, Instrument] = {key: Instrument(self) for key in board.states}
        self._number, executions, _ = store.numbers_last()
        self._settlement = Settlement(self.funds, executions)
        self._load()

    def account_of(self, entry: KeyEntry) -> AccountRecord:
        """Return a key's account; a new one is made with the balances of its entry."""
        account = self._by_key.get(entry.key)
        if account is None:
            uid = max(self.accounts, default=UID_FIRST - 1) + 1
            account = AccountRecord(uid, entry.key, dict(entry.balances))
            self._account_add(account)
            self.account_changed(account)
        return account

    def account_changed(self, account: AccountRecord) -> None:
        """Write an account whose settings have changed."""
        self.changes.account(account)
        self._finish()

    def place(self, account: AccountRecord, ticket: Ticket) -> OrderRecord:
        """Take a new order: refuse it, or write it, match it, and return it as it stands."""
        if self._clock.halted(ticket.spec.symbol):
            raise refusal("halted", ticket.spec.kind)
        self.admission.ticket_check(account, ticket)
        order = order_of_ticket(
            self._number + 1, account, ticket, self.funds.last_ticks(ticket.spec.key), self._now_ms()
        )
        if order.trigger_price:
            self.admission.trigger_check(account, order)
        else:
            self.admission.admit(account, order, self._instruments[order.key].book)
        adds_risk = self.admission.adds_risk(account, ticket)
        self._number = order.number
        self.active.add(order)
        self.changes.opened(account, order, adds_risk)
        if order.trigger_price:
            order.status = "Untriggered"
            self._wait_for_trigger(order)
        else:
            self._submit(order)
        self._finish()
        return order

    def cancel(self, orders: Iterable[OrderRecord]) -> None:
        """Cancel open orders as one event, and tell it."""
        for order in list(orders):
            self._close(order, "CancelByUser", "EC_PerCancelRequest")
        self._finish()

    # the kernel's listener

    def room(self, order: MatchOrder) -> int:
        """Return how many lots of an order may trade now."""
        record = self.active.get(order.number)
        if record is None or not record.is_open:
            return 0
        if not record.reduce_only:
            return order.remaining
        return min(order.remaining, self.admission.reducible(self.accounts[record.uid], record))

    def matched(self, order: MatchOrder, price: int, lots: int, is_maker: bool) -> None:
        """Book one match."""
        record = self.active.get(order.number)
        assert record is not None, "the kernel matched an order that is not open"
        account = self.accounts[record.uid]
        execution = self._settlement.trade(account, record, price, lots, is_maker, self._clock.market_ns())
        self.changes.execution(account, execution)
        self.changes.order(record)

    # the market's events

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
            self._released(number)
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
                self.changes.execution(account, execution)
        self._finish()

    def on_minute_end(self, event: MinuteEnd) -> None:
        """Nothing here is bound to minutes."""

    def _load(self) -> None:
        """Take up where the store says we were."""
        for account in self.store.accounts():
            self._account_add(account)
            self.active.recent_load(account.uid, self.store.orders_closed(account.uid, RECENT_CLOSED))
        for order in self.store.orders_open():
            instrument = self._instruments.get(order.key)
            if instrument is None:
                # another market under the same accounts: the order stays as it is until it is listed again
                log.warning("order %s rests in %s %s, which is not listed now", order.order_id, *order.key)
                continue
            self.active.add(order)
            if order.status == "Untriggered":
                self._wait_for_trigger(order)
            elif order.status == "Triggered":
                instrument.awake.append(order.number)
            else:
                instrument.book.rest(self._match_order(order))

    def _account_add(self, account: AccountRecord) -> None:
        self.accounts[account.uid] = account
        self._by_key[account.api_key] = account

    def _match_order(self, order: OrderRecord) -> MatchOrder:
        match = MatchOrder(order.number, order.sign, order.price, order.lots - order.filled, TIMES[order.time_in_force])
        self._matching[order.number] = match
        return match

    def _submit(self, order: OrderRecord) -> None:
        """Match an order that is active from now on."""
        self.changes.order(order)
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
            self._close(order, "UNKNOWN", "EC_PostOnlyWillTakeLiquidity" if post_only else "EC_NoImmediateQtyToFill")

    def _close(self, order: OrderRecord, cancel_type: str, reason: str) -> None:
        """End an open order without a trade."""
        match, trigger = self._matching.get(order.number), self._triggers.pop(order.number, None)
        instrument = self._instruments[order.key]
        if match is not None:
            instrument.book.cancel(match)
        if trigger is not None:
            instrument.triggers[order.trigger_by].remove(trigger)
        if order.status == "Untriggered":
            order.status = "Deactivated"
        else:
            order.status = "PartiallyFilledCanceled" if order.kind == "spot" and order.filled else "Cancelled"
        order.cancel_type, order.reject_reason = cancel_type, reason
        order.updated_ms = self._now_ms()
        self.changes.closed(self.accounts[order.uid], order, self._clock.market_ns())

    def _wait_for_trigger(self, order: OrderRecord) -> None:
        trigger = Trigger(order.number, order.trigger_price, order.trigger_direction)
        self._triggers[order.number] = trigger
        self._instruments[order.key].triggers[order.trigger_by].add(trigger)

    def _wake(self, instrument: Instrument, price_kind: str, ticks: int) -> None:
        """Mark the orders that a price wakes; they meet the book that follows it, not the one it came from."""
        for number in instrument.triggers[price_kind].fired(ticks):
            self._triggers.pop(number, None)
            order = self.active.get(number)
            if order is not None:
                order.status = "Triggered"
                order.updated_ms = self._now_ms()
                self.changes.order(order)
                instrument.awake.append(number)

    def _released(self, number: int) -> None:
        """Match an order whose trigger was reached; what the account cannot do any more is cancelled."""
        order = self.active.get(number)
        if order is None or not order.is_open:
            return
        try:
            self.admission.admit(self.accounts[order.uid], order, self._instruments[order.key].book)
        except VenueRefusal as error:
            kind = "CancelByReduceOnly" if order.reduce_only else "UNKNOWN"
            self._close(order, kind, "EC_ReduceOnlyNoPosition" if order.reduce_only else f"EC_{error.code}")
            return
        order.status = "New"
        self._submit(order)

    def _liquidate_if_due(self, account: AccountRecord, key: Key) -> None:
        """Close an account's contracts at the market when its equity no longer covers their maintenance margin."""
        state = self.funds.margin(account, self.funds.spec(key).settle)
        if state.equity - state.locked > state.maintenance:
            return
        for order in list(self.active.of(account.uid)):
            if order.kind == "linear":
                self._close(order, "CancelByLiq", "EC_PerCancelRequest")
        for symbol, position in list(account.positions.items()):
            if position.quantity:
                self._liquidate(account, ("linear", symbol))

    def _liquidate(self, account: AccountRecord, key: Key) -> None:
        """Sell (or buy back) one position into the book; what the book cannot take goes at the mark price."""
        spec, position = self.funds.spec(key), account.position(key[1])
        self._number += 1
        order = order_of_liquidation(self._number, account, spec, position.quantity, self._now_ms())
        self.active.add(order)
        self.changes.opened(account, order, adds_risk=False)
        match = self._match_order(order)
        self._instruments[key].book.submit(match)
        if match.remaining:
            left, match.remaining = match.remaining, 0
            self.matched(match, self.funds.mark_ticks(key), left, False)

    def _reduce_only_trim(self) -> None:
        """Cancel resting reduce-only orders whose position has gone."""
        for uid, symbol in sorted(self.changes.positions):
            for order in list(self.active.of(uid)):
                rests = order.status in ("New", "PartiallyFilled") and order.key == ("linear", symbol)
                if rests and order.reduce_only and not self.admission.reducible(self.accounts[uid], order):
                    self._close(order, "CancelByReduceOnly", "EC_PerCancelRequest")

    def _now_ms(self) -> int:
        return self._clock.market_ns() // MS

    def _finish(self) -> None:
        """End an event: write what changed, then tell it."""
        if not self.changes:
            return
        self._reduce_only_trim()
        for number in self.active.forget_closed(self.changes.orders.values()):
            self._matching.pop(number, None)
        self.changes.finish()
