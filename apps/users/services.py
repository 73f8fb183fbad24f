"""Ways in: one-time links and passwords."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth import authenticate
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from apps.users.models import LoginToken, Role, User

TOKEN_LIFE = timedelta(minutes=10)


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


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
