from django.apps import AppConfig


class RuntimeConfig(AppConfig):
    name = "trader.runtime"
    label = "runtime"
