"""Reads of strategies: which there are, which are at work, and what they decided."""

import pkgutil
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from typing import Any

from django.db.models.functions import Now

from apps.common.models import Lease
from apps.market.models import Universe
from apps.strategies import library
from apps.strategies.models import Deployment, Signal
from trader.core.strategy import Strategy, code_hash
from trader.core.types import ConfigurationError

LIBRARY = tuple(sorted(one.name for one in pkgutil.iter_modules(library.__path__)))
"""A file in `library/` with a `STRATEGY` in it is all it takes."""
_imported: dict[str, str] = {}  # hash of each strategy's code as it was when this process imported it


class StrategyUnknown(LookupError):
    """There is no strategy of that name; the message names those there are."""


@dataclass(frozen=True)
class DeploymentAtWork:
    """A running deployment as a desk needs it."""

    id: int
    key: str
    strategy: str
    code_hash: str
    parameters: dict[str, Any]
    sizing: dict[str, float]
    universe: str
    stage: str
    no_stop_reason: str
    members: tuple[int, ...] = field(default=())


def strategy_load(name: str) -> Strategy:
    """Return a strategy of the library, or raise `StrategyUnknown`."""
    if name not in LIBRARY:
        raise StrategyUnknown(f"no strategy {name!r}; there are: {', '.join(LIBRARY)}")
    strategy: Strategy = import_module(f"apps.strategies.library.{name}").STRATEGY
    if name not in _imported:
        _imported[name] = code_hash(strategy)
    return strategy


def strategy_code_hash(name: str) -> str:
    """Return the hash over every source file that a strategy reaches."""
    return code_hash(strategy_load(name))


def imported_hash(name: str) -> str:
    """Return the hash of a strategy's code as this process imported it; files may have changed since."""
    strategy_load(name)
    return _imported[name]


def code_differs(key: str, strategy: str, deployed_hash: str) -> str:
    """Say in words, with the fix, why a deployment's code is not what this process runs; empty when it is.

    A file that changed after this process had imported it changes nothing here: what counts is what was imported.
    """
    on_disk = strategy_code_hash(strategy)
    if imported_hash(strategy) == deployed_hash:
        return ""
    if on_disk == deployed_hash:
        return f"{key}: its code was deployed after this program had started; restart it (`manage.py up`)"
    return (
        f"{key}: the code of {strategy} on disk is not the deployed one ({on_disk[:8]}, deployed {deployed_hash[:8]}); "
        f"deploy it with `manage.py deploy change {key}`, or put the old file back"
    )


def deployments_at_work(account_id: int) -> list[DeploymentAtWork]:
    """Return the running deployments of an account with the members of their universes now, oldest first."""
    rows = list(Deployment.objects.filter(account_id=account_id, state=Deployment.State.RUNNING).order_by("pk"))
    members: dict[str, list[int]] = {row.universe_name: [] for row in rows}
    pairs = (
        Universe.objects.filter(name__in=members, members__listed_to__isnull=True)
        .order_by("members__symbol")
        .values_list("name", "members__pk")
    )
    for name, instrument_id in pairs:
        if instrument_id is not None:
            members[name].append(instrument_id)
    return [_at_work(row, tuple(members[row.universe_name])) for row in rows]


def deployments_of_keys(keys: Collection[str]) -> list[DeploymentAtWork]:
    """Return deployments by their keys whatever their state, without members: what an ended one was set to do."""
    return [_at_work(row, ()) for row in Deployment.objects.filter(key__in=list(keys))]


def deployments_blocked() -> dict[str, str]:
    """Return the deployments that take no new risk, or none in some instruments, with the words their desks have."""
    found: dict[str, str] = {}
    for meta in Lease.objects.filter(kind="desk", expires_at__gt=Now()).values_list("meta", flat=True):
        found |= meta.get("deployments") or {}
    return found


def stop_distance(row: DeploymentAtWork) -> Decimal | None:
    """Return the distance of a deployment's stops as a share of the price, None where it does without by its word.

    Raises `LookupError` where its strategy is gone or takes its parameters no more.
    """
    if row.no_stop_reason:
        return None
    strategy = strategy_load(row.strategy)
    try:
        plan = strategy.plan(strategy.parameters_checked(row.parameters))
    except ConfigurationError as error:
        raise LookupError(f"{row.key}: {error}") from None
    return Decimal(repr(plan.stop_distance))


def _at_work(row: Deployment, members: tuple[int, ...]) -> DeploymentAtWork:
    return DeploymentAtWork(
        id=row.pk,
        key=row.key,
        strategy=row.strategy,
        code_hash=row.code_hash,
        parameters=dict(row.parameters.get("strategy", {})),
        sizing=dict(row.parameters.get("sizing", {})),
        universe=row.universe_name,
        stage=row.stage,
        no_stop_reason=row.no_stop_reason,
        members=members,
    )


def signals_recent(account_id: int, limit: int = 50) -> list[Signal]:
    """Return the newest signals of an account's deployments."""
    rows = Signal.objects.filter(deployment__account_id=account_id).select_related("instrument", "deployment")
    return list(rows[:limit])
