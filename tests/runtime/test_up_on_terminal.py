"""`up` on a terminal, on servers of the person's own, with a replay at a speed: from its held start to `down`.

One stack for all of it: the tests look at it in the order in which a person would, and the last ones end it.
"""

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.stack import ROOT, RunningStack
from trader.runtime.servers import EmbeddedPostgres, EmbeddedValkey

pytestmark = pytest.mark.stack
BEGINS = datetime(2024, 1, 1, tzinfo=UTC)
BEFORE, MINUTES = 30, 6  # of history, and replayed
START, END = BEGINS + timedelta(minutes=BEFORE), BEGINS + timedelta(minutes=BEFORE + MINUTES)
SPEED = 60  # market seconds a second
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class OnATerminal(RunningStack):
    """`up` as a person runs it: its output is a terminal's, and what it drew is kept in the output file."""

    def start(self) -> None:
        ours, its = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up", *self.arguments],
            cwd=ROOT, env=self.environment, stdin=its, stdout=its, stderr=its, text=True, start_new_session=True,
        )  # fmt: skip
        os.close(its)
        threading.Thread(target=self._read, args=(ours,), daemon=True).start()

    def _read(self, ours: int) -> None:
        with self.output.open("ab", buffering=0) as output, os.fdopen(ours, "rb", buffering=0) as terminal:
            try:
                while drawn := terminal.read(4096):
                    output.write(drawn)
            except OSError:  # Linux ends a terminal that nobody writes to any more so
                pass

    def drawn(self) -> str:
        """Return all that was ever drawn, without colours."""
        return ESCAPES.sub("", self.output.read_text(errors="replace")).replace("\r\n", "\n")

    def picture(self) -> str:
        """Return what was drawn last."""
        return "Quarterdeck  " + self.drawn().rpartition("Quarterdeck  ")[2]


def walk(folder: Path) -> None:
    """Write recorded minutes: up and down a little, every one with volume."""
    rows = ["ts,open,high,low,close,volume"]
    for minute in range(BEFORE + MINUTES + 5):
        opened, closed = 100 + minute % 7, 100 + (minute + 1) % 7
        stamp = int((BEGINS + timedelta(minutes=minute)).timestamp())
        rows.append(f"{stamp},{opened},{max(opened, closed) + 1},{min(opened, closed) - 1},{closed},{5 + minute % 3}")
    (folder / "walk.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def running() -> Iterator[SimpleNamespace]:
    """A replay of a written file, on a PostgreSQL and a Valkey that `up` is given."""
    folder = Path(tempfile.mkdtemp(prefix="qdr-"))
    (folder / "s").mkdir(mode=0o700)
    walk(folder)
    postgres = EmbeddedPostgres(folder / "pg", folder / "s", folder / "pg.log")
    valkey = EmbeddedValkey(folder / "valkey", folder / "s", folder / "valkey.log")
    try:
        postgres.start()
        valkey.start()
        arguments = ["--market", "replay", "--data", str(folder), "--symbols", "walk=BTC/USDT", "--speed", str(SPEED)]
        last = END - timedelta(minutes=1)  # the minute of `--to` is the last one that is replayed
        arguments += ["--from", f"{START:%Y-%m-%dT%H:%M}", "--to", f"{last:%Y-%m-%dT%H:%M}"]
        with OnATerminal(*arguments, DATABASE_URL=postgres.url, REDIS_URL=valkey.url) as stack:
            yield SimpleNamespace(stack=stack, postgres=postgres, valkey=valkey)
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)


def shown(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")


def test_the_market_stands_at_its_start_until_feed_and_desk_are_ready_and_runs_to_its_end(running):
    stack = running.stack
    stack.wait(lambda: f"replay ended, {shown(END)}" in stack.drawn(), "the replay ends", 120)
    stands = [line for line in stack.drawn().splitlines() if "replay stands" in line and "…" not in line]
    assert stands
    assert all(shown(START) in line for line in stands)
    ready = stack.query("select extract(epoch from min(reconciled_at)) from execution_session")[0][0]
    moved = [frame["wall_ns"] for frame in stack.ledger("frame") if frame["market_ns"] > START.timestamp() * 1e9]
    assert moved
    assert min(moved) / 1e9 > float(ready)


def test_every_replayed_minute_is_stored_and_decided(running):
    stack = running.stack
    start_ns, end_ns = (int(at.timestamp()) * 10**9 for at in (START, END))
    wanted = list(range(start_ns, end_ns, 60 * 10**9))
    bars = "select open_ns from market_bar_day where timeframe_s = 60 and open_ns >= %s and revision = 0 order by 1"
    stack.wait(lambda: [row[0] for row in stack.query(bars, start_ns)] == wanted, "every minute is stored", 30)
    decided = "select count(*) from strategies_decision"
    stack.wait(lambda: stack.query(decided)[0][0] >= MINUTES - 1, "the desk has decided", 30)


def test_given_servers_are_used_and_none_is_embedded(running):
    found = running.stack.status()
    names = {row["name"] for row in found["processes"]}
    assert names >= {"supervisor", "simulator", "web", "worker-data", "worker-execution"}
    assert not names & {"postgres", "valkey"}
    assert not (running.stack.folder / "state" / "postgres").exists()
    assert not (running.stack.folder / "state" / "valkey").exists()
    with urllib.request.urlopen(found["urls"]["web"] + "/sign-in/", timeout=30) as answer:
        assert answer.status == 200
        assert b"<form" in answer.read()


def test_the_screen_shows_the_link_every_process_and_the_times(running):
    stack = running.stack
    rows = {row["name"]: row["pid"] for row in stack.status()["processes"]}

    def whole() -> str:
        picture = stack.picture()  # it is drawn while we look
        return picture if "logs in" in picture and all(f"{name} " in picture for name in rows) else ""

    picture = stack.wait(whole, "every process is drawn")
    assert f"{stack.status()['urls']['web']}/sign-in/link/#" in picture
    for name, pid in rows.items():
        assert re.search(rf"● {name}\s+{pid}\b", picture), name
    times = re.search(r"started: (.+)", picture)
    assert times
    parts = dict(re.findall(r"([a-z ]+?) (\d+\.\d) s", times[1]))
    assert {"servers", "schema"} <= {name.strip() for name in parts}
    assert {"until web", "until first price", "until trading"} <= {name.strip() for name in parts}


# the last ends the module's stack


def test_down_from_another_shell_ends_everything_and_leaves_the_given_servers(running):
    stack = running.stack
    ours = [psutil.Process(row["pid"]) for row in stack.status()["processes"] if row["pid"]]
    ours += [child for process in ours for child in process.children(recursive=True)]
    ended = stack.manage("down")
    assert ended.stdout.strip() == "Stopped."
    assert stack.process.wait(10) == 0
    gone, alive = psutil.wait_procs([process for process in ours if process.pid != stack.process.pid], timeout=10)
    assert [process.cmdline() for process in alive] == []
    assert gone
    assert not (stack.folder / "state" / "run" / "stack.json").exists()
    assert not stack.status()["running"]
    assert running.postgres.is_alive()
    assert running.valkey.is_alive()
