"""Ways in: one-time links, passwords, and the tokens of programs."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.contrib.auth import authenticate
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from apps.common.audit import audit_write
from apps.common.hub.core import hub_person_changed
from apps.users.models import ApiToken, LoginToken, Role, Scope, User
from apps.users.tokens import token_digest, token_write

TOKEN_LIFE = timedelta(minutes=10)
API_DAYS, API_DAYS_MAX = 90, 366


class ApiTokenRefused(ValueError):
    """A token that cannot be made as asked; `field` says what is wrong, the text what it must be."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(f"{field}: {words}")
        self.field, self.words = field, words


def login_token_create(*, user: User) -> str:
    """Return a fresh one-time token for `user`. Those made before stop working: one link at a time."""
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        LoginToken.objects.filter(user=user).delete()
        LoginToken.objects.create(user=user, digest=_digest(token), expires_at=timezone.now() + TOKEN_LIFE)
    return token


def login_token_redeem(*, token: str) -> User | None:
    """Return whose token this is, and use it up; None when it is unknown, old, used, or its person inactive."""
    now = timezone.now()
    rows = LoginToken.objects.filter(digest=_digest(token), used_at=None, expires_at__gt=now, user__is_active=True)
    with transaction.atomic():
        # one statement decides between two browsers that redeem the same link
        if rows.update(used_at=now) != 1:
            return None
        return LoginToken.objects.select_related("user").get(digest=_digest(token)).user


def person_ensure(*, name: str, role: str = Role.ADMIN) -> User:
    """Return the person `name`, made with `role` and without a password when there is none yet."""
    user, made = User.objects.get_or_create(username=name, defaults={"role": role})
    if made:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user


def preferences_set(*, user: User, theme: str, time_zone: str) -> None:
    """Save how this person wants pages shown."""
    user.theme, user.time_zone = theme, time_zone
    user.full_clean(exclude=["password"])
    user.save(update_fields=["theme", "time_zone"])


def password_fresh(*, request: HttpRequest, password: str) -> bool:
    """Say whether `password` is the signed-in person's own. Failures count towards the lock-out."""
    found = authenticate(request, username=request.user.get_username(), password=password)
    return found is not None and found.pk == request.user.pk


def api_token_create(
    *, user: User, name: str, scopes: Sequence[str], by: str, days: float = API_DAYS
) -> tuple[ApiToken, str]:
    """Return a new token of the API, as its row and as the text that is shown once. Raises `ApiTokenRefused`."""
    name = name.strip()
    _api_token_check(user, name, scopes, days)
    row = ApiToken(user=user, name=name, scopes=[scope.value for scope in Scope if scope in scopes])
    row.expires_at = timezone.now() + timedelta(days=days)
    text = token_write(row)
    row.digest = token_digest(text)
    with transaction.atomic():
        row.save(force_insert=True)
        audit_write(by, "token made", f"token:{row.pk}", None, _api_token_shown(row))
    return row, text


def api_token_revoke(*, token: ApiToken, by: str) -> bool:
    """End a token, and close its person's sockets (pages come back by themselves); say whether it was still good."""
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()) != 1:
            return False
        audit_write(by, "token revoked", f"token:{token.pk}", _api_token_shown(token), None)
    hub_person_changed(token.user_id)
    return True


def _api_token_check(user: User, name: str, scopes: Sequence[str], days: float) -> None:
    if not user.is_active:
        raise ApiTokenRefused("user", f"{user.username} is switched off: an admin can switch them on")
    if not name or len(name) > 60 or not name.isprintable():
        raise ApiTokenRefused("name", "say what it is for, in 1 to 60 printable letters")
    unknown = sorted(set(scopes) - set(Scope.values))
    if unknown or not scopes:
        asked = f"{unknown[0]!r} is unknown" if unknown else "there is none"
        raise ApiTokenRefused("scope", f"{asked}: choose of {', '.join(Scope.values)}")
    for scope in sorted(scopes):
        if not user.may(Scope(scope).role):
            words = f"{scope} takes the role {Scope(scope).role.value}; {user.username}'s is {user.role}"
            raise ApiTokenRefused("scope", words)
    if not 0 < days <= API_DAYS_MAX:
        raise ApiTokenRefused("days", f"more than 0, at most {API_DAYS_MAX}")


def _api_token_shown(row: ApiToken) -> dict[str, object]:
    return {
        "user": row.user.get_username(),
        "name": row.name,
        "scopes": row.scopes,
        "expires_at": row.expires_at.isoformat(),
    }


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
