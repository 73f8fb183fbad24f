"""Tokens: made, shown once, checked on every request, ended; by command and in the admin."""

import json
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from apps.common.models import AuditEntry
from apps.users.models import ApiToken, Role, Scope, User
from apps.users.services import ApiTokenRefused, api_token_create, api_token_revoke
from apps.users.tokens import token_digest, token_read
from tests.apps.api.conftest import Program

ACTS = {
    "orders": ("/orders", {}),
    "deployments": ("/deployments", {}),
    "kill:engage": ("/kill/engage", {}),
    "kill:release": ("/kill/release", {}),
}


def run(*words: str) -> str:
    out = StringIO()
    call_command("token", *words, stdout=out)
    return out.getvalue()


def test_the_token_says_whose_it_is(desk, program):
    found = program("trader", "read", "orders").get("/token").json
    assert (found["person"], found["role"], found["scopes"]) == ("trader", "trader", ["read", "orders"])
    assert found["expires_at"].endswith("Z")


@pytest.mark.parametrize("text", ["", "x", "qd_", "qd_abc.def", "Bearer", "qd_" + "x" * 3000, "é"])
def test_what_is_no_token_is_refused(desk, text):
    answer = Client().get("/api/v1/orders", headers={"Authorization": f"Bearer {text}"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "manage.py token create" in answer.json()["fix"]


@pytest.mark.parametrize("path", ["/orders", "/openapi.json", "/nothing/here", "/"])
def test_nobody_unknown_is_told_anything(desk, path):
    assert Client().get("/api/v1" + path).status_code == 401


def test_a_session_reads_the_description_and_nothing_else(desk, people):
    client = Client()
    client.force_login(people["admin"], backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/api/v1/openapi.json").json()["openapi"].startswith("3.1")
    assert client.get("/api/v1/orders").status_code == 401
    assert client.post("/api/v1/kill/engage", {}, content_type="application/json").status_code == 401


def test_a_forged_token_is_refused(desk, program):
    reader = program("viewer")
    body, _, signature = reader.token.rpartition(".")
    other = Program(f"{body}.{'A' * len(signature)}")
    assert other.get("/orders").status == 401


def test_only_the_hash_is_kept(desk, program):
    text = program("viewer").token
    row = ApiToken.objects.get()
    assert row.digest == token_digest(text)
    stored = json.dumps(list(ApiToken.objects.values()), default=str) + json.dumps(
        list(AuditEntry.objects.values()), default=str
    )
    assert text not in stored
    assert text.rpartition(".")[2] not in stored


def test_a_revoked_token_opens_nothing(desk, program):
    reader = program("viewer")
    assert api_token_revoke(token=ApiToken.objects.get(), by="ann")
    answer = reader.get("/orders")
    assert (answer.status, "revoked" in answer.json["detail"]) == (401, True)
    assert not api_token_revoke(token=ApiToken.objects.get(), by="ann")


def test_an_expired_token_opens_nothing_and_says_since_when(desk, people):
    _, text = api_token_create(user=people["viewer"], name="x", scopes=["read"], by="ann", days=1e-9)
    answer = Program(text).get("/orders")
    assert answer.status == 401
    assert f"{timezone.now():%Y-%m-%d}" in answer.json["detail"]


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": Role.VIEWER}])
def test_who_may_less_by_now_is_refused_though_the_token_says_more(desk, program, change):
    trader = program("trader")
    User.objects.filter(pk=trader.person.pk).update(**change)
    expected = 401 if "is_active" in change else 403
    assert trader.post("/orders", {}, "k" * 32).status == expected


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scope", [scope for scope in Scope.values if scope != "read"])
def test_each_act_takes_its_scope(desk, program, scope):
    path, body = ACTS[scope]
    others = [other for other in Scope.values if other != scope]
    answer = program("admin", *others).post(path, body, "k" * 32)
    assert answer.status == 403
    assert f"scope {scope}" in answer.json["detail"]
    assert program("admin", scope).get("/orders").status == 403


def test_the_last_use_is_noted_every_five_minutes(desk, program):
    reader = program("viewer")
    reader.get("/orders")
    first = ApiToken.objects.get().used_at
    assert first is not None
    reader.get("/orders")
    assert ApiToken.objects.get().used_at == first
    ApiToken.objects.update(used_at=first - timedelta(minutes=6))
    reader.get("/orders")
    assert ApiToken.objects.get().used_at >= first


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": []}, "scope"),
        ({"scopes": ["all"]}, "scope"),
        ({"scopes": ["read", "orders"]}, "scope"),
        ({"days": 0}, "days"),
        ({"days": 400}, "days"),
        ({"days": float("nan")}, "days"),
    ],
)
def test_a_token_that_cannot_be_names_the_field(people, wrong, field):
    asked = {"user": people["viewer"], "name": "x", "scopes": ["read"], "by": "ann"}
    with pytest.raises(ApiTokenRefused) as refused:
        api_token_create(**asked | wrong)
    assert refused.value.field == field
    assert not ApiToken.objects.exists()


def test_command_makes_lists_and_revokes(desk, people):
    text = run("create", "--user", "trader", "--name", "bot", "--scope", "read", "--scope", "orders").split("\n")[0]
    assert token_read(text).scopes == ("read", "orders")
    assert Program(text).get("/orders").status == 200
    (row,) = json.loads(run("list", "--json"))
    assert (row["user"], row["name"], row["state"]) == ("trader", "bot", "works")
    assert "bot is revoked" in run("revoke", row["id"])
    assert Program(text).get("/orders").status == 401
    assert "There are no tokens" in run("list")
    assert "revoked" in run("list", "--all")
    assert [entry.action for entry in AuditEntry.objects.filter(target=f"token:{row['id']}")] == [
        "token revoked", "token made",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", "--user", "nobody", "--name", "x"), "nobody called 'nobody'"),
        (("create", "--user", "viewer", "--name", "x", "--scope", "orders"), "--scope: orders takes the role trader"),
        (("create", "--user", "viewer", "--name", "x", "--days", "999"), "--days: more than 0, at most 366"),
        (("revoke", "x"), "no token 'x'"),
    ],
)
def test_command_refuses_with_the_fix(people, words, says):
    with pytest.raises(CommandError, match=says):
        run(*words)


