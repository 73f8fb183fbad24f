"""When something breaks: what happened, what to do, an id, and the kill switch still on the page."""

import re

import pytest
from django.db import OperationalError

from apps.risk.selectors import kill_states


@pytest.fixture
def quiet(client):
    """Let the client answer with the error page instead of raising."""
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [(OperationalError("gone"), 503, "The database does not answer"), (ValueError("slip"), 500, "This page broke")],
)
def test_page_says_what_broke_with_an_id_and_a_kill_switch(
    desk, as_role, monkeypatch, quiet, caplog, error, status, title
):
    client = as_role("trader")
    client.get("/you/")
    monkeypatch.setattr("apps.dashboard.views.desk.shell_of", _raising(error))
    answer = client.get("/")
    html = answer.content.decode()
    assert answer.status_code == status
    assert title in html
    assert 'data-kill="all"' in html
    identifier = re.search(r"id <code>([0-9a-f]{8})</code>", html)[1]
    assert identifier in caplog.text
    assert "unsafe" not in answer["Content-Security-Policy"]


def test_viewer_gets_no_kill_switch_on_it(desk, as_role, monkeypatch, quiet):
    client = as_role("viewer")
    client.get("/you/")
    monkeypatch.setattr("apps.dashboard.views.desk.shell_of", _raising(OperationalError("gone")))
    assert "data-kill" not in client.get("/").content.decode()


def test_fragment_gets_a_note_instead_of_a_page(desk, as_role, monkeypatch, quiet):
    client = as_role("viewer")
    monkeypatch.setattr("apps.dashboard.views.desk.shell_of", _raising(OperationalError("gone")))
    answer = client.get("/reconciliation/", headers={"HX-Request": "true"})
    assert answer.status_code == 503
    assert "<html" not in answer.content.decode()


def test_unknown_address_has_a_page_of_its_own(desk, as_role):
    answer = as_role("viewer").get("/nothing/here/")
    assert answer.status_code == 404
    assert "Nothing at this address" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_with_the_database_gone_the_switch_engages_by_cookie_and_pages_say_so(desk, as_role, quiet, settings):
    """The real thing: every connection, Django's and the switch's own, leads to a port that nobody answers."""
    from django.db import connections

    client = as_role("trader")
    client.get("/you/")
    connection = connections["default"]
    places = [connection.settings_dict, settings.DATABASES["default"]]
    kept = [dict(place) for place in places]
    connection.close()
    for place in places:
        place.update({"HOST": "127.0.0.1", "PORT": "1"})
    try:
        page = client.get("/")
        answer = client.post("/kill/engage", {"scope": "all"})
        banner = client.get("/kill/banner")
    finally:
        connection.close()
        for place, good in zip(places, kept, strict=True):
            place.update(good)
    assert (page.status_code, answer.status_code, banner.status_code) == (503, 200, 200)
    html = answer.content.decode()
    assert "Kill switch engaged" in html
    assert "database" in html
    assert "one suffices" in html
    assert "is not known while the database is gone" in banner.content.decode()
    assert kill_states()["all"].state == "engaged"


def _raising(error: Exception):
    def broken(*_args, **_kwargs):
        raise error

    return broken
