"""The kill switch's way in from a page: by cookie alone, for traders, with every record that lives."""

from decimal import Decimal

import pytest
from django.db import OperationalError
from django.test import Client

from apps.dashboard.kill import kill_view
from apps.execution.models import KillSweep, Order
from apps.execution.selectors import LOOK_THERE
from apps.market.models import Epoch, Venue
from apps.portfolio.models import Account, Credential, Position
from apps.risk.killswitch.overview import kept_forget
from apps.risk.selectors import kill_states
from apps.strategies.models import Deployment
from tests.apps.dashboard.conftest import PASSWORD

ENGAGE, RELEASE, BANNER = "/kill/engage", "/kill/release", "/kill/banner"
ENDED = "2018-04-04T14:32Z"
NOTHING = "No account to sweep: this concerns none that is active."
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def trader(desk, as_role):
    """Return a client with a trader's session and identity cookie, as a browser has them after one page."""
    client = as_role("trader")
    client.get("/you/")
    return client


def test_engaging_stops_everything_and_shows_the_banner(trader):
    answer = trader.post(ENGAGE, {"scope": "all"})
    html = answer.content.decode()
    assert answer.status_code == 200
    assert "Kill switch engaged" in html
    assert "for everything by trader" in html
    assert kill_states()["all"].state == "engaged"


def test_every_page_shows_the_banner_until_released(trader):
    trader.post(ENGAGE, {"scope": "all"})
    for page in ("/", "/risk/", "/scanner/", "/you/"):
        html = trader.get(page).content.decode()
        assert "Kill switch engaged" in html
        assert 'data-state="engaged"' in html


def test_engaging_asks_neither_session_nor_user(trader, desk, django_assert_num_queries):
    keys_add(desk.account)
    del trader.cookies["sessionid"]
    with django_assert_num_queries(2):  # sweeps and accounts for the banner; left out when the database is gone
        assert trader.post(ENGAGE, {"scope": "all"}).status_code == 200


@pytest.mark.parametrize("role", ["viewer", "annotator"])
def test_role_below_trader_is_refused(desk, as_role, role):
    client = as_role(role)
    client.get("/you/")
    answer = client.post(ENGAGE, {"scope": "all"})
    assert answer.status_code == 403
    assert "takes the role trader" in answer.content.decode()
    assert client.post(RELEASE, {"scope": "all", "reason": "because", "password": PASSWORD}).status_code == 403
    assert kill_states()["all"].state == "clear"


def test_nobody_unknown_engages_or_looks(desk, client):
    assert client.post(ENGAGE).status_code == 401
    assert client.get(BANNER).status_code == 401
    client.cookies["qd_identity"] = "forged"
    assert client.post(ENGAGE).status_code == 401


def test_another_sites_form_cannot_engage(trader):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = trader.cookies
    assert strict.post(ENGAGE, {"scope": "all"}).status_code == 403
    assert kill_states()["all"].state == "clear"


def test_unknown_scope_is_refused_in_words(trader):
    answer = trader.post(ENGAGE, {"scope": "moon"})
    assert answer.status_code == 400
    assert "Unknown kill switch scope" in answer.content.decode()


def test_one_account_can_be_stopped_alone(trader, desk):
    trader.post(ENGAGE, {"scope": f"account:{desk.account.pk}"})
    states = kill_states()
    assert states[f"account:{desk.account.pk}"].state == "engaged"
    assert states["all"].state == "clear"
    assert 'data-kill="all"' in trader.get("/").content.decode()


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"reason": "", "password": PASSWORD}, 422, "Say why"),
        ({"reason": "calm again", "password": "wrong"}, 403, "not your password"),
    ],
)
def test_release_takes_a_reason_and_a_fresh_password(trader, form, status, words):
    trader.post(ENGAGE, {"scope": "all"})
    answer = trader.post(RELEASE, {"scope": "all", **form})
    assert answer.status_code == status
    assert words in answer.content.decode()
    assert kill_states()["all"].state == "engaged"


