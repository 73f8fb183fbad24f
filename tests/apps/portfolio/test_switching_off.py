"""Switching an account or its venue off: refused while something is open there, for then nobody looks after it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.urls import reverse

from apps.execution.models import Order
from apps.market.errors import VenueRefused
from apps.market.models import Epoch, InstrumentTerms, Venue
from apps.market.services import venue_save
from apps.portfolio.models import Account, Position
from apps.portfolio.services import AccountRefused, account_save
from apps.users.models import Role, User
from tests.apps.portfolio.test_admin import account_body, errors

pytestmark = pytest.mark.django_db
NOW = datetime(2018, 4, 4, tzinfo=UTC)


def hold(account, instrument, quantity: str, owner: str = "manual") -> Position:
    return Position.objects.create(account=account, instrument=instrument, owner=owner, quantity=Decimal(quantity))


def order_rest(account, instrument, number: int = 1, **fields) -> Order:
    return Order.objects.create(
        client_id=f"{number:032x}", account=account, instrument=instrument, owner="manual", side="buy", kind="limit",
        quantity=1, price=1, adds_risk=True, fence=1, market_at=NOW, **{"state": "acknowledged", **fields},
    )  # fmt: skip


def switch_off(account: Account) -> Account:
    account.is_active = False
    return account_save(account, by="ann")


def test_an_account_with_positions_or_orders_is_not_switched_off_until_they_are_gone(account, spot, linear):
    positions = [hold(account, spot, "0.5"), hold(account, linear, "-2"), hold(account, linear, "2", "unattributed")]
    orders = [order_rest(account, spot), order_rest(account, spot, 2, state="filled")]
    with pytest.raises(AccountRefused) as refused:
        switch_off(account)
    assert refused.value.message_dict == {
        "is_active": [
            "An account that is off has no desk, and nobody looks after what is open in it "
            "(positions held: 2, orders open: 1). Close it first, on the Desk page or by "
            f"manage.py kill --flatten --scope account:{account.pk}."
        ]
    }
    assert Account.objects.get().is_active
    for position in positions:
        position.delete()
    with pytest.raises(AccountRefused, match=r"\(orders open: 1\)"):
        switch_off(account)
    orders[0].state = "unknown"
    orders[0].save()
    with pytest.raises(AccountRefused, match=r"\(orders open: 1\)"):
        switch_off(account)
    orders[0].state = "cancelled"
    orders[0].save()
    assert not switch_off(account).is_active


def test_dust_and_what_other_accounts_hold_keep_no_account_on(account, epoch, spot):
    InstrumentTerms.objects.create(instrument=spot, valid_from=NOW, tick=1, lot=Decimal("0.001"))
    hold(account, spot, "0.0009")
    other = Account.objects.create(venue=account.venue, epoch=epoch, name="Other")
    hold(other, spot, "5")
    order_rest(other, spot)
    assert not switch_off(account).is_active


def test_an_account_of_a_market_that_is_over_is_switched_off_freely(account, epoch, spot):
    hold(account, spot, "5")
    Epoch.objects.update(is_current=False)
    account.refresh_from_db()
    assert not switch_off(account).is_active


def test_an_account_that_is_off_is_changed_and_switched_on_freely(account, spot):
    hold(account, spot, "5")
    Account.objects.update(is_active=False)  # from before this was refused
    account.refresh_from_db()
    account.name = "Ours"
    assert account_save(account, by="ann").name == "Ours"
    account.is_active = True
    assert account_save(account, by="ann").is_active


def test_a_venue_with_something_open_is_not_switched_off(account, venue, spot):
    position = hold(account, spot, "5")
    venue.is_active = False
    with pytest.raises(VenueRefused) as refused:
        venue_save(venue, by="ann")
    assert str(refused.value) == (
        "is_active: a venue that is off has no desks, and nobody looks after what is open there: "
        f"account {account.pk} (Simulated) has positions held: 1. "
        "Close it first, on the Desk page or by manage.py kill --flatten."
    )
    assert Venue.objects.get().is_active
    position.delete()
    assert not venue_save(venue, by="ann").is_active


def test_the_admin_shows_it_at_the_field(client, account, venue, spot):
    client.force_login(User.objects.create_superuser("ann", password="a long password", role=Role.ADMIN))
    hold(account, spot, "5")
    body = account_body(account, trading_enabled="on")
    del body["is_active"]
    answer = client.post(reverse("admin:portfolio_account_change", args=[account.pk]), body)
    assert set(answer.context["adminform"].form.errors) == {"is_active"}
    assert "positions held: 1" in errors(answer)
    answer = client.post(reverse("admin:market_venue_change", args=[venue.pk]), {"name": venue.name})
    assert set(answer.context["adminform"].form.errors) == {"is_active"}
    assert "positions held: 1" in errors(answer)
    assert Account.objects.get().is_active
    assert Venue.objects.get().is_active


def test_coins_that_were_there_before_and_what_no_order_can_sell_hold_no_account_on(account, spot):
    InstrumentTerms.objects.create(instrument=spot, valid_from=NOW, tick=1, lot=Decimal("0.001"), min_notional=5)
    small = hold(account, spot, "0.002")
    hold(account, spot, "5", "unattributed")
    small.average_price = 2501
    small.save()
    with pytest.raises(AccountRefused, match="positions held: 1"):
        switch_off(account)
    small.average_price = 2499
    small.save()
    assert not switch_off(account).is_active
