"""Providers by the name of their folder. What is heavy to import is imported when a provider is made."""

from importlib import import_module
from typing import Any

from apps.market.errors import VenueRefused
from apps.market.providers.base import Provider

ADAPTERS = {"bybit": "apps.market.providers.bybit.adapter:BybitProvider"}
CONFIGURATIONS = {"bybit": "apps.market.providers.bybit.configuration:exchange_configuration"}


def provider_make(adapter: str, rest_url: str, socket_url: str, **options: Any) -> Provider:
    """Return the provider of an address. Raises `VenueRefused` for a folder that does not exist."""
    return _load(ADAPTERS, adapter)(rest_url, socket_url, **options)


def configuration_make(adapter: str, rest_url: str, socket_url: str) -> dict[str, Any]:
    """Return how ccxt is told to speak to an address."""
    return _load(CONFIGURATIONS, adapter)(rest_url, socket_url)


def _load(registry: dict[str, str], adapter: str) -> Any:
    if adapter not in registry:
        raise VenueRefused(f"adapter {adapter!r} is unknown: choose one of {', '.join(sorted(registry))}")
    module, _, name = registry[adapter].partition(":")
    return getattr(import_module(module), name)
