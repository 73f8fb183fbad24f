"""Engage, release, first records, mirroring: what is done to the kill switch's three places."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from django.conf import settings

from apps.common.clocks import boottime_ns, wall_ns
from apps.risk.killswitch.bus import BusPlace
from apps.risk.killswitch.database import DatabasePlace
from apps.risk.killswitch.file import FilePlace
from apps.risk.killswitch.places import Engage, Place, PlaceError, RecordBroken
from apps.risk.killswitch.records import (
    ALL,
    CLEAR,
    PLACE_NAMES,
    PLACES,
    Reading,
    Record,
    combine,
    generation_newest,
    mirror_plan,
    records_of,
    scope_check,
    scope_words,
)
from trader.config import config

T = TypeVar("T")
Readings = dict[str, Reading | None]
BY_MAX, REASON_MAX = 150, 200
OK = "ok"
FIRST_WAIT_S, FIRST_AGAIN_S = 5.0, 0.25


class KillError(Exception):
    """The kill switch could not do what was asked; the message says what stands and what to do."""


class KillReleaseRefused(KillError):
    """The release did not happen: the switch stays, or is again, engaged."""


class KillResult(msgspec.Struct, frozen=True):
    """What became of an engagement or a release: the record, and per place `ok` or the error in words."""

    record: Record
    written: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Say whether any place took it: for an engagement, one suffices."""
        return OK in self.written.values()


class Places:
    """The three places of this host, opened for one piece of work."""

    def __init__(self, database: Place, bus: Place, file: Place) -> None:
        self.by_name: dict[str, Place] = {"database": database, "bus": bus, "file": file}

    def twin(self) -> "Places":
        """Return the same three places with connections of their own."""
        return Places(*(self.by_name[name].twin() for name in PLACES))

    async def close(self) -> None:
        """Let their connections go."""
        await asyncio.gather(*(place.close() for place in self.by_name.values()), return_exceptions=True)


def places_of_host(timeout_s: float | None = None) -> Places:
    """Return this host's places, by the settings; nothing is connected yet."""
    timeout_s = timeout_s or config.kill.write_timeout_s
    return Places(
        DatabasePlace(timeout_s=timeout_s),
        BusPlace(settings.REDIS_URL, timeout_s),
        FilePlace(config.runtime.state_dir / "kill", timeout_s),
    )


@contextlib.asynccontextmanager
async def _opened(places: Places | None) -> AsyncIterator[Places]:
    own = places or places_of_host()
    try:
        yield own
    finally:
        if places is None:
            await own.close()


async def readings_take(places: Places | None = None) -> Readings:
    """Read all three places at once, each within its own timeout."""
    async with _opened(places) as opened:
        taken = await asyncio.gather(*(reading_take(opened.by_name[name]) for name in PLACES))
    return dict(zip(PLACES, taken, strict=True))


async def reading_take(place: Place) -> Reading:
    """Read one place; what went wrong is in the reading."""
    at_ns = boottime_ns()
    try:
        return Reading(await place.read(), at_ns)
    except PlaceError as error:
        return Reading(None, at_ns, str(error), isinstance(error, RecordBroken))


async def engage(
    scope: str, by: str, reason: str = "", *, flatten: bool = False, generation: int = 1, places: Places | None = None
) -> KillResult:
    """Write an engaged record to all three places at once. Any one that succeeds suffices; raises `KillError` if none.

    Each place counts its own generation on, so that nobody waits for a slow one; then they are levelled.
    """
    at_ns = wall_ns() // 1000 * 1000  # the database keeps microseconds
    wish = Engage(scope_check(scope), _clean(by, BY_MAX), _clean(reason, REASON_MAX), flatten, at_ns, generation)
    async with _opened(places) as opened:
        results = await _each({name: place.engage(wish) for name, place in opened.by_name.items()})
        records = {name: result for name, result in results.items() if isinstance(result, Record)}
        written = {name: OK if name in records else str(result) for name, result in results.items()}
        if not records:
            raise KillError(f"The kill switch could not be written anywhere: {_failures(written)}. {NOWHERE}")
        newest = max(records.values(), key=lambda record: record.rank)
        behind = {name: opened.by_name[name].put(newest) for name, own in records.items() if own.rank < newest.rank}
        await _each(behind)
    return KillResult(newest, written)


NOWHERE = "With no record readable no new risk leaves, but orders at the venue stay: cancel them at the venue."


