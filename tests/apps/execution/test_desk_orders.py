"""Manual orders at a desk: placed once, cancelled, refused with every check, closed; and what a stop leaves behind."""

import asyncio
import secrets
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from apps.execution.brokers.gate import Sending, sending
from apps.execution.desk import reconcile
from apps.execution.desk.store import PATH_SHAPES
from apps.execution.models import DeskCommand, Order, Reconciliation
from apps.execution.selectors import instruments_ordered
from apps.execution.services import (
    CommandRefused,
    manual_order_preview,
    manual_order_submit,
    order_cancel,
    position_close,
)
from apps.execution.states import OrderState
from apps.market.kept import kept_ids
from apps.market.models import Instrument
from apps.portfolio.models import Account
from apps.risk.models import Refusal
from apps.risk.services import kill_engage, limit_set
from tests.apps.execution.living import LINEAR, SPOT, WARM, Living, living
from tests.apps.execution.pace import LONG_S
from tests.apps.execution.test_desk_kill import swept
from tests.apps.execution.wishes import answered, command, limit_orders
from tests.apps.risk.fixtures import kill_clear
from trader.core.types import VenueError

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def of(made: Living, symbol: str = SPOT) -> tuple[Account, Instrument]:
    account = await Account.objects.select_related("venue").aget(pk=made.account_id)
    return account, await Instrument.objects.aget(venue_id=account.venue_id, symbol=symbol)


async def test_a_double_click_is_one_order_and_a_cancel_takes_it_back() -> None:
    async with living() as made:
        account, instrument = await of(made)
        nonce = secrets.token_hex(8)
        submit = sync_to_async(manual_order_submit)
        first = await submit(account, instrument, "buy", "limit", "2", "90", nonce=nonce, by="tester")
        again = await submit(account, instrument, "buy", "limit", "2", "90", nonce=nonce, by="tester")
        assert first.pk == again.pk
        done = await answered(made, first)
        assert (done.state, done.result) == ("done", "order acknowledged")
        assert len(made.exchange.ledger("order")) == 1
        row = await Order.objects.select_related("account").aget()
        assert (row.owner, row.leg, row.adds_risk) == ("manual", "manual", True)
        # what was planned at the start is what was used: nothing has been planned anew for this order
        planned = "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO execution_order%'"
        assert len(await made.parts.core.store.query(planned, lane="path")) == len(PATH_SHAPES)
        assert instrument.pk in await sync_to_async(kept_ids)([account.venue.code])  # collected while it is open
        assert await sync_to_async(instruments_ordered)([account.venue.code]) == {instrument.pk}
        asked = await answered(made, await sync_to_async(order_cancel)(row, by="tester"))
        assert asked.result == "order cancelled"
        await made.flush()
        await row.arefresh_from_db()
        assert (row.state, row.origin) == ("cancelled", "person")
        assert not await sync_to_async(instruments_ordered)([account.venue.code])
        with pytest.raises(CommandRefused, match="already"):
            await sync_to_async(order_cancel)(row, by="tester")


async def test_a_manual_position_is_protected_and_closed_on_request() -> None:
    async with living(symbols=(SPOT, LINEAR)) as made:
        account, instrument = await of(made, LINEAR)
        done = await command(made, "order", instrument_id=instrument.pk, side="sell", kind="market", quantity="3")
        assert done.state == "done", done.result
        await made.until(lambda: made.books.held(instrument.pk, "manual") == -3, what="short by hand")
        await made.until(
            lambda: [one for one in made.books.open.values() if one.leg == "stop" and one.state == "acknowledged"]
        )
        stop = next(one for one in made.books.open.values() if one.leg == "stop")
        assert (stop.side, stop.reduce_only, stop.quantity) == ("buy", True, 3)
        closed = await answered(made, await sync_to_async(position_close)(account, instrument, "manual", by="tester"))
        assert closed.state == "done", closed.result
        await made.until(lambda: not made.books.held(instrument.pk, "manual"), what="flat")
        await made.until(lambda: not made.books.open, what="the stop is gone")
        nothing = await answered(made, await sync_to_async(position_close)(account, instrument, "manual", by="tester"))
        assert nothing.state == "refused"


