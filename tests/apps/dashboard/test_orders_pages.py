"""The order form: what it shows before it sends, who may use it, and that it sends once."""

import re

import pytest

from apps.dashboard.states import bus
from apps.execution.models import DeskCommand
from apps.market.events import Quote
from apps.risk.models import Limit

NEW, PREVIEW, SEND = "/orders/new/", "/orders/preview/", "/orders/"
NS = 1_522_852_331_000_000_000


@pytest.fixture
def form(desk):
    """Return a filled-in form, with a quote behind it."""
    bus().publish(f"quote.{desk.btc.pk}", Quote(desk.btc.pk, 6782.5, 1, 6783.0, 1, 6783.0, NS, NS, NS))
    return {
        "account": desk.account.pk, "instrument": desk.btc.pk, "nonce": "a" * 32, "side": "buy", "kind": "market",
        "quantity": "0.5", "price": "",
    }  # fmt: skip


def test_form_has_a_fresh_nonce_each_time(form, as_role):
    client = as_role("trader")
    pages = [client.get(NEW, {"account": form["account"], "instrument": form["instrument"]}) for _ in range(2)]
    nonces = [re.search(r'name="nonce" value="(\w{32})"', page.content.decode())[1] for page in pages]
    assert nonces[0] != nonces[1]
    html = pages[0].content.decode()
    assert "6,783.00" in html
    assert "SIMULATED" in html


def test_preview_shows_cost_worst_case_and_the_nearest_limit(form, as_role):
    html = as_role("trader").post(PREVIEW, form).content.decode()
    assert "3,391.50 USDT" in html
    assert "Worst case" in html
    assert "Nearest limit" in html


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"quantity": "much"}, "Quantity: a number above zero"),
        ({"quantity": "0.00001"}, "Quantity: at least 0.0001"),
        ({"kind": "limit", "price": "6783.001"}, "Price: in steps of 0.01"),
        ({"side": "up"}, "Side: choose one of buy, sell"),
    ],
)
def test_wrong_field_is_named_with_the_fix(form, as_role, wrong, words):
    client = as_role("trader")
    assert words in client.post(PREVIEW, {**form, **wrong}).content.decode()
    answer = client.post(SEND, {**form, **wrong})
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not DeskCommand.objects.exists()


def test_empty_size_waits(form, as_role):
    assert "once there is a size" in as_role("trader").post(PREVIEW, {**form, "quantity": " "}).content.decode()


def test_order_that_a_limit_refuses_says_so_before_it_is_sent(desk, form, as_role):
    Limit.objects.create(check_name="order_notional", account=desk.account, value=100)
    html = as_role("trader").post(PREVIEW, form).content.decode()
    assert "Would be refused by" in html


def test_sent_twice_it_is_one_command(form, as_role):
    client = as_role("trader")
    assert all(client.post(SEND, form).status_code == 200 for _ in range(2))
    command = DeskCommand.objects.get()
    assert (command.kind, command.by, command.body["quantity"]) == ("order", "trader", "0.5")


@pytest.mark.parametrize(
    ("state", "result", "words"),
    [
        ("new", "", "the desk takes it next"),
        ("taken", "", "The desk has it"),
        ("done", "filled 0.5", "Done: filled 0.5"),
        ("refused", "order notional 3,391 of 100", "Refused: order notional 3,391 of 100"),
    ],
)
def test_answer_of_the_desk_is_asked_for_until_it_is_there(form, as_role, state, result, words):
    client = as_role("trader")
    client.post(SEND, form)
    DeskCommand.objects.update(state=state, result=result)
    command = DeskCommand.objects.get()
    html = client.get(f"/orders/commands/{command.pk}/").content.decode()
    assert words in html
    assert ("hx-trigger" in html) is (state in ("new", "taken"))
    assert result in client.get(f"/orders/commands/{command.pk}/?note=1").content.decode()


def test_cancel_asks_the_desk_and_an_ended_order_says_so(desk, as_role):
    client = as_role("trader")
    address = f"/orders/{desk.order.pk}/cancel/"
    assert "handed to the desk" in client.post(address).content.decode()
    assert DeskCommand.objects.get().body == {"client_id": desk.order.client_id}
    desk.order.state = "filled"
    desk.order.save()
    assert "it is filled already" in client.post(address).content.decode()


def test_close_shows_the_result_first_and_then_asks_the_desk(desk, form, as_role):
    client = as_role("trader")
    address = f"/positions/{desk.account.pk}/{desk.btc.pk}/close/"
    html = client.get(address, {"owner": desk.deployment.key}).content.decode()
    assert "▲ long" in html
    assert "+4.37 USDT" in html  # 0.412 at the bid of 6,782.50, bought at 6,771.90
    nonce = re.search(r'name="nonce" value="(\w{32})"', html)[1]
    client.post(address, {"owner": desk.deployment.key, "nonce": nonce})
    assert DeskCommand.objects.get().body == {"instrument_id": desk.btc.pk, "owner": desk.deployment.key}


def test_close_of_nothing_is_not_found(desk, as_role):
    address = f"/positions/{desk.account.pk}/{desk.eth.pk}/close/?owner=manual"
    assert as_role("trader").get(address).status_code == 404


@pytest.mark.parametrize("role", ["viewer", "annotator"])
def test_roles_below_trader_are_refused_everywhere(desk, form, as_role, role):
    client = as_role(role)
    close = f"/positions/{desk.account.pk}/{desk.btc.pk}/close/"
    answers = [
        client.get(NEW, form), client.post(PREVIEW, form), client.post(SEND, form), client.get(close),
        client.post(close), client.post(f"/orders/{desk.order.pk}/cancel/"), client.get("/orders/commands/1/"),
    ]  # fmt: skip
    assert {answer.status_code for answer in answers} == {403}
    assert not DeskCommand.objects.exists()


def test_form_says_that_the_kill_switch_is_engaged(form, as_role, monkeypatch):
    from apps.dashboard import shell
    from apps.dashboard.kill import KillItem, KillView

    item = KillItem("all", "everything", "ada", "", None, "", True, False)
    monkeypatch.setattr(shell.kill, "kill_view", lambda: KillView([item]))
    assert "only an order that reduces" in as_role("trader").get(NEW, form).content.decode()


def test_halt_is_ended_by_a_trader_with_a_reason(desk, as_role):
    from apps.risk.models import Halt
    from tests.apps.dashboard.conftest import NOW

    halt = Halt.objects.create(account=desk.account, cause="daily_loss", detail="5.2 % of 5 %", market_at=NOW)
    address = f"/risk/halts/{halt.pk}/end/"
    assert as_role("viewer").post(address, {"reason": "calm"}).status_code == 403
    client = as_role("trader")
    assert "Say why" in client.post(address, {"reason": " "}, follow=True).content.decode()
    assert "halted" in client.get("/").content.decode()
    assert "halt is ended" in client.post(address, {"reason": "calm again"}, follow=True).content.decode()
    halt.refresh_from_db()
    assert halt.ended_by.username == "trader"
