"""People, what they may do, and the one-time tokens that let them in first."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models


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
