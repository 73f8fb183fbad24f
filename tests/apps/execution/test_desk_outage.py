"""A database that is gone for long: the desk goes on, refuses entries, protects, flattens, and books it all later."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from apps.execution.desk.make import Wish, order_make
from apps.execution.desk.store import BookedBefore, DatabaseGone
from apps.risk.services import kill_engage
from tests.apps.execution.living import SPOT, WARM, Living, living
from tests.apps.execution.test_desk_kill import swept
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]
MANY = 10_000  # far more ids than were once taken ahead


@contextmanager
def gone(made: Living, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No connection of this desk's store answers any more; the kill switch and the feed keep theirs."""

    async def refused(lane: str) -> Any:
        raise psycopg.OperationalError(f"connection refused ({lane})")

    store = made.parts.core.store
    with monkeypatch.context() as broken:
        broken.setattr(store, "_connection", refused)
        yield


async def test_an_outage_of_any_length_is_lived_through(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living({WARM + 3: -0.006}) as made:
        instrument, core = made.instrument(SPOT), made.parts.core
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="5")
        assert bought.state == "done", bought.result
        await limit_orders(made, SPOT, 2, price=90.0)
        await made.until(lambda: _stop(made) and not made.parts.tracker.in_flight(), what="the position is protected")
        await made.minutes(WARM + 2)
        with gone(made, monkeypatch):
            await made.until(lambda: "database" in core.blocks, what="the outage is noticed")
            assert len({core.ids.take() for _ in range(MANY)}) == MANY
            stepped = made.parts.decider.deployments[made.deployment].places[instrument].newest_ns
            await made.minutes(WARM + 3)  # the fall that the deployment would buy
            assert made.parts.decider.deployments[made.deployment].places[instrument].newest_ns > stepped
            assert made.books.held(instrument, made.deployment) == 0
            made.exchange.fault(fault="ack_lost", path="order/create", count=1)
            await kill_engage("all", by="tester", reason="drill", flatten=True)
            await made.until(lambda: not made.books.open, what="nothing rests, the stop went with its position")
            assert made.books.is_flat(instrument, made.books.net(instrument))
            assert not made.desk_task.done()
            lines = {(one["kind"], one.get("row", {}).get("leg")) for one in core.journal.waiting()}
            assert {("order", "flatten"), ("cancel", None)} <= lines
        await made.until(lambda: "database" not in core.blocks, what="it is back")
        sweep = await swept(made, "all")
        assert (sweep.left, sweep.positions_left) == (0, 0)
        await made.parts.reconciler.round()
        await made.until(lambda: not core.journal.waiting(), what="the journal is booked")
        refused = await made.rows("SELECT state, refused_by FROM strategies_signal")
        assert set(refused) == {("refused", "database")}
        booked = sorted(row[0] for row in await made.rows("SELECT venue_fill_id FROM execution_fill"))
        assert booked == sorted(row["exec_id"] for row in made.exchange.ledger("fill"))
        assert await made.rows("SELECT leg, state FROM execution_order WHERE leg = 'flatten'") == [
            ("flatten", "filled")
        ]
        assert await made.rows("SELECT 1 FROM portfolio_cashmovement WHERE kind = 'adjustment'") == []


async def test_with_the_disk_gone_too_what_adds_risk_is_cancelled_and_nothing_unwritten_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with living() as made:
        core, instrument = made.parts.core, made.instrument(SPOT)
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="5")
        assert bought.state == "done", bought.result
        await limit_orders(made, SPOT, 2, price=90.0)
        await made.until(lambda: _stop(made) and not made.parts.tracker.in_flight(), what="the position is protected")
        with gone(made, monkeypatch):
            await made.until(lambda: "database" in core.blocks, what="the outage is noticed")
            sent = len(made.exchange.orders_of())
            with monkeypatch.context() as broken:

                def full(*_: Any, **__: Any) -> None:
                    raise OSError(28, "No space left on device")

                broken.setattr(core.journal, "add", full)
                await kill_engage("all", by="tester", reason="drill", flatten=True)
                await made.until(
                    lambda: [one.leg for one in made.books.open.values()] == ["stop"], what="what adds risk is gone"
                )
                await made.until(lambda: "No space left" in made.parts.flattener.why_held("all"), what="it says why")
                assert made.books.held(instrument, "manual") > 4
                assert len(made.exchange.orders_of()) == sent
                assert not made.desk_task.done()
            await made.until(lambda: not made.books.open, what="with room on the disk it closes")
            assert made.books.is_flat(instrument, made.books.net(instrument))


