"""What a desk outlasts: a database that is gone, a silent venue, other keys, new instruments; and how it stops."""

import asyncio

import django.db
import psycopg
import pytest
from asgiref.sync import sync_to_async
from psycopg_pool import PoolTimeout

from apps.common.residents import ResidentContext
from apps.execution.desk import bars, deployments
from apps.execution.desk.leave import STOPPING
from apps.execution.desk.reconcile import Reconciler
from apps.execution.desk.session import PRIVATE
from apps.execution.desk.store import DatabaseGone
from apps.market.events import Bar
from apps.market.models import Instrument, InstrumentTerms
from apps.portfolio.models import Account, Credential
from apps.portfolio.services import credential_set
from apps.risk.services import kill_engage
from tests.apps.execution.living import SPOT, Living, living
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


@pytest.mark.parametrize("error", [django.db.OperationalError, django.db.InterfaceError])
async def test_a_database_that_is_gone_is_told_in_one_way(error: type[Exception]) -> None:
    def gone() -> None:
        raise error("connection refused")

    context = ResidentContext(None, None, None, asyncio.get_running_loop())
    with pytest.raises(psycopg.OperationalError, match="connection refused"):
        await context.call(gone)


async def test_a_database_that_is_gone_blocks_every_part_and_ends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        core, follower = made.parts.core, made.parts.decider.follower

        def gone(*_: object) -> None:
            raise django.db.OperationalError("connection refused")

        async def pool_gone(*_: object, **__: object) -> None:
            raise PoolTimeout("no connection")

        async def row_gone(*_: object) -> None:
            raise DatabaseGone("no row")

        with monkeypatch.context() as broken:
            broken.setattr(core, "unblock", lambda _: None)
            broken.setattr(deployments, "halts_of", gone)
            await _blocked(made, "database")
            core.blocks.pop("database")
            broken.setattr(made.parts.reconciler._adopter, "from_venue", row_gone)
            broken.setattr(deployments, "POLL_S", 60.0)
            await _quiet(made)
            made.parts.reconciler.soon()
            await _blocked(made, "database")
            core.blocks.pop("database")
            broken.setattr(bars, "bars_read_async", pool_gone)
            deployed = made.parts.decider.deployments[made.deployment]
            later = deployed.places[made.instrument(SPOT)].newest_ns + 3 * deployed.timeframe_ns
            assert await follower.before(deployed, _bar(made.instrument(SPOT), later)) is None
            assert "database" in core.blocks
        await made.until(lambda: not core.blocks, what="all is well again")
        assert not made.desk_task.done()


async def _blocked(made: Living, name: str) -> None:
    await made.until(lambda: name in made.parts.core.blocks, what=f"{name} blocks")


async def _quiet(made: Living) -> None:
    """Wait until the look at the deployments that was under way has ended."""
    await made.pause(0.1)
    made.parts.core.blocks.pop("database", None)


def _bar(instrument_id: int, open_ns: int) -> Bar:
    return Bar(
        instrument_id=instrument_id, open_ns=open_ns, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0, turnover=1.0,
        trades=1, revision=1, known_ns=0, flags=0, closing_frame_wall_ns=0, feed_wall_ns=0,
    )  # fmt: skip


async def test_a_desk_that_starts_under_an_engaged_switch_cancels_before_it_compares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with living() as made:
        await limit_orders(made, SPOT, 3, price=99.0)
        await made.flush()
        await made.desk_crash()
        await kill_engage("all", by="tester", reason="drill", flatten=True)

        async def for_ever(_: Reconciler) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(Reconciler, "start_up", for_ever)
        await made.desk_start(trading=False)
        await made.until(
            lambda: made.exchange.call("GET", "/state")["accounts"][0]["orders"] == [], what="nothing rests"
        )
        assert made.desk_context.lease.meta["state"] == "reconciling"
        assert "starting" in made.parts.core.blocks


async def test_a_stop_blocks_and_ends_what_makes_orders_before_it_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        await limit_orders(made, SPOT, 2, price=99.0)
        core, canceller = made.parts.core, made.parts.canceller
        cancel, seen = canceller.cancel, []

        async def watched(orders: list, why: str, origin: str = "desk") -> list:
            seen.append((STOPPING in core.blocks, {task.get_name() for task in core.tasks}))
            return await cancel(orders, why=why, origin=origin)

        monkeypatch.setattr(canceller, "cancel", watched)
        await made.desk_stop()
        is_blocked, tasks = seen[0]
        assert is_blocked
        assert {"writer", "sweep", PRIVATE} <= tasks
        assert not [name for name in tasks if name.startswith(("bars", "commands", "deployments", "reversal"))]
        assert made.exchange.call("GET", "/state")["accounts"][0]["orders"] == []


async def test_keys_that_change_are_taken_over_when_the_venue_takes_them() -> None:
    async with living() as made:
        core, first = made.parts.core, made.parts.core.broker
        await limit_orders(made, SPOT, 1, price=99.0)
        account = await Account.objects.aget(pk=made.account_id)
        kept = await Credential.objects.aget(account=account)
        save = sync_to_async(credential_set)
        await save(account=account, api_key=kept.api_key, api_secret="mistyped", by="tester")
        await made.until(lambda: "do not work" in core.blocks.get("credentials", ""), what="the new keys are refused")
        assert core.broker is first
        refused = await command(made, "order", instrument_id=made.instrument(SPOT), side="buy", kind="limit",
                                quantity="1", price="99")  # fmt: skip
        assert (refused.state, "keys" in refused.result) == ("refused", True)
        await save(account=account, api_key=kept.api_key, api_secret=kept.api_secret, by="tester")
        await made.until(lambda: "credentials" not in core.blocks, what="the right keys are at work")
        assert core.broker is not first
        await made.until(lambda: not core.blocks, what="the private socket is back")
        await limit_orders(made, SPOT, 1, price=99.0)
        assert len(made.books.open) == 2
        assert not made.desk_task.done()


async def test_new_instruments_and_timeframes_are_followed_without_a_restart() -> None:
    async with living() as made:
        core = made.parts.core
        old = await Instrument.objects.aget(pk=made.instrument(SPOT))
        terms = await InstrumentTerms.objects.filter(instrument=old).afirst()
        old.pk, old.symbol, old.slug, old.venue_symbol, old.base = None, "NEW/USDT", "new-usdt", "NEWUSDT", "NEW"
        await old.asave()
        terms.pk, terms.instrument = None, old
        await terms.asave()
        await made.until(lambda: old.pk in made.books.markets, what="the new instrument is known")
        assert core.broker.market_of("spot", "NEWUSDT").instrument_id == old.pk
        await deployments.bars_follow(made.parts, {60, 300})
        await deployments.bars_follow(made.parts, {300})
        followed = sorted(task.get_name() for task in core.tasks if task.get_name().startswith("bars"))
        assert followed == ["bars 300", "bars 60"]
