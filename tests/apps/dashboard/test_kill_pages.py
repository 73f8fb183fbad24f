"""The kill switch's way in from a page: by cookie alone, for traders, with every record that lives."""

from decimal import Decimal

import pytest
from django.test import Client

from apps.dashboard.kill import kill_view
from apps.execution.models import KillSweep, Order
from apps.portfolio.models import Position
from apps.risk.killswitch.overview import kept_forget
from apps.risk.selectors import kill_states
from apps.strategies.models import Deployment
from tests.apps.dashboard.conftest import PASSWORD

ENGAGE, RELEASE, BANNER = "/kill/engage", "/kill/release", "/kill/banner"
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


def test_engaging_asks_neither_session_nor_user(trader, django_assert_num_queries):
    del trader.cookies["sessionid"]
    with django_assert_num_queries(1):  # the sweeps for the banner; it is left out when the database is gone
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
    finished = {"finished_at": "2018-04-04T14:32Z"} if sweep.pop("finished", False) else {}
    KillSweep.objects.create(account=desk.account, scope="all", generation=generation, **sweep, **finished)
    html = trader.get(BANNER).content.decode()
    assert words in html
    assert ("hx-trigger" in html) is (not finished)


def test_sweep_of_an_earlier_engagement_is_not_taken_for_this_one(trader, desk):
    KillSweep.objects.create(account=desk.account, scope="all", generation=1, found=5, finished_at="2018-04-04T14:32Z")
    trader.post(ENGAGE, {"scope": "all"})
    assert "Waiting for the desk to begin its sweep" in trader.get(BANNER).content.decode()


def test_missing_record_blocks_and_is_shown_without_a_release(trader):
    import shutil

    from trader.config import config

    shutil.rmtree(config.runtime.state_dir / "kill")
    kept_forget()
    view = kill_view()
    assert not view.items
    assert "local file" in view.unclear
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
