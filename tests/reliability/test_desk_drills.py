"""Drills: the execution worker dies or stands still at a named moment; the exchange's ledger says what came of it."""

import os
import signal
import time

import pytest

from tests.reliability.floor import Floor

pytestmark = [pytest.mark.stack]
WISH = """
from apps.execution.services import manual_order_submit, nonce_make
from apps.market.models import Instrument
from apps.portfolio.models import Account
account = Account.objects.get(pk={account})
print(manual_order_submit(account, Instrument.objects.get(), nonce=nonce_make(), by="tester", **{given}).pk)
"""


def crashed_at(floor: Floor, moment: str) -> str:
    """Start a desk that dies at a moment, let the price fall, and return the client id it died with."""
    mark = floor.folder / "mark"
    process = floor.desk_start(QD_DRILL_CRASH=moment, QD_DRILL_MARK=str(mark))
    if moment == "after_send":
        # a fill may be told before the answer to its order: only with a silent socket is nothing booked by then
        fault = {"fault": "silent_socket", "socket": "private"}
        hush, speak = lambda: floor.exchange.fault(**fault), lambda: floor.exchange.call("DELETE", "/faults")
    else:
        hush = speak = None
    floor.fall_until(lambda: process.poll() is not None, f"the worker is dead at {moment}", hush, speak)
    assert process.returncode == -signal.SIGKILL
    hit, subject = mark.read_text().split()
    assert hit == moment
    return subject


def test_killed_after_the_commit_the_order_is_never_sent_and_ends_as_expired() -> None:
    with Floor() as floor:
        client_id = crashed_at(floor, "after_commit")
        # the moment was hit: a row, no request
        assert state_of(floor, client_id) == "created"
        assert not [row for row in floor.entry_requests() if row["body"]["orderLinkId"] == client_id]
        floor.desk_start()
        floor.until(lambda: state_of(floor, client_id) == "expired", "the venue knows nothing of it")
        floor.run_to(floor.fell + 3)
        assert not [row for row in floor.exchange.ledger("order") if row["link_id"] == client_id]
        floor.prove()


def test_killed_after_the_send_the_fill_is_found_booked_once_and_protected() -> None:
    with Floor() as floor:
        client_id = crashed_at(floor, "after_send")
        # the moment was hit: the request is there, its answer is not booked
        assert [row["link_id"] for row in floor.exchange.ledger("order")] == [client_id]
        assert state_of(floor, client_id) == "created"
        assert floor.query("SELECT 1 FROM execution_fill") == []
        floor.desk_start()
        floor.until(lambda: state_of(floor, client_id) in ("filled", "cancelled"), "its end is booked")
        floor.until(lambda: stops_resting(floor) == 1, "a stop rests at the venue")
        floor.run_to(floor.fell + 3)
        floor.prove()


def test_killed_with_a_fill_unbooked_it_is_booked_once_afterwards() -> None:
    with Floor() as floor:
        fill_id = crashed_at(floor, "before_booking")
        assert fill_id in [row["exec_id"] for row in floor.exchange.ledger("fill")]
        assert floor.query("SELECT 1 FROM execution_fill WHERE venue_fill_id = %s", fill_id) == []
        floor.desk_start()
        floor.until(lambda: stops_resting(floor) == 1, "a stop rests at the venue")
        floor.run_to(floor.fell + 3)
        floor.prove()


@pytest.mark.parametrize("moment", ["after_commit", "after_gate"])
def test_paused_past_its_lease_the_first_desk_sends_nothing_that_the_venue_takes(moment: str) -> None:
    with Floor() as floor:
        mark = floor.folder / "mark"
        first = floor.desk_start(QD_DRILL_CRASH=f"{moment}:stop", QD_DRILL_MARK=str(mark))
        fence = floor.desk_fence()
        # the file is there before its words are
        floor.fall_until(lambda: mark.exists() and mark.read_text().endswith("\n"), f"it stands still {moment}")
        hit, client_id = mark.read_text().split()
        assert hit == moment
        # the moment was hit: a row, no request
        assert state_of(floor, client_id) == "created"
        assert not requests_of(floor, client_id)
        second = floor.worker("execution")
        floor.until(lambda: floor.desk_fence() > fence, "a second worker takes over")
        floor.until(lambda: floor.desk_state() == "trading", "the second desk trades")
        floor.until(lambda: state_of(floor, client_id) == "expired", "the venue knows nothing of it")
        os.kill(first.pid, signal.SIGCONT)
        if moment == "after_gate":
            # past the gate already, the byte goes out: its signature is older than the window, and the venue says so
            floor.until(lambda: requests_of(floor, client_id), "what had passed the gate leaves")
            assert [row["outcome"].split()[0] for row in requests_of(floor, client_id)] == ["10002"]
        else:
            # what was under way came to the gate and was refused there, or fell with the desk that had lost its lease
            floor.until(
                lambda: any(words in said_by(floor, "execution-1") for words in ("order refused", "this one leaves")),
                "the first desk gives it up",
            )
        assert not [row for row in floor.exchange.ledger("order") if row["link_id"] == client_id]
        assert state_of(floor, client_id) == "expired"
        floor.run_to(floor.fell + 3)
        assert second.poll() is None
        assert moment == "after_gate" or not requests_of(floor, client_id)
        floor.prove()


