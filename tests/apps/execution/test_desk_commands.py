"""A wish holds for seconds: what waited longer is refused, what was broken off is told, nothing is done twice."""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.execution.desk.store import DatabaseGone
from apps.execution.models import DeskCommand
from tests.apps.execution.living import SPOT, Living, living
from tests.apps.execution.wishes import answered, command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]
MARKET = {"side": "buy", "kind": "market", "quantity": "2"}


async def waiting(made: Living, kind: str, days: float, state: str = "new", /, **body: Any) -> DeskCommand:
    """A command that has waited for days."""
    row = await DeskCommand.objects.acreate(
        account_id=made.account_id, kind=kind, nonce=secrets.token_hex(8), body=body, by="tester", state=state
    )
    await DeskCommand.objects.filter(pk=row.pk).aupdate(created_at=timezone.now() - timedelta(days=days))
    return row


async def test_what_waited_while_the_desk_was_away_is_refused_in_words() -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        bought = await command(made, "order", instrument_id=instrument, **MARKET)
        assert bought.state == "done", bought.result
        await made.until(lambda: not made.parts.stops.is_busy() and made.books.open, what="protected")
        sent = len(made.exchange.ledger("order"))
        await made.desk_stop()
        old = [
            await waiting(made, "order", 3, instrument_id=instrument, **MARKET),
            await waiting(made, "close", 3, instrument_id=instrument, owner="manual"),
            await waiting(made, "flatten", 3),
            await waiting(made, "order", -1, instrument_id=instrument, **MARKET),
        ]
        await made.desk_start()
        answers = [await answered(made, row) for row in old]
        assert {row.state for row in answers} == {"refused"}
        for row in answers[:3]:
            assert "could not begin in time" in row.result
            assert row.result.endswith("ask again")
        assert "ahead of the database's clock" in answers[3].result
        assert len(made.exchange.ledger("order")) == sent
        assert made.books.held(instrument, "manual") > 0


async def test_what_an_earlier_desk_had_begun_is_told_and_not_done_again() -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        bought = await command(made, "order", instrument_id=instrument, **MARKET)
        assert (bought.state, bought.result) == ("done", "order filled")
        await made.until(lambda: not made.parts.stops.is_busy() and made.books.open, what="protected")
        sent = len(made.exchange.ledger("order"))
        await made.desk_stop()
        await DeskCommand.objects.filter(pk=bought.pk).aupdate(
            state="taken", result="", created_at=timezone.now() - timedelta(days=1)
        )
        begun = [await waiting(made, kind, 1, "taken", instrument_id=instrument, owner="manual") for kind in
                 ("close", "flatten")]  # fmt: skip
        never_made = await waiting(made, "order", 1, "taken", instrument_id=instrument, **MARKET)
        await made.desk_start()
        again = await answered(made, bought)
        assert (again.state, again.result) == ("done", "order filled")
        for row in (*begun, never_made):
            told = await answered(made, row)
            assert told.state == "failed"
            assert "the desk stopped while it carried this out" in told.result
        assert len(made.exchange.ledger("order")) == sent
        assert made.books.held(instrument, "manual") > 0


async def test_what_was_begun_a_moment_ago_is_carried_out_once() -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        row = await waiting(made, "order", 0, "taken", instrument_id=instrument, **MARKET)
        made.parts.commands.look()
        done = await answered(made, row)
        assert (done.state, done.result) == ("done", "order filled")
        await DeskCommand.objects.filter(pk=row.pk).aupdate(state="taken", result="")
        made.parts.commands.look()
        again = await answered(made, row)
        assert again.state == "done"
        assert [one["side"] for one in made.exchange.ledger("order")].count("Buy") == 1


async def test_an_answer_that_finds_no_database_is_kept_and_the_wish_is_not_carried_out_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with living() as made:
        store, carried = made.parts.core.store, []
        query, carry_out = store.query, made.parts.commands._carry_out
        lost: list[str] = []

        async def gone_once(sql: str, *given: Any, **options: Any) -> Any:
            if "done_at = clock_timestamp()" in sql and not lost:
                lost.append(sql)
                raise DatabaseGone("no connection")
            return await query(sql, *given, **options)

        async def counted(kind: str, *given: Any) -> tuple[str, str]:
            carried.append(kind)
            return await carry_out(kind, *given)

        monkeypatch.setattr(store, "query", gone_once)
        monkeypatch.setattr(made.parts.commands, "_carry_out", counted)
        done = await command(made, "order", instrument_id=made.instrument(SPOT), **MARKET)
        assert (done.state, done.result) == ("done", "order filled")
        assert (len(lost), carried) == (1, ["order"])


async def test_neither_cancel_nor_close_waits_for_an_order_that_hangs_and_a_close_is_the_last_word() -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        bought = await command(made, "order", instrument_id=instrument, **MARKET)
        assert bought.state == "done"
        await limit_orders(made, SPOT, 1, price=90.0)
        resting = next(one.client_id for one in made.books.open.values() if one.leg == "manual")
        sent = len(made.exchange.orders_of())
        async with made.parts.commands._orders:  # an order whose answer does not come holds it
            behind = asyncio.create_task(command(made, "order", instrument_id=instrument, **MARKET))
            await made.until(lambda: made.parts.commands._queued, what="another order waits")
            taken_back = await command(made, "cancel", client_id=resting)
            assert (taken_back.state, taken_back.result) == ("done", "order cancelled")
            closed = await command(made, "close", instrument_id=instrument, owner="manual")
            assert (closed.state, closed.result) == ("done", "order filled")
            assert not behind.done()
        overtaken = await behind
        assert (overtaken.state, "a close was asked for after it" in overtaken.result) == ("refused", True)
        await made.until(lambda: not made.books.open, what="the stop went with its position")
        assert len(made.exchange.orders_of()) == sent + 1, "nothing but the close was sent"


async def test_a_close_is_the_last_word_over_an_order_that_came_with_it() -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        bought = await command(made, "order", instrument_id=instrument, **MARKET)
        assert bought.state == "done"
        sent = len([one for one in made.exchange.orders_of() if one["body"]["side"] == "Buy"])
        bodies = {
            "order": {"instrument_id": instrument, **MARKET},
            "close": {"instrument_id": instrument, "owner": "manual"},
        }
        together = await DeskCommand.objects.abulk_create(
            DeskCommand(account_id=made.account_id, kind=kind, nonce=secrets.token_hex(8), body=body, by="tester")
            for kind, body in bodies.items()
        )
        made.parts.commands.look()
        order, close = [await answered(made, row) for row in together]
        assert (order.state, "a close was asked for after it" in order.result) == ("refused", True)
        assert (close.state, close.result) == ("done", "order filled")
        assert len([one for one in made.exchange.orders_of() if one["body"]["side"] == "Buy"]) == sent
