"""The order path on real processes: bar close to order, decision to wire, engage to the last order that got out.

All times of arrival are the simulated exchange's own, from its ledger.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psycopg
import redis

from tests.apps.execution.living import WARM
from tests.benchmarks.table import percentile, row
from tests.reliability.floor import Floor
from trader.config.loader import variable_of
from trader.config.schema import Config

SHIPPED = Config()
MINUTES = 240
HAMMERS = 2
TRIALS = 240  # a few are void: nobody was sending in the last 50 ms before them
BEFORE_NS = 50_000_000
SPEED = 120  # half a second a minute: its prints come one by one, as they do where people trade, not as one burst
# a drill's short leases mean many more renewals and looks than a desk has
AS_SHIPPED = {
    variable_of(name): str(getattr(getattr(SHIPPED, name.partition(".")[0]), name.partition(".")[2]))
    for name in (
        "leases.ttl_s", "leases.renew_s", "leases.stop_margin_s", "leases.poll_s",
        "execution.recv_window_ms", "execution.reconcile_s", "execution.checkpoint_s",
    )
}  # fmt: skip
EAGER = ["period=8", "regime_period=10", "entry=0.5", "exit=0", "floor=0.25", "stop=0.05", "position_share=0.02"]


def rows() -> list[dict[str, Any]]:
    """Measure all three."""
    return [*_path(), *_kill()]


def _prices(minutes: int) -> np.ndarray:
    """A price that leaves its band and comes back every other minute, so that nearly every bar makes an order."""
    steps = np.arange(minutes)
    return np.round(100.0 + 0.4 * np.where(steps % 4 < 2, 1.0, -1.0) * (1 + 0.2 * np.sin(steps)), 2)


def _path() -> list[dict[str, Any]]:
    with Floor(minutes=WARM + MINUTES + 5, prices=_prices(WARM + MINUTES + 5), flush=True, **AS_SHIPPED) as floor:
        key = floor.found["deployment_key"]
        sets = [part for pair in EAGER for part in ("--set", pair)]
        floor.manage("deploy", "change", key, *sets)
        floor.desk_start()
        floor.exchange.call("POST", "/market", {"speed": SPEED})
        floor.exchange.call("POST", "/market", {"resume": True})
        time.sleep(MINUTES * 60 / SPEED)  # asking meanwhile would burden what is measured
        floor.until(
            lambda: floor.decided_to(WARM + MINUTES - 1), "the last minute is decided", 2 * MINUTES * 60 / SPEED
        )
        time.sleep(2.0)
        closes = _bar_to_order(floor)
        wire_ms = _decision_to_wire(floor)
        bare = _bare_insert(floor.postgres.url)
    limit = "limit"
    return [
        row("bar close to order request, p50", percentile(closes, 0.5), "ms", limit, 20.0),
        row("bar close to order request, p99", percentile(closes, 0.99), "ms", limit, 20.0),
        row("bar close to order: bars that made an order", float(len(closes)), "orders", "at least", 100.0, False),
        row("decision to wire, commit in it, p99", wire_ms, "ms", limit, 10.0),
        # PEERS has no figure for it: it is what the disk and the server of this very run allow
        row("bare insert and commit, p99", percentile(bare, 0.99), "ms", "shown beside it", None),
        row("bare insert and commit, p50", percentile(bare, 0.5), "ms", "shown beside it", None),
    ]


def _bar_to_order(floor: Floor) -> list[float]:
    """From the frame that closes a bar to the request it led to, in ms."""
    closed = {}
    for frame in floor.exchange.ledger("frame"):
        body = frame["body"] if isinstance(frame["body"], dict) else json.loads(frame["body"])
        for bar in body.get("data", []) if "kline.1." in frame["topic"] else []:
            if isinstance(bar, dict) and bar.get("confirm"):
                closed[int(bar["start"])] = frame["wall_ns"]
    sent = {one["body"].get("orderLinkId"): one["wall_ns"] for one in reversed(floor.exchange.orders_of())}
    found = []
    for order_id, bar_ms in floor.query(
        "SELECT o.client_id, (extract(epoch FROM d.bar_open) * 1000)::bigint FROM execution_order o "
        "JOIN strategies_decision d ON d.id = o.decision_id WHERE o.leg IN ('entry', 'exit')"
    ):
        if order_id in sent and int(bar_ms) in closed:
            found.append((sent[order_id] - closed[int(bar_ms)]) / 1e6)
    return found


def _decision_to_wire(floor: Floor) -> float:
    """The desk's own measure over its last orders, p99, from its health topic."""
    with redis.Redis.from_url(floor.valkey.url) as client:
        raw = client.hget("qd:last", f"health.desk.{floor.found['account_id']}")
    assert raw is not None
    return float(msgspec.msgpack.decode(raw)[1]["decision_to_wire_ms"])


def _bare_insert(url: str, times: int = 300) -> list[float]:
    """One row inserted and committed, on the same server."""
    took = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bench_bare (id bigserial PRIMARY KEY, body text)")
        for _ in range(times):
            began = time.perf_counter_ns()
            connection.execute("INSERT INTO bench_bare (body) VALUES (%s)", ["x" * 200])
            took.append((time.perf_counter_ns() - began) / 1e6)
    return took


def _kill() -> list[dict[str, Any]]:
    with Floor(minutes=WARM + 60, limits="off", flush=True) as floor:
        keys = json.loads((Path(floor.found["simulator_state_dir"]) / "keys.json").read_text())[0]
        hammers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.hammer", floor.exchange.rest, keys["key"], keys["secret"]],
                env={**floor.environment, "DJANGO_SETTINGS_MODULE": "trader.settings"}, stdout=subprocess.PIPE,
            )
            for _ in range(HAMMERS)
        ]  # fmt: skip
        try:
            for hammer in hammers:
                assert hammer.stdout is not None
                assert hammer.stdout.readline().strip() == b"ready"
            out = floor.folder / "trials.json"
            subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.kill_trials", str(out), str(TRIALS)],
                env={**floor.environment, "DJANGO_SETTINGS_MODULE": "trader.settings"}, check=True, timeout=600,
            )  # fmt: skip
            late = _late_ms(json.loads(out.read_text()), floor.exchange.orders_of())
        finally:
            for hammer in hammers:
                hammer.kill()
                hammer.wait(5)
    return [
        row("kill switch: engaged to the last risk-adding request, p50", percentile(late, 0.5), "ms", "limit", 50.0),
        row("kill switch: engaged to the last risk-adding request, p99", percentile(late, 0.99), "ms", "limit", 50.0),
        row("kill switch: engaged to the last risk-adding request, worst", max(late), "ms", "limit", 200.0),
        row(
            "kill switch: trials in which orders were on their way",
            float(len(late)),
            "trials",
            "at least",
            200.0,
            False,
        ),
    ]


def _late_ms(trials: list[tuple[int, int]], requests: list[dict[str, Any]]) -> list[float]:
    """For each trial that counts, how long after the first durable write the last request arrived; 0 where none did."""
    at = np.array(sorted(one["wall_ns"] for one in requests), dtype=np.int64)
    late = []
    for engaged_ns, released_ns in trials:
        inside = at[(at > engaged_ns) & (at < released_ns)]
        if not ((at > engaged_ns - BEFORE_NS) & (at <= engaged_ns)).any():
            continue  # nothing was on its way when it was engaged: the trial says nothing
        late.append(float(inside[-1] - engaged_ns) / 1e6 if len(inside) else 0.0)
    return late
