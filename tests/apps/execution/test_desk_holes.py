"""A hole is filled, or features begin anew after it: no instrument is left undecided, none is decided across one."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from asgiref.sync import sync_to_async

from apps.execution.desk import bars, deployments, holes
from apps.execution.desk.holes import LONGEST_S, TOLD, Hole
from apps.market.selectors import bars_newest_open, bars_read
from apps.market.storage.writer import bars_write
from tests.apps.execution.living import MINUTE_NS, SPOT, START_NS, WARM, Living, living
from tests.apps.risk.fixtures import kill_clear
from trader.core.engine import Pipeline
from trader.core.types.bars import bar_matrix

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]
AWAY = WARM + 95  # the last minute without a desk
LOST = (WARM + 8, WARM + 10)  # minutes that storage is made to lack


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "POLL_S", 0.2)


async def passed_without_desk(made: Living) -> tuple[int, np.ndarray]:
    """Stop the desk, let the market pass, and take minutes out of storage; returns the instrument and those bars."""
    instrument = made.instrument(SPOT)
    await made.desk_stop()
    await asyncio.to_thread(made.exchange.run_to, AWAY)
    made.minute = AWAY
    newest = sync_to_async(bars_newest_open)
    while (await newest(made.epoch_id, [instrument], 60))[instrument] < START_NS + AWAY * MINUTE_NS:
        await made.pause(0.02)
    start_ns, end_ns = (START_NS + minute * MINUTE_NS for minute in LOST)
    lost = await sync_to_async(bars_read)(made.epoch_id, instrument, 60, start_ns, end_ns)
    assert len(lost) == 2
    async with made.pool.connection() as connection:
        await connection.execute(
            "DELETE FROM market_bar_day WHERE epoch_id = %s AND instrument_id = %s AND timeframe_s = 60"
            " AND open_ns >= %s AND open_ns < %s", (made.epoch_id, instrument, start_ns, end_ns),
        )  # fmt: skip
    return instrument, lost


def told(made: Living) -> dict[str, Any]:
    """What the desk reports of itself with its lease."""
    assert made.desk_context is not None
    return made.desk_context.lease.meta


def state_after(made: Living, stored: np.ndarray) -> bytes:
    """The features' state of a desk that took exactly these bars."""
    deployed = made.parts.decider.deployments[made.deployment]
    fresh = Pipeline(deployed.pipeline.strategy, deployed.row.parameters, ["spot"])
    fresh.definition_hash = deployed.pipeline.definition_hash
    fresh.warm(0, bar_matrix(stored))
    return fresh.snapshot(0)


async def test_a_hole_that_stays_begins_the_features_anew_and_what_is_held_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with living({WARM + 3: -0.006}, minutes=WARM + 110) as made:
        await made.minutes(WARM + 5)
        instrument, _ = await passed_without_desk(made)
        await made.desk_start()
        deployed = made.parts.decider.deployments[made.deployment]
        place = deployed.places[instrument]
        assert place.newest_ns == START_NS + (LOST[0] - 1) * MINUTE_NS
        await made.until(lambda: made.deployment in told(made)["deployments"], what="the hole is told")
        words = told(made)["deployments"][made.deployment]
        assert words == (
            "BTC/USDT: nothing is decided, 2 bars of 2024-01-01 02:58 to 2024-01-01 04:25 UTC are missing; "
            "79 of the 79 after them that its features need are there"
        )
        assert f"{made.deployment}: {words}" in told(made)["detail"]
        assert made.parts.health.lag_s() == (AWAY - LOST[0] + 1) * 60
        while words not in (await made.bus.last(f"health.desk.{made.account_id}")).why:
            await made.pause(0.02)
        monkeypatch.setattr(holes, "WAIT_S", 0.0)
        await made.until(lambda: place.newest_ns == START_NS + AWAY * MINUTE_NS, what="it has begun anew")
        after = await sync_to_async(bars_read)(made.epoch_id, instrument, 60, START_NS + LOST[1] * MINUTE_NS, 1 << 62)
        assert deployed.pipeline.snapshot(place.index) == state_after(made, after)
        await made.until(lambda: "began anew with 2024-01-01 03:00" in told(made)["detail"], what="that is told")
        await made.until(lambda: not told(made)["deployments"], what="nothing waits any more")
        assert not made.books.is_flat(instrument, made.books.held(instrument, made.deployment))
        assert [order.leg for order in made.books.open.values()] == ["stop"]
        await made.minutes(AWAY + 5)
        await made.until(lambda: made.books.is_flat(instrument, made.books.held(instrument, made.deployment)))
        exits = await made.rows("SELECT state FROM execution_order WHERE leg = 'exit'")
        assert exits == [("filled",)]
        anew_ns = START_NS + AWAY * MINUTE_NS
        early = "SELECT 1 FROM strategies_decision WHERE bar_open > to_timestamp(%s) AND bar_open <= to_timestamp(%s)"
        assert await made.rows(early, (START_NS + (WARM + 5) * MINUTE_NS) / 1e9, anew_ns / 1e9) == []