def test_admin_makes_a_token_and_shows_it_once(client, people):
    client.force_login(people["admin"], backend="django.contrib.auth.backends.ModelBackend")
    form = {"user": people["trader"].pk, "name": "bot", "scopes": ["read", "kill:engage"], "days": 7}
    html = client.post("/admin/users/apitoken/add/", form, follow=True).content.decode()
    text = re.search(r"not shown again: (qd_[\w.-]+)", html)[1]
    assert token_read(text).scopes == ("read", "kill:engage")
    assert Program(text).get("/token").json["person"] == "trader"
    assert AuditEntry.objects.get(action="token made").actor == "admin"
    later = client.get("/admin/users/apitoken/").content.decode()
    assert "bot" in later
    assert text not in later
    assert client.get(f"/admin/users/apitoken/{ApiToken.objects.get().pk}/change/").status_code == 200
    chosen = {"action": "revoke", "_selected_action": [ApiToken.objects.get().pk]}
    assert "bot is revoked" in client.post("/admin/users/apitoken/", chosen, follow=True).content.decode()
    assert Program(text).get("/token").status == 401


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scopes": ["orders"]}, "orders takes the role trader; viewer&#x27;s is viewer."),
        ({"scopes": []}, "This field is required."),
        ({"days": 999}, "less than or equal to 366"),
        ({"name": ""}, "This field is required."),
    ],
)
def test_admin_says_at_the_field_what_is_wrong(client, people, wrong, words):
    client.force_login(people["admin"], backend="django.contrib.auth.backends.ModelBackend")
    form = {"user": people["viewer"].pk, "name": "bot", "scopes": ["read"], "days": 7}
    answer = client.post("/admin/users/apitoken/add/", form | wrong)
    assert words in answer.content.decode()
    assert not ApiToken.objects.exists()
