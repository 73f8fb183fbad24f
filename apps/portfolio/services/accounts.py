"""Accounts and their keys: made, changed and removed with an audit entry; a secret is in none of them."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from apps.common.audit import audit_write
from apps.common.dotted import imported
from apps.market.models import Epoch
from apps.portfolio.models import Account, Credential
from apps.portfolio.selectors import still_open

SIMULATED = "Simulated"
SHOWN = ("name", "currency", "is_live", "trading_enabled", "is_active")
_conditions: list[str] = []


class AccountRefused(ValidationError):
    """An account or its keys cannot be as asked; the message names the field and the fix."""


def account_for_epoch(*, epoch: Epoch, name: str = SIMULATED, by: str = "system:seed", **fields: Any) -> Account:
    """Return the account of this name in this epoch; it is made when there is none.

    Each epoch has accounts of its own: money of one market never mixes with another's.
    """
    found = Account.objects.filter(venue=epoch.venue_id, epoch=epoch, name=name).first()
    if found is not None:
        return found
    account = Account(venue_id=epoch.venue_id, epoch=epoch, name=name, **fields)
    return account_save(account, by=by, reason="first start of this market")


@transaction.atomic
def account_save(account: Account, *, by: str, reason: str = "") -> Account:
    """Save an account after checking it, with an audit entry. Raises `AccountRefused`."""
    before = Account.objects.select_for_update().filter(pk=account.pk).first() if account.pk else None
    account_check(account, before)
    account.save()
    audit_write(
        actor=by,
        action="account made" if before is None else "account changed",
        target=f"account:{account.pk}",
        before=None if before is None else _shown(before),
        after=_shown(account),
        reason=reason,
    )
    return account


def account_check(account: Account, before: Account | None) -> None:
    """Raise `AccountRefused` naming the field, if an account cannot be as it is now."""
    if account.epoch_id is not None and account.epoch.venue_id != account.venue_id:
        raise AccountRefused({"epoch": "This epoch belongs to another venue: choose one of the account's venue."})
    if before is not None and (before.venue_id, before.epoch_id) != (account.venue_id, account.epoch_id):
        raise AccountRefused({"venue": "An account stays at its venue and epoch: make a new account instead."})
    if before is not None and before.currency != account.currency:
        raise AccountRefused({"currency": "Its history is counted in this currency: make a new account instead."})
    if account.is_live and account.venue.is_simulated:
        raise AccountRefused({"is_live": "The simulator holds no real money: leave this off."})
    if not account.venue.is_simulated and not account.is_live and account.trading_enabled:
        raise AccountRefused({"is_live": "Orders at this venue move real money: say so here before trading is on."})
    if account.trading_enabled and account.is_live and not has_credential(account):
        raise AccountRefused({"trading_enabled": "Trading needs the account's keys: add its credential first."})
    if before is not None and before.is_active and not account.is_active:
        _off_check(account)
    if _is_turned_on(account, before):
        missing = [why for path in _conditions if (why := imported(path)(account))]
        if missing:
            raise AccountRefused({"trading_enabled": missing})


def _off_check(account: Account) -> None:
    """Refuse to switch an account off while something is open in it. A market that is over holds nothing."""
    left = still_open([account.pk]).get(account.pk) if account.epoch.is_current else None
    if left is not None:
        flatten = f"manage.py kill --flatten --scope account:{account.pk}"
        why = f"An account that is off has no desk, and nobody looks after what is open in it ({left})."
        raise AccountRefused({"is_active": f"{why} Close it first, on the Desk page or by {flatten}."})


def register_condition(path: str) -> None:
    """Ask this function whenever trading with real money is turned on for an account.

    `path` is a dotted path, `module:name`, of a function from an account to why it may not trade yet, in words with
    the fix; empty when it may. Upper apps call this in `AppConfig.ready()`.
    """
    if path not in _conditions:
        _conditions.append(path)


def _is_turned_on(account: Account, before: Account | None) -> bool:
    """Whether an account begins to trade with real money by this; one that does so already is changed freely."""
    was_on = before is not None and before.trading_enabled and before.is_live
    return account.trading_enabled and account.is_live and not was_on


@transaction.atomic
def credential_set(*, account: Account, api_key: str, api_secret: str, by: str) -> Credential:
    """Store or replace an account's keys. Raises `AccountRefused` naming an empty or malformed field."""
    key_check("api_key", api_key)
    key_check("api_secret", api_secret)
    credential = Credential.objects.select_for_update().filter(account=account).first()
    is_new = credential is None
    credential = credential or Credential(account=account)
    credential.api_key, credential.api_secret = api_key, api_secret
    credential.save()
    audit_write(
        actor=by,
        action="credential set" if is_new else "credential replaced",
        target=f"account:{account.pk}",
        before=None,
        after=None,
        reason="",
    )
    return credential


def key_check(field: str, text: str) -> None:
    """Raise `AccountRefused` at `field`, if what was pasted cannot be a key."""
    if not text or not text.isprintable() or " " in text:
        raise AccountRefused({field: "Paste it as the venue shows it: one word, without spaces or line ends."})


@transaction.atomic
def credential_remove(*, account: Account, by: str) -> None:
    """Remove an account's keys; its desk then ends with that reason. Raises `AccountRefused` while it trades live."""
    if account.is_live and account.trading_enabled:
        raise AccountRefused("Turn trading off for this account first: its desk must still cancel and reduce.")
    Credential.objects.filter(account=account).delete()
    audit_write(
        actor=by, action="credential removed", target=f"account:{account.pk}", before=None, after=None, reason=""
    )


def has_credential(account: Account) -> bool:
    """Say whether an account has keys."""
    return account.pk is not None and Credential.objects.filter(account=account).exists()


def _shown(account: Account) -> dict[str, Any]:
    return {name: getattr(account, name) for name in SHOWN}
