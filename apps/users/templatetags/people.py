"""Template tags about who may do what: `{% if user|may:"trader" %}`."""

from typing import Any

from django import template

register = template.Library()


@register.filter
def may(user: Any, role: str) -> bool:
    """Say whether the person signed in holds `role` or more; nobody holds none."""
    return bool(getattr(user, "is_authenticated", False) and user.may(role))
