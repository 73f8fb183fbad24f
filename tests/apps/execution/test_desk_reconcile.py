"""A desk beside its venue: after a crash, with foreign orders, with books that differ, with a deployment changed."""

import asyncio
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from apps.execution.desk import leave, reconcile
from apps.execution.desk.store import FenceLost
from apps.execution.desk.track import Tracker
from apps.execution.models import Fill, Order, Reconciliation, Session
from apps.execution.selectors import desk_account_keys
from apps.portfolio.models import Account, CashBalance, CashMovement, Credential, Position
from apps.risk.models import Refusal
from apps.risk.services import kill_engage
from apps.strategies.models import Deployment
from apps.strategies.services import deployment_change
from tests.apps.execution.foreign import LIMIT, MARKET, foreign_order
from tests.apps.execution.living import LINEAR, SPOT, WARM, Living, living
from tests.apps.execution.test_desk_kill import swept
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def test_after_a_crash_orders_and_positions_are_taken_up_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        await limit_orders(made, SPOT, 2, price=90.0)
        before = {order.client_id: order.state for order in made.books.open.values()}
        held = made.books.held(made.instrument(SPOT), made.deployment)
        asked = next(order for order in made.books.open.values() if order.leg == "manual")
        made.parts.canceller._mark(asked, "asked by a person", "person")  # and the crash comes before its request
        await made.flush()
        sent = len(made.exchange.orders_of())
        await made.desk_crash()
        await made.desk_start()
        asked = made.books.orders[asked.client_id]
        assert (asked.origin, asked.detail.startswith("it rests still")) == ("", True)
        assert {order.client_id: order.state for order in made.books.open.values()} == before
        assert made.books.held(made.instrument(SPOT), made.deployment) == held
        assert len(made.exchange.orders_of()) == sent
        startup = await Reconciliation.objects.filter(is_startup=True).afirst()
        assert startup is not None
        assert startup.differences == []

        monkeypatch.setattr(reconcile, "CALM_S", 0.05)
        monkeypatch.setattr(reconcile, "AGAIN_S", 0.1)
        await made.desk_crash()
        with monkeypatch.context() as waiting:
            waiting.setattr(Tracker, "in_flight", lambda _: [asked])
            await made.desk_start(trading=False)
            lease, why = made.desk_context.lease, "not compared with the venue yet: orders wait for the venue's word"
            await made.until(lambda: why in lease.meta.get("why", ""), what="it says why")
            assert lease.meta["state"] == "reconciling"
            assert "starting" in made.parts.core.blocks
            newest = await Session.objects.filter(account_id=made.account_id).order_by("-pk").afirst()
            assert newest.reconciled_at is None
        await made.until(lambda: made.desk_context.lease.meta["state"] == "trading", what="compared after all")
        await newest.arefresh_from_db()
        assert newest.reconciled_at is not None


async def test_foreign_orders_are_shown_and_left_alone_even_by_the_kill_switch() -> None:
    async with living() as made:
        await foreign_order(made, **LIMIT)
        await limit_orders(made, SPOT, 12, price=90.0)
        await made.parts.reconciler.round()
        assert len(made.books.foreign) == 1
        await kill_engage("all", by="tester", reason="drill")
        sweep = await swept(made, "all")
        assert (sweep.found, sweep.left, sweep.foreign) == (12, 0, 1)
        paths = {row["path"] for row in made.exchange.ledger("request")}
        assert "/v5/order/cancel-all" not in paths
        assert "/v5/order/cancel-batch" in paths
        left = made.exchange.call("GET", "/state")["accounts"][0]["orders"]
        assert [order["orderLinkId"].startswith("other-") for order in left] == [True]


async def test_a_foreign_fill_is_booked_to_nobody_and_is_no_adjustment() -> None:
    async with living() as made:
        await foreign_order(made, **MARKET)
        instrument = made.instrument(SPOT)
        await made.until(lambda: made.books.held(instrument, "unattributed") > 0, what="the foreign fill is booked")
        await made.parts.reconciler.round()
        await made.parts.reconciler.round()
        await made.flush()
        row = await Position.objects.aget(owner="unattributed")
        assert row.quantity == Decimal("2") - Decimal("2") * Decimal("0.001")
        assert not await CashMovement.objects.filter(kind="adjustment").aexists()
        assert made.books.orders_of(instrument) == []


async def test_a_difference_seen_twice_is_adjusted_to_the_venue_with_its_cause() -> None:
    async with living() as made:
        await made.desk_stop()
        await CashBalance.objects.filter(currency="USDT").aupdate(amount=Decimal("99990"))
        await made.desk_start()
        moved = await CashMovement.objects.aget(kind="adjustment")
        assert (moved.amount, moved.currency, moved.owner) == (10, "USDT", "unattributed")
        assert "balance USDT" in moved.cause
        found = await Reconciliation.objects.filter(is_startup=True).afirst()
        assert found is not None
        assert found.differences == [
            {"what": "balance USDT", "ours": "99990", "venue": "100000", "done": "adjusted to unattributed"}
        ]
        assert (await CashBalance.objects.aget(currency="USDT")).amount == 100_000


async def test_a_graceful_end_leaves_word_of_what_rests_at_the_venue() -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        stop = await made.until(lambda: [one for one in made.books.open.values() if one.leg == "stop"], what="a stop")
        account = made.parts.core.account
        await limit_orders(made, SPOT, 1, price=90.0)
        await made.desk_stop()
        words = (account.state_dir / "run" / f"resting-{account.id}.txt").read_text().splitlines()
        assert words[0].startswith(f"resting at the venue, account {account.name}, ")
        price = f"{stop[0].trigger_price.normalize():f}"
        assert [line.partition(" at ")[2] for line in words[1:]] == [f"{price} (stop of {made.deployment})"]


