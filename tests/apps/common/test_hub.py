"""The hub: what a browser shows is what a fresh snapshot would show, whatever it missed."""

import asyncio
import random

import msgspec
import pytest
from django.conf import settings

from apps.common.bus import LOG_KEY, Bus
from apps.common.hub import Hub
from apps.common.relay import Relay
from apps.common.residents import ResidentContext
from tests.apps.common.hub_samples import ADMIN, VIEWER, Browser, note_write, notes_snapshot
from tests.apps.common.samples import Price
from trader.config import config

pytestmark = pytest.mark.django_db(transaction=True)


class AlwaysHeld:
    """A lease for a relay that is alone."""

    superseded = False

    def report(self, **_):
        pass


@pytest.fixture
async def hub(bus):
    made = Hub(settings.REDIS_URL)
    made.start()
    yield made
    await made.close()


@pytest.fixture
async def relay(bus):
    context = ResidentContext(AlwaysHeld(), bus, None, asyncio.get_running_loop())
    task = asyncio.create_task(Relay("main", context).run())
    yield context
    context.stop.set()
    await asyncio.wait_for(task, 5)


async def until(true, timeout_s=30.0):
    async with asyncio.timeout(timeout_s):
        while not true():
            await asyncio.sleep(0.01)


async def write(number, text):
    await asyncio.to_thread(note_write, number, text)


async def fresh():
    number, rows = await asyncio.to_thread(notes_snapshot, VIEWER, "test.notes")
    return number, {row["number"]: row["text"] for row in rows}


async def shows_the_truth(browser):
    number, rows = await fresh()
    await until(lambda: browser.numbers.get("test.notes") == number)
    assert browser.shown == rows


# State topics


async def test_a_browser_gets_the_newest_state_and_every_change(hub, bus):
    await bus.publish("test.price.1", Price(i=1, last=1.0))
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.price.1", "test.price.2"])
    await until(lambda: browser.states.get("test.price.1", {}).get("last") == 1.0)
    await bus.publish_many([("test.price.1", Price(i=1, last=2.0)), ("test.price.2", Price(i=2, last=9.0))])
    await until(lambda: browser.states.get("test.price.2", {}).get("last") == 9.0)
    assert browser.states["test.price.1"]["last"] == 2.0


async def test_a_value_is_encoded_once_for_all_browsers(hub, bus):
    browsers = [Browser() for _ in range(20)]
    for browser in browsers:
        await hub.subscribe(hub.join(VIEWER, browser), ["test.price.1"])
    before = hub.room.counts["states"]
    await bus.publish("test.price.1", Price(i=1, last=3.0))
    await until(lambda: all(browser.states for browser in browsers))
    assert hub.room.counts["states"] == before + 1


async def test_changes_within_a_span_are_one_frame_with_the_newest(hub, bus):
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.price.1"])
    for step in range(200):
        await bus.publish("test.price.1", Price(i=1, last=float(step)))
    await until(lambda: browser.states.get("test.price.1", {}).get("last") == 199.0)
    assert len(browser.frames) < 100


async def test_a_slow_browser_holds_one_frame_and_then_gets_the_newest(hub, bus):
    slow = Browser(slow=True)
    client = hub.join(VIEWER, slow)
    await hub.subscribe(client, ["test.price.1", "test.price.2"])
    for step in range(100):
        await bus.publish_many([(f"test.price.{i}", Price(i=i, last=float(step))) for i in (1, 2)])
        await asyncio.sleep(0.003)
    await until(lambda: client.dirty)
    assert len(slow.unread) == 1, "only one frame may wait at a browser that does not read"
    slow.slow = False
    slow.read()
    await until(lambda: slow.states["test.price.1"]["last"] == 99.0 and slow.states["test.price.2"]["last"] == 99.0)


async def test_leaving_a_topic_ends_its_frames_and_its_channel(hub, bus):
    browser = Browser()
    client = hub.join(VIEWER, browser)
    await hub.subscribe(client, ["test.price.1"])
    hub.unsubscribe(client, ["test.price.1"])
    await until(lambda: "qd:state:test.price.1" not in hub.listener.channels)
    await bus.publish("test.price.1", Price(i=1, last=1.0))
    await asyncio.sleep(0.05)
    assert browser.states == {}


async def test_what_may_not_be_seen_is_refused_with_the_reason(hub):
    viewer, admin = Browser(), Browser()
    await hub.subscribe(hub.join(VIEWER, viewer), ["test.price.secret.1", "nonsense"])
    await hub.subscribe(hub.join(ADMIN, admin), ["test.price.secret.1"])
    assert viewer.refused == {
        "test.price.secret.1": "this needs the role admin",
        "nonsense": "there is no topic 'nonsense'",
    }
    assert admin.refused == {}


