"""A trading floor of real processes for the drills: servers of its own, the simulated exchange, feed and desk workers.

Workers are killed, stopped and let go on by id; every proof comes from the exchange's ledger.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from tests.apps.execution.living import MINUTE_NS, ROOT, SPOT, START_NS, WARM, Exchange, file_make, prices_make
from tests.apps.execution.pace import LONG_S, SCALE
from tests.kernels import state_with_kernels
from trader.runtime.servers import EmbeddedPostgres, EmbeddedValkey

# shortened for drills, and longer again, all together, on a machine that is slow (`pace.py`)
LEASES = {
    "QD_LEASES_TTL_S": f"{4 * SCALE:g}",
    "QD_LEASES_RENEW_S": f"{0.5 * SCALE:g}",
    "QD_LEASES_STOP_MARGIN_S": f"{1.5 * SCALE:g}",
    "QD_LEASES_POLL_S": "0.2",
    "QD_EXECUTION_RECV_WINDOW_MS": str(min(int(800 * SCALE), 5000)),
    "QD_EXECUTION_SIGNATURE_AGE_MS": str(min(int(600 * SCALE), 5000)),
    "QD_KILL_FRESH_MS": str(min(int(200 * SCALE), 2000)),
    "QD_EXECUTION_RECONCILE_S": "2",
    "QD_EXECUTION_CHECKPOINT_S": "2",
}
FALL, BACK = WARM + 2, WARM + 8
# a desk that is held up refuses a signal, and rightly so: then the next fall is the one that is bought
FALLS = (FALL, WARM + 26, WARM + 50)
MOVES = {FALL: -0.006, BACK: 0.008} | {
    minute: share for fall in FALLS[1:] for minute, share in ((fall, -0.006), (fall + 6, 0.006))
}


class InvariantBroken(AssertionError):
    """What must hold whatever happens did not: no second try of a test takes that back."""


class Floor:
    """`with Floor() as floor:`; a fall of the price at minute FALL makes the deployment buy."""

    def __init__(
        self, minutes: int = 240, volume: float = 8_000.0, prices: Any = None, limits: str = "bybit", *,
        flush: bool = False, **environment: str,
    ) -> None:  # fmt: skip
        self.folder = Path(tempfile.mkdtemp(prefix="qdf-"))
        (self.folder / "s").mkdir(mode=0o700)
        self.postgres = EmbeddedPostgres(self.folder / "pg", self.folder / "s", self.folder / "pg.log")
        self.valkey = EmbeddedValkey(self.folder / "valkey", self.folder / "s", self.folder / "valkey.log")
        self.workers: list[subprocess.Popen] = []
        self.minute = WARM - 1
        self.fell = FALL
        self.found: dict[str, Any] = {}
        closes = prices_make(minutes, MOVES) if prices is None else prices
        file_make(self.folder / "m.csv", closes, volume)
        self.exchange = Exchange(self.folder, self.folder, WARM, minutes - 1, f"m={SPOT}", limits)
        self._extra = environment
        self._flush = flush  # to the disk at each commit: for measures; no drill takes the machine's power away

    @property
    def environment(self) -> dict[str, str]:
        return {
            **_environment_kept(),
            **LEASES,
            **self._extra,
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "QD_RUNTIME_STATE_DIR": str(self.folder / "state"),
            "OMP_NUM_THREADS": "1",
        }

    def __enter__(self) -> "Floor":
        try:
            state_with_kernels(self.folder / "state")
            subprocess.run(["cp", "-a", str(_cluster_migrated()), str(self.folder / "pg")], check=True)
            with _no_flush(not self._flush):
                self.postgres.start()
            self.valkey.start()
            prepared = self.manage("prepare", "--options", json.dumps(self.exchange.seed_options()))
            self.found = json.loads(prepared.stdout.splitlines()[-1])
            self.exchange.start(Path(self.found["simulator_state_dir"]))
            self.worker("data")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.workers:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
        self.exchange.stop()
        for server in (self.valkey, self.postgres):
            if server.process is not None:
                with suppress(ProcessLookupError):
                    server.process.send_signal(signal.SIGCONT)
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Processes

    def worker(self, queue: str, **environment: str) -> subprocess.Popen:
        """Start a real worker of a queue."""
        name = f"{queue}-{len(self.workers)}"
        command = [
            sys.executable, "-m", "celery", "-A", "celery_worker.app", "worker", "-Q", queue, "-n", f"{name}@drill",
            "-P", "threads", "-c", "2", "-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat",
        ]  # fmt: skip
        with (self.folder / f"{name}.log").open("w") as log:
            env = {**self.environment, "QD_PROCESS": name, **environment}
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        self.workers.append(process)
        return process

    def manage(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        """Run a command of `manage.py` on this floor."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env={**self.environment, **environment},
            capture_output=True, text=True, check=False, timeout=2 * LONG_S,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def desk_start(self, **environment: str) -> subprocess.Popen:
        """Start an execution worker and wait until its desk trades, under a new fence."""
        before = self.desk_fence()
        process = self.worker("execution", **environment)
        self.until(
            lambda: self.desk_fence() > before and self.desk_state() in ("trading", "killed", "blocked"),
            "the desk is at work",
        )
        return process

    # What is true now

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.postgres.url, connect_timeout=5, autocommit=True) as connection:
            cursor = connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def desk_state(self) -> str:
        rows = self.query("SELECT meta->>'state' FROM common_lease WHERE kind = 'desk' AND expires_at > now()")
        return str(rows[0][0]) if rows else ""

    def desk_fence(self) -> int:
        rows = self.query("SELECT fence FROM common_lease WHERE kind = 'desk'")
        return int(rows[0][0]) if rows else 0

    def decided_to(self, minute: int) -> bool:
        """Whether a decision was stored for this minute's bar."""
        return bool(self.query("SELECT 1 FROM strategies_decision WHERE bar_open = to_timestamp(%s)", _opened(minute)))

    def came_to_nothing(self, minute: int) -> bool:
        """Whether this minute's bar was decided, and no order came of it."""
        return bool(
            self.query(
                "SELECT 1 FROM strategies_decision d LEFT JOIN strategies_signal s ON s.decision_id = d.id WHERE "
                "bar_open = to_timestamp(%s) AND (outcome <> 'signal' OR s.state IN ('refused', 'expired'))",
                _opened(minute),
            )
        )

    def is_calm(self) -> bool:
        """Whether all that was asked has ended: one stop rests for all that is held, and nothing else is under way."""
        account = self.exchange.call("GET", "/state")["accounts"][0]
        stops = [order for order in account["orders"] if float(order.get("triggerPrice") or 0) > 0]
        held = float(account["wallets"].get("BTC", 0))
        states = "('created', 'sent', 'unknown', 'cancelling', 'partly_filled')"
        under_way = self.query(f"SELECT 1 FROM execution_order WHERE state IN {states} OR (kind = 'market' "
                               "AND state = 'acknowledged')")  # fmt: skip
        # in whole lots of what the fee has left
        return len(stops) == 1 and not under_way and held - 1.0 < float(stops[0]["qty"]) <= held

    def run_to(self, minute: int) -> None:
        """Move the market minute by minute; each is given time to reach the desk's decisions."""
        for one in range(self.minute + 1, minute + 1):
            self.minute = one
            self.exchange.run_to(one)
            self.until(lambda: self.decided_to(one), f"minute {one} is decided")  # noqa: B023

    def fall_until(
        self,
        condition: Callable[[], Any],
        what: str,
        before: Callable[[], Any] | None = None,
        after: Callable[[], Any] | None = None,
    ) -> None:
        """Let the price fall until the deployment's wish to buy has come to what is waited for; `fell` is when it did.

        `before` is done right before each fall, `after` once something has come of it.
        """
        for self.fell in FALLS:
            self.run_to(self.fell - 1)
            self.until(lambda: self.desk_state() == "trading", "the desk trades")
            if before is not None:
                before()
            self.minute = self.fell
            self.exchange.run_to(self.fell)
            self.until(lambda: condition() or self.came_to_nothing(self.fell), what)
            if after is not None:
                after()
            if condition():
                return
        raise AssertionError(f"not in {len(FALLS)} falls: {what}\n{self.words()}")

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = LONG_S) -> Any:
        """Return the first true answer; a database that does not answer is no answer."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(psycopg.Error, OSError):
                if answer := condition():
                    return answer
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n{self.words()}")

    def words(self) -> str:
        """Return the end of every log."""
        logs = sorted((self.folder / "state" / "logs").glob("*.log")) + sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-2500:]}" for log in logs)

    # Proof

    def prove(self) -> None:
        """One accepted order at most per client id; every fill booked once; positions and cash as at the venue."""
        try:
            self._prove()
        except AssertionError as error:
            raise InvariantBroken(str(error)) from error

    def _prove(self) -> None:
        accepted = [row["link_id"] for row in self.exchange.ledger("order")]
        assert len(set(accepted)) == len(accepted), f"sent twice: {accepted}"
        entries = self.query(
            "SELECT decision_id, count(*) FROM execution_order WHERE leg = 'entry' AND client_id = ANY(%s) GROUP BY 1",
            accepted,
        )
        assert all(count == 1 for _, count in entries), f"a decision with two orders: {entries}"
        fills = sorted(row["exec_id"] for row in self.exchange.ledger("fill"))
        self.until(lambda: self._booked() == fills, f"all fills are booked once: {fills}")
        self.until(self._books_equal, "positions and cash equal the venue's")
        adjusted = self.query("SELECT * FROM portfolio_cashmovement WHERE kind = 'adjustment'")
        assert adjusted == [], adjusted

    def _booked(self) -> list[str]:
        return sorted(row[0] for row in self.query("SELECT venue_fill_id FROM execution_fill"))

    def _books_equal(self) -> bool:
        wallets = self.exchange.call("GET", "/state")["accounts"][0]["wallets"]
        cash = self.query("SELECT amount FROM portfolio_cashbalance WHERE currency = 'USDT'")
        held = self.query("SELECT coalesce(sum(quantity), 0) FROM portfolio_position")
        return (
            abs(float(cash[0][0]) - float(wallets["USDT"])) < 1e-6
            and abs(float(held[0][0]) - float(wallets.get("BTC", 0))) < 1e-12
        )

    def entry_requests(self) -> list[dict[str, Any]]:
        """Requests to create a buy that reached the exchange."""
        return [row for row in self.exchange.orders_of() if row["body"].get("side") == "Buy"]


def _environment_kept() -> dict[str, str]:
    """What a floor's processes inherit."""
    left_out = ("QD_", "PYTEST")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


@cache
def _cluster_migrated() -> Path:
    """A stopped cluster with all tables and no row of ours: made once a process, and copied by each floor."""
    folder = Path(tempfile.mkdtemp(prefix="qdf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "s").mkdir(mode=0o700)
    server = EmbeddedPostgres(folder / "pg", folder / "s", folder / "pg.log")
    with _no_flush(True):
        server.start()
    try:
        own = {"DATABASE_URL": server.url, "QD_RUNTIME_STATE_DIR": str(folder / "state")}
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, env=_environment_kept() | own, check=True
        )
    finally:
        server.stop()
    return folder / "pg"


def _opened(minute: int) -> int:
    """When a minute of the file began, in seconds."""
    return (START_NS + minute * MINUTE_NS) // 1_000_000_000


@contextmanager
def _no_flush(is_wished: bool) -> Iterator[None]:
    """Let a server that starts inside make no flushes."""
    if is_wished:
        os.environ["QD_TEST_FSYNC_OFF"] = "1"
    try:
        yield
    finally:
        os.environ.pop("QD_TEST_FSYNC_OFF", None)
