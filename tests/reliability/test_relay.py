"""The relay killed and paused in the middle loses, doubles and reorders nothing."""

import random
import signal
import threading
import time

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from apps.common.bus import LOG_KEY
from apps.common.messages import decode
from apps.common.models import Lease, TopicSequence
from apps.common.outbox import outbox_add, outbox_read
from apps.common.redis_clients import sync_client
from tests.apps.common.samples import Note
from tests.reliability.processes import end, spawn, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True)]
TOPICS = ("test.notes", "test.others")


class Writer(threading.Thread):
    """Commits messages on two topics, singly and in batches, now and then rolling back."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.random = random.Random(7)

    def run(self):
        number = 0
        while not self.ended.is_set():
            topics = self.random.choice([("test.notes",), ("test.others",), TOPICS, ("test.notes",) * 3])
            number += 1
            try:
                with transaction.atomic():
                    outbox_add(*[(topic, Note(text="x", number=number)) for topic in topics])
                    if self.random.random() < 0.1:
                        raise RuntimeError("rolled back on purpose")
            except RuntimeError:
                pass
            self.ended.wait(0.002)
        connection.close()

    def end(self):
        self.ended.set()
        self.join()


@pytest.fixture
def writer():
    """A writer at work, ended with the test."""
    made = Writer()
    made.start()
    yield made
    made.end()


@pytest.fixture
def relays():
    sync_client(settings.REDIS_URL).flushall()
    started = []

    def start():
        started.append(spawn("tests.reliability.host_process", "data"))
        return started[-1]

    yield start
    for process in started:
        end(process)


def holder_pid():
    lease = Lease.objects.filter(kind="relay", expires_at__gt=Now()).first()
    return int(lease.holder.split(":")[1]) if lease and lease.holder else None


def stream(topic):
    entries = sync_client(settings.REDIS_URL).xrange(LOG_KEY + topic)
    return [(int(found.split(b"-")[0]), decode(Note, fields[b"m"])) for found, fields in entries]


def newest(topic):
    found = TopicSequence.objects.filter(topic=topic).first()
    return found.n if found else 0


def assert_streams_are_the_table():
    wait_until(lambda: all(len(stream(topic)) == newest(topic) for topic in TOPICS), 20)
    for topic in TOPICS:
        assert stream(topic) == outbox_read(topic, after=0, limit=100_000)


def written(count):
    wait_until(lambda: len(stream("test.notes")) >= count, 20)


def test_killed_in_the_middle_another_goes_on_and_nothing_is_lost(relays, writer):
    first, second = relays(), relays()
    for _ in range(4):
        written(len(stream("test.notes")) + 150)
        victim = first if holder_pid() == first.pid else second
        victim.kill()
        victim.wait(5)
        replacement = relays()
        first, second = (replacement, second) if victim is first else (first, replacement)
    written(len(stream("test.notes")) + 150)
    writer.end()
    assert_streams_are_the_table()


def test_paused_past_its_lease_the_old_relay_adds_nothing_wrong(relays, writer):
    both = [relays(), relays()]
    for _ in range(3):
        written(len(stream("test.notes")) + 100)
        wait_until(lambda: holder_pid() in {process.pid for process in both})
        paused = next(process for process in both if process.pid == holder_pid())
        fence = Lease.objects.get(kind="relay").fence
        paused.send_signal(signal.SIGSTOP)
        wait_until(lambda fence=fence: Lease.objects.get(kind="relay").fence > fence)
        written(len(stream("test.notes")) + 100)
        paused.send_signal(signal.SIGCONT)
    written(len(stream("test.notes")) + 100)
    writer.end()
    assert_streams_are_the_table()


def test_a_lost_stream_is_filled_again_from_the_table(relays, writer):
    relays()
    written(200)
    sync_client(settings.REDIS_URL).flushall()
    written(300)
    sync_client(settings.REDIS_URL).delete(LOG_KEY + "test.others")
    wait_until(lambda: len(stream("test.others")) > 50)
    writer.end()
    assert_streams_are_the_table()


def test_a_stream_ahead_of_a_restored_database_is_made_anew(relays):
    client = sync_client(settings.REDIS_URL)
    client.xadd(LOG_KEY + "test.notes", {"m": b"from another life"}, id="900-0")
    with transaction.atomic():
        outbox_add(("test.notes", Note(text="true")))
    relays()
    wait_until(lambda: client.xlen(LOG_KEY + "test.notes") == 1 and stream_text() == "true")


def stream_text():
    entries = sync_client(settings.REDIS_URL).xrange(LOG_KEY + "test.notes")
    try:
        return decode(Note, entries[0][1][b"m"]).text
    except Exception:
        return ""


def test_a_commit_reaches_the_stream_without_waiting_for_a_poll(relays):
    relays()
    wait_until(lambda: Lease.objects.filter(kind="relay", meta__state="ready").exists())
    client = sync_client(settings.REDIS_URL)
    took = []
    for number in range(1, 40):
        began = time.perf_counter()
        with transaction.atomic():
            outbox_add(("test.notes", Note(text="x", number=number)))
        while client.xlen(LOG_KEY + "test.notes") < number:
            time.sleep(0.0005)
        took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < 0.03, "the relay was not woken: it polled"