async def test_more_topics_than_allowed_are_refused_in_one_message_and_in_several(hub):
    browser = Browser()
    client = hub.join(VIEWER, browser)
    await hub.subscribe(client, [*(f"test.price.{i}" for i in range(402)), "test.notes"])
    too_many = dict.fromkeys(["test.price.400", "test.price.401", "test.notes"], "400 topics at most")
    assert browser.refused == too_many
    assert client.topics == {f"test.price.{i}" for i in range(400)}
    await hub.subscribe(client, ["test.price.402", "test.price.7"])
    assert browser.refused == {**too_many, "test.price.402": "400 topics at most"}, "what it has is not counted twice"
    hub.unsubscribe(client, ["test.price.7"])
    await hub.subscribe(client, ["test.notes", "test.price.7"])
    assert client.topics == {"test.notes", *(f"test.price.{i}" for i in range(400) if i != 7)}


# Log topics


async def test_snapshot_and_deltas_are_a_fresh_snapshot_whenever_one_joins(hub, relay):
    chance = random.Random(3)
    browsers = []
    for step in range(120):
        if step % 12 == 0:
            browsers.append(Browser(slow=chance.random() < 0.4))
            await hub.subscribe(hub.join(VIEWER, browsers[-1]), ["test.notes"])
        await write(chance.randrange(15), f"text {step}")
        for browser in browsers:
            if browser.slow and chance.random() < 0.1:
                browser.read()
    for browser in browsers:
        browser.slow = False
        browser.read()
        await shows_the_truth(browser)


async def test_rows_arrive_as_html_in_snapshot_and_delta(hub, relay):
    await write(1, "one")
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.notes"])
    await write(2, "two")
    await until(lambda: len(browser.frames) >= 2)
    assert [frame["html"] for frame in browser.frames] == ["<li>1 one</li>", "<li>2 two</li>"]


async def test_a_page_that_says_what_it_has_gets_only_the_rest(hub, relay):
    for number in range(1, 6):
        await write(number, "x")
    first = Browser()
    await hub.subscribe(hub.join(VIEWER, first), ["test.notes"])
    await until(lambda: first.numbers.get("test.notes") == 5)
    back = Browser()
    back.numbers["test.notes"] = 3
    await hub.subscribe(hub.join(VIEWER, back), ["test.notes"], {"test.notes": 3})
    await until(lambda: back.numbers["test.notes"] == 5)
    assert back.snapshots == 0


async def test_a_page_from_another_life_gets_a_snapshot(hub, relay):
    await write(1, "x")
    back = Browser()
    await hub.subscribe(hub.join(VIEWER, back), ["test.notes"], {"test.notes": 700})
    await until(lambda: back.snapshots == 1)
    await shows_the_truth(back)


async def test_a_hole_in_what_was_heard_is_read_from_the_stream(hub, relay, bus):
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.notes"])
    await until(lambda: browser.snapshots == 1)
    hub.logs.feeds["test.notes"].filling = True  # deaf for a while
    for number in range(1, 4):
        await write(number, "x")
    await until(lambda: True)
    await asyncio.sleep(0.1)
    hub.logs.feeds["test.notes"].filling = False
    await write(9, "after")
    await shows_the_truth(browser)
    assert browser.snapshots == 1


async def test_a_hole_that_the_stream_lost_too_ends_in_a_snapshot(hub, relay, bus):
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.notes"])
    await until(lambda: browser.snapshots == 1)
    hub.logs.feeds["test.notes"].filling = True
    for number in range(1, 4):
        await write(number, "x")
    await asyncio.sleep(0.1)
    await bus.redis.xtrim(LOG_KEY + "test.notes", maxlen=1, approximate=False)
    hub.logs.feeds["test.notes"].filling = False
    await write(9, "after")
    await shows_the_truth(browser)
    assert browser.snapshots == 2


def answer_late(hub, monkeypatch, answer, error=None):
    """Let the bus's next answer be overtaken by a delta: written and heard after it was given, before it arrives.

    With an `error` it does not arrive at all. Returns the numbers that are heard.
    """
    asked, hear, heard = getattr(hub.room.redis, answer), hub.logs.heard, []

    async def answered_late(*arguments, **options):
        found = await asked(*arguments, **options)
        if not heard:
            await write(1, "in between")
            await until(lambda: heard)
            if error is not None:
                raise error
        return found

    def listened(topic, number, data):
        heard.append(number)
        hear(topic, number, data)

    monkeypatch.setattr(hub.logs, "heard", listened)
    monkeypatch.setattr(hub.room.redis, answer, answered_late)
    return heard


