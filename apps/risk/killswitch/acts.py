"""A person's acts on the kill switch: done first, journalled next, then told to the audit and the log topic."""

import asyncio
import logging
import threading

from django.db import DatabaseError, connections, transaction

from apps.common.audit import audit_write
from apps.common.clocks import wall_ns
from apps.common.models import AuditEntry
from apps.common.outbox import outbox_add
from apps.risk.events import KillChanged
from apps.risk.killswitch import switch
from apps.risk.killswitch.file import FilePlace
from apps.risk.killswitch.journal import ENGAGED, REFUSED, RELEASED, Journal, JournalEntry, entry_new
from apps.risk.killswitch.overview import kept_forget
from apps.risk.killswitch.switch import KillReleaseRefused, KillResult, Places, in_own_loop
from trader.config import config

log = logging.getLogger(__name__)
JOURNAL_S = 1.0


async def kill_engage(
    scope: str, by: str, reason: str = "", flatten: bool = False, *, places: Places | None = None
) -> KillResult:
    """Engage the kill switch for `all`, `account:<id>` or `deployment:<key>`.

    Returns as soon as every place has answered or failed, within about a second; raises `KillError` only if none took
    it, and `ValueError` for an unknown scope. Needs neither database nor bus nor file: any one will do.
    """
    result = await switch.engage(scope, by, reason, flatten=flatten, places=places)
    kept_forget()
    record = result.record
    await _journal(
        entry_new(
            ENGAGED, scope=scope, by=record.by, reason=record.reason, at_ns=record.at_ns, flatten=record.flatten,
            generation=record.generation, written=dict(result.written),
        ),
        book=result.written["database"] == switch.OK,
        places=places,
    )  # fmt: skip
    return result


async def kill_release(scope: str, by: str, reason: str, *, places: Places | None = None) -> KillResult:
    """Release the kill switch; all three places must take it. Raises `KillReleaseRefused` with what stands."""
    try:
        result = await switch.release(scope, by, reason, places=places)
    except KillReleaseRefused as error:
        await _journal(
            entry_new(REFUSED, scope=scope, by=by, reason=f"{reason} ({error})", at_ns=wall_ns()), True, places
        )
        raise
    finally:
        kept_forget()
    record = result.record
    await _journal(
        entry_new(
            RELEASED, scope=scope, by=record.by, reason=record.reason, at_ns=record.at_ns,
            generation=record.generation, written=dict(result.written),
        ),
        book=True,
        places=places,
    )  # fmt: skip
    return result


def kill_engage_sync(scope: str, by: str, reason: str = "", flatten: bool = False) -> KillResult:
    """Engage from code without an event loop, or from inside one."""
    return in_own_loop(lambda: kill_engage(scope, by, reason, flatten))


def kill_release_sync(scope: str, by: str, reason: str) -> KillResult:
    """Release from code without an event loop, or from inside one."""
    return in_own_loop(lambda: kill_release(scope, by, reason))


def kill_journal_book(journal: Journal | None = None) -> int:
    """Give the audit and the log topic what the journal holds and they lack; return how many acts.

    Raises `DatabaseError` while the database is gone; nothing is lost by that.
    """
    with (journal or journal_of_host()).unbooked() as entries:
        for entry in entries:
            _book(entry)
    return len(entries)


def journal_of_host() -> Journal:
    """Return the journal of this host."""
    return Journal(config.runtime.state_dir / "kill")


def journal_of(places: Places) -> Journal:
    """Return the journal beside the file of these places."""
    file = places.by_name["file"]
    return Journal(file.folder) if isinstance(file, FilePlace) else journal_of_host()


def _book(entry: JournalEntry) -> None:
    with transaction.atomic():
        # a crash after the commit and before the journal's mark offers the same act again
        if AuditEntry.objects.filter(action=f"kill switch {entry.action}", after__id=entry.id).exists():
            return
        audit_write(
            actor=entry.by,
            action=f"kill switch {entry.action}",
            target=entry.scope,
            before=None,
            after={"id": entry.id, "generation": entry.generation, "flatten": entry.flatten, "written": entry.written},
            reason=entry.reason,
        )
        if entry.action != REFUSED:
            outbox_add(("kill", _event(entry)))


def _event(entry: JournalEntry) -> KillChanged:
    return KillChanged(
        scope=entry.scope, state="engaged" if entry.action == ENGAGED else "clear", generation=entry.generation,
        by=entry.by, reason=entry.reason, flatten=entry.flatten, at_ns=entry.at_ns, action=entry.action,
    )  # fmt: skip


async def _journal(entry: JournalEntry, book: bool, places: Places | None) -> None:
    """Journal an act. What fails here is logged: the act itself is done and must be answered."""
    journal = journal_of_host() if places is None else journal_of(places)
    try:
        async with asyncio.timeout(JOURNAL_S):
            await asyncio.to_thread(journal.append, entry)
    except (OSError, TimeoutError):
        log.exception("kill switch: %s of %s by %s could not be journalled", entry.action, entry.scope, entry.by)
    if book:
        booking = threading.Thread(target=book_quietly, args=(journal,), name="kill audit", daemon=True)
        booking.start()
        # a database that stands still must not hold up the answer: the journal keeps what is not booked
        await asyncio.to_thread(booking.join, JOURNAL_S)


def book_quietly(journal: Journal | None = None) -> None:
    """Book what can be booked now; with the database gone it stays in the journal. For a thread of its own."""
    try:
        kill_journal_book(journal)
    except (DatabaseError, OSError) as error:
        log.warning("kill switch: the audit gets its journal later (%s)", error)
    finally:
        connections.close_all()
