"""Ways in: password, one-time link, sign-out, lock-out."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from apps.users import services
from apps.users.models import LoginToken, User
from tests.apps.users.conftest import PASSWORD

SIGN_IN, LINK, SET = "/sign-in/", "/sign-in/link/", "/you/password/"


def test_right_password_signs_in_and_wrong_one_does_not(client, people):
    assert client.post(SIGN_IN, {"username": "viewer", "password": "wrong"}).status_code == 200
    assert "_auth_user_id" not in client.session
    answer = client.post(SIGN_IN, {"username": "viewer", "password": PASSWORD})
    assert (answer.status_code, answer.url) == (302, "/")


def test_sign_in_never_redirects_to_another_site(client, people):
    answer = client.post(SIGN_IN + "?next=https://evil.example/", {"username": "viewer", "password": PASSWORD})
    assert answer.url == "/"


def test_five_failures_lock_the_name_with_a_page_that_explains(client, people):
    for _ in range(5):
        answer = client.post(SIGN_IN, {"username": "trader", "password": "wrong"})
    assert answer.status_code == 429
    assert "Locked for 15 minutes" in answer.content.decode()
    assert client.post(SIGN_IN, {"username": "trader", "password": PASSWORD}).status_code == 429
    assert client.post(SIGN_IN, {"username": "viewer", "password": PASSWORD}).status_code == 302


def test_link_works_once_and_leads_to_setting_a_password(client, db):
    person = services.person_ensure(name="captain")
    token = services.login_token_create(user=person)
    answer = client.post(LINK, {"token": token})
    assert (answer.status_code, answer.url) == (302, SET)
    client.logout()
    assert client.post(LINK, {"token": token}).status_code == 403


def test_token_is_stored_hashed_only(db):
    token = services.login_token_create(user=services.person_ensure(name="captain"))
    row = LoginToken.objects.get()
    assert token not in str(vars(row))
    assert len(row.digest) == 64


def test_link_expires_after_ten_minutes(client, db):
    token = services.login_token_create(user=services.person_ensure(name="captain"))
    assert LoginToken.objects.get().expires_at - timezone.now() <= timedelta(minutes=10)
    LoginToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.post(LINK, {"token": token}).status_code == 403


def test_newer_link_replaces_the_older_one(client, db):
    person = services.person_ensure(name="captain")
    old, new = services.login_token_create(user=person), services.login_token_create(user=person)
    assert client.post(LINK, {"token": old}).status_code == 403
    assert client.post(LINK, {"token": new}).status_code == 302


def test_link_of_someone_switched_off_is_refused(client, db):
    person = services.person_ensure(name="captain")
    token = services.login_token_create(user=person)
    User.objects.update(is_active=False)
    assert client.post(LINK, {"token": token}).status_code == 403


def test_link_is_not_redeemed_by_get(client, db):
    token = services.login_token_create(user=services.person_ensure(name="captain"))
    client.get(LINK, {"token": token})
    assert LoginToken.objects.get().used_at is None


def test_first_password_is_set_without_an_old_one_and_keeps_the_session(client, db):
    person = services.person_ensure(name="captain")
    client.post(LINK, {"token": services.login_token_create(user=person)})
    answer = client.post(SET, {"new_password1": "a quiet harbour", "new_password2": "a quiet harbour"})
    assert answer.url == "/"
    assert client.get("/you/").status_code == 200
    person.refresh_from_db()
    assert person.check_password("a quiet harbour")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"new_password1": "short", "new_password2": "short"}, "too short"),
        ({"new_password1": "a quiet harbour", "new_password2": "another"}, "match"),
    ],
)
def test_weak_or_unequal_password_is_refused_with_the_reason(client, db, form, words):
    client.force_login(services.person_ensure(name="captain"), backend="django.contrib.auth.backends.ModelBackend")
    answer = client.post(SET, form)
    assert answer.status_code == 422
    assert words in answer.content.decode()


def test_changing_a_password_takes_the_present_one(client, people):
    client.force_login(people["trader"], backend="django.contrib.auth.backends.ModelBackend")
    form = {"new_password1": "a quiet harbour", "new_password2": "a quiet harbour", "old_password": "wrong"}
    assert client.post(SET, form).status_code == 422
    assert client.post(SET, {**form, "old_password": PASSWORD}).status_code == 302


def test_sign_out_takes_a_post_and_ends_the_session(client, people):
    client.force_login(people["viewer"], backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").status_code == 302
    assert client.get("/you/").status_code == 302


def test_command_prints_a_link_whose_token_is_in_the_fragment(client, db, capsys):
    services.person_ensure(name="captain")
    call_command("login-link", "--json", "--base-url", "http://127.0.0.1:8800")
    told = json.loads(capsys.readouterr().out)
    address, token = told["url"].split("#")
    assert address == "http://127.0.0.1:8800" + LINK
    assert client.post(LINK, {"token": token}).status_code == 302


def test_command_names_who_is_missing_and_the_fix(db):
    with pytest.raises(CommandError, match=r"nobody called 'ghost'.*--role"):
        call_command("login-link", "--user", "ghost")


def test_command_makes_a_person_when_told_a_role(db, capsys):
    call_command("login-link", "--user", "guest", "--role", "viewer")
    guest = User.objects.get(username="guest")
    assert (guest.role, guest.has_usable_password()) == ("viewer", False)


def test_command_refuses_someone_switched_off(db):
    services.person_ensure(name="captain")
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="switched off"):
        call_command("login-link")


def test_preferences_are_saved_and_a_wrong_zone_is_refused(client, people):
    client.force_login(people["viewer"], backend="django.contrib.auth.backends.ModelBackend")
    client.post("/you/", {"theme": "light", "time_zone": "Europe/Berlin"})
    people["viewer"].refresh_from_db()
    assert (people["viewer"].theme, people["viewer"].time_zone) == ("light", "Europe/Berlin")
    answer = client.post("/you/", {"theme": "light", "time_zone": "Mars/Olympus"})
    assert "not one of the available choices" in answer.content.decode()
    assert 'data-theme="light"' in client.get("/you/").content.decode()


def test_admin_has_no_sign_in_of_its_own(client, db):
    assert client.get("/admin/login/").url == reverse("users:sign-in")
