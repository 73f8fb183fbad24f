"""The signed cookie that names a person without the database."""

from django.core import signing
from django.http import HttpResponse

from apps.users import identity
from apps.users.models import User


def cookie_of(user: User) -> dict[str, str]:
    response = HttpResponse()
    identity.identity_write(response, user, secure=False)
    return {identity.COOKIE: response.cookies[identity.COOKIE].value}


def test_cookie_names_person_and_role():
    found = identity.identity_read(cookie_of(User(pk=7, username="ada", role="trader")))
    assert (found.id, found.name, found.role) == (7, "ada", "trader")
    assert found.may("annotator")
    assert not found.may("admin")


def test_forged_old_and_odd_cookies_name_nobody(monkeypatch):
    good = cookie_of(User(pk=7, username="ada", role="viewer"))[identity.COOKIE]
    assert identity.identity_read({}) is None
    assert identity.identity_read({identity.COOKIE: good[:-2] + "xx"}) is None
    other = signing.dumps({"i": 7, "n": "ada", "r": "admin", "t": 1}, salt="another purpose")
    assert identity.identity_read({identity.COOKIE: other}) is None
    odd = signing.dumps({"i": 7, "n": "ada", "r": "emperor", "t": 1}, salt=identity.SALT)
    assert identity.identity_read({identity.COOKIE: odd}) is None
    monkeypatch.setattr(identity, "MAX_AGE_S", -1)
    assert identity.identity_read({identity.COOKIE: good}) is None


def test_cookie_is_kept_from_scripts_and_other_sites():
    response = HttpResponse()
    identity.identity_write(response, User(pk=7, username="ada", role="viewer"), secure=True)
    morsel = response.cookies[identity.COOKIE]
    assert (morsel["httponly"], morsel["samesite"], morsel["secure"]) == (True, "Strict", True)


def test_session_brings_the_cookie_and_sign_out_takes_it(client, people):
    client.force_login(people["trader"], backend="django.contrib.auth.backends.ModelBackend")
    client.get("/you/")
    assert identity.identity_read({identity.COOKIE: client.cookies[identity.COOKIE].value}).name == "trader"
    client.post("/sign-out/")
    assert client.cookies[identity.COOKIE].value == ""


def test_changed_role_renews_the_cookie_with_the_next_page(client, people):
    client.force_login(people["trader"], backend="django.contrib.auth.backends.ModelBackend")
    client.get("/you/")
    people["trader"].role = "viewer"
    people["trader"].save()
    client.get("/you/")
    assert identity.identity_read({identity.COOKIE: client.cookies[identity.COOKIE].value}).role == "viewer"


def test_person_switched_off_loses_the_cookie_with_the_next_page(client, people):
    client.force_login(people["trader"], backend="django.contrib.auth.backends.ModelBackend")
    client.get("/you/")
    User.objects.filter(username="trader").update(is_active=False)
    client.get("/you/")
    assert client.cookies[identity.COOKIE].value == ""


def test_sockets_close_on_sign_out_and_on_a_new_role_but_not_on_sign_in(
    client, people, monkeypatch, django_capture_on_commit_callbacks
):
    closed = []
    monkeypatch.setattr("apps.users.signals.hub_person_changed", closed.append)
    with django_capture_on_commit_callbacks(execute=True):
        client.post("/sign-in/", {"username": "trader", "password": "correct horse battery"})
    assert closed == []
    with django_capture_on_commit_callbacks(execute=True):
        people["trader"].role = "viewer"
        people["trader"].save(update_fields=["role"])
    assert closed == [people["trader"].pk]
    client.post("/sign-out/")
    assert closed == [people["trader"].pk] * 2
