"""Who may do what: the decorator that views carry."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.users.middleware import refuse_anonymous
from apps.users.models import Role

View = Callable[..., HttpResponse]


def role_required(role: str) -> Callable[[View], View]:
    """Let a view through for people whose role includes `role`; others get a page that says which role it takes."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return refuse_anonymous(request)
            if not request.user.may(role):
                return refuse_role(request, role)
            return view(request, *args, **kwargs)

        guarded.role = role  # type: ignore[attr-defined]
        return guarded

    return decorate


def refuse_role(request: HttpRequest, role: str) -> HttpResponse:
    """Answer someone whose role does not reach: a note for htmx, a page otherwise; always 403."""
    context = {"needed": Role(role), "message": f"This takes the role {Role(role).value}."}
    template = "parts/_problem.html" if getattr(request, "htmx", False) else "403.html"
    return render(request, template, context, status=403)
