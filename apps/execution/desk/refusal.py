"""Refusals that know no number: a stale feed, a lease in doubt, the kill switch, an earlier order under way."""

from uuid import UUID

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
) -> RefusalRow:
    """Return the refusal of a guard of the desk."""
    row = {"name": str(check_name), "scope": "desk", "number": None, "limit": None, "verdict": "refused", "detail": why}
    return RefusalRow(
        account_id=account_id,
        instrument_id=instrument_id,
        owner=owner,
        check_name=str(check_name),
        detail=why[:200],
        market_ns=market_ns,
        decision_id=decision_id,
        checks=[row],
    )