async def test_an_order_over_its_limit_is_refused_with_the_number_and_every_check() -> None:
    async with living(desk=False) as made:
        account, instrument = await of(made)
        await sync_to_async(limit_set)(check_name="order_notional", value=500, by="tester", account=account)
        await made.desk_start()
        await made.minutes(WARM + 1)  # figures are kept minute by minute
        preview = await sync_to_async(manual_order_preview)(account, instrument, "buy", "limit", "9", "90")
        async with asyncio.timeout(LONG_S):
            while preview.refused_by == "complete":  # it counts with the account's newest figures, once there are any
                await asyncio.sleep(0.05)
                preview = await sync_to_async(manual_order_preview)(account, instrument, "buy", "limit", "9", "90")
        assert (preview.cost, preview.refused_by) == (810, "order_notional")
        refused = await command(made, "order", instrument_id=instrument.pk, side="buy", kind="limit",
                                quantity="9", price="90")  # fmt: skip
        assert refused.state == "refused"
        await made.flush()
        row = await Refusal.objects.aget()
        assert (row.check_name, row.number, row.limit) == ("order_notional", 810, 500)
        verdicts = [one["verdict"] for one in row.checks]
        assert verdicts.count("refused") == 1
        assert "not_asked" in verdicts[verdicts.index("refused") :]
        assert made.exchange.ledger("order") == []


IMPOSSIBLE = [
    ({"side": "buy", "kind": "limit", "quantity": "1", "price": "90.001"}, "price"),
    ({"side": "buy", "kind": "limit", "quantity": "0.0000001", "price": "90"}, "quantity"),
    ({"side": "hold", "kind": "market", "quantity": "1", "price": None}, "side"),
    ({"side": "buy", "kind": "stop", "quantity": "1", "price": None}, "kind"),
    ({"side": "buy", "kind": "market", "quantity": "many", "price": None}, "quantity"),
]


async def test_what_no_desk_could_take_is_refused_with_its_field() -> None:
    async with living(desk=False) as made:
        account, instrument = await of(made)
        for wish, word in IMPOSSIBLE:
            with pytest.raises(CommandRefused) as refused:
                await sync_to_async(manual_order_submit)(account, instrument, **wish, nonce="n", by="tester")
            assert refused.value.field == word
        assert not await DeskCommand.objects.aexists()


async def test_a_sale_on_spot_ends_at_once_so_that_stop_and_close_find_the_coins() -> None:
    async with living() as made:
        account, instrument = await of(made)
        wish = {"instrument_id": instrument.pk, "quantity": "5"}
        assert (await command(made, "order", side="buy", kind="market", **wish)).state == "done"
        await made.until(lambda: [one for one in made.books.open.values() if one.is_stop], what="protected")
        high = {**wish, "side": "sell", "kind": "limit", "price": "110", "quantity": "4"}
        refused = await command(made, "order", **high, time_in_force="GTC")
        assert (refused.state, "locks the coins" in refused.result) == ("refused", True)
        ended = await command(made, "order", **high)
        assert ended.state == "done"
        await made.until(
            lambda: all(one.is_stop for one in made.books.open.values()), what="nothing but the stop rests"
        )
        for lasts in ("GTC", "PostOnly"):
            with pytest.raises(CommandRefused) as why:
                await sync_to_async(manual_order_submit)(
                    account, instrument, "sell", "limit", "1", "110", time_in_force=lasts, nonce="n", by="tester"
                )
            assert why.value.field == "time_in_force"
        assert (await command(made, "close", instrument_id=instrument.pk, owner="manual")).state == "done"
        await made.until(lambda: made.books.held(instrument.pk, "manual") < 1, what="closed but for dust")


async def test_what_is_begun_beside_a_request_is_not_judged_by_what_was_announced_of_it() -> None:
    async with living() as made:
        seen = []

        async def look() -> None:
            seen.append(sending.get())

        token = sending.set(Sending(adds_risk=True))
        await made.parts.core.spawn(look(), "look")
        assert sending.get() is not None
        sending.reset(token)
        assert seen == [None]


async def test_spot_cannot_be_sold_short_and_a_stopping_desk_cancels_what_adds_risk_but_keeps_stops() -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        _, instrument = await of(made)
        short = await command(made, "order", instrument_id=instrument.pk, side="sell", kind="market", quantity="5000")
        assert short.state == "refused"
        await limit_orders(made, SPOT, 2, price=90.0)
        await made.desk_stop()
        orders = made.exchange.call("GET", "/state")["accounts"][0]["orders"]
        assert [float(order["triggerPrice"]) > 0 for order in orders] == [True]
        rows = await made.rows("SELECT state FROM execution_order WHERE owner = 'manual'")
        assert rows == [("cancelled",), ("cancelled",)]