def test_release_clears_all_three_records(trader):
    trader.post(ENGAGE, {"scope": "all"})
    answer = trader.post(RELEASE, {"scope": "all", "reason": "calm again", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer["HX-Trigger"] == "qd:released"
    assert kill_states()["all"].state == "clear"
    assert "Kill switch engaged" not in trader.get("/").content.decode()


def test_releasing_what_is_not_engaged_says_so(trader):
    answer = trader.post(RELEASE, {"scope": "all", "reason": "calm again", "password": PASSWORD})
    assert answer.status_code == 409
    assert "Nothing to release" in answer.content.decode()


def test_guessing_the_password_at_release_locks_out(trader):
    trader.post(ENGAGE, {"scope": "all"})
    for _ in range(5):
        trader.post(RELEASE, {"scope": "all", "reason": "calm again", "password": "wrong"})
    answer = trader.post(RELEASE, {"scope": "all", "reason": "calm again", "password": PASSWORD})
    assert answer.status_code == 429
    assert kill_states()["all"].state == "engaged"


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"found": 8, "left": 4, "seconds_left": 1.2}, "4 of 8 risk-adding orders still to be cancelled (about 1 s)"),
        ({"found": 8, "left": 4, "why": "cancel not taken: 10006"}, "What keeps it: cancel not taken: 10006."),
        ({"found": 8, "left": 0}, "Asking the venue what still rests."),
        ({"found": 8, "left": 0, "finished": True}, "0 risk-adding orders rest at the venue"),
        ({"found": 0, "left": 0, "finished": True, "foreign": 2}, "2 orders of others are left alone"),
        ({"found": 1, "left": 0, "finished": True, "flatten": True, "positions_left": 3}, "3 positions still"),
    ],
)
def test_banner_tells_how_far_the_sweep_is(trader, desk, sweep, words):
    trader.post(ENGAGE, {"scope": "all"})
    generation = kill_states()["all"].record.generation
    finished = {"finished_at": ENDED} if sweep.pop("finished", False) else {}
    KillSweep.objects.create(account=desk.account, scope="all", generation=generation, **sweep, **finished)
    html = trader.get(BANNER).content.decode()
    assert words in html
    assert ("hx-trigger" in html) is (not finished)


def test_sweep_of_an_earlier_engagement_is_not_taken_for_this_one(trader, desk):
    KillSweep.objects.create(account=desk.account, scope="all", generation=1, found=5, finished_at=ENDED)
    keys_add(desk.account)
    trader.post(ENGAGE, {"scope": "all"})
    html = trader.get(BANNER).content.decode()
    assert f"1 of 1 accounts has not begun: account {desk.account.pk} (Simulated)." in html
    assert "rest at" not in html


def keys_add(account: Account) -> Account:
    """Give an account keys: from now on a desk should run it."""
    Credential.objects.create(account=account, api_key="key", api_secret="secret")
    return account


@pytest.fixture
def second(desk) -> Account:
    """A second account; a desk should run both."""
    keys_add(desk.account)
    return keys_add(Account.objects.create(venue=desk.venue, epoch=desk.epoch, name="Second"))


def swept(account: Account, scope: str = "all", **more: object) -> KillSweep:
    """Add the row of a sweep of the engagement that stands, as a desk that is through writes it."""
    generation = kill_states()[scope].record.generation
    return KillSweep.objects.create(
        account=account, scope=scope, generation=generation, **{"found": 3, "finished_at": ENDED, **more}
    )


def test_an_account_whose_desk_has_not_begun_keeps_the_banner_from_saying_zero(trader, desk, second):
    trader.post(ENGAGE, {"scope": "all"})
    swept(desk.account)
    html = trader.get(BANNER).content.decode()
    assert "0 risk-adding orders rest at 1 of 2 accounts; protective stops stay." in html
    assert f"1 of 2 accounts has not begun: account {second.pk} (Second). Without a running desk" in html
    assert "an account is not swept: start its desk, or look at the venue." in html
    assert "rest at the venue" not in html
    assert "hx-trigger" in html
    assert "Flatten positions" in html, "a desk that is down takes the way to close positions from nobody"
    row = swept(second, left=2, finished_at=None)
    assert "2 of 6 risk-adding orders still to be cancelled" in trader.get(BANNER).content.decode()
    KillSweep.objects.filter(pk=row.pk).update(left=0, finished_at=ENDED)
    html = trader.get(BANNER).content.decode()
    assert "0 risk-adding orders rest at the venue; protective stops stay." in html
    assert "not begun" not in html
    assert "hx-trigger" not in html


def test_positions_are_not_said_to_be_closed_while_an_account_has_not_begun(trader, desk, second):
    trader.post(ENGAGE, {"scope": "all", "flatten": "1"})
    swept(desk.account, flatten=True)
    assert "Every position is closed" not in trader.get(BANNER).content.decode()
    swept(second, flatten=True)
    assert "Every position is closed." in trader.get(BANNER).content.decode()


def test_accounts_of_which_none_has_begun_are_counted(trader, desk, second):
    trader.post(ENGAGE, {"scope": "all"})
    html = trader.get(BANNER).content.decode()
    names = f"account {desk.account.pk} (Simulated), account {second.pk} (Second)"
    assert f"2 of 2 accounts have not begun: {names}." in html
    assert "Flatten positions" not in html


@pytest.mark.parametrize("kind", ["account", "deployment"])
def test_a_scope_of_one_account_waits_for_that_one_alone(trader, desk, second, kind):
    name = {"account": desk.account.pk, "deployment": desk.deployment.key}[kind]
    trader.post(ENGAGE, {"scope": f"{kind}:{name}"})
    assert f"1 of 1 accounts has not begun: account {desk.account.pk} (Simulated)." in kill_view().items[0].sweep
    swept(desk.account, f"{kind}:{name}")
    assert kill_view().items[0].sweep.startswith("0 risk-adding orders rest at the venue;")
    assert not kill_view().polling


