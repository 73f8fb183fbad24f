"""From started to trading: waits for feed and desk, lets a replay run, paces it, and takes the times."""

import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import redis

from trader.runtime.market import Control
from trader.runtime.status import residents

READY = ("ready", "trading", "blocked", "killed")  # a halted desk must not hold a replay back
MINUTE_NS = 60_000_000_000
PACER_WAIT_S = 2.0
LAST = "qd:last"


class Readiness:
    """Ticks beside the supervisor until the first price has moved; paces a replay at `--speed max`."""

    def __init__(self, stack: Any, prepared: dict[str, Any], speed: str, began: float) -> None:
        self.stack, self.prepared, self.began = stack, prepared, began
        self.login_url: str = prepared.get("login_url", "")
        self.is_paced = speed == "max"
        self.web_ready = self.price_moved = self.market_runs = False
        self.residents: list[dict[str, Any]] = []
        self.clock: dict[str, Any] = {}
        self._control = self._control_of(stack, prepared)
        self._redis = redis.Redis.from_url(stack.addresses.redis_url, socket_timeout=1.0)
        self._first_quotes: dict[bytes, bytes] | None = None
        self._until_ns = 0
        self._until_since = 0.0
        self._residents_at = 0.0
        self.market_about: list[str] = []

    @property
    def has_market(self) -> bool:
        """Say whether a simulator of ours makes prices."""
        return self._control is not None

    @property
    def is_calm(self) -> bool:
        """Say whether nothing waits on us any more, so that we may look once a second."""
        return self.web_ready and self.price_moved and self.market_runs and not self._pacing

    def tick(self) -> float:
        """Look once; return how long to wait before the next look, in seconds."""
        self._look_at_residents()
        if not self.web_ready:
            self.web_ready = self._web_answers()
            self._took("web", self.web_ready)
        if not self.market_runs:
            self._let_run()
        if not self.price_moved:
            self.price_moved = self._price_has_moved()
            self._took("first price", self.price_moved)
        if self._pacing:
            self._pace()
            return 0.005
        return 0.1

    @property
    def _pacing(self) -> bool:
        return self.is_paced and self.market_runs and not self.clock.get("ended")

    def _took(self, name: str, happened: bool) -> None:
        if happened:
            self.stack.timings[f"until {name}"] = round(time.monotonic() - self.began, 2)
            self.stack.write()

    def _look_at_residents(self) -> None:
        period = 5.0 if self.is_calm else 0.4
        if time.monotonic() - self._residents_at < period:
            return
        self._residents_at = time.monotonic()
        self.residents = residents(self.stack.addresses.database_url) or []
        if self._control is not None and not self._pacing:
            self.clock = self._control.clock() or self.clock

    def _web_answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.stack.addresses.web + "/healthz", timeout=1):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def _let_run(self) -> None:
        if self._control is None:
            self.market_runs = True
            return
        states = {row["kind"]: row["state"] for row in self.residents}
        if states.get("feed") not in READY or states.get("desk") not in READY:
            return
        self.clock = self._control.clock() or {}
        if not self.clock:
            return
        if self.clock.get("running") or self.clock.get("ended"):
            self.market_runs = True
        elif self.is_paced:
            self.market_runs = True
            self._move_on()
        else:
            self.market_runs = self._control.market(resume=True) is not None
        self._took("trading", self.market_runs)
        self.market_about = self._about()

    def _about(self) -> list[str]:
        """Return what the simulator says of its market: of a replay, each file with its tick, lot and history."""
        try:
            return (Path(self.prepared["simulator_state_dir"]) / "about.txt").read_text().splitlines()
        except OSError:
            return []

    def _price_has_moved(self) -> bool:
        try:
            last: dict[bytes, bytes] = self._redis.hgetall(LAST)  # type: ignore[assignment]
        except redis.RedisError:
            return False
        quotes = {topic: body for topic, body in last.items() if topic.startswith(b"quote.")}
        if self._first_quotes is None and quotes:
            self._first_quotes = quotes
        return bool(self._first_quotes) and any(
            quotes[t] != b for t, b in (self._first_quotes or {}).items() if t in quotes
        )

    def _pace(self) -> None:
        """Let the market run another minute once every desk has wholly worked the last one."""
        waited = time.monotonic() - self._until_since
        if self._desks_done() or waited > PACER_WAIT_S:
            self._move_on()

    def _move_on(self) -> None:
        assert self._control is not None
        now_ns = self._until_ns or int(self.clock.get("market_ns", 0))
        self._until_ns = now_ns - now_ns % MINUTE_NS + MINUTE_NS
        self._until_since = time.monotonic()
        self.clock = self._control.market(until=self._until_ns) or self.clock
        if "ended" not in self.clock:
            self.clock = self._control.clock() or self.clock

    def _desks_done(self) -> bool:
        """Whether this market's desk has wholly worked the last minute; desks of older epochs do not count."""
        try:
            body: bytes | None = self._redis.hget(LAST, f"health.desk.{self.prepared['account_id']}")  # type: ignore[assignment]
        except (redis.RedisError, KeyError):
            return False
        return body is not None and msgspec.msgpack.decode(body)[1].get("done_ns", 0) >= self._until_ns

    @staticmethod
    def _control_of(stack: Any, prepared: dict[str, Any]) -> Control | None:
        if not prepared.get("simulator_state_dir"):
            return None
        return Control(stack.addresses.control, Path(prepared["simulator_state_dir"]))