def test_a_lost_acknowledgement_is_asked_for_and_nothing_is_sent_again() -> None:
    with Floor() as floor:
        floor.desk_start()
        floor.exchange.fault(fault="ack_lost", count=1, path="order/create")
        floor.fall_until(lambda: stops_resting(floor) == 1, "the order was found, filled and protected")
        lost = [row for row in floor.entry_requests() if row.get("answer") == "lost"]
        assert len(lost) == 1
        client_id = lost[0]["body"]["orderLinkId"]
        assert len([row for row in floor.entry_requests() if row["body"]["orderLinkId"] == client_id]) == 1
        floor.run_to(floor.fell + 3)
        floor.prove()


def said_by(floor: Floor, worker: str) -> str:
    """All that a worker has logged."""
    logs = [*(floor.folder / "state" / "logs").glob(f"{worker}*.log"), *floor.folder.glob(f"{worker}*.log")]
    return "".join(log.read_text(errors="replace") for log in logs)


def state_of(floor: Floor, client_id: str) -> str:
    """State of an order's row; empty where it has none."""
    found = floor.query("SELECT state FROM execution_order WHERE client_id = %s", client_id)
    return str(found[0][0]) if found else ""


def requests_of(floor: Floor, client_id: str) -> list[dict]:
    """Requests to create this order that reached the exchange."""
    return [row for row in floor.exchange.orders_of() if row["body"].get("orderLinkId") == client_id]


def wish(floor: Floor, side: str, kind: str, quantity: str, price: str = "") -> int:
    """A person's wish, by the service that the page uses, in a process of its own; returns its number."""
    given = {"side": side, "kind": kind, "quantity": quantity, "price": price or None}
    done = floor.manage("shell", "-c", WISH.format(account=floor.found["account_id"], given=given))
    return int(done.stdout.split()[-1])


def answer_of(floor: Floor, number: int) -> tuple[str, str] | None:
    """What became of a wish, None while nothing did."""
    state, result = floor.query("SELECT state, result FROM execution_deskcommand WHERE id = %s", number)[0]
    return (state, result) if state in ("done", "refused", "failed") else None


def stops_resting(floor: Floor) -> int:
    """How many protective stops rest at the exchange now."""
    orders = floor.exchange.call("GET", "/state")["accounts"][0]["orders"]
    return sum(1 for order in orders if float(order.get("triggerPrice") or 0) > 0)


def test_bus_gone_for_ten_seconds_no_new_risk_leaves_and_kill_flatten_runs() -> None:
    with Floor() as floor:
        floor.desk_start()
        floor.fall_until(lambda: stops_resting(floor) == 1, "the deployment holds and is protected")
        floor.until(floor.is_calm, "its stop covers all of it")
        before = len(floor.exchange.ledger("order"))
        os.kill(floor.valkey.process.pid, signal.SIGSTOP)
        gone_ns, gone = time.time_ns(), time.monotonic()
        number = wish(floor, side="buy", kind="limit", quantity="1", price="98.9")
        answer = floor.until(lambda: answer_of(floor, number), "the wish is answered without the bus")
        assert answer[0] == "refused"
        assert any(word in answer[1] for word in ("bus", "feed")), answer  # or what is silent without it
        said = floor.manage("kill", "--flatten", "--reason", "drill", "--wait", "0")
        assert "engaged" in said.stdout
        floor.until(
            lambda: floor.query('SELECT "left", positions_left FROM execution_killsweep WHERE finished_at IS NOT NULL'),
            "the sweep ends without the bus",
        )
        while time.monotonic() - gone < 10.0:
            time.sleep(0.1)
        sent = [row for row in floor.exchange.orders_of() if row["wall_ns"] > gone_ns]
        assert {row["body"]["side"] for row in sent} == {"Sell"}
        closed = floor.exchange.ledger("order")[before:]
        assert [(row["side"], row["adds_risk"]) for row in closed] == [("Sell", False)]
        os.kill(floor.valkey.process.pid, signal.SIGCONT)
        floor.prove()


def test_database_gone_for_ten_seconds_kill_flatten_runs_and_is_booked_afterwards() -> None:
    with Floor() as floor:
        floor.desk_start()
        floor.fall_until(lambda: stops_resting(floor) == 1, "the deployment holds and is protected")
        floor.until(floor.is_calm, "its stop covers all of it")
        before = len(floor.exchange.ledger("order"))
        postgres_all(floor, signal.SIGSTOP)
        gone_ns = time.time_ns()
        said = floor.manage("kill", "--flatten", "--reason", "drill", "--wait", "0")
        assert "engaged" in said.stdout
        gone = time.monotonic()
        floor.until(lambda: floor.exchange.call("GET", "/state")["accounts"][0]["orders"] == [], "nothing rests")
        while time.monotonic() - gone < 10.0:
            time.sleep(0.1)
        sent = floor.exchange.ledger("order")[before:]
        assert [row["side"] for row in sent] == ["Sell"], floor.words()
        assert not sent[0]["adds_risk"]
        assert floor.exchange.call("GET", "/state")["accounts"][0]["orders"] == []
        creates = [row for row in floor.exchange.orders_of() if row["wall_ns"] > gone_ns]
        assert {row["body"]["side"] for row in creates} == {"Sell"}
        postgres_all(floor, signal.SIGCONT)
        floor.until(
            lambda: ("filled",) in floor.query("SELECT state FROM execution_order WHERE leg = 'flatten'"),
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
    if what is signal.SIGSTOP:
        os.kill(main, what)  # first: from here on it has no further children
    for pid in [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(int(pid)) == main]:
        os.kill(pid, what)
    if what is not signal.SIGSTOP:
        os.kill(main, what)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0
