"""Which broker trades at which venue: by the venue's `adapter`, the name of a folder here."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from apps.execution.brokers.base import Broker, Market
from apps.execution.brokers.gate import SendGate

ADAPTERS = {"bybit": "apps.execution.brokers.bybit.adapter:BybitBroker"}


def broker_make(
    adapter: str, configuration: dict[str, Any], markets: Sequence[Market], prefix: str, gate: SendGate, **options: Any
) -> Broker:
    """Return a broker for a venue's adapter, or raise `LookupError` naming those there are."""
    if adapter not in ADAPTERS:
        raise LookupError(f"no broker `{adapter}`; there are: {', '.join(sorted(ADAPTERS))}")
    module, name = ADAPTERS[adapter].split(":")
    return getattr(import_module(module), name)(configuration, markets, prefix, gate, **options)
