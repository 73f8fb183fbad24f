"""What a kill switch's record is, and the rules that hold between the three places it is kept in. Pure: no I/O.

The places are `database`, `bus` and `file`. Any one that says "engaged", that lacks a record or cannot be read
blocks; a release is true only when all three say "clear".
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

ALL = "all"
PLACES = ("database", "bus", "file")
PLACE_NAMES = {"database": "the database", "bus": "the bus", "file": "the local file"}
CLEAR, ENGAGED, UNCLEAR = "clear", "engaged", "unclear"
SCOPE_MAX = 80
RELEASE = "manage.py kill --release --user NAME --reason WHY"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One scope's record: its state, and a generation that only grows."""

    scope: Annotated[str, msgspec.Meta(min_length=1, max_length=SCOPE_MAX)]
    state: Literal["clear", "engaged"]
    generation: Annotated[int, msgspec.Meta(ge=1)]
    by: str = ""
    reason: str = ""
    flatten: bool = False
    at_ns: int = 0

    @property
    def rank(self) -> tuple[int, bool]:
        """Return what decides between two records: the higher generation; of equal ones, the engaged one."""
        return (self.generation, self.state == ENGAGED)


class Reading(msgspec.Struct, frozen=True):
    """What one place said: its records by scope, or None with the reason why it could not be read.

    `at_ns` is the machine's boot-time clock *before* the place was asked, so an age is never flattered.
    """

    records: Mapping[str, Record] | None
    at_ns: int
    why: str = ""
    broken: bool = False  # it answered, with what cannot be understood

    @property
    def usable(self) -> bool:
        """Say whether the place was read."""
        return self.records is not None


class ScopeState(msgspec.Struct, frozen=True):
    """What the three readings say together of one scope, their age apart."""

    state: str
    why: str
    record: Record | None = None


def scope_account(account_id: int) -> str:
    """Return the scope of one account."""
    return f"account:{account_id}"


def scope_deployment(deployment_key: str) -> str:
    """Return the scope of one deployment."""
    return f"deployment:{deployment_key}"


def scope_check(scope: str) -> str:
    """Return `scope`, or raise `ValueError` saying what a scope looks like."""
    kind, _, name = scope.partition(":")
    known = scope == ALL or (kind == "account" and name.isdecimal()) or (kind == "deployment" and name != "")
    if not known or len(scope) > SCOPE_MAX:
        raise ValueError(f"Unknown kill switch scope {scope!r}: use all, account:<id> or deployment:<key>.")
    return scope


def scope_words(scope: str) -> str:
    """Return a scope as a person would say it."""
    kind, _, name = scope.partition(":")
    return "everything" if scope == ALL else f"{kind} {name}"


def combine(readings: Mapping[str, Reading | None]) -> dict[str, ScopeState]:
    """Return what holds for every scope that any place knows, `all` always among them.

    A scope that no place knows was never engaged: `all` alone decides for it.
    """
    scopes = {ALL}
    for reading in readings.values():
        if reading is not None and reading.records is not None:
            scopes.update(reading.records)
    return {scope: _combine_scope(scope, readings) for scope in scopes}


def _combine_scope(scope: str, readings: Mapping[str, Reading | None]) -> ScopeState:
    held = records_of(scope, readings)
    engaged = [record for record in held.values() if record.state == ENGAGED]
    if engaged:
        newest = max(engaged, key=lambda record: record.rank)
        return ScopeState(ENGAGED, f"kill switch engaged for {scope_words(scope)} by {newest.by or 'unknown'}", newest)
    for place in PLACES:
        if place not in held:
            return ScopeState(UNCLEAR, _missing_words(place, scope, held, readings))
    return ScopeState(CLEAR, "", max(held.values(), key=lambda record: record.rank))


def _missing_words(place: str, scope: str, held: Mapping[str, Record], readings: Mapping[str, Reading | None]) -> str:
    """Say what a place lacks, and what brings it back. A server that is away needs no words: its return ends it."""
    name, reading = PLACE_NAMES[place], readings.get(place)
    if reading is None:
        return f"{name} has not been read yet"
    if reading.records is None:
        words = f"{name} cannot be read: {reading.why}"
        return f"{words}. A release writes it anew: {RELEASE}, --scope where it names one" if reading.broken else words
    words = f"{name} holds no kill switch record for {scope_words(scope)}"
    release = f"release it: {RELEASE}{'' if scope == ALL else f' --scope {scope}'}, or engage and release on a page"
    best = _strongest(list(held.values())) if held else None
    if best is not None and _may_copy(place, best, held, readings, host_start=False):
        return f"{words}. A desk that runs copies it there; without one, {release}"
    if best is not None and _may_copy(place, best, held, readings, host_start=True):
        return f"{words}. Restart this host's worker, or {release}"
    return f"{words}. To go on, {release}"


def records_of(scope: str, readings: Mapping[str, Reading | None]) -> dict[str, Record]:
    """Return the explicit records of one scope, by place."""
    return {
        place: reading.records[scope]
        for place, reading in readings.items()
        if reading is not None and reading.records is not None and scope in reading.records
    }


def mirror_plan(readings: Mapping[str, Reading | None], *, host_start: bool = False) -> list[tuple[str, Record]]:
    """Return what to copy where: pairs of place and record. Only explicit records of a higher rank are ever copied.

    An engaged record goes to every readable place that holds less. A clear one goes only where both other places
    agree on it, so a release that reached one place never completes itself. A missing record of `all` is restored
    only to the bus (it forgets when restarted) and, at `host_start`, to a host without a file; to the database never.
    """
    plan = []
    for scope in sorted(combine(readings)):
        held = records_of(scope, readings)
        if held:
            best = _strongest(list(held.values()))
            plan += [(place, best) for place in PLACES if _may_copy(place, best, held, readings, host_start)]
    return plan


def _strongest(held: list[Record]) -> Record:
    """Return the record that should hold everywhere: the one of the highest rank.

    But a place that had forgotten everything begins to count anew: whoever engaged there, while the others were away,
    got a generation below that of an older release. So an engagement made after the newest release is raised above it.
    """
    best = max(held, key=lambda record: record.rank)
    unreleased = [record for record in held if record.state == ENGAGED and record.at_ns >= best.at_ns]
    if best.state == ENGAGED or not unreleased:
        return best
    newest = max(unreleased, key=lambda record: (record.at_ns, record.rank))
    return msgspec.structs.replace(newest, generation=best.generation + 1)


def _may_copy(
    place: str, best: Record, held: Mapping[str, Record], readings: Mapping[str, Reading | None], host_start: bool
) -> bool:
    reading = readings.get(place)
    if reading is None or reading.records is None:
        return False
    own = held.get(place)
    if own is not None and own.rank >= best.rank:
        return False
    if best.state == ENGAGED:
        return True
    others = [held.get(other) for other in PLACES if other != place]
    if any(other is None or other.rank != best.rank for other in others):
        return False
    if own is not None or ALL in reading.records:
        return True
    # the place holds no record of `all` at all: it is empty, not behind
    return place == "bus" or (place == "file" and host_start)


def generation_newest(scope: str, readings: Mapping[str, Reading | None]) -> int:
    """Return the highest generation of a scope that any place holds, 0 without one."""
    return max((record.generation for record in records_of(scope, readings).values()), default=0)