def test_an_account_without_keys_is_waited_for_where_it_is_named_only(trader, desk):
    trader.post(ENGAGE, {"scope": "all"})
    trader.post(ENGAGE, {"scope": f"account:{desk.account.pk}"})
    words = {item.scope: item.sweep for item in kill_view().items}
    assert words["all"] == (
        f"account {desk.account.pk} (Simulated): not swept: it has no keys; by our books positions held: 1, "
        f"orders open: 2. {LOOK_THERE}"
    )
    assert "1 of 1 accounts has not begun" in words[f"account:{desk.account.pk}"]
    Order.objects.update(state="cancelled")
    Position.objects.update(quantity=Decimal("0.00001"))  # dust
    assert kill_view().items[1].sweep == NOTHING


def test_where_no_account_is_concerned_there_is_nothing_to_wait_for(trader, desk, second):
    Account.objects.update(is_active=False)
    Order.objects.update(state="cancelled")
    Position.objects.update(quantity=0)
    for scope in ("all", f"account:{second.pk}", f"deployment:{desk.deployment.key}"):
        trader.post(ENGAGE, {"scope": scope})
    view = kill_view()
    assert {item.sweep for item in view.items} == {NOTHING}
    assert len(view.items) == 3
    assert not view.polling


@pytest.mark.parametrize(("switched", "why"), [(Account, "switched off"), (Venue, "its venue is switched off")])
def test_an_account_that_is_off_is_named_while_something_is_open_in_it(trader, desk, switched, why):
    keys_add(desk.account)
    venue = Venue.objects.create(code="bybit-two", name="Second")
    epoch = Epoch.objects.create(venue=venue, number=0, kind="real", is_current=True)
    off = keys_add(Account.objects.create(venue=venue, epoch=epoch, name="B"))
    position = Position.objects.create(account=off, instrument=desk.btc, owner="manual", quantity=Decimal(-1))
    switched.objects.filter(pk={Account: off, Venue: venue}[switched].pk).update(is_active=False)
    trader.post(ENGAGE, {"scope": "all", "flatten": "1"})
    trader.post(ENGAGE, {"scope": f"account:{off.pk}"})
    swept(desk.account, flatten=True)
    named = f"account {off.pk} (B): not swept: {why}; by our books positions held: 1. {LOOK_THERE}"
    words = {item.scope: item.sweep for item in kill_view().items}
    assert words["all"] == f"0 risk-adding orders rest at 1 of 2 accounts; protective stops stay. {named}"
    assert words[f"account:{off.pk}"] == named
    assert not kill_view().polling, "no desk is on its way there"
    Position.objects.filter(pk=position.pk).update(quantity=0)
    words = {item.scope: item.sweep for item in kill_view().items}
    assert words["all"].endswith("rest at the venue; protective stops stay. Every position is closed.")
    assert words[f"account:{off.pk}"] == NOTHING


def test_more_accounts_and_scopes_cost_no_more_queries(trader, desk, second, django_assert_num_queries):
    for scope in ("all", f"account:{second.pk}", f"account:{desk.account.pk}", f"deployment:{desk.deployment.key}"):
        trader.post(ENGAGE, {"scope": scope})
        swept(desk.account, scope)
        swept(second, scope)
    with django_assert_num_queries(2):
        assert not kill_view().polling


def test_without_the_database_the_banner_says_that_the_count_is_not_known(trader, desk, monkeypatch):
    trader.post(ENGAGE, {"scope": "all"})

    def gone(_: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("apps.execution.selectors.sweeps_of", gone)
    item = kill_view().items[0]
    assert "is not known while the database is gone" in item.sweep
    assert (item.is_done, item.can_flatten) == (True, True)


def test_missing_record_blocks_and_is_shown_without_a_release(trader):
    import shutil

    from trader.config import config

    shutil.rmtree(config.runtime.state_dir / "kill")
    kept_forget()
    view = kill_view()
    assert not view.items
    assert "the local file holds no kill switch record for everything" in view.unclear
    assert "release it: manage.py kill --release --user NAME --reason WHY" in view.unclear
    html = trader.get("/").content.decode()
    assert "No new risk:" in html
    assert "data-release" not in html


def test_a_deployment_has_its_switch_while_it_runs_holds_something_or_has_an_order_open(trader, desk):
    Deployment.objects.update(state="stopped")
    switch = f'data-kill="deployment:{desk.deployment.key}"'
    assert switch in trader.get("/strategies/").content.decode()
    Position.objects.update(quantity=Decimal("0.000001"))  # dust
    assert switch in trader.get("/strategies/").content.decode(), "its orders are open"
    Order.objects.update(state="cancelled")
    assert switch not in trader.get("/strategies/").content.decode()
    Position.objects.update(quantity=Decimal("-0.5"))
    assert switch in trader.get("/strategies/").content.decode()
    Position.objects.update(quantity=0)
    Deployment.objects.update(state="running")
    assert switch in trader.get("/strategies/").content.decode()
