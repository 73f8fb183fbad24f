"""Sign-in by one-time link or password, sign-out, lock-out, and a person's own settings."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from apps.common.api import Problem, problem_response
from apps.users import services
from apps.users.forms import PreferencesForm

BACKEND = "django.contrib.auth.backends.ModelBackend"


@method_decorator(login_not_required, name="dispatch")
class SignIn(LoginView):
    """Name and password. Five failures lock the name at that address for a quarter of an hour."""

    template_name = "users/sign_in.html"
    redirect_authenticated_user = True


class SignOut(LogoutView):
    """Ends the session; POST only. The identity cookie goes with it."""


@login_not_required
@never_cache
@sensitive_post_parameters("token")
@require_http_methods(["GET", "POST"])
def link_redeem(request: HttpRequest) -> HttpResponse:
    """Redeem a one-time link. The token comes in the fragment; the page's script posts it."""
    if request.method == "GET":
        return render(request, "users/link.html")
    user = services.login_token_redeem(token=request.POST.get("token", "").strip())
    if user is None:
        return render(request, "users/link.html", {"refused": True}, status=403)
    login(request, user, backend=BACKEND)
    return redirect("dashboard:desk" if user.has_usable_password() else "users:password")


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def password_set(request: HttpRequest) -> HttpResponse:
    """Set one's own password: at once after the first sign-in, later with the old one known to this session."""
    form: Any = SetPasswordForm(request.user, request.POST or None)
    needs_old = request.user.has_usable_password()
    if request.method == "POST" and form.is_valid():
        if needs_old and not services.password_fresh(request=request, password=request.POST.get("old_password", "")):
            form.add_error(None, "The present password is not right.")
        else:
            form.save()
            update_session_auth_hash(request, form.user)
            messages.success(request, "Password set.")
            return redirect("dashboard:desk")
    status = 422 if form.is_bound else 200
    return render(request, "users/password.html", {"form": form, "needs_old": needs_old}, status=status)


@require_http_methods(["GET", "POST"])
def settings_edit(request: HttpRequest) -> HttpResponse:
    """Theme and time zone of the person signed in."""
    form = PreferencesForm(
        request.POST or None, initial={"theme": request.user.theme, "time_zone": request.user.time_zone}
    )
    if request.method == "POST" and form.is_valid():
        services.preferences_set(user=request.user, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("users:settings")
    return render(request, "users/settings.html", {"form": form, "page": "settings"})


def locked_out(request: HttpRequest, response: HttpResponse | None = None, credentials: Any = None) -> HttpResponse:
    """Answer a name that has failed too often: what happened, how long it lasts, what to do."""
    minutes = round(settings.AXES_COOLOFF_TIME * 60)
    if request.path.startswith("/api/"):
        fix = f"wait {minutes} minutes"
        return problem_response(Problem(429, "The password was wrong too often.", field="password", fix=fix))
    context = {"minutes": minutes, "limit": settings.AXES_FAILURE_LIMIT}
    return render(request, "users/locked.html", context, status=429)
