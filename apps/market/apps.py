from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "apps.market"
    label = "market"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the topics and the feed."""
        from apps.common.residents import register_resident
        from apps.market import events  # noqa: F401

        register_resident(
            kind="feed",
            queues=("data",),
            keys="apps.market.selectors:feed_keys",
            factory="apps.market.residents:FeedResident",
        )
