"""The sweep believes the venue: orders without a row, orders that the books think ended, and what comes later."""

import secrets
from decimal import Decimal

import msgspec
import pytest

from apps.execution.brokers.gate import Sending, sending
from apps.execution.desk import reconcile
from apps.execution.desk import sweep as sweep_module
from apps.execution.desk.make import Wish, order_make
from apps.execution.desk.model import DeskOrder
from apps.execution.states import OrderState
from apps.risk.selectors import scope_account
from apps.risk.services import kill_engage, kill_release
from tests.apps.execution.living import LINEAR, SPOT, Living, living
from tests.apps.execution.test_desk_kill import shown, swept
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def stray_order(made: Living, price: str = "90", quantity: str = "1", side: str = "Buy") -> str:
    """An order of our prefix that nothing here knows, as a restored database leaves it."""
    client_id = made.parts.core.account.install + secrets.token_hex(14)
    body = {
        "category": "spot", "symbol": "BTCUSDT", "orderLinkId": client_id, "side": side, "orderType": "Limit",
        "qty": quantity, "price": price, "timeInForce": "GTC",
    }  # fmt: skip
    token = sending.set(Sending(adds_risk=False))
    try:
        await made.parts.core.broker._client.call("private_post_v5_order_create", body)
    finally:
        sending.reset(token)
    return client_id


def resting(made: Living) -> list[str]:
    return [order["orderLinkId"] for order in made.exchange.call("GET", "/state")["accounts"][0]["orders"]]


async def test_orders_without_a_row_and_orders_thought_ended_are_cancelled_and_counted() -> None:
    async with living() as made:
        await limit_orders(made, SPOT, 1, price=90.0)
        (ended,) = made.books.open.values()
        ended.state = OrderState.EXPIRED
        made.books.order_settle(ended)
        await stray_order(made)
        assert len(resting(made)) == 2
        await kill_engage("all", by="tester", reason="drill")
        sweep = await swept(made, "all")
        assert (sweep.found, sweep.left) == (2, 0)
        assert resting(made) == []


async def test_without_a_sure_lease_only_what_is_known_here_is_cancelled(monkeypatch) -> None:
    monkeypatch.setattr(sweep_module, "AGAIN_S", 0.5)
    async with living() as made:
        await limit_orders(made, SPOT, 1, price=90.0)
        with monkeypatch.context() as lost:
            lost.setattr(made.parts.core.lease, "expired", lambda: True)
            stray = await stray_order(made)
            await made.parts.reconciler.round()
            assert made.books.orders.get(stray) is None, "nor is it taken up, which would make it known"
            await kill_engage("all", by="tester", reason="drill")
            await swept(made, "all")
            assert resting(made) == [stray], "it may be that of the desk that has the lease now"
        await made.until(lambda: not resting(made), what="with the lease it goes")


async def test_flattening_takes_back_a_sale_that_rests_and_locks_the_coins() -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="5")
        assert bought.state == "done"
        await made.until(lambda: _stop(made) and not made.parts.stops.is_busy(), what="protected")
        client_id = await stray_order(made, price="110", quantity="4", side="Sell")
        made.parts.reconciler.soon()
        adopted = await made.until(lambda: made.books.orders.get(client_id), what="it is adopted")
        assert adopted.locks_coins
        await kill_engage("all", by="tester", reason="drill", flatten=True)
        sweep = await swept(made, "all")
        assert (sweep.left, sweep.positions_left) == (0, 0)
        assert client_id not in resting(made)
        assert made.books.held(instrument, "manual") < 1, "closed but for dust"


async def test_what_an_order_without_a_row_has_filled_is_counted_for_it_and_the_books_are_compared(monkeypatch) -> None:
    monkeypatch.setattr(reconcile, "CALM_S", 0.05)
    monkeypatch.setattr(reconcile, "AGAIN_S", 0.05)
    async with living() as made:
        made.exchange.fault(fault="partial_fills", share=0.5)
        client_id = await stray_order(made, price="101", quantity="4")
        instrument = made.instrument(SPOT)
        await made.until(lambda: made.books.held(instrument, "unattributed") > 0, what="half of it is booked to nobody")
        made.parts.reconciler.soon()
        adopted = await made.until(lambda: made.books.orders.get(client_id), what="it is adopted")
        await made.until(lambda: adopted.filled == 2, what="it is asked for its executions")
        compared = made.parts.reconciler.wall_at
        await made.until(lambda: made.parts.reconciler.wall_at > compared, what="it owes nothing any more")
        assert (adopted.average_price, adopted.state) == (adopted.cost / 2, "partly_filled")


async def test_what_rests_again_while_the_switch_is_engaged_is_swept_again(monkeypatch) -> None:
    monkeypatch.setattr(sweep_module, "AGAIN_S", 0.5)
    async with living() as made:
        await kill_engage("all", by="tester", reason="drill")
        await swept(made, "all")
        late = await stray_order(made)
        assert resting(made) == [late]
        await made.until(lambda: not resting(made), what="the late order is cancelled")
        await made.until(
            lambda: made.parts.sweeper._done["all"].found == 1 and made.parts.sweeper._done["all"].finished
        )


async def long_by_hand(made: Living, quantity: int) -> int:
    """Buy contracts as a person; returns the instrument once they are held and protected."""
    instrument = made.instrument(LINEAR)
    bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity=str(quantity))
    assert bought.state == "done", bought.result
    await made.until(lambda: made.books.held(instrument, "manual") == quantity, what="long by hand")
    await made.until(lambda: _stop(made) and not made.parts.stops.is_busy(), what="protected")
    await made.until(lambda: not made.parts.tracker.in_flight(), what="calm")
    return instrument


