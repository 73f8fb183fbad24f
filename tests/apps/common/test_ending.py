"""Tasks end when they are asked to, also where a library swallows a cancellation."""

import asyncio

import pytest

from apps.common.ending import tasks_end
from apps.market.feed.recorder import Recorder


async def _stubborn(times: int) -> None:
    """Swallow so many cancellations, as `wait_for` of Python 3.11 may."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if times == 0:
                raise
            times -= 1


async def _failing() -> None:
    raise ValueError("of no interest")


async def test_a_task_that_lost_its_cancellation_is_asked_again() -> None:
    tasks = [asyncio.create_task(one) for one in (_stubborn(0), _stubborn(2), _failing())]
    await asyncio.sleep(0)
    assert await tasks_end(tasks) == set()
    assert [task.cancelled() for task in tasks] == [True, True, False]


async def test_one_that_never_ends_is_named_instead_of_waited_for(monkeypatch) -> None:
    monkeypatch.setattr("apps.common.ending.WAIT_S", 0.01)
    stubborn = asyncio.create_task(_stubborn(30))
    await asyncio.sleep(0)
    assert await tasks_end([stubborn]) == {stubborn}
    monkeypatch.setattr("apps.common.ending.TRIES", 30)
    assert await tasks_end([stubborn]) == set()


@pytest.mark.parametrize("steps", range(6))
async def test_a_lane_that_lets_minutes_pass_keeps_its_cancellation(steps: int) -> None:
    recorder = Recorder(pool=None, bus=None, venue="v", epoch_id=1, fence=("feed", "v/0", 1), coarse_timeframes_s=[])
    recorder._minutes.idle.clear()

    async def lane() -> None:
        while True:
            await recorder.minutes_first()
            await asyncio.sleep(0)

    task = asyncio.create_task(lane())
    await asyncio.sleep(0.001)
    recorder._minutes.idle.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    _, left = await asyncio.wait([task], timeout=0.3)
    assert not left, "it goes on as though nobody had asked it to end"
