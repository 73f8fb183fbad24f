"""What a program can do: by the same services, rules and refusals as the pages, once for each key."""

import pytest

from apps.common.models import AuditEntry, Outbox
from apps.execution.models import DeskCommand
from apps.risk.selectors import kill_states
from apps.strategies.models import Deployment
from tests.apps.api.conftest import PASSWORD

KEY = "k" * 32


@pytest.fixture
def wish(desk):
    return {
        "account": desk.account.pk, "instrument": desk.btc.pk, "side": "buy", "kind": "limit", "quantity": "0.50009",
        "price": "6783.01",
    }  # fmt: skip


def test_an_order_becomes_the_desks_command_as_from_the_page(desk, program, wish):
    answer = program("trader").post("/orders", wish, KEY)
    assert answer.status == 202, answer.json
    command = DeskCommand.objects.get()
    assert command.body == {
        "instrument_id": desk.btc.pk, "side": "buy", "kind": "limit", "quantity": "0.5", "price": "6783.01",
        "reduce_only": False, "time_in_force": "GTC",
    }  # fmt: skip
    assert (answer.json["id"], answer.json["nonce"], answer.json["state"]) == (command.pk, KEY, "new")
    assert answer.json["by"] == command.by == "trader (token program of trader)"
    assert AuditEntry.objects.get(action="command.order").actor == command.by
    assert Outbox.objects.filter(topic="commands").count() == 1


def test_sent_twice_with_its_key_it_is_one_order(desk, program, wish):
    trader = program("trader")
    first, second = (trader.post("/orders", wish, KEY) for _ in range(2))
    assert first.json == second.json
    assert DeskCommand.objects.count() == 1
    assert trader.post("/orders", wish, "another-key").json["id"] != first.json["id"]


@pytest.mark.parametrize("other", [{"quantity": "0.6"}, {"side": "sell"}, {"price": "6783.02"}])
def test_a_key_that_was_used_for_another_order_is_refused(desk, program, wish, other):
    trader = program("trader")
    trader.post("/orders", wish, KEY)
    answer = trader.post("/orders", wish | other, KEY)
    assert (answer.status, answer.json["field"]) == (409, "Idempotency-Key")
    assert DeskCommand.objects.count() == 1


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"quantity": "much"}, "quantity", "pattern"),
        ({"quantity": 0.5}, "quantity", "string"),
        ({"quantity": "0.00001"}, "quantity", "at least 0.0001"),
        ({"price": "6783.001"}, "price", "in steps of 0.01"),
        ({"price": None}, "price", "a number above zero"),
        ({"side": "up"}, "side", "'buy' or 'sell'"),
        ({"kind": "stop"}, "kind", "'market' or 'limit'"),
        ({"account": 999_999}, "account", "/api/v1/accounts"),
        ({"instrument": 999_999}, "instrument", "/api/v1/instruments"),
        ({"reduce_only": "yes"}, "reduce_only", "boolean"),
        ({"leverage": 3}, "leverage", "unknown"),
    ],
)
def test_a_wrong_field_is_named_with_the_fix(desk, program, wish, wrong, field, words):
    answer = program("trader").post("/orders", wish | wrong, KEY)
    assert (answer.status, answer.json["field"]) == (422, field)
    assert words in answer.json["fix"]
    assert not DeskCommand.objects.exists()


def test_every_wrong_field_is_told_at_once(desk, program, wish):
    answer = program("trader").post("/orders", wish | {"side": "up", "kind": "stop"}, KEY)
    assert [error["field"] for error in answer.json["errors"]] == ["side", "kind"]


@pytest.mark.parametrize("key", ["", "short", "with space and more", "x" * 65])
def test_an_order_without_a_key_of_its_own_is_refused(desk, program, wish, key):
    answer = program("trader").post("/orders", wish, key)
    assert (answer.status, answer.json["field"]) == (422, "Idempotency-Key")
    assert not DeskCommand.objects.exists()


@pytest.mark.parametrize("body", [b" ", b"no json", b'{"a": NaN}', b"\xff\xfe", b"[" * 5000])
def test_a_body_that_is_no_json_is_refused(desk, program, body):
    trader = program("trader")
    answer = trader.client.post(
        "/api/v1/orders", body, content_type="application/json", headers={"Idempotency-Key": KEY}
    )
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "JSON" in answer.json()["fix"]


def test_a_cancel_asks_the_desk_and_an_order_that_ended_says_so(desk, program):
    trader = program("trader")
    path = f"/orders/{desk.order.pk}/cancel"
    answer = trader.post(path)
    assert (answer.status, answer.json["kind"]) == (202, "cancel")
    assert DeskCommand.objects.get().body == {"client_id": desk.order.client_id}
    desk.order.state = "filled"
    desk.order.save()
    answer = trader.post(path)
    assert answer.status == 409
    assert "it is filled already" in answer.json["detail"]
    assert trader.post("/orders/999999/cancel").status == 404


