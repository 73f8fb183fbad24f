"""From a log message to its row's HTML: the partial that the page itself includes.

The hub calls these once per message, for everyone: no token, role or local time may be in what they return.
"""

from typing import Any

from django.template.loader import get_template

from apps.dashboard import rows


def signal_html(message: Any) -> str:
    """Return a signal's row."""
    return _html("rows/_signal.html", rows.signal_row(rows.values_of(message)))


def order_html(message: Any) -> str:
    """Return an order's row."""
    return _html("rows/_order.html", rows.order_row(rows.values_of(message)))


def fill_html(message: Any) -> str:
    """Return a fill's row."""
    return _html("rows/_fill.html", rows.fill_row(rows.values_of(message)))


def position_html(message: Any) -> str:
    """Return a position's row."""
    return _html("rows/_position.html", rows.position_row(rows.values_of(message)))


def refusal_html(message: Any) -> str:
    """Return a refusal's row."""
    return _html("rows/_refusal.html", rows.refusal_row(rows.values_of(message)))


def _html(template: str, row: dict[str, Any]) -> str:
    return get_template(template).render({"row": row}).strip()
