"""A Celery worker hosts residents: it stops with TERM and INT, and goes on without its broker."""

import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
from django.db.models.functions import Now

from apps.common.models import Lease
from tests.reliability.processes import end, spawn, wait_until
from trader.runtime.servers import EmbeddedValkey

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True)]
WORKER = ("-A", "celery_worker.app", "worker", "-Q", "data", "-P", "threads", "--concurrency", "2", "-n", "data@%h")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@pytest.fixture
def broker():
    """A Valkey of the test's own, which it may stop."""
    folder = Path(tempfile.mkdtemp(prefix="qdw-"))
    (folder / "s").mkdir(mode=0o700)
    server = EmbeddedValkey(folder / "data", folder / "s", folder / "valkey.log")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def worker(broker):
    """Start workers on that broker."""
    started = []

    def start():
        started.append(spawn("celery", *WORKER, *QUIET, REDIS_URL=broker.url))
        return started[-1]

    yield start
    for process in started:
        end(process)


def relay_held():
    return Lease.objects.filter(kind="relay", expires_at__gt=Now()).exclude(holder="").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_hosts_and_stops_gracefully(worker, number):
    process = worker()
    wait_until(relay_held, 30)
    process.send_signal(number)
    began = time.monotonic()
    process.wait(8)
    assert time.monotonic() - began < 6
    assert Lease.objects.get(kind="relay").holder == "", "the lease was given back"


def test_without_a_broker_it_starts_hosts_and_stops(worker, broker):
    broker.stop()
    process = worker()
    wait_until(relay_held, 30)
    process.terminate()
    process.wait(10)
    assert Lease.objects.get(kind="relay").holder == ""


def test_the_broker_killed_and_back_the_lease_never_moves(worker, broker):
    process = worker()
    wait_until(relay_held, 30)
    fence = Lease.objects.get(kind="relay").fence
    broker.process.kill()
    broker.process.wait()
    time.sleep(3)  # twice the life of a lease here
    assert relay_held()
    broker.start()
    time.sleep(1)
    assert relay_held()
    assert Lease.objects.get(kind="relay").fence == fence
    assert process.poll() is None
    process.terminate()
    process.wait(10)
