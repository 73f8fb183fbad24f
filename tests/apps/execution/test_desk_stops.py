"""A position without its stop: new risk waits, the stop is tried again, and the position is left alone."""

from typing import Any

import pytest

from apps.common.errors import GovernorRefused
from apps.common.governor import Priority
from tests.apps.execution.living import SPOT, Living, living
from tests.apps.execution.wishes import command
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


def stop_block(made: Living) -> str:
    return next((why for name, why in made.parts.core.blocks.items() if name.startswith("stop ")), "")


def stops(made: Living) -> list[Any]:
    return [one for one in made.books.open.values() if one.is_stop and one.state == "acknowledged"]


async def test_without_a_rate_token_for_its_stop_a_position_blocks_new_risk_until_it_has_one(monkeypatch) -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        governor, asked = made.parts.core.governor, []
        take = governor.take

        async def no_token(*given: Any, **options: Any) -> None:
            if options.get("priority") is Priority.REDUCE and given[3].startswith("order"):
                asked.append(given)
                raise GovernorRefused("no token within 2 s")
            await take(*given, **options)

        monkeypatch.setattr(governor, "take", no_token)
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="2")
        assert bought.state == "done", bought.result
        await made.until(lambda: stop_block(made), what="new risk is blocked")
        more = await command(
            made, "order", instrument_id=instrument, side="buy", kind="limit", quantity="1", price="90"
        )
        assert more.state == "refused"
        assert "no stop at the venue" in more.result
        await made.until(lambda: len(asked) >= 3, what="it is tried again soon")
        monkeypatch.setattr(governor, "take", take)
        await made.until(lambda: stops(made) and not stop_block(made), what="protected again")
        assert [one.revision for one in stops(made)] == [1]
        assert made.books.held(instrument, "manual") > 0
        assert [row["side"] for row in made.exchange.ledger("order")] == ["Buy", "Sell"]


@pytest.mark.parametrize("fault", [{"fault": "busy"}, {"fault": "busy", "code": 10006, "status": 200}])
async def test_a_venue_that_is_too_busy_for_a_stop_does_not_cost_the_position(fault: dict[str, Any]) -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        made.exchange.fault(**fault, path="order/create", skip=1, count=2)
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="2")
        assert bought.state == "done", bought.result
        held = await made.until(lambda: made.books.held(instrument, "manual"), what="long by hand")
        await made.until(lambda: stop_block(made), what="new risk is blocked")
        await made.until(lambda: stops(made) and not stop_block(made), what="protected")
        assert made.books.held(instrument, "manual") == held
        refused = [one.origin for one in made.books.orders.values() if one.state == "rejected"]
        assert refused == ["busy", "busy"]
        assert {one.leg for one in made.books.orders.values()} == {"manual", "stop"}


async def test_a_stop_that_the_venue_refuses_closes_the_position_once() -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        # the venue's word for a stop whose price is past already
        made.exchange.fault(fault="busy", code=110092, status=200, path="order/create", skip=1, count=1)
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="2")
        assert bought.state == "done", bought.result
        await made.until(lambda: [one for one in made.books.orders.values() if one.leg == "exit"], what="it is closed")
        await made.until(lambda: made.books.is_flat(instrument, made.books.held(instrument, "manual")), what="flat")
        await made.until(lambda: not made.books.open and not stop_block(made), what="nothing rests, nothing is blocked")
        assert [one.leg for one in made.books.orders.values()].count("exit") == 1
