"""No bar is missed at a start, whenever it closes; and the lag says how far the desk is behind what it was given."""

import asyncio
from typing import Any

import pytest

from apps.execution.desk import deployments
from apps.execution.desk.bars import stream_position
from apps.market.events import Bar, BarsClosed
from tests.apps.execution.living import LINEAR, MINUTE_NS, SPOT, START_NS, WARM, Living, living
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


async def test_a_deployment_asks_for_the_bars_of_all_its_instruments_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(symbols=(SPOT, LINEAR)) as made:
        read, asked = deployments.bars_read_many_async, []

        async def counted(pool: Any, epoch_id: int, instruments: list[int], *span: Any) -> Any:
            asked.append(sorted(instruments))
            return await read(pool, epoch_id, instruments, *span)

        monkeypatch.setattr(deployments, "bars_read_many_async", counted)
        known = made.parts.decider.deployments[made.deployment]
        built = await deployments._built(made.parts, known.row)
        assert asked == [sorted(known.places)]
        assert len(known.places) == 2
        assert {one: place.newest_ns for one, place in built.places.items()} == {
            one: place.newest_ns for one, place in known.places.items()
        }
        for one, place in built.places.items():
            mine, theirs = known.pipeline, built.pipeline
            assert theirs.snapshot(place.index) == mine.snapshot(known.places[one].index)


async def test_only_the_newest_bar_of_an_instrument_is_its_mark() -> None:
    async with living() as made:
        await made.minutes(WARM + 1)
        instrument, decider = made.instrument(SPOT), made.parts.decider
        newest_ns = START_NS + (WARM + 1) * MINUTE_NS
        for age, close, mark in ((0, 101.0, 101.0), (1, 55.0, 101.0), (9, 44.0, 101.0), (0, 102.0, 102.0)):
            bar = Bar(
                instrument_id=instrument, open_ns=newest_ns - age * MINUTE_NS, open=close, high=close, low=close,
                close=close, volume=1.0, turnover=1.0, trades=1, revision=2, known_ns=0, flags=8,
                closing_frame_wall_ns=0, feed_wall_ns=0,
            )  # fmt: skip
            await decider.bars(BarsClosed(epoch_id=made.epoch_id, timeframe_s=60, bars=[bar]))
            assert float(made.books.marks[instrument]) == mark, age