async def test_a_hole_that_is_filled_leaves_no_trace_and_one_of_too_many_bars_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = "SELECT count(*) FROM strategies_decision WHERE outcome = 'late'"
    async with living(minutes=WARM + 110) as made:
        await made.minutes(WARM + 5)
        instrument, lost = await passed_without_desk(made)
        await made.desk_start()
        deployed = made.parts.decider.deployments[made.deployment]
        place = deployed.places[instrument]
        await made.until(lambda: made.deployment in told(made)["deployments"], what="the hole is told")
        write = sync_to_async(bars_write)
        await write(epoch_id=made.epoch_id, timeframe_s=60, bars=lost[:1])
        await made.until(lambda: "1 bars of" in told(made)["detail"], what="it is smaller, and waited for")
        await write(epoch_id=made.epoch_id, timeframe_s=60, bars=lost[1:])
        await made.until(
            lambda: place.newest_ns == START_NS + AWAY * MINUTE_NS, what="it is filled before the next bar"
        )
        stored = await sync_to_async(bars_read)(made.epoch_id, instrument, 60, 0, 1 << 62, limit=1000)
        assert deployed.pipeline.snapshot(place.index) == state_after(made, stored)
        assert await made.rows(late) == [(AWAY - LOST[0] + 1,)]
        await made.minutes(AWAY + 1)
        assert told(made)["detail"] == ""

        monkeypatch.setattr(bars, "MISSING_MOST", 80)
        monkeypatch.setattr(holes, "MISSING_MOST", 80)
        monkeypatch.setattr(holes, "HISTORY_BARS", 82)
        async with made.parts.decider.turn(60):
            place.newest_ns -= 90 * MINUTE_NS  # as if the bus had been away for so long
        await made.minutes(AWAY + 3)  # the first shows the hole, the next is decided
        assert "more bars than are caught up were missed" in told(made)["detail"]
        newest = await sync_to_async(bars_read)(made.epoch_id, instrument, 60, 0, 1 << 62, limit=1000)
        assert deployed.pipeline.bars_taken(place.index) == 82 + 1
        assert deployed.pipeline.snapshot(place.index) == state_after(
            made, newest[-deployed.pipeline.bars_taken(place.index) :]
        )

        monkeypatch.setattr(bars, "MISSING_MOST", 20)
        monkeypatch.setattr(holes, "RECORDED_MOST", 5)
        async with made.parts.decider.turn(60):
            place.newest_ns -= 10 * MINUTE_NS
        await made.minutes(AWAY + 4)  # filled by the bar itself, which is decided
        assert place.newest_ns == START_NS + (AWAY + 4) * MINUTE_NS
        assert await made.rows(late) == [(AWAY - LOST[0] + 1,)]


def test_a_hole_is_waited_for_while_it_shrinks_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    hole = Hole(now, now)
    clock: list[float] = [now]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    hole.look(100)
    missing = 100
    while clock[0] < now + LONGEST_S - 30:
        clock[0] += 30
        missing -= 1
        hole.look(missing)
        assert not hole.is_over()
    clock[0] += 30
    assert hole.is_over()
    other = Hole(clock[0], clock[0])
    assert other.is_due()
    other.look(5)
    clock[0] += 0.1
    assert other.is_due()
    clock[0] -= 0.1
    clock[0] += holes.WAIT_S - 1
    assert not other.is_over()
    other.look(5)
    other.looked = clock[0]
    clock[0] += 1
    assert not other.is_due()  # the older, the less often
    clock[0] -= 1
    clock[0] += 1
    assert other.is_over()


def test_many_instruments_that_wait_are_told_in_few_words() -> None:
    core: Any = type("Core", (), {"market_ns": 0})()
    made = holes.Holes(core)
    for number in range(TOLD + 2):
        made.open["one-1", number] = Hole(0.0, 0.0, 1, f"A{number}: nothing is decided")
    assert made.waiting() == {
        "one-1": "A0: nothing is decided; A1: nothing is decided; A2: nothing is decided; and 2 more instruments"
    }
    assert made.due({}) == []
    assert (made.open, made.words()) == ({}, [])
