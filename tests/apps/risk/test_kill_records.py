"""The rules between the three places of a kill record, without any place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.risk.killswitch.records import (
    ALL,
    CLEAR,
    ENGAGED,
    PLACES,
    UNCLEAR,
    Reading,
    Record,
    combine,
    mirror_plan,
    scope_account,
    scope_check,
    scope_deployment,
)

SCOPES = [ALL, "account:1", "deployment:x"]
records = st.builds(
    Record, scope=st.just(ALL), state=st.sampled_from([CLEAR, ENGAGED]), generation=st.integers(1, 5), by=st.just("ann")
)


@st.composite
def held(draw):
    scopes = draw(st.sets(st.sampled_from(SCOPES)))
    return {
        scope: Record(scope, draw(records).state, draw(st.integers(1, 5)), "ann", at_ns=draw(st.integers(0, 5)))
        for scope in scopes
    }


readings = st.one_of(
    st.none(),
    st.builds(lambda body: Reading(body, 0), held()),
    st.just(Reading(None, 0, "gone")),
)
three = st.fixed_dictionaries(dict.fromkeys(PLACES, readings))


def reading(**states: tuple[str, int]) -> Reading:
    return Reading({ALL: made(*states["all"])} if "all" in states else {}, 0)


def made(state: str, generation: int) -> Record:
    """A record whose generations were made in the order of their numbers."""
    return Record(ALL, state, generation, at_ns=generation)


def alike(state: str, generation: int) -> dict[str, Reading]:
    return {place: reading(all=(state, generation)) for place in PLACES}


@given(three)
def test_clear_only_when_all_three_places_hold_an_explicit_clear_record(given_readings):
    for scope, state in combine(given_readings).items():
        explicit = [
            reading.records[scope].state
            for reading in given_readings.values()
            if reading is not None and reading.records is not None and scope in reading.records
        ]
        assert (state.state == CLEAR) == (explicit == [CLEAR] * 3)
        assert (state.state == ENGAGED) == (ENGAGED in explicit)
        assert state.state == CLEAR or state.why


@given(three)
def test_everything_is_always_judged(given_readings):
    assert ALL in combine(given_readings)


def apply(plan, given_readings):
    after = {
        place: dict(r.records) if r is not None and r.records is not None else None
        for place, r in given_readings.items()
    }
    for place, record in plan:
        after[place][record.scope] = record
    return {place: given_readings[place] if body is None else Reading(body, 0) for place, body in after.items()}


@given(three, st.booleans())
def test_mirroring_never_lowers_a_record_and_never_unblocks_an_engaged_place_alone(given_readings, host_start):
    plan = mirror_plan(given_readings, host_start=host_start)
    for place, record in plan:
        assert given_readings[place].records is not None, "an unreadable place is left alone"
        own = given_readings[place].records.get(record.scope)
        assert own is None or record.rank > own.rank
        held_by = {
            place: r.records[record.scope]
            for place, r in given_readings.items()
            if r is not None and r.records is not None and record.scope in r.records
        }
        if record.state == CLEAR:
            assert set(held_by) - {place} == set(PLACES) - {place}
            assert all(theirs == record for other, theirs in held_by.items() if other != place)
            assert own is None or own.state == CLEAR or own.at_ns < record.at_ns
        else:
            acts = {(theirs.by, theirs.at_ns) for theirs in held_by.values() if theirs.state == ENGAGED}
            assert (record.by, record.at_ns) in acts, "only what a person has engaged is copied"


@given(three)
def test_a_missing_record_of_everything_is_restored_to_the_bus_only_while_running(given_readings):
    for place, record in mirror_plan(given_readings):
        is_missing = ALL not in given_readings[place].records
        if is_missing and record.scope == ALL and record.state == CLEAR:
            assert place == "bus"


@given(three, st.booleans())
def test_mirroring_comes_to_rest(given_readings, host_start):
    after = given_readings
    for _ in range(4):
        after = apply(mirror_plan(after, host_start=host_start), after)
    assert mirror_plan(after, host_start=host_start) == []


@given(three)
def test_an_engaged_scope_stays_engaged_by_mirroring_unless_two_places_say_a_later_clear(given_readings):
    before, after = combine(given_readings), combine(apply(mirror_plan(given_readings), given_readings))
    for scope, state in before.items():
        if state.state == ENGAGED and after[scope].state != ENGAGED:
            newest = after[scope].record
            assert newest is not None
            assert newest.rank > state.record.rank
            assert newest.at_ns > state.record.at_ns
            agreed = [r for r in given_readings.values() if r and r.records and r.records.get(scope) == newest]
            assert len(agreed) == 2


def test_bus_without_its_key_gets_it_back_when_database_and_file_agree():
    given_readings = {**alike(CLEAR, 3), "bus": reading()}
    assert mirror_plan(given_readings) == [("bus", made(CLEAR, 3))]


def test_bus_without_its_key_stays_empty_when_database_and_file_differ():
    given_readings = {"database": reading(all=(CLEAR, 4)), "bus": reading(), "file": reading(all=(CLEAR, 3))}
    assert mirror_plan(given_readings) == []


@pytest.mark.parametrize(("host_start", "plan"), [(False, []), (True, [("file", made(CLEAR, 3))])])
def test_a_host_without_a_file_gets_it_at_start_only(host_start, plan):
    assert mirror_plan({**alike(CLEAR, 3), "file": reading()}, host_start=host_start) == plan


def test_a_host_without_a_file_gets_none_while_the_bus_cannot_be_read():
    given_readings = {**alike(CLEAR, 3), "file": reading(), "bus": Reading(None, 0, "gone")}
    assert mirror_plan(given_readings, host_start=True) == []


def test_a_database_without_records_is_never_filled_with_clear():
    assert mirror_plan({**alike(CLEAR, 3), "database": reading()}, host_start=True) == []


def test_an_engaged_record_goes_everywhere():
    given_readings = {**alike(CLEAR, 3), "file": reading(all=(ENGAGED, 4))}
    assert mirror_plan(given_readings) == [("database", made(ENGAGED, 4)), ("bus", made(ENGAGED, 4))]


def test_a_clear_record_in_one_place_is_not_copied_over_an_engaged_one():
    assert mirror_plan({**alike(ENGAGED, 3), "bus": reading(all=(CLEAR, 4))}) == []


def test_of_one_generation_engaged_wins():
    plan = mirror_plan({**alike(CLEAR, 3), "bus": reading(all=(ENGAGED, 3))})
    assert plan == [("database", made(ENGAGED, 3)), ("file", made(ENGAGED, 3))]


def test_an_engagement_on_a_place_that_had_forgotten_is_raised_above_older_releases():
    """Engaged while the others were away, where counting began anew: no majority of old clear records undoes it."""
    old = Record(ALL, CLEAR, 7, at_ns=100)
    fresh = Record(ALL, ENGAGED, 1, "ann", at_ns=200)
    given_readings = {
        "database": Reading({ALL: old}, 0),
        "bus": Reading({ALL: old}, 0),
        "file": Reading({ALL: fresh}, 0),
    }
    raised = Record(ALL, ENGAGED, 8, "ann", at_ns=200)
    assert mirror_plan(given_readings) == [(place, raised) for place in PLACES]


def test_another_host_follows_a_release_when_database_and_bus_agree():
    released = Record(ALL, CLEAR, 5, at_ns=2)
    given_readings = {place: Reading({ALL: released}, 0) for place in ("database", "bus")}
    given_readings["file"] = Reading({ALL: Record(ALL, ENGAGED, 4, at_ns=1)}, 0)
    assert mirror_plan(given_readings) == [("file", released)]


def test_words_name_the_place_and_the_scope():
    states = combine({**alike(CLEAR, 1), "bus": Reading(None, 0, "connection refused")})
    assert states[ALL].state == UNCLEAR
    assert states[ALL].why == "the bus cannot be read: connection refused"


RELEASE = "manage.py kill --release --user NAME --reason WHY"


@pytest.mark.parametrize(
    ("given_readings", "fix"),
    [
        ({**alike(CLEAR, 1), "bus": reading()}, "A desk that runs copies it there; without one, rel"),
        ({**alike(CLEAR, 1), "bus": reading(), "file": reading(all=(CLEAR, 2))}, "To go on, release it"),
        ({**alike(CLEAR, 1), "file": reading()}, "Restart this host's worker, or release it"),
        ({**alike(CLEAR, 1), "file": reading(), "bus": reading(all=(CLEAR, 2))}, "To go on, release it"),
        ({**alike(CLEAR, 1), "database": reading()}, "To go on, release it"),
        (dict.fromkeys(PLACES, reading()), "To go on, release it"),
    ],
)
def test_words_of_a_lost_record_say_what_brings_it_back(given_readings, fix):
    why = combine(given_readings)[ALL].why
    assert f"holds no kill switch record for everything. {fix}" in why
    assert why.endswith(f"{RELEASE}, or engage and release on a page")
    assert len(why) <= 200, "a refusal keeps all of it"


def test_words_of_a_lost_scope_name_it_in_the_release():
    only = {place: Reading({ALL: made(CLEAR, 1)}, 0) for place in PLACES}
    only["file"] = Reading({ALL: made(CLEAR, 1), "account:1": Record("account:1", CLEAR, 2)}, 0)
    assert combine(only)["account:1"].why == (
        f"the database holds no kill switch record for account 1. To go on, release it: {RELEASE} --scope account:1, "
        "or engage and release on a page"
    )


def test_words_of_a_broken_record_say_that_a_release_writes_it_anew():
    why = combine({**alike(CLEAR, 1), "file": Reading(None, 0, "no JSON", broken=True)})[ALL].why
    anew = f"A release writes it anew: {RELEASE}, --scope where it names one"
    assert why == f"the local file cannot be read: no JSON. {anew}"


@pytest.mark.parametrize("scope", [ALL, scope_account(7), scope_deployment("mean_reversion-3f9c")])
def test_scopes_are_taken(scope):
    assert scope_check(scope) == scope


@pytest.mark.parametrize("scope", ["", "everything", "account:", "account:x", "deployment:", "deployment:" + "x" * 80])
def test_unknown_scopes_are_refused_with_words(scope):
    with pytest.raises(ValueError, match="all, account:<id> or deployment:<key>"):
        scope_check(scope)
