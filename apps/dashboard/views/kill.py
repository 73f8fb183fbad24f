"""Engage, release, banner. Engaging and the banner need no database: a signed cookie says who is there."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from apps.dashboard.kill import kill_view
from apps.users.selectors import Role, identity_read, role_required
from apps.users.services import password_fresh

PLACES = {"database": "database", "bus": "bus", "file": "local file"}


@login_not_required
@never_cache
@require_POST
def engage(request: HttpRequest) -> HttpResponse:
    """Engage for a scope, with `flatten` if asked. Any one record that takes it suffices."""
    from apps.risk.services import KillError, kill_engage_sync

    person = identity_read(request.COOKIES)
    if person is None:
        return _problem(request, "Sign in first.", 401)
    if not person.may(Role.TRADER):
        return _problem(request, f"The kill switch takes the role trader; yours is {person.role}.", 403)
    try:
        result = kill_engage_sync(
            request.POST.get("scope", "all"),
            person.name,
            request.POST.get("reason", ""),
            request.POST.get("flatten") == "1",
        )
    except ValueError as error:
        return _problem(request, str(error), 400)
    except KillError as error:
        return _problem(request, str(error), 503)
    failed = [f"{PLACES[name]}: {words}" for name, words in result.written.items() if words != "ok"]
    written = f"Engaged. Not every record could be written ({'; '.join(failed)}); one suffices." if failed else ""
    return render(request, "shell/_banner.html", {"kill": kill_view(written)})


@login_not_required
@never_cache
@require_GET
def banner(request: HttpRequest) -> HttpResponse:
    """Return the banner as it stands now, for someone whom the cookie names."""
    if identity_read(request.COOKIES) is None:
        return _problem(request, "Sign in first.", 401)
    return render(request, "shell/_banner.html", {"kill": kill_view()})


@never_cache
@sensitive_post_parameters("password")
@require_POST
@role_required(Role.TRADER)
def release(request: HttpRequest) -> HttpResponse:
    """Release a scope: a trader, a reason, and their password once more. All three records must take it."""
    from apps.risk.services import KillError, kill_release_sync

    reason = request.POST.get("reason", "").strip()
    if len(reason) < 4:
        return _problem(request, "Say why it is safe to go on: a few words, kept in the audit.", 422)
    if not password_fresh(request=request, password=request.POST.get("password", "")):
        return _problem(request, "That is not your password. Still engaged.", 403)
    try:
        kill_release_sync(request.POST.get("scope", "all"), request.user.get_username(), reason)
    except (KillError, ValueError) as error:
        return _problem(request, str(error), 409)
    response = render(request, "shell/_released.html", {"kill": kill_view()})
    response["HX-Trigger"] = "qd:released"
    return response


def _problem(request: HttpRequest, message: str, status: int) -> HttpResponse:
    return render(request, "parts/_problem.html", {"message": message}, status=status)
