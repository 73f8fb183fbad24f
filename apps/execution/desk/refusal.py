"""Refusals by the desk itself: a stale feed, a lease in doubt, the kill switch, an order that came no further."""

from decimal import Decimal
from uuid import UUID

from apps.execution.desk.model import DeskOrder
from apps.risk.services import RefusalRow


def of_words(
    check_name: str,
    why: str,
    *,
    account_id: int,
    instrument_id: int,
    owner: str,
    market_ns: int,
    decision_id: UUID | None = None,
    number: Decimal | None = None,
    limit: Decimal | None = None,
) -> RefusalRow:
    """Return the refusal of a guard of the desk; most know no number."""
    row = {
        "name": str(check_name),
        "scope": "desk",
        "number": None if number is None else float(number),
        "limit": None if limit is None else float(limit),
        "verdict": "refused",
        "detail": why,
    }
    return RefusalRow(
        account_id=account_id,
        instrument_id=instrument_id,
        owner=owner,
        check_name=str(check_name),
        detail=why[:200],
        number=number,
        limit=limit,
        market_ns=market_ns,
        decision_id=decision_id,
        checks=[row],
    )


def of_order(check_name: str, order: DeskOrder, why: str, market_ns: int) -> RefusalRow:
    """Return the refusal of an order that had passed every check and yet was not let out."""
    return of_words(
        check_name, why, account_id=order.account_id, instrument_id=order.market.instrument_id, owner=order.owner,
        market_ns=market_ns, decision_id=order.decision_id,
    )  # fmt: skip
