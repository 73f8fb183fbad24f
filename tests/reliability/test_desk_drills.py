"""Drills: the execution worker dies or stands still at a named moment; the exchange's ledger says what came of it."""

import os
import signal
import time

import pytest

from tests.reliability.floor import FALL, Floor

pytestmark = [pytest.mark.stack]


def crashed_at(floor: Floor, moment: str) -> str:
    """Start a desk that dies at a moment, let the price fall, and return the client id it died with."""
    mark = floor.folder / "mark"
    process = floor.desk_start(QD_DRILL_CRASH=moment, QD_DRILL_MARK=str(mark))
    floor.fall()
    floor.until(lambda: process.poll() is not None, f"the worker is dead at {moment}", 30)
    assert process.returncode == -signal.SIGKILL
    hit, subject = mark.read_text().split()
    assert hit == moment
    return subject


def test_killed_after_the_commit_the_order_is_never_sent_and_ends_as_expired() -> None:
    with Floor() as floor:
        client_id = crashed_at(floor, "after_commit")
        # the moment was hit: a row, no request
        assert floor.query("SELECT state FROM execution_order WHERE client_id = %s", client_id) == [("created",)]
        assert not [row for row in floor.entry_requests() if row["body"]["orderLinkId"] == client_id]
        floor.desk_start()
        found = floor.query("SELECT state FROM execution_order WHERE client_id = %s", client_id)
        assert found == [("expired",)]
        floor.run_to(FALL + 3)
        assert not [row for row in floor.exchange.ledger("order") if row["link_id"] == client_id]
        floor.prove()


def test_killed_after_the_send_the_fill_is_found_booked_once_and_protected() -> None:
    with Floor() as floor:
        client_id = crashed_at(floor, "after_send")
        # the moment was hit: the request is there, its answer is not booked
        assert [row["link_id"] for row in floor.exchange.ledger("order")] == [client_id]
        assert floor.query("SELECT state FROM execution_order WHERE client_id = %s", client_id) == [("created",)]
        assert floor.query("SELECT 1 FROM execution_fill") == []
        floor.desk_start()
        found = floor.query("SELECT state FROM execution_order WHERE client_id = %s", client_id)
        assert found[0][0] in ("filled", "cancelled")
        floor.until(lambda: stops_resting(floor) == 1, "a stop rests at the venue")
        floor.run_to(FALL + 3)
        floor.prove()


def test_killed_with_a_fill_unbooked_it_is_booked_once_afterwards() -> None:
    with Floor() as floor:
        fill_id = crashed_at(floor, "before_booking")
        assert fill_id in [row["exec_id"] for row in floor.exchange.ledger("fill")]
        assert floor.query("SELECT 1 FROM execution_fill WHERE venue_fill_id = %s", fill_id) == []
        floor.desk_start()
        floor.until(lambda: stops_resting(floor) == 1, "a stop rests at the venue")
        floor.run_to(FALL + 3)
        floor.prove()


def test_paused_past_its_lease_the_first_desk_lets_nothing_out_when_it_goes_on() -> None:
    with Floor() as floor:
        mark = floor.folder / "mark"
        first = floor.desk_start(QD_DRILL_CRASH="after_commit:stop", QD_DRILL_MARK=str(mark))
        fence = floor.desk_fence()
        floor.fall()
        floor.until(mark.exists, "the first desk stands still after its commit")
        client_id = mark.read_text().split()[1]
        assert floor.query("SELECT state FROM execution_order WHERE client_id = %s", client_id) == [("created",)]
        second = floor.worker("execution")
        floor.until(lambda: floor.desk_fence() > fence, "a second worker takes over", 20)
        floor.until(lambda: floor.desk_state() == "trading", "the second desk trades", 30)
        assert floor.query("SELECT state FROM execution_order WHERE client_id = %s", client_id) == [("expired",)]
        os.kill(first.pid, signal.SIGCONT)
        time.sleep(2.0)  # long enough for anything that was under way to leave
        assert not [row for row in floor.exchange.ledger("order") if row["link_id"] == client_id]
        assert floor.query("SELECT state FROM execution_order WHERE client_id = %s", client_id) == [("expired",)]
        floor.run_to(FALL + 3)
        assert second.poll() is None
        floor.prove()


def test_a_lost_acknowledgement_is_asked_for_and_nothing_is_sent_again() -> None:
    with Floor() as floor:
        floor.desk_start()
        floor.exchange.fault(fault="ack_lost", count=1, path="order/create")
        floor.fall()
        floor.until(lambda: stops_resting(floor) == 1, "the order was found, filled and protected")
        lost = [row for row in floor.entry_requests() if row.get("answer") == "lost"]
        assert len(lost) == 1
        client_id = lost[0]["body"]["orderLinkId"]
        assert len([row for row in floor.entry_requests() if row["body"]["orderLinkId"] == client_id]) == 1
        floor.run_to(FALL + 3)
        floor.prove()


def stops_resting(floor: Floor) -> int:
    """How many protective stops rest at the exchange now."""
    orders = floor.exchange.call("GET", "/state")["accounts"][0]["orders"]
    return sum(1 for order in orders if float(order.get("triggerPrice") or 0) > 0)


def test_bus_gone_for_ten_seconds_no_new_risk_leaves_and_afterwards_all_is_booked() -> None:
    with Floor() as floor:
        floor.desk_start()
        floor.run_to(FALL - 1)
        os.kill(floor.valkey.process.pid, signal.SIGSTOP)
        gone_ns = time.time_ns()
        floor.minute = FALL
        floor.exchange.run_to(FALL)
        time.sleep(10.0)
        during = [row for row in floor.exchange.orders_of() if row["wall_ns"] > gone_ns + 300_000_000]
        assert during == []
        os.kill(floor.valkey.process.pid, signal.SIGCONT)
        floor.until(lambda: floor.decided_to(FALL), "the minute is decided after all")
        floor.run_to(FALL + 12)
        floor.prove()


def test_database_gone_for_ten_seconds_kill_flatten_runs_and_is_booked_afterwards() -> None:
    with Floor() as floor:
        floor.desk_start()
        floor.fall()
        floor.until(lambda: stops_resting(floor) == 1, "the deployment holds and is protected")
        before = len(floor.exchange.ledger("order"))
        postgres_all(floor, signal.SIGSTOP)
        gone_ns = time.time_ns()
        said = floor.manage("kill", "--flatten", "--reason", "drill", "--wait", "0")
        assert "engaged" in said.stdout
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            time.sleep(0.1)
        sent = floor.exchange.ledger("order")[before:]
        assert [row["side"] for row in sent] == ["Sell"], floor.words()
        assert not sent[0]["adds_risk"]
        assert floor.exchange.call("GET", "/state")["accounts"][0]["orders"] == []
        creates = [row for row in floor.exchange.orders_of() if row["wall_ns"] > gone_ns]
        assert {row["body"]["side"] for row in creates} == {"Sell"}
        postgres_all(floor, signal.SIGCONT)
        floor.until(
            lambda: floor.query("SELECT state FROM execution_order WHERE leg = 'flatten'") == [("filled",)],
            "the order is booked from the journal",
        )
        floor.until(
            lambda: floor.query('SELECT "left", positions_left FROM execution_killsweep') == [(0, 0)],
            "the sweep has its row",
        )
        floor.prove()


def postgres_all(floor: Floor, what: signal.Signals) -> None:
    """Stop or continue the database's processes, all of them: a backend alone would still answer."""
    main = floor.postgres.process.pid
    children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(int(pid)) == main]
    for pid in [main, *children]:
        os.kill(pid, what)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0
