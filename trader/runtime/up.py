"""`manage.py up`: servers, schema, seed, simulator, processes; then watch over them until told to stop."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from trader.config import ConfigError, load
from trader.runtime import market as markets
from trader.runtime.aside import fresh, unfinished_refuse
from trader.runtime.errors import StartError, said_last
from trader.runtime.keys import keys_ready
from trader.runtime.layout import Layout, json_read, json_write
from trader.runtime.leftovers import leftovers_stop
from trader.runtime.process import binding_refuse
from trader.runtime.reach import refuse_silent
from trader.runtime.readiness import Readiness
from trader.runtime.rotation import EVERY_S, printed_rotate
from trader.runtime.screen import Screen
from trader.runtime.servers import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, StateLock, socket_folder_new
from trader.runtime.stack import MANAGE, Addresses, Stack, port_take
from trader.runtime.supervisor import LONGEST_BACK_OFF_S, Program

STOP_ALL_S = 9.5
STOP_BUDGET_S = 6.5  # for the programs; the servers take what is left
TICK_S = 0.5
LONGEST_WAIT_S = 20.0  # a feed that finds no venue must not keep the schedule from running


def parser() -> argparse.ArgumentParser:
    """Return the options of `up`."""
    parsed = argparse.ArgumentParser(prog="manage.py up", description="Start everything, and watch over it.")
    arguments_add(parsed)
    return parsed


def arguments_add(parsed: argparse.ArgumentParser) -> None:
    """Declare the options of `up`."""
    markets.arguments_add(parsed)
    parsed.add_argument("--plain", action="store_true", help="print lines, do not redraw the screen")
    parsed.add_argument("--fresh", action="store_true", help="begin anew: what was there is moved aside, not deleted")
    parsed.add_argument("--abandon", action="append", default=[], metavar="ACCOUNT",
                        help="with --fresh: leave this live account's orders and positions at its venue")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Start the stack and stay until Ctrl-C, TERM or `manage.py down`; return the exit status."""
    began = time.monotonic()
    try:
        config = load(running=False)
        layout = Layout(config.runtime.state_dir)
        binding_refuse(config)
        market = markets.parameters_of(options)
        layout.prepare()
        lock = StateLock(layout.root)
        lock.acquire()
        unfinished_refuse(layout)
        _begin_anew(options, config, layout)
        keys_ready(layout.root)
    except (StartError, ConfigError) as error:
        print(f"Quarterdeck did not start. {error}", file=sys.stderr)
        return 1
    up = _Up(options, config, layout, market, began)
    try:
        return up.run()
    finally:
        lock.release()


def _begin_anew(options: argparse.Namespace, config: Any, layout: Layout) -> None:
    if options.abandon and not options.fresh:
        raise StartError("--abandon goes with --fresh.", "add --fresh, or leave --abandon out.")
    if options.fresh:
        leftovers_stop(layout)
        moved = fresh(config, layout, options.abandon)
        print(f"· the former state lies in {moved}" if moved else "· there was no former state", flush=True)


class _Stop(Exception):
    """A signal asked us to stop."""


