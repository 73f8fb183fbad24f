"""The stack: which programs there are, in which order they start and stop, and what is true of them now."""

import errno
import os
import socket
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trader.config import Config
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout, json_write
from trader.runtime.market import simulator_arguments
from trader.runtime.supervisor import Program, Supervisor

ROOT = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]
QUEUES = {"data": ("threads", 4), "scanning": ("prefork", 1), "training": ("prefork", 1), "execution": ("threads", 4)}
STOP_WORKERS, STOP_SIMULATOR = 0, 1
PREPARED = "prepared.json"  # in `run`: which simulated exchange `prepare` has made ready


@dataclass
class Addresses:
    """Where the parts of a running stack listen."""

    web: str
    simulator: str = ""
    simulator_socket: str = ""
    control: str = ""
    database_url: str = ""
    redis_url: str = ""


@dataclass
class Stack:
    """Everything `up` started."""

    config: Config
    layout: Layout
    addresses: Addresses
    started_at: float = field(default_factory=time.time)
    market: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    servers: dict[str, Any] = field(default_factory=dict)
    supervisor: Supervisor = field(init=False)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.write)

    def environment(self, process: str) -> dict[str, str]:
        """Return the environment of a child: the addresses, its name, and whatever the person set."""
        return os.environ | {
            "DATABASE_URL": self.addresses.database_url,
            "REDIS_URL": self.addresses.redis_url,
            "QD_RUNTIME_STATE_DIR": str(self.layout.root),
            "QD_PROCESS": process,
            "PYTHONUNBUFFERED": "1",
            # the libraries behind numpy start a thread per core otherwise; nothing of ours needs them
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        }

    def program(
        self, name: str, command: list[str], stop_rank: int = STOP_WORKERS, refusal: int | None = None
    ) -> Program:
        """Return a program of ours with its log file."""
        log = self.layout.logs / f"{name}.out.log"
        return Program(name, command, self.environment(name), log, stop_rank, refusal=refusal)

    def simulator(self, state_dir: str, market: dict[str, Any], speed: str) -> Program:
        """Return the simulated exchange."""
        ports = [
            "--port", self.addresses.simulator.rsplit(":", 1)[1],
            "--control-port", self.addresses.control.rsplit(":", 1)[1],
        ]  # fmt: skip
        command = [*MANAGE, "simulate", *ports, "--state", state_dir, *simulator_arguments(market, speed)]
        return self.program("simulator", command, STOP_SIMULATOR, refusal=2)

    def web(self) -> Program:
        """Return the process of pages and sockets."""
        host, port = self.config.runtime.bind_host, self.addresses.web.rsplit(":", 1)[1]
        if self.config.runtime.web_server == "uvicorn":
            web = ["-m", "uvicorn", "trader.asgi:application", "--host", host, "--port", port, "--no-access-log"]
        else:
            web = ["-m", "daphne", "-b", host, "-p", port, "--no-server-name", "-v", "0", "trader.asgi:application"]
        return self.program("web", [sys.executable, *web])

    def worker(self, queue: str) -> Program:
        """Return the worker of one queue."""
        pool, concurrency = QUEUES[queue]
        celery = [sys.executable, "-m", "celery", "-A", "celery_worker.app", "worker", "-Q", queue]
        celery += ["-n", f"{queue}@{self._install()}-%h", "-P", pool, "-c", str(concurrency), "-l", "INFO"]
        celery += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return self.program(f"worker-{queue}", celery)

    def beat(self) -> Program:
        """Return the schedule."""
        beat = ["-m", "celery", "-A", "celery_worker.app", "beat", "-l", "INFO", "--pidfile="]
        return self.program("beat", [sys.executable, *beat, "-s", str(self.layout.run / "beat-schedule")])

    def write(self) -> None:
        """Write what runs for `status`, `down` and the Operations page."""
        json_write(self.layout.stack_file, self.describe())

    def describe(self) -> dict[str, Any]:
        """Return processes, addresses, market and the times the start took."""
        rows = [_row("supervisor", os.getpid(), self.started_at, 0, "running")]
        for name, server in self.servers.items():
            alive = server.is_alive()
            rows.append(_row(name, server.process.pid if alive else None, server.since, server.restarts,
                             "running" if alive else "waiting"))  # fmt: skip
        for name, running in self.supervisor.running.items():
            rows.append(_row(name, running.pid, running.since, running.restarts, running.state))
        return {
            "processes": rows,
            "urls": {
                "web": self.addresses.web,
                "simulator": self.addresses.simulator,
                "control": self.addresses.control,
            },
            "market": self.market,
            "timings": self.timings,
        }

    def _install(self) -> str:
        return f"{zlib.crc32(str(self.layout.root).encode()) & 0xFFFF:04x}"


def port_take(host: str, wanted: int, setting: str) -> int:
    """Return a port to listen on: the wanted one if free, a free one for 0; say what to do when it is busy."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except PermissionError:
            raise StartError(f"Port {wanted} needs root.", f"set {setting} to one above 1023.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise StartError(
                    f"{host} cannot be listened on: {error.strerror}.",
                    "set QD_RUNTIME_BIND_HOST to an address of this machine, or leave it out for 127.0.0.1.",
                ) from None
            raise StartError(
                f"Port {wanted} of {host} is busy ({error.strerror}).",
                f"stop what listens there, or choose another: {setting}={wanted + 10} make run (0 takes a free one).",
            ) from None
        return int(probe.getsockname()[1])


def _row(name: str, pid: int | None, since: float, restarts: int, state: str) -> dict[str, Any]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)) if since else None
    return {"name": name, "pid": pid, "since": stamp, "restarts": restarts, "state": state}
