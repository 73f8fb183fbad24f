"""The context that every page gets."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from apps.dashboard.shell import Shell


def shell(request: HttpRequest) -> dict[str, Any]:
    """Add `shell`; nothing is read before a template asks, so fragments cost nothing."""
    return {"shell": SimpleLazyObject(lambda: shell_of(request))}


def shell_of(request: HttpRequest) -> Shell:
    """Return the request's one shell; `?account=` chooses among several accounts."""
    if not hasattr(request, "quarterdeck_shell"):
        wanted = request.GET.get("account", "")
        request.quarterdeck_shell = Shell(int(wanted) if wanted.isdecimal() else None)  # type: ignore[attr-defined]
    return request.quarterdeck_shell  # type: ignore[attr-defined]
