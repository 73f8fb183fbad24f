"""The kill switch on real servers that are stopped, paused and killed under it."""

import asyncio
import fcntl
import os
import time

import msgspec
import pytest

from apps.risk.killswitch import acts, switch
from apps.risk.killswitch import reader as reader_module
from apps.risk.killswitch.records import ALL, CLEAR, ENGAGED, UNCLEAR, Record
from apps.risk.killswitch.switch import OK, KillError, KillReleaseRefused, readings_take
from tests.apps.risk.servers import Bench, bench, pause, reading, resume, until
from trader.config import config

pytestmark = pytest.mark.stack
PLACES = ["database", "bus", "file"]
# a reading of exactly 200 ms still counts; the rest is how finely the test looks
WITHIN_S = 0.215


@pytest.fixture(scope="module")
def servers(django_db_setup):
    with bench() as made:
        yield made


@pytest.fixture
def desk(servers, monkeypatch) -> Bench:
    """The bench after a first start: three clear records."""
    monkeypatch.setattr(reader_module, "_host_started", True)
    servers.mend()
    assert asyncio.run(_first_up(servers))
    return servers


async def _first_up(servers: Bench) -> bool:
    places = servers.places()
    made = await switch.first_up(places)
    await places.close()
    return made


async def records(desk: Bench) -> dict[str, tuple[str, int] | None]:
    places = desk.places()
    readings = await readings_take(places)
    await places.close()
    held = {name: r.records.get(ALL) if r.records is not None else None for name, r in readings.items()}
    return {name: None if record is None else (record.state, record.generation) for name, record in held.items()}


async def flattening(desk: Bench) -> dict[str, bool]:
    """Whether each place's record of everything asks for positions to be closed."""
    places = desk.places()
    found = {name: (await place.read())[ALL].flatten for name, place in places.by_name.items()}
    await places.close()
    return found


async def mirrored(desk: Bench) -> None:
    """Wait until all three places hold the engagement that followed the first start."""
    for _ in range(100):
        if (held := await records(desk)) == dict.fromkeys(PLACES, (ENGAGED, 2)):
            break
        await asyncio.sleep(0.1)
    assert held == dict.fromkeys(PLACES, (ENGAGED, 2))


async def act(desk: Bench, do, *args, **more):
    places = desk.places()
    try:
        return await do(*args, places=places, **more)
    finally:
        await places.close()


async def test_first_start_writes_three_clear_records_and_only_once(desk):
    assert await records(desk) == dict.fromkeys(PLACES, (CLEAR, 1))
    assert not await act(desk, switch.first_up)


async def test_first_start_waits_for_a_place_that_does_not_answer_at_once(desk):
    desk.mend()
    pause(desk.valkey)
    asyncio.get_running_loop().call_later(1.0, resume, desk.valkey)
    assert await act(desk, switch.first_up)
    assert await records(desk) == dict.fromkeys(PLACES, (CLEAR, 1))


async def test_first_start_writes_nothing_where_a_host_has_started_before(desk):
    desk.mend()
    desk.kill_folder.mkdir()
    assert not await act(desk, switch.first_up)
    assert await records(desk) == dict.fromkeys(PLACES, None)


async def test_engaging_blocks_every_scope_and_releasing_frees_them(desk):
    async with reading(desk) as reader:
        assert reader.verdict(["account:1"]).state == CLEAR
        result = await act(desk, switch.engage, ALL, "ann", "looks wrong")
        assert result.written == dict.fromkeys(PLACES, OK)
        await until(lambda: reader.verdict(["account:1"]).state == ENGAGED)
        verdict = reader.verdict()
        assert verdict.record.reason == "looks wrong"
        assert not verdict.adds_risk_allowed
        assert await records(desk) == dict.fromkeys(PLACES, (ENGAGED, 2))
        await act(desk, switch.release, ALL, "ann", "a wrong price at the venue, mended")
        await until(lambda: reader.verdict(["account:1"]).state == CLEAR)
        assert await records(desk) == dict.fromkeys(PLACES, (CLEAR, 3))


async def test_an_account_and_a_deployment_are_engaged_alone(desk):
    async with reading(desk) as reader:
        await act(desk, switch.engage, "account:1", "ann")
        await act(desk, switch.engage, "deployment:x", "ann", flatten=True)
        await until(lambda: len(reader.engaged()) == 2)
        assert reader.verdict(["account:1"]).state == ENGAGED
        assert reader.verdict(["account:2", "deployment:x"]).state == ENGAGED
        assert reader.verdict(["account:2", "deployment:y"]).state == CLEAR
        assert [record.flatten for record in reader.engaged(["deployment:x"])] == [True]


