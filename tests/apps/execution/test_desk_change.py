"""A changed deployment keeps what was stopped for its predecessor, and what its day has cost so far."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from math import isclose
from pathlib import Path

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.utils import timezone

from apps.common.checkpoints import checkpoint_load_async
from apps.execution.brokers.base import Market
from apps.execution.desk import session
from apps.execution.desk.deployed import deployed_make
from apps.execution.desk.sweep import Sweep
from apps.execution.models import Order
from apps.risk.models import Halt
from apps.risk.selectors import scope_account, scope_deployment
from apps.risk.services import halt_end, kill_engage, kill_release
from apps.strategies import selectors
from apps.strategies.models import Deployment
from apps.strategies.selectors import DeploymentAtWork
from apps.strategies.services import deployment_change, deployment_stop
from tests.apps.execution.living import SPOT, WARM, Living, living
from tests.apps.execution.pace import LONG_S
from tests.apps.execution.test_desk_kill import swept
from tests.apps.risk.fixtures import kill_clear
from trader.core.indicators import set_cache_dir
from trader.core.indicators.kernels import cache_dir

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]
DAY_NS = 86_400_000_000_000


async def changed(made: Living) -> str:
    """Change the deployment as a person does; the account's next desk runs the successor."""
    await made.desk_crash()
    new = await sync_to_async(deployment_change)(made.deployment, by="tester", parameters={"entry": 2.5})
    made.keeper.leases.clear()
    await made.desk_start()
    assert set(made.parts.decider.deployments) == {new.key}
    return new.key


def refused(made: Living, owner: str) -> str:
    """What the guard says of new risk of an owner; empty where nothing forbids it."""
    found = made.parts.core.why_no_risk(owner, made.instrument(SPOT))
    return found[0] if found else ""


async def test_a_kill_switch_of_a_deployment_outlives_its_change_in_guard_gate_and_sweep() -> None:
    async with living() as made:
        scope = scope_deployment(made.deployment)
        await kill_engage(scope, by="tester", reason="drill")
        new = await changed(made)
        core = made.parts.core
        await made.until(lambda: refused(made, new), what="the guard knows")
        assert refused(made, new) == "kill_switch"
        assert core.scopes(new) == (scope_account(made.account_id), scope_deployment(new), scope)
        assert core.kill_verdict(core.scopes(new)).state == "engaged"
        assert made.parts.sweeper._concerns(Sweep(scope, 2, False), new)
        await made.until(lambda: scope in made.parts.sweeper._done, what="the sweep of the predecessor's scope has run")
        await made.minutes(WARM + 2)
        assert not await Order.objects.aexists()
        await kill_release(scope, by="tester", reason="drill over")
        await made.until(lambda: not refused(made, new), what="clear again")


async def test_a_halt_of_a_deployment_outlives_its_change() -> None:
    async with living() as made:
        halt = await Halt.objects.acreate(
            account_id=made.account_id, deployment_key=made.deployment, cause="daily_loss", detail="lost too much",
            market_at=timezone.now(),
        )  # fmt: skip
        new = await changed(made)
        await made.until(lambda: refused(made, new), what="the guard knows")
        assert refused(made, new) == "halt"
        assert refused(made, "manual") == ""
        person = await get_user_model().objects.acreate(username="tester", role="operator")
        await sync_to_async(halt_end)(halt=halt, person=person, reason="looked at")
        await made.until(lambda: not refused(made, new), what="clear again")
        # once it has ended, who engages its kill switch is still told that nothing rests
        await sync_to_async(deployment_stop)(new, by="tester", reason="enough")
        await made.until(lambda: new not in made.parts.decider.deployments, what="it decides no more")
        await kill_engage(scope_deployment(new), by="tester", reason="drill")
        sweep = await swept(made, scope_deployment(new))
        assert (sweep.found, sweep.left) == (0, 0)


async def test_a_successor_counts_its_day_from_where_its_predecessor_began_it() -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        accounts = made.parts.accounts
        assert made.books.held(made.instrument(SPOT), made.deployment) > 0
        accounts.day.earned[made.deployment] = 250.0  # it had earned this when the day began, and has lost it since
        before = accounts.profit_of_day(made.deployment)
        assert before < -240
        await session.checkpoint_now(made.parts)
        await made.flush()
        new = await changed(made)
        after = made.parts.accounts.profit_of_day(new)
        assert isclose(after, before, abs_tol=20.0), (before, after)
        assert after < -200


async def test_a_new_day_is_saved_at_once() -> None:
    async with living() as made:
        core = made.parts.core
        made.parts.accounts.mark_day(core.market_ns + DAY_NS)
        number = made.parts.accounts.day.number

        async def saved() -> int:
            found = await checkpoint_load_async(
                made.pool, "desk-day", str(made.account_id), made.epoch_id, session.DAY_VERSION
            )
            return msgspec.msgpack.decode(found.body)["number"] if found is not None else -1

        async with asyncio.timeout(LONG_S):
            while await saved() != number:
                await made.pause(0.02)


