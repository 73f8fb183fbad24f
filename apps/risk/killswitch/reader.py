"""The kill switch as a running process sees it: three readings, pushed and polled, and a verdict in no time."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

import msgspec

from apps.common.clocks import boottime_ns
from apps.common.ending import tasks_end
from apps.risk.killswitch.acts import book_quietly, journal_of
from apps.risk.killswitch.places import Place
from apps.risk.killswitch.records import (
    ALL,
    CLEAR,
    ENGAGED,
    PLACE_NAMES,
    PLACES,
    UNCLEAR,
    Reading,
    Record,
    ScopeState,
    combine,
    mirror_plan,
)
from apps.risk.killswitch.switch import Places, host_start, places_of_host, plan_apply, reading_take
from trader.config import config

log = logging.getLogger(__name__)
_host_started = False


class Verdict(msgspec.Struct, frozen=True):
    """May risk be added now? Only `clear` says yes.

    `is_old` says that nothing but the age of a reading stands against it: the gate may wait for a new one.
    """

    state: str
    why: str
    age_ms: float
    record: Record | None = None
    is_old: bool = False

    @property
    def adds_risk_allowed(self) -> bool:
        """Say whether risk may be added."""
        return self.state == CLEAR


class KillReader:
    """Reads all three places of the kill switch by push and by polls, in the running event loop.

    `on_change` is called in the loop, without arguments, whenever what the readings say has changed.
    """

    def __init__(
        self,
        *,
        places: Places | None = None,
        on_change: Callable[[], None] | None = None,
        mirror: bool = True,
        poll_ms: float | None = None,
        fresh_ms: float | None = None,
    ) -> None:
        self._places = places or places_of_host()
        self._on_change = on_change
        self._mirror = mirror
        self._poll_s = (poll_ms or config.kill.poll_ms) / 1e3
        self._fresh_ns = int((fresh_ms or config.kill.fresh_ms) * 1e6)
        self._readings: dict[str, Reading | None] = dict.fromkeys(PLACES)
        self._states: dict[str, ScopeState] = combine(self._readings)
        self._tick = asyncio.Event()
        self._dirty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._journal = journal_of(self._places)

    async def start(self, timeout_s: float = 1.0) -> None:
        """Begin to read; return when every place has answered or failed once, or after `timeout_s`."""
        await self._host_start_once()
        self._tasks = [
            asyncio.create_task(self._follow(self._places.by_name[name]), name=f"kill {name}") for name in PLACES
        ]
        if self._mirror:
            self._tasks.append(asyncio.create_task(self._mirror_forever(), name="kill mirror"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while None in self._readings.values():
                    await self._tick.wait()

    async def stop(self) -> None:
        """Stop reading; from now on every verdict grows old and blocks."""
        self._stopping = True
        await tasks_end(self._tasks)
        self._tasks = []
        await self._places.close()

    def verdict(self, scopes: Iterable[str] = ()) -> Verdict:
        """Return what holds now for everything and for each of `scopes`. No I/O; time in the number of scopes asked."""
        oldest, age_ns = self._oldest()
        worst = self._states[ALL]
        for scope in scopes:
            state = self._states.get(scope)
            if state is not None and _SEVERITY[state.state] > _SEVERITY[worst.state]:
                worst = state
        if worst.state == CLEAR and age_ns > self._fresh_ns:
            why = f"{PLACE_NAMES[oldest]} was read {age_ns / 1e6:.0f} ms ago; {self._fresh_ns / 1e6:.0f} ms are allowed"
            return Verdict(UNCLEAR, why, age_ns / 1e6, worst.record, is_old=True)
        return Verdict(worst.state, worst.why, age_ns / 1e6, worst.record)

    async def verdict_fresh(self, scopes: Iterable[str] = (), timeout_s: float = 0.3) -> Verdict:
        """Return a verdict, waiting up to `timeout_s` for new readings if nothing but their age stands against it."""
        scopes = tuple(scopes)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.verdict(scopes).is_old:
                    await self._tick.wait()
        return self.verdict(scopes)

    def engaged(self, scopes: Iterable[str] | None = None) -> list[Record]:
        """Return the engaged records of `scopes` and of everything; of all scopes if none are given."""
        wanted = None if scopes is None else {ALL, *scopes}
        return [
            state.record
            for scope, state in self._states.items()
            if state.state == ENGAGED and state.record is not None and (wanted is None or scope in wanted)
        ]

    def _oldest(self) -> tuple[str, int]:
        now = boottime_ns()
        name, at_ns = "", now
        for place, reading in self._readings.items():
            if reading is None:
                return place, now
            if reading.at_ns <= at_ns:
                name, at_ns = place, reading.at_ns
        return name, now - at_ns

    async def _follow(self, place: Place) -> None:
        """Read `place` now, when it tells of a change, and at least every `poll_ms`."""
        while not self._stopping:  # a client may swallow a cancellation
            try:
                self._take(place.name, await reading_take(place))
                await place.wait(self._poll_s)
            except Exception:
                # unforeseen: the reading grows old, which blocks; the loop itself must not end
                log.exception("kill switch: reading %s failed", PLACE_NAMES[place.name])
                await asyncio.sleep(self._poll_s)

    def _take(self, name: str, reading: Reading) -> None:
        before = self._readings[name]
        self._readings[name] = reading
        tick, self._tick = self._tick, asyncio.Event()
        tick.set()
        if before is not None and before.records == reading.records and before.why == reading.why:
            return
        self._states = combine(self._readings)
        self._dirty.set()
        if self._on_change is not None:
            self._on_change()

    async def _mirror_forever(self) -> None:
        """Copy what may be copied, and give the audit what it missed while the database was gone.

        What differs for a moment only is an engagement or a release under way, and is left to it.
        """
        writers = self._places.twin()
        try:
            while not self._stopping:
                await self._dirty.wait()
                self._dirty.clear()
                try:
                    await self._mirror_once(writers)
                except Exception:
                    # unforeseen: a place that stays behind blocks nothing that it should not, but must be tried again
                    log.exception("kill switch: mirroring failed; it is tried again")
                    await asyncio.sleep(config.kill.mirror_after_s)
                    self._dirty.set()
        finally:
            await writers.close()

    async def _mirror_once(self, writers: Places) -> None:
        early = mirror_plan(self._readings)
        await asyncio.sleep(config.kill.mirror_after_s)
        plan = [copy for copy in mirror_plan(self._readings) if copy in early]
        if plan:
            log.warning("kill switch: mirroring %s", plan)
            await plan_apply(plan, writers)
        await self._book_audit()  # last: what a person did is in the records already, and the journal keeps it
        if mirror_plan(self._readings):
            await asyncio.sleep(config.kill.mirror_after_s)
            self._dirty.set()  # until nothing is left to copy

    async def _book_audit(self) -> None:
        database = self._readings["database"]
        if database is not None and database.usable and self._journal.has_unbooked():
            await asyncio.to_thread(book_quietly, self._journal)

    async def _host_start_once(self) -> None:
        global _host_started
        if self._mirror and not _host_started:
            _host_started = True
            writers = self._places.twin()
            made = await host_start(writers)
            await writers.close()
            if made:
                log.warning("kill switch: this host had no file; database and bus agree on clear, so it was made")


_SEVERITY = {CLEAR: 0, UNCLEAR: 1, ENGAGED: 2}
