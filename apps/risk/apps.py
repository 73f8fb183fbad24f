"""The app of limits, refusals, halts and the kill switch."""

from django.apps import AppConfig


class RiskConfig(AppConfig):
    """Registers the topics of risk."""

    name = "apps.risk"
    label = "risk"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register topics by importing them."""
        from apps.risk import events  # noqa: F401
