"""No bar is missed at a start, whenever it closes; and the lag says how far the desk is behind what it was given."""

import asyncio
from typing import Any

import pytest

from apps.execution.desk import deployments
from apps.execution.desk.bars import stream_position
from tests.apps.execution.living import MINUTE_NS, SPOT, START_NS, WARM, Living, living
from tests.apps.execution.pace import LONG_S
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def closed(made: Living, minute: int) -> None:
    """Let a minute close, and wait until its bar is on the stream."""
    await asyncio.to_thread(made.exchange.run_to, minute)
    made.minute = minute
    opened = START_NS + minute * MINUTE_NS
    async with asyncio.timeout(LONG_S):
        async for _, message in made.bus.bars_read(f"{made.venue_code}.60", after="0-0"):
            if any(bar.open_ns == opened for bar in message.bars):
                return


@pytest.mark.parametrize("place", ["_catch_up", "_catch_up_last"])
async def test_a_bar_that_closes_while_a_desk_starts_is_not_missed(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    async with living(desk=False) as made:
        read, happened = getattr(deployments, place), []

        async def then_a_bar_closes(*given: Any) -> None:
            await read(*given)
            if not happened:
                happened.append(place)
                await closed(made, WARM)

        monkeypatch.setattr(deployments, place, then_a_bar_closes)
        await made.desk_start()
        assert happened == [place]
        end_ns = START_NS + (WARM + 1) * MINUTE_NS
        await made.until(lambda: made.parts.health.done_ns >= end_ns, what="the bar is stepped, and none waits for it")
        await made.minutes(WARM + 2)
        await made.parts.writer.flush()
        late = await made.rows("SELECT 1 FROM strategies_decision WHERE outcome = 'late'")
        assert late == []
        decided = await made.rows("SELECT count(*) FROM strategies_decision")
        # read while the desk started, it is history; sent afterwards, it is decided
        assert decided == [(2 if place == "_catch_up" else 3,)]


async def test_a_deployment_joins_between_two_batches_and_misses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        read, happened = deployments._catch_up_last, []

        async def then_a_bar_closes(*given: Any) -> None:
            await read(*given)
            happened.append(closed(made, WARM))
            await happened[-1]

        monkeypatch.setattr(deployments, "_catch_up_last", then_a_bar_closes)
        row = made.parts.decider.deployments[made.deployment].row
        await deployments._put_to_work(made.parts, row)
        end_ns = START_NS + (WARM + 1) * MINUTE_NS
        await made.until(lambda: made.parts.health.done_ns >= end_ns, what="the bar came after it had joined")
        await made.parts.writer.flush()
        assert await made.rows("SELECT outcome FROM strategies_decision") == [("hold",)]


async def test_the_lag_is_what_the_desk_is_behind_of_what_it_was_given() -> None:
    async with living() as made:
        health, core = made.parts.health, made.parts.core
        await made.minutes(WARM + 1)
        core.market_ns += 40_000_000_000  # quotes go on: the desk has nothing to do
        assert health.lag_s() == 0.0
        deployed = made.parts.decider.deployments[made.deployment]
        place = deployed.places[made.instrument(SPOT)]
        async with made.parts.decider.turn(60):
            deployed.given([(made.instrument(SPOT), place.newest_ns + 2 * MINUTE_NS), (-1, 1)])
            assert health.lag_s() == 120.0
            await made.until(lambda: core.lease.meta["lag_s"] == 120.0, what="status shows it")
        place.given_ns = place.newest_ns
        await made.until(lambda: core.lease.meta["lag_s"] == 0.0, what="idle again")


async def test_without_the_bus_a_desk_reads_the_stream_from_later_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        core = made.parts.core
        assert await stream_position(core, "nothing.60") == "0-0"
        assert "-" in await stream_position(core, f"{made.venue_code}.60")

        async def no_bus(*_: Any, **__: Any) -> None:
            raise ConnectionError("no bus")

        with monkeypatch.context() as broken:
            broken.setattr(core.bus.redis, "xrevrange", no_bus)
            assert await stream_position(core, f"{made.venue_code}.60") == "$"
