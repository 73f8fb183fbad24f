from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "apps.market"
    label = "market"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the topics, the venues' limits and the feed."""
        from apps.common.residents import register_resident
        from apps.market import events  # noqa: F401
        from apps.market.throttle import limits_register

        limits_register()
        register_resident(
            kind="feed",
            queues=("data",),
            keys="apps.market.selectors:feed_keys",
            factory="apps.market.residents:FeedResident",
        )
