"""The supervisor restarts what dies with back-off, and stops everything, children included."""

import os
import signal
import sys
import time

import psutil
import pytest

from trader.runtime.layout import Layout, json_write
from trader.runtime.leftovers import leftovers_stop
from trader.runtime.supervisor import Program, Supervisor

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
CALM = "import time; print('up', flush=True); time.sleep(60)"
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(child.pid, flush=True)\ntime.sleep(60)"
)


def program(tmp_path, code, name="worker"):
    return Program(name, [sys.executable, "-c", code], dict(os.environ), tmp_path / f"{name}.log")


def wait_for(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def supervisor():
    changes = []
    made = Supervisor(lambda: changes.append(1))
    made.changes = changes
    yield made
    made.stop(1.0)


def test_a_killed_program_is_started_again_with_growing_back_off(supervisor, tmp_path):
    supervisor.start(program(tmp_path, CALM))
    running = supervisor.running["worker"]
    first = running.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: running.pid is None)
    supervisor.tick()
    assert (running.state, running.restarts, running.back_off_s) == ("waiting", 1, 1.0)
    wait_for(lambda: (supervisor.tick(), running.state == "running")[1])
    assert running.pid not in (None, first)
    assert len(supervisor.changes) >= 3


def test_a_stubborn_program_is_killed_when_its_time_is_up(supervisor, tmp_path):
    supervisor.start(program(tmp_path, STUBBORN))
    wait_for(lambda: (tmp_path / "worker.log").read_text() == "up\n")
    assert supervisor.stop(0.5) == ["worker"]
    assert supervisor.running["worker"].pid is None


def test_stopping_a_program_stops_its_children(supervisor, tmp_path):
    supervisor.start(program(tmp_path, PARENT))
    wait_for(lambda: (tmp_path / "worker.log").read_text().strip().isdigit())
    child = psutil.Process(int((tmp_path / "worker.log").read_text()))
    supervisor.stop(3.0)
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_lower_ranks_stop_first(supervisor, tmp_path):
    note = "import signal, sys, time\ndef end(*a):\n open({path!r}, 'a').write({name!r}); sys.exit()\n"
    note += "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(60)"
    order = str(tmp_path / "order")
    for name, rank in (("venue", 1), ("desk", 0)):
        code = note.format(path=order, name=name)
        supervisor.start(Program(name, [sys.executable, "-c", code], dict(os.environ), tmp_path / f"{name}.log", rank))
    for name in ("venue", "desk"):
        wait_for(lambda name=name: (tmp_path / f"{name}.log").read_text() == "up\n")
    supervisor.stop(5.0)
    assert (tmp_path / "order").read_text() == "deskvenue"


def test_leftovers_of_a_killed_supervisor_are_stopped_and_strangers_are_not(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    ours = psutil.Popen([sys.executable, "-c", CALM])
    stranger = psutil.Popen([sys.executable, "-c", CALM])
    try:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ours.create_time()))
        rows = [
            {"name": "web", "pid": ours.pid, "since": since},
            {"name": "beat", "pid": stranger.pid, "since": "2020-01-01T00:00:00Z"},
        ]
        json_write(layout.stack_file, {"processes": rows})
        assert leftovers_stop(layout) == ["web"]
        assert not ours.is_running()
        assert stranger.is_running()
    finally:
        stranger.kill()
        stranger.wait(5)
