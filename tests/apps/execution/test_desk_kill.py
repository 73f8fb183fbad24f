"""The kill switch at a desk: what adds risk goes, stops stay, positions are closed when asked."""

import time
from decimal import Decimal

import pytest

from apps.execution.desk.make import Wish, order_make
from apps.execution.models import DeskCommand, KillSweep
from apps.risk.selectors import scope_account, scope_deployment
from apps.risk.services import kill_engage, kill_release
from tests.apps.execution.foreign import LIMIT, foreign_order
from tests.apps.execution.living import LINEAR, SPOT, WARM, living
from tests.apps.execution.pace import LONG_S, SCALE
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def swept(made, scope: str) -> KillSweep:
    return await shown(made, "its end", scope=scope, finished_at__isnull=False)


async def shown(made, what: str, **wanted: object) -> KillSweep:
    """The first row of a sweep that is as wanted."""
    until = time.monotonic() + LONG_S
    while time.monotonic() < until:
        found = await KillSweep.objects.filter(**wanted).afirst()
        if found is not None:
            return found
        await made.pause(0.01)
    raise AssertionError(f"no sweep shows {what}: {made.words()}")


async def test_an_engaged_switch_cancels_what_adds_risk_and_keeps_the_stop() -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        await limit_orders(made, SPOT, 5, price=90.0)
        assert len(made.books.resting_risk()) == 5
        await kill_engage("all", by="tester", reason="drill")
        sweep = await swept(made, "all")
        assert (sweep.found, sweep.left) == (5, 0)
        assert [order.leg for order in made.books.open.values()] == ["stop"]
        state = made.exchange.call("GET", "/state")
        assert len(state["accounts"][0]["orders"]) == 1
        refused = await command(made, "order", instrument_id=made.instrument(SPOT), side="buy", kind="limit",
                                quantity="1", price="90")  # fmt: skip
        assert refused.state == DeskCommand.State.REFUSED
        assert "kill switch" in refused.result


async def test_flatten_closes_spot_and_linear_positions_with_orders_that_cannot_add_risk() -> None:
    async with living({WARM + 3: -0.006}, symbols=(SPOT, LINEAR)) as made:
        await made.minutes(WARM + 4)
        held = {owner for _, owner, _ in made.books.open_positions()}
        assert held == {made.deployment}
        assert len(list(made.books.open_positions())) == 2
        before = len(made.exchange.ledger("order"))
        await kill_engage(scope_account(made.account_id), by="tester", reason="drill", flatten=True)
        sweep = await swept(made, scope_account(made.account_id))
        assert (sweep.left, sweep.positions_left) == (0, 0)
        await made.until(lambda: not made.books.open, what="the stops are gone with their positions")
        for row in made.exchange.ledger("order")[before:]:
            assert row["side"] == "Sell"
            assert not row["adds_risk"]
        await made.parts.reconciler.round()
        assert await made.rows("SELECT 1 FROM portfolio_cashmovement WHERE kind = 'adjustment'") == []


async def test_a_deployment_that_is_stopped_by_the_switch_leaves_the_others_alone() -> None:
    async with living({WARM + 3: -0.006}) as made:
        await limit_orders(made, SPOT, 2, price=90.0)
        await kill_engage(scope_deployment(made.deployment), by="tester", reason="drill")
        await made.minutes(WARM + 4)
        assert len(made.books.resting_risk()) == 2
        rows = await made.rows("SELECT state, refused_by FROM strategies_signal")
        assert set(rows) == {("refused", "kill_switch")}
        await kill_release(scope_deployment(made.deployment), by="tester", reason="drill over")
        await made.until(lambda: made.parts.core.kill.verdict(made.scopes()).state == "clear")


async def hundred(made) -> None:
    """A hundred resting orders of ours."""
    core = made.parts.core
    market = made.books.markets[made.instrument(SPOT)]
    orders = [
        order_make(
            core,
            Wish(
                market, "manual", "manual", "buy", Decimal(1), 1, "limit", Decimal(90),
                client_id=f"{core.account.install}{one:028x}",
            ),
        )
        for one in range(100)
    ]  # fmt: skip
    for start in range(0, 100, 10):
        for order in orders[start : start + 10]:
            core.books.order_add(order)
        await made.parts.sender.send(orders[start : start + 10])
    states = {(str(order.state), order.detail) for order in orders}
    assert all(order.is_open for order in orders), states
    await made.until(lambda: all(order.state == "acknowledged" for order in orders), what="all rest")


async def test_a_hundred_open_orders_are_gone_within_two_seconds() -> None:
    async with living() as made:
        await hundred(made)
        began = time.time_ns()
        await kill_engage("all", by="tester", reason="drill")
        await swept(made, "all")
        cancels = made.exchange.ledger("cancel")
        assert len(cancels) == 100
        # what the machine takes for it is not the desk's: pace.py; a hundred by id would take five seconds at the rate
        assert (max(row["wall_ns"] for row in cancels) - began) / 1e9 < 2.0 * SCALE
        paths = [row["path"] for row in made.exchange.ledger("request") if "cancel" in row["path"]]
        assert set(paths) == {"/v5/order/cancel-all"}


async def test_beside_a_foreign_order_a_hundred_go_by_id_at_the_venues_rate_with_the_time_left_shown() -> None:
    async with living() as made:
        await foreign_order(made, **LIMIT)
        await hundred(made)
        await kill_engage("all", by="tester", reason="drill")
        early = await shown(made, "progress", finished_at__isnull=True, left__gt=0)
        assert 0 < early.left <= 100
        assert 0 < (early.seconds_left or 0) <= 100 / 20
        sweep = await swept(made, "all")
        assert (sweep.found, sweep.left, sweep.foreign) == (100, 0, 1)
        rows = [row for row in made.exchange.ledger("request") if "cancel" in row["path"]]
        assert {row["path"] for row in rows} == {"/v5/order/cancel-batch"}
        assert all(len(row["body"]["request"]) <= 10 for row in rows if "request" in row["body"])
        refused = [row["outcome"] for row in rows if not str(row["outcome"]).startswith("ok")]
        assert len(refused) <= 1, refused  # a request that was slow on its way may meet the next window
        left = made.exchange.call("GET", "/state")["accounts"][0]["orders"]
        assert [order["orderLinkId"].startswith("other-") for order in left] == [True]