async def test_fills_found_by_asking_are_taken_without_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        core, instrument = made.parts.core, made.instrument(SPOT)
        told: list[Any] = []
        lost = pytest.MonkeyPatch()
        lost.setattr(made.parts.fills, "report", lambda _: None)
        lost.setattr(made.parts.fills, "take", told.append)  # the private socket's word is lost
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="2")
        order = next(one for one in made.books.orders.values() if one.leg == "manual")
        assert bought.state == "done"
        await made.until(lambda: told, what="the venue has told of it")
        lost.undo()
        with gone(made, monkeypatch):
            await made.parts.asker.look_up(order)
            assert order.filled == 2
            await made.until(lambda: "database" in core.blocks, what="the outage is noticed")
            await made.until(lambda: _stop(made), what="the stop is placed by the journal")
        await made.until(lambda: "database" not in core.blocks, what="it is back")
        assert await made.rows("SELECT count(*), sum(quantity) FROM execution_fill") == [
            (len({fill.fill_id for fill in told}), 2)
        ]


async def test_a_commit_in_doubt_with_the_database_gone_again_while_it_is_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with living() as made:
        store = made.parts.core.store
        write, asked, seen = store.write, 0, []

        async def answer_lost(unit: Any, lane: str = "path", before: Any = ()) -> None:
            try:
                await write(unit, lane, before)
            except BookedBefore:
                seen.append("booked")
                raise
            if unit.fills and not seen:
                seen.append("lost")
                raise DatabaseGone("the answer of the commit was lost")

        query = store.query

        async def gone_again(sql: str, *given: Any, **options: Any) -> Any:
            nonlocal asked
            if "FROM execution_fill WHERE id" in sql:
                asked += 1
                if asked < 3:
                    raise DatabaseGone("gone again")
            return await query(sql, *given, **options)

        monkeypatch.setattr(store, "write", answer_lost)
        monkeypatch.setattr(store, "query", gone_again)
        bought = await command(
            made, "order", instrument_id=made.instrument(SPOT), side="buy", kind="market", quantity="2"
        )
        assert bought.state == "done", bought.result
        await made.until(lambda: asked >= 3, what="it is asked until there is an answer")
        assert await made.parts.writer.flush(60.0)
        assert seen[:2] == ["lost", "booked"]
        booked = [row[0] for row in await made.rows("SELECT venue_fill_id FROM execution_fill")]
        assert sorted(booked) == sorted(row["exec_id"] for row in made.exchange.ledger("fill"))
        assert not made.desk_task.done()


async def test_reasons_that_only_the_journal_holds_come_to_their_rows_after_a_crash() -> None:
    async with living() as made:
        core = made.parts.core
        await limit_orders(made, SPOT, 2, price=90.0)
        assert await made.flush()
        wish = Wish(
            made.books.markets[made.instrument(SPOT)], "manual", "manual", "buy", Decimal(1), 1, "limit", Decimal(90),
            client_id=core.account.install + secrets.token_hex(14),
        )  # fmt: skip
        late = order_make(core, wish)
        with pytest.MonkeyPatch.context() as broken:

            async def refused(lane: str) -> Any:
                raise psycopg.OperationalError(f"connection refused ({lane})")

            def doubted() -> bool:
                broken.setattr(core.store, "_connection", refused)  # after the commit, before the gate
                return False

            broken.setattr(core, "lease_allows", doubted)
            core.books.order_add(late)
            await made.parts.sender.send([late])
            assert (late.state, late.origin) == ("rejected", "gate")
            await made.until(lambda: "database" in core.blocks, what="the outage is noticed")
            await kill_engage("all", by="tester", reason="drill")
            await made.until(lambda: not made.books.open, what="the sweep has cancelled")
            written = {(one["kind"], one["origin"]) for one in core.journal.waiting()}
            assert written == {("refused", "gate"), ("cancel", "kill")}
            await made.desk_crash()
        # the moment was hit: nothing of it is in the rows
        rows = await made.rows("SELECT state, origin FROM execution_order")
        assert set(rows) == {("created", ""), ("acknowledged", "")}
        await made.desk_start(trading=False)
        await made.until(lambda: made.desk_context.lease.meta["state"] == "killed", what="the books are compared")
        found = await made.rows("SELECT client_id = %s, state, origin, detail FROM execution_order", late.client_id)
        assert set(found) == {(True, "rejected", "gate", late.detail), (False, "cancelled", "kill", "kill all")}
        assert made.parts.core.journal.waiting() == []


def _stop(made: Living) -> Any:
    return next((one for one in made.books.open.values() if one.is_stop and one.state == "acknowledged"), None)


async def test_a_desk_says_the_database_and_not_what_follows_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        core = made.parts.core
        monkeypatch.setattr(core.lease, "adds_risk_allowed", lambda: False)
        assert core.why_no_risk("manual", made.instrument(SPOT))[0] == "lease"
        core.block("database", "gone")
        assert core.why_no_risk("manual", made.instrument(SPOT)) == ("database", "gone")