@pytest.mark.parametrize("name", PLACES)
async def test_a_place_that_is_gone_blocks_within_200_ms_and_frees_when_it_is_back(desk, name):
    async with reading(desk, mirror=False) as reader:
        kept = (desk.kill_folder / "kill.json").read_bytes()
        server = {"database": desk.postgres, "bus": desk.valkey}.get(name)
        started = time.monotonic()
        if server is None:
            (desk.kill_folder / "kill.json").unlink()
        else:
            server.process.kill()
        await until(lambda: reader.verdict().state == UNCLEAR)
        assert time.monotonic() - started < WITHIN_S
        if server is None:
            (desk.kill_folder / "kill.json").write_bytes(kept)
        else:
            server.process.wait()
            desk.back(name)  # blocks the loop: a server ends with the thread that has started it
        await until(lambda: reader.verdict().state == CLEAR)


@pytest.mark.parametrize("name", ["database", "bus"])
async def test_a_paused_server_blocks_within_200_ms_and_frees_when_it_goes_on(desk, name):
    server = {"database": desk.postgres, "bus": desk.valkey}[name]
    async with reading(desk) as reader:
        started = time.monotonic()
        pause(server)
        await until(lambda: reader.verdict().state == UNCLEAR)
        assert time.monotonic() - started < WITHIN_S
        assert reader.verdict().why
        await asyncio.sleep(1.3)  # past the place's own timeout: the line was cut and is made anew
        assert reader.verdict().state == UNCLEAR
        resume(server)
        await until(lambda: reader.verdict().state == CLEAR)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1,"records":{}}', b'{"version":2,"records":{}}'])
async def test_a_file_that_says_nothing_blocks(desk, content):
    async with reading(desk) as reader:
        (desk.kill_folder / "kill.json").write_bytes(content)
        assert await until(lambda: reader.verdict().state == UNCLEAR) < WITHIN_S
        assert "the local file" in reader.verdict().why


async def test_a_broken_file_and_a_broken_hash_are_mended_by_engaging_and_releasing(desk):
    (desk.kill_folder / "kill.json").write_bytes(b"{")
    places = desk.places()
    await places.by_name["bus"]._client.hset("qd:kill", ALL, b"{")
    async with reading(desk) as reader:
        assert reader.verdict().state == UNCLEAR
        assert (await switch.engage(ALL, "ann", places=places)).written == dict.fromkeys(PLACES, OK)
        await switch.release(ALL, "ann", "records mended", places=places)
        await until(lambda: reader.verdict().state == CLEAR)
    await places.close()
    assert list(desk.kill_folder.glob("kill.broken-*")), "what could not be read is kept for a person to look at"


@pytest.mark.parametrize("living", PLACES)
async def test_engaging_works_while_any_one_place_lives_and_reaches_the_others_later(desk, living):
    gone = [name for name in PLACES if name != living]
    async with reading(desk) as reader:
        for name in gone:
            desk.gone(name)
        result = await act(desk, switch.engage, ALL, "ann", "half the house is down")
        assert {name for name, words in result.written.items() if words == OK} == {living}
        await until(lambda: reader.verdict().state == ENGAGED)
        for name in gone:
            desk.back(name)  # blocks the loop: a server ends with the thread that has started it
        await mirrored(desk)


async def test_mirroring_goes_on_after_the_folder_was_away_for_longer_than_it_waits(desk):
    async with reading(desk):
        desk.gone("file")
        await act(desk, switch.engage, ALL, "ann", "the disk is odd")
        await asyncio.sleep(4 * config.kill.mirror_after_s)
        desk.back("file")
        await mirrored(desk)
    assert await records(desk) == dict.fromkeys(PLACES, (ENGAGED, 2))


async def test_mirroring_goes_on_after_an_error_that_nobody_foresaw(desk, monkeypatch):
    failing = iter([RuntimeError("odd"), RuntimeError("odd again")])
    whole = reader_module.plan_apply

    async def odd_at_first(plan, places):
        for error in failing:
            raise error
        return await whole(plan, places)

    monkeypatch.setattr(reader_module, "plan_apply", odd_at_first)
    async with reading(desk):
        desk.gone("file")
        await act(desk, switch.engage, ALL, "ann", "the disk is odd")
        desk.back("file")
        await mirrored(desk)
    assert await records(desk) == dict.fromkeys(PLACES, (ENGAGED, 2))
    assert not list(failing), "both errors were met"


