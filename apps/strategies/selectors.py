"""Reads of strategies: which there are, which are at work, and what they decided."""

import pkgutil
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from apps.market.models import Universe
from apps.strategies import library
from apps.strategies.models import Deployment, Signal
from trader.core.strategy import Strategy, code_hash

LIBRARY = tuple(sorted(one.name for one in pkgutil.iter_modules(library.__path__)))
"""A file in `library/` with a `STRATEGY` in it is all it takes."""


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
    return import_module(f"apps.strategies.library.{name}").STRATEGY


def strategy_code_hash(name: str) -> str:
    """Return the hash over every source file that a strategy reaches."""
    return code_hash(strategy_load(name))


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
