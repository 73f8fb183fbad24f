"""Accounts, their keys, and what a first run makes."""

import json
import stat
from pathlib import Path

import pytest
from django.db import connection

from apps.common.models import AuditEntry
from apps.market.models import Epoch
from apps.portfolio import seed, services
from apps.portfolio.models import Account, Credential
from apps.portfolio.services import AccountRefused
from apps.risk.models import Limit
from apps.risk.services import limit_remove, limit_set

pytestmark = pytest.mark.django_db


def test_each_epoch_has_an_account_of_its_own(epoch):
    first = services.account_for_epoch(epoch=epoch)
    assert services.account_for_epoch(epoch=epoch) == first
    assert AuditEntry.objects.filter(action="account made", target=f"account:{first.pk}").count() == 1


def test_a_change_is_in_the_audit_with_both_sides(account):
    account.is_active = False
    services.account_save(account, by="ann", reason="closed")
    entry = AuditEntry.objects.get(action="account changed")
    assert (entry.before["is_active"], entry.after["is_active"], entry.reason) == (True, False, "closed")


@pytest.mark.parametrize(
    ("change", "field"),
    [({"is_live": True}, "is_live"), ({"currency": "EUR"}, "currency")],
)
def test_what_an_account_cannot_become_is_said_by_field(account, change, field):
    for name, value in change.items():
        setattr(account, name, value)
    with pytest.raises(AccountRefused) as caught:
        services.account_save(account, by="ann")
    assert field in caught.value.message_dict


def test_an_account_stays_at_its_venue(account, real_venue):
    account.venue = real_venue
    with pytest.raises(AccountRefused):
        services.account_save(account, by="ann")


def test_trading_at_a_real_venue_is_off_until_said_and_keys_and_limits_are_there(real_venue):
    epoch = Epoch.objects.create(venue=real_venue, number=0, kind=Epoch.Kind.REAL, is_current=True)
    account = services.account_for_epoch(epoch=epoch, name="mine")
    assert not account.trading_enabled
    account.trading_enabled = True
    with pytest.raises(AccountRefused, match="real money"):
        services.account_save(account, by="ann")
    account.is_live = True
    with pytest.raises(AccountRefused, match="credential first"):
        services.account_save(account, by="ann")
    services.credential_set(account=account, api_key="key", api_secret="secret", by="ann")
    needed = {"order_notional": 100, "position_notional": 200, "leverage": 1, "daily_loss": "0.02"}
    for check_name, value in needed.items():
        with pytest.raises(AccountRefused, match=r"limits; missing: .*loss of the day. Add each in Admin"):
            services.account_save(account, by="ann")
        limit_set(check_name=check_name, value=value, by="ann", account=account)
    assert services.account_save(account, by="ann").trading_enabled
    limit_remove(limit=Limit.objects.get(check_name="leverage"), by="ann")
    account.name = "ours"
    assert services.account_save(account, by="ann").name == "ours"  # the desk refuses new risk; the rest is changed
    with pytest.raises(AccountRefused, match="trading off"):
        services.credential_remove(account=account, by="ann")


def test_keys_are_ciphertext_in_the_table_and_in_no_audit_entry(account):
    services.credential_set(account=account, api_key="the-key-1234", api_secret="the-secret-1234", by="ann")
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key, api_secret FROM portfolio_credential")
        stored = " ".join(cursor.fetchone())
    assert "the-key" not in stored
    assert "the-secret" not in stored
    assert Credential.objects.get().api_secret == "the-secret-1234"
    told = json.dumps(list(AuditEntry.objects.values("action", "target", "before", "after", "reason")))
    assert "credential set" in told
    assert "1234" not in told
    assert "1234" not in repr(Credential.objects.get()) + str(Credential.objects.get())


def test_keys_are_replaced_and_removed(account):
    services.credential_set(account=account, api_key="a", api_secret="b", by="ann")
    services.credential_set(account=account, api_key="c", api_secret="d", by="bob")
    assert Credential.objects.get().api_key == "c"
    services.credential_remove(account=account, by="bob")
    assert not Credential.objects.exists()
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"credential set", "credential replaced", "credential removed"} <= actions


@pytest.mark.parametrize("text", ["", " key", "key\n", "two words"])
def test_a_key_pasted_badly_is_refused_by_field(account, text):
    with pytest.raises(AccountRefused) as caught:
        services.credential_set(account=account, api_key=text, api_secret="b", by="ann")
    assert "api_key" in caught.value.message_dict


def so_far(epoch, folder: Path) -> dict:
    return {"epoch_id": epoch.pk, "simulator_state_dir": str(folder)}


def test_the_first_run_makes_an_account_whose_keys_the_simulator_knows(epoch, tmp_path):
    made = seed.seed({}, so_far(epoch, tmp_path))
    account = Account.objects.get(pk=made["account_id"])
    assert (account.name, account.trading_enabled, account.is_live) == ("Simulated", True, False)
    path = tmp_path / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entry = json.loads(path.read_text())[0]
    assert entry["balances"] == {"USDT": "100000"}
    assert (entry["key"], entry["secret"]) == (account.credential.api_key, account.credential.api_secret)


def test_the_simulator_reads_these_keys(epoch, tmp_path):
    from apps.simulator.exchange.auth import Keys

    made = seed.seed({}, so_far(epoch, tmp_path))
    credential = Credential.objects.get(account=made["account_id"])
    found = Keys(tmp_path).find(credential.api_key)
    assert found is not None
    assert found.secret == credential.api_secret


def test_a_second_run_changes_nothing(epoch, tmp_path):
    seed.seed({}, so_far(epoch, tmp_path))
    before = (tmp_path / "keys.json").read_bytes()
    seed.seed({}, so_far(epoch, tmp_path))
    assert (tmp_path / "keys.json").read_bytes() == before
    assert Account.objects.count() == 1


def test_keys_of_others_in_the_file_stay(epoch, tmp_path):
    other = {"key": "mine", "secret": "s", "balances": {"USDT": "5"}}
    (tmp_path / "keys.json").write_text(json.dumps([other]))
    seed.seed({}, so_far(epoch, tmp_path))
    entries = json.loads((tmp_path / "keys.json").read_text())
    assert other in entries
    assert len(entries) == 2


def test_nothing_is_made_where_no_simulator_runs(epoch):
    assert seed.seed({}, {}) == {}
    assert not Account.objects.exists()
