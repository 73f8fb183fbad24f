"""Deployments: started, stopped, changed. A change is a successor; the desk moves the sub-ledger with it."""

import secrets
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.common.audit import audit_write
from apps.common.clocks import wall_ns
from apps.common.models import Lease
from apps.common.outbox import outbox_add
from apps.market.models import Universe
from apps.portfolio.models import Account
from apps.portfolio.services import ledger_transfer
from apps.strategies.events import DEPLOYMENTS, DeploymentChanged
from apps.strategies.models import Deployment
from apps.strategies.selectors import StrategyUnknown, strategy_code_hash, strategy_load
from trader.core.risk import Sizing
from trader.core.types import ConfigurationError

SIZING = ("risk_share", "position_share")


class DeploymentRefused(ValueError):
    """A deployment cannot be as asked; the message names the field and the fix."""


def deployment_start(
    *,
    strategy: str,
    account: Account,
    universe: str,
    by: str,
    parameters: Mapping[str, Any] | None = None,
    sizing: Mapping[str, float] | None = None,
    stage: str = Deployment.Stage.FULL,
    no_stop_reason: str = "",
    reason: str = "",
) -> Deployment:
    """Put a strategy to work on an account. Raises `DeploymentRefused` with the field and the fix.

    `parameters` are the strategy's own (defaults fill in), `sizing` holds `risk_share` and `position_share`.
    """
    body = _checked(strategy, universe, parameters or {}, sizing or {}, stage)
    with transaction.atomic():
        row = Deployment.objects.create(
            key=_key(strategy),
            strategy=strategy,
            code_hash=strategy_code_hash(strategy),
            parameters=body,
            universe_name=universe,
            account=account,
            stage=stage,
            no_stop_reason=no_stop_reason,
        )
        audit_write(by, "deployment.start", row.key, None, _words(row), reason)
        outbox_add((DEPLOYMENTS, _event(row, by)))
    return row


def deployment_stop(key: str, *, by: str, reason: str = "") -> Deployment:
    """Stop a deployment: no decision is made any more; its positions keep their stops until a person closes them."""
    with transaction.atomic():
        row = _running(key)
        before = _words(row)
        row.state, row.stopped_at = Deployment.State.STOPPED, timezone.now()
        row.save(update_fields=["state", "stopped_at"])
        audit_write(by, "deployment.stop", row.key, before, _words(row), reason)
        outbox_add((DEPLOYMENTS, _event(row, by)))
    return row


def deployment_change(
    key: str,
    *,
    by: str,
    parameters: Mapping[str, Any] | None = None,
    sizing: Mapping[str, float] | None = None,
    universe: str | None = None,
    stage: str | None = None,
    reason: str = "",
) -> Deployment:
    """Replace a running deployment by a successor that takes over its sub-ledger, in one transaction.

    What is not given stays as it was; the code is taken as it is on disk now.
    """
    with transaction.atomic():
        old = _running(key)
        merged = {**old.parameters.get("strategy", {}), **(parameters or {})}
        sized = {**old.parameters.get("sizing", {}), **(sizing or {})}
        body = _checked(old.strategy, universe or old.universe_name, merged, sized, stage or old.stage)
        old.state, old.stopped_at = Deployment.State.REPLACED, timezone.now()
        old.save(update_fields=["state", "stopped_at"])
        new = Deployment.objects.create(
            key=_key(old.strategy),
            strategy=old.strategy,
            code_hash=strategy_code_hash(old.strategy),
            parameters=body,
            universe_name=universe or old.universe_name,
            account=old.account,
            stage=stage or old.stage,
            no_stop_reason=old.no_stop_reason,
            predecessor=old,
        )
        _desk_fence_off(old.account_id)
        ledger_transfer(old.account, old.key, new.key)
        audit_write(by, "deployment.change", new.key, _words(old), _words(new), reason)
        outbox_add((DEPLOYMENTS, _event(old, by)), (DEPLOYMENTS, _event(new, by)))
    return new


def _running(key: str) -> Deployment:
    row = Deployment.objects.select_for_update().filter(key=key).first()
    if row is None:
        raise DeploymentRefused(f"key: no deployment {key!r}; `manage.py deploy list` shows them")
    if row.state != Deployment.State.RUNNING:
        raise DeploymentRefused(f"key: {key} is {row.state}, not running")
    return row


def _desk_fence_off(account_id: int) -> None:
    """Take the desk's fence away: it keeps the ledger in memory, so it must start again from the rows.

    Its next write fails by the fence, whatever it was about to book; what it missed it asks the venue for.
    """
    held = Lease.objects.filter(kind="desk", key=str(account_id))
    held.update(fence=F("fence") + 1, expires_at=timezone.now())


def _checked(
    strategy: str, universe: str, parameters: Mapping[str, Any], sizing: Mapping[str, float], stage: str
) -> dict[str, Any]:
    """Return the parameters as they are stored, complete; refuse what cannot be."""
    if not Universe.objects.filter(name=universe).exists():
        known = ", ".join(Universe.objects.values_list("name", flat=True)) or "none yet"
        raise DeploymentRefused(f"universe: no universe {universe!r}; there are: {known}")
    if stage not in Deployment.Stage.values:
        raise DeploymentRefused(f"stage: {stage!r} is unknown; choose one of {', '.join(Deployment.Stage.values)}")
    unknown = sorted(set(sizing) - set(SIZING))
    if unknown:
        raise DeploymentRefused(f"sizing: {unknown[0]!r} is unknown; there are {', '.join(SIZING)}")
    try:
        own = strategy_load(strategy).parameters_checked(parameters)
        sized = Sizing(**sizing)
    except (StrategyUnknown, ConfigurationError) as error:
        raise DeploymentRefused(str(error)) from None
    return {"strategy": own._asdict(), "sizing": {name: getattr(sized, name) for name in SIZING}}


def _key(strategy: str) -> str:
    return f"{strategy}-{secrets.token_hex(2)}"


def _words(row: Deployment) -> dict[str, Any]:
    return {
        "strategy": row.strategy,
        "parameters": row.parameters,
        "universe": row.universe_name,
        "stage": row.stage,
        "state": row.state,
        "code": row.code_hash[:12],
    }


def _event(row: Deployment, by: str) -> DeploymentChanged:
    return DeploymentChanged(
        key=row.key,
        account_id=row.account_id,
        strategy=row.strategy,
        state=row.state,
        by=by,
        wall_ns=wall_ns(),
        predecessor=row.predecessor.key if row.predecessor else "",
    )