async def test_orders_of_a_minute_are_counted_as_they_are_made_and_after_a_restart() -> None:
    async with living({WARM + 3: -0.006}) as made:
        made.exchange.fault(fault="ack_lost", path="order/create", count=1)
        await made.minutes(WARM + 3)
        adding = [one for one in made.books.orders.values() if one.adds_risk]
        assert len(adding) == 1
        assert made.parts.accounts.book(None, made.instrument(SPOT), "buy").orders_last_minute == 1
        await made.until(lambda: not made.parts.tracker.in_flight(), what="the venue has said what became of it")
        await made.flush()
        await made.desk_crash()
        await made.desk_start()
        book = made.parts.accounts.book(made.deployment, made.instrument(SPOT), "buy")
        assert book.orders_last_minute == 1


async def test_code_that_was_not_deployed_takes_no_new_risk_but_ends_what_is_held() -> None:
    async with living({WARM + 3: -0.006, WARM + 8: 0.008, WARM + 40: -0.006}) as made:
        await made.minutes(WARM + 4)
        instrument = made.instrument(SPOT)
        assert made.books.held(instrument, made.deployment) > 0
        await Deployment.objects.filter(key=made.deployment).aupdate(code_hash="0" * 64)  # the file is another one now
        await made.desk_stop()
        await made.desk_start()
        await made.until(lambda: not refused(made, "manual"), what="nothing else blocks")
        assert refused(made, made.deployment) == "code"
        why = made.parts.core.code_blocks[made.deployment]
        assert f"manage.py deploy change {made.deployment}" in why
        await made.until(lambda: made.parts.core.lease.meta.get("deployments") == {made.deployment: why}, what="told")
        assert [one.leg for one in made.books.open.values()] == ["stop"]
        await made.minutes(WARM + 30)
        assert made.books.is_flat(instrument, made.books.held(instrument, made.deployment))
        await made.minutes(WARM + 41)
        refusals = await made.rows("SELECT DISTINCT state, refused_by FROM strategies_signal WHERE direction = 1")
        assert ("refused", "code") in refusals
        assert made.books.is_flat(instrument, made.books.held(instrument, made.deployment))
        new = await changed(made)
        await made.until(lambda: not refused(made, new), what="what was deployed anew is not blocked")


async def test_a_strategy_that_cannot_be_loaded_stops_itself_and_not_the_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(desk=False) as made:

        def broken(name: str) -> None:
            raise SyntaxError(f"{name}.py, line 1")

        with monkeypatch.context() as wrong:
            wrong.setattr("apps.execution.desk.deployed.strategy_load", broken)
            await made.desk_start()
            assert not made.parts.decider.deployments
            await made.until(lambda: not refused(made, "manual"), what="nothing else blocks")
            assert refused(made, made.deployment) == "code"
            assert "cannot be loaded" in made.parts.core.code_blocks[made.deployment]
        await made.until(lambda: made.parts.decider.deployments, what="mended, it is put to work")
        await made.until(lambda: not refused(made, made.deployment), what="and nothing blocks it")


def test_code_that_was_deployed_after_this_program_had_started_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    now = selectors.strategy_code_hash("mean_reversion")
    assert selectors.code_differs("key-1", "mean_reversion", now) == ""
    monkeypatch.setitem(selectors._imported, "mean_reversion", "1" * 64)
    assert selectors.code_differs("key-1", "mean_reversion", "1" * 64) == ""
    assert "restart" in selectors.code_differs("key-1", "mean_reversion", now)


def test_code_whose_files_changed_since_its_import_leaves_the_cache_on_disk_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    markets = {7: Market(7, "A/USDT", "AUSDT", "spot", "A", "USDT", "USDT", *(Decimal(1),) * 4)}
    hash_now = selectors.strategy_code_hash("mean_reversion")
    row = DeploymentAtWork(1, "key-1", "mean_reversion", hash_now, {}, {}, "desk", "full", "", (7,))
    before = cache_dir()
    try:
        set_cache_dir(tmp_path)
        fresh = deployed_make(row, markets, set())
        assert (fresh.code_differs, cache_dir()) == ("", tmp_path)
        monkeypatch.setitem(selectors._imported, "mean_reversion", "1" * 64)
        stale = deployed_make(replace(row, code_hash="1" * 64), markets, set())
        assert (stale.code_differs, cache_dir()) == ("", None)
        assert stale.pipeline.definition_hash[:32] == "1" * 32
        assert stale.pipeline.definition_hash[32:] == fresh.pipeline.definition_hash[32:]
    finally:
        set_cache_dir(before)
