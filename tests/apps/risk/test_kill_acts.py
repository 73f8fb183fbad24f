"""What people do with the kill switch: done at once, journalled, in the audit and on the log topic once."""

import asyncio
import contextlib

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import DatabaseError

from apps.common.models import AuditEntry
from apps.common.outbox import outbox_read
from apps.risk import selectors, services
from apps.risk.events import KillChanged
from apps.risk.killswitch import acts
from apps.risk.killswitch.journal import ENGAGED, Journal, entry_new
from apps.risk.killswitch.overview import kept_forget
from apps.risk.killswitch.records import CLEAR, PLACE_NAMES, PLACES, UNCLEAR
from apps.risk.killswitch.switch import host_start, in_own_loop
from apps.risk.models import KillRecord
from tests.apps.risk.fixtures import kill_wipe
from trader.config import config

pytestmark = pytest.mark.django_db(transaction=True)


def kill_messages() -> list[KillChanged]:
    return [message for _, message in outbox_read("kill", 0)]


def test_engaging_is_told_to_the_audit_and_the_log_topic(kill_clear):
    result = services.kill_engage_sync("all", "ann", "prices look wrong", flatten=True)
    assert result.ok
    entry = AuditEntry.objects.get(action="kill switch engaged")
    assert (entry.actor, entry.target, entry.reason) == ("ann", "all", "prices look wrong")
    assert entry.after["flatten"] is True
    message = kill_messages()[-1]
    assert (message.state, message.generation, message.by, message.flatten) == ("engaged", 2, "ann", True)


def test_releasing_is_told_with_its_reason(kill_clear):
    services.kill_engage_sync("all", "ann")
    services.kill_release_sync("all", "bob", "feed mended")
    assert AuditEntry.objects.get(action="kill switch released").reason == "feed mended"
    assert [message.state for message in kill_messages()][-2:] == ["engaged", "clear"]


def test_a_refused_release_is_in_the_audit_too(kill_clear):
    with pytest.raises(services.KillReleaseRefused):
        services.kill_release_sync("all", "bob", "just so")
    assert "not engaged" in AuditEntry.objects.get(action="kill switch release refused").reason


def test_acts_work_inside_a_running_loop(kill_clear):
    async def within() -> str:
        services.kill_engage_sync("all", "ann")
        return selectors.kill_states()["all"].state

    assert asyncio.run(within()) == "engaged"


def test_what_the_database_missed_is_booked_later_and_once(kill_clear, tmp_path):
    journal = Journal(tmp_path)
    entry = entry_new(ENGAGED, scope="all", by="ann", reason="the database was gone", at_ns=1, generation=7)
    journal.append(entry)
    assert journal.has_unbooked()
    assert acts.kill_journal_book(journal) == 1
    assert not journal.has_unbooked()
    assert acts.kill_journal_book(journal) == 0
    (tmp_path / "journal.booked").unlink()  # a crash between the commit and the mark
    assert acts.kill_journal_book(journal) == 1
    assert AuditEntry.objects.filter(reason="the database was gone").count() == 1
    assert [message.generation for message in kill_messages()].count(7) == 1


def test_a_reader_books_what_was_journalled_while_the_database_was_gone(kill_clear):
    acts.journal_of_host().append(entry_new(ENGAGED, scope="all", by="ann", reason="no database", at_ns=1))

    async def booked() -> None:
        reader = selectors.KillReader()
        await reader.start()
        async with asyncio.timeout(5):
            while acts.journal_of_host().has_unbooked():
                await asyncio.sleep(0.02)
        await reader.stop()

    asyncio.run(booked())
    assert AuditEntry.objects.filter(reason="no database").count() == 1


def test_a_database_that_fails_leaves_the_journal_as_it_is(kill_clear, tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append(entry_new(ENGAGED, scope="all", by="ann", reason="", at_ns=1))

    def fails(entry):
        raise DatabaseError("gone")

    monkeypatch.setattr(acts, "_book", fails)
    acts.book_quietly(journal)
    assert journal.has_unbooked()


def test_states_of_a_page_say_what_is_missing():
    kill_wipe()
    state = selectors.kill_states()["all"]
    assert state.state == UNCLEAR
    assert "holds no kill switch record" in state.why


def record_lose(place: str) -> None:
    """Lose what one place holds, as a table emptied, a bus without its file or a file removed does."""
    if place == "database":
        KillRecord.objects.all().delete()
    elif place == "bus":
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            client.delete("qd:kill")
    else:
        (config.runtime.state_dir / "kill" / "kill.json").unlink()
    kept_forget()


@pytest.mark.parametrize("place", PLACES)
def test_a_record_that_was_lost_is_mended_by_the_release_that_its_words_name(kill_clear, place):
    record_lose(place)
    state = selectors.kill_states()["all"]
    assert state.state == UNCLEAR
    assert state.why.startswith(f"{PLACE_NAMES[place]} holds no kill switch record for everything")
    assert "manage.py kill --release --user NAME --reason WHY" in state.why
    services.kill_release_sync("all", "ann", "looked why it was lost")
    assert selectors.kill_states()["all"].state == CLEAR


@pytest.mark.parametrize(("place", "mends"), [("database", False), ("bus", False), ("file", True)])
def test_a_start_of_the_host_mends_what_the_words_say_and_nothing_else(kill_clear, place, mends):
    record_lose(place)
    assert ("Restart this host's worker" in selectors.kill_states()["all"].why) is mends
    in_own_loop(host_start)
    kept_forget()
    assert (selectors.kill_states()["all"].state == CLEAR) is mends


@pytest.mark.parametrize(("place", "mends"), [("database", False), ("bus", True), ("file", False)])
def test_a_desk_that_runs_mends_what_the_words_say_and_nothing_else(kill_clear, place, mends):
    record_lose(place)
    assert ("A desk that runs copies it there" in selectors.kill_states()["all"].why) is mends

    async def verdict() -> str:
        reader = selectors.KillReader()
        await reader.start()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30 if mends else 4 * config.kill.mirror_after_s):
                    while reader.verdict().state != CLEAR:
                        await asyncio.sleep(0.02)
            return reader.verdict().state
        finally:
            await reader.stop()

    assert (asyncio.run(verdict()) == CLEAR) is mends


def test_states_of_a_page_follow_at_once(kill_clear):
    assert selectors.kill_states()["all"].state == CLEAR
    services.kill_engage_sync("account:3", "ann")
    assert selectors.kill_states()["account:3"].state == "engaged"


def test_a_reason_too_long_or_odd_does_not_stop_an_engagement(kill_clear):
    record = services.kill_engage_sync("all", "ann\x00 \n smith", "x" * 1000).record
    assert record.by == "ann smith"
    assert len(record.reason) == 200


def test_the_reader_is_told_by_the_database_of_a_write_past_us(kill_clear, settings):
    """Another program that writes the row alone is seen by NOTIFY or poll, and mirrored to the other places."""
    from apps.risk.killswitch.database import ENGAGE, _values, database_conninfo
    from apps.risk.killswitch.places import Engage

    with psycopg.connect(database_conninfo(), autocommit=True) as own:
        own.execute(ENGAGE, _values(Engage("all", "psql", "", False, 0).record(1)))

    async def mirrored() -> bool:
        reader = selectors.KillReader()
        await reader.start()
        try:
            async with asyncio.timeout(5):
                while any(
                    reading is None or reading.records is None or reading.records["all"].state != "engaged"
                    for reading in reader._readings.values()
                ):
                    await asyncio.sleep(0.02)
            return reader.verdict().state == "engaged"
        finally:
            await reader.stop()

    assert asyncio.run(mirrored())