@pytest.mark.parametrize("with_foreign", [False, True])
async def test_a_graceful_end_takes_many_orders_along_and_no_foreign_one(monkeypatch, with_foreign: bool) -> None:
    monkeypatch.setattr(leave, "MANY", 3)
    async with living(symbols=(LINEAR,)) as made:
        await limit_orders(made, LINEAR, 6, price=80.0)
        if with_foreign:
            await foreign_order(made, **(LIMIT | {"category": "linear", "symbol": "ETHUSDT", "price": "80"}))
        asked = len(made.exchange.ledger("request"))
        await made.desk_stop()
        paths = [one["path"] for one in made.exchange.ledger("request")[asked:]]
        assert ("/v5/order/cancel-all" in paths) is not with_foreign
        rest, gone = ({one["order_id"]: one["link_id"] for one in made.exchange.ledger(kind)} for kind in
                      ("order", "cancel"))  # fmt: skip
        left = [rest[order_id] for order_id in rest.keys() - gone.keys()]
        assert [link_id[:6] for link_id in left] == ["other-"] * with_foreign


async def test_with_trading_off_the_desk_stays_takes_no_new_risk_and_closes_what_is_held() -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        instrument, held = made.instrument(SPOT), made.books.held(made.instrument(SPOT), made.deployment)
        await limit_orders(made, SPOT, 2, price=90.0)
        await Account.objects.aupdate(trading_enabled=False)
        assert await sync_to_async(desk_account_keys)() == [str(made.account_id)]
        await made.until(lambda: not made.books.resting_risk(), what="what could add risk is cancelled")
        await made.desk_stop()
        await made.desk_start(trading=False)
        lease = made.desk_context.lease
        await made.until(lambda: "trading is off" in str(lease.meta), what="it is at work, and says what it does not")
        assert lease.meta["state"] == "blocked"
        assert [one.leg for one in made.books.open.values()] == ["stop"]
        assert made.books.held(instrument, made.deployment) == held > 0
        wish = {"instrument_id": instrument, "side": "buy", "kind": "market", "quantity": "1"}
        refused = await command(made, "order", **wish)
        assert (refused.state, "trading is off for account Simulated" in refused.result) == ("refused", True)
        await made.flush()
        assert (await Refusal.objects.order_by("-pk").afirst()).check_name == "trading_off"
        closed = await command(made, "close", instrument_id=instrument, owner=made.deployment)
        assert closed.state == "done", closed.result
        await made.until(lambda: made.books.is_flat(instrument, made.books.net(instrument)), what="it is closed")
        await Account.objects.aupdate(trading_enabled=True)
        await made.until(lambda: "trading_off" not in made.parts.core.blocks, what="trading is on again")
        assert (await command(made, "order", **wish)).state == "done"
        await Credential.objects.all().adelete()
        assert await sync_to_async(desk_account_keys)() == []


async def test_a_changed_deployment_hands_its_position_and_its_stop_to_the_successor() -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        instrument = made.instrument(SPOT)
        held = made.books.held(instrument, made.deployment)
        assert held > 0
        stop = next(one for one in made.books.open.values() if one.leg == "stop")
        new = await _changed(made)
        await made.desk_start()
        assert (made.books.held(instrument, made.deployment), made.books.held(instrument, new.key)) == (0, held)
        await made.until(lambda: not made.parts.stops.is_busy(), what="the stops are looked at")
        resting = [(one.client_id, one.owner) for one in made.books.open.values() if one.leg == "stop"]
        assert resting == [(stop.client_id, new.key)], "the stop is kept as it rests, and is the successor's"
        asked = [one for one in made.exchange.ledger("request") if "/order/cancel" in one["path"]]
        assert not [one for one in asked if stop.client_id in str(one)], "nobody took it away in between"
        assert (await Order.objects.aget(client_id=stop.client_id)).owner == new.key
        old = await Deployment.objects.aget(key=made.deployment)
        assert old.state == "replaced"


async def test_a_stop_that_fills_while_a_deployment_is_changed_closes_the_successors_position() -> None:
    async with living({WARM + 3: -0.006, WARM + 5: -0.05}) as made:
        await made.minutes(WARM + 4)
        instrument = made.instrument(SPOT)
        assert made.books.held(instrument, made.deployment) > 0
        new = await _changed(made)
        await asyncio.to_thread(made.exchange.run_to, WARM + 5)
        await made.desk_start()
        await made.until(lambda: not made.parts.stops.is_busy(), what="the stops are looked at")
        for owner in (made.deployment, new.key):
            assert made.books.is_flat(instrument, made.books.held(instrument, owner)), owner
        assert not [name for name in made.parts.core.blocks if str(name).startswith("stop")]
        assert not [one for one in made.books.open.values() if one.leg == "stop"]
        await made.flush()
        assert await Fill.objects.filter(owner=new.key, order__leg="stop").aexists()


async def _changed(made: Living) -> Deployment:
    """Change the deployment; the desk has ended by its fence when this returns."""
    await made.flush()
    new = await sync_to_async(deployment_change)(made.deployment, by="tester", parameters={"entry": 2.5})
    made.parts.writer.event("deployments", _nothing(made))
    with pytest.raises(FenceLost):
        await made.until(lambda: False, what="the old desk ends by its fence")
    made.desk_task = None
    made.keeper.leases.clear()
    return new


def _nothing(made: Living):
    from apps.strategies.events import DeploymentChanged

    return DeploymentChanged(key="x", account_id=made.account_id, strategy="x", state="stopped", by="x", wall_ns=1)
