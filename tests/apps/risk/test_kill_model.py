"""The kill switch as a model: any sequence of acts, outages, losses and copies, and what must hold after each."""

import asyncio
from collections.abc import Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from apps.common.clocks import wall_ns
from apps.risk.killswitch import switch
from apps.risk.killswitch.places import Engage, PlaceError
from apps.risk.killswitch.records import ALL, CLEAR, ENGAGED, PLACES, Record, combine, mirror_plan
from apps.risk.killswitch.switch import KillError, KillReleaseRefused, Places, readings_take

names = st.sampled_from(PLACES)


class ModelPlace:
    """A place in memory that can be away, and whose next write may fail before or after it took hold."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records: dict[str, Record] = {ALL: Record(ALL, CLEAR, 5)}
        self.is_away = False
        self.next_put = ""

    async def read(self) -> Mapping[str, Record]:
        self._answer()
        return dict(self.records)

    async def engage(self, wish: Engage) -> Record:
        self._answer()
        self.records[wish.scope] = wish.over(self.records.get(wish.scope))
        return self.records[wish.scope]

    async def put(self, record: Record) -> bool:
        self._answer()
        failing, self.next_put = self.next_put, ""
        own = self.records.get(record.scope)
        if failing != "before" and (own is None or own.rank <= record.rank):
            self.records[record.scope] = record
        if failing:
            raise PlaceError("the answer was lost")
        return self.records.get(record.scope) == record

    async def close(self) -> None:
        return

    def _answer(self) -> None:
        if self.is_away:
            raise PlaceError("away")


class KillSwitch(RuleBasedStateMachine):
    """`engaged` is what the last person was told."""

    def __init__(self) -> None:
        super().__init__()
        self.places = {name: ModelPlace(name) for name in PLACES}
        self.whole = Places(*self.places.values())
        self.engaged = False

    def readings(self):
        return asyncio.run(readings_take(self.whole))

    @rule(flatten=st.booleans())
    def engage(self, flatten):
        try:
            asyncio.run(switch.engage(ALL, "ann", flatten=flatten, places=self.whole))
            self.engaged = True
        except KillError:
            assert all(place.is_away for place in self.places.values())

    @rule()
    def release(self):
        try:
            asyncio.run(switch.release(ALL, "bob", "all is well", places=self.whole))
            self.engaged = False
            assert {place.records[ALL].state for place in self.places.values()} == {CLEAR}
        except KillReleaseRefused as refused:
            if "engaged again" in str(refused):
                self.engaged = True

    @rule(name=names)
    def goes_away(self, name):
        self.places[name].is_away = True

    @rule(name=names)
    def comes_back(self, name):
        self.places[name].is_away = False

    @rule(name=names, when=st.sampled_from(["before", "after"]))
    def next_put_fails(self, name, when):
        self.places[name].next_put = when

    @rule(name=names)
    @precondition(lambda self: not self.engaged or self._engaged_places() > 1)
    def is_emptied(self, name):
        """A place forgets everything; of an engagement that only it holds nobody else can know."""
        self.places[name].records.clear()

    @rule(name=names)
    @precondition(lambda self: not self.engaged)
    def only_one_is_left_and_it_forgot(self, name):
        """The worst moment to engage: nobody knows how far the others had counted."""
        for place in self.places.values():
            place.is_away = place.name != name
        self.places[name].records.clear()

    def _engaged_places(self) -> int:
        held = [place.records[ALL] for place in self.places.values() if ALL in place.records]
        newest = max((record.rank for record in held), default=None)
        return sum(record.rank == newest and record.state == ENGAGED for record in held)

    @rule(host_start=st.booleans(), all_back=st.booleans())
    def mirrors(self, host_start, all_back):
        for place in self.places.values():
            place.is_away = place.is_away and not all_back
        for _ in range(2):
            plan = mirror_plan(self.readings(), host_start=host_start)
            asyncio.run(switch.plan_apply(plan, self.whole))

    @rule(name=names)
    @precondition(lambda self: self.engaged)
    def a_release_dies_after_its_first_write(self, name):
        newest = max((p.records[ALL].generation for p in self.places.values() if ALL in p.records), default=0)
        if not any(place.is_away for place in self.places.values()):
            record = Record(ALL, CLEAR, newest + 1, "bob", at_ns=wall_ns())
            self.places[name].records[ALL] = record

    @invariant()
    def an_engaged_switch_blocks_until_it_is_released(self):
        if self.engaged:
            assert combine(self.readings())[ALL].state != CLEAR

    @invariant()
    def a_place_that_is_away_or_empty_blocks(self):
        if any(place.is_away or ALL not in place.records for place in self.places.values()):
            assert combine(self.readings())[ALL].state != CLEAR

    @invariant()
    def engaged_anywhere_readable_says_engaged(self):
        said = [place.records.get(ALL) for place in self.places.values() if not place.is_away]
        if any(record is not None and record.state == ENGAGED for record in said):
            assert combine(self.readings())[ALL].state == ENGAGED


KillSwitch.TestCase.settings = settings(max_examples=200, stateful_step_count=20, deadline=None, derandomize=True)
TestKillSwitch = KillSwitch.TestCase
