"""What persons ask for: manual orders, cancels, closes. Rows with a nonce, so that a double click is one order.

A wish holds for a few seconds: what has waited longer, because the desk or the database was away, is refused in
words, for the market is another one by now. One that an earlier desk had begun is begun again while it is young
(ids and books see to it that nothing is done twice), and told as broken off when it is not. The kill switch's own
sweeps are no commands: they wait for ever.
"""

import asyncio
import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import structlog

from apps.common.clocks import boottime_ns
from apps.execution.desk.cancel import Canceller
from apps.execution.desk.core import DeskCore
from apps.execution.desk.flatten import Flattener
from apps.execution.desk.guard import Guard
from apps.execution.desk.make import Wish, order_make
from apps.execution.desk.model import FLATTEN, MANUAL, DeskOrder
from apps.execution.desk.refusal import of_order, of_words
from apps.execution.desk.send import NO_TOKEN, Sender
from apps.execution.desk.store import DatabaseGone
from apps.execution.desk.track import Tracker
from apps.execution.desk.writer import Writer
from apps.execution.events import COMMANDS, CommandChanged
from apps.execution.origins import Blocker, Origin
from apps.execution.states import OrderState, lasting
from apps.risk.services import RefusalRow
from trader.config import config
from trader.core.risk import Check, lots_down
from trader.core.types import manual_client_id

log = structlog.get_logger(__name__)
ANSWER_S = 5.0
TAKE = """
    WITH waiting AS (
        SELECT id, state FROM execution_deskcommand WHERE account_id = %(account_id)s AND state IN ('new', 'taken')
            AND NOT id = ANY(%(in_hand)s)
        ORDER BY id LIMIT 50 FOR UPDATE)
    UPDATE execution_deskcommand AS row SET state = 'taken' FROM waiting WHERE row.id = waiting.id
    RETURNING row.id, row.kind, row.nonce, row.body, row.by, waiting.state = 'taken',
        extract(epoch FROM clock_timestamp() - row.created_at)::float8
"""
DONE = """
    UPDATE execution_deskcommand SET state = %(state)s, result = %(result)s, done_at = clock_timestamp()
    WHERE id = %(id)s
"""
KNOWN = frozenset(OrderState) - {OrderState.CREATED, OrderState.SENT, OrderState.UNKNOWN}


class CommandRefused(ValueError):
    """A wish that cannot be carried out; the message says why."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A command as it was taken: whether a desk had begun it before, and when it was asked (BOOTTIME)."""

    id: int
    kind: str
    nonce: str
    body: dict[str, Any]
    by: str
    was_begun: bool
    asked_ns: int

    def age_s(self) -> float:
        return (boottime_ns() - self.asked_ns) / 1e9


