"""`manage.py process NAME`: one process of the stack in the foreground, for compose, systemd and further hosts.

`manage.py process NAME --healthy` says by its exit status whether that process, on this host, is well.
"""

import argparse
import os
import shlex
import socket
import sys
import time
import urllib.request
from typing import Any

from trader.config import Config, ConfigError, load
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout, json_read
from trader.runtime.stack import PREPARED, QUEUES, Addresses, Stack
from trader.runtime.supervisor import Program

NAMES = ("web", *(f"worker-{queue}" for queue in QUEUES), "beat", "simulator")
ALIVE_S = 35.0  # three beats of the heart, and a bit
ANSWER_S = 3.0
LATE_S = 600  # a task is due every minute, and the schedule writes down every three minutes what it has sent
BEAT = """
select coalesce(extract(epoch from now() - max(last_run_at)), 1e9)::float8
from django_celery_beat_periodictask where enabled
"""


def run(rest: list[str]) -> int:
    """Become the process, or say whether it is well; return the exit status."""
    parser = argparse.ArgumentParser(prog="manage.py process", description="Run one process of the stack.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--healthy", action="store_true", help="only say whether the one on this host is well")
    parser.add_argument("--print", action="store_true", help="only print its command")
    options = parser.parse_args(rest)
    try:
        config = load(running=False)
        if options.healthy:
            return _said(options.name, _wrong(config, options.name))
        program = program_of(config, options.name)
    except (StartError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.print:
        print(shlex.join(program.command))
        return 0
    return os.execvpe(program.command[0], list(program.command), program.environment)


def program_of(config: Config, name: str) -> Program:
    """Return what `up` would start under this name, with addresses from the settings alone."""
    runtime = config.runtime
    if name != "simulator" and not (runtime.database_url and runtime.redis_url):
        raise StartError(
            "A process on its own needs servers of yours.", "set DATABASE_URL and REDIS_URL, or run `manage.py up`."
        )
    layout = Layout(runtime.state_dir)
    layout.prepare()
    addresses = Addresses(
        web=f"http://{runtime.bind_host}:{runtime.web_port}",
        simulator=f"http://127.0.0.1:{runtime.simulator_port}",
        control=f"http://127.0.0.1:{runtime.control_port}",
        database_url=runtime.database_url,
        redis_url=runtime.redis_url,
    )
    stack = Stack(config, layout, addresses)
    if name == "web":
        binding_refuse(config)
        return stack.web()
    if name == "beat":
        return stack.beat()
    return _simulator(stack) if name == "simulator" else stack.worker(name.removeprefix("worker-"))


def binding_refuse(config: Config) -> None:
    """Raise `StartError` where pages would be open to the network without TLS."""
    if config.runtime.bind_host not in ("127.0.0.1", "::1", "localhost") and not config.runtime.behind_proxy:
        raise StartError(
            f"Listening on {config.runtime.bind_host} would open the desk to the network without TLS.",
            "put a proxy that ends TLS in front and set QD_BEHIND_PROXY=1, or use 127.0.0.1.",
        )


def _simulator(stack: Stack) -> Program:
    prepared = json_read(stack.layout.run / PREPARED)
    if not prepared:
        raise StartError(
            "The simulated exchange is not prepared here.",
            "run `manage.py prepare --options …` with a simulator first.",
        )
    program = stack.simulator(prepared["simulator_state_dir"], prepared["market"], "1")
    command = [*program.command, "--host", stack.config.runtime.bind_host]
    return Program(program.name, command, program.environment, program.log, program.stop_rank)


def _wrong(config: Config, name: str) -> str:
    """Return what is wrong with the process on this host, empty when it is well."""
    if name == "web":
        return _answers(f"http://127.0.0.1:{config.runtime.web_port}/healthz")
    if name == "simulator":
        return _answers(f"http://127.0.0.1:{config.runtime.simulator_port}/v5/market/time")
    if name == "beat":
        return _beat(config)
    path = config.runtime.state_dir / "run" / f"alive-{name}-{socket.gethostname()}"
    try:
        age_s = time.time() - path.stat().st_mtime
    except OSError:
        return "it has not started, or has stopped"
    return f"its timer stands still since {age_s:.0f} s" if age_s > ALIVE_S else ""


def _answers(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            return "" if answer.status == 200 else f"it answers {answer.status}"
    except OSError as error:
        return f"it does not answer ({type(error).__name__})"


def _beat(config: Config) -> str:
    """Ask the database when something was last sent by the schedule."""
    from trader.runtime.dumps import rows_of

    try:
        rows: list[Any] = rows_of(config.runtime.database_url, BEAT)
    except StartError:
        return ""  # with the database gone the schedule waits; a restart would not help
    return f"nothing was scheduled for {rows[0][0]:.0f} s" if rows[0][0] > LATE_S else ""


def _said(name: str, wrong: str) -> int:
    print(f"{name}: {wrong or 'well'}")
    return 1 if wrong else 0
