"""What a first run holds: the kill switch's three clear records, and limits that a careful person would set."""

from decimal import Decimal
from typing import Any

from django.db import transaction

from apps.common.audit import audit_of, audit_write
from apps.portfolio.models import Account
from apps.risk.killswitch.switch import first_up, host_start, in_own_loop
from apps.risk.models import Limit
from apps.risk.services import limit_set

BY = "system:seed"
REASON = "first start"
DONE = "default limits set"
# for 100,000 USDT and a strategy that puts up to a tenth of it into one instrument
DEFAULTS: dict[str, str] = {
    Limit.Check.ORDER_NOTIONAL: "20000",
    Limit.Check.POSITION_NOTIONAL: "25000",
    Limit.Check.GROSS_EXPOSURE: "1.5",
    Limit.Check.NET_EXPOSURE: "1",
    Limit.Check.LEVERAGE: "2",
    Limit.Check.ORDERS_PER_MINUTE: "60",
    Limit.Check.PRICE_COLLAR: "0.02",
    Limit.Check.DAILY_LOSS: "0.05",
}


def seed(options: dict[str, Any], so_far: dict[str, Any]) -> dict[str, Any]:
    """Make the first kill records where nothing ever started, and a new account's default limits.

    Run at every start. Limits belong to the admin after that: one that a person removed does not come back.
    """
    made = in_own_loop(first_up)
    if not made:
        in_own_loop(host_start)
    if "account_id" in so_far:
        _limits_default(Account.objects.get(pk=so_far["account_id"]))
    return {"kill_records_made": made}


@transaction.atomic
def _limits_default(account: Account) -> None:
    mark = f"default limits of account:{account.pk}"
    if any(entry.action == DONE for entry in audit_of(mark)):
        return
    for check_name, value in DEFAULTS.items():  # eight checks, each with its audit entry and message
        limit_set(check_name=check_name, value=Decimal(value), by=BY, account=account, reason=REASON)
    audit_write(actor=BY, action=DONE, target=mark, after=dict(DEFAULTS), reason=REASON)