async def test_engaging_with_no_place_at_all_is_an_error_that_says_what_to_do(desk):
    for name in PLACES:
        desk.gone(name)
    with pytest.raises(KillError, match="cancel them at the venue"):
        await act(desk, switch.engage, ALL, "ann")
    desk.back("file")


@pytest.mark.parametrize("gone", ["database", "bus"])
async def test_a_release_needs_the_servers(desk, gone):
    await act(desk, switch.engage, ALL, "ann")
    desk.gone(gone)
    with pytest.raises(KillReleaseRefused, match="needs all three"):
        await act(desk, switch.release, ALL, "ann", "all is well")
    desk.back(gone)
    assert await records(desk) == dict.fromkeys(PLACES, (ENGAGED, 2))


async def test_a_release_that_fails_half_way_is_taken_back(desk):
    await act(desk, switch.engage, ALL, "ann", flatten=True)
    places = desk.places()

    async def fails(record: Record) -> bool:
        raise switch.PlaceError("disk full")

    places.by_name["file"].put = fails
    with pytest.raises(KillReleaseRefused, match="disk full"):
        await switch.release(ALL, "ann", "all is well", places=places)
    await places.close()
    assert await records(desk) == dict.fromkeys(PLACES, (ENGAGED, 4))
    async with reading(desk) as reader:
        await asyncio.sleep(0.5)  # longer than mirroring waits: it must not complete the release
        assert reader.verdict().state == ENGAGED
        assert reader.verdict().record.flatten


async def test_who_engages_again_without_it_does_not_take_flattening_back_and_a_release_does(desk):
    await act(desk, switch.engage, ALL, "ann", flatten=True)
    again = await act(desk, switch.engage, ALL, "bob")
    assert (again.record.by, again.record.generation, again.record.flatten) == ("bob", 3, True)
    assert await flattening(desk) == dict.fromkeys(PLACES, True)
    await act(desk, switch.release, ALL, "ann", "all is well")
    fresh = await act(desk, switch.engage, ALL, "bob")
    assert (fresh.record.generation, fresh.record.flatten) == (5, False)
    assert await flattening(desk) == dict.fromkeys(PLACES, False)


async def test_an_engagement_beats_a_release_of_the_same_moment(desk):
    await act(desk, switch.engage, ALL, "ann")
    places = desk.places()
    stale = Record(ALL, "clear", 3, "ann", "released by one who had not seen the second")
    await switch.engage(ALL, "bob", places=places)
    assert [await place.put(stale) for place in places.by_name.values()] == [False] * 3
    await places.close()
    assert await records(desk) == dict.fromkeys(PLACES, (ENGAGED, 3))


async def test_engagements_at_once_end_in_one_generation_everywhere(desk):
    await asyncio.gather(*(act(desk, switch.engage, ALL, f"person {n}") for n in range(8)))
    held = await records(desk)
    assert {state for state, _ in held.values()} == {ENGAGED}
    async with reading(desk) as reader:
        for _ in range(100):
            held = await records(desk)
            if len(set(held.values())) == 1:
                break
            await asyncio.sleep(0.1)
        assert len(set(held.values())) == 1
        assert reader.verdict().state == ENGAGED


async def test_writes_at_once_to_the_file_count_every_one(desk):
    await asyncio.gather(*(act(desk, switch.engage, "account:1", f"person {n}") for n in range(6)))
    content = msgspec.json.decode((desk.kill_folder / "kill.json").read_bytes())
    assert content["records"]["account:1"]["generation"] >= 6
    assert content["records"][ALL]["state"] == CLEAR


@pytest.mark.parametrize(("by", "reason"), [("ann", "  "), ("", "all is well")])
async def test_a_release_without_person_or_reason_is_refused(desk, by, reason):
    await act(desk, switch.engage, ALL, "ann")
    with pytest.raises(KillReleaseRefused, match="a person and a reason"):
        await act(desk, switch.release, ALL, by, reason)


@pytest.mark.parametrize("scope", [ALL, "account:9"])
async def test_nothing_to_release_is_said(desk, scope):
    with pytest.raises(KillReleaseRefused, match="Nothing to release"):
        await act(desk, switch.release, scope, "ann", "all is well")


