"""The venue's clock is set while a desk works: new risk stops, and what takes risk away passes at once."""

import pytest

from apps.execution.desk import session
from apps.risk.services import kill_engage
from tests.apps.execution.living import SPOT, Living, living
from tests.apps.execution.test_desk_kill import swept
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


@pytest.fixture
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is not measured from time to time: whoever needs it must see to it."""
    monkeypatch.setattr(session, "UPKEEP_S", 3600.0)


async def protected(made: Living) -> int:
    """A position of a person with its stop, and two orders that rest."""
    instrument = made.instrument(SPOT)
    bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="2")
    assert bought.state == "done", bought.result
    await limit_orders(made, SPOT, 2, price=90.0)
    await made.until(lambda: [one for one in made.books.open.values() if one.is_stop and one.state == "acknowledged"])
    await made.until(lambda: not made.parts.tracker.in_flight(), what="calm")
    return instrument


def why(made: Living) -> tuple[str, str] | None:
    return made.parts.core.why_no_risk("manual", made.instrument(SPOT))


async def until_blocked_by(made: Living, word: str) -> str:
    """Wait until new risk is refused for this (a busy machine may give another reason for a moment); its words."""
    blocked = await made.until(
        lambda: (found := why(made) or ("", ""))[0] == word and (found,), what=f"blocked by {word or 'nothing'}"
    )
    return blocked[0][1]


@pytest.mark.parametrize("offset_s", [30, -30])
@pytest.mark.parametrize("first", ["cancel", "close"])
@pytest.mark.usefixtures("never_by_itself")
async def test_after_a_jump_the_first_cancel_and_the_first_exit_pass_and_new_risk_is_refused(
    first: str, offset_s: int
) -> None:
    async with living() as made:
        instrument = await protected(made)
        resting = next(one for one in made.books.open.values() if one.kind == "limit")
        await until_blocked_by(made, "")
        made.exchange.fault(fault="clock_off", offset_s=offset_s)
        wishes = {
            "cancel": lambda: command(made, "cancel", client_id=resting.client_id),
            "close": lambda: command(made, "close", instrument_id=instrument, owner="manual"),
        }
        for name in sorted(wishes, key=lambda one: one != first):
            done = await wishes[name]()
            assert done.state == "done", (name, done.result)
            assert "the limit is 500 ms" in await until_blocked_by(made, "clock"), name
        more = await command(
            made, "order", instrument_id=instrument, side="buy", kind="limit", quantity="1", price="90"
        )
        assert (more.state, "clock" in more.result) == ("refused", True)
        await made.until(lambda: made.books.is_flat(instrument, made.books.held(instrument, "manual")), what="flat")
        await made.until(lambda: not [one for one in made.books.open.values() if one.is_stop], what="no stop rests")
        assert not [one for one in made.books.orders.values() if one.origin == "clock"]


@pytest.mark.usefixtures("never_by_itself")
async def test_an_order_whose_time_is_refused_blocks_the_next_ones_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living() as made:
        rounds: list[int] = []

        async def quiet() -> bool:
            rounds.append(1)
            return True

        monkeypatch.setattr(made.parts.reconciler, "round", quiet)
        made.parts.reconciler.soon()
        await made.until(lambda: rounds and not made.parts.core.blocks, what="nobody else asks the venue")
        made.exchange.fault(fault="clock_off", offset_s=30)
        wish = {"instrument_id": made.instrument(SPOT), "side": "buy", "kind": "limit", "quantity": "1", "price": "90"}
        first = await command(made, "order", **wish)
        assert first.state == "refused", first.result
        assert [one.origin for one in made.books.orders.values()] == ["clock"]
        await until_blocked_by(made, "clock")
        assert made.exchange.ledger("order") == []


@pytest.mark.usefixtures("never_by_itself")
async def test_the_kill_switch_sweeps_with_the_venues_clock_set_on() -> None:
    async with living() as made:
        await protected(made)
        made.exchange.fault(fault="clock_off", offset_s=30)
        await kill_engage("all", by="tester", reason="drill")
        sweep = await swept(made, "all")
        assert (sweep.found, sweep.left, sweep.why) == (2, 0, "")
        assert [one.leg for one in made.books.open.values()] == ["stop"]


@pytest.mark.usefixtures("never_by_itself")
async def test_a_comparison_of_books_whose_time_is_refused_measures_the_clock_and_goes_on() -> None:
    async with living() as made:
        await made.until(lambda: not made.parts.core.blocks, what="nothing blocks")
        made.exchange.fault(fault="clock_off", offset_s=30)
        made.parts.reconciler.soon()
        await until_blocked_by(made, "clock")
        await made.until(lambda: not made.parts.reconciler._wake.is_set(), what="and it is compared")
        assert "reconcile" not in made.parts.core.blocks


async def test_without_any_refusal_a_jump_is_seen_by_the_next_measurement() -> None:
    async with living() as made:
        await until_blocked_by(made, "")
        made.exchange.fault(fault="clock_off", offset_s=30)
        await until_blocked_by(made, "clock")
