"""`manage.py kill` as a person at a shell uses it: engaging, following, releasing, and every way it can say no."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from apps.execution.management.commands import kill as command
from apps.execution.models import KillSweep
from apps.market.models import Epoch, Venue
from apps.portfolio.models import Account
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


def sweep_row(**figures: Any) -> KillSweep:
    venue = Venue.objects.create(code="bybit-sim", name="Simulated Bybit", is_simulated=True)
    epoch = Epoch.objects.create(venue=venue, number=1, kind=Epoch.Kind.SYNTHETIC, is_current=True)
    account = Account.objects.create(venue=venue, epoch=epoch, name="Simulated", trading_enabled=True)
    return KillSweep.objects.create(account=account, scope="all", generation=2, **figures)


def test_the_sweep_is_followed_with_what_keeps_it_and_to_its_end(monkeypatch) -> None:
    row = sweep_row(flatten=True, found=5, left=2, positions_left=1, foreign=3, seconds_left=4.0, why="nothing traded")
    looks = []
    since = command.sweeps_since

    def looked(wall_s: float) -> list[KillSweep]:
        looks.append(wall_s)
        if len(looks) == 3:
            figures = {"left": 0, "positions_left": 0, "seconds_left": None, "why": "", "finished_at": timezone.now()}
            KillSweep.objects.filter(pk=row.pk).update(updated_at=timezone.now(), **figures)
        return since(wall_s - 60.0)

    monkeypatch.setattr(command, "sweeps_since", looked)
    monkeypatch.setattr(command, "LOOK_S", 0.01)
    said = kill("--flatten").splitlines()[1:]
    assert said == [
        f"account {row.account_id}: 2 risk-adding orders left of 5, 1 positions left, 3 foreign orders left alone, "
        "about 4 s at the venue's rate, because: nothing traded.",
        f"account {row.account_id}: 0 risk-adding orders left of 5, 0 positions left, 3 foreign orders left alone: "
        "done.",
    ]


def test_desks_that_report_no_end_are_said_to_go_on() -> None:
    assert "they go on" in kill("--wait", "0.01")


def test_following_without_the_database_says_where_to_look(monkeypatch) -> None:
    def gone(_: float) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(command, "sweeps_since", gone)
    assert "The database does not answer: the desks sweep without it" in kill()