@pytest.mark.parametrize("error", [None, ConnectionError("reset by peer")])
@pytest.mark.parametrize("answer", ["xrange", "xrevrange"])  # what follows, and then where the stream ends
async def test_a_delta_heard_while_the_stream_is_looked_at_is_not_lost(hub, relay, monkeypatch, answer, error):
    await until(lambda: "qd:hub" in hub.listener._confirmed)  # a topic that begins before then begins twice
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.notes"])
    await until(lambda: browser.snapshots == 1)
    heard = answer_late(hub, monkeypatch, answer, error)
    hub.logs.connected()
    await until(lambda: heard)
    await shows_the_truth(browser)
    assert (heard, browser.shown, browser.snapshots) == ([1], {1: "in between"}, 1)


async def test_a_delta_heard_while_a_topic_begins_is_not_lost(hub, relay, monkeypatch):
    await until(lambda: "qd:hub" in hub.listener._confirmed)
    heard = answer_late(hub, monkeypatch, "xrevrange")
    back = Browser()
    back.numbers["test.notes"] = 0
    await hub.subscribe(hub.join(VIEWER, back), ["test.notes"], {"test.notes": 0})
    await shows_the_truth(back)
    assert (heard, back.shown, back.snapshots) == ([1], {1: "in between"}, 0)


async def test_a_browser_that_falls_behind_gets_one_snapshot_and_no_queue(hub, relay, monkeypatch):
    slow = Browser(slow=True)
    client = hub.join(VIEWER, slow)
    await hub.subscribe(client, ["test.notes"])
    await until(lambda: slow.unread)
    for step in range(60):
        await write(step % 5, "x" * 9000)
    await until(lambda: client.behind)
    assert slow.unsent() < 600_000
    for step in range(20):
        await write(step % 5, "y" * 9000)
    assert slow.unsent() < 600_000
    slow.slow = False
    slow.read()
    await shows_the_truth(slow)
    assert slow.snapshots == 2


async def test_the_bus_lost_and_back_nothing_is_missed(hub, relay, clean_bus):
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.notes", "test.price.1"])
    await write(1, "before")
    await shows_the_truth(browser)
    for step in range(5):
        clean_bus.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await write(step, f"after {step}")
    await shows_the_truth(browser)
    async with Bus(settings.REDIS_URL) as bus:
        await bus.publish("test.price.1", Price(i=1, last=7.0))
    await until(lambda: browser.states.get("test.price.1", {}).get("last") == 7.0)


async def test_a_newer_message_parks_the_topic_and_says_so(hub, relay, bus):
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.notes"])
    await until(lambda: browser.snapshots == 1)
    newer = msgspec.msgpack.encode((99, {"text": "x"}))
    hub.logs.heard("test.notes", 1, newer)
    await until(lambda: browser.refused)
    assert "upgrade" in browser.refused["test.notes"]
    late = Browser()
    await hub.subscribe(hub.join(VIEWER, late), ["test.notes"])
    assert "upgrade" in late.refused["test.notes"]


async def test_a_failing_snapshot_is_tried_again(hub, relay, monkeypatch):
    import tests.apps.common.hub_samples as samples

    real, calls = samples.notes_snapshot, []

    def failing(user, topic):
        calls.append(topic)
        if len(calls) == 1:
            raise RuntimeError("no database")
        return real(user, topic)

    monkeypatch.setattr(samples, "notes_snapshot", failing)
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.notes"])
    assert browser.snapshots == 0
    await until(lambda: browser.snapshots == 1)


async def test_a_topic_without_snapshot_starts_empty_at_its_number(hub, relay):
    browser = Browser()
    await hub.subscribe(hub.join(VIEWER, browser), ["test.others"])
    await until(lambda: browser.frames)
    assert browser.frames[0] == {"k": "snap", "t": "test.others", "n": 0, "v": []}


# People


async def test_someone_who_signed_out_is_closed_everywhere(hub):
    from apps.common.hub import hub_person_changed

    mine, other = Browser(), Browser()
    hub.join(VIEWER, mine)
    hub.join(ADMIN, other)
    await until(lambda: "qd:people" in hub.listener._confirmed)
    hub_person_changed(VIEWER.id)
    await until(lambda: mine.closed == 4401)
    assert other.closed is None


async def test_a_socket_that_takes_nothing_is_dropped(hub, bus, monkeypatch):
    monkeypatch.setattr("apps.common.hub.core.STUCK_S", 0.3)
    slow = Browser(slow=True)
    await hub.subscribe(hub.join(VIEWER, slow), ["test.price.1"])
    for step in range(3):
        await bus.publish("test.price.1", Price(i=1, last=float(step)))
        await asyncio.sleep(0.05)
    await until(lambda: slow.closed == "aborted")
    assert not hub.room.clients


async def test_where_sending_takes_long_more_is_gathered_into_a_frame(hub):
    quick, slow = hub.logs._span_s(0.0001), hub.logs._span_s(0.030)
    assert quick == config.hub.log_frame_ms / 1e3
    assert slow == pytest.approx(0.060)  # two thirds of the loop's time are left for hearing
