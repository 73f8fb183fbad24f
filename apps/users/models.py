"""People, what they may do, the one-time tokens that let them in first, and the tokens of programs."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone


class Role(models.TextChoices):
    """What a person may do; each role includes those before it."""

    VIEWER = "viewer", "Viewer: looks"
    ANNOTATOR = "annotator", "Annotator: labels"
    TRADER = "trader", "Trader: sessions, orders, kill switch"
    ADMIN = "admin", "Admin: everything"

    @property
    def rank(self) -> int:
        """Place in the order of roles, 0 for the viewer."""
        return list(Role).index(self)


class Theme(models.TextChoices):
    DARK = "dark", "Dark"
    LIGHT = "light", "Light"
    SYSTEM = "system", "As the system"


def time_zone_check(name: str) -> None:
    """Refuse what is no time zone of the tz database."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(f"{name!r} is no time zone. Write one such as UTC or Europe/Berlin.") from None


class User(AbstractUser):
    """A person. The role decides: the flags that open the admin follow it."""

    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    theme = models.CharField(max_length=8, choices=Theme.choices, default=Theme.DARK)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[time_zone_check])

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, with Django's two flags set from the role, so that no other door to the admin exists."""
        self.is_staff = self.is_superuser = self.role == Role.ADMIN
        fields = kwargs.get("update_fields")
        if fields is not None and "role" in fields:
            kwargs["update_fields"] = {*fields, "is_staff", "is_superuser"}
        super().save(*args, **kwargs)

    def may(self, role: str) -> bool:
        """Say whether this person's role includes `role`."""
        return Role(self.role).rank >= Role(role).rank


class LoginToken(models.Model):
    """A one-time way in. Only the token's hash is kept; it works once, for ten minutes."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="login_tokens")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]


class Scope(models.TextChoices):
    """What a token of the API may do; each takes a role that its person must have at that moment."""

    READ = "read", "Read everything"
    ORDERS = "orders", "Place and cancel orders by hand"
    DEPLOYMENTS = "deployments", "Start and stop deployments"
    KILL_ENGAGE = "kill:engage", "Engage the kill switch"
    KILL_RELEASE = "kill:release", "Release the kill switch"

    @property
    def role(self) -> Role:
        """Return the least role of whoever uses it: the same that the pages ask for."""
        return SCOPE_ROLES[self]


SCOPE_ROLES = {
    Scope.READ: Role.VIEWER,
    Scope.ORDERS: Role.TRADER,
    Scope.DEPLOYMENTS: Role.ADMIN,
    Scope.KILL_ENGAGE: Role.TRADER,
    Scope.KILL_RELEASE: Role.TRADER,
}


class ApiToken(models.Model):
    """A program's token. Only its hash is kept, so that it can be revoked; the token itself was shown once."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60, help_text="What it is for, e.g. the program's name.")
    scopes = models.JSONField(default=list)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, help_text="Last used, to within five minutes.")
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """Say whether it still works, in a word."""
        if self.revoked_at is not None:
            return "revoked"
        return "works" if self.expires_at > timezone.now() else "expired"
