"""Limits: checked in words, saved with an audit entry, told to residents in the same transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from apps.common.audit import audit_write
from apps.common.clocks import wall_ns
from apps.common.outbox import outbox_add
from apps.market.models import Instrument
from apps.portfolio.models import Account
from apps.risk.events import LimitChanged
from apps.risk.models import Limit
from apps.strategies.models import Deployment
from trader.core.portfolio import MANUAL

DECIMALS = 18


class LimitRefused(ValidationError):
    """A limit cannot be as asked; the message names the field and the fix."""


@dataclass(frozen=True)
class Range:
    """What a limit's value may be, and the words for when it is not."""

    highest: Decimal
    words: str
    is_whole: bool = False


MONEY = Range(Decimal(10) ** 15, "an amount in the account's currency, 0 or more; 0 lets nothing through")
TIMES = Range(Decimal(50), "a multiple of equity from 0 to 50: 1.5 is one and a half times the equity")
RANGES: dict[str, Range] = {
    Limit.Check.ORDER_NOTIONAL: MONEY,
    Limit.Check.POSITION_NOTIONAL: MONEY,
    Limit.Check.GROSS_EXPOSURE: TIMES,
    Limit.Check.NET_EXPOSURE: TIMES,
    Limit.Check.LEVERAGE: Range(Decimal(125), "a multiple of equity from 0 to 125: 3 is three times the equity"),
    Limit.Check.ORDERS_PER_MINUTE: Range(Decimal(6000), "a whole number from 0 to 6000; 0 lets nothing through", True),
    Limit.Check.PRICE_COLLAR: Range(Decimal("0.5"), "a share of the market's price from 0 to 0.5: 0.01 is 1 %"),
    Limit.Check.DAILY_LOSS: Range(Decimal(1), "a share of the day's first equity from 0 to 1: 0.05 is 5 %"),
}


@transaction.atomic
def limit_set(
    *,
    check_name: str,
    value: Decimal | int | str,
    by: str,
    account: Account | None = None,
    deployment_key: str = "",
    instrument: Instrument | None = None,
    reason: str = "",
) -> Limit:
    """Set the limit of one scope; an empty scope field means "any". A limit of the same scope is replaced.

    Raises `LimitRefused` naming the field. Residents have it within a second; the audit has it in this transaction.
    """
    number = limit_check(check_name, value, account, deployment_key, instrument)
    scope = {"check_name": check_name, "account": account, "deployment_key": deployment_key, "instrument": instrument}
    limit = Limit.objects.select_for_update(of=("self",)).filter(**scope).first()
    before = None if limit is None else limit.value
    limit = limit or Limit(**scope)
    limit.value = number
    limit.save()
    _tell(limit, number, before, by, reason, "limit set" if before is None else "limit changed")
    return limit


@transaction.atomic
def limit_remove(*, limit: Limit, by: str, reason: str = "") -> None:
    """Remove a limit: what it held back is bound by the others only."""
    held = Limit.objects.select_for_update(of=("self",)).get(pk=limit.pk)
    _tell(held, None, held.value, by, reason, "limit removed", last=held.delete)


def limit_check(
    check_name: str,
    value: Decimal | int | str,
    account: Account | None = None,
    deployment_key: str = "",
    instrument: Instrument | None = None,
) -> Decimal:
    """Return the value as a number, or raise `LimitRefused` naming the field and saying what it may be."""
    allowed = RANGES.get(check_name)
    if allowed is None:
        raise LimitRefused({"check_name": f"There is no check {check_name!r}: choose one of {', '.join(RANGES)}."})
    number = _number(value)
    if number is None or not 0 <= number <= allowed.highest or (allowed.is_whole and number != int(number)):
        raise LimitRefused({"value": f"{Limit.Check(check_name).label}: it is {value}, and must be {allowed.words}."})
    if -number.normalize().as_tuple().exponent > DECIMALS:
        raise LimitRefused({"value": f"{value} has more than {DECIMALS} decimals: round it."})
    if deployment_key and deployment_key != MANUAL and not _deployments(deployment_key, account).exists():
        whose = "" if account is None else " at this account"
        words = f"There is no deployment {deployment_key!r}{whose}: choose one, or {MANUAL} for orders by hand."
        raise LimitRefused({"deployment_key": words})
    if account is not None and instrument is not None and instrument.venue_id != account.venue_id:
        raise LimitRefused({"instrument": f"{instrument} is not traded at this account's venue: choose one that is."})
    return number


def _deployments(key: str, account: Account | None) -> QuerySet[Deployment]:
    found = Deployment.objects.filter(key=key)
    return found if account is None else found.filter(account=account)


def _number(value: Decimal | int | str) -> Decimal | None:
    try:
        number = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        return None
    return number if number.is_finite() else None


def _tell(
    limit: Limit, value: Decimal | None, before: Decimal | None, by: str, reason: str, action: str,
    last: Callable[[], object] | None = None,
) -> None:  # fmt: skip
    """Audit and announce; the announcement is the transaction's last write."""
    event = LimitChanged(
        id=limit.pk,
        check_name=limit.check_name,
        account_id=limit.account_id,
        deployment_key=limit.deployment_key,
        instrument_id=limit.instrument_id,
        value=_text(value),
        before=_text(before),
        by=by,
        at_ns=wall_ns(),
    )
    audit_write(
        actor=by,
        action=action,
        target=f"limit:{limit.pk} {limit.check_name} {scope_text(limit)}",
        before=None if before is None else {"value": _text(before)},
        after=None if value is None else {"value": _text(value)},
        reason=reason,
    )
    if last is not None:
        last()
    outbox_add(("limits", event))


def scope_text(limit: Limit) -> str:
    """Return whom a limit binds, in words."""
    parts = [
        f"account {limit.account_id}" if limit.account_id else "",
        f"deployment {limit.deployment_key}" if limit.deployment_key else "",
        f"instrument {limit.instrument_id}" if limit.instrument_id else "",
    ]
    return ", ".join(part for part in parts if part) or "everything"


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value.normalize():f}"
