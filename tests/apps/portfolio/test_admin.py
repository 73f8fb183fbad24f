"""The admin of the portfolio: accounts and their keys, which go in and never come out."""

import pytest
from django.urls import reverse

from apps.common.models import AuditEntry
from apps.market.models import Epoch
from apps.portfolio.models import Account, CashBalance, CashMovement, Credential, EquitySnapshot, Position
from apps.portfolio.services import credential_set
from apps.users.models import Role, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client):
    client.force_login(User.objects.create_superuser("ann", password="a long password", role=Role.ADMIN))
    return client


def errors(response) -> str:
    return str(response.context["adminform"].form.errors)


def test_keys_are_stored_and_never_shown_again(admin, account):
    body = {"account": account.pk, "api_key": "shown-never-key", "api_secret": "shown-never-secret"}
    response = admin.post(reverse("admin:portfolio_credential_add"), body, follow=True)
    assert Credential.objects.get().api_secret == "shown-never-secret"
    pages = [
        response.content.decode(),
        admin.get(reverse("admin:portfolio_credential_change", args=[Credential.objects.get().pk])).content.decode(),
        admin.get(reverse("admin:portfolio_credential_changelist")).content.decode(),
        admin.get(reverse("admin:portfolio_credential_history", args=[Credential.objects.get().pk])).content.decode(),
        admin.get(reverse("admin:portfolio_account_changelist")).content.decode(),
    ]
    assert not [page for page in pages if "shown-never" in page]
    assert AuditEntry.objects.get(action="credential set").actor == "ann"


def test_keys_pasted_badly_are_refused_and_not_echoed(admin, account):
    body = {"account": account.pk, "api_key": "shown never key", "api_secret": "shown-never-secret"}
    response = admin.post(reverse("admin:portfolio_credential_add"), body)
    assert "one word" in errors(response)
    assert "shown-never-secret" not in response.content.decode()
    assert not Credential.objects.exists()


def test_both_keys_are_replaced_together(admin, account):
    credential = credential_set(account=account, api_key="a", api_secret="b", by="x")
    address = reverse("admin:portfolio_credential_change", args=[credential.pk])
    assert "api_secret" in errors(admin.post(address, {"api_key": "c"}))
    assert admin.post(address, {"api_key": "c", "api_secret": "d"}).status_code == 302
    credential.refresh_from_db()
    assert (credential.api_key, credential.api_secret) == ("c", "d")


def test_keys_are_removed_through_the_service(admin, account):
    credential = credential_set(account=account, api_key="a", api_secret="b", by="x")
    admin.post(reverse("admin:portfolio_credential_delete", args=[credential.pk]), {"post": "yes"})
    assert not Credential.objects.exists()
    assert AuditEntry.objects.filter(action="credential removed", actor="ann").exists()


def test_keys_of_an_account_that_trades_with_real_money_are_not_removed(admin, real_venue):
    epoch = Epoch.objects.create(venue=real_venue, number=0, kind=Epoch.Kind.REAL, is_current=True)
    account = Account.objects.create(venue=real_venue, epoch=epoch, name="mine", is_live=True)
    credential = credential_set(account=account, api_key="a", api_secret="b", by="x")
    Account.objects.update(trading_enabled=True)
    address = reverse("admin:portfolio_credential_delete", args=[credential.pk])
    assert admin.post(address, {"post": "yes"}).status_code == 403
    assert Credential.objects.exists()


def account_body(account, **change):
    body = {"venue": account.venue_id, "epoch": account.epoch_id, "name": account.name, "currency": "USDT"}
    return {**body, "is_active": "on", **change}


def test_an_account_is_changed_with_a_reason(admin, account):
    address = reverse("admin:portfolio_account_change", args=[account.pk])
    response = admin.post(address, account_body(account, reason="paused for the weekend"))
    assert response.status_code == 302, errors(response)
    account.refresh_from_db()
    assert not account.trading_enabled
    assert AuditEntry.objects.get(action="account changed").reason == "paused for the weekend"


def test_a_simulated_account_is_never_live(admin, account):
    address = reverse("admin:portfolio_account_change", args=[account.pk])
    assert "no real money" in errors(admin.post(address, account_body(account, is_live="on")))


def test_a_real_account_is_made_with_trading_off_until_its_keys_are_there(admin, real_venue):
    epoch = Epoch.objects.create(venue=real_venue, number=0, kind=Epoch.Kind.REAL, is_current=True)
    body = {"venue": real_venue.pk, "epoch": epoch.pk, "name": "mine", "currency": "USDT", "is_live": "on"}
    address = reverse("admin:portfolio_account_add")
    assert "credential first" in errors(admin.post(address, {**body, "trading_enabled": "on"}))
    assert admin.post(address, body).status_code == 302
    assert Account.objects.get(name="mine").is_live
    assert AuditEntry.objects.get(action="account made").actor == "ann"


@pytest.mark.parametrize("model", [Position, CashBalance, CashMovement, EquitySnapshot])
def test_books_are_shown_and_never_edited(admin, account, model):
    name = model._meta.model_name
    assert admin.get(reverse(f"admin:portfolio_{name}_changelist")).status_code == 200
    assert admin.get(reverse(f"admin:portfolio_{name}_add")).status_code == 403


def test_an_account_is_never_deleted(admin, account):
    assert admin.get(reverse("admin:portfolio_account_delete", args=[account.pk])).status_code == 403
