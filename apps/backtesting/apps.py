from django.apps import AppConfig


class BacktestingConfig(AppConfig):
    name = "apps.backtesting"
    label = "backtesting"
    default_auto_field = "django.db.models.BigAutoField"
