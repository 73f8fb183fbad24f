"""Every page asks who is there; the answer without a database stands beside it."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import resolve_url

from apps.users.identity import COOKIE, identity_current, identity_write


class SignInRequiredMiddleware:
    """Refuse everyone unknown, except on views marked with `login_not_required`.

    Django's own asks the database before it looks at that mark; the kill switch's way in may not.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        if not getattr(view, "login_required", True) or request.user.is_authenticated:
            return None
        return refuse_anonymous(request)


class IdentityMiddleware:
    """Keep the signed identity cookie in step with the session, on pages that asked for the person anyway."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not hasattr(request, "_cached_user"):  # set only when somebody asked: never asks by itself
            return response
        user = request.user  # sign-in and sign-out replace it
        if not user.is_authenticated:
            if COOKIE in request.COOKIES:
                response.delete_cookie(COOKIE, samesite="Strict")
        elif not identity_current(request.COOKIES, user):
            identity_write(response, user, secure=settings.SESSION_COOKIE_SECURE)
        return response


def refuse_anonymous(request: HttpRequest) -> HttpResponse:
    """Answer someone who is not signed in: a redirect for a page, a redirect by htmx, 401 for data."""
    sign_in = resolve_url(settings.LOGIN_URL)
    if getattr(request, "htmx", False):
        return HttpResponse(status=401, headers={"HX-Redirect": sign_in})
    if request.path.endswith(".json") or request.headers.get("accept", "").startswith("application/json"):
        return JsonResponse({"error": "Sign in first.", "sign_in": sign_in}, status=401)
    return redirect_to_login(request.get_full_path(), sign_in)
