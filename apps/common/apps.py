from django.apps import AppConfig


class CommonConfig(AppConfig):
    name = "apps.common"
    label = "common"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the relay: whoever holds its lease hands the outbox on."""
        from apps.common.residents import register_resident

        register_resident(
            kind="relay",
            queues=("data", "execution"),
            keys="apps.common.relay.relay_keys",
            factory="apps.common.relay.Relay",
        )