class _Up:
    def __init__(
        self, options: argparse.Namespace, config: Any, layout: Layout, market: dict[str, Any], began: float
    ) -> None:
        self.options, self.config, self.layout, self.market, self.began = options, config, layout, market, began
        self.sockets: Path | None = None
        self.screen = Screen(plain=options.plain)
        self.stack: Stack | None = None
        self.waiting: list[Program] = []
        self.revive_at: dict[str, float] = {}
        self.rotate_at = 0.0

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        status = 0
        try:
            leftovers_stop(self.layout)
            self.stack = self._stack()
            self._start_servers()
            self.stack.supervisor.start(self.stack.web())  # it imports while the database is made ready
            prepared = self._prepare()
            self._start_programs(prepared)
            self._watch(prepared)
        except _Stop:
            pass
        except StartError as error:
            print(f"Quarterdeck did not start. {error}", file=sys.stderr)
            status = 1
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            self._stop()
        return status

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        raise _Stop

    def _stack(self) -> Stack:
        runtime = self.config.runtime
        web_port = port_take(runtime.bind_host, runtime.web_port, "QD_RUNTIME_WEB_PORT")
        host = f"[{runtime.bind_host}]" if ":" in runtime.bind_host else runtime.bind_host
        addresses = Addresses(
            f"http://{host}:{web_port}", database_url=runtime.database_url, redis_url=runtime.redis_url
        )
        if self.market["kind"] != "none":
            port = port_take("127.0.0.1", runtime.simulator_port, "QD_RUNTIME_SIMULATOR_PORT")
            control = port_take("127.0.0.1", runtime.control_port, "QD_RUNTIME_CONTROL_PORT")
            addresses.simulator = f"http://127.0.0.1:{port}"
            addresses.simulator_socket = f"ws://127.0.0.1:{port}"
            addresses.control = f"http://127.0.0.1:{control}"
        return Stack(self.config, self.layout, addresses)

    def _start_servers(self) -> None:
        assert self.stack is not None
        addresses = self.stack.addresses
        self.sockets = socket_folder_new()
        servers: list[EmbeddedServer] = []
        refuse_silent(addresses.database_url, addresses.redis_url)
        if not addresses.database_url:
            postgres = EmbeddedPostgres(self.layout.root / "postgres", self.sockets, self.layout.logs / "postgres.log")
            addresses.database_url = postgres.url
            servers.append(postgres)
        if not addresses.redis_url:
            valkey = EmbeddedValkey(self.layout.root / "valkey", self.sockets, self.layout.logs / "valkey.log")
            addresses.redis_url = valkey.url
            servers.append(valkey)
        for server in servers:
            self.screen.step(f"starting {server.name}")
            self.stack.servers[server.name] = server
            server.start()
        json_write(self.layout.servers_file, {"database_url": addresses.database_url, "redis_url": addresses.redis_url})
        self._timing("servers")

    def _prepare(self) -> dict[str, Any]:
        """Migrate and seed in a process of its own, so that the supervisor stays light."""
        assert self.stack is not None
        self.screen.step("preparing the database")
        addresses = self.stack.addresses
        options = {
            "market": self.market,
            "new_epoch": self.options.new_epoch,
            "simulator": None
            if self.market["kind"] == "none"
            else {
                "rest_url": addresses.simulator,
                "socket_url": addresses.simulator_socket,
                "control_url": addresses.control,
                "state_root": str(self.layout.root / "simulator"),
            },
            "web_url": addresses.web,
        }
        result = subprocess.run(
            [*MANAGE, "prepare", "--options", json.dumps(options)],
            env=self.stack.environment("prepare"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        # its answer stays out of the log: it holds the link that signs in
        (self.layout.logs / "prepare.out.log").write_text(result.stderr)
        if result.returncode != 0:
            what, _, fix = said_last(result.stderr).partition("Fix: ")
            raise StartError(
                f"The database could not be prepared: {what.strip()}",
                fix.strip() or f"all of its words are in {self.layout.logs}/prepare.out.log",
            )
        prepared: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
        self.stack.market = prepared.get("market") or self.market
        self._timing("schema")
        return prepared

    def _start_programs(self, prepared: dict[str, Any]) -> None:
        """Start what the first price needs; the rest follows, so that two cores are not shared by nine imports."""
        assert self.stack is not None
        self.screen.step("starting processes")
        first = [self.stack.worker("data"), self.stack.worker("execution")]
        if prepared.get("simulator_state_dir"):
            simulator = self.stack.simulator(prepared["simulator_state_dir"], self.stack.market, self.options.speed)
            first.insert(0, simulator)
        for program in first:
            self.stack.supervisor.start(program)
        self.waiting = [self.stack.worker("scanning"), self.stack.worker("training"), self.stack.beat()]

    def _watch(self, prepared: dict[str, Any]) -> None:
        assert self.stack is not None
        readiness = Readiness(self.stack, prepared, self.options.speed, self.began)
        while True:
            self.stack.supervisor.tick()
            self._refuse_what_refuses()
            self._revive_servers()
            if time.monotonic() > self.rotate_at:
                self.rotate_at = time.monotonic() + EVERY_S
                printed_rotate(self.layout.logs)
            pause_s = readiness.tick()
            self._start_waiting(readiness)
            self.screen.show(self.stack, readiness)
            time.sleep(min(pause_s, TICK_S) if not readiness.is_calm else 1.0)

    def _refuse_what_refuses(self) -> None:
        """End the start with a program's own words when it says that it cannot run with these options."""
        assert self.stack is not None
        for name, running in self.stack.supervisor.running.items():
            if running.is_refused:
                said = running.program.log.read_text(errors="replace").strip().splitlines() or ["it gave no reason"]
                raise StartError(
                    f"The {name} refuses to run: {said[-1].removeprefix('simulate: ')}",
                    f"correct what it names; all of its words are in {running.program.log}.",
                )

    def _start_waiting(self, readiness: Readiness) -> None:
        """Start one of those that could wait, once the desk trades or has had its time."""
        assert self.stack is not None
        is_time = time.monotonic() - self.began > LONGEST_WAIT_S
        ready = readiness.web_ready and readiness.market_runs and (readiness.price_moved or not readiness.has_market)
        if self.waiting and (ready or is_time):
            self.stack.supervisor.start(self.waiting.pop(0))

    def _revive_servers(self) -> None:
        """Start a server again that died, with back-off; what keeps it from starting is said, and tried again."""
        assert self.stack is not None
        for name, server in self.stack.servers.items():
            if server.is_alive() or time.monotonic() < self.revive_at.get(name, 0.0):
                continue
            server.restarts += 1
            self.revive_at[name] = time.monotonic() + min(0.5 * 2 ** min(server.restarts, 6), LONGEST_BACK_OFF_S)
            try:
                server.begin()
            except (StartError, OSError) as error:
                self.screen.line(f"{name} cannot start again yet. {error}")
            self.stack.write()

    def _stop(self) -> None:
        """Stop all within ten seconds: programs by rank, then both servers at once, under one deadline."""
        began = time.monotonic()
        if self.stack is not None:
            self.screen.step("stopping: cancelling what adds risk, keeping stops")
            killed = self.stack.supervisor.stop(STOP_BUDGET_S)
            self.screen.stopped(self.layout, killed)
            for server in self.stack.servers.values():
                server.ask_to_stop()
            for server in self.stack.servers.values():
                server.stop(max(0.3, began + STOP_ALL_S - time.monotonic()))
        for path in (self.layout.servers_file, self.layout.stack_file):
            path.unlink(missing_ok=True)
        if self.sockets is not None:
            shutil.rmtree(self.sockets, ignore_errors=True)
        self.screen.line(f"stopped in {time.monotonic() - began:.1f} s")

    def _timing(self, name: str) -> None:
        assert self.stack is not None
        self.stack.timings[name] = round(time.monotonic() - self.began - sum(self.stack.timings.values()), 2)


def down(config: Any, timeout_s: float = 20.0) -> int:
    """Stop the stack of this folder from another shell; return the exit status."""
    from trader.runtime.status import is_running

    layout = Layout(config.runtime.state_dir)
    pid = is_running(layout)
    if pid is None:
        print("Nothing runs here.")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if is_running(layout) is None and json_read(layout.stack_file) is None:
            print("Stopped.")
            return 0
        time.sleep(0.1)
    print(f"Process {pid} did not stop within {timeout_s:.0f} s.\n  Fix: look at {layout.logs}.", file=sys.stderr)
    return 1
