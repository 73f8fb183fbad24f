"""Executions over more than a week: the venue tells a week in one answer, so the desk asks week by week."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.execution.brokers.bybit.parsers import MS, WEEK_MS, windows
from apps.portfolio.models import CashMovement
from tests.apps.execution.foreign import foreign_order
from tests.apps.execution.living import LINEAR, MINUTE_NS, SPOT, START_NS, WARM, living
from tests.apps.execution.wishes import command
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
DAY_NS = 86_400_000_000_000


def test_without_a_start_the_venue_chooses_its_last_week() -> None:
    assert windows(None, 12 * DAY_NS) == [{}]


def test_a_start_without_a_known_present_is_one_open_window() -> None:
    assert windows(5 * MS, None) == [{"startTime": 5}]


@given(since=st.integers(0, 10**13), span=st.integers(-(10**10), 10**11))
def test_windows_leave_no_gap_are_never_too_long_and_reach_past_the_present(since: int, span: int) -> None:
    found = windows(since * MS, max(since + span, 0) * MS)
    *closed, last = found
    starts = [one["startTime"] for one in found]
    assert starts[0] == since
    assert [one["endTime"] + 1 for one in closed] == starts[1:]
    assert all(one["endTime"] - one["startTime"] < WEEK_MS for one in closed)
    assert "endTime" not in last
    assert last["startTime"] + WEEK_MS > since + span


@pytest.mark.stack
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("kill_clear")
async def test_a_fill_three_weeks_after_the_last_known_one_is_found_at_the_simulator() -> None:
    async with living() as made:
        bought = await command(
            made, "order", instrument_id=made.instrument(SPOT), side="buy", kind="market", quantity="2"
        )
        assert bought.state == "done", bought.result
        broker, market_ns = made.parts.core.broker, made.parts.core.market_ns
        assert market_ns >= START_NS + 170 * MINUTE_NS
        since_ns = market_ns - 21 * DAY_NS
        assert await broker.fills("spot", since_ns) == [], "the venue tells one week from a start alone"
        found = await broker.fills("spot", since_ns, until_ns=market_ns)
        assert {fill.fill_id for fill in found} == {row["exec_id"] for row in made.exchange.ledger("fill")}
        assert len({fill.fill_id for fill in found}) == len(found)
        assert await broker.fundings(since_ns, until_ns=market_ns) == []


@pytest.mark.stack
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("kill_clear")
async def test_what_came_while_the_desk_was_away_for_nine_quiet_days_is_found_and_is_no_adjustment() -> None:
    """No fill of ours ever: the desk knows from its comparisons how far it has read."""
    minutes = WARM + 10 + 9 * 24 * 60
    async with living(symbols=(SPOT, LINEAR), minutes=minutes, limits="off", gap=(WARM + 20, minutes - 10)) as made:
        await made.desk_stop()
        await foreign_order(made, category="linear", symbol="ETHUSDT", side="Buy", orderType="Market", qty="1")
        await asyncio.to_thread(made.exchange.run_to, minutes - 5)
        reached = START_NS + (minutes - 5) * MINUTE_NS
        newest = "select max(open_ns) from market_bar_day where timeframe_s = 60"
        while (await made.rows(newest))[0][0] < reached - 2 * MINUTE_NS:
            await made.pause(0.2)
        await made.desk_start()
        held = made.books.held(made.instrument(LINEAR), "unattributed")
        payments = [row for row in made.exchange.ledger("fill") if row.get("exec_type") == "Funding"]
        await made.flush()
        assert held == 1
        assert not await CashMovement.objects.filter(kind="adjustment").aexists()
        assert await CashMovement.objects.filter(kind="funding").acount() == 27, payments