class Commands:
    """Takes commands as they come and answers each with its outcome in words."""

    def __init__(
        self,
        core: DeskCore,
        writer: Writer,
        tracker: Tracker,
        sender: Sender,
        guard: Guard,
        canceller: Canceller,
        flattener: Flattener,
    ) -> None:
        self._core = core
        self._writer = writer
        self._tracker = tracker
        self._sender = sender
        self._guard = guard
        self._canceller = canceller
        self._flattener = flattener
        self._wake = asyncio.Event()
        self._unwritten: dict[int, tuple[str, str]] = {}
        self._in_hand: set[int] = set()
        self._queued: dict[int, _Taken] = {}  # orders that wait for their turn
        self._orders = asyncio.Lock()

    def look(self) -> None:
        """Something may be waiting."""
        self._wake.set()

    async def run(self) -> None:
        """Take what waits, for ever."""
        while True:
            try:
                async with asyncio.timeout(config.execution.commands_poll_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if Blocker.DATABASE in self._core.blocks:
                continue
            try:
                await self._take()
            except DatabaseGone as error:
                log.warning("commands wait", error=str(error)[:200])

    async def _take(self) -> None:
        rows = await self._core.store.query(TAKE, {"account_id": self._core.account.id, "in_hand": list(self._in_hand)})
        now_ns = boottime_ns()
        for row_id, kind, nonce, body, by, was_begun, age_s in sorted(rows):
            given = json.loads(body) if isinstance(body, str) else body
            taken = _Taken(row_id, kind, nonce, given, by, was_begun, now_ns - int(age_s * 1e9))
            self._in_hand.add(row_id)
            if kind == "order":
                self._queued[row_id] = taken
            self._overtake(taken)
            self._core.spawn(self._carry(taken), f"commands {kind} {row_id}")

    async def _carry(self, taken: _Taken) -> None:
        """Carry a command out beside others: who cancels or closes does not wait for an order that hangs.

        Orders go one after the other, as they were asked for.
        """
        try:
            if taken.kind == "order":
                async with self._orders:
                    self._queued.pop(taken.id, None)
                    await self._one(taken)
            else:
                await self._one(taken)
        except DatabaseGone as error:
            log.warning("the answer to a command waits", error=str(error)[:200])
        finally:
            self._queued.pop(taken.id, None)
            self._in_hand.discard(taken.id)

    def _overtake(self, taken: _Taken) -> None:
        """Let no order that waits open what a person has asked to close after it.

        One that an earlier desk had begun may have been made: it is told what became of it.
        """
        if taken.kind not in ("close", "flatten") or self._too_old(taken) is not None:
            return
        owner, instrument = taken.body.get("owner"), taken.body.get("instrument_id")
        for order in self._queued.values():
            is_same = owner == MANUAL and str(order.body.get("instrument_id")) == str(instrument)
            if order.id < taken.id and not order.was_begun and (taken.kind == "flatten" or is_same):
                self._unwritten[order.id] = ("refused", f"a {taken.kind} was asked for after it: nothing was sent")

    async def _one(self, taken: _Taken) -> None:
        """Carry a command out once and write its answer; an answer that found no database is kept until it is back."""
        if taken.id not in self._unwritten:
            self._unwritten[taken.id] = await self._answer(taken)
        state, result = self._unwritten[taken.id]
        await self._core.store.query(DONE, {"state": state, "result": result[:300], "id": taken.id})
        del self._unwritten[taken.id]
        self._writer.event(
            COMMANDS,
            CommandChanged(
                id=taken.id,
                account_id=self._core.account.id,
                kind=taken.kind,
                nonce=taken.nonce,
                by=taken.by,
                state=state,
                result=result[:300],
                wall_ns=self._core.now_ns(),
            ),
        )

    async def _answer(self, taken: _Taken) -> tuple[str, str]:
        try:
            state, result = self._too_old(taken) or await self._carry_out(taken.kind, taken.nonce, taken.body)
        except CommandRefused as error:
            state, result = "refused", str(error)
        except (KeyError, TypeError, InvalidOperation) as error:
            state, result = "refused", f"the command is not complete: {error!r}"
        log.info("command", kind=taken.kind, by=taken.by, state=state, result=result)
        return state, result

    def _too_old(self, taken: _Taken) -> tuple[str, str] | None:
        """Return the answer to a command that has waited too long, None for one that still holds.

        One from the future is as little of now: the clock of whoever wrote it is off.
        """
        age_s, limit_s = taken.age_s(), config.execution.command_age_s
        if abs(age_s) <= limit_s:
            return None
        if age_s < 0:
            return "refused", f"it is dated {-age_s:.0f} s ahead of the database's clock; set that clock, and ask again"
        if not taken.was_begun:
            return (
                "refused",
                f"the desk could not begin in time: this has waited {age_s:.0f} s, over {limit_s:.0f} s; ask again",
            )
        order = self._core.books.orders.get(self._own_id(taken.nonce)) if taken.kind == "order" else None
        if order is not None:
            return self._words(order)
        return "failed", "the desk stopped while it carried this out; look at orders and positions, then ask again"

    def _own_id(self, nonce: str) -> str:
        account = self._core.account
        return manual_client_id(account.install, account.id, account.epoch_number, nonce)

    async def _carry_out(self, kind: str, nonce: str, body: dict[str, Any]) -> tuple[str, str]:
        if kind == "order":
            return await self._order(nonce, body)
        if kind == "cancel":
            return await self._cancel(body)
        if kind == "close":
            return await self._close(int(body["instrument_id"]), str(body["owner"]))
        if kind == "flatten":
            left = await self._flattener.flatten("all")
            return "done", f"closing {left} positions"
        raise CommandRefused(f"unknown command {kind!r}")

    async def _order(self, nonce: str, body: dict[str, Any]) -> tuple[str, str]:
        market = self._core.books.markets.get(int(body["instrument_id"]))
        if market is None:
            raise CommandRefused("instrument: not of this account's venue")
        side, kind = str(body["side"]), str(body["kind"])
        quantity = lots_down(Decimal(str(body["quantity"])), market.lot)
        price = Decimal(str(body["price"])) if body.get("price") not in (None, "") else None
        if side not in ("buy", "sell") or kind not in ("market", "limit") or quantity <= 0:
            raise CommandRefused("side, kind or quantity is not what an order can have (quantity: at least one lot)")
        if kind == "limit" and (price is None or price <= 0 or price % market.tick):
            raise CommandRefused(f"price: a limit order needs one above zero, in steps of {market.tick}")
        own_id = self._own_id(nonce)
        known = self._core.books.orders.get(own_id)
        if known is None:
            known = await self._order_new(market, side, kind, quantity, price, body, own_id)
        return await self._outcome(known)

    async def _order_new(
        self, market: Any, side: str, kind: str, quantity: Decimal, price: Decimal | None, body: Any, own_id: str
    ) -> DeskOrder:
        reduce_only = bool(body.get("reduce_only"))
        try:
            lasts = lasting(market.kind, side, kind, str(body.get("time_in_force") or ""))
        except ValueError as error:
            raise CommandRefused(f"time_in_force: {error}") from None
        wish = Wish(
            market=market, owner=MANUAL, leg=MANUAL, side=side, quantity=quantity, decided_ns=self._core.market_ns,
            kind=kind, price=price if kind == "limit" else None, reduce_only=reduce_only, client_id=own_id,
            time_in_force=lasts,
        )  # fmt: skip
        order = order_make(self._core, wish)
        at = float(price) if price is not None else self._guard.touch(market, side)
        refused = self._guard.ask(market, MANUAL, side, quantity, at, adds_risk=order.adds_risk)
        if market.kind == "spot" and side == "sell" and order.adds_risk:
            refused = self._short_on_spot(order)
        if refused is not None:
            self._writer.refusal(refused)
            raise CommandRefused(refused.detail)
        self._core.books.order_add(order)
        await self._sender.send([order])
        return order

    def _short_on_spot(self, order: DeskOrder) -> RefusalRow:
        """A strategy's wish to be short on cash spot is `flat`; a person's is refused, whatever else is against it."""
        held = max(self._core.books.net(order.market.instrument_id), Decimal(0))
        return of_words(
            Check.HELD, "quantity: more than is held; cash spot cannot be sold short", account_id=order.account_id,
            instrument_id=order.market.instrument_id, owner=order.owner, market_ns=self._core.market_ns,
            number=order.quantity, limit=held,
        )  # fmt: skip

    async def _outcome(self, order: DeskOrder) -> tuple[str, str]:
        """Wait for the venue's word, and put it into words."""
        if order.client_id not in self._core.books.orders and order.origin == NO_TOKEN:
            if order.leg == FLATTEN:  # the sweep makes such an order again, a person's is not made again
                self._writer.refusal(of_order(Blocker.RATE, order, order.detail, self._core.market_ns))
            return "refused", f"nothing was sent: {order.detail}; ask again"
        if order.client_id not in self._core.books.orders:
            if order.detail:
                raise CommandRefused(order.detail)
            return "done", "this order was placed before: nothing was sent a second time"
        await self._tracker.wait(order, lambda one: one.state in KNOWN, ANSWER_S)
        return self._words(order)

    @staticmethod
    def _words(order: DeskOrder) -> tuple[str, str]:
        words = f"order {order.state}" + (f": {order.detail}" if order.detail else "")
        return ("refused" if order.state is OrderState.REJECTED else "done"), words

    async def _cancel(self, body: dict[str, Any]) -> tuple[str, str]:
        order = self._core.books.orders.get(str(body["client_id"]))
        if order is None or not order.is_open:
            raise CommandRefused("the order is not open any more")
        failed = await self._canceller.cancel([order], why="asked by a person", origin=Origin.PERSON)
        if failed:
            return "failed", f"{order.detail or 'the venue did not take the cancel'}; try again"
        await self._tracker.wait(order, lambda one: not one.is_open, ANSWER_S)
        return "done", f"order {order.state}"

    async def _close(self, instrument_id: int, owner: str) -> tuple[str, str]:
        order = await self._flattener.close(instrument_id, owner)
        if order is None:
            raise CommandRefused("nothing to close: flat, dust, or being closed already")
        return await self._outcome(order)