async def release(scope: str, by: str, reason: str, *, places: Places | None = None) -> KillResult:
    """Write a clear record to all three places, or leave the switch engaged and raise `KillReleaseRefused`."""
    scope_check(scope)
    by, reason = _clean(by, BY_MAX), _clean(reason, REASON_MAX)
    if not by or not reason:
        raise KillReleaseRefused("A release needs a person and a reason: say why it is safe to go on.")
    async with _opened(places) as opened:
        readings = await readings_take(opened)
        _release_check(scope, readings)
        newest = generation_newest(scope, readings)
        record = Record(scope, "clear", newest + 1, by, reason, False, wall_ns() // 1000 * 1000)
        results = await _each({name: place.put(record) for name, place in opened.by_name.items()})
        written = {name: _put_words(result) for name, result in results.items()}
        if set(written.values()) == {OK}:
            return KillResult(record, written)
        before = combine(readings)[scope].record if scope in combine(readings) else None
        await _engage_again(record, written, before is not None and before.flatten, opened)
    raise KillReleaseRefused(f"Not released, and engaged again: {_failures(written)}. Mend that, then release again.")


async def _engage_again(record: Record, written: Mapping[str, str], flatten: bool, opened: Places) -> None:
    """Take back what a failed release has written: it must not come true later by mirroring."""
    why = f"release by {record.by} failed: {_failures(written)}"
    await engage(record.scope, record.by, why, flatten=flatten, generation=record.generation + 1, places=opened)


def _release_check(scope: str, readings: Readings) -> None:
    gone = [name for name, reading in readings.items() if reading is None or not (reading.usable or reading.broken)]
    if gone:
        words = ", ".join(f"{PLACE_NAMES[name]} ({readings[name].why})" for name in gone if readings[name])
        raise KillReleaseRefused(f"Not released: a release needs all three records, and these do not answer: {words}.")
    held = records_of(scope, readings)
    if not held and scope != ALL:
        raise KillReleaseRefused(f"Nothing to release: the kill switch was never engaged for {scope_words(scope)}.")
    if len(held) == len(PLACES) and all(record.state == CLEAR for record in held.values()):
        raise KillReleaseRefused(f"Nothing to release: the kill switch is not engaged for {scope_words(scope)}.")


async def first_up(places: Places | None = None) -> bool:
    """Write three clear records of generation 1, if this is the first start ever: no place holds any record.

    A host whose `kill` folder exists has started before; then what is missing stays missing, and blocks.
    """
    async with _opened(places) as opened:
        file = opened.by_name["file"]
        if isinstance(file, FilePlace) and file.folder.exists():
            return False
        readings = await _readings_first(opened)
        if any(reading is None or reading.records is None or reading.records for reading in readings.values()):
            return False
        record = Record(ALL, "clear", 1, "first start", "no record anywhere", False, wall_ns() // 1000 * 1000)
        # the file last: it alone says that this host has started before, so a start cut short begins again
        for name in PLACES:
            if not await opened.by_name[name].put(record):
                raise KillError(f"The first kill switch record was not taken by {PLACE_NAMES[name]}: start again.")
    return True


async def _readings_first(places: Places) -> Readings:
    """Read all places; one that does not answer is asked again: what a first start does not write stays missing."""
    until_ns = boottime_ns() + int(FIRST_WAIT_S * 1e9)
    while True:
        readings = await readings_take(places)
        is_answered = all(reading is not None and (reading.usable or reading.broken) for reading in readings.values())
        if is_answered or boottime_ns() > until_ns:
            return readings
        await asyncio.sleep(FIRST_AGAIN_S)


async def host_start(places: Places | None = None) -> bool:
    """Give a host without a file its file, if database and bus agree on clear; say whether it was made."""
    async with _opened(places) as opened:
        readings = await readings_take(opened)
        plan = [(place, record) for place, record in mirror_plan(readings, host_start=True) if place == "file"]
        return await plan_apply(plan, opened) > 0


async def plan_apply(plan: Sequence[tuple[str, Record]], places: Places) -> int:
    """Copy as planned; return how many copies were taken. A place that fails is tried again with the next plan."""
    done = 0
    for name, record in plan:
        with contextlib.suppress(PlaceError):
            done += await places.by_name[name].put(record)
    return done


async def _each(work: Mapping[str, Coroutine[Any, Any, T]]) -> dict[str, T | BaseException]:
    results = await asyncio.gather(*work.values(), return_exceptions=True)
    return dict(zip(work, results, strict=True))


def _put_words(result: bool | BaseException) -> str:
    if isinstance(result, BaseException):
        return str(result) or type(result).__name__
    return OK if result else "engaged again in the meantime"


def _failures(written: Mapping[str, str]) -> str:
    return "; ".join(f"{PLACE_NAMES[name]}: {words}" for name, words in written.items() if words != OK)


def _clean(text: str, length: int) -> str:
    return " ".join(text.replace("\x00", "").split())[:length]


def in_own_loop(make: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end in a thread of its own: works with and without a loop in the caller's."""
    result: list[T] = []
    error: list[BaseException] = []

    async def run() -> None:
        result.append(await make())

    def target() -> None:
        try:
            asyncio.run(run())
        except BaseException as caught:  # handed to the caller below
            error.append(caught)

    thread = threading.Thread(target=target, name="kill switch")
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return result[0]
