from django.apps import AppConfig


class ExecutionConfig(AppConfig):
    name = "apps.execution"
    label = "execution"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from apps.common.governor import register_limits
        from apps.common.residents import register_resident
        from apps.execution import events  # noqa: F401  (registers its topics)
        from apps.execution.brokers.bybit.limits import LIMITS
        from apps.market.selectors import register_kept
        from apps.portfolio.selectors import register_open

        register_limits("bybit", LIMITS)
        register_kept("apps.execution.selectors:instruments_ordered")
        register_open("apps.execution.selectors:orders_open_words")
        register_resident(
            kind="desk",
            queues=("execution",),
            keys="apps.execution.selectors:desk_account_keys",
            factory="apps.execution.desk.resident:Desk",
        )
