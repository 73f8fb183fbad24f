"""Drill: PostgreSQL is really down (nobody listens), and the desk still refuses, sweeps, flattens, and books later."""

import asyncio
import os
import signal
import time

import pytest

from apps.common.bus import Bus
from apps.market.events import Bar, BarsClosed
from tests.apps.execution.living import MINUTE_NS, START_NS, prices_make
from tests.apps.execution.pace import LONG_S
from tests.reliability.floor import FALL, MOVES, Floor
from tests.reliability.test_desk_drills import answer_of, stops_resting, wish

pytestmark = [pytest.mark.stack]
GONE_S = 10.0
# what says first that the database is gone: the desk's own question, the switch's reading, the lease, or the commit
# (or, on a machine that is held up, what is silent by then)
SAID_BY = {"database", "kill_switch", "lease", "desk", "feed", "socket"}
REFUSED = ("signal refused", "database gone: ")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nobody_listens_the_desk_refuses_sweeps_flattens_and_books_later(how: signal.Signals) -> None:
    with Floor() as floor:
        desk = floor.desk_start()
        floor.run_to(FALL - 1)
        _positions_and_orders(floor)
        instrument_id = floor.query("SELECT id FROM market_instrument")[0][0]
        fence, before = floor.desk_fence(), len(floor.exchange.ledger("order"))
        _stop(floor, how)
        gone, gone_ns = time.monotonic(), time.time_ns()
        # the fall that the deployment would buy: told as a feed tells it that has stored the bar
        asyncio.run(_bar_told(floor, FALL, instrument_id))
        floor.until(lambda: any(words in _log(floor) for words in REFUSED), "the wish to buy is refused")
        time.sleep(3.0)  # longer than the desk's look at its deployments, which fails now
        said = floor.manage("kill", "--flatten", "--reason", "drill", "--wait", "0")
        assert "engaged" in said.stdout
        floor.until(lambda: _resting(floor) == [], "nothing rests at the venue any more")
        floor.until(lambda: _held(floor) < 1, "the position is closed but for dust")
        while time.monotonic() - gone < GONE_S:
            time.sleep(0.1)
        assert desk.poll() is None
        sent = [row["body"] for row in floor.exchange.orders_of() if row["wall_ns"] > gone_ns]
        assert {body["side"] for body in sent} == {"Sell"}
        closing = floor.exchange.ledger("order")[before:]
        assert [(row["side"], row["adds_risk"]) for row in closing] == [("Sell", False)]
        floor.postgres.start()
        _booked(floor)
        # one run of the desk from before to after: it never ended
        assert floor.desk_fence() == fence
        floor.run_to(FALL + 2)
        floor.prove()


def _positions_and_orders(floor: Floor) -> None:
    """A person holds coins, protected, and has three orders resting that could add risk."""
    wishes = [wish(floor, side="buy", kind="market", quantity="20")]
    wishes += [wish(floor, side="buy", kind="limit", quantity="1", price="98.50") for _ in range(3)]
    for one in wishes:
        answer = floor.until(lambda: answer_of(floor, one), "the wish is answered")  # noqa: B023
        assert answer[0] == "done", answer
    floor.until(lambda: stops_resting(floor) == 1, "the position is protected")
    floor.until(floor.is_calm, "its stop covers all of it")
    assert len(_resting(floor)) == 4, _resting(floor)


def _stop(floor: Floor, how: signal.Signals) -> None:
    """End the server, orderly or at once; from here on a connection is refused."""
    assert floor.postgres.process is not None
    os.kill(floor.postgres.process.pid, how)
    floor.postgres.process.wait(LONG_S)


async def _bar_told(floor: Floor, minute: int, instrument_id: int) -> None:
    closes = prices_make(minute + 1, MOVES).tolist()
    opened, closed = closes[minute - 1], closes[minute]
    bar = Bar(
        instrument_id=instrument_id, open_ns=START_NS + minute * MINUTE_NS,
        open=opened, high=max(opened, closed), low=min(opened, closed), close=closed, volume=8_000.0,
        turnover=8_000.0 * closed, trades=1, revision=1, known_ns=START_NS + (minute + 1) * MINUTE_NS, flags=0,
        closing_frame_wall_ns=time.time_ns(), feed_wall_ns=time.time_ns(),
    )  # fmt: skip
    async with Bus(floor.valkey.url) as bus:
        await bus.bars_add(
            f"{floor.found['venue_code']}.60",
            BarsClosed(epoch_id=floor.found["epoch_id"], timeframe_s=60, bars=[bar]),
        )


def _booked(floor: Floor) -> None:
    """What the desk kept in memory and in its journal is in the rows."""
    orders = "SELECT state FROM execution_order WHERE leg = 'flatten'"
    floor.until(lambda: ("filled",) in floor.query(orders), "the closing order is booked from the journal")
    swept = 'SELECT "left", positions_left FROM execution_killsweep'
    floor.until(lambda: floor.query(swept) == [(0, 0)], "the sweep has its row")
    signals = floor.until(lambda: floor.query("SELECT state, refused_by FROM strategies_signal"), "the signal's row")
    assert [state for state, _ in signals] == ["refused"]
    assert signals[0][1] in SAID_BY
    refused = floor.query("SELECT check_name FROM risk_refusal")
    # what the commit itself refused had passed its checks: the desk ended that order, for want of the database
    assert [name for (name,) in refused] == ["database" if by == "desk" else by for _, by in signals]
    left = floor.query("SELECT state FROM execution_order WHERE leg = 'manual' AND kind = 'limit'")
    assert left == [("cancelled",)] * 3


def _resting(floor: Floor) -> list[dict]:
    return floor.exchange.call("GET", "/state")["accounts"][0]["orders"]


def _held(floor: Floor) -> float:
    return float(floor.exchange.call("GET", "/state")["accounts"][0]["wallets"].get("BTC", 0))


def _log(floor: Floor) -> str:
    logs = [*(floor.folder / "state" / "logs").glob("execution*.log"), *floor.folder.glob("execution*.log")]
    return "".join(log.read_text(errors="replace") for log in logs)
