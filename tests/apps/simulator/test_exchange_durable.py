"""A simulator that is killed at any moment has what it told: orders, fills, balances, ledger."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import ccxt
import pytest

from tests.apps.simulator.exchange_half import KEY, SECRET, configuration

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[3]
SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


class Simulator:
    """`simulate` as a process of its own; started again on the same folder as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def start(self) -> ccxt.bybit:
        """Start it and return a client."""
        options = ["--port", "0", "--control-port", "0", "--key", KEY, "--secret", SECRET, "--state", str(self.folder)]
        code = "import sys; from apps.simulator.command import main; sys.exit(main(sys.argv[1:]))"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *options, "--limits", "off", "--paused"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.addresses = json.loads(self.process.stdout.readline())
        client = ccxt.bybit(configuration(self.addresses["rest"], self.addresses["socket"], timeout=4000))
        client.load_markets()
        return client

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def died(self) -> None:
        """Wait until it has died of a fault."""
        assert self.process.wait(10) == -signal.SIGKILL

    def control(self, method: str, path: str, body: Any = None) -> bytes:
        """Call the control address."""
        token = (self.folder / "control.token").read_text()
        data = json.dumps(body).encode() if body is not None else None
        request = Request(self.addresses["control"] + path, data, {"Authorization": f"Bearer {token}"}, method=method)
        with urlopen(request, timeout=5) as response:
            return response.read()

    def ledger(self, kind: str) -> list[dict]:
        """Return ledger rows."""
        return [json.loads(line) for line in self.control("GET", f"/ledger?kind={kind}").splitlines()]


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path / "state")
    yield simulator
    if simulator.process is not None and simulator.process.poll() is None:
        simulator.process.terminate()
        simulator.process.wait(10)


def test_a_killed_simulator_comes_back_with_orders_fills_balances_and_ledger(simulator: Simulator) -> None:
    client = simulator.start()
    price = client.fetch_ticker(SPOT)["last"]
    client.create_order(SPOT, "market", "buy", 0.01, None, {"clientOrderId": "taken"})
    client.create_order(SPOT, "limit", "buy", 0.01, round(price * 0.8, 2), {"clientOrderId": "rests"})
    client.create_order(SWAP, "market", "sell", 0.01, None, {"clientOrderId": "short"})
    stop = round(price * 1.2, 1)
    client.create_order(
        SWAP, "market", "buy", 0.01, None, {"triggerPrice": stop, "triggerDirection": 1, "reduceOnly": True}
    )
    client.set_leverage(7, SWAP)
    before = client.fetch_balance()["info"]["result"]["list"][0]["coin"]
    trades = client.fetch_my_trades(SPOT)
    seen = simulator.ledger("")
    simulator.kill()

    client = simulator.start()
    after = client.fetch_balance()["info"]["result"]["list"][0]["coin"]
    for coin_before, coin_after in zip(before, after, strict=True):
        assert Decimal(coin_before["walletBalance"]) == Decimal(coin_after["walletBalance"])
    assert [order["clientOrderId"] for order in client.fetch_open_orders(SPOT)] == ["rests"]
    [waiting] = client.fetch_open_orders(SWAP)
    assert waiting["triggerPrice"] == stop
    [position] = client.fetch_positions()
    assert (position["side"], position["contracts"], position["leverage"]) == ("short", 0.01, 7)
    assert [trade["id"] for trade in client.fetch_my_trades(SPOT)] == [trade["id"] for trade in trades]
    rows = simulator.ledger("")
    assert rows[: len(seen) - 1] == seen[:-1]
    client.cancel_all_orders(SPOT)
    client.cancel_all_orders(SWAP)
    assert client.fetch_open_orders(SPOT) == client.fetch_open_orders(SWAP) == []


@pytest.mark.parametrize(
    ("moment", "is_kept"),
    [("request", False), ("accepted", True), ("fill", True)],
)
def test_a_crash_at_a_named_moment_keeps_what_was_accepted_by_then(
    simulator: Simulator, moment: str, is_kept: bool
) -> None:
    client = simulator.start()
    simulator.control(
        "POST", "/faults", {"fault": "crash", "moment": moment, "path": "order/create" * (moment != "fill")}
    )
    with pytest.raises(ccxt.NetworkError):
        client.create_order(SPOT, "market", "buy", 0.01, None, {"clientOrderId": "one"})
    simulator.died()
    client = simulator.start()
    closed = client.fetch_canceled_and_closed_orders(SPOT, None, None, {"orderLinkId": "one"})
    assert [order["status"] for order in closed] == ["closed"] * is_kept
    assert [row["link_id"] for row in simulator.ledger("order")] == ["one"] * is_kept
    fills = simulator.ledger("fill")
    assert sum(Decimal(row["quantity"]) for row in fills) == (Decimal("0.01") if is_kept else 0)
    assert (client.fetch_balance()["total"].get("BTC", 0) > 0) == is_kept


def test_a_crash_after_the_answer_lets_the_answer_out(simulator: Simulator) -> None:
    client = simulator.start()
    simulator.control("POST", "/faults", {"fault": "crash", "moment": "answered", "path": "order/create"})
    order = client.create_order(SPOT, "market", "buy", 0.01)
    simulator.died()
    client = simulator.start()
    assert client.fetch_order(order["id"], SPOT, {"acknowledged": True})["status"] == "closed"


def test_it_starts_light_and_soon(simulator: Simulator) -> None:
    began = time.monotonic()
    simulator.start()
    took = time.monotonic() - began
    status = Path(f"/proc/{simulator.process.pid}/status")
    if status.exists():
        resident = int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1])
        assert resident < 110_000, f"{resident} kB"
    assert took < 10