async def test_an_order_that_the_venue_lost_is_asked_for_twice_then_ends_and_is_shown_as_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with living() as made:
        await limit_orders(made, SPOT, 2, price=90.0)
        lost, kept = sorted(made.books.open.values(), key=lambda one: one.id)
        broker, asked = made.parts.core.broker, []
        listed, find = broker.open_orders, broker.order_find

        async def listed_without(kind: str) -> list[Any]:
            return [one for one in await listed(kind) if one.client_id != lost.client_id]

        async def found_without(client_id: str, market: Any) -> Any:
            asked.append(client_id)
            return None if client_id == lost.client_id else await find(client_id, market)

        monkeypatch.setattr(broker, "open_orders", listed_without)
        monkeypatch.setattr(broker, "order_find", found_without)
        made.parts.asker.soon(lost)
        await made.until(lambda: asked, what="it is asked for")
        assert lost.state == "acknowledged"  # one "not found" is not believed
        await made.until(lambda: not lost.is_open, what="it has ended")
        assert (asked, lost.state, lost.origin) == ([lost.client_id] * 2, "expired", "desk")
        assert kept.state == "acknowledged"
        await made.parts.reconciler.round()
        found = [one async for one in Reconciliation.objects.filter(is_startup=False).exclude(differences=[])]
        assert [(one["ours"], one["venue"], lost.client_id in one["what"]) for one in found[0].differences] == [
            ("1", "0", True)
        ]
        await made.flush()
        assert (await Order.objects.aget(client_id=lost.client_id)).state == "expired"


async def test_an_order_that_is_found_after_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        await limit_orders(made, SPOT, 1, price=90.0)
        (order,) = made.books.open.values()
        broker, asked = made.parts.core.broker, []
        find = broker.order_find

        async def late(client_id: str, market: Any) -> Any:
            asked.append(client_id)
            return None if len(asked) == 1 else await find(client_id, market)

        monkeypatch.setattr(broker, "order_find", late)
        made.parts.asker.soon(order)
        await made.until(lambda: len(asked) == 2, what="asked again")
        await made.until(lambda: not made.parts.asker._asking, what="and no more")
        assert (order.state, made.parts.asker._missed_ns) == ("acknowledged", {})


async def test_books_that_cannot_be_compared_for_long_block_new_risk_until_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "UNCOMPARED_S", 0.2)
    monkeypatch.setattr(reconcile, "AGAIN_S", 0.05)
    monkeypatch.setattr(reconcile, "CALM_S", 0.05)
    async with living() as made:
        await limit_orders(made, SPOT, 1, price=90.0)
        (order,) = made.books.open.values()
        core, wish = made.parts.core, {"instrument_id": made.instrument(SPOT), "side": "buy", "kind": "limit"}
        with monkeypatch.context() as silent:

            async def unlisted(kind: str) -> list[Any]:
                return []

            async def unsaid(*_: Any) -> None:
                raise VenueError("the venue does not say")

            silent.setattr(core.broker, "open_orders", unlisted)
            silent.setattr(core.broker, "order_find", unsaid)
            made.parts.tracker.move(order, OrderState.UNKNOWN, detail="no answer")
            made.parts.reconciler.soon()
            await made.until(lambda: "reconcile" in core.blocks, what="it is tried again, and then blocks")
            await made.flush()
            compared = await Reconciliation.objects.acount()
            assert f"{order.client_id} is unknown" in core.blocks["reconcile"]
            refused = await command(made, "order", **wish, quantity="1", price="90")
            assert (refused.state, "could not be compared" in refused.result) == ("refused", True)
            await made.flush()
            assert await Reconciliation.objects.acount() == compared
        await made.until(lambda: "reconcile" not in core.blocks, what="a whole comparison lifts it")
        assert order.state == "acknowledged"
        await made.until(lambda: made.parts.reconciler._uncompared_at is None, what="and nothing is left of it")
        assert (await command(made, "order", **wish, quantity="1", price="90")).state == "done"


async def test_a_sweep_ends_although_the_venue_has_lost_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        await limit_orders(made, SPOT, 1, price=90.0)
        broker = made.parts.core.broker

        async def none(*_: Any) -> list[Any]:
            return []

        async def unknown(*_: Any) -> None:
            return None

        monkeypatch.setattr(broker, "open_orders", none)
        monkeypatch.setattr(broker, "order_find", unknown)
        await kill_engage("all", by="tester", reason="drill")
        sweep = await swept(made, "all")
        assert (sweep.found, sweep.left) == (1, 0)
        assert not made.books.open