def test_a_deployment_is_started_and_stopped(desk, program):
    admin = program("admin")
    body = {"strategy": "mean_reversion", "account": desk.account.pk, "reason": "trial"}
    made = admin.post("/deployments", body)
    assert made.status == 201, made.json
    key = made.json["key"]
    assert (made.json["state"], made.json["universe"], made.json["stage"]) == ("running", "desk", "full")
    assert made.json["parameters"]["strategy"]
    stopped = admin.post(f"/deployments/{key}/stop", {"reason": "enough"})
    assert (stopped.status, stopped.json["state"]) == (200, "stopped")
    assert [(entry.action, entry.actor, entry.reason) for entry in AuditEntry.objects.filter(target=key)] == [
        ("deployment.stop", "admin (token program of admin)", "enough"),
        ("deployment.start", "admin (token program of admin)", "trial"),
    ]
    assert admin.post(f"/deployments/{key}/stop").status == 409
    assert admin.post("/deployments/none/stop").status == 404


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"universe": "none"}, "universe"),
        ({"stage": "huge"}, "stage"),
        ({"sizing": {"all": 1.0}}, "sizing"),
        ({"account": 999_999}, "account"),
        ({"parameters": {"window": "20"}}, "parameters.window"),
    ],
)
def test_a_deployment_that_cannot_be_names_the_field(desk, program, wrong, field):
    body = {"strategy": "mean_reversion", "account": desk.account.pk}
    answer = program("admin").post("/deployments", body | wrong)
    assert (answer.status, answer.json["field"]) == (422, field), answer.json
    assert answer.json["fix"]
    assert Deployment.objects.count() == 1


@pytest.mark.parametrize(
    "wrong", [{"strategy": "none"}, {"parameters": {"none": 1}}, {"sizing": {"risk_share": 50}}, {"strategy": "../x"}]
)
def test_a_deployment_that_the_strategy_refuses_says_why(desk, program, wrong):
    body = {"strategy": "mean_reversion", "account": desk.account.pk}
    answer = program("admin").post("/deployments", body | wrong)
    assert answer.status == 422
    assert answer.json["fix"]


# The kill switch writes beside Django's transaction


@pytest.mark.django_db(transaction=True)
def test_the_kill_switch_is_engaged_and_released_with_reason_and_password(desk, program):
    trader = program("trader")
    done = trader.post("/kill/engage", {"reason": "drill"})
    assert done.status == 200, done.json
    assert done.json["written"] == {"database": "ok", "bus": "ok", "file": "ok"}
    assert kill_states()["all"].state == "engaged"
    (shown,) = trader.get("/kill").json["scopes"]
    assert (shown["state"], shown["by"], shown["reason"]) == ("engaged", "trader (token program of trader)", "drill")
    body = {"scope": "all", "reason": "all is well", "password": "wrong"}
    refused = trader.post("/kill/release", body)
    assert (refused.status, refused.json["field"]) == (403, "password")
    assert kill_states()["all"].state == "engaged"
    assert trader.post("/kill/release", body | {"reason": "   .", "password": PASSWORD}).status == 200
    assert kill_states()["all"].state == "clear"
    again = trader.post("/kill/release", body | {"password": PASSWORD})
    assert (again.status, again.json["detail"][:18]) == (409, "Nothing to release")


@pytest.mark.django_db(transaction=True)
def test_a_release_needs_a_reason_and_its_own_scope(desk, program):
    body = {"reason": "x", "password": PASSWORD}
    assert program("trader").post("/kill/release", body).json["field"] == "reason"
    other = program("trader", "read", "orders", "kill:engage")
    answer = other.post("/kill/release", body | {"reason": "all is well"})
    assert answer.status == 403
    assert "kill:release" in answer.json["detail"]


@pytest.mark.django_db(transaction=True)
def test_a_password_that_is_wrong_too_often_locks_the_name(desk, program):
    trader = program("trader")
    body = {"reason": "all is well", "password": "wrong"}
    assert {trader.post("/kill/release", body).status for _ in range(4)} == {403}
    trader.post("/kill/release", body)
    answer = trader.post("/kill/release", body | {"password": PASSWORD})
    assert (answer.status, answer.json["fix"]) == (429, "wait 15 minutes")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scope", ["", "everything", "account:x", "account:0", "deployment:", 7])
def test_a_scope_that_is_none_is_refused(desk, program, scope):
    answer = program("trader").post("/kill/engage", {"scope": scope})
    assert (answer.status, answer.json["field"]) == (422, "scope")
    assert kill_states()["all"].state == "clear"
