import gc

from django.apps import AppConfig


class RuntimeConfig(AppConfig):
    name = "trader.runtime"
    label = "runtime"

    def ready(self) -> None:
        """Collect garbage from here on, and leave out for good what the start has made: no pause looks through it."""
        gc.freeze()
        gc.enable()