def _stop(made: Living) -> DeskOrder | None:
    return next((one for one in made.books.open.values() if one.is_stop and one.state == "acknowledged"), None)


async def again_clear(made: Living, scope: str) -> None:
    await kill_release(scope, by="tester", reason="drill over")
    await made.until(lambda: made.parts.core.kill.verdict(made.scopes()).state == "clear", what="clear again")


async def test_contracts_are_swept_by_cancel_all_and_beside_an_order_that_reduces_by_id() -> None:
    async with living(symbols=(LINEAR,)) as made:
        scope = scope_account(made.account_id)
        instrument = await long_by_hand(made, 3)
        stop = _stop(made)
        await limit_orders(made, LINEAR, 3, price=90.0)
        first = await kill_engage(scope, by="tester", reason="drill")
        sweep = await shown(made, "its end", generation=first.record.generation, finished_at__isnull=False)
        assert (sweep.found, sweep.left) == (3, 0)
        requests = [row for row in made.exchange.ledger("request") if "cancel" in row["path"]]
        assert {row["path"] for row in requests} == {"/v5/order/cancel-all"}
        # without its filter the venue would take the conditional orders, too
        assert {(row["body"]["category"], row["body"]["orderFilter"]) for row in requests} == {("linear", "Order")}
        assert len(made.exchange.ledger("cancel")) == 3
        assert (resting(made), list(made.books.open)) == ([stop.client_id], [stop.client_id])
        await again_clear(made, scope)

        leaving = await command(
            made, "order", instrument_id=instrument, side="sell", kind="limit", quantity="1", price="110",
            reduce_only=True,
        )  # fmt: skip
        assert leaving.state == "done", leaving.result
        await limit_orders(made, LINEAR, 3, price=90.0)
        second = await kill_engage(scope, by="tester", reason="drill")
        sweep = await shown(made, "its end", generation=second.record.generation, finished_at__isnull=False)
        assert (sweep.found, sweep.left) == (3, 0)
        kinds = sorted((one.leg, one.kind, one.adds_risk) for one in made.books.open.values())
        assert kinds == [("manual", "limit", False), ("stop", "stop", False)]
        assert len(resting(made)) == 2
        closed = await command(made, "close", instrument_id=instrument, owner="manual")
        assert closed.state == "done", closed.result
        await made.until(lambda: not stop.is_open, what="the stop goes with its position")
        found = await made.parts.core.broker.order_find(stop.client_id, stop.market)
        assert found is not None
        assert found.state is OrderState.CANCELLED


async def plain_sale(made: Living, quantity: int) -> DeskOrder:
    """A sale that only reduces and that nothing binds to it, as desks before this version have left them."""
    core = made.parts.core
    wish = Wish(
        made.books.markets[made.instrument(LINEAR)], "manual", "manual", "sell", Decimal(quantity), 1, "limit",
        Decimal(110), client_id=core.account.install + secrets.token_hex(14),
    )  # fmt: skip
    order = msgspec.structs.replace(order_make(core, wish), reduce_only=False)
    core.books.order_add(order)
    await made.parts.sender.send([order])
    await made.until(lambda: order.state == "acknowledged", what="it rests")
    return order


async def test_what_reduced_a_contract_position_does_not_rest_once_that_is_closed() -> None:
    async with living(symbols=(LINEAR,)) as made:
        instrument = await long_by_hand(made, 3)
        placed = await command(
            made, "order", instrument_id=instrument, side="sell", kind="limit", quantity="3", price="110"
        )
        assert placed.state == "done", placed.result
        bound = next(one for one in made.books.open.values() if one.kind == "limit")
        # it only reduces, so no limit and no switch was asked for it: the venue sees to it that it stays so
        assert (bound.reduce_only, bound.adds_risk) == (True, False)
        assert made.exchange.ledger("order")[-1]["reduce_only"]
        old, beside = await plain_sale(made, 2), await plain_sale(made, 2)
        assert (old.adds_risk, beside.adds_risk) == (True, True)
        await command(made, "cancel", client_id=beside.client_id)
        await made.until(lambda: not beside.is_open, what="cancelled")
        assert not old.adds_risk

        closed = await command(made, "close", instrument_id=instrument, owner="manual")
        assert closed.state == "done", closed.result
        await made.until(lambda: list(made.books.open) == [old.client_id], what="what was bound went with its position")
        assert old.adds_risk
        assert await made.rows("SELECT adds_risk FROM execution_order WHERE client_id = %s", old.client_id) == [(True,)]
        await kill_engage("all", by="tester", reason="drill")
        sweep = await swept(made, "all")
        assert (sweep.found, sweep.left) == (1, 0)
        assert (resting(made), made.books.open) == ([], {})
        await again_clear(made, "all")

        await long_by_hand(made, 3)
        old = await plain_sale(made, 2)
        assert not old.adds_risk
        flat = await kill_engage("all", by="tester", reason="drill", flatten=True)
        await shown(made, "its end", generation=flat.record.generation, finished_at__isnull=False)
        await made.until(lambda: not made.books.open, what="nothing rests")
        gone = next(row["wall_ns"] for row in made.exchange.ledger("cancel") if row["link_id"] == old.client_id)
        assert gone < made.exchange.ledger("order")[-1]["wall_ns"]  # before the position that it reduced was closed
