"""The app of limits, refusals, halts and the kill switch."""

from django.apps import AppConfig


class RiskConfig(AppConfig):
    """Registers the topics of risk, and what an account needs before it trades with real money."""

    name = "apps.risk"
    label = "risk"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register topics by importing them, and the limits that real money needs."""
        from apps.portfolio.services import register_condition
        from apps.risk import events  # noqa: F401

        register_condition("apps.risk.selectors:why_unlimited")