async def test_a_restarted_bus_without_its_key_gets_it_back(desk):
    async with reading(desk) as reader:
        desk.flush()
        await until(lambda: reader.verdict().state == UNCLEAR)
        await until(lambda: reader.verdict().state == CLEAR)
        assert (await records(desk))["bus"] == (CLEAR, 1)


async def test_a_removed_file_stays_missing_until_the_host_starts_again(desk):
    async with reading(desk) as reader:
        (desk.kill_folder / "kill.json").unlink()
        await until(lambda: reader.verdict().state == UNCLEAR)
        await asyncio.sleep(0.8)  # longer than mirroring waits
        assert not (desk.kill_folder / "kill.json").exists()
        assert await act(desk, switch.host_start)
        await until(lambda: reader.verdict().state == CLEAR)


async def test_a_host_without_a_file_gets_none_when_the_others_say_engaged_but_an_engaged_one(desk):
    await act(desk, switch.engage, ALL, "ann")
    (desk.kill_folder / "kill.json").unlink()
    await act(desk, switch.host_start)
    assert (await records(desk))["file"] == (ENGAGED, 2)


async def test_the_gate_waits_for_a_reading_that_is_merely_old(desk):
    async with reading(desk, poll_ms=150, fresh_ms=60) as reader:
        await until(lambda: reader.verdict().is_old)
        assert (await reader.verdict_fresh()).state == CLEAR


async def test_the_gate_does_not_wait_when_engaged(desk):
    await act(desk, switch.engage, ALL, "ann")
    async with reading(desk) as reader:
        started = time.monotonic()
        assert (await reader.verdict_fresh()).state == ENGAGED
        assert time.monotonic() - started < 0.05


async def test_a_stopped_reader_grows_old_and_blocks(desk):
    async with reading(desk) as reader:
        assert reader.verdict().state == CLEAR
    await until(lambda: reader.verdict().state == UNCLEAR)
    assert "200 ms are allowed" in reader.verdict().why


async def test_a_reader_that_has_read_nothing_blocks(desk):
    reader = reader_module.KillReader(places=desk.places())
    assert reader.verdict().state == UNCLEAR
    assert "has not been read yet" in reader.verdict().why


async def test_a_change_is_told(desk):
    told = []
    async with reading(desk, on_change=lambda: told.append(1)):
        told.clear()
        await act(desk, switch.engage, ALL, "ann")
        await until(lambda: told)


async def test_an_act_with_the_database_stopped_is_journalled_and_answered_at_once(desk):
    desk.gone("database")
    places = desk.places()
    started = time.monotonic()
    result = await acts.kill_engage(ALL, "ann", "the database is gone", places=places)
    assert time.monotonic() - started < 2.0
    assert {name for name, words in result.written.items() if words == OK} == {"bus", "file"}
    assert acts.journal_of(places).has_unbooked()
    await places.close()
    desk.back("database")


@pytest.mark.parametrize("name", ["database", "bus"])
async def test_a_paused_server_holds_an_engagement_up_by_its_own_timeout_only(desk, name):
    pause({"database": desk.postgres, "bus": desk.valkey}[name])
    places = desk.places(timeout_s=0.3)
    async with reading(desk) as reader:
        engaging = asyncio.create_task(switch.engage(ALL, "ann", places=places))
        assert await until(lambda: reader.verdict().state == ENGAGED) < 0.2, "the others do not wait"
        result = await engaging
        assert "no answer within 0.3 s" in result.written[name] or "no connection within 0.3 s" in result.written[name]
        resume({"database": desk.postgres, "bus": desk.valkey}[name])
    await places.close()


async def test_a_lock_left_by_a_paused_process_costs_the_file_only(desk):
    descriptor = os.open(desk.kill_folder / "kill.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    places = desk.places()
    result = await switch.engage(ALL, "ann", places=places)
    os.close(descriptor)
    await places.close()
    # the second is what is said where the thread that waits for the lock comes late to say so itself
    assert any(words in result.written["file"] for words in ("another process holds its lock", "not written within"))
    assert (result.written["database"], result.written["bus"]) == (OK, OK)
    async with reading(desk):
        await mirrored(desk)
    assert (await records(desk))["file"] == (ENGAGED, 2), "mirrored once the lock was free"


async def test_a_reading_is_judged_by_its_age_though_nothing_else_has_changed(desk):
    async with reading(desk, fresh_ms=1000) as reader:
        verdict = reader.verdict()
        assert verdict.adds_risk_allowed
        assert 0 <= verdict.age_ms < 200, "polled often enough for the strict limit"
