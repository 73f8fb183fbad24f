"""`manage.py deploy` as a person at a shell uses it: list, start, change, stop, and its answers to what cannot be."""

import io

import pytest
from django.core.management import CommandError, call_command

from apps.common.models import AuditEntry
from apps.common.outbox import outbox_read
from apps.market.models import Epoch, Universe
from apps.portfolio.models import Account, Position
from apps.strategies.models import Deployment
from tests.apps.portfolio.conftest import account, epoch, spot, venue

__all__ = ["account", "epoch", "spot", "venue"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def universe(venue, spot) -> Universe:
    found = Universe.objects.create(name="desk", venue=venue)
    found.members.add(spot)
    return found


def deploy(*arguments: str) -> str:
    out = io.StringIO()
    call_command("deploy", *arguments, stdout=out)
    return out.getvalue()


def started(account: Account, *arguments: str) -> Deployment:
    deploy("start", "mean_reversion", "--account", str(account.pk), *arguments)
    return Deployment.objects.get(state="running")


def test_a_strategy_is_put_to_work_with_its_parameters_and_sizing(account, universe) -> None:
    said = deploy(
        "start", "mean_reversion", "--account", "simulated", "--set", "entry=2.5", "--set", "period=30",
        "--set", "risk_share=0.001", "--stage", "canary", "--reason", "a try",
    )  # fmt: skip
    row = Deployment.objects.get()
    assert said == f"{row.key} is at work on account {account.pk}.\n"
    assert (row.state, row.stage, row.universe_name, row.account_id) == ("running", "canary", "desk", account.pk)
    assert (row.parameters["strategy"]["entry"], row.parameters["strategy"]["period"]) == (2.5, 30)
    assert row.parameters["strategy"]["exit"] == 0.25
    assert row.parameters["sizing"]["risk_share"] == 0.001
    entry = AuditEntry.objects.get(action="deployment.start")
    assert (entry.reason, "(shell)" in entry.actor) == ("a try", True)
    assert [message.state for _, message in outbox_read("deployments", 0)] == ["running"]


def test_the_list_shows_what_is_at_work_and_every_strategy_with_its_parameters(account, universe) -> None:
    row = started(account)
    said = deploy("list")
    assert f"{row.key}  running  full  account {account.pk} (Simulated)  universe desk  " in said
    assert "\nmean_reversion:\n" in said
    assert "  entry = 2.0  (0.5 to 6 deviations)  Distance that opens a position in a usual market." in said


def test_a_change_is_a_successor_that_takes_over_positions_and_keeps_what_is_not_given(account, universe, spot) -> None:
    old = started(account, "--set", "entry=2.5", "--no-stop", "measured by hand")
    Position.objects.create(account=account, instrument=spot, owner=old.key, quantity=3)
    said = deploy("change", old.key, "--set", "stop=0.02", "--stage", "gradual", "--reason", "wider")
    new = Deployment.objects.get(state="running")
    assert said == f"{new.key} has taken over from {old.key}.\n"
    old.refresh_from_db()
    assert (old.state, new.predecessor_id, new.stage) == ("replaced", old.pk, "gradual")
    assert (new.parameters["strategy"]["entry"], new.parameters["strategy"]["stop"]) == (2.5, 0.02)
    assert new.no_stop_reason == "measured by hand"
    assert Position.objects.get(owner=new.key).quantity == 3


def test_a_stopped_one_decides_nothing_more_and_cannot_be_stopped_twice(account, universe) -> None:
    row = started(account)
    assert "its positions keep their stops" in deploy("stop", row.key, "--reason", "enough")
    row.refresh_from_db()
    assert row.state == "stopped"
    assert row.stopped_at is not None
    with pytest.raises(CommandError, match=f"key: {row.key} is stopped, not running"):
        deploy("stop", row.key)
    with pytest.raises(CommandError, match="not running"):
        deploy("change", row.key, "--set", "entry=3")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--account", "nobody"], "--account: 0 accounts are called 'nobody'; give its number"),
        (["--account", "99999"], "--account: 0 accounts are called '99999'"),
        (["--account", "Simulated", "--universe", "moon"], "universe: no universe 'moon'; there are: desk"),
        (["--account", "Simulated", "--set", "entry"], "--set entry: expected NAME=NUMBER"),
        (["--account", "Simulated", "--set", "entry=many"], "--set entry=many: expected NAME=NUMBER"),
        (["--account", "Simulated", "--set", "entry=true"], "--set entry=true: expected NAME=NUMBER"),
        (["--account", "Simulated", "--set", "entry=99"], "entry"),
        (["--account", "Simulated", "--set", "wit=1"], "wit"),
        (["--account", "Simulated", "--set", "risk_share=7"], "risk_share"),
        (["--account", "Simulated", "--stage", "half"], "--stage: invalid choice: 'half'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_and_nothing_is_deployed(
    account, universe, arguments: list[str], words: str
) -> None:
    with pytest.raises(CommandError) as refused:
        deploy("start", "mean_reversion", *arguments)
    assert words in str(refused.value)
    assert not Deployment.objects.exists()


def test_an_unknown_strategy_or_key_is_refused_with_where_to_look(account, universe) -> None:
    with pytest.raises(CommandError, match="invalid choice: 'crystal_ball'"):
        deploy("start", "crystal_ball", "--account", "Simulated")
    with pytest.raises(CommandError, match=r"key: no deployment 'x'; `manage\.py deploy list` shows them"):
        deploy("stop", "x")


def test_two_accounts_of_one_name_need_the_number_and_an_old_epoch_has_none(venue, account, epoch, universe) -> None:
    twin = Account.objects.create(venue=venue, epoch=epoch, name="simulated", trading_enabled=True)
    with pytest.raises(CommandError, match="--account: 2 accounts are called 'Simulated'"):
        deploy("start", "mean_reversion", "--account", "Simulated")
    assert started(twin).account_id == twin.pk
    Epoch.objects.update(is_current=False)
    with pytest.raises(CommandError, match="--account: 0 accounts"):
        deploy("start", "mean_reversion", "--account", str(account.pk))
