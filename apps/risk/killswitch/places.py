"""What the three places of a kill switch's record have in common: four operations, each with its own timeout."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from apps.risk.killswitch.records import Record


class PlaceError(Exception):
    """A place did not answer, or holds what cannot be read. The reader blocks; a writer relies on the other places."""


class RecordBroken(PlaceError):
    """A place answers, but what it holds cannot be understood. A release writes it anew."""


class Engage(msgspec.Struct, frozen=True):
    """A wish to engage; each place gives it the generation after its own, and at least `generation`.

    Over an engagement that flattens it flattens, too: who stops a second time does not take back what was asked first.
    """

    scope: str
    by: str
    reason: str
    flatten: bool
    at_ns: int
    generation: int = 1

    def record(self, generation: int, *, flattens: bool = False) -> Record:
        """Return the record that this wish makes where `flattens` says whether the engagement before it does."""
        flatten = self.flatten or flattens
        return Record(self.scope, "engaged", generation, self.by, self.reason, flatten, self.at_ns)

    def over(self, before: Record | None) -> Record:
        """Return the record that this wish makes in the place of `before`."""
        own = before.generation if before is not None else 0
        flattens = before is not None and before.state == "engaged" and before.flatten
        return self.record(max(own + 1, self.generation), flattens=flattens)


class Place(Protocol):
    """One place that keeps records. Every method raises `PlaceError` within the place's own timeout."""

    name: str

    async def read(self) -> Mapping[str, Record]:
        """Return all records by scope."""

    async def engage(self, wish: Engage) -> Record:
        """Write an engaged record of the next generation, atomically, and tell all readers."""

    async def put(self, record: Record) -> bool:
        """Write `record` unless something of a higher rank is there; say whether the place now holds it."""

    async def wait(self, timeout_s: float) -> None:
        """Return when this place tells of a change, or after `timeout_s`; never raises."""

    async def close(self) -> None:
        """Let connections go."""

    def twin(self) -> "Place":
        """Return the same place with connections of its own."""
