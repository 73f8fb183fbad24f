"""The admin of risk: what a person may edit, in words, with the audit behind it."""

import pytest
from django.urls import reverse

from apps.common.models import AuditEntry
from apps.risk import services
from apps.risk.models import Halt, Limit, Refusal

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client, person):
    client.force_login(person)
    return client


def errors(response) -> str:
    return str(response.context["adminform"].form.errors)


def test_a_limit_is_added_with_the_persons_name_in_the_audit(admin, account):
    body = {"check_name": "daily_loss", "account": account.pk, "value": "0.05", "reason": "house rule"}
    response = admin.post(reverse("admin:risk_limit_add"), body)
    assert response.status_code == 302, errors(response)
    assert Limit.objects.get().account == account
    entry = AuditEntry.objects.get(action="limit set")
    assert (entry.actor, entry.reason) == ("ann", "house rule")


def test_a_limit_out_of_range_is_refused_at_its_field(admin, account):
    response = admin.post(
        reverse("admin:risk_limit_add"), {"check_name": "daily_loss", "account": account.pk, "value": "5"}
    )
    assert "0.05 is 5 %" in errors(response)
    assert not Limit.objects.exists()


def test_a_second_limit_of_one_scope_is_refused(admin, account):
    services.limit_set(check_name="leverage", value=2, by="x", account=account)
    response = admin.post(
        reverse("admin:risk_limit_add"), {"check_name": "leverage", "account": account.pk, "value": "3"}
    )
    assert "change that one" in errors(response)


def test_a_limit_is_changed_and_shown_without_idle_zeros(admin, account):
    limit = services.limit_set(check_name="leverage", value="2.50", by="x", account=account)
    address = reverse("admin:risk_limit_change", args=[limit.pk])
    assert 'value="2.5"' in admin.get(address).content.decode()
    response = admin.post(address, {"value": "1.5", "reason": "calmer"})
    assert response.status_code == 302, errors(response)
    limit.refresh_from_db()
    assert limit.value == 1.5
    assert AuditEntry.objects.get(action="limit changed").reason == "calmer"


def test_a_limit_is_removed_through_the_service(admin, account):
    limit = services.limit_set(check_name="leverage", value=2, by="x", account=account)
    admin.post(reverse("admin:risk_limit_delete", args=[limit.pk]), {"post": "yes"})
    assert not Limit.objects.exists()
    assert AuditEntry.objects.filter(action="limit removed", actor="ann").exists()


def test_the_list_of_limits_takes_as_many_queries_for_many_as_for_few(
    admin, account, spot, linear, django_assert_max_num_queries
):
    for check, of in (("leverage", None), ("daily_loss", None), ("order_notional", spot), ("order_notional", linear)):
        services.limit_set(check_name=check, value=1, by="x", account=account, instrument=of)
    with django_assert_max_num_queries(12):
        page = admin.get(reverse("admin:risk_limit_changelist")).content.decode()
    assert "BTC/USDT:USDT" in page


def halt_new(account) -> Halt:
    return Halt.objects.create(
        account=account, cause="daily_loss", detail="0.06 of 0.05", market_at="2026-01-01T00:00:00Z"
    )


def test_a_halt_is_ended_with_a_reason(admin, account):
    halt = halt_new(account)
    address = reverse("admin:risk_halt_change", args=[halt.pk])
    assert "reason" in errors(admin.post(address, {"reason": ""}))
    assert admin.post(address, {"reason": "a wrong mark"}).status_code == 302
    halt.refresh_from_db()
    assert halt.ended_by.username == "ann"
    assert admin.get(address).status_code == 200
    assert admin.post(address, {"reason": "again"}).status_code == 403


def test_halts_and_refusals_are_neither_added_nor_deleted(admin, account):
    halt = halt_new(account)
    assert admin.get(reverse("admin:risk_halt_add")).status_code == 403
    assert admin.get(reverse("admin:risk_halt_delete", args=[halt.pk])).status_code == 403
    assert admin.get(reverse("admin:risk_refusal_add")).status_code == 403
    assert admin.get(reverse("admin:risk_halt_changelist")).status_code == 200


def test_a_refusal_shows_all_its_checks_escaped(admin, account, spot):
    refusal = Refusal.objects.create(
        account=account, instrument=spot, owner="x", check_name="leverage", detail="too much",
        market_at="2026-01-01T00:00:00Z",
        checks=[{"name": "leverage", "scope": "net", "verdict": "refused", "detail": "<b>3 above 2</b>"}],
    )  # fmt: skip
    page = admin.get(reverse("admin:risk_refusal_change", args=[refusal.pk])).content.decode()
    assert "leverage (net): refused. &lt;b&gt;3 above 2" in page
    assert admin.get(reverse("admin:risk_refusal_changelist")).status_code == 200
