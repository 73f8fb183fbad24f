"""Reads of the API, 500 a second, on one web process as `up` starts it: every list in turn, a page of 50 rows each."""

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
from django.core.management import call_command

from tests.benchmarks.table import percentile, row

RATE, SECONDS, P99_MS = 500.0, 10.0, 50.0
WARM_S = 3.0
ROWS = 5_000
CHECKS = [{"name": "order_notional", "number": "410", "limit": "5000", "verdict": "ok"}]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
API = "/api/v1"
LISTS = ("instruments", "accounts", "positions", "signals", "decisions", "orders", "fills", "limits", "refusals")
SERVERS = {
    "daphne": ("daphne", "-b", "127.0.0.1", "--no-server-name", "-v", "0", "-p"),
    "uvicorn": (
        "uvicorn",
        "--host",
        "127.0.0.1",
        "--lifespan",
        "off",
        "--no-access-log",
        "--log-level",
        "error",
        "--port",
    ),
}


def rows() -> list[dict[str, Any]]:
    """Measure and return the table's rows."""
    call_command("migrate", verbosity=0)
    token, paths = _desk()
    found = []
    for name in SERVERS:
        with _site(name) as (port, process):
            reads = _load(port, process, token, paths)
        found += [
            row(
                f"API: reads a second, one web process ({name})", reads["rate"], "reads/s", "goal", RATE, at_most=False
            ),
            row(f"API: read of 50 rows, 500 a second, p99 ({name})", reads["p99"], "ms", "goal", P99_MS),
            row(f"API: read of 50 rows, 500 a second, p50 ({name})", reads["p50"], "ms", "shown", None),
            row(f"API: web process at 500 reads a second ({name})", reads["cpu"], "cores", "shown", None),
        ]
    return found


def _load(port: int, process: psutil.Process, token: str, paths: list[str]) -> dict[str, float]:
    for seconds in (WARM_S, SECONDS):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "took.json"
            before, began = sum(process.cpu_times()[:2]), time.perf_counter()
            words = [str(port), token, str(RATE), str(seconds), json.dumps(paths), str(out)]
            subprocess.run([sys.executable, "-m", "tests.benchmarks.api_load", *words], check=True, timeout=300)
            cpu = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - began)
            found = json.loads(out.read_text())
    assert not found["bad"], found["bad"]
    took = found["took_ms"]
    # half a per cent of the asked rate is the clock's own: the last answer comes after its due time
    rate = RATE if found["seconds"] <= SECONDS * 1.005 else found["asked"] / found["seconds"]
    return {"rate": rate, "p50": percentile(took, 0.5), "p99": percentile(took, 0.99), "cpu": cpu}


@contextmanager
def _site(name: str) -> Any:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *SERVERS[name], str(port), "trader.asgi:application"]
    process = subprocess.Popen(command, env={**os.environ, "DJANGO_SETTINGS_MODULE": "trader.settings"})
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.05)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)


def _desk() -> tuple[str, list[str]]:
    """Write a desk's history; return a token and the addresses to read."""
    from apps.execution.models import Fill, Order
    from apps.market.models import Epoch, Instrument, InstrumentTerms, Venue
    from apps.portfolio.models import Account, EquitySnapshot, Position
    from apps.risk.models import Limit, Refusal
    from apps.strategies.models import Decision, Deployment, Signal
    from apps.users.models import User
    from apps.users.services import api_token_create

    venue = Venue.objects.create(code="bench", name="Bench", is_simulated=True)
    epoch = Epoch.objects.create(venue=venue, number=1, kind="synthetic", is_current=True)
    account = Account.objects.create(venue=venue, epoch=epoch, name="Bench")
    deployment = Deployment.objects.create(
        key="bench-1", strategy="mean_reversion", code_hash="0", universe_name="desk", account=account
    )
    coins = [f"C{index:02}" for index in range(60)]
    instruments = Instrument.objects.bulk_create(
        Instrument(
            venue=venue, symbol=f"{coin}/USDT", slug=f"{coin.lower()}-usdt", venue_symbol=f"{coin}USDT", kind="spot",
            base=coin, quote="USDT", settle="USDT",
        )
        for coin in coins
    )  # fmt: skip
    one, half = instruments[0], Decimal("0.5")
    terms = {"valid_from": NOW, "tick": Decimal("0.01"), "lot": Decimal("0.001")}
    InstrumentTerms.objects.bulk_create(InstrumentTerms(instrument=found, **terms) for found in instruments)
    owned = {"account": account, "owner": deployment.key}
    Position.objects.bulk_create(Position(instrument=found, quantity=half, **owned) for found in instruments)
    checks = ("order_notional", "position_notional")
    Limit.objects.bulk_create(
        Limit(check_name=check, account=account, instrument=found, value=1000)
        for check in checks
        for found in instruments
    )
    moments = [NOW + timedelta(minutes=minute) for minute in range(ROWS)]
    EquitySnapshot.objects.bulk_create(
        EquitySnapshot(account=account, market_at=at, wall_at=at, equity=Decimal("100000.25")) for at in moments
    )
    decisions = Decision.objects.bulk_create(
        Decision(
            id=uuid.uuid4(), deployment=deployment, instrument=one, bar_open=at, market_at=at, outcome="signal",
            reason="below_band", features={"zscore_20": -2.31, "rsi_14": 31.5},
        )
        for at in moments
    )  # fmt: skip
    Signal.objects.bulk_create(
        Signal(
            decision=made, deployment=deployment, instrument=one, direction=1, strength=0.5, horizon_s=300,
            reason="below_band", market_at=made.market_at,
        )
        for made in decisions
    )  # fmt: skip
    Order.objects.bulk_create(
        Order(
            client_id=uuid.uuid4().hex, instrument=one, side="buy", kind="limit", quantity=half, price=1,
            adds_risk=True, state="filled", filled=half, fence=1, market_at=at, **owned,
        )
        for at in moments
    )  # fmt: skip
    Fill.objects.bulk_create(
        Fill(
            instrument=one, venue_fill_id=str(at), venue_order_id="x", side="buy", quantity=half, price=1,
            fee=Decimal("0.004"), fee_currency="USDT", market_at=at, **owned,
        )
        for at in moments
    )  # fmt: skip
    Refusal.objects.bulk_create(
        Refusal(
            instrument=one, check_name="position_notional", number=4000, limit=4000, detail="max position",
            market_at=at, checks=CHECKS, **owned,
        )
        for at in moments
    )  # fmt: skip
    person = User.objects.create(username="bench", role="viewer")
    _, token = api_token_create(user=person, name="bench", scopes=["read"], by="bench")
    more = [f"{API}/equity?account={account.pk}", f"{API}/status"]
    return token, [f"{API}/{name}" for name in LISTS] + more


if __name__ == "__main__":
    print(rows())
