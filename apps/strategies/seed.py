"""What a first run holds: `mean_reversion` at stage full on the simulated account of the epoch."""

from typing import Any

from apps.portfolio.models import Account
from apps.strategies.models import Deployment
from apps.strategies.services import deployment_start

STRATEGY, UNIVERSE, BY = "mean_reversion", "desk", "system:seed"


def seed(_options: dict[str, Any], so_far: dict[str, Any]) -> dict[str, Any]:
    """Deploy once per account; what a person stopped or changed stays as they left it."""
    account = Account.objects.filter(pk=so_far.get("account_id")).first()
    if account is None or Deployment.objects.filter(account=account).exists():
        return {}
    row = deployment_start(strategy=STRATEGY, account=account, universe=UNIVERSE, by=BY, reason="first start")
    return {"deployment_key": row.key}
