"""A desk trades: decisions become orders, orders fills, fills positions with a stop at the venue."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from apps.common.governor import Priority
from apps.common.logs import logs_configure
from apps.execution.states import OrderState
from tests.apps.execution.living import LINEAR, SPOT, WARM, Living, living
from tests.apps.execution.wishes import command
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def test_a_fall_is_bought_protected_and_sold_when_the_price_is_back() -> None:
    moves = {WARM + 3: -0.006, WARM + 8: 0.008}
    async with living(moves) as made:
        await made.minutes(WARM + 5)
        instrument = made.instrument(SPOT)
        held = made.books.held(instrument, made.deployment)
        assert held > 0
        stops = [order for order in made.books.open.values() if order.leg == "stop"]
        assert [stop.state for stop in stops] == [OrderState.ACKNOWLEDGED]
        assert stops[0].side == "sell"
        assert stops[0].quantity <= held
        assert not stops[0].adds_risk
        await made.minutes(WARM + 30)
        assert made.books.is_flat(instrument, made.books.held(instrument, made.deployment))
        await made.until(lambda: not made.books.open, what="the stop is gone")
        orders = await made.rows("SELECT leg, state, filled > 0 FROM execution_order ORDER BY id")
        assert {row[0] for row in orders} == {"entry", "exit", "stop"}
        accepted = made.exchange.ledger("order")
        assert len({row["link_id"] for row in accepted}) == len(accepted) == len(orders)
        booked = {row[0] for row in await made.rows("SELECT venue_fill_id FROM execution_fill")}
        assert booked == {row["exec_id"] for row in made.exchange.ledger("fill")}
        await made.parts.reconciler.round()
        assert await made.rows("SELECT 1 FROM portfolio_cashmovement WHERE kind = 'adjustment'") == []
        states = await made.rows("SELECT state FROM strategies_signal")
        assert {row[0] for row in states} == {"done"}


TURNS = {WARM + 3: 0.006, WARM + 5: -0.015}  # far above, then far below: short, and long at once
MINUTE_NS = 60_000_000_000


async def signal_of_the_turn(made: Living) -> tuple[str, str, str]:
    """What became of the one signal that asked for the other side."""
    rows = await made.rows(
        "SELECT state, refused_by, detail FROM strategies_signal WHERE direction = 1 ORDER BY id LIMIT 1"
    )
    assert rows
    return rows[0]


async def test_a_position_is_turned_by_an_exit_and_then_an_entry_of_one_decision() -> None:
    async with living(TURNS, symbols=(LINEAR,)) as made:
        instrument = made.instrument(LINEAR)
        await made.minutes(WARM + 4)
        assert made.books.held(instrument, made.deployment) < 0
        against = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="1")
        assert (against.state, against.result.endswith("close that position first")) == ("refused", True)
        assert await made.rows("SELECT check_name FROM risk_refusal") == [("opposed",)]
        await made.minutes(WARM + 5)
        await made.until(lambda: made.books.held(instrument, made.deployment) > 0, what="it is long")
        await made.until(lambda: not made.parts.stops.is_busy(), what="the stop follows")
        legs = [one for one in made.books.orders.values() if one.leg in ("entry", "exit")]
        assert [(one.leg, one.side) for one in legs] == [("entry", "sell"), ("exit", "buy"), ("entry", "buy")]
        assert legs[1].decision_id == legs[2].decision_id != legs[0].decision_id
        assert legs[2].parent_id == legs[1].id
        assert [(one.leg, one.side) for one in made.books.open.values()] == [("stop", "sell")]
        assert await signal_of_the_turn(made) == ("done", "", "")


async def test_a_turn_whose_exit_fills_in_part_says_that_it_was_not_turned() -> None:
    async with living(TURNS, symbols=(LINEAR,)) as made:
        instrument = made.instrument(LINEAR)
        await made.minutes(WARM + 4)
        made.exchange.fault(fault="partial_fills", share=0.5)
        await made.minutes(WARM + 5)
        await made.until(lambda: not [t for t in made.parts.core.tasks if t.get_name() == "reversal"], what="judged")
        state, refused_by, detail = await signal_of_the_turn(made)
        assert (state, refused_by) == ("refused", "reversal")
        assert detail.startswith("closed, not turned: the exit has left -")
        assert made.books.held(instrument, made.deployment) < 0
        assert await made.rows("SELECT check_name FROM risk_refusal") == [("reversal",)]


async def test_a_turn_whose_exit_took_too_long_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(TURNS, symbols=(LINEAR,)) as made:
        instrument, core, tracker = made.instrument(LINEAR), made.parts.core, made.parts.tracker
        await made.minutes(WARM + 4)
        wait = tracker.wait

        async def slow(order: Any, *given: Any) -> bool:
            ended = await wait(order, *given)
            if order.leg == "exit":
                core.market_ns += 2 * MINUTE_NS  # quotes went on meanwhile
            return ended

        monkeypatch.setattr(tracker, "wait", slow)
        await made.minutes(WARM + 5)
        await made.until(lambda: not [t for t in core.tasks if t.get_name() == "reversal"], what="judged")
        state, _, detail = await signal_of_the_turn(made)
        assert (state, detail.startswith("closed, not turned: the exit took longer")) == ("expired", True)
        assert not made.books.held(instrument, made.deployment)


async def test_an_entry_that_waits_past_its_horizon_for_a_token_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living({WARM + 3: -0.006}) as made:
        core = made.parts.core
        await made.minutes(WARM + 2)
        take = core.governor.take

        async def slow(*given: Any, **options: Any) -> None:
            if options.get("priority") is Priority.ORDER:
                core.market_ns += 2 * MINUTE_NS
            await take(*given, **options)

        monkeypatch.setattr(core.governor, "take", slow)
        await made.minutes(WARM + 3)
        ((state, refused_by, detail),) = await made.rows("SELECT state, refused_by, detail FROM strategies_signal")
        assert (state, refused_by) == ("expired", "")
        assert "horizon of 60 s" in detail
        assert made.exchange.ledger("order") == []
        assert await made.rows("SELECT 1 FROM execution_order") == []
        assert await made.rows("SELECT outcome FROM strategies_decision WHERE outcome = 'signal'") == [("signal",)]


async def test_an_entry_whose_horizon_ends_during_its_commit_is_stopped_at_the_gate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with living({WARM + 3: -0.006}) as made:
        core = made.parts.core
        await made.minutes(WARM + 2)
        write = core.store.write

        async def slow(unit: Any, *given: Any, **options: Any) -> None:
            await write(unit, *given, **options)
            if unit.orders:
                core.market_ns += 2 * MINUTE_NS

        monkeypatch.setattr(core.store, "write", slow)
        await made.minutes(WARM + 3)
        ((state, origin, detail),) = await made.rows("SELECT state, origin, detail FROM execution_order")
        assert (state, origin, "horizon" in detail) == ("rejected", "gate", True)
        assert await made.rows("SELECT state FROM strategies_signal") == [("expired",)]
        assert made.exchange.orders_of() == []


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def log_file(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """The log of this process as a worker writes it."""
    root = logging.getLogger()
    before, process = (list(root.handlers), root.level), "worker-test"
    state_dir, settings.STATE_DIR = settings.STATE_DIR, tmp_path
    path = logs_configure(process)
    settings.STATE_DIR = state_dir
    yield path
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers, root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


async def test_a_decision_id_follows_an_order_through_the_log_from_the_signal_to_its_fill(log_file: Path) -> None:
    async with living({WARM + 3: -0.006}) as made:
        await made.minutes(WARM + 4)
        entry = next(one for one in made.books.orders.values() if one.leg == "entry")
        await made.until(lambda: not made.parts.tracker.in_flight(), what="all is told")
    lines = lines_of(log_file)
    own = [line for line in lines if line.get("decision_id") == str(entry.decision_id)]
    of_entry = [line for line in own if line.get("client_id") in (None, entry.client_id)]
    steps = [line["event"] for line in of_entry]
    first = {step: steps.index(step) for step in ("signal", "order made", "order sent", "fill", "order ended")}
    assert sorted(first, key=lambda step: first[step])[:3] == ["signal", "order made", "order sent"]
    assert "order acknowledged" in steps
    # the frame of the venue that closed the bar, and when the feed had it: from there the order is followed
    signal = of_entry[first["signal"]]
    assert 0 < signal["closing_frame_wall_ns"] <= signal["feed_wall_ns"]
    assert {line["level"] for line in of_entry} == {"info"}
    assert {line.get("client_id") for line in of_entry} == {None, entry.client_id}
    # and its stop, which is of the same decision
    assert {line["leg"] for line in own if line["event"] == "order made"} == {"entry", "stop"}
