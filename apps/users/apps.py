"""People: whoever signs out, or may less from now on, loses the sockets of their open pages."""

from django.apps import AppConfig


class UsersConfig(AppConfig):
    """Connects sign-out and changed roles with the sockets."""

    name = "apps.users"
    label = "users"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the signals."""
        from apps.users import signals  # noqa: F401
