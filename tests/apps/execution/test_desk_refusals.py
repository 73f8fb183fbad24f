"""Every refusal of a person's order leaves a row: by a check, on its way to the wire, and for want of limits."""

import dataclasses
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from apps.common.errors import GovernorRefused
from apps.execution.desk.store import DatabaseGone
from apps.portfolio.models import Account
from apps.risk.models import Limit, Refusal
from apps.risk.services import limit_remove, limit_set
from tests.apps.execution.living import SPOT, living
from tests.apps.execution.wishes import command
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def test_whatever_stops_an_order_that_its_checks_let_through_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        core = made.parts.core
        wish = {"instrument_id": made.instrument(SPOT), "side": "buy", "kind": "limit", "quantity": "1", "price": "90"}

        async def refused() -> Refusal:
            answer = await command(made, "order", **wish)
            assert answer.state == "refused", answer.result
            assert await made.flush()
            row = await Refusal.objects.order_by("-created_at").afirst()
            assert (row.owner, row.detail in answer.result, row.checks[0]["verdict"]) == ("manual", True, "refused")
            return row

        async def no_token(*_: Any, **__: Any) -> None:
            raise GovernorRefused("no token within 2 s")

        async def lost(unit: Any, lane: str = "path", before: Any = ()) -> None:
            if lane == "path":
                raise DatabaseGone("no answer within 2 s")
            await write(unit, lane, before)

        write = core.store.write
        short = await command(made, "order", **{**wish, "side": "sell", "kind": "market", "quantity": "5"})
        assert await made.flush()
        row = await Refusal.objects.aget()
        assert (short.state, short.result, row.check_name, row.number, row.limit) == (
            "refused", row.detail, "held", 5, 0,
        )  # fmt: skip
        with monkeypatch.context() as broken:
            broken.setattr(core.governor, "take", no_token)
            assert (await refused()).check_name == "rate"
        with monkeypatch.context() as broken:
            broken.setattr(core, "lease_allows", lambda: False)
            row = await refused()
            assert (row.check_name, "lease is in doubt" in row.detail) == ("gate", True)
        with monkeypatch.context() as broken:
            broken.setattr(core.store, "write", lost)
            assert (await refused()).check_name == "database"
        await made.until(lambda: not core.blocks, what="the database is back")
        assert made.exchange.ledger("order") == []
        bought = await command(made, "order", **{**wish, "kind": "market", "quantity": "2"})
        assert bought.state == "done", bought.result
        await made.until(lambda: made.books.open and not made.parts.stops.is_busy(), what="it is protected")
        with monkeypatch.context() as broken:
            broken.setattr(core.governor, "take", no_token)
            kept = await command(made, "close", instrument_id=wish["instrument_id"], owner="manual")
        assert (kept.state, "no token within 2 s" in kept.result) == ("refused", True)
        assert await made.flush()
        assert (await Refusal.objects.order_by("-created_at").afirst()).check_name == "rate"
        assert await Refusal.objects.acount() == 5


async def test_real_money_without_its_limits_is_refused_by_name_until_the_last_is_set() -> None:
    async with living() as made:
        account, instrument = await Account.objects.aget(pk=made.account_id), made.instrument(SPOT)
        core, guard = made.parts.core, made.parts.guard
        wish = {"instrument_id": instrument, "side": "buy", "kind": "limit", "quantity": "1", "price": "90"}
        core.account = dataclasses.replace(core.account, is_live=True)
        needed = {"order_notional": 500, "position_notional": 500, "leverage": 1, "daily_loss": "0.05"}
        for check_name, value in needed.items():
            refused = await command(made, "order", **wish)
            assert (refused.state, "loss of the day. Add each in Admin" in refused.result) == ("refused", True)
            await sync_to_async(limit_set)(check_name=check_name, value=value, by="tester", account=account)
            await made.until(lambda: getattr(guard.limits.net(instrument), check_name), what="it is heard")  # noqa: B023
        await made.flush()
        assert {row.check_name async for row in Refusal.objects.all()} == {"limits"}
        assert (await command(made, "order", **wish)).state == "done"
        (order,) = made.books.open.values()
        await sync_to_async(limit_remove)(limit=await Limit.objects.aget(check_name="leverage"), by="tester")
        await made.until(lambda: guard.limits.net(instrument).leverage is None, what="it is gone")
        assert "gross exposure or leverage" in (await command(made, "order", **wish)).result
        assert (await command(made, "cancel", client_id=order.client_id)).state == "done"
        core.account = dataclasses.replace(core.account, is_live=False)
        assert (await command(made, "order", **wish)).state == "done"  # a simulated account may do without
