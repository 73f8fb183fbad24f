"""`manage.py kill` as a person at a shell uses it: engaging, following, releasing, and every way it can say no."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from apps.execution.management.commands import kill as command
from apps.execution.models import KillSweep
from apps.execution.selectors import LOOK_THERE, ScopeSweeps
from apps.market.models import Epoch, Instrument, Venue
from apps.portfolio.models import Account, Credential, Position
from apps.risk.selectors import kill_states
from tests.apps.risk.fixtures import kill_clear
from tests.apps.users.conftest import PASSWORD, people

__all__ = ["kill_clear", "people"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


def kill(*arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("kill", *arguments, stdout=out, **options)
    return out.getvalue()


def release(monkeypatch: pytest.MonkeyPatch, *arguments: str, password: str = PASSWORD) -> str:
    """Release with the password on stdin."""
    monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
    return kill("--release", "--password-stdin", *arguments)


def test_engaging_says_where_it_stands_and_a_release_clears_all_three_places(people, monkeypatch) -> None:
    said = kill("--reason", "prices look wrong", "--wait", "0")
    assert "Kill switch engaged for all (generation 2;" in said
    assert kill_states()["all"].state == "engaged"
    assert kill_states()["all"].record.reason == "prices look wrong"
    said = release(monkeypatch, "--user", "trader", "--reason", "feed mended")
    assert "Kill switch released for all (generation 3;" in said
    assert all(f"{place}: " in said for place in ("database", "bus", "file")), said
    assert kill_states()["all"].state == "clear"
    assert kill_states()["all"].record.by == "trader"


def test_engaging_again_without_flatten_says_that_positions_go_on_being_closed() -> None:
    assert "go on being closed" not in kill("--flatten", "--wait", "0")
    said = kill("--wait", "0")
    assert "(generation 3;" in said
    assert "Positions go on being closed, as was asked before" in said
    assert kill_states()["all"].record.flatten


def test_a_release_asks_for_the_password_when_none_is_piped_in(people, monkeypatch) -> None:
    kill("--wait", "0")
    asked = []
    monkeypatch.setattr(command.getpass, "getpass", lambda prompt: asked.append(prompt) or PASSWORD)
    assert "released" in kill("--release", "--user", "admin", "--reason", "all well")
    assert asked == ["Password of admin: "]


@pytest.mark.parametrize(
    ("arguments", "password", "words"),
    [
        (["--reason", "x"], PASSWORD, "--user: a release needs a trader's name"),
        (["--user", "trader"], PASSWORD, "--reason: a release needs one"),
        (["--user", "trader", "--reason", "  "], PASSWORD, "--reason: a release needs one"),
        (["--user", "trader", "--reason", "x"], "wrong", "wrong name or password, not a trader"),
        (["--user", "nobody", "--reason", "x"], PASSWORD, "wrong name or password, not a trader"),
        (["--user", "viewer", "--reason", "x"], PASSWORD, "wrong name or password, not a trader"),
        (["--user", "trader", "--reason", "x", "--scope", "acount:1"], PASSWORD, "scope"),
    ],
)
def test_a_release_that_may_not_be_is_refused_in_words_and_nothing_is_released(
    people, monkeypatch, arguments: list[str], password: str, words: str
) -> None:
    kill("--wait", "0")
    with pytest.raises(CommandError, match=words):
        release(monkeypatch, *arguments, password=password)
    assert kill_states()["all"].state == "engaged"


def test_repeated_failures_lock_the_name_for_a_while_even_with_the_right_password(
    people, monkeypatch, settings
) -> None:
    kill("--wait", "0")
    for _ in range(settings.AXES_FAILURE_LIMIT):
        with pytest.raises(CommandError, match="wrong name or password"):
            release(monkeypatch, "--user", "trader", "--reason", "x", password="wrong")
    with pytest.raises(CommandError, match="locked for a while"):
        release(monkeypatch, "--user", "trader", "--reason", "x")
    assert kill_states()["all"].state == "engaged"


def test_what_is_not_engaged_cannot_be_released(people, monkeypatch) -> None:
    with pytest.raises(CommandError, match="not engaged"):
        release(monkeypatch, "--user", "trader", "--reason", "x")


def test_a_release_without_the_database_says_that_it_needs_it(people, monkeypatch) -> None:
    kill("--wait", "0")

    def gone(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(command, "authenticate", gone)
    with pytest.raises(CommandError, match=r"Not released: the database does not answer.*connection refused"):
        release(monkeypatch, "--user", "trader", "--reason", "x")


def test_a_scope_that_cannot_be_is_refused_with_what_it_may_be() -> None:
    with pytest.raises(CommandError, match="scope"):
        kill("--scope", "everything")
    assert kill_states()["all"].state == "clear"


def account_add(name: str) -> Account:
    """Add an account with keys: a desk should run it."""
    venue, _ = Venue.objects.get_or_create(code="bybit-sim", name="Simulated Bybit", is_simulated=True)
    epoch, _ = Epoch.objects.get_or_create(venue=venue, number=1, kind=Epoch.Kind.SYNTHETIC, is_current=True)
    account = Account.objects.create(venue=venue, epoch=epoch, name=name, trading_enabled=True)
    Credential.objects.create(account=account, api_key="key", api_secret="secret")
    return account


def sweep_row(**figures: Any) -> KillSweep:
    return KillSweep.objects.create(account=account_add("Simulated"), scope="all", generation=2, **figures)


def test_the_sweep_is_followed_with_what_keeps_it_and_to_its_end(monkeypatch) -> None:
    row = sweep_row(flatten=True, found=5, left=2, positions_left=1, foreign=3, seconds_left=4.0, why="nothing traded")
    looks = []
    sweeps_of = command.sweeps_of

    def looked(engaged: dict[str, int]) -> dict[str, ScopeSweeps]:
        looks.append(engaged)
        if len(looks) == 3:
            figures = {"left": 0, "positions_left": 0, "seconds_left": None, "why": "", "finished_at": timezone.now()}
            KillSweep.objects.filter(pk=row.pk).update(updated_at=timezone.now(), **figures)
        return sweeps_of(engaged)

    monkeypatch.setattr(command, "sweeps_of", looked)
    monkeypatch.setattr(command, "LOOK_S", 0.01)
    said = kill("--flatten").splitlines()[1:]
    assert said == [
        f"account {row.account_id} (Simulated): 2 risk-adding orders left of 5, 1 positions left, "
        "3 foreign orders left alone, about 4 s at the venue's rate, because: nothing traded.",
        f"account {row.account_id} (Simulated): 0 risk-adding orders left of 5, 0 positions left, "
        "3 foreign orders left alone: done.",
    ]


def test_desks_that_report_no_end_are_said_to_go_on() -> None:
    sweep_row(found=2, left=2)
    said = kill("--wait", "0.01")
    assert "they go on" in said
    assert "has not begun" not in said


def test_an_account_whose_desk_has_not_begun_is_waited_for_and_named(monkeypatch) -> None:
    row, second = sweep_row(found=5, finished_at=timezone.now()), account_add("Second")
    monkeypatch.setattr(command, "LOOK_S", 0.01)
    label = f"account {second.pk} (Second)"
    assert kill("--wait", "0.05").splitlines()[1:] == [
        f"{label}: waiting for its desk to begin.",
        f"account {row.account_id} (Simulated): 0 risk-adding orders left of 5: done.",
        f"{label}: has not begun. Without a running desk an account is not swept: "
        "start its desk, or look at the venue.",
    ]


def test_the_command_ends_when_the_last_account_is_through(monkeypatch) -> None:
    sweep_row(found=5, finished_at=timezone.now())
    second = account_add("Second")
    sweeps_of = command.sweeps_of
    looks = []

    def looked(engaged: dict[str, int]) -> dict[str, ScopeSweeps]:
        looks.append(engaged)
        if len(looks) == 3:
            KillSweep.objects.create(account=second, scope="all", generation=2, finished_at=timezone.now())
        return sweeps_of(engaged)

    monkeypatch.setattr(command, "sweeps_of", looked)
    monkeypatch.setattr(command, "LOOK_S", 0.01)
    said = kill()
    assert said.endswith(f"account {second.pk} (Second): 0 risk-adding orders left of 0: done.\n")
    assert looks == [{"all": 2}] * 3


def test_the_sweep_of_another_engagement_or_scope_ends_nothing() -> None:
    row = sweep_row(found=5, finished_at=timezone.now())
    KillSweep.objects.create(account=row.account, scope="all", generation=3, finished_at=timezone.now())
    said = kill("--scope", f"account:{row.account_id}", "--wait", "0.01")
    assert f"account {row.account_id} (Simulated): has not begun." in said
    assert "done." not in said


def test_the_scope_of_one_account_waits_for_no_other() -> None:
    first, _ = account_add("Simulated"), account_add("Second")
    scope = f"account:{first.pk}"
    KillSweep.objects.create(account=first, scope=scope, generation=1, finished_at=timezone.now())
    said = kill("--scope", scope)
    assert said.splitlines()[1:] == [f"account {first.pk} (Simulated): 0 risk-adding orders left of 0: done."]


def test_an_account_that_is_off_with_a_position_is_named_and_not_waited_for() -> None:
    row = sweep_row(found=5, finished_at=timezone.now())
    off = account_add("B")
    instrument = Instrument.objects.create(
        venue=off.venue, symbol="BTC/USDT", slug="btc-usdt", venue_symbol="BTCUSDT", kind="spot", base="BTC",
        quote="USDT", settle="USDT",
    )  # fmt: skip
    Position.objects.create(account=off, instrument=instrument, owner="manual", quantity=2)
    Account.objects.filter(pk=off.pk).update(is_active=False)
    assert kill().splitlines()[1:] == [
        f"account {row.account_id} (Simulated): 0 risk-adding orders left of 5: done.",
        f"account {off.pk} (B): not swept: switched off; by our books positions held: 1. {LOOK_THERE}",
    ]


@pytest.mark.parametrize("scope", ["all", "account:1", "deployment:none-0000"])
def test_where_no_account_is_concerned_it_says_so_and_ends(scope: str) -> None:
    assert kill("--scope", scope).splitlines()[1:] == ["No account to sweep: this concerns none that is active."]


def test_following_without_the_database_says_where_to_look(monkeypatch) -> None:
    def gone(_: dict[str, int]) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(command, "sweeps_of", gone)
    assert "The database does not answer: the desks sweep without it" in kill()
