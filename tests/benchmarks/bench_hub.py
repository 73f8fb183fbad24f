"""Bus to browser on Daphne: the product's hub, a bare hub and a bare Channels group under the same load."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command

from tests.benchmarks.table import percentile, row

SECONDS = 10.0
RATE = 10  # updates a second and instrument, 10 instruments
PEERS_CLIENTS, PEERS_P99_MS = 200, 42.0  # section 5 of the peers' figures: a hub on Daphne, p99 32 to 42 ms
LOG_RATE = 200
TOPICS = json.dumps({"op": "sub", "topics": [f"test.quote.{i}" for i in range(10)]})
LOG_TOPIC = json.dumps({"op": "sub", "topics": ["test.others"]})
ENV = {**os.environ, "DJANGO_SETTINGS_MODULE": "trader.settings"}


def rows() -> list[dict[str, Any]]:
    """Measure and return the table's rows."""
    call_command("migrate", verbosity=0)
    with _site() as (port, pid):
        found = _ticks_rows(port, pid)
        found += _log_rows(port, pid)
    return found


def _ticks_rows(port: int, pid: int) -> list[dict[str, Any]]:
    one = _ticks(port, pid, "/ws/", 1, "hub", TOPICS)
    hundred = _ticks(port, pid, "/ws/", 100, "hub", TOPICS)
    bare = _ticks(port, pid, "/bare/", 100, "bare", "")
    group = _ticks(port, pid, "/group/", 100, "group", "")
    peers = _ticks(port, pid, "/bare/", PEERS_CLIENTS, "bare", "", rate=1)  # ten messages a second, as theirs
    return [
        row("bare hub, 200 clients, 10 messages/s, p99", peers["p99"], "ms", "PEERS × 1.3", PEERS_P99_MS * 1.3),
        row("bus to browser, newest price, p99, 1 client", one["p99"], "ms", "goal", 60.0),
        row("bus to browser, newest price, p99, 100 clients", hundred["p99"], "ms", "goal", 100.0),
        row("bus to browser, the same, p99", hundred["p99"], "ms", "bare hub, same load", bare["p99"]),
        row("bus to browser, the same, p50", hundred["p50"], "ms", "half of a frame's span", None),
        row("same load, bare hub, p50, 100 clients", bare["p50"], "ms", "shown", None),
        row("same load, Channels group, p99, 100 clients", group["p99"], "ms", "shown", None),
        row("updates shown of those published, 1 client", one["shown"], "share", "conflation is counted", None),
        row("updates shown of those published, 100 clients", hundred["shown"], "share", "conflation is counted", None),
        row("updates shown, bare hub, 100 clients", bare["shown"], "share", "shown", None),
        row("updates shown, Channels group, 100 clients", group["shown"], "share", "shown", None),
        row("web process, 100 clients, hub", hundred["cpu"], "cores", "bare hub", bare["cpu"]),
        row("web process, 100 clients, Channels group", group["cpu"], "cores", "shown", None),
    ]


def _log_rows(port: int, pid: int) -> list[dict[str, Any]]:
    relay = subprocess.Popen([sys.executable, "-m", "tests.reliability.host_process", "data"], env=ENV)
    try:
        heard, fed, cpu = _measured(port, pid, "/ws/", 100, "log", LOG_RATE, LOG_TOPIC)
    finally:
        relay.terminate()
        relay.wait(10)
    at = dict(fed["committed"])
    waits = [(came - at[number]) / 1e6 for numbers in heard["numbers"] for number, came in numbers if number in at]
    steady = [
        wait
        for numbers in heard["numbers"]
        for number, came in numbers
        if number > LOG_RATE
        for wait in [(came - at[number]) / 1e6]
    ]  # the first second warms up
    return [
        row("log event, commit to browser, p99, 200/s, 100 clients", percentile(steady, 0.99), "ms", "goal", 30.0),
        row("log event, commit to browser, p50, 200/s, 100 clients", percentile(steady, 0.5), "ms", "shown", None),
        row("log events that arrived", len(waits) / (len(at) * 100), "share", "all", 1.0, at_most=False),
        row("log events a second committed", len(at) / fed["seconds"], "1/s", "goal", 0.95 * LOG_RATE, at_most=False),
        row("web process, 200 log events a second, 100 clients", cpu, "cores", "shown", None),
    ]


def _ticks(port: int, pid: int, path: str, clients: int, how: str, ask: str, rate: int = RATE) -> dict[str, float]:
    heard, _, cpu = _measured(port, pid, path, clients, how, rate, ask)
    ages = [(came - sent) / 1e6 for stamps in heard["stamps"] for sent, came in stamps]
    assert heard["alive"] == clients, "a socket was closed during the measurement"
    published = rate * 10 * heard["seconds"] * clients
    return {
        "p50": percentile(ages, 0.5), "p99": percentile(ages, 0.99), "shown": len(ages) / published, "cpu": cpu,
    }  # fmt: skip


def _measured(port: int, pid: int, path: str, clients: int, how: str, rate: int, ask: str) -> tuple[Any, Any, float]:
    """Feed and listen at once; return what the clients heard, what was fed, and the web process's cores."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "heard.json"
        browsers = start("tests.benchmarks.hub_clients", str(port), path, str(clients), ask, str(out))
        assert line(browsers) == "open"
        feed = start("tests.benchmarks.hub_feed", how, str(SECONDS + 2), str(rate))
        assert line(feed) == "started"
        time.sleep(1)  # past the first frames
        before, began = _cpu_s(pid), time.monotonic()
        tell(browsers)
        fed = json.loads(line(feed))
        cpu = (_cpu_s(pid) - before) / (time.monotonic() - began)
        if how == "log":
            time.sleep(1)  # the last ones are on their way
        tell(browsers)
        for process in (browsers, feed):
            process.wait(60)
            close(process)
        return json.loads(out.read_text()), fed, cpu


def start(module: str, *arguments: str, **environment: str) -> Any:
    """Start a helper process of a bench, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**ENV, **environment},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def line(process: Any) -> str:
    """Return the next line that the process prints."""
    return str(process.stdout.readline()).strip()


def tell(process: Any) -> None:
    """Send the process a line."""
    process.stdin.write("go\n")
    process.stdin.flush()


def close(process: Any) -> None:
    """Close the pipes of a process that ended."""
    process.stdin.close()
    process.stdout.close()


@contextmanager
def _site() -> Any:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "-v", "0",
         "tests.benchmarks.hub_site:application"],
        env=ENV,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "daphne did not start"
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
