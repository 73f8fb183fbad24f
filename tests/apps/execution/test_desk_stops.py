"""A position without its stop: new risk waits, the stop is tried again, and the position is left alone."""

from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from apps.common.errors import GovernorRefused
from apps.common.governor import Priority
from apps.common.outbox import outbox_read
from apps.strategies.models import Deployment
from apps.strategies.services import deployment_stop
from tests.apps.execution.living import SPOT, WARM, Living, living
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


async def test_a_deployment_that_does_without_stops_tells_its_reason_and_a_person_beside_it_has_one() -> None:
    async with living({WARM + 3: -0.006}, desk=False) as made:
        await Deployment.objects.aupdate(no_stop_reason="hedged elsewhere")
        await made.desk_start()
        await made.minutes(WARM + 4)
        instrument = made.instrument(SPOT)
        assert made.books.held(instrument, made.deployment) > 0
        await made.until(lambda: not made.parts.stops.is_busy(), what="its stop was looked at")
        assert not [one for one in made.books.orders.values() if one.is_stop]
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="2")
        assert bought.state == "done", bought.result
        await made.until(lambda: stops(made), what="what a person bought is protected")
        assert [one.owner for one in stops(made)] == ["manual"]
        await made.flush()
        told = await sync_to_async(outbox_read)("positions", 0)
        reasons = {(one.owner, one.no_stop_reason) for _, one in told}
        assert reasons == {(made.deployment, "hedged elsewhere"), ("manual", "")}


async def test_the_stop_of_a_stopped_deployment_stays_where_it_is_over_a_restart() -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        (before,) = stops(made)
        assert before.owner == made.deployment
        await sync_to_async(deployment_stop)(made.deployment, by="tester")
        await made.until(lambda: not made.parts.decider.deployments, what="it decides no more")
        asked = len(made.exchange.ledger("order"))
        await made.desk_stop()
        await made.desk_start()
        assert made.parts.stops.distance(made.deployment) == Decimal("0.01")
        await made.until(lambda: not made.parts.stops.is_busy(), what="every stop has been looked at")
        (after,) = stops(made)
        assert (after.client_id, after.trigger_price) == (before.client_id, before.trigger_price)
        assert len(made.exchange.ledger("order")) == asked


async def test_a_stop_is_never_replaced_by_a_wider_one_but_follows_a_position_that_grows() -> None:
    async with living() as made:
        instrument, work = made.instrument(SPOT), made.parts.stops
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="2")
        assert bought.state == "done", bought.result
        await made.until(lambda: stops(made) and not work.is_busy(), what="protected")
        (first,) = stops(made)
        for lost in (Decimal("0.05"), Decimal("0.9")):
            work.distances["manual"] = lost  # what is read wrongly must not loosen it
            work.touch((instrument, "manual"))
            await made.until(lambda: not work.is_busy(), what="looked at")
            assert [one.client_id for one in stops(made)] == [first.client_id]
        work.distances["manual"] = Decimal("0.01")
        work.touch((instrument, "manual"))
        await made.until(lambda: not work.is_busy() and stops(made) != [first], what="a tighter one takes its place")
        (tight,) = stops(made)
        assert tight.trigger_price > first.trigger_price
        work.distances["manual"] = Decimal("0.02")
        more = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="2")
        assert more.state == "done", more.result
        await made.until(lambda: not work.is_busy() and [one for one in stops(made) if one.quantity == 3], what="grown")
        (grown,) = stops(made)
        assert grown.trigger_price < tight.trigger_price
