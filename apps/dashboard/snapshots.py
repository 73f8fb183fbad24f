"""Snapshots of the log topics for the hub: (number, rows), the number read before the rows."""

from typing import Any

from apps.dashboard import selectors
from apps.dashboard.rows import Row
from apps.dashboard.shell import accounts_current

Snapshot = tuple[int, list[Row]]


def signals(user: Any, topic: str) -> Snapshot:
    """Return the newest signals of all current accounts."""
    return _number(topic), selectors.signals_of(_accounts())


def orders(user: Any, topic: str) -> Snapshot:
    """Return the open orders of all current accounts."""
    return _number(topic), selectors.orders_open(_accounts())


def fills(user: Any, topic: str) -> Snapshot:
    """Return the newest fills of all current accounts."""
    return _number(topic), selectors.fills_of(_accounts())


def positions(user: Any, topic: str) -> Snapshot:
    """Return what all current accounts hold."""
    return _number(topic), selectors.positions_of(_accounts())


def refusals(user: Any, topic: str) -> Snapshot:
    """Return the newest refusals of all current accounts."""
    return _number(topic), selectors.refusals_of(_accounts())


def number_only(user: Any, topic: str) -> Snapshot:
    """Return only the number: the page asks the server again for what such a topic is about."""
    return _number(topic), []


def _number(topic: str) -> int:
    return selectors.numbers_now([topic])[topic]


def _accounts() -> list[int]:
    return [account.pk for account in accounts_current()]
